/** What happens to files and names while a round has them. */
import { readdirSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ROOT_INO } from '../../../src/meta/rows.js';
import { readAll } from './compare-tree.js';
import { PoolFixture } from './pool-fixture.js';

const CALLER = { uid: 1000, gid: 1000, pid: 1 };
const RW = { read: true, write: true };
const FOREVER = 86_400_000;

/** Starts a commit of everything, and returns when a round has the file. */
async function begin(fixture: PoolFixture, path: string): Promise<{ done: Promise<unknown> }> {
  const done = fixture.pool.control.commit(['/'], () => {});
  while ((await fixture.pool.control.state(path)).state !== 'committing') await new Promise(setImmediate);
  return { done };
}

const commit = (fixture: PoolFixture): Promise<unknown> => fixture.pool.control.commit(['/'], () => {});

t.test('a name that is made and removed while a round makes it durable does not come back', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const { vfs } = fixture;
  await vfs.release((await vfs.create(ROOT_INO, 'f', 0o644, RW, CALLER)).handle);
  const { done } = await begin(fixture, '/f');
  await vfs.unlink(ROOT_INO, 'f');
  await done;
  t.equal(await vfs.lookup(ROOT_INO, 'f'), undefined, 'after the round');
  await commit(fixture);
  await fixture.reopenWithout('cache');
  t.equal(await fixture.vfs.lookup(ROOT_INO, 'f'), undefined, 'after a restart');
  t.equal((await fixture.pool.control.status()).files, 0, 'nothing is left');
});

t.test('inodes that nobody has looked at since the start are counted by statfs', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  for (const name of ['a', 'b', 'c'])
    await fixture.vfs.release((await fixture.vfs.create(ROOT_INO, name, 0o644, RW, CALLER)).handle);
  await commit(fixture);
  await fixture.reopen();
  const { files, freeFiles } = await fixture.vfs.statfs();
  t.equal(files - freeFiles, 4, 'with the root');
});

t.test('a deleted file that goes on being written through many rounds', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const { vfs } = fixture;
  const { handle } = await vfs.create(ROOT_INO, 'f', 0o644, RW, CALLER);
  await vfs.write(handle, 0, Buffer.alloc(300_000, 1));
  await commit(fixture);
  await vfs.unlink(ROOT_INO, 'f');
  for (let i = 0; i < 5; i++) {
    const round = commit(fixture);
    await vfs.write(handle, i * 1000, Buffer.alloc(1000, 2));
    await round;
    await vfs.write(handle, 300_000 + i, Buffer.from([3]));
  }
  const wanted = Buffer.concat([Buffer.alloc(5000, 2), Buffer.alloc(295_000, 1), Buffer.alloc(5, 3)]);
  t.ok((await readAll(vfs, handle, 0, 400_000)).equals(wanted));
  await vfs.release(handle);
  await commit(fixture);
  await fixture.reopen();
  t.equal((await fixture.pool.control.status()).files, 0);
});

t.test('a file deleted during its first commit is read through its handle, also from the pool', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER, cacheBytes: 1024 * 1024 });
  const { vfs } = fixture;
  const bytes = Buffer.alloc(500_000, 7);
  const { handle } = await vfs.create(ROOT_INO, 'f', 0o644, RW, CALLER);
  await vfs.write(handle, 0, bytes);
  const { done } = await begin(fixture, '/f');
  await vfs.unlink(ROOT_INO, 'f');
  await done;
  await commit(fixture);
  // More than the cache holds: what is clean of the first goes.
  const other = await vfs.create(ROOT_INO, 'other', 0o644, RW, CALLER);
  for (let i = 0; i < 8; i++) await vfs.write(other.handle, i * 200_000, Buffer.alloc(200_000, i));
  t.ok((await readAll(vfs, handle, 0, 600_000)).equals(bytes));
});

t.test('a rename over an open file keeps what its handle reads', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  for (const name of ['old', 'new']) {
    const { handle } = await fixture.vfs.create(ROOT_INO, name, 0o644, RW, CALLER);
    await fixture.vfs.write(handle, 0, Buffer.from(name.repeat(50_000)));
    await fixture.vfs.release(handle);
  }
  await fixture.reopenWithout('cache');
  const { vfs } = fixture;
  const handle = await vfs.open((await vfs.lookup(ROOT_INO, 'old'))!.ino, RW);
  await vfs.rename(ROOT_INO, 'new', ROOT_INO, 'old', {});
  await commit(fixture);
  t.ok((await readAll(vfs, handle, 0, 200_000)).equals(Buffer.from('old'.repeat(50_000))));
  await fixture.reopenWithout('cache', 'meta');
  const now = await fixture.vfs.open((await fixture.vfs.lookup(ROOT_INO, 'old'))!.ino, RW);
  t.ok((await readAll(fixture.vfs, now, 0, 200_000)).equals(Buffer.from('new'.repeat(50_000))));
});

t.test('attributes, xattrs and bytes changed during a round are committed by the next', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const { vfs } = fixture;
  const { attr, handle } = await vfs.create(ROOT_INO, 'f', 0o644, RW, CALLER);
  await vfs.write(handle, 0, Buffer.alloc(400_000, 1));
  await vfs.setxattr(attr.ino, 'user.a', Buffer.from('1'), 'set');
  await vfs.setxattr(attr.ino, 'user.b', Buffer.from('1'), 'set');
  const { done } = await begin(fixture, '/f');
  await vfs.write(handle, 100_000, Buffer.alloc(200_000, 2));
  await vfs.setattr(attr.ino, { mode: 0o600, sizeBytes: 350_000 }, CALLER);
  await vfs.setxattr(attr.ino, 'user.a', Buffer.from('2'), 'set');
  await vfs.removexattr(attr.ino, 'user.b');
  await done;
  await vfs.release(handle);
  const check = async (what: string): Promise<void> => {
    const { vfs } = fixture;
    t.match(await vfs.getattr(attr.ino), { mode: 0o100600, sizeBytes: 350_000 }, what);
    t.equal(Buffer.from(await vfs.getxattr(attr.ino, 'user.a')).toString(), '2', what);
    t.same(await vfs.listxattr(attr.ino), ['user.a'], what);
    const open = await vfs.open(attr.ino, RW);
    const wanted = Buffer.concat([Buffer.alloc(100_000, 1), Buffer.alloc(200_000, 2), Buffer.alloc(50_000, 1)]);
    t.ok((await readAll(vfs, open, 0, 500_000)).equals(wanted), what);
    await vfs.release(open);
  };
  await check('after the round');
  await fixture.reopenWithout('cache');
  await check('after the next');
});

t.test('a failed commit of one file leaves the others committed and is told once', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const { vfs, pool } = fixture;
  const open: number[] = [];
  for (const name of ['a', 'damaged', 'z']) {
    const { handle } = await vfs.create(ROOT_INO, name, 0o644, RW, CALLER);
    await vfs.write(handle, 0, Buffer.from(name.repeat(60_000)));
    open.push(handle);
  }
  const { ino } = (await vfs.lookup(ROOT_INO, 'damaged'))!;
  const files = join(fixture.directory, 'cache', 'files');
  const path = readdirSync(files, { recursive: true, encoding: 'utf8' }).find((name) =>
    name.endsWith(`/${ino.toString(16)}`),
  );
  truncateSync(join(files, path!), 0);
  await t.rejects(commit(fixture), 'the commit says so');
  t.equal((await pool.control.state('/a')).state, 'committed');
  t.equal((await pool.control.state('/z')).state, 'committed');
  t.equal((await pool.control.state('/damaged')).state, 'staged', 'it is tried again');
  await t.rejects(async () => vfs.fsync(open[1]!, false), 'the next fsync tells it');
  await vfs.fsync(open[1]!, false);
  await vfs.write(open[1]!, 0, Buffer.from('damaged'.repeat(60_000)));
  await commit(fixture);
  t.equal((await pool.control.state('/damaged')).state, 'committed', 'written again it is committed');
});

t.test('every name and byte of a tree survives a kill right after fsync', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const { ino } = await fixture.vfs.mkdir(ROOT_INO, 'd', 0o700, CALLER);
  const inner = await fixture.vfs.mkdir(ino, 'e', 0o700, CALLER);
  const { handle } = await fixture.vfs.create(inner.ino, 'f', 0o644, RW, CALLER);
  await fixture.vfs.write(handle, 0, Buffer.from('bytes'));
  await fixture.vfs.fsync(handle, false);
  await fixture.kill();
  const d = await fixture.vfs.lookup(ROOT_INO, 'd');
  t.match(d, { mode: 0o040700, nlink: 3 });
  const e = await fixture.vfs.lookup(d!.ino, 'e');
  const f = await fixture.vfs.lookup(e!.ino, 'f');
  t.equal((await readAll(fixture.vfs, await fixture.vfs.open(f!.ino, RW), 0, 10)).toString(), 'bytes');
});

t.test('a large file half committed and evicted is whole after a kill', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: 0, cacheBytes: 1024 * 1024 });
  const { handle, attr } = await fixture.vfs.create(ROOT_INO, 'f', 0o644, RW, CALLER);
  const piece = (i: number): Buffer => Buffer.alloc(100_000, i + 1);
  for (let i = 0; i < 60; i++) await fixture.vfs.write(handle, i * 100_000, piece(i));
  await fixture.vfs.fsync(handle, false);
  await fixture.kill();
  const open = await fixture.vfs.open(attr.ino, RW);
  for (let i = 0; i < 60; i++) {
    const bytes = await readAll(fixture.vfs, open, i * 100_000, 100_000);
    if (!bytes.equals(piece(i))) t.fail(`piece ${i} differs`);
  }
  t.equal((await fixture.vfs.getattr(attr.ino)).sizeBytes, 6_000_000);
});
