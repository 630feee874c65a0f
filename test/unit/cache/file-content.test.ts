/** FileContent and Seal together: what a reader sees, and what a commit takes, whatever happens in between. `SEED=` replays. */
import fc from 'fast-check';
import t from 'tap';
import { CACHED, CLEAN, FileContent, INLINE_SYNC_BYTES, MEMORY_FILE_BYTES } from '../../../src/cache/file-content.js';
import { END } from '../../../src/cache/range-map.js';
import { Seal } from '../../../src/cache/seal.js';
import { CachedFile, MemoryFiles, WINDOW } from './cached-file.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`SEED=${seed}`);

/** Positions at and around the boundaries that matter: pages, windows, the memory limit. */
const position = fc.oneof(
  fc.nat(6 * WINDOW),
  fc.tuple(fc.nat(6), fc.integer({ min: -2, max: 2 })).map(([n, d]) => Math.max(0, n * WINDOW + d)),
  fc.nat(24).map((n) => n * 4096),
);
const length = fc.oneof(fc.nat(200), fc.nat(3 * WINDOW), fc.constantFrom(4096, WINDOW));

interface Step {
  /** What a counterexample shows. */
  readonly what: string;
  run(file: CachedFile): unknown;
}

const always = (what: string, run: Step['run']): fc.Arbitrary<Step> => fc.constant({ what, run });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.tuple(position, length, fc.integer({ min: 1, max: 255 })).map(([from, count, fill]) => {
      return { what: `write ${from}+${count}`, run: (file: CachedFile) => file.write(from, Buffer.alloc(count, fill)) };
    }),
  },
  {
    weight: 1,
    arbitrary: position.map((size) => ({ what: `truncate ${size}`, run: (file: CachedFile) => file.truncate(size) })),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(position, length).map(([from, count]) => {
      return { what: `punch ${from}+${count}`, run: (file: CachedFile) => file.punch(from, from + count) };
    }),
  },
  { weight: 3, arbitrary: always('seal', (file) => file.seal()) },
  {
    weight: 2,
    arbitrary: fc.nat(20).map((n) => ({ what: `begin ${n}`, run: (file: CachedFile) => file.beginRead(n) })),
  },
  { weight: 4, arbitrary: fc.nat(20).map((n) => ({ what: `read ${n}`, run: (file: CachedFile) => file.endRead(n) })) },
  { weight: 2, arbitrary: always('apply', (file) => file.apply()) },
  { weight: 1, arbitrary: always('fail', (file) => file.fail()) },
  { weight: 1, arbitrary: always('evict', (file) => file.evict()) },
  { weight: 1, arbitrary: always('spill', (file) => file.spill()) },
  {
    weight: 1,
    arbitrary: fc.tuple(position, length).map(([from, count]) => {
      return {
        what: `begin filling ${from}+${count}`,
        run: (file: CachedFile) => file.beginFilling(from, from + count),
      };
    }),
  },
  { weight: 1, arbitrary: always('end filling', (file) => file.endFilling()) },
);

for (const inMemory of [true, false]) {
  t.test(
    `${inMemory ? 'begun in memory' : 'in a cache file'}: a commit is the file at seal time, a reader sees the file as it is`,
    async (t) => {
      fc.assert(
        fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
          const file = new CachedFile(inMemory);
          for (const { run } of steps) {
            run(file);
            file.check();
          }
          // In the end everything can be committed.
          file.apply();
          file.seal();
          file.apply();
          file.check();
          return !file.content.staged;
        }),
        { seed, numRuns: 400 },
      );
      t.pass();
    },
  );
}

t.test('many small pieces in one window that is cached whole are one piece', async (t) => {
  const file = new CachedFile(false);
  file.write(0, Buffer.alloc(2 * WINDOW, 1));
  file.seal();
  file.apply();
  for (let i = 0; i < 8; i++) file.write(i * 1024, Buffer.of(9));
  file.write(WINDOW + 5000, Buffer.of(9));
  file.seal();
  t.strictSame(
    file.content.seal?.pieces.map(({ from, to }) => [from, to]),
    [
      [0, WINDOW],
      [WINDOW + 4096, WINDOW + 8192],
    ],
  );
  file.apply();
  file.check();
});

t.test('a beginning of the file can be sealed; what lies behind stays staged', async (t) => {
  const content = new FileContent(1, new MemoryFiles(), false);
  content.write(0, Buffer.alloc(3 * WINDOW, 5));
  const seal = new Seal(content, 2 * WINDOW, WINDOW, 2 * WINDOW, undefined);
  t.strictSame(
    seal.pieces.map(({ from, to }) => [from, to]),
    [
      [0, WINDOW],
      [WINDOW, 2 * WINDOW],
    ],
  );
  t.equal(content.unsealed, true);
  seal.applied();
  t.ok(content.ranges.covers(0, 2 * WINDOW, 1 << CLEAN));
  t.equal(content.dirtyBytes, WINDOW);
  t.equal(content.partlyCommitted, true);
  new Seal(content, END, WINDOW, 3 * WINDOW, 9).applied();
  t.equal(content.partlyCommitted, false);
});

t.test('a writer waits for a piece that is being read, and no longer', async (t) => {
  const content = new FileContent(1, new MemoryFiles(), false);
  content.write(0, Buffer.alloc(2 * WINDOW, 5));
  const seal = new Seal(content, END, WINDOW, 2 * WINDOW, 1);
  const [first, second] = seal.pieces;
  first!.state = 'reading';
  const wait = seal.protect(0, 2 * WINDOW);
  t.ok(wait !== undefined);
  t.ok(second?.bytes?.equals(Buffer.alloc(WINDOW, 5)), 'what was queued has been copied');
  t.equal(seal.protect(WINDOW, 2 * WINDOW), undefined, 'the copied one can be written');
  seal.markRead(first!);
  await wait;
  t.equal(seal.protect(0, 2 * WINDOW), undefined);
  seal.failed();
});

t.test('a failure of the pipeline releases whoever waits', async (t) => {
  const content = new FileContent(1, new MemoryFiles(), false);
  content.write(0, Buffer.alloc(WINDOW, 5));
  const seal = new Seal(content, END, WINDOW, WINDOW, 1);
  seal.pieces[0]!.state = 'reading';
  const wait = seal.protect(0, 1);
  seal.failed();
  await wait;
  await seal.finished;
  t.equal(content.unsealed, true);
  t.equal(content.seal, undefined);
});

t.test(
  'copies are limited: beyond, writers wait for the commit; what has been read gives its share back',
  async (t) => {
    const content = new FileContent(1, new MemoryFiles(), false);
    const piece = 4 * 1024 * 1024;
    content.write(0, Buffer.alloc(18 * piece));
    const seal = new Seal(content, END, piece, 18 * piece, 1);
    for (let i = 0; i < 16; i++) t.equal(seal.protect(i * piece, i * piece + 1), undefined);
    t.equal(seal.protect(16 * piece, 16 * piece + 1), seal.finished);
    seal.markRead(seal.pieces[0]!);
    t.equal(seal.protect(16 * piece, 16 * piece + 1), undefined);
    seal.failed();
  },
);

t.test('leaving memory for a full device loses nothing', async (t) => {
  const files = new MemoryFiles();
  const content = new FileContent(1, files, true);
  content.write(0, Buffer.alloc(1000, 3));
  files.failAfter = 10;
  t.throws(() => content.leaveMemory(), { code: 'NO_SPACE' });
  t.throws(() => content.write(0, Buffer.alloc(MEMORY_FILE_BYTES + 1)), { code: 'NO_SPACE' });
  t.equal(content.inMemory, true);
  const bytes = Buffer.alloc(1000);
  content.readInto(bytes, 0);
  t.ok(bytes.equals(Buffer.alloc(1000, 3)));
  files.failAfter = undefined;
  content.leaveMemory();
  content.readInto(bytes.fill(0), 0);
  t.ok(bytes.equals(Buffer.alloc(1000, 3)));
});

t.test('a write that fails in the middle leaves nothing clean that is not what the pool has', async (t) => {
  const files = new MemoryFiles();
  const content = new FileContent(1, files, false);
  content.write(0, Buffer.alloc(8192, 1));
  new Seal(content, END, WINDOW, 8192, 1).applied();
  files.failAfter = 100;
  t.throws(() => content.write(1000, Buffer.alloc(3000, 2)), { code: 'NO_SPACE' });
  t.ok(content.ranges.covers(0, 1000, CACHED));
  t.notOk(content.ranges.covers(1000, 1001, CACHED), 'read from the pool again');
  t.notOk(content.ranges.covers(3999, 4000, CACHED));
  t.ok(content.ranges.covers(4000, 8192, CACHED));
  t.equal(content.dirtyBytes, 0);
});

t.test('a cache file that is too short is an error, never zeros', async (t) => {
  const files = new MemoryFiles();
  const content = new FileContent(1, files, false);
  content.write(0, Buffer.alloc(100, 1));
  files.files.set(1, Buffer.alloc(50));
  t.throws(() => content.readInto(Buffer.alloc(100), 0), { code: 'IO' });
});

t.test('writes are merged for the stage log while they touch', async (t) => {
  const content = new FileContent(1, new MemoryFiles(), true);
  t.equal(content.takeNote(), undefined);
  t.equal(content.mergeNote(0, 10), undefined);
  t.equal(content.mergeNote(10, 20), undefined);
  t.equal(content.mergeNote(5, 12), undefined);
  t.strictSame(content.mergeNote(30, 40), { from: 0, to: 20 });
  t.strictSame(content.takeNote(), { from: 30, to: 40 });
  t.equal(content.takeNote(), undefined);
});

t.test('what a sync must make durable: nothing, a few ranges, or the file', async (t) => {
  const content = new FileContent(1, new MemoryFiles(), false);
  t.equal(content.takeUnsynced(), 'nothing');
  content.addUnsynced(0, 10);
  content.addUnsynced(10, 20);
  content.addUnsynced(100, 110);
  t.strictSame(content.takeUnsynced(), [
    { from: 0, to: 20 },
    { from: 100, to: 110 },
  ]);
  t.equal(content.takeUnsynced(), 'nothing', 'once');
  content.addUnsynced(0, INLINE_SYNC_BYTES + 1);
  t.equal(content.takeUnsynced(), 'file', 'too many bytes');
  for (let i = 0; i < 40; i++) content.addUnsynced(i * 100, i * 100 + 1);
  t.equal(content.takeUnsynced(), 'file', 'too many ranges');
  content.doubtUnsynced();
  content.addUnsynced(0, 1);
  t.equal(content.takeUnsynced(), 'file', 'after a failed sync');
});
