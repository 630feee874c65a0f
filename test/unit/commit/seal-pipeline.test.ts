/** From sealed pieces to extents, over a real chunk store; and what a failure in the middle leaves. */
import t from 'tap';
import { FileContent } from '../../../src/cache/file-content.js';
import { END } from '../../../src/cache/range-map.js';
import { Seal } from '../../../src/cache/seal.js';
import { contentHash } from '../../../src/chunks/content-hash.js';
import { SealPipeline } from '../../../src/commit/seal-pipeline.js';
import { CairnError } from '../../../src/errors/cairn-error.js';
import { MemoryFiles } from '../cache/cached-file.js';
import { content } from '../chunks/fixture.js';
import { Machine, type Run } from './simulated-pool.js';

const WINDOW = 128 * 1024;
/** Files without descriptors: the bytes are copied. */
const noFiles = { pin: () => ({ fd: undefined, done: () => undefined }) };

function sealed(ino: number, bytes: Buffer, window = WINDOW): Seal {
  const file = new FileContent(ino, new MemoryFiles(), false);
  file.write(0, bytes);
  return new Seal(file, END, window, bytes.length, 1);
}

async function pool(): Promise<Run> {
  return (await new Machine().create()).start();
}

t.test('large and small pieces become extents that hold the file, in order', async (t) => {
  const run = await pool();
  const pipeline = new SealPipeline(run.chunks, noFiles);
  const files = [content(WINDOW * 3 + 5000, 1), content(10, 2), content(WINDOW, 3), content(WINDOW + 70_000, 4)];
  const seals = files.map((bytes, i) => sealed(i, bytes));
  let stored = 0;
  const extents = await pipeline.store(seals, (bytes) => {
    stored += bytes;
  });
  t.equal(
    stored,
    files.reduce((sum, { length }) => sum + length, 0),
  );
  for (const [i, bytes] of files.entries()) {
    let position = 0;
    for (const { offset, length, chunk, chunkBytes, chunkOffset } of extents.get(seals[i]!)!) {
      t.strictSame([offset, chunkOffset, chunkBytes], [position, 0, length]);
      t.equal(chunk, contentHash(bytes.subarray(offset, offset + length)));
      t.ok(bytes.subarray(offset, offset + length).equals(await run.chunks.read(chunk, chunkBytes, 0, length)));
      position += length;
    }
    t.equal(position, bytes.length);
    t.ok(seals[i]!.pieces.every(({ state }) => state === 'read'));
  }
  await run.stop();
});

t.test(
  'a writer may change the file as soon as its pieces are read or copied: the commit does not see it',
  async (t) => {
    const run = await pool();
    const pipeline = new SealPipeline(run.chunks, noFiles);
    const bytes = content(WINDOW * 6, 1);
    const seal = sealed(1, bytes);
    const done = pipeline.store([seal], () => undefined);
    for (let at = 0; at < bytes.length; at += WINDOW / 2) {
      let wait = seal.protect(at, at + 100);
      while (wait !== undefined) {
        await wait;
        wait = seal.protect(at, at + 100);
      }
      seal.content.write(at, Buffer.alloc(100));
    }
    const extents = (await done).get(seal)!;
    t.strictSame(
      extents.map(({ chunk }) => chunk),
      Array.from({ length: 6 }, (_, i) => contentHash(bytes.subarray(i * WINDOW, (i + 1) * WINDOW))),
    );
    await run.stop();
  },
);

t.test('one piece fails: an error, no unhandled rejection, and nothing is being read when it comes', async (t) => {
  const run = await pool();
  const pipeline = new SealPipeline(run.chunks, noFiles);
  let running = 0;
  let calls = 0;
  const store = run.chunks.store.bind(run.chunks);
  run.chunks.store = async (...args) => {
    running += 1;
    calls += 1;
    try {
      if (calls === 2) throw new CairnError('NO_SPACE', 'the pool is full');
      // The failure is there long before the slots are free again.
      for (let i = 0; i < 20; i++) await new Promise(setImmediate);
      return await store(...args);
    } finally {
      running -= 1;
    }
  };
  const seal = sealed(1, content(WINDOW * 40, 1));
  await t.rejects(
    pipeline.store([seal], () => undefined),
    { code: 'NO_SPACE' },
  );
  t.equal(running, 0);
  t.ok(calls < 10, `${calls} of 40 pieces were begun`);
  seal.failed();
  run.chunks.store = store;
  const again = new Seal(seal.content, END, WINDOW, WINDOW * 40, 2);
  t.equal((await pipeline.store([again], () => undefined)).get(again)?.length, 40, 'no slot is lost');
  await run.stop();
});

t.test('a cache file that cannot be opened fails the commit and no more', async (t) => {
  const run = await pool();
  const pipeline = new SealPipeline(run.chunks, {
    pin: () => {
      throw new CairnError('IO', 'the cache file may have lost what was written to it');
    },
  });
  await t.rejects(
    pipeline.store([sealed(1, content(WINDOW * 8, 1))], () => undefined),
    { code: 'IO' },
  );
  await run.stop();
});

t.test('an abort stops it', async (t) => {
  const run = await pool();
  const pipeline = new SealPipeline(run.chunks, noFiles);
  const abort = new AbortController();
  let stored = 0;
  const seal = sealed(1, content(WINDOW * 30, 1));
  await t.rejects(
    pipeline.store(
      [seal],
      () => {
        stored += 1;
        abort.abort();
      },
      abort.signal,
    ),
  );
  t.ok(stored < 30);
  await run.stop();
});
