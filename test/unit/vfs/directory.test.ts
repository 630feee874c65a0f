import t from 'tap';
import { ROOT_INO } from '../../../src/meta/rows.js';
import { Directory } from '../../../src/vfs/directory.js';
import { KnownNames } from '../../../src/vfs/known-names.js';
import { MemoryMetaStore } from '../../conformance/memory-meta-store.js';
import { dentry, inode, nextCommit } from '../../conformance/meta-rows.js';

const DIR = 5;

/** A committed directory with `a` in it, and how often its store has been asked for an entry. */
async function directory() {
  const meta = new MemoryMetaStore();
  await meta.apply(nextCommit(meta, [inode(ROOT_INO), inode(DIR), inode(7), dentry(DIR, 'a', 7)]));
  const counts = { asked: 0 };
  const getDentry = meta.getDentry.bind(meta);
  meta.getDentry = (parent, name) => {
    counts.asked += 1;
    return getDentry(parent, name);
  };
  return { meta, counts, dir: new Directory(DIR, meta, new KnownNames(), false) };
}

t.test('what is not there is asked for once, also when it is made then', async (t) => {
  const { dir, counts } = await directory();
  t.equal(await dir.lookup('b'), undefined);
  t.equal(dir.lookup('b'), undefined, 'at once');
  const entry = await dir.entry('b');
  t.match(entry, { base: undefined, target: undefined });
  t.equal(counts.asked, 1);
  for (let i = 0; i < 1000; i++) await dir.lookup(`none-${i}`);
  t.match(await dir.lookup('a'), { ino: 7 });
});

t.test('a name that was made, committed and put away is found in the store again', async (t) => {
  const { meta, dir } = await directory();
  t.equal(await dir.lookup('b'), undefined);
  const entry = await dir.entry('b');
  dir.change(entry, { ino: 9, isDirectory: false });
  t.match(await dir.lookup('b'), { ino: 9 });
  dir.taken(entry);
  const made = dentry(DIR, 'b', 9);
  await meta.apply(nextCommit(meta, [inode(9), made]));
  dir.applied(entry, made.row);
  t.equal(dir.entries.size, 0);
  t.match(await dir.lookup('b'), { ino: 9 });
});

t.test('what changes while the store is being asked is not remembered as missing', async (t) => {
  const { meta, dir } = await directory();
  const asked = dir.lookup('b');
  const entry = await dir.entry('b');
  dir.change(entry, { ino: 9, isDirectory: false });
  dir.taken(entry);
  const made = dentry(DIR, 'b', 9);
  await meta.apply(nextCommit(meta, [inode(9), made]));
  dir.applied(entry, made.row);
  await asked;
  t.match(await dir.lookup('b'), { ino: 9 });
});

t.test('what is there is asked for once, and again not after a commit has changed it', async (t) => {
  const { meta, dir, counts } = await directory();
  t.match(await dir.lookup('a'), { ino: 7 });
  t.match(dir.lookup('a'), { ino: 7 }, 'at once');
  t.equal(counts.asked, 1);
  const entry = await dir.entry('a');
  t.match(entry.base, { ino: 7, version: 1 }, 'the record begins with what is known');
  dir.change(entry, { ino: 9, isDirectory: false });
  t.match(await dir.lookup('a'), { ino: 9 });
  dir.taken(entry);
  const made = dentry(DIR, 'a', 9, { version: 2 }, 1);
  await meta.apply(nextCommit(meta, [inode(9), made]));
  dir.applied(entry, made.row);
  t.match(dir.lookup('a'), { ino: 9, version: 2 }, 'the committed row is known');
  t.equal(counts.asked, 1);
});

t.test('what changes while the store is being asked is not remembered as it was', async (t) => {
  const { meta, dir } = await directory();
  const asked = dir.lookup('a');
  const entry = await dir.entry('a');
  dir.change(entry, undefined);
  dir.taken(entry);
  await meta.apply(
    nextCommit(meta, [{ kind: 'dentry-delete', before: 1, parent: DIR, name: 'a', isDirectory: false }]),
  );
  dir.applied(entry, undefined);
  await asked;
  t.equal(await dir.lookup('a'), undefined);
});

t.test('so many names are known, and the first go', (t) => {
  const known = new KnownNames(2);
  const rows = ['x', 'y', 'z'].map((name) => dentry(DIR, name, 7).row);
  for (const row of rows) known.put(row);
  t.equal(known.get(DIR, 'x'), undefined);
  t.equal(known.get(DIR, 'y'), rows[1]);
  t.equal(known.get(DIR + 1, 'y'), undefined, 'another directory');
  known.forget(DIR, 'z');
  t.equal(known.get(DIR, 'z'), undefined);
  t.end();
});
