/** The store over the disks that it is made for: what is stored, synced and closed is there again when they are opened, also without one of them. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { createMap } from '../../../diskmap/index.js';
import { InlinePipeline } from '../../../src/chunks/inline-pipeline.js';
import { PoolChunkStore } from '../../../src/chunks/pool-chunk-store.js';
import { WorkerPipeline } from '../../../src/chunks/worker-pipeline.js';
import type { Disk } from '../../../src/disks/disk.js';
import { createDisk, defaultSegmentBytes } from '../../../src/disks/disk-identity.js';
import { openDisk } from '../../../src/disks/open-disk.js';
import { NodeFileIo } from '../../../src/io/node-file-io.js';
import { content, fromBytes, nothing } from './fixture.js';

const POOL = '0123456789abcdef0123456789abcdef';
const CAPACITY = 256 * 1024 * 1024;
const NUMBERS = [1, 2, 3];
const io = new NodeFileIo();

const map = createMap({
  pool: POOL.slice(0, 16),
  bucketBytes: 64 * 1024 * 1024,
  domain: 'disk',
  scheme: 'auto',
  disks: NUMBERS.map((disk) => ({ disk, site: 0, row: 0, rack: 0, machine: 0, buckets: 4 })),
});

async function create(directory: string): Promise<void> {
  for (const number of NUMBERS) {
    await createDisk(io, join(directory, `${number}`), {
      format: 1,
      pool: POOL,
      uuid: `${number}`.padStart(32, 'a'),
      number,
      role: 'data',
      capacityBytes: CAPACITY,
      ...defaultSegmentBytes(CAPACITY),
    });
  }
}

async function withStore<T>(
  directory: string,
  numbers: readonly number[],
  pipeline: 'inline' | 'worker',
  task: (store: PoolChunkStore, disks: Disk[]) => Promise<T>,
): Promise<T> {
  const disks = new Map<number, Disk>();
  const store = new PoolChunkStore({
    map,
    disks,
    pipeline: pipeline === 'inline' ? new InlinePipeline() : new WorkerPipeline({ workers: 1 }),
  });
  try {
    for (const number of numbers) {
      disks.set(number, await openDisk(io, join(directory, `${number}`), { pool: POOL, role: 'data' }));
    }
    return await task(store, [...disks.values()]);
  } finally {
    await store.close();
    for (const disk of disks.values()) await disk.close();
  }
}

for (const pipeline of ['inline', 'worker'] as const) {
  t.test(`${pipeline}: stored, closed, opened again with any one disk gone`, async (t: Test) => {
    const directory = t.testdir();
    await create(directory);
    const large = Array.from({ length: 6 }, (_, i) => content(200_000 + i * 700_001, i));
    const small = Array.from({ length: 40 }, (_, i) => content(3000 + i, 100 + i));
    const stored = await withStore(directory, NUMBERS, pipeline, async (store, disks) => {
      const chunks = [
        ...(await Promise.all(large.map((bytes) => store.store(fromBytes(bytes), nothing)))),
        ...(await store.storeSmall(small)),
      ];
      await store.putSlot('/pool/root', 7, Buffer.from('seven'));
      for (const disk of disks) await disk.sync();
      t.ok(chunks.every(({ chunk }) => store.health(chunk).health === 'healthy'));
      return chunks;
    });
    for (const numbers of [NUMBERS, [1, 2], [1, 3], [2, 3]]) {
      await withStore(directory, numbers, pipeline, async (store, disks) => {
        t.same(
          disks.flatMap((disk) => disk.openReport),
          [],
          'nothing had to be mended',
        );
        for (const [i, bytes] of [...large, ...small].entries()) {
          const { chunk } = stored[i]!;
          if (!bytes.equals(await store.read(chunk, bytes.length, 0, bytes.length))) t.fail(`chunk ${i}`);
          const from = Math.floor(bytes.length / 2) - 100;
          if (!bytes.subarray(from, from + 200).equals(await store.read(chunk, bytes.length, from, from + 200))) {
            t.fail(`part of chunk ${i}`);
          }
          if (numbers.length === 3 && store.health(chunk).health !== 'healthy') t.fail(`health of chunk ${i}`);
        }
        t.equal((await store.getSlot('/pool/root'))?.bytes.toString(), 'seven');
        t.equal((await store.store(fromBytes(large[0]!), nothing)).deduplicated, true);
      });
    }
  });
}

t.test('disks fill up to a clear error, and everything stored until then is readable', async (t) => {
  const directory = t.testdir();
  await create(directory);
  await withStore(directory, NUMBERS, 'worker', async (store) => {
    const stored: { chunk: string; bytes: Buffer }[] = [];
    const bytes = content(4 * 1024 * 1024);
    const fill = async (): Promise<void> => {
      for (let i = 0; i < 200; i++) {
        bytes.writeUInt32LE(i, 0);
        stored.push({
          chunk: (await store.store(fromBytes(bytes), nothing)).chunk,
          bytes: Buffer.from(bytes.subarray(0, 4)),
        });
      }
    };
    await t.rejects(fill(), { code: 'NO_SPACE' });
    t.ok(stored.length >= 60, `${stored.length} chunks of 4 MiB on three disks of 256 MiB`);
    for (const { chunk, bytes } of stored) {
      if (!bytes.equals(await store.read(chunk, 4 * 1024 * 1024, 0, 4))) t.fail(chunk);
      if (store.health(chunk).health !== 'healthy') t.fail(`health of ${chunk}`);
    }
    const [first] = stored;
    store.release([first!.chunk]);
    await store.collect([first!.chunk]);
    t.equal(store.health(first!.chunk).scheme, '');
  });
});
