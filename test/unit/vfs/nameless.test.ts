/** Files without a name: they get one, or are gone; what of them reached the pool is not there after a crash. */
import t from 'tap';
import { hasCode } from '../../../src/errors/cairn-error.js';
import { ROOT_INO } from '../../../src/meta/rows.js';
import type { Caller, Vfs } from '../../../src/vfs/vfs.js';
import { listNames, readAll } from './compare-tree.js';
import { PoolFixture } from './pool-fixture.js';

const CALLER: Caller = { uid: 1000, gid: 1000, pid: 1 };
const RW = { read: true, write: true };
const FOREVER = 86_400_000;
/** All of a file's bytes. */
async function bytesOf(vfs: Vfs, ino: number): Promise<Buffer> {
  const handle = await vfs.open(ino, { read: true, write: false });
  try {
    return await readAll(vfs, handle, 0, 1024 * 1024);
  } finally {
    await vfs.release(handle);
  }
}

const LARGE = Buffer.alloc(400_000, 'large');

async function nameless(vfs: Vfs, bytes: Uint8Array) {
  const { attr, handle } = await vfs.tmpfile(ROOT_INO, 0o640, RW, CALLER);
  await vfs.write(handle, 0, bytes);
  return { ino: attr.ino, handle };
}

async function names(vfs: Vfs, ino: number): Promise<string[]> {
  return [...(await listNames(vfs, ino)).keys()].sort();
}

async function isGone(vfs: Vfs, ino: number): Promise<boolean> {
  try {
    await vfs.getattr(ino);
    return false;
  } catch (error) {
    return hasCode(error, 'STALE');
  }
}

for (const mode of ['default', 'strong'] as const) {
  t.test(`${mode} mode: named, before and after a commit`, async (t) => {
    const fixture = await PoolFixture.create(t, { mode, commitDelayMs: FOREVER });
    const early = await nameless(fixture.vfs, LARGE);
    await fixture.vfs.link(early.ino, ROOT_INO, 'early');
    const late = await nameless(fixture.vfs, LARGE.subarray(1));
    await fixture.vfs.setxattr(late.ino, 'user.x', Buffer.from('x'), 'set');
    await fixture.pool.commit();
    t.equal((await fixture.vfs.getattr(late.ino)).nlink, 0, 'its bytes are in the pool, without a name');
    t.same(await names(fixture.vfs, ROOT_INO), ['early']);
    await fixture.vfs.link(late.ino, ROOT_INO, 'late');
    await fixture.vfs.write(late.handle, 0, Buffer.from('changed'));
    await fixture.vfs.flush(late.handle);
    await fixture.vfs.release(late.handle);
    await fixture.kill();
    const { vfs } = fixture;
    t.same(await names(vfs, ROOT_INO), ['early', 'late']);
    const found = (await vfs.lookup(ROOT_INO, 'late'))!;
    t.match(found, { ino: late.ino, nlink: 1, mode: 0o100640, uid: 1000, sizeBytes: LARGE.length - 1 });
    t.equal((await bytesOf(vfs, found.ino)).toString('latin1', 0, 14), 'changedgelarge');
    t.same(Buffer.from(await vfs.getxattr(found.ino, 'user.x')).toString(), 'x');
    t.same(await bytesOf(vfs, (await vfs.lookup(ROOT_INO, 'early'))!.ino), LARGE);
  });
}

t.test('closed without a name: gone, also what a commit took', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const staged = await nameless(fixture.vfs, LARGE);
  const committed = await nameless(fixture.vfs, LARGE.subarray(2));
  await fixture.pool.commit();
  for (const { handle, ino } of [staged, committed]) {
    await fixture.vfs.fsync(handle, false);
    await fixture.vfs.release(handle);
    t.ok(await isGone(fixture.vfs, ino));
    await t.rejects(async () => fixture.vfs.link(ino, ROOT_INO, 'back'), { code: 'STALE' }, 'nobody gives it a name');
  }
  await fixture.pool.commit();
  t.match(await fixture.pool.parts.meta.statistics(), { inodes: 1, extents: 0 });
});

t.test('a crash or the loss of the cache ends what had no name', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const inos: number[] = [];
  const committed = await nameless(fixture.vfs, LARGE);
  await fixture.pool.commit();
  const renamed = await nameless(fixture.vfs, LARGE.subarray(3));
  await fixture.vfs.fsync(renamed.handle, false);
  inos.push(committed.ino, renamed.ino);
  await fixture.kill();
  for (const ino of inos) t.ok(await isGone(fixture.vfs, ino));
  await fixture.pool.commit();
  t.match(await fixture.pool.parts.meta.statistics(), { inodes: 1, extents: 0 });

  const again = await nameless(fixture.vfs, LARGE);
  await fixture.pool.commit();
  await fixture.kill('cache', 'meta');
  t.ok(await isGone(fixture.vfs, again.ino));
  await fixture.pool.commit();
  t.match(await fixture.pool.parts.meta.statistics(), { inodes: 1, extents: 0 });
  t.same(await names(fixture.vfs, ROOT_INO), []);
});

t.test('a removed directory answers as one while a face remembers it', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const { vfs } = fixture;
  const { ino } = await vfs.mkdir(ROOT_INO, 'd', 0o755, CALLER);
  vfs.hold(ino);
  vfs.hold(ino);
  await vfs.rmdir(ROOT_INO, 'd');
  await fixture.pool.commit();
  t.match(await vfs.getattr(ino), { nlink: 0 });
  const handle = await vfs.opendir(ino);
  t.same(await names(vfs, ino), []);
  await vfs.releasedir(handle);
  t.equal((await vfs.lookup(ino, '..'))?.ino, ROOT_INO);
  await t.rejects(async () => vfs.create(ino, 'x', 0o644, RW, CALLER), { code: 'NOT_FOUND' });
  await t.rejects(async () => vfs.tmpfile(ino, 0o644, RW, CALLER), { code: 'NOT_FOUND' });
  vfs.unhold(ino, 1);
  t.match(await vfs.getattr(ino), { nlink: 0 });
  vfs.unhold(ino, 5);
  t.ok(await isGone(vfs, ino));
});

t.test('default access lists are inherited after a restart too, and chmod keeps list and mode in step', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const list = Buffer.from(
    // owner rw-, user 1001 rw-, group r--, mask rw-, others ---
    '020000000100060 0ffffffff02000600e903000004000400ffffffff10000600ffffffff20000000ffffffff'.replace(' ', ''),
    'hex',
  );
  const { ino } = await fixture.vfs.mkdir(ROOT_INO, 'd', 0o777, { ...CALLER, umask: 0o22 });
  t.equal((await fixture.vfs.getattr(ino)).mode & 0o777, 0o755, 'umask');
  await fixture.vfs.setxattr(ino, 'system.posix_acl_default', list, 'set');
  await fixture.reopen();
  const { vfs } = fixture;
  const made = await vfs.create(ino, 'f', 0o664, RW, { ...CALLER, umask: 0o77 });
  await vfs.release(made.handle);
  t.equal(made.attr.mode & 0o777, 0o660);
  await fixture.reopen();
  await fixture.vfs.setattr(made.attr.ino, { mode: 0o640 }, CALLER);
  const after = Buffer.from(await fixture.vfs.getxattr(made.attr.ino, 'system.posix_acl_access'));
  t.equal(after.readUInt16LE(4 + 3 * 8 + 2), 4, 'the mask');
  await t.rejects(async () => fixture.vfs.setxattr(made.attr.ino, 'system.posix_acl_default', list, 'set'), {
    code: 'ACCESS',
  });
});
