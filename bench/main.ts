/**
 * `npm run bench`: a cairn mount beside the plain file system that it lies on, in the same run. The loads run in child
 * processes, the daemon is the built command's; whatever happens, nothing stays mounted, running or on the disk.
 */
import { mkdirSync, realpathSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { interrupt, isInterrupted, resume } from './child.js';
import { Cleanup } from './cleanup.js';
import type { LoadSize } from './loads/load.js';
import { describeMachine, freeBytes } from './machine.js';
import { MEASUREMENTS, type Measurement } from './measurements.js';
import { MountSubject } from './mount-subject.js';
import { missingProgram, PEERS, PeerSubject } from './peer-subject.js';
import { Results } from './results.js';
import { PlainSubject, type Subject } from './subject.js';

const NAMES = [...new Set(MEASUREMENTS.map(({ name }) => name))];
const TMPFS = '/dev/shm';

const HELP = `Usage: npm run bench -- [options]

Measures a cairn mount and the plain file system beside it, and prints medians and ratios.

  --only NAME       only this (may be given again): ${NAMES.join(', ')}
  --quick           small sizes, one repeat: to see that everything works
  --repeats N       how often each is measured; the median is shown (3; with --quick 1)
  --memory-gb N     how much is copied while the daemon's memory is watched (10; with --quick 1)
  --tree-files N    how many files the tree has that tar unpacks (5000; a kernel's has 90000)
  --many-files N    measure the rate of metadata operations again with N more files in the pool (10000000: about an hour)
  --dir DIR         where to work: pool, disks, cache and plain files (the current directory)
  --peers           also other file systems that are installed (mergerfs, GlusterFS, MooseFS, btrfs, JuiceFS, SeaweedFS; root only)
  --plain           only the plain file system, no mount
  --profile DIR     write a CPU profile of every daemon to DIR (see --cpu-prof of node)
  --json            print JSON with every sample instead of the table

Policy: content is random (it neither compresses nor deduplicates) and checked when it is read; streams, small files and
random access are not synced on either side; where fsync is measured, it is the same call on both sides.`;

const MIB = 2 ** 20;
const FULL: LoadSize = {
  streamBytes: 2048 * MIB,
  smallFiles: 5000,
  smallFileBytes: 4096,
  treeFiles: 5000,
  manyFiles: 0,
  randomBytes: 256 * MIB,
  randomOperations: 50_000,
  seconds: 3,
  copyBytes: 10_240 * MIB,
};
const QUICK: LoadSize = {
  streamBytes: 256 * MIB,
  smallFiles: 1000,
  smallFileBytes: 4096,
  treeFiles: 1000,
  manyFiles: 0,
  randomBytes: 32 * MIB,
  randomOperations: 5000,
  seconds: 1,
  copyBytes: 1024 * MIB,
};

interface Options {
  readonly measurements: readonly Measurement[];
  readonly size: LoadSize;
  readonly repeats: number;
  readonly directory: string;
  readonly plainOnly: boolean;
  readonly peers: boolean;
  readonly profileDirectory: string | undefined;
  readonly json: boolean;
}

function readOptions(): Options | undefined {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', multiple: true },
      quick: { type: 'boolean', default: false },
      repeats: { type: 'string' },
      'memory-gb': { type: 'string' },
      'many-files': { type: 'string' },
      'tree-files': { type: 'string' },
      dir: { type: 'string', default: '.' },
      plain: { type: 'boolean', default: false },
      peers: { type: 'boolean', default: false },
      profile: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return undefined;
  const only = values.only ?? NAMES;
  const unknown = only.find((name) => !NAMES.includes(name));
  if (unknown !== undefined) throw new Error(`--only ${unknown} is none of: ${NAMES.join(', ')}`);
  if (values.peers && process.getuid?.() !== 0) throw new Error('--peers mounts other file systems, which needs root');
  const size = values.quick ? QUICK : FULL;
  const { 'memory-gb': memoryGb, 'many-files': manyFiles, 'tree-files': treeFiles } = values;
  return {
    measurements: MEASUREMENTS.filter(
      ({ name, alone }) =>
        only.includes(name) &&
        !(values.plain && alone !== undefined) &&
        (name !== 'many-files' || manyFiles !== undefined),
    ),
    size: {
      ...size,
      ...(memoryGb !== undefined && { copyBytes: whole('--memory-gb', memoryGb) * 1024 * MIB }),
      ...(manyFiles !== undefined && { manyFiles: whole('--many-files', manyFiles) }),
      ...(treeFiles !== undefined && { treeFiles: whole('--tree-files', treeFiles) }),
    },
    repeats: values.repeats === undefined ? (values.quick ? 1 : 3) : whole('--repeats', values.repeats),
    directory: realpathSync(values.dir),
    plainOnly: values.plain,
    peers: values.peers,
    profileDirectory: values.profile === undefined ? undefined : resolve(values.profile),
    json: values.json,
  };
}

function whole(option: string, text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new Error(`${option} must be a whole number from 1, not ${text}`);
  return Number(text);
}

/** Measures one thing, all repeats, the sides in turn. */
async function measure(measurement: Measurement, options: Options, base: string, cleanup: Cleanup, results: Results) {
  const { size, plainOnly, profileDirectory } = options;
  const { strong, alone } = measurement;
  const repeats = alone?.once ? 1 : options.repeats;
  const place = alone?.on === 'tmpfs' ? await tmpfsBase(cleanup) : base;
  const room = freeBytes(place);
  if (room < measurement.space(size)) {
    const needed = (measurement.space(size) / 1e9).toFixed(1);
    results.note(`${measurement.name} left out: it needs ${needed} GB free below ${place}.`);
    return;
  }
  const startMount = () =>
    MountSubject.start(join(place, 'cairn'), { strong, noTimer: alone?.noTimer ?? false, profileDirectory }, cleanup);
  const plain = alone === undefined ? new PlainSubject(join(place, 'plain')) : undefined;
  const peers = alone === undefined && options.peers ? await startPeers(place, cleanup, results) : [];
  let mount: MountSubject | undefined;
  for (let repeat = 1; repeat <= repeats; repeat++) {
    progress(`${measurement.name}${strong ? ' (strong)' : ''}, ${repeat} of ${repeats}`);
    if (!plainOnly) mount ??= await startMount();
    const subjects: Subject[] = [];
    if (plain !== undefined) subjects.push(plain);
    if (mount !== undefined) subjects.push(mount);
    subjects.push(...peers);
    for (const subject of subjects) {
      await subject.clear();
      await measurement.run(subject, size, results);
      await subject.clear();
    }
    if (alone === undefined) continue;
    await mount?.stop();
    mount = undefined;
  }
  await mount?.stop();
  for (const peer of peers) await peer.stop();
}

async function startPeers(place: string, cleanup: Cleanup, results: Results): Promise<PeerSubject[]> {
  const started: PeerSubject[] = [];
  for (const peer of PEERS) {
    const missing = missingProgram(peer);
    if (missing !== undefined) {
      results.note(`${peer.name} left out: ${missing} is not on the PATH (${peer.install}).`);
      continue;
    }
    try {
      started.push(await PeerSubject.start(peer, join(place, peer.name), cleanup));
      results.note(`${peer.name}: ${peer.remark}.`);
    } catch (error) {
      if (isInterrupted()) throw error;
      results.note(`${peer.name} left out: it does not start: ${error instanceof Error ? error.message : error}`);
    }
  }
  return started;
}

async function tmpfsBase(cleanup: Cleanup): Promise<string> {
  const base = await mkdtemp(join(TMPFS, 'cairn-bench-'));
  cleanup.add(`remove ${base}`, () => rm(base, { recursive: true, force: true }));
  return base;
}

function progress(text: string): void {
  process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${text}` : `${text}\n`);
}

async function main(cleanup: Cleanup): Promise<void> {
  const options = readOptions();
  if (options === undefined) {
    process.stdout.write(`${HELP}\n`);
    return;
  }
  if (options.profileDirectory !== undefined) mkdirSync(options.profileDirectory, { recursive: true });
  const base = await mkdtemp(join(options.directory, 'cairn-bench-'));
  cleanup.add(`remove ${base}`, () => rm(base, { recursive: true, force: true }));
  const machine = describeMachine(base);
  const results = new Results();
  for (const measurement of options.measurements) await measure(measurement, options, base, cleanup, results);
  if (process.stderr.isTTY) progress('');
  process.stdout.write(`${options.json ? results.toJson(machine) : results.toTable(machine)}\n`);
}

const cleanup = new Cleanup();
let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    // the first lets the work unwind; another one is for when that hangs
    if (interrupted) void finish().finally(() => process.exit(130));
    else process.stderr.write('\nbench: interrupted, cleaning up\n');
    interrupted = true;
    interrupt();
  });
}
try {
  await main(cleanup);
} catch (error) {
  if (!interrupted) process.stderr.write(`bench: ${error instanceof Error ? error.message : error}\n`);
  process.exitCode = interrupted ? 130 : 1;
}
await finish();

function finish(): Promise<void> {
  resume();
  return cleanup.run();
}
