/** The reader of committed extents over a chunk store whose memory is overwritten as soon as it may be. */
import t from 'tap';
import { type ChunkStore, MAX_CHUNK_BYTES, SMALL_CHUNK_BYTES } from '../../../src/chunks/chunk-store.js';
import { CairnError } from '../../../src/errors/cairn-error.js';
import type { MetaStore } from '../../../src/meta/meta-store.js';
import type { ExtentRow } from '../../../src/meta/rows.js';
import type { Inode } from '../../../src/vfs/inode.js';
import { PoolReader } from '../../../src/vfs/pool-reader.js';
import { ManualClock } from '../cache/manual-clock.js';

const MIB = 1024 * 1024;

/** A file of chunks, and what is asked of their store. A byte is the number of its chunk and position. */
function setup(chunkBytes: readonly number[], { gap = 0, many = false } = {}) {
  const wholes: number[] = [];
  const state = { lent: 0, mostLent: 0, partial: 0, failing: -1 };
  const number = (chunk: string): number => Number.parseInt(chunk, 10);
  const byteOf = (chunk: number, at: number): number => (chunk * 31 + Math.floor(at / 4096)) & 0xff || 1;
  const fill = (chunk: number, from: number, to: number): Uint8Array => {
    const bytes = Buffer.alloc(to - from);
    for (let at = from; at < to; at += 4096 - (at % 4096))
      bytes.fill(byteOf(chunk, at), at - from, Math.min(to, at + 4096 - (at % 4096)) - from);
    return bytes;
  };
  const chunks = {
    read: async (chunk: string, _bytes: number, from: number, to: number) => {
      state.partial += 1;
      return fill(number(chunk), from, to);
    },
    readWhole: async (chunk: string, length: number) => {
      wholes.push(number(chunk));
      state.lent += 1;
      state.mostLent = Math.max(state.mostLent, state.lent);
      await new Promise(setImmediate);
      if (state.failing === number(chunk)) {
        state.lent -= 1;
        throw new CairnError('UNREADABLE', 'it cannot be read');
      }
      const bytes = fill(number(chunk), 0, length);
      const release = (): void => {
        state.lent -= 1;
        setImmediate(() => bytes.fill(0xee));
      };
      return { bytes, release };
    },
  } as unknown as ChunkStore;
  let offset = 0;
  const extents = chunkBytes.map((length, i): ExtentRow => {
    const extent = { offset, length, chunk: `${i}`, chunkOffset: 0, chunkBytes: length } as ExtentRow;
    offset += length + gap;
    return extent;
  });
  const meta = {
    listExtents: async (_ino: number, from: number, to: number, limit: number) =>
      extents.filter((extent) => extent.offset < to && extent.offset + extent.length > from).slice(0, limit),
  } as unknown as MetaStore;
  const inode = { ino: 2, version: 1, extents: many ? undefined : extents, manyExtents: many } as unknown as Inode;
  const clock = new ManualClock();
  const reader = new PoolReader(meta, chunks, clock);
  const expected = (from: number, to: number): Buffer => {
    const bytes = Buffer.alloc(to - from);
    for (const [i, extent] of extents.entries()) {
      const start = Math.max(from, extent.offset);
      const end = Math.min(to, extent.offset + extent.length);
      if (start < end) bytes.set(fill(i, start - extent.offset, end - extent.offset), start - from);
    }
    return bytes;
  };
  const check = async (from: number, to: number, run: number): Promise<boolean> =>
    Buffer.concat(await reader.view(inode, from, to, run)).equals(expected(from, to));
  return { reader, inode, clock, wholes, state, check, sizeBytes: offset };
}

t.test(
  'a look at the head costs one chunk; who goes on gets the next ones ahead of the first byte of them',
  async (t) => {
    for (const many of [false, true]) {
      const file = setup(new Array(12).fill(MAX_CHUNK_BYTES), { many });
      t.ok(await file.check(0, 128 * 1024, 128 * 1024));
      t.same(file.wholes, [0]);
      let run = 128 * 1024;
      let least = Number.POSITIVE_INFINITY;
      for (; run < 40 * MIB; run += MIB) {
        t.ok(await file.check(run, run + MIB, run + MIB));
        if (run > 10 * MIB && run < 24 * MIB)
          least = Math.min(least, file.wholes.length - Math.ceil(run / MAX_CHUNK_BYTES));
      }
      t.ok(least >= 4, `${least} chunks ahead`);
      t.same(
        file.wholes,
        Array.from({ length: 12 }, (_, i) => i),
        'each once, in order',
      );
      t.ok(file.state.mostLent <= 12, `${file.state.mostLent} in memory`);
      t.equal(file.state.partial, 0);
      file.clock.advance(10_000);
      file.clock.advance(10_000);
      await new Promise(setImmediate);
      t.equal(file.state.lent, 0, 'nothing is kept when nobody reads');
    }
  },
);

t.test('many readers at once, near each other and far apart: right bytes, bounded memory', async (t) => {
  const file = setup(
    Array.from({ length: 40 }, (_, i) => [MAX_CHUNK_BYTES, SMALL_CHUNK_BYTES, 3 * MIB + 77, 100_000][i % 4]!),
    { gap: 5000 },
  );
  const sequential = async (from: number, length: number, step: number): Promise<boolean> => {
    for (let at = from; at < Math.min(from + length, file.sizeBytes); at += step) {
      if (!(await file.check(at, Math.min(at + step, file.sizeBytes), at - from + step))) return false;
    }
    return true;
  };
  const here = async (at: number): Promise<boolean> => file.check(at, at + 9000, 0);
  const results = await Promise.all([
    sequential(0, 20 * MIB, MIB),
    sequential(0, 20 * MIB, 400_000),
    sequential(8 * MIB, 20 * MIB, MIB),
    sequential(30 * MIB, 20 * MIB, 5 * MIB),
    sequential(50 * MIB, 20 * MIB, 77_777),
    ...Array.from({ length: 50 }, (_, i) => here(i * 1_300_000)),
  ]);
  t.ok(results.every(Boolean));
  t.ok(file.state.mostLent < 40, `${file.state.mostLent} chunks in memory`);
});

t.test('what cannot be read fails who asks for it, and is tried again', async (t) => {
  const file = setup(new Array(4).fill(MIB));
  file.state.failing = 2;
  t.ok(await file.check(0, 2 * MIB, 2 * MIB), 'those before are not concerned');
  await t.rejects(file.check(2 * MIB, 3 * MIB, 3 * MIB), { code: 'UNREADABLE' });
  file.state.failing = -1;
  t.ok(await file.check(2 * MIB, 4 * MIB, 4 * MIB));
  file.clock.advance(10_000);
  file.clock.advance(10_000);
  await new Promise(setImmediate);
  t.equal(file.state.lent, 0);
});
