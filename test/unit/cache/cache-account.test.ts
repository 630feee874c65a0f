/** The books of the cache: they add up, eviction takes what is clean and oldest, and never what is dirty. `SEED=` replays. */
import fc from 'fast-check';
import t from 'tap';
import { CacheAccount } from '../../../src/cache/cache-account.js';
import { FileContent } from '../../../src/cache/file-content.js';
import { END } from '../../../src/cache/range-map.js';
import { Seal } from '../../../src/cache/seal.js';
import { MemoryFiles } from './cached-file.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`SEED=${seed}`);

interface Fixture {
  readonly account: CacheAccount;
  readonly files: MemoryFiles;
  readonly removed: number[];
  readonly punched: [ino: number, from: number, to: number][];
  /** Ends the punches under way. */
  endPunches(): Promise<void>;
  /** A content of so many bytes. */
  make(ino: number, bytes: number, options?: { inMemory?: boolean; clean?: boolean }): FileContent;
}

function fixture(capacityBytes: number, memoryBytes = 1 << 30): Fixture {
  const files = new MemoryFiles();
  const removed: number[] = [];
  const punched: [number, number, number][] = [];
  let ends: (() => void)[] = [];
  const account = new CacheAccount(
    { capacityBytes, memoryBytes },
    {
      removeFile: async ({ ino }) => {
        removed.push(ino);
      },
      punch: ({ ino }, ranges) => {
        for (const { from, to } of ranges) punched.push([ino, from, to]);
        return new Promise((resolve) => {
          ends.push(resolve);
        });
      },
    },
  );
  return {
    account,
    files,
    removed,
    punched,
    endPunches: async () => {
      for (const end of ends) end();
      ends = [];
      await new Promise(setImmediate);
    },
    make: (ino, bytes, { inMemory = false, clean = false } = {}) => {
      const content = new FileContent(ino, files, inMemory);
      content.write(0, Buffer.alloc(bytes, ino));
      if (clean) commit(content);
      account.book(content);
      return content;
    },
  };
}

function commit(content: FileContent): void {
  new Seal(content, END, 1 << 22, content.cachedBytes, 1).applied();
}

t.test(
  'what fits costs nothing; beyond, the least recently used clean files go, and only as many as needed',
  async (t) => {
    const { account, removed, make } = fixture(1000);
    const [first] = [make(1, 300, { clean: true }), make(2, 300, { clean: true }), make(3, 300, { clean: true })];
    t.equal(account.makeRoom(100), true);
    t.strictSame(removed, []);
    account.used(first!);
    t.equal(account.makeRoom(200), true);
    t.strictSame(removed, [2]);
    t.equal(account.cachedBytes, 600);
    t.equal(account.makeRoom(1000), true);
    t.strictSame(removed, [2, 3, 1]);
    t.equal(account.makeRoom(1001), false);
  },
);

t.test('dirty bytes never go, nor those of a file whose commit is under way', async (t) => {
  const { account, removed, punched, make } = fixture(1000);
  make(1, 400);
  const sealed = make(2, 300, { clean: true });
  sealed.write(0, Buffer.of(1));
  const seal = new Seal(sealed, END, 1 << 22, 300, 1);
  account.book(sealed);
  t.equal(account.dirtyBytes, 401);
  t.equal(account.makeRoom(400), false);
  t.strictSame([removed, punched], [[], []]);
  seal.applied();
  account.book(sealed);
  t.equal(account.makeRoom(400), true);
  t.strictSame(removed, [2]);
  t.equal(account.dirtyBytes, 400);
});

t.test('of a file with dirty parts only the clean ranges go; it is busy until they are gone', async (t) => {
  const { account, removed, punched, make, endPunches } = fixture(1000);
  const content = make(1, 900, { clean: true });
  content.write(200, Buffer.alloc(100, 9));
  account.book(content);
  t.equal(account.makeRoom(500), true);
  t.strictSame(removed, []);
  t.strictSame(punched, [
    [1, 0, 200],
    [1, 300, 900],
  ]);
  t.equal(account.cachedBytes, 100);
  t.equal(account.dirtyBytes, 100);
  t.ok(content.busy !== undefined);
  await endPunches();
  t.equal(content.busy, undefined);
});

t.test('a file that was committed in part keeps its cache file: the reclaimer must tell the stage log', async (t) => {
  const { account, removed, punched, make } = fixture(1000);
  const content = make(1, 900);
  new Seal(content, END, 1 << 22, 900, undefined).applied();
  account.book(content);
  t.equal(account.makeRoom(500), true);
  t.strictSame([removed, punched], [[], [[1, 0, 900]]]);
});

t.test(
  'memory has its own limit: clean files are forgotten, oldest first; then a dirty one moves to a file',
  async (t) => {
    const { account, files, removed, make } = fixture(1 << 20, 1000);
    const old = make(1, 400, { inMemory: true, clean: true });
    const young = make(2, 400, { inMemory: true, clean: true });
    account.used(old);
    make(3, 400, { inMemory: true });
    t.equal(young.cachedBytes, 0, 'the one that was not used is forgotten');
    t.equal(old.cachedBytes, 400);
    t.equal(account.memoryBytes, 800);
    t.strictSame(removed, [], 'there is no file to remove');
    const dirty = make(4, 900, { inMemory: true });
    t.equal(old.cachedBytes, 0);
    t.equal(dirty.inMemory, false);
    t.ok(files.files.get(4)?.equals(Buffer.alloc(900, 4)));
    t.equal(account.memoryBytes, 400);
    t.equal(account.cachedBytes, 1300);
  },
);

t.test('a full device does not stop the books: the content stays in memory', async (t) => {
  const { account, files, make } = fixture(1 << 20, 100);
  files.failAfter = 0;
  const content = make(1, 400, { inMemory: true });
  t.equal(content.inMemory, true);
  t.equal(account.memoryBytes, 400);
});

t.test('whatever happens, the books are the sum of the contents, and what is dirty stays', async (t) => {
  const action = fc.record({
    ino: fc.nat(5),
    what: fc.constantFrom('write', 'write', 'write', 'punch', 'seal', 'apply', 'fail', 'used', 'room', 'spill'),
    from: fc.nat(4000),
    length: fc.nat(3000),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 60 }), async (actions) => {
      const { account, files, endPunches } = fixture(12_000, 4000);
      const contents = Array.from({ length: 6 }, (_, ino) => new FileContent(ino, files, ino % 2 === 0));
      for (const { ino, what, from, length } of actions) {
        const content = contents[ino]!;
        const dirty = contents.map(({ dirtyBytes }) => dirtyBytes);
        if (content.busy !== undefined) await endPunches();
        if (what === 'write' && content.seal?.protect(from, from + length) === undefined && length > 0)
          content.write(from, Buffer.alloc(length, 1));
        else if (what === 'punch' && content.seal?.protect(from, from + length) === undefined)
          content.punch(from, from + length);
        else if (what === 'seal' && content.seal === undefined)
          new Seal(content, END, 1024, 8000, from % 2 === 0 ? 1 : undefined);
        else if (what === 'apply') content.seal?.applied();
        else if (what === 'fail') content.seal?.failed();
        else if (what === 'used') account.used(content);
        else if (what === 'spill') content.leaveMemory();
        else if (what === 'room') {
          const before = account.cachedBytes;
          const fits = account.makeRoom(length);
          if (fits && account.cachedBytes + length > 12_000) return false;
          if (account.cachedBytes > before) return false;
          if (contents.some(({ dirtyBytes }, i) => dirtyBytes !== dirty[i])) return false;
        }
        account.book(content);
        const sum = (value: (one: FileContent) => number): number =>
          contents.reduce((total, one) => total + value(one), 0);
        if (account.cachedBytes !== sum(({ cachedBytes }) => cachedBytes)) return false;
        if (account.dirtyBytes !== sum(({ dirtyBytes }) => dirtyBytes)) return false;
        if (account.memoryBytes !== sum((one) => (one.inMemory ? one.cachedBytes : 0))) return false;
      }
      await endPunches();
      return true;
    }),
    { seed, numRuns: 500 },
  );
  t.pass();
});

t.test('to a full device clean bytes of files are given back, oldest first, as many as asked for', async (t) => {
  const { account, make, removed } = fixture(1 << 30);
  t.equal(account.giveBack(1), undefined, 'there is nothing');
  make(1, 5000);
  make(2, 5000, { inMemory: true, clean: true });
  t.equal(account.giveBack(1), undefined, 'neither dirty bytes nor memory');
  for (const ino of [3, 4, 5]) make(ino, 5000, { clean: true });
  await account.giveBack(6000);
  t.same(removed, [3, 4]);
  await account.giveBack(100_000);
  t.same(removed, [3, 4, 5], 'what there is, if it is less');
  t.equal(account.cachedBytes, 10_000);
});
