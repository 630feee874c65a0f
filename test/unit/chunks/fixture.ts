/** A store over fake disks in a temporary directory. */
import type { Test } from 'tap';
import { createMap, type DiskMap, type SchemeChoice } from '../../../diskmap/index.js';
import { InlinePipeline } from '../../../src/chunks/inline-pipeline.js';
import type { Pipeline } from '../../../src/chunks/pipeline.js';
import { PoolChunkStore } from '../../../src/chunks/pool-chunk-store.js';
import { WorkerPipeline } from '../../../src/chunks/worker-pipeline.js';
import type { Clock } from '../../../src/io/clock.js';
import { FakeDisk } from './fake-disk.js';

interface FixtureOptions {
  readonly disks: number;
  readonly scheme?: SchemeChoice;
  readonly buckets?: number;
  readonly bucketBytes?: number;
  readonly capacityBytes?: number;
  readonly pipeline?: 'inline' | 'worker';
  readonly clock?: Clock;
  readonly onSlowDisk?: (disk: number) => void;
}

interface Fixture {
  readonly store: PoolChunkStore;
  readonly map: DiskMap;
  /** By number; replace or delete an entry to change the pool. */
  readonly byNumber: Map<number, FakeDisk | undefined>;
  readonly disks: readonly FakeDisk[];
  /** What `onDegradedRead` was called with. */
  readonly degraded: (readonly [chunk: string, disk: number | undefined])[];
}

export function makeFixture(t: Test, options: FixtureOptions): Fixture {
  const directory = t.testdir();
  const inline = (options.pipeline ?? 'inline') === 'inline';
  const capacity = options.capacityBytes === undefined ? {} : { capacityBytes: options.capacityBytes };
  const disks = Array.from(
    { length: options.disks },
    (_, i) => new FakeDisk({ number: i + 1, directory, fd: !inline, ...capacity }),
  );
  const byNumber = new Map<number, FakeDisk | undefined>(disks.map((disk) => [disk.identity.number, disk]));
  const map = createMap({
    pool: '0123456789abcdef',
    bucketBytes: options.bucketBytes ?? 1024 ** 3,
    domain: 'disk',
    scheme: options.scheme ?? 'auto',
    disks: disks.map((disk) => ({
      disk: disk.identity.number,
      site: 0,
      row: 0,
      rack: 0,
      machine: 0,
      buckets: options.buckets ?? 8,
    })),
  });
  const degraded: (readonly [string, number | undefined])[] = [];
  const pipeline: Pipeline = inline ? new InlinePipeline() : new WorkerPipeline({ workers: 1 });
  const store = new PoolChunkStore({
    map,
    disks: byNumber,
    pipeline,
    ...(options.clock && { clock: options.clock }),
    ...(options.onSlowDisk && { onSlowDisk: options.onSlowDisk }),
    onDegradedRead: (chunk, disk) => degraded.push([chunk, disk]),
  });
  t.teardown(async () => {
    await store.close();
    for (const disk of disks) await disk.close();
  });
  return { store, map, byNumber, disks, degraded };
}

/** The ways of reading a whole chunk; the bytes are the caller's. */
export const WAYS: Readonly<
  Record<'read' | 'readWhole', (store: PoolChunkStore, chunk: string, length: number) => Promise<Uint8Array>>
> = {
  read: (store, chunk, length) => store.read(chunk, length, 0, length),
  readWhole: async (store, chunk, length) => {
    const whole = await store.readWhole(chunk, length);
    const bytes = Buffer.from(whole.bytes);
    whole.release();
    return bytes;
  },
};

/** Different for every seed, incompressible enough. */
export function content(length: number, seed = 0): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let state = (seed * 2_654_435_761 + 12_345) >>> 0;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** Different for every seed, and compressible to about a third. */
export function text(length: number, seed = 0): Buffer {
  const words = ['chunk', 'shard', 'log', 'record', 'segment', 'commit', 'epoch', 'slot', 'bucket', 'disk'];
  const noise = content(Math.ceil(length / 4), seed);
  return Buffer.from([...noise].map((byte) => `${words[byte % 10]} ${byte}`).join('\n')).subarray(0, length);
}

export function fromBytes(bytes: Uint8Array): { kind: 'bytes'; bytes: Uint8Array } {
  return { kind: 'bytes', bytes };
}

export function nothing(): void {}
