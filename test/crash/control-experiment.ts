/**
 * Does the rig cut the power at all? SQLite on plain ext4 and xfs, cut like the disks of a pool: with synchronous=FULL no acknowledged
 * transaction may be lost, with NORMAL in WAL mode, which syncs only at checkpoints, hundreds are. If NORMAL loses nothing, the
 * cut lets unsynced bytes live and proves nothing of Cairn; if FULL loses something, it takes synced ones.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RunningProgram } from '../integration/running-program.js';
import { findTransactions } from '../integration/transactions.js';
import type { Dice } from './dice.js';
import { type FileSystem, PowerDevices } from './power-devices.js';

const DEVICE_BYTES = 300 * 1024 * 1024;
/** Acknowledged transactions before the cut; a checkpoint comes after about as many as the least. */
const LEAST = 300;
const MOST = 900;

export interface ControlCase {
  readonly type: FileSystem;
  readonly journal: 'wal' | 'delete';
  readonly synchronous: 'FULL' | 'NORMAL' | 'EXTRA+';
}

export const CONTROL_CASES: readonly ControlCase[] = [
  { type: 'ext4', journal: 'wal', synchronous: 'FULL' },
  { type: 'ext4', journal: 'wal', synchronous: 'NORMAL' },
  { type: 'xfs', journal: 'wal', synchronous: 'FULL' },
  { type: 'xfs', journal: 'wal', synchronous: 'NORMAL' },
  { type: 'ext4', journal: 'delete', synchronous: 'EXTRA+' },
];

export interface ControlReport {
  readonly acknowledged: number;
  readonly lost: number;
  readonly problems: readonly string[];
}

/** One cut. `run` runs a program, which must end with 0. */
export async function controlCut(
  directory: string,
  { type, journal, synchronous }: ControlCase,
  dice: Dice,
  run: (program: string, ...args: string[]) => Promise<unknown>,
): Promise<ControlReport> {
  const mountpoint = join(directory, 'control');
  const images = join(directory, 'control images');
  await mkdir(mountpoint);
  const devices = new PowerDevices(run, [{ name: 'control', type, mountpoint }]);
  await devices.make(images, DEVICE_BYTES);
  await devices.mount(images);
  const path = join(mountpoint, 'data.sqlite');
  const script = fileURLToPath(new URL('../integration/sqlite-writer.js', import.meta.url));
  const writer = new RunningProgram(process.execPath, [script, path, journal, '1', '1000000', synchronous], directory);
  const enough = dice.between(LEAST, MOST);
  await writer.until((lines) => lines.length >= enough);
  await devices.cut([0]);
  writer.kill();
  await writer.ended;
  await devices.unmount();
  await devices.mount(images);
  const { count, problems } = findTransactions(path);
  await devices.unmount();
  await rm(images, { recursive: true });
  await rm(mountpoint, { recursive: true });
  const acknowledged = writer.lines.length;
  return { acknowledged, lost: Math.max(0, acknowledged - count), problems };
}
