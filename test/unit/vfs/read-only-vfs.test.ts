import t from 'tap';
import { ROOT_INO } from '../../../src/meta/rows.js';
import { NO_ACCESS_TIMES } from '../../../src/vfs/access-times.js';
import { ReadOnlyVfs } from '../../../src/vfs/read-only-vfs.js';
import type { Caller, Vfs } from '../../../src/vfs/vfs.js';
import { listNames, readAll } from './compare-tree.js';
import { PoolFixture } from './pool-fixture.js';

const CALLER: Caller = { uid: 1000, gid: 1000, pid: 1 };
const RW = { read: true, write: true };

t.test('every change is refused, and everything else answers as before', async (t) => {
  const fixture = await PoolFixture.create(t, { accessTimes: NO_ACCESS_TIMES });
  const { vfs } = fixture;
  const { attr, handle } = await vfs.create(ROOT_INO, 'a', 0o644, RW, CALLER);
  await vfs.write(handle, 0, Buffer.from('content'));
  await vfs.setxattr(attr.ino, 'user.x', Buffer.from('x'), 'set');
  await vfs.symlink(ROOT_INO, 'link', 'a', CALLER);
  await vfs.mkdir(ROOT_INO, 'dir', 0o755, CALLER);
  // As old as can be, so that relatime would move them.
  const old = { sec: 1, nsec: 0 };
  const link = (await vfs.lookup(ROOT_INO, 'link'))!.ino;
  for (const ino of [attr.ino, link, ROOT_INO]) await vfs.setattr(ino, { atime: old }, CALLER);

  const view: Vfs = new ReadOnlyVfs(vfs);
  const allocate = { keepSize: false, punchHole: false, zeroRange: false };
  const changes: Record<string, () => unknown> = {
    setattr: () => view.setattr(attr.ino, { mode: 0o600 }, CALLER),
    create: () => view.create(ROOT_INO, 'b', 0o644, RW, CALLER),
    tmpfile: () => view.tmpfile(ROOT_INO, 0o644, RW, CALLER),
    mknod: () => view.mknod(ROOT_INO, 'b', 0o644, 0, CALLER),
    mkdir: () => view.mkdir(ROOT_INO, 'b', 0o755, CALLER),
    symlink: () => view.symlink(ROOT_INO, 'b', 'a', CALLER),
    link: () => view.link(attr.ino, ROOT_INO, 'b'),
    unlink: () => view.unlink(ROOT_INO, 'a'),
    rmdir: () => view.rmdir(ROOT_INO, 'dir'),
    rename: () => view.rename(ROOT_INO, 'a', ROOT_INO, 'b', {}),
    'open for writing': () => view.open(attr.ino, RW),
    'open that truncates': () => view.open(attr.ino, { read: true, write: false, truncate: true }),
    write: () => view.write(handle, 0, Buffer.from('x')),
    fallocate: () => view.fallocate(handle, allocate, 0, 10),
    copyRange: () => view.copyRange(handle, 0, handle, 100, 7),
    setxattr: () => view.setxattr(attr.ino, 'user.y', Buffer.from('y'), 'set'),
    removexattr: () => view.removexattr(attr.ino, 'user.x'),
  };
  const before = [...(await listNames(vfs, ROOT_INO))].map(([name, { mode, sizeBytes }]) => [name, mode, sizeBytes]);
  for (const [what, change] of Object.entries(changes))
    await t.rejects(async () => change(), { code: 'READ_ONLY' }, what);
  await t.rejects(async () => view.create(ROOT_INO, 'a', 0o644, RW, CALLER), { code: 'EXISTS' }, 'there is one');
  const after = [...(await listNames(view, ROOT_INO))].map(([name, { mode, sizeBytes }]) => [name, mode, sizeBytes]);
  t.same(after, before);

  const reader = await view.open(attr.ino, { read: true, write: false });
  t.equal((await readAll(view, reader, 0, 100)).toString(), 'content');
  t.equal(await view.seek(reader, 3, 'hole'), 7);
  await view.fsync(reader, false);
  await view.flush(reader);
  t.equal(view.accessed(reader), false);
  await view.release(reader);
  await t.rejects(async () => view.read(reader, 0, 1), { code: 'BAD_HANDLE' });
  t.equal(await view.readlink(link), 'a');
  t.same(await view.listxattr(attr.ino), ['user.x']);
  t.equal(Buffer.from(await view.getxattr(attr.ino, 'user.x')).toString(), 'x');
  t.equal((await view.statfs()).blockBytes, (await vfs.statfs()).blockBytes);
  const directory = await view.opendir(ROOT_INO);
  await view.fsyncdir(directory);
  await view.releasedir(directory);
  view.hold(ROOT_INO);
  view.unhold(ROOT_INO, 1);
  for (const ino of [attr.ino, link, ROOT_INO]) t.same((await view.getattr(ino)).atime, old, 'read, and not moved');
  await vfs.release(handle);
});
