/** What the table of inodes keeps in memory, and what it knows of those that it has forgotten. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { CacheAccount } from '../../../src/cache/cache-account.js';
import type { ContentFiles } from '../../../src/cache/file-content.js';
import { ROOT_INO } from '../../../src/meta/rows.js';
import { openSqliteMetaStore } from '../../../src/meta/sqlite-meta-store.js';
import { BoundedMap } from '../../../src/vfs/bounded-map.js';
import { Handles } from '../../../src/vfs/handles.js';
import { InodeTable } from '../../../src/vfs/inode-table.js';
import { KnownPlaces } from '../../../src/vfs/known-places.js';
import { listDirectory } from '../../../src/vfs/list-directory.js';
import type { Attr } from '../../../src/vfs/vfs.js';
import { dentry, inode, nextCommit } from '../../conformance/meta-rows.js';

const KEPT = 100;
const FILES = 1000;
const DIR = 2;
const FIRST = 10;
const SUBDIR = FIRST + FILES;
/** Nothing is cached. */
const NO_FILES: ContentFiles = {
  writeNow: () => undefined,
  readNow: () => 0,
  isDoubtful: () => false,
  writebackFailure: () => undefined,
};

/** A table over a store with a directory of so many files, and one in it. */
async function table(t: Test) {
  const meta = await openSqliteMetaStore(join(t.testdir(), 'meta.sqlite'));
  t.teardown(() => meta.close());
  const directory = { mode: 0o040755, nlink: 2 };
  const rows = [inode(ROOT_INO, directory), inode(DIR, directory), inode(SUBDIR, directory)];
  const names = [
    dentry(ROOT_INO, 'dir', DIR, { isDirectory: true }),
    dentry(DIR, 'sub', SUBDIR, { isDirectory: true }),
  ];
  for (let i = 0; i < FILES; i++) {
    rows.push(inode(FIRST + i, { sizeBytes: i, uid: i, mtime: { sec: i, nsec: 5 } }));
    names.push(dentry(DIR, `f${i}`, FIRST + i));
  }
  await meta.apply(nextCommit(meta, [...rows, ...names]));
  const account = new CacheAccount(
    { capacityBytes: 1, memoryBytes: 1 },
    { removeFile: async () => undefined, punch: async () => undefined },
  );
  return { meta, table: new InodeTable(meta, NO_FILES, account, KEPT) };
}

const turns = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await new Promise(setImmediate);
};

t.test('of more inodes than there is room for those that are in use stay, as the objects that they are', async (t) => {
  const { table: inodes } = await table(t);
  const open = (await inodes.find(FIRST))!;
  open.opens = 1;
  const changed = (await inodes.find(FIRST + 1))!;
  changed.attrDirty = true;
  const used = (await inodes.find(FIRST + 2))!;
  const idle = (await inodes.find(FIRST + 3))!;
  const idleSeen = { ...idle, blocks: idle.blocks };
  let most = 0;
  for (let i = 4; i < FILES; i++) {
    await inodes.find(FIRST + i);
    await inodes.get(used.ino);
    most = Math.max(most, inodes.size);
    if (i % 10 === 0) await turns();
  }
  t.ok(most <= KEPT + 10, `${most} at most`);
  for (const one of [open, changed, used]) t.equal(await inodes.get(one.ino), one);
  t.equal(inodes.peek(idle.ino), undefined);
  const again = (await inodes.get(idle.ino))!;
  t.not(again, idle);
  for (const key of ['ino', 'mode', 'uid', 'sizeBytes', 'mtime', 'ctime', 'version', 'blocks'] as const)
    t.same(again[key], idleSeen[key], key);
});

t.test('what cannot be forgotten is more than there is room for, and is not looked at all the time', async (t) => {
  const { table: inodes } = await table(t);
  for (let i = 0; i < FILES / 2; i++) (await inodes.find(FIRST + i))!.attrDirty = true;
  await turns();
  t.equal(inodes.size, FILES / 2);
  for (const each of inodes.values()) each.attrDirty = false;
  for (let i = FILES / 2; i < FILES; i++) await inodes.find(FIRST + i);
  await turns();
  t.ok(inodes.size <= KEPT, 'as soon as it can be, it goes');
});

t.test('a listing with attributes leaves no file in memory, and yet it is known where each lies', async (t) => {
  const { table: inodes } = await table(t);
  const dir = (await inodes.find(DIR))!;
  const open = (await inodes.find(FIRST + 7))!;
  open.sizeBytes = 77;
  const handles = new Handles();
  const handle = handles.directory(handles.openDirectory(dir));
  const listed = new Map<string, Attr | undefined>();
  await listDirectory(handle, handles, inodes, 0, true, ({ name }, attr) => {
    listed.set(name, attr);
    return true;
  });
  t.equal(inodes.size, 3, 'the directory, the one in it, and the file that was there');
  t.equal(listed.size, FILES + 1 + 2);
  t.match(listed.get('f500'), { ino: FIRST + 500, uid: 500, sizeBytes: 500, blocks: 1, mtime: { sec: 500, nsec: 5 } });
  t.match(listed.get('f7'), { sizeBytes: 77 }, 'what is in memory is told from there');
  t.equal(listed.get('sub'), inodes.peek(SUBDIR), 'a directory can be remembered by its number');
  const opened = (await inodes.get(FIRST + 500))!;
  t.match(opened, { parent: DIR, name: 'f500' });
  t.not(opened.content, undefined, 'and is a file as others are');
  const modes: number[] = [];
  await listDirectory(handle, handles, inodes, 0, false, ({ mode }) => modes.push(mode) > 0);
  t.equal(modes.filter((mode) => mode === 0o100644).length, FILES);
  t.equal(inodes.size, 4, 'nor does one without');
});

t.test('how often a directory is remembered is known beyond its being forgotten', async (t) => {
  const { table: inodes } = await table(t);
  const sub = (await inodes.find(SUBDIR))!;
  sub.seenIn(DIR, 'sub');
  sub.holds = 3;
  t.equal(inodes.mayBeHeld(DIR), false);
  for (let i = 0; i < 3 * KEPT; i++) await inodes.find(FIRST + i);
  await turns();
  t.equal(inodes.peek(SUBDIR), undefined);
  t.equal(inodes.mayBeHeld(SUBDIR), true);
  t.equal(inodes.mayBeHeld(DIR), false, 'others are not taken for it');
  t.equal(inodes.unhold(SUBDIR, 2), undefined);
  t.equal(inodes.mayBeHeld(SUBDIR), true);
  const again = (await inodes.get(SUBDIR))!;
  t.match(again, { holds: 1, parent: DIR, name: 'sub' });
  t.equal(inodes.unhold(SUBDIR, 1), again);
  t.equal(inodes.mayBeHeld(SUBDIR), false);
  t.equal(inodes.unhold(SUBDIR, 1), undefined, 'once only');
  again.holds = 1;
  for (let i = 0; i < 3 * KEPT; i++) await inodes.find(FIRST + i);
  await turns();
  inodes.unhold(SUBDIR, 5);
  t.equal(inodes.mayBeHeld(SUBDIR), false, 'given back while it was forgotten');
});

t.test('places and maps keep what came last, and no more than there is room for', async (t) => {
  const places = new KnownPlaces();
  const many = 1_100_000;
  for (let ino = 1; ino <= many; ino++) places.put(ino, ino + 1, `n${ino}`);
  t.same(places.take(many - 30_000), { parent: many - 29_999, name: `n${many - 30_000}` });
  t.equal(places.take(many - 30_000), undefined, 'taken once');
  t.equal(places.take(many - 40_000), undefined);
  places.keepMany();
  for (let ino = 1; ino <= many; ino++) places.put(ino, ino + 1, '');
  t.same(places.take(many - 500_000), { parent: many - 499_999, name: '' });
  t.equal(places.take(many - 600_000), undefined);

  const map = new BoundedMap<string, number>(100);
  for (let i = 1; i <= 1000; i++) {
    map.set(`${i}`, i);
    if (i % 3 === 0) map.delete(`${i - 1}`);
  }
  const known = Array.from({ length: 1000 }, (_, i) => i + 1).filter((i) => map.get(`${i}`) === i);
  t.ok(known.length <= 100, `${known.length} of 1000`);
  for (let i = 951; i <= 1000; i++) t.equal(map.get(`${i}`), i % 3 === 2 && i < 1000 ? undefined : i, `${i}`);
});
