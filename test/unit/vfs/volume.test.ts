import t, { type Test } from 'tap';
import { hasCode } from '../../../src/errors/cairn-error.js';
import { ROOT_INO } from '../../../src/meta/rows.js';
import type { Attr, Caller, Ino, Vfs } from '../../../src/vfs/vfs.js';
import { listNames, readAll } from './compare-tree.js';
import { PoolFixture } from './pool-fixture.js';

const CALLER: Caller = { uid: 1000, gid: 1000, pid: 1 };
const RW = { read: true, write: true };
const FOREVER = 86_400_000;

async function fails(t: Test, code: string, task: () => unknown, what: string): Promise<void> {
  try {
    await task();
    t.fail(`${what}: nothing was refused`);
  } catch (error) {
    t.equal((error as { code?: string }).code, code, what);
  }
}

async function put(vfs: Vfs, parent: Ino, name: string, bytes: Uint8Array): Promise<Attr> {
  const { attr, handle } = await vfs.create(parent, name, 0o644, RW, CALLER);
  await vfs.write(handle, 0, bytes);
  await vfs.release(handle);
  return vfs.getattr(attr.ino);
}

function times({ atime, mtime, ctime }: Attr): { atime: string; mtime: string; ctime: string } {
  const text = ({ sec, nsec }: { sec: number; nsec: number }) => `${sec}.${String(nsec).padStart(9, '0')}`;
  return { atime: text(atime), mtime: text(mtime), ctime: text(ctime) };
}

/** Which times of the inodes an operation moves: `m`, `c`, `mc` or ``. */
async function moved(vfs: Vfs, inos: readonly Ino[], task: () => unknown): Promise<string[]> {
  const before = await Promise.all(inos.map(async (ino) => times(await vfs.getattr(ino))));
  // The clock has microseconds: none of the times may be the one before by chance.
  for (const start = performance.now(); performance.now() - start < 0.05; );
  await task();
  const after = await Promise.all(inos.map(async (ino) => times(await vfs.getattr(ino))));
  return after.map((now, i) => {
    const then = before[i]!;
    return (now.mtime > then.mtime ? 'm' : '') + (now.ctime > then.ctime ? 'c' : '');
  });
}

t.test('names', async (t) => {
  const { vfs } = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const long = '\xe4'.repeat(255);
  await vfs.mkdir(ROOT_INO, long, 0o755, CALLER);
  t.ok(await vfs.lookup(ROOT_INO, long), '255 bytes of any value');
  await fails(t, 'NAME_TOO_LONG', () => vfs.mkdir(ROOT_INO, `${long}x`, 0o755, CALLER), '256 bytes');
  for (const name of ['', '.', '..', 'a/b', 'a\0b'])
    await fails(t, 'INVALID', () => vfs.mkdir(ROOT_INO, name, 0o755, CALLER), JSON.stringify(name));
  await fails(t, 'EXISTS', () => vfs.mkdir(ROOT_INO, long, 0o755, CALLER), 'a name that is taken');
  await fails(t, 'NOT_FOUND', () => vfs.unlink(ROOT_INO, 'none'), 'unlink of nothing');
  await fails(t, 'IS_DIRECTORY', () => vfs.unlink(ROOT_INO, long), 'unlink of a directory');
  const file = await put(vfs, ROOT_INO, 'file', Buffer.from('x'));
  await fails(t, 'NOT_DIRECTORY', () => vfs.rmdir(ROOT_INO, 'file'), 'rmdir of a file');
  await fails(t, 'NOT_DIRECTORY', () => vfs.lookup(file.ino, 'x'), 'lookup in a file');
  await fails(t, 'NAME_TOO_LONG', () => vfs.symlink(ROOT_INO, 'link', 'x'.repeat(4096), CALLER), 'a long target');
});

t.test('link counts, parents and set-group-id', async (t) => {
  const { vfs } = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const a = await vfs.mkdir(ROOT_INO, 'a', 0o2755, { ...CALLER, gid: 77 });
  const b = await vfs.mkdir(a.ino, 'b', 0o755, CALLER);
  t.match(b, { gid: 77, mode: 0o042755, nlink: 2 }, 'a directory inherits group and bit');
  t.match(await put(vfs, a.ino, 'f', Buffer.alloc(1)), { gid: 77, mode: 0o100644 }, 'a file inherits the group');
  t.equal((await vfs.getattr(a.ino)).nlink, 3);
  t.equal((await vfs.lookup(b.ino, '..'))?.ino, a.ino);
  await vfs.rename(a.ino, 'b', ROOT_INO, 'b', {});
  t.equal((await vfs.lookup(b.ino, '..'))?.ino, ROOT_INO);
  t.equal((await vfs.getattr(a.ino)).nlink, 2);
  t.equal((await vfs.getattr(ROOT_INO)).nlink, 4);
  await fails(t, 'INVALID', () => vfs.rename(ROOT_INO, 'a', a.ino, 'x', {}), 'a directory into itself');
  await vfs.rename(ROOT_INO, 'b', a.ino, 'b', {});
  await fails(
    t,
    'INVALID',
    () => vfs.rename(a.ino, 'b', ROOT_INO, 'a', { exchange: true }),
    'exchange with its parent',
  );
  await fails(t, 'EXISTS', () => vfs.rename(a.ino, 'f', a.ino, 'f', { noReplace: true }), 'RENAME_NOREPLACE on itself');
  await fails(t, 'NOT_EMPTY', () => vfs.rmdir(ROOT_INO, 'a'), 'a full directory');
  await fails(t, 'NOT_PERMITTED', () => vfs.link(a.ino, ROOT_INO, 'c'), 'a second name for a directory');
});

t.test('the times that operations move', async (t) => {
  const { vfs } = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const dir = (await vfs.mkdir(ROOT_INO, 'd', 0o755, CALLER)).ino;
  const { ino } = await put(vfs, ROOT_INO, 'f', Buffer.from('bytes'));
  const handle = await vfs.open(ino, RW);
  const three = [ino, ROOT_INO, dir];
  t.same(await moved(vfs, three, () => vfs.write(handle, 0, Buffer.from('x'))), ['mc', '', ''], 'write');
  t.same(await moved(vfs, three, () => vfs.write(handle, 0, Buffer.alloc(0))), ['', '', ''], 'write of nothing');
  t.same(await moved(vfs, three, () => vfs.setattr(ino, { sizeBytes: 5 }, CALLER)), ['mc', '', ''], 'same size');
  t.same(await moved(vfs, three, () => vfs.setattr(ino, { mode: 0o600 }, CALLER)), ['c', '', ''], 'chmod');
  t.same(await moved(vfs, three, () => vfs.link(ino, dir, 'g')), ['c', '', 'mc'], 'link');
  t.same(await moved(vfs, three, () => vfs.unlink(dir, 'g')), ['c', '', 'mc'], 'unlink');
  t.same(await moved(vfs, three, () => vfs.rename(ROOT_INO, 'f', dir, 'f', {})), ['c', 'mc', 'mc'], 'rename');
  t.same(await moved(vfs, three, () => vfs.setxattr(ino, 'user.a', Buffer.alloc(1), 'set')), ['c', '', ''], 'setxattr');
  t.same(await moved(vfs, three, () => vfs.fsync(handle, false)), ['', '', ''], 'fsync');
  await vfs.setattr(ino, { sizeBytes: 0 }, CALLER);
  const truncate = async () => vfs.release(await vfs.open(ino, { ...RW, truncate: true }));
  t.same(await moved(vfs, three, truncate), ['mc', '', ''], 'O_TRUNC of an empty file');
  const time = { sec: 12, nsec: 34 };
  const attr = await vfs.setattr(ino, { mtime: time, atime: time }, CALLER);
  t.match(attr, { mtime: time, atime: time }, 'utimensat');
});

t.test('privileges go with chown, and with a write by someone who may not keep them', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const { ino } = await put(fixture.vfs, ROOT_INO, 'f', Buffer.from('bytes'));
  await fixture.vfs.setattr(ino, { mode: 0o6755 }, CALLER);
  t.equal((await fixture.vfs.setattr(ino, { uid: 5 }, CALLER)).mode, 0o100755, 'chown');
  await fixture.vfs.setattr(ino, { mode: 0o6644 }, CALLER);
  await fixture.vfs.setxattr(ino, 'security.capability', Buffer.from('all'), 'set');
  await fixture.reopen();
  const { vfs } = fixture;
  const handle = await vfs.open(ino, RW);
  await vfs.write(handle, 0, Buffer.from('x'));
  t.equal((await vfs.getattr(ino)).mode, 0o106644, 'kept by a privileged writer');
  const { gid } = await vfs.getattr(ino);
  await vfs.write(handle, 0, Buffer.from('x'), { uid: 5, gid, pid: 0 });
  t.equal((await vfs.getattr(ino)).mode, 0o102644, 'set-group-id without group execution means something else');
  await fails(t, 'NO_DATA', () => vfs.getxattr(ino, 'security.capability'), 'the capability');
  await vfs.write(handle, 0, Buffer.from('x'), { uid: 5, gid: gid + 1, pid: 0 });
  t.equal((await vfs.getattr(ino)).mode, 0o100644, 'but not to who is not of the group');
});

t.test('extended attributes', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const { ino } = await put(fixture.vfs, ROOT_INO, 'f', Buffer.from('bytes'));
  await fixture.vfs.setxattr(ino, 'user.a', Buffer.from('1'), 'create');
  await fixture.reopen();
  const { vfs } = fixture;
  const told = async (word: string) => Buffer.from(await vfs.getxattr(ino, `user.cairn.${word}`)).toString();
  t.equal(await told('state'), 'committed');
  await fails(t, 'EXISTS', () => vfs.setxattr(ino, 'user.a', Buffer.from('2'), 'create'), 'create of a committed one');
  await vfs.setxattr(ino, 'user.a', Buffer.from('2'), 'replace');
  t.equal(await told('state'), 'staged');
  await fails(t, 'NO_DATA', () => vfs.setxattr(ino, 'user.b', Buffer.from('2'), 'replace'), 'replace of none');
  await vfs.removexattr(ino, 'user.a');
  await fails(t, 'NO_DATA', () => vfs.removexattr(ino, 'user.a'), 'remove of a removed one');
  await fails(t, 'NO_DATA', () => vfs.setxattr(ino, 'user.a', Buffer.from('2'), 'replace'), 'replace of a removed one');
  await fails(t, 'NOT_SUPPORTED', () => vfs.setxattr(ino, 'system.a', Buffer.from('2'), 'set'), 'another namespace');
  await fails(t, 'TOO_BIG', () => vfs.setxattr(ino, 'user.a', Buffer.alloc(65_537), 'set'), 'a big value');
  for (let i = 0; i < 7; i++) await vfs.setxattr(ino, `user.${i}`, Buffer.alloc(65_536), 'set');
  await vfs.setxattr(ino, 'user.0', Buffer.alloc(65_535), 'set');
  await fails(t, 'NO_SPACE', () => vfs.setxattr(ino, 'user.8', Buffer.alloc(65_536), 'set'), 'more than 512 KiB');
  t.equal((await vfs.listxattr(ino)).length, 7);
  await fixture.pool.commit();
  t.same([await told('state'), await told('chunks'), await told('health')], ['committed', '1', 'healthy']);
  t.match(await told('scheme'), /^copies:/);
  t.equal((await vfs.listxattr(ino)).length, 7, 'what says how a file is, is not listed: it would be copied with it');
  await fails(t, 'NO_DATA', () => vfs.getxattr(ino, 'user.cairn.constructor'), 'none of these');
  await fails(t, 'NOT_PERMITTED', () => vfs.setxattr(ino, 'user.cairn.state', Buffer.from('x'), 'set'), 'to be set');
  await fails(t, 'NOT_PERMITTED', () => vfs.removexattr(ino, 'user.cairn.state'), 'to be removed');
});

t.test('sparse files, holes and seek', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const { attr, handle } = await fixture.vfs.create(ROOT_INO, 'f', 0o644, RW, CALLER);
  const check = async (vfs: Vfs, h: number, what: string): Promise<void> => {
    t.equal(await vfs.seek(h, 0, 'data'), 200_000, `${what}: first data`);
    t.equal(await vfs.seek(h, 0, 'hole'), 0, `${what}: first hole`);
    t.equal(await vfs.seek(h, 200_050, 'hole'), 200_100, `${what}: hole behind`);
    t.equal(await vfs.seek(h, 250_000, 'data'), 300_000, `${what}: next data`);
    t.equal(await vfs.seek(h, 300_000, 'hole'), 300_100, `${what}: the end is a hole`);
    await fails(t, 'NO_EXTENT', () => vfs.seek(h, 300_100, 'data'), `${what}: beyond the end`);
    const bytes = await readAll(vfs, h, 199_999, 102);
    t.same(bytes, Buffer.concat([Buffer.alloc(1), Buffer.alloc(100, 1), Buffer.alloc(1)]), `${what}: bytes`);
  };
  await fixture.vfs.write(handle, 200_000, Buffer.alloc(100, 1));
  await fixture.vfs.write(handle, 250_000, Buffer.alloc(100, 2));
  await fixture.vfs.fallocate(handle, { keepSize: true, punchHole: true, zeroRange: false }, 250_000, 100);
  await fixture.vfs.write(handle, 300_000, Buffer.alloc(100, 3));
  await check(fixture.vfs, handle, 'staged');
  await fixture.reopenWithout('cache');
  const open = await fixture.vfs.open(attr.ino, RW);
  await check(fixture.vfs, open, 'committed');
  const { vfs } = fixture;
  await vfs.setattr(attr.ino, { sizeBytes: 200_050 }, CALLER);
  await vfs.setattr(attr.ino, { sizeBytes: 300_100 }, CALLER);
  t.same(
    await readAll(vfs, open, 200_049, 300),
    Buffer.concat([Buffer.alloc(1, 1), Buffer.alloc(299)]),
    'cut and grown',
  );
  await fails(t, 'NO_EXTENT', () => vfs.seek(open, 200_050, 'data'), 'no data after it was cut');
  await vfs.fallocate(open, { keepSize: false, punchHole: false, zeroRange: true }, 200_010, 400_000);
  t.equal((await vfs.getattr(attr.ino)).sizeBytes, 600_010, 'zero range extends');
  t.same(await readAll(vfs, open, 200_009, 5), Buffer.from([1, 0, 0, 0, 0]));
});

t.test('appending handles write at the end, wherever it is', async (t) => {
  const { vfs } = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const { handle } = await vfs.create(ROOT_INO, 'f', 0o644, { ...RW, append: true }, CALLER);
  await vfs.write(handle, 0, Buffer.from('one'));
  await vfs.write(handle, 0, Buffer.from('two'));
  t.equal((await readAll(vfs, handle, 0, 100)).toString(), 'onetwo');
});

t.test('a removed directory takes no new names and lists none', async (t) => {
  const { vfs } = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const { ino } = await vfs.mkdir(ROOT_INO, 'd', 0o755, CALLER);
  const handle = await vfs.opendir(ino);
  await vfs.rmdir(ROOT_INO, 'd');
  await fails(t, 'NOT_FOUND', () => vfs.create(ino, 'f', 0o644, RW, CALLER), 'create');
  const names: string[] = [];
  await vfs.readdir(handle, 0, false, ({ name }) => names.push(name) > 0);
  t.same(names, []);
  await vfs.releasedir(handle);
  await fails(t, 'STALE', () => vfs.getattr(ino), 'getattr when nobody has it open');
});

t.test('removing while listing meets every entry', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const { ino } = await fixture.vfs.mkdir(ROOT_INO, 'd', 0o755, CALLER);
  const make = async (from: number, to: number): Promise<void> => {
    for (let i = from; i < to; i++) await fixture.vfs.mknod(ino, `file-${i}`, 0o100644, 0, CALLER);
  };
  await make(0, 1500);
  await fixture.reopen();
  await make(1500, 2500);
  const { vfs } = fixture;
  const handle = await vfs.opendir(ino);
  let cookie = 0;
  let removed = 0;
  for (;;) {
    const page: string[] = [];
    await vfs.readdir(handle, cookie, false, (entry) => {
      if (page.length === 100) return false;
      cookie = entry.cookie;
      if (!entry.name.startsWith('.')) page.push(entry.name);
      return true;
    });
    if (page.length === 0) break;
    for (const name of page) await vfs.unlink(ino, name);
    removed += page.length;
    if (removed % 700 === 0) await fixture.pool.control.commit(['/'], () => {});
    // New names sort before those already met: they are not met, nor do they move the others.
    await vfs.mknod(ino, `a-${removed}`, 0o100644, 0, CALLER);
    await vfs.unlink(ino, `a-${removed}`);
  }
  await vfs.releasedir(handle);
  t.equal(removed, 2500);
  await vfs.rmdir(ROOT_INO, 'd');
});

t.test('a directory and a file of one prefix are listed once each', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  for (const name of ['a', 'a.b', 'a-b', 'b']) await fixture.vfs.mkdir(ROOT_INO, name, 0o755, CALLER);
  await fixture.reopen();
  const { vfs } = fixture;
  await vfs.rmdir(ROOT_INO, 'a');
  await put(vfs, ROOT_INO, 'a', Buffer.from('now a file'));
  t.same([...(await listNames(vfs, ROOT_INO, 1)).keys()], ['a', 'a-b', 'a.b', 'b']);
  await fixture.reopen();
  t.same([...(await listNames(fixture.vfs, ROOT_INO, 1)).keys()], ['a', 'a-b', 'a.b', 'b']);
});

t.test('65,000 names of one file', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: 0 });
  const { vfs } = fixture;
  const { ino } = await put(vfs, ROOT_INO, 'f', Buffer.from('x'));
  for (let i = 1; i < 65_000; i++) await vfs.link(ino, ROOT_INO, `l${i}`);
  t.equal((await vfs.getattr(ino)).nlink, 65_000);
  await fails(t, 'TOO_MANY_LINKS', () => vfs.link(ino, ROOT_INO, 'one-more'), '65,001');
  await fixture.reopen();
  t.equal((await fixture.vfs.getattr(ino)).nlink, 65_000);
});

t.test('concurrent changes of names leave one winner', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  for (let i = 0; i < 20; i++) await put(fixture.vfs, ROOT_INO, `f${i}`, Buffer.from('x'));
  const { ino: dir } = await fixture.vfs.mkdir(ROOT_INO, 'd', 0o755, CALLER);
  await fixture.reopen();
  const { vfs } = fixture;
  // Nothing is loaded: every operation looks its names up in the store first.
  const results = await Promise.allSettled(
    Array.from({ length: 20 }, (_, i) => i).flatMap((i) => [
      Promise.resolve().then(() => vfs.unlink(ROOT_INO, `f${i}`)),
      Promise.resolve().then(() => vfs.rename(ROOT_INO, `f${i}`, ROOT_INO, 'target', {})),
      Promise.resolve().then(() => vfs.create(ROOT_INO, `f${i}`, 0o644, RW, CALLER)),
    ]),
  );
  for (const result of results)
    if (result.status === 'rejected') t.ok(hasCode(result.reason, 'NOT_FOUND', 'EXISTS'), String(result.reason));
  const [removed, created] = await Promise.allSettled([
    Promise.resolve().then(() => vfs.rmdir(ROOT_INO, 'd')),
    Promise.resolve().then(() => vfs.mkdir(dir, 'inside', 0o755, CALLER)),
  ]);
  t.not(removed.status, created.status, 'either the directory went or the name came');
  const found = [...(await listNames(vfs, ROOT_INO)).entries()];
  await fixture.reopenWithout('cache');
  for (const [name, { ino, nlink }] of found)
    t.match(await fixture.vfs.lookup(ROOT_INO, name), { ino, nlink }, `${name} is what it was`);
});

t.test('whatever a user asks for counts as user work, for which work in the background stands back', async (t) => {
  const { vfs, pool } = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const { userWork } = pool.parts;
  const counts = async (what: string, task: () => unknown): Promise<void> => {
    const before = userWork.requests;
    await task();
    t.ok(userWork.requests > before, what);
  };
  const { attr, handle } = await vfs.create(ROOT_INO, 'f', 0o644, RW, CALLER);
  const listed = await vfs.opendir(ROOT_INO);
  await counts('write', () => vfs.write(handle, 0, Buffer.from('bytes')));
  await counts('read', () => vfs.read(handle, 0, 5));
  await counts('getattr', () => vfs.getattr(attr.ino));
  await counts('setattr', () => vfs.setattr(attr.ino, { mode: 0o600 }, CALLER));
  await counts('readdir', () => vfs.readdir(listed, 0, true, () => true));
  await counts('lookup', () => vfs.lookup(ROOT_INO, 'f'));
  await counts('open', async () => vfs.release(await vfs.open(attr.ino, { read: true, write: false })));
  await counts('fsync', () => vfs.fsync(handle, false));
  await counts('unlink', () => vfs.unlink(ROOT_INO, 'f'));
  t.equal(userWork.waiting, 0, 'nobody waits for an answer');
  await vfs.release(handle);
  await vfs.releasedir(listed);
});

t.test('reading moves the access time as with relatime, and waits for nothing', async (t) => {
  const { vfs, pool } = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const { ino } = await put(vfs, ROOT_INO, 'f', Buffer.from('bytes'));
  const old = { sec: 1_000_000, nsec: 0 };
  const handle = await vfs.open(ino, { read: true, write: false });
  const read = () => vfs.read(handle, 0, 5);
  const atime = async () => (await vfs.getattr(ino)).atime.sec;
  await vfs.setattr(ino, { atime: old, mtime: old }, CALLER);
  await pool.commit();
  // As many changes of names wait as a commit takes: what is only read adds none.
  Object.defineProperty(pool.parts.staged, 'namespaceBytes', {
    get: () => Number.MAX_SAFE_INTEGER,
    configurable: true,
  });
  await read();
  t.equal(await atime(), old.sec);
  Reflect.deleteProperty(pool.parts.staged, 'namespaceBytes');
  await read();
  t.ok((await atime()) > old.sec, 'older than the last change');
  const once = (await vfs.getattr(ino)).atime;
  await read();
  t.same((await vfs.getattr(ino)).atime, once, 'not again');
  const quiet = await vfs.open(ino, { read: true, write: false, noAccessTime: true });
  await vfs.setattr(ino, { atime: old }, CALLER);
  await vfs.read(quiet, 0, 5);
  t.equal(vfs.accessed(quiet), false);
  t.equal(await atime(), old.sec, 'O_NOATIME');
  t.equal(vfs.accessed(handle), true, 'pages that a face keeps count as read');
  t.ok((await atime()) > old.sec);
  for (const each of [handle, quiet]) await vfs.release(each);
});

t.test('access times by the mount option: never, always, and not of directories', async (t) => {
  const recent = (seconds: number) => ({ sec: Math.floor(Date.now() / 1000) - seconds, nsec: 0 });
  for (const [accessTimes, read, listed] of [
    [{ files: 'never', directories: 'never' }, false, false],
    [{ files: 'relative', directories: 'never' }, false, false],
    [{ files: 'always', directories: 'never' }, true, false],
    [{ files: 'always', directories: 'always' }, true, true],
  ] as const) {
    const { vfs } = await PoolFixture.create(t, { commitDelayMs: FOREVER, accessTimes });
    const { ino } = await put(vfs, ROOT_INO, 'f', Buffer.from('bytes'));
    // Read since the last change, and not a day ago: relatime would let it be.
    const atime = recent(-3600);
    for (const each of [ino, ROOT_INO]) await vfs.setattr(each, { atime }, CALLER);
    const file = await vfs.open(ino, { read: true, write: false });
    const directory = await vfs.opendir(ROOT_INO);
    const what = `${accessTimes.files}, directories ${accessTimes.directories}`;
    t.equal(vfs.accessed(file), read, what);
    t.equal(vfs.accessed(directory), listed, what);
    for (const [each, moves] of [
      [ino, read],
      [ROOT_INO, listed],
    ] as const)
      t.equal((await vfs.getattr(each)).atime.sec !== atime.sec, moves, what);
    await vfs.release(file);
    await vfs.releasedir(directory);
  }
});
