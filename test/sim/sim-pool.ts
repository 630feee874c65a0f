/** Pools on simulated machines: how one is made, and how work on one is waited for while its clock is moved. */
import { createMap, encodeMap, type SchemeChoice } from '../../diskmap/index.js';
import type { DiskIdentity, DiskRole } from '../../src/disks/disk.js';
import { createDisk } from '../../src/disks/disk-identity.js';
import { MAP_FILE } from '../../src/disks/log-disk.js';
import { type PoolConfig, saveConfig } from '../../src/pool/config.js';
import { Pool } from '../../src/pool/pool.js';
import type { PoolLog } from '../../src/pool/pool-log.js';
import { SeededRandom } from './seeded-random.js';
import { SimDevice } from './sim-device.js';
import { type MachineImage, SimMachine } from './sim-machine.js';

const KIB = 1024;
const MIB = 1024 * KIB;
export const CHUNK_BYTES = 128 * KIB;
const POOL_DIRECTORY = '/pool';
export const CACHE_DIRECTORY = '/cache';
/** An empty device that is no part of the pool yet. */
export const SPARE_DIRECTORY = '/spare';
export const DISK_BYTES = 10 * MIB;
const POOL_ID = 'ca'.repeat(16);
/** Turns of the event loop without any operation under way after which nothing happens but by the clock. */
const QUIET_TURNS = 12;
/** Simulated time after which work that does not end is a hang. */
const PATIENCE_MS = 10 * 60_000;

export interface PoolLayout {
  readonly data: number;
  readonly journal: number;
  /** There is another device, to become a disk. */
  readonly spare?: boolean;
  readonly scheme: SchemeChoice;
  readonly mode: 'default' | 'strong';
  readonly commitDelayMs: number;
}

export const USUAL_LAYOUT: PoolLayout = { data: 3, journal: 0, scheme: 'auto', mode: 'default', commitDelayMs: 5000 };

export function diskDirectory(number: number): string {
  return `/disk${number}`;
}

function journalDirectory(number: number): string {
  return `/journal${number}`;
}

/** A machine with a pool that has been made, opened once and closed. */
export async function makePool(layout: PoolLayout): Promise<MachineImage> {
  const disks = [
    ...numbers(layout.data).map((number) => ({ directory: diskDirectory(number), number, role: 'data' as const })),
    ...numbers(layout.journal).map((number) => ({
      directory: journalDirectory(number),
      number: 0,
      role: 'journal' as const,
    })),
  ];
  const roots = [POOL_DIRECTORY, CACHE_DIRECTORY, ...disks.map(({ directory }) => directory)];
  if (layout.spare) roots.push(SPARE_DIRECTORY);
  const machine = SimMachine.make(
    roots.map((root) => new SimDevice(root)),
    { random: new SeededRandom(1), quick: true },
  );
  const { io } = machine;
  const bucketBytes = 2 * MIB;
  const map = createMap({
    pool: POOL_ID.slice(0, 16),
    bucketBytes,
    domain: 'disk',
    scheme: layout.scheme,
    disks: numbers(layout.data).map((disk) => ({ disk, site: 0, row: 0, rack: 0, machine: 0, buckets: 5 })),
  });
  const uuidOf = (index: number): string => `${index + 1}`.padStart(2, '0').repeat(16);
  const identity = (index: number, role: DiskRole, number: number): DiskIdentity => ({
    format: 1,
    pool: POOL_ID,
    uuid: uuidOf(index),
    number,
    role,
    capacityBytes: DISK_BYTES,
    dataSegmentBytes: 512 * KIB,
    journalSegmentBytes: 96 * KIB,
  });
  const config: PoolConfig = {
    format: 1,
    pool: POOL_ID,
    scheme: layout.scheme,
    bucketBytes,
    chunkBytes: CHUNK_BYTES,
    mode: layout.mode,
    metaDirectory: `${POOL_DIRECTORY}/meta`,
    cache: { directory: CACHE_DIRECTORY, sizeBytes: 16 * MIB },
    whenDegraded: 'allow',
    commitDelayMs: layout.commitDelayMs,
    scrubDays: 0,
    disks: disks.map(({ directory, role, number }, i) => ({ directory, uuid: uuidOf(i), role, number })),
  };
  for (const [i, { directory, role, number }] of disks.entries()) {
    await createDisk(io, directory, identity(i, role, number));
    if (role === 'data') await io.replaceFile(`${directory}/${MAP_FILE}`, encodeMap(map));
  }
  await createDisk(io, CACHE_DIRECTORY, identity(disks.length, 'cache', 0));
  await saveConfig(io, POOL_DIRECTORY, config);
  const pool = await settled(machine, openPool(machine));
  await settled(machine, pool.close());
  machine.checkpointMeta();
  return machine.image();
}

export function openPool(machine: SimMachine, log?: PoolLog): Promise<Pool> {
  return Pool.open(POOL_DIRECTORY, { machine, ...(log !== undefined && { log }) });
}

/** Waits for the work, moving the clock where nothing else can happen. Throws if it hangs. */
export async function settled<T>(machine: SimMachine, work: T | Promise<T>): Promise<T> {
  let done = false;
  const ended = Promise.resolve(work).finally(() => {
    done = true;
  });
  ended.catch(() => undefined);
  let quiet = 0;
  let waitedMs = 0;
  for (let i = 0; i < 8 && !done; i++) await undefined;
  while (!done) {
    await new Promise(setImmediate);
    quiet = machine.io.underWay === 0 ? quiet + 1 : 0;
    if (done || quiet < QUIET_TURNS) continue;
    quiet = 0;
    const next = machine.clock.nextMs;
    if (next === undefined || waitedMs > PATIENCE_MS)
      throw new Error('it hangs: nothing is under way, and no timer will help');
    waitedMs += next;
    machine.clock.advance(next);
  }
  return ended;
}

/** Lets time pass, with all that it brings. */
export async function pass(machine: SimMachine, ms: number): Promise<void> {
  const { clock } = machine;
  const end = clock.monotonicMs() + ms;
  for (;;) {
    await quiet(machine);
    const left = end - clock.monotonicMs();
    const next = clock.nextMs;
    if (next === undefined || next > left) {
      if (left > 0) clock.advance(left);
      return;
    }
    clock.advance(next);
  }
}

/** Until nothing is under way. */
export async function quiet(machine: SimMachine): Promise<void> {
  for (let turns = 0; turns < QUIET_TURNS; ) {
    await new Promise(setImmediate);
    turns = machine.io.underWay === 0 ? turns + 1 : 0;
  }
}

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i + 1);
}
