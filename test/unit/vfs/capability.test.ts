/** Files lose security.capability when they are written to (capabilities(7)): who changed a program must not keep its rights. */
import t from 'tap';
import { PoolFixture } from './pool-fixture.js';

const CAPABILITY = 'security.capability';
const ROOT = 1;
const CALLER = { uid: 0, gid: 0, pid: 1 };
const CHANGING = { read: true, write: true };

t.test('a write drops capabilities, also of a writer who may keep set-id bits', async (t) => {
  const fixture = await PoolFixture.create(t);
  const names = async (ino: number) => fixture.vfs.listxattr(ino);
  const { attr, handle } = await fixture.vfs.create(ROOT, 'program', 0o4755, CHANGING, CALLER);
  const { ino } = attr;
  await fixture.vfs.setxattr(ino, CAPABILITY, Buffer.alloc(20, 1), 'set');
  await fixture.vfs.setxattr(ino, 'user.note', Buffer.from('stays'), 'set');
  await fixture.vfs.write(handle, 0, Buffer.from('new'));
  t.same(await names(ino), ['user.note']);
  t.equal((await fixture.vfs.getattr(ino)).mode & 0o7777, 0o4755, 'set-id bits are the kernel’s to decide');

  await fixture.vfs.setxattr(ino, CAPABILITY, Buffer.alloc(20, 1), 'set');
  await fixture.vfs.release(handle);
  await fixture.reopen();
  const again = await fixture.vfs.open(ino, CHANGING);
  await fixture.vfs.write(again, 0, Buffer.from('newer'));
  // The write does not wait for the store to say whether there is one.
  await new Promise((resolve) => setImmediate(resolve));
  t.same(await names(ino), ['user.note'], 'committed ones too');
  await fixture.vfs.release(again);
});
