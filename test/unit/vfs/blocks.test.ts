/** st_blocks tells files with holes apart: `cp`, `tar` and others look for holes only where it is less than the size needs. */
import t from 'tap';
import type { Attr, Handle, Vfs } from '../../../src/vfs/vfs.js';
import { PoolFixture } from './pool-fixture.js';

const KIB = 1024;
const MIB = 1024 * KIB;
const ROOT = 1;
const CALLER = { uid: 0, gid: 0, pid: 1 };
const CHANGING = { read: true, write: true };

const allocated = async (vfs: Vfs, name: string): Promise<number> => {
  const attr = (await vfs.lookup(ROOT, name)) as Attr;
  return (await vfs.getattr(attr.ino)).blocks * 512;
};
const open = async (vfs: Vfs, name: string): Promise<Handle> =>
  vfs.open(((await vfs.lookup(ROOT, name)) as Attr).ino, CHANGING);

t.test('blocks of a file with holes', async (t) => {
  const fixture = await PoolFixture.create(t);
  let { vfs } = fixture;
  const commit = () => fixture.pool.control.commit(['/'], () => {});
  const { attr, handle } = await vfs.create(ROOT, 'sparse', 0o600, CHANGING, CALLER);
  await vfs.setattr(attr.ino, { sizeBytes: 100 * MIB }, CALLER);
  t.equal(await allocated(vfs, 'sparse'), 0);
  await vfs.write(handle, 50 * MIB, Buffer.alloc(64 * KIB, 1));
  t.equal(await allocated(vfs, 'sparse'), 64 * KIB, 'staged');
  await vfs.release(handle);
  await commit();
  t.equal(await allocated(vfs, 'sparse'), 64 * KIB, 'committed');

  let again = await open(vfs, 'sparse');
  await vfs.write(again, 50 * MIB, Buffer.alloc(64 * KIB, 2));
  await vfs.write(again, 100 * MIB, Buffer.alloc(64 * KIB, 3));
  t.ok((await allocated(vfs, 'sparse')) <= 256 * KIB, 'what is written again may count twice until it is committed');
  await commit();
  t.equal(await allocated(vfs, 'sparse'), 128 * KIB, 'written again and longer');
  await vfs.release(again);

  await fixture.kill();
  ({ vfs } = fixture);
  t.equal(await allocated(vfs, 'sparse'), 128 * KIB, 'loaded from the store');
  again = await open(vfs, 'sparse');
  await vfs.setattr(((await vfs.lookup(ROOT, 'sparse')) as Attr).ino, { sizeBytes: 60 * MIB }, CALLER);
  await commit();
  t.equal(await allocated(vfs, 'sparse'), 64 * KIB, 'cut off');
  await vfs.release(again);
});

t.test('blocks of a file without holes', async (t) => {
  const fixture = await PoolFixture.create(t);
  const { vfs } = fixture;
  const commit = () => fixture.pool.control.commit(['/'], () => {});
  const { handle } = await vfs.create(ROOT, 'dense', 0o600, CHANGING, CALLER);
  await vfs.write(handle, 0, Buffer.alloc(700 * KIB, 1));
  t.equal(await allocated(vfs, 'dense'), 700 * KIB);
  await commit();
  await vfs.write(handle, 100 * KIB, Buffer.alloc(300 * KIB, 2));
  t.equal(await allocated(vfs, 'dense'), 700 * KIB, 'written again');
  await vfs.write(handle, 600 * KIB, Buffer.alloc(300 * KIB, 3));
  await commit();
  t.equal(await allocated(vfs, 'dense'), 900 * KIB, 'and over its end');

  await vfs.fallocate(handle, { keepSize: true, punchHole: true, zeroRange: false }, 128 * KIB, 256 * KIB);
  t.equal(await allocated(vfs, 'dense'), 644 * KIB, 'a hole, staged');
  await commit();
  t.equal(await allocated(vfs, 'dense'), 644 * KIB, 'a hole, committed');
  await vfs.write(handle, 128 * KIB, Buffer.alloc(256 * KIB, 4));
  await commit();
  t.equal(await allocated(vfs, 'dense'), 900 * KIB, 'filled again');
  await vfs.release(handle);
});
