/**
 * What every MetaStore must do: the properties in the header of src/meta/meta-store.ts. An engine's own test file calls
 * `testMetaStore` with a function that opens an empty store.
 */
import type { Test } from 'tap';
import type { MetaPosition, MetaStore } from '../../src/meta/meta-store.js';
import { type DentryRow, type ExtentRow, type RowChange, sortKey } from '../../src/meta/rows.js';
import { testMetaHistories } from './meta-histories.js';
import { chunkOf, dentry, extent, inode, nextCommit } from './meta-rows.js';

/** Opens an empty store; the suite closes it. */
export type OpenStore = (t: Test) => Promise<MetaStore>;

export function testMetaStore(t: Test, openStore: OpenStore): void {
  const check = (name: string, body: (t: Test, store: MetaStore) => Promise<void>) =>
    t.test(name, async (t) => {
      const store = await openStore(t);
      t.teardown(() => store.close());
      await body(t, store);
    });
  check('an empty store', empty);
  check('commits are applied in sequence, once', sequence);
  check('compare-and-write of inodes and entries', compareAndWrite);
  check('a directory is found by its number, wherever it has been moved', directoryEntries);
  check('a refused commit changes nothing', atomicity);
  check('entries are listed in byte order, in pages', sortOrder);
  check('a file and a directory of one name', sameName);
  check('extents are replaced by range', splices);
  check('extents are listed by range', extentLists);
  check('chunks are counted', references);
  check('inodes without a link are listed', nameless);
  check('deleting an inode deletes what hangs on it', inodeDelete);
  check('extended attributes', xattrs);
  check('numbers and names keep their values', extremes);
  check('a snapshot is one state while commits go on', snapshots);
  check('restore replaces everything, or nothing', restores);
  check('a closed store says so', closed);
  testMetaHistories(t, openStore);
}

async function all<Item>(batches: AsyncIterable<readonly Item[]>): Promise<Item[]> {
  const items: Item[] = [];
  for await (const batch of batches) items.push(...batch);
  return items;
}

async function* inBatches(changes: readonly RowChange[], size = 3): AsyncGenerator<readonly RowChange[]> {
  for (let start = 0; start < changes.length; start += size) yield changes.slice(start, start + size);
}

const keys = (rows: readonly DentryRow[]) => rows.map((row) => sortKey(row.name, row.isDirectory));

async function empty(t: Test, store: MetaStore): Promise<void> {
  t.strictSame(store.position(), { sequence: 0, epoch: 0, stagedThrough: 0, nextIno: 1 });
  t.equal(await store.getInode(1), undefined);
  t.equal(await store.getDentry(1, 'a'), undefined);
  t.strictSame(await store.listDentries(1, '', 10), []);
  t.strictSame(await store.listExtents(1, 0, 10, 10), []);
  t.strictSame(await store.listXattrs(1), []);
  t.equal(await store.getChunk(chunkOf(1)), undefined);
  t.strictSame(await store.listUnreferenced('', 10), []);
  t.strictSame(await store.listChunkUsers(chunkOf(1), 10), []);
  t.strictSame(await store.listNameless(0, 10), []);
  t.strictSame(await all((await store.snapshot()).batches), []);
  t.strictSame(await store.statistics(), { inodes: 0, dentries: 0, extents: 0, chunks: 0, chunkBytes: 0 });
}

async function sequence(t: Test, store: MetaStore): Promise<void> {
  const first = nextCommit(store, [inode(1, { mode: 0o40755 })], { epoch: 4, stagedThrough: 17, nextIno: 2 });
  await store.apply(first);
  t.strictSame(store.position(), { sequence: 1, epoch: 4, stagedThrough: 17, nextIno: 2 });
  t.equal((await store.getInode(1))?.mode, 0o40755, 'reads see the last commit');
  if (store.now !== undefined) t.strictSame(store.now.getInode(1), await store.getInode(1));
  await store.apply({ ...first, changes: [inode(9)] });
  t.equal(await store.getInode(9), undefined, 'what was applied is not applied again');
  await t.rejects(store.apply({ ...first, sequence: 3, changes: [] }), { code: 'CONFLICT' }, 'a gap');
  t.equal(store.position().sequence, 1);
  await store.apply({ ...first, sequence: 2, changes: [] });
  t.equal(store.position().sequence, 2, 'a commit without changes counts');
}

async function compareAndWrite(t: Test, store: MetaStore): Promise<void> {
  await store.apply(nextCommit(store, [inode(5), dentry(1, 'a', 5)]));
  const refused: [string, RowChange][] = [
    ['an inode that exists', inode(5)],
    ['an inode of another version', inode(5, { version: 3 }, 2)],
    ['an inode that is not there', inode(6, { version: 2 }, 1)],
    ['deleting an inode of another version', { kind: 'inode-delete', before: 2, ino: 5 }],
    ['deleting an inode that should not be there', { kind: 'inode-delete', before: 0, ino: 5 }],
    ['deleting an inode that is not there', { kind: 'inode-delete', before: 1, ino: 6 }],
    ['an entry that exists', dentry(1, 'a', 6)],
    ['an entry of another version', dentry(1, 'a', 6, { version: 2 }, 7)],
    ['an entry that is not there', dentry(1, 'b', 6, { version: 2 }, 1)],
    ['deleting an entry of another version', { ...dentryDelete('a'), before: 3 }],
    ['deleting an entry that should not be there', { ...dentryDelete('a'), before: 0 }],
    ['deleting the directory where a file stands', { ...dentryDelete('a'), isDirectory: true }],
  ];
  for (const [what, change] of refused) {
    await t.rejects(store.apply(nextCommit(store, [change])), { code: 'CONFLICT' }, what);
  }
  await store.apply(nextCommit(store, [inode(5, { version: 2, uid: 7 }, 1), dentry(1, 'a', 5, { version: 2 }, 1)]));
  t.match(await store.getInode(5), { version: 2, uid: 7 });
  t.match(await store.getDentry(1, 'a'), { version: 2 });
  const twice = [inode(5, { version: 3 }, 2), inode(5, { version: 4, gid: 8 }, 3)];
  await store.apply(nextCommit(store, twice));
  t.match(await store.getInode(5), { version: 4, gid: 8 }, 'a change sees the changes before it');
  await store.apply(nextCommit(store, [{ ...dentryDelete('a'), before: 2 }, dentry(1, 'a', 6)]));
  t.match(await store.getDentry(1, 'a'), { ino: 6 }, 'deleted and made again in one commit');
  await store.apply(
    nextCommit(store, [
      { kind: 'inode-delete', before: 0, ino: 77 },
      { ...dentryDelete('zz'), before: 0 },
    ]),
  );
  t.match(await store.statistics(), { inodes: 1, dentries: 1 }, 'what should not be there and is not');
}

async function directoryEntries(t: Test, store: MetaStore): Promise<void> {
  await store.apply(nextCommit(store, [inode(5), dentry(1, 'a', 5)]));
  const made = [
    inode(20),
    inode(21),
    dentry(1, 'd', 20, { isDirectory: true }),
    dentry(20, 'e', 21, { isDirectory: true }),
  ];
  await store.apply(nextCommit(store, made));
  t.match(await store.getDirectoryEntry(21), { parent: 20, name: 'e', ino: 21, isDirectory: true });
  t.equal(await store.getDirectoryEntry(5), undefined, 'a file may have several names');
  t.equal(await store.getDirectoryEntry(1), undefined);
  const gone = { ...dentryDelete('e'), parent: 20, isDirectory: true } as const;
  await store.apply(nextCommit(store, [gone, dentry(1, 'moved', 21, { isDirectory: true })]));
  t.match(await store.getDirectoryEntry(21), { parent: 1, name: 'moved' });
}

function dentryDelete(name: string) {
  return { kind: 'dentry-delete', before: 1, parent: 1, name, isDirectory: false } as const;
}

async function atomicity(t: Test, store: MetaStore): Promise<void> {
  await store.apply(nextCommit(store, [inode(1), extent(1, 0, 10, 1), { kind: 'xattr', row: XATTR }]));
  const state = async () => [await all((await store.snapshot()).batches), store.position(), await store.statistics()];
  const before = await state();
  const half: RowChange[] = [
    inode(1, { version: 2 }, 1),
    inode(2),
    dentry(1, 'a', 2),
    extent(1, 5, 10, 2),
    extent(2, 0, 4, 1),
    { kind: 'xattr-delete', ino: 1, name: 'user.a' },
    { kind: 'chunk', chunk: chunkOf(9), chunkBytes: 3 },
  ];
  await t.rejects(store.apply(nextCommit(store, [...half, inode(2)])), { code: 'CONFLICT' });
  t.strictSame(await state(), before);
  await store.apply(nextCommit(store, half));
  t.equal((await store.getInode(1))?.version, 2, 'the same changes pass without the one that does not fit');
}

const XATTR = { ino: 1, name: 'user.a', value: Uint8Array.of(1, 2, 3) };

async function sortOrder(t: Test, store: MetaStore): Promise<void> {
  const tricky = [
    'a',
    'a-b',
    'a!',
    'a0',
    'ab',
    'a.b',
    'A',
    '\x01',
    '\x7f',
    '\x80',
    '\xff',
    '\xff\xff',
    'é',
    '\xc3\xa9',
  ];
  const names = new Set(tricky);
  // A multiplier without a common factor scatters the numbers, so that the rows do not come in order.
  for (let i = 0; names.size < 10_000; i++) {
    const number = (i * 7919) % 10_007;
    names.add(`${String.fromCharCode(33 + (number % 14), 48 + (number % 208))}${number}`);
  }
  const rows = [...names].flatMap((name, index) => [
    dentry(1, name, 1000 + index, { isDirectory: index % 3 === 0 }),
    ...(index < tricky.length ? [dentry(1, name, 90_000 + index, { isDirectory: index % 3 !== 0 })] : []),
  ]);
  for (let start = 0; start < rows.length; start += 2500) {
    await store.apply(nextCommit(store, rows.slice(start, start + 2500)));
  }
  await store.apply(nextCommit(store, [dentry(2, 'other', 5)]));
  const expected = rows
    .map(({ row }) => Buffer.from(sortKey(row.name, row.isDirectory), 'latin1'))
    .sort(Buffer.compare)
    .map((key) => key.toString('latin1'));
  const found: string[] = [];
  let pages = 0;
  for (let after = ''; ; pages++) {
    const page = keys(await store.listDentries(1, after, 777));
    if (page.length === 0) break;
    t.ok(page.length <= 777);
    found.push(...page);
    after = page.at(-1)!;
  }
  t.equal(pages, Math.ceil(expected.length / 777));
  t.strictSame(found, expected);
  const around = keys(await store.listDentries(1, 'a', 6));
  t.strictSame(
    around,
    ['a!', 'a!/', 'a-b', 'a-b/', 'a.b', 'a.b/'],
    'S3: what sorts before a/ comes before the directory a',
  );
  t.strictSame(keys(await store.listDentries(1, 'a.b/', 2)), ['a/', 'a0']);
  t.strictSame(keys(await store.listDentries(1, 'a.c', 1)), ['a/'], 'the marker need not exist');
  t.strictSame(await store.listDentries(1, '\xff\xff/', 5), [], 'nothing after the last');
}

async function sameName(t: Test, store: MetaStore): Promise<void> {
  const directory = dentry(1, 'a', 11, { isDirectory: true });
  await store.apply(nextCommit(store, [dentry(1, 'a', 10)]));
  t.match(await store.getDentry(1, 'a'), { ino: 10, isDirectory: false, name: 'a', parent: 1 });
  await store.apply(nextCommit(store, [directory]));
  t.match(await store.getDentry(1, 'a'), { ino: 11, isDirectory: true, name: 'a' }, 'the directory is preferred');
  if (store.now !== undefined) {
    t.strictSame(store.now.getDentry(1, 'a'), await store.getDentry(1, 'a'), 'what answers at once answers the same');
    t.strictSame(store.now.listDentries(1, '', 9), await store.listDentries(1, '', 9));
    t.equal(store.now.getDentry(1, 'b'), undefined);
    await nodes(t, store);
  }
  t.equal(await store.getDentry(2, 'a'), undefined);
  await store.apply(nextCommit(store, [{ ...dentryDelete('a'), isDirectory: true }]));
  t.match(await store.getDentry(1, 'a'), { ino: 10 });
}

/** A page of entries with their inodes and one attribute says what asking for each of them says. */
async function nodes(t: Test, store: MetaStore): Promise<void> {
  const value = Buffer.from('value');
  const attribute = { kind: 'xattr', row: { ino: 10, name: 'user.x', value } } as const;
  const other = { kind: 'xattr', row: { ino: 11, name: 'user.y', value } } as const;
  const mtime = { sec: 1_700_000_000, nsec: 999_999_999 };
  const file = inode(10, { sizeBytes: 2 ** 40, mtime, contentStage: 7 });
  await store.apply(nextCommit(store, [file, inode(11, { mode: 0o040755 }), attribute, other, dentry(1, 'b', 12)]));
  const { mode, sizeBytes, contentStage } = file.row;
  const found = store.now?.listNodes(1, '', 9, 'user.x') ?? [];
  t.match(found[0], { name: 'a', ino: 10, isDirectory: false, node: { mode, sizeBytes, mtime, contentStage } });
  t.strictSame(Buffer.from(found[0]?.value ?? ''), value);
  t.match(found[1], { name: 'a', ino: 11, isDirectory: true, node: { mode: 0o040755 }, value: undefined });
  t.match(found[2], { name: 'b', ino: 12, node: undefined, value: undefined }, 'an entry without an inode is listed');
  t.equal(found.length, 3);
  t.equal(store.now?.listNodes(1, 'a', 1, 'user.x')[0]?.ino, 11, 'after the marker, up to the limit');
}

async function splices(t: Test, store: MetaStore): Promise<void> {
  const rows = async () => (await store.listExtents(5, 0, Number.MAX_SAFE_INTEGER, 100)).map(brief);
  const apply = (...changes: RowChange[]) => store.apply(nextCommit(store, changes));
  await apply(extent(5, 0, 100, 1));
  await apply(extent(5, 40, 20, 2));
  t.strictSame(await rows(), ['0+40 1@0', '40+20 2@0', '60+40 1@60'], 'in the middle: two remain');
  t.equal((await store.getChunk(chunkOf(1)))?.references, 2);
  await apply(extent(5, 30, 40, 3));
  t.strictSame(await rows(), ['0+30 1@0', '30+40 3@0', '70+30 1@70'], 'over both ends');
  t.equal((await store.getChunk(chunkOf(2)))?.references, 0);
  await apply({ kind: 'extents', ino: 5, from: 20, to: 80, extents: [] });
  t.strictSame(await rows(), ['0+20 1@0', '80+20 1@80'], 'a hole');
  await apply(extent(5, 100, 10, 4), extent(5, 20, 5, 4));
  t.strictSame(await rows(), ['0+20 1@0', '20+5 4@0', '80+20 1@80', '100+10 4@0'], 'beside others');
  await apply({ kind: 'extents', ino: 5, from: 90, to: Number.MAX_SAFE_INTEGER, extents: [] });
  t.strictSame(await rows(), ['0+20 1@0', '20+5 4@0', '80+10 1@80'], 'truncated');
  await apply({ kind: 'extents', ino: 5, from: 10, to: 10, extents: [] });
  t.strictSame(await rows(), ['0+20 1@0', '20+5 4@0', '80+10 1@80'], 'an empty range');
  const two = [...extent(5, 82, 2, 5).extents, ...extent(5, 86, 2, 6).extents];
  await apply({ kind: 'extents', ino: 5, from: 81, to: 89, extents: two });
  t.strictSame(await rows(), ['0+20 1@0', '20+5 4@0', '80+1 1@80', '82+2 5@0', '86+2 6@0', '89+1 1@89'], 'with gaps');
  await apply(extent(6, 0, 100, 1));
  await apply({ kind: 'extents', ino: 5, from: 0, to: 100, extents: [] });
  t.strictSame(await rows(), []);
  t.equal((await store.listExtents(6, 0, 100, 9)).length, 1, 'another file keeps its own');
  const many = Array.from({ length: 1000 }, (_, index) => extent(7, index * 10, 10, index % 300));
  await apply(...many);
  await apply({ kind: 'extents', ino: 7, from: 5, to: 9995, extents: [] });
  t.strictSame((await store.listExtents(7, 0, 10_000, 9)).map(brief), ['0+5 0@0', '9995+5 99@5'], 'many at once');
  t.match(await store.statistics(), { extents: 3 });
}

/** `offset+length chunk@chunkOffset`, the chunk by the number it was made from. */
function brief(row: ExtentRow): string {
  return `${row.offset}+${row.length} ${Number.parseInt(row.chunk.slice(0, 8), 16)}@${row.chunkOffset}`;
}

async function extentLists(t: Test, store: MetaStore): Promise<void> {
  const list = async (from: number, to: number, limit = 10) => (await store.listExtents(5, from, to, limit)).map(brief);
  await store.apply(nextCommit(store, [extent(5, 10, 10, 1), extent(5, 20, 10, 2), extent(5, 40, 10, 3)]));
  t.strictSame(await list(0, 10), [], 'ends where the first begins');
  t.strictSame(await list(0, 11), ['10+10 1@0']);
  t.strictSame(await list(12, 14), ['10+10 1@0'], 'within one');
  t.strictSame(await list(15, 25), ['10+10 1@0', '20+10 2@0']);
  t.strictSame(await list(20, 21), ['20+10 2@0'], 'begins where the first ends');
  t.strictSame(await list(30, 40), [], 'a gap');
  t.strictSame(await list(35, 100), ['40+10 3@0'], 'from a gap');
  t.strictSame(await list(49, Number.MAX_SAFE_INTEGER), ['40+10 3@0']);
  t.strictSame(await list(50, 60), []);
  t.strictSame(await list(0, 100, 2), ['10+10 1@0', '20+10 2@0'], 'limited');
  t.equal(await store.allocatedBytes(5), 30);
  t.equal(await store.allocatedBytes(4), 0);
  t.strictSame(await store.listExtents(4, 0, 100, 9), []);
  t.strictSame(await store.listExtents(6, 0, 100, 9), []);
  t.strictSame((await store.listExtents(5, 10, 11, 1))[0], extent(5, 10, 10, 1).extents[0], 'every field');
}

async function references(t: Test, store: MetaStore): Promise<void> {
  const apply = (...changes: RowChange[]) => store.apply(nextCommit(store, changes));
  const count = async (number: number) => (await store.getChunk(chunkOf(number)))?.references;
  await apply(extent(5, 0, 10, 1), extent(6, 0, 10, 1), extent(6, 10, 10, 2), extent(6, 20, 10, 1));
  t.equal(await count(1), 3);
  t.strictSame(await store.getChunk(chunkOf(2)), { chunk: chunkOf(2), chunkBytes: 1000, references: 1 });
  t.strictSame(await store.listChunkUsers(chunkOf(1), 10), [5, 6], 'each file once, ascending');
  t.strictSame(await store.listChunkUsers(chunkOf(1), 1), [5]);
  const cut = (ino: number): RowChange => ({ kind: 'extents', ino, from: 0, to: 100, extents: [] });
  const remove = (number: number): RowChange => ({ kind: 'chunk-delete', chunk: chunkOf(number) });
  await t.rejects(apply(remove(1)), { code: 'CONFLICT' }, 'a chunk in use');
  await t.rejects(apply(remove(8)), { code: 'CONFLICT' }, 'an unknown chunk');
  await apply(cut(6));
  t.strictSame(await store.listUnreferenced('', 10), [{ chunk: chunkOf(2), chunkBytes: 1000, references: 0 }]);
  await apply(
    cut(5),
    { kind: 'chunk', chunk: chunkOf(7), chunkBytes: 30 },
    { kind: 'chunk', chunk: chunkOf(7), chunkBytes: 30 },
  );
  const ids = async (after: string, limit: number) =>
    (await store.listUnreferenced(after, limit)).map((row) => row.chunk);
  t.strictSame(await ids('', 10), [chunkOf(1), chunkOf(2), chunkOf(7)]);
  t.strictSame(await ids('', 2), [chunkOf(1), chunkOf(2)]);
  t.strictSame(await ids(chunkOf(2), 2), [chunkOf(7)]);
  t.match(await store.statistics(), { chunks: 3, chunkBytes: 2030, extents: 0 });
  const all = await store.listChunks('', 10);
  t.strictSame(
    all.map(({ chunk, references }) => [chunk, references]),
    [1, 2, 7].map((number) => [chunkOf(number), 0]),
  );
  t.strictSame(await store.listChunks(chunkOf(1), 1), [{ chunk: chunkOf(2), chunkBytes: 1000, references: 0 }]);
  await apply(extent(5, 0, 10, 2));
  t.strictSame(await ids('', 10), [chunkOf(1), chunkOf(7)], 'named again');
  t.equal((await store.listChunks(chunkOf(1), 1))[0]?.references, 1);
  await apply(remove(1), remove(7));
  t.equal(await store.getChunk(chunkOf(1)), undefined);
  t.match(await store.statistics(), { chunks: 1, chunkBytes: 1000 });
  const other = { ...extent(5, 10, 10, 2).extents[0]!, chunkBytes: 999 };
  const lie: RowChange = { kind: 'extents', ino: 5, from: 10, to: 20, extents: [other] };
  await t.rejects(apply(lie), { code: 'CONFLICT' }, 'a chunk has one length');
}

async function nameless(t: Test, store: MetaStore): Promise<void> {
  const unlinked = [7, 5, 9, 6].map((ino) => inode(ino, { nlink: 0 }));
  await store.apply(nextCommit(store, [inode(4), ...unlinked, inode(8)]));
  t.strictSame(await store.listNameless(0, 10), [5, 6, 7, 9]);
  t.strictSame(await store.listNameless(5, 2), [6, 7]);
  await store.apply(
    nextCommit(store, [
      inode(6, { nlink: 1, version: 2 }, 1),
      inode(4, { nlink: 0, version: 2 }, 1),
      { kind: 'inode-delete', before: 1, ino: 9 },
    ]),
  );
  t.strictSame(await store.listNameless(0, 10), [4, 5, 7]);
}

async function inodeDelete(t: Test, store: MetaStore): Promise<void> {
  const many = Array.from({ length: 700 }, (_, index) => extent(5, index * 10, 10, index % 20));
  await store.apply(
    nextCommit(store, [inode(5), inode(6), ...many, extent(6, 0, 10, 3), xattr(5, 'a'), xattr(5, 'b'), xattr(6, 'a')]),
  );
  await store.apply(nextCommit(store, [{ kind: 'inode-delete', before: 1, ino: 5 }]));
  t.equal(await store.getInode(5), undefined);
  t.strictSame(await store.listExtents(5, 0, 10_000, 10), []);
  t.strictSame(await store.listXattrs(5), []);
  t.equal((await store.listXattrs(6)).length, 1);
  t.equal((await store.getChunk(chunkOf(3)))?.references, 1);
  t.equal((await store.listUnreferenced('', 100)).length, 19);
  t.match(await store.statistics(), { inodes: 1, extents: 1, chunks: 20 });
}

function xattr(ino: number, name: string, value = Uint8Array.of(7)): RowChange {
  return { kind: 'xattr', row: { ino, name, value } };
}

async function xattrs(t: Test, store: MetaStore): Promise<void> {
  const list = async () => (await store.listXattrs(5)).map(({ name, value }) => [name, ...value]);
  const large = new Uint8Array(65536).fill(9);
  await store.apply(
    nextCommit(store, [xattr(5, 'user.b'), xattr(5, 'user.\xff', new Uint8Array(0)), xattr(5, 'user.a')]),
  );
  t.strictSame(await list(), [['user.a', 7], ['user.b', 7], ['user.\xff']], 'by name, also without a value');
  await store.apply(nextCommit(store, [xattr(5, 'user.a', Uint8Array.of(8, 9)), del('user.b'), del('user.none')]));
  t.strictSame(await list(), [['user.a', 8, 9], ['user.\xff']]);
  await store.apply(nextCommit(store, [xattr(4, 'user.large', large)]));
  t.ok(Buffer.from(large).equals((await store.listXattrs(4))[0]!.value));
  function del(name: string): RowChange {
    return { kind: 'xattr-delete', ino: 5, name };
  }
}

async function extremes(t: Test, store: MetaStore): Promise<void> {
  const top = Number.MAX_SAFE_INTEGER;
  const everyByte = Array.from({ length: 255 }, (_, code) => String.fromCharCode(code + 1)).join('');
  const change = inode(top, {
    version: top,
    mode: 0xffffffff,
    uid: 0xffffffff,
    gid: 0xfffffffe,
    nlink: top - 1,
    rdev: 0xfedcba98,
    sizeBytes: top,
    atime: { sec: -(2 ** 51), nsec: 999_999_999 },
    mtime: { sec: 2 ** 51, nsec: 1 },
    target: everyByte,
    contentStage: top,
  });
  const name = everyByte.replace('/', '\x80');
  const piece: RowChange = extent(top, top - 5, 5, 1);
  await store.apply(nextCommit(store, [change, dentry(top, name, top, { version: top }), piece], { nextIno: top }));
  t.strictSame(await store.getInode(top), change.row);
  t.strictSame(await store.getDentry(top, name), dentry(top, name, top, { version: top }).row);
  t.strictSame(await store.listExtents(top, 0, top, 2), piece.extents);
  t.equal(store.position().nextIno, top);
}

async function snapshots(t: Test, store: MetaStore): Promise<void> {
  const files = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, index) => from + index).flatMap((ino) => [
      inode(ino),
      dentry(1, `file-${ino}`, ino),
      extent(ino, 0, 10, ino % 100),
    ]);
  await store.apply(
    nextCommit(store, [...files(10, 1500), xattr(10, 'a'), { kind: 'chunk', chunk: chunkOf(999), chunkBytes: 5 }]),
  );
  const before = await store.statistics();
  const snapshot = await store.snapshot();
  const position = store.position();
  const changes: RowChange[] = [];
  let ino = 2000;
  for await (const batch of snapshot.batches) {
    changes.push(...batch);
    await store.apply(
      nextCommit(store, [...files(ino, ino + 5), { kind: 'inode-delete', before: 1, ino: ino - 1990 }]),
    );
    ino += 5;
  }
  t.ok(ino > 2005, 'it came in several batches');
  t.strictSame(snapshot.position, position);
  t.notSame(await store.statistics(), before);
  await store.restore(snapshot.position, inBatches(changes, 100));
  t.strictSame(await store.statistics(), before);
  t.strictSame(store.position(), position);
  t.equal((await store.getChunk(chunkOf(999)))?.references, 0, 'chunks that wait for collection are part of it');
  const again = await all((await store.snapshot()).batches);
  const sorted = (list: readonly RowChange[]) => list.map((change) => JSON.stringify(change)).sort();
  t.strictSame(sorted(again), sorted(changes));

  const abandoned = (await store.snapshot()).batches[Symbol.asyncIterator]();
  await abandoned.return?.();
  t.match(await abandoned.next(), { done: true }, 'returned before it began');
  for await (const _ of (await store.snapshot()).batches) break;
  await store.apply(nextCommit(store, []));
}

async function restores(t: Test, store: MetaStore): Promise<void> {
  await store.apply(nextCommit(store, [inode(1), dentry(1, 'old', 5), extent(5, 0, 10, 1), xattr(5, 'a')]));
  const state = async () => [await all((await store.snapshot()).batches), store.position(), await store.statistics()];
  const before = await state();
  const position: MetaPosition = { sequence: 70, epoch: 3, stagedThrough: 12, nextIno: 40 };
  const changes: RowChange[] = [extent(7, 0, 10, 2), dentry(1, 'new', 7), inode(7, { version: 5 }), xattr(7, 'b')];
  async function* failing(): AsyncGenerator<readonly RowChange[]> {
    yield* inBatches(changes, 1);
    throw new Error('the disk went away');
  }
  await t.rejects(store.restore(position, failing()), /the disk went away/);
  t.strictSame(await state(), before, 'what failed left no trace');
  await t.rejects(store.restore(position, inBatches([...changes, inode(7)])), 'a contradiction is refused');
  t.strictSame(await state(), before);
  await store.restore(position, inBatches(changes));
  t.strictSame(store.position(), position);
  t.strictSame(keys(await store.listDentries(1, '', 10)), ['new']);
  t.equal(await store.getInode(1), undefined);
  t.match(await store.getInode(7), { version: 5 });
  t.strictSame(await store.statistics(), { inodes: 1, dentries: 1, extents: 1, chunks: 1, chunkBytes: 1000 });
  await store.apply(nextCommit(store, [inode(8)]));
  t.equal(store.position().sequence, 71, 'commits go on from there');
}

async function closed(t: Test, store: MetaStore): Promise<void> {
  await store.apply(nextCommit(store, [inode(1)]));
  await store.close();
  await t.rejects(store.getInode(1), { code: 'CLOSED' });
  if (store.now !== undefined) t.throws(() => store.now?.getInode(1), { code: 'CLOSED' });
  await t.rejects(store.apply(nextCommit(store, [])), { code: 'CLOSED' });
  await store.close();
}
