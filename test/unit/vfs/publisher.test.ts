/** Publications: names, content and attributes in one commit or not at all, and what other faces see of it. */
import t from 'tap';
import type { NameChange, NewFile } from '../../../src/vfs/publisher.js';
import type { Attr } from '../../../src/vfs/vfs.js';
import { sql } from '../fsck/planted-pool.js';
import { PoolFixture } from './pool-fixture.js';

const ROOT = 1;
const CALLER = { uid: 0, gid: 0, pid: 1 };
const KIB = 1024;

const bytesOf = (length: number, seed: number): Buffer =>
  Buffer.from(Array.from({ length }, (_, i) => (i * 31 + seed + (i >> 8) * 7) & 255));

async function newFile(fixture: PoolFixture, bytes: Uint8Array, label = 'x'): Promise<NewFile> {
  const writer = fixture.pool.objects.writer();
  for (let at = 0; at < bytes.length; at += 50_000) await writer.write(bytes.subarray(at, at + 50_000));
  const content = await writer.finish();
  const attributes = (stage: number) => new Map([['cairn.s3.object', Buffer.from(`${label} ${stage}`)]]);
  return { mode: 0o644, uid: 0, gid: 0, content, attributes };
}

const put = async (fixture: PoolFixture, name: string, bytes: Uint8Array, label?: string) => {
  const file = await newFile(fixture, bytes, label);
  return fixture.pool.objects.publish(async () => {
    const there = await fixture.pool.objects.child(ROOT, name);
    return [{ parent: ROOT, name, expected: there?.ino, to: file }];
  }, [file.content]);
};

async function read(fixture: PoolFixture, name: string): Promise<Buffer> {
  const attr = (await fixture.vfs.lookup(ROOT, name)) as Attr;
  return fixture.pool.objects.reading(attr.ino, async (part) => Buffer.concat(await part(0, attr.sizeBytes)));
}

t.test('published files', async (t) => {
  const fixture = await PoolFixture.create(t);
  const small = bytesOf(1000, 1);
  const large = bytesOf(700 * KIB + 17, 2);
  const [ino] = await put(fixture, 'small', small);
  await put(fixture, 'large', large);
  await put(fixture, 'empty', Buffer.alloc(0));
  t.same(await read(fixture, 'small'), small);
  t.same(await read(fixture, 'large'), large);
  t.equal((await read(fixture, 'empty')).length, 0);
  t.equal(((await fixture.vfs.lookup(ROOT, 'small')) as Attr).ino, ino);
  t.same(await fixture.vfs.listxattr(ino!), [], 'attributes of objects are not for the mount');

  await t.test('have the pool promise: cache and metadata may go', async (t) => {
    await fixture.kill('cache', 'meta');
    t.same(await read(fixture, 'small'), small);
    t.same(await read(fixture, 'large'), large);
    const { contentStage } = (await fixture.pool.objects.node(ino!))!;
    const attributes = await fixture.pool.objects.attributes(ino!);
    t.equal(Buffer.from(attributes.get('cairn.s3.object')!).toString(), `x ${contentStage}`);
  });

  await t.test('take the place of others; who has the old one open reads on', async (t) => {
    const old = await fixture.vfs.open(ino!, { read: true, write: false });
    await put(fixture, 'small', large);
    t.same(await read(fixture, 'small'), large);
    const parts = await fixture.vfs.read(old, 0, 2000);
    t.same(Buffer.concat(parts as Buffer[]), small);
    await fixture.vfs.release(old);
    t.equal((await fixture.pool.control.check({ content: true, repair: false }, () => {})).clean, true);
  });

  await t.test('are written to afterwards like any other', async (t) => {
    const { ino } = (await fixture.vfs.lookup(ROOT, 'large')) as Attr;
    const before = (await fixture.pool.objects.node(ino))!.contentStage;
    const handle = await fixture.vfs.open(ino, { read: true, write: true });
    await fixture.vfs.write(handle, 100, Buffer.from('changed'));
    await fixture.vfs.release(handle);
    large.write('changed', 100);
    t.same(await read(fixture, 'large'), large);
    t.ok((await fixture.pool.objects.settled(ino))!.contentStage > before, 'the content stage tells');
    await fixture.kill();
    t.same(await read(fixture, 'large'), large);
  });
});

t.test('a publication whose ground has moved is prepared again', async (t) => {
  const fixture = await PoolFixture.create(t);
  const { objects } = fixture.pool;
  const file = await newFile(fixture, Buffer.from('new'));
  let calls = 0;
  await objects.publish(async () => {
    calls += 1;
    const there = await objects.child(ROOT, 'a');
    // Another face makes the name between the look and the cut.
    if (calls === 1) await fixture.vfs.mknod(ROOT, 'a', 0o600, 0, CALLER);
    return [{ parent: ROOT, name: 'a', expected: there?.ino, to: file }];
  }, [file.content]);
  t.equal(calls, 2);
  t.same(await read(fixture, 'a'), Buffer.from('new'));

  const gone = (await fixture.vfs.mknod(ROOT, 'gone', 0o600, 0, CALLER)).ino;
  let looks = 0;
  await objects.publish(async () => {
    looks += 1;
    if (looks === 2) return [];
    await fixture.vfs.unlink(ROOT, 'gone');
    return [{ parent: ROOT, name: 'moved', expected: undefined, to: gone }];
  });
  t.equal(looks, 2, 'also where what was to get a name is no more');

  const writes = await Promise.all(
    Array.from({ length: 20 }, (_, i) => put(fixture, 'b', Buffer.from(`version ${i}`))),
  );
  t.equal(writes.length, 20);
  t.match((await read(fixture, 'b')).toString(), /^version \d+$/);
  t.equal((await fixture.pool.control.check({ content: false, repair: false }, () => {})).clean, true);
});

t.test('several names in one step: one file moves, another comes in its place', async (t) => {
  const fixture = await PoolFixture.create(t);
  const { objects } = fixture.pool;
  const [first] = await put(fixture, 'key', Buffer.from('first'));
  const dir = await objects.makeDirectory(ROOT, 'versions', { uid: 0, gid: 0, mode: 0o700 });
  const file = await newFile(fixture, Buffer.from('second'));
  const changes: NameChange[] = [
    { parent: ROOT, name: 'key', expected: first, to: file },
    { parent: dir.ino, name: '1', expected: undefined, to: first! },
  ];
  await objects.publish(async () => changes, [file.content]);
  t.same(await read(fixture, 'key'), Buffer.from('second'));
  t.equal((await objects.child(dir.ino, '1'))?.ino, first);
  await fixture.kill('cache');
  t.equal((await fixture.pool.objects.child(dir.ino, '1'))?.ino, first);
  t.same(await read(fixture, 'key'), Buffer.from('second'));
  t.equal((await fixture.pool.control.check({ content: true, repair: false }, () => {})).clean, true);
});

t.test('extents of files that stand can be published again', async (t) => {
  const fixture = await PoolFixture.create(t);
  const { objects } = fixture.pool;
  const bytes = bytesOf(300 * KIB, 5);
  const [ino] = await put(fixture, 'source', bytes);
  const { version, ctime } = (await objects.settled(ino!))!;
  const extents = await objects.extents(ino!);
  const content = { sizeBytes: bytes.length, extents, tail: new Uint8Array(0) };
  const to = {
    mode: 0o644,
    uid: 0,
    gid: 0,
    content,
    sources: [{ ino: ino!, version, ctime }],
    attributes: () => new Map(),
  };
  await objects.publish(async () => [{ parent: ROOT, name: 'copy', expected: undefined, to }]);
  await fixture.vfs.unlink(ROOT, 'source');
  await fixture.pool.commit();
  await fixture.pool.collect();
  t.same(await read(fixture, 'copy'), bytes, 'the copy stands alone');

  await t.test(
    'of a file that has changed since its extents were read: CONFLICT, and not tried for ever',
    async (t) => {
      const [other] = await put(fixture, 'other', bytesOf(100 * KIB, 6));
      const found = (await objects.settled(other!))!;
      const late = { ...to, sources: [{ ino: other!, version: found.version, ctime: found.ctime }] };
      await objects.setAttributes(other!, new Map([['cairn.s3.object', Buffer.from('changed')]]));
      const copy = objects.publish(async () => [{ parent: ROOT, name: 'late', expected: undefined, to: late }]);
      await t.rejects(copy, { code: 'CONFLICT' });
      t.equal(await objects.child(ROOT, 'late'), undefined);
    },
  );
});

t.test('a file that is being published is read when it is there, by both faces', async (t) => {
  const fixture = await PoolFixture.create(t);
  const bytes = bytesOf(1000, 3);
  const [ino] = await put(fixture, 'soon', Buffer.from('first'));
  const putting = put(fixture, 'soon', bytes);
  let attr = (await fixture.vfs.lookup(ROOT, 'soon')) as Attr;
  while (attr.ino === ino) {
    await new Promise(setImmediate);
    attr = (await fixture.vfs.lookup(ROOT, 'soon')) as Attr;
  }
  const handle = await fixture.vfs.open(attr.ino, { read: true, write: false });
  t.same(Buffer.concat((await fixture.vfs.read(handle, 0, 2000)) as Buffer[]), bytes);
  await fixture.vfs.release(handle);
  await putting;
});

t.test('what is refused or discarded leaves nothing', async (t) => {
  const fixture = await PoolFixture.create(t);
  const { objects } = fixture.pool;
  const file = await newFile(fixture, bytesOf(500 * KIB, 9));
  const refusal = objects.publish(async () => {
    throw new Error('precondition');
  }, [file.content]);
  await t.rejects(refusal, /precondition/);
  const writer = objects.writer();
  await writer.write(bytesOf(500 * KIB, 10));
  await writer.discard();
  await fixture.pool.collect();
  const { usedBytes } = await fixture.pool.control.status();
  t.ok(usedBytes < 1000, `only the root directory is there: ${usedBytes} bytes`);
  await t.rejects(
    objects.publish(async () => [{ parent: 999, name: 'x', expected: undefined, to: undefined }]),
    { code: 'CONFLICT' },
    'what is never as it is said to be is not tried for ever',
  );
});

t.test('a name without an inode is damage that is told by its path, and hinders nobody else', async (t) => {
  const fixture = await PoolFixture.create(t);
  const bucket = Buffer.from('bücket').toString('latin1');
  const { ino } = await fixture.pool.objects.makeDirectory(ROOT, bucket, { uid: 0, gid: 0, mode: 0o700 });
  await fixture.pool.commit();
  await fixture.kill();
  await sql({ fixture }, `INSERT INTO dentry VALUES (${ino}, 'ghost', 999, 0)`);
  const { objects } = fixture.pool;
  const dir = (await objects.child(ROOT, bucket))!;
  const over = async (name: string) => {
    const file = await newFile(fixture, Buffer.from('new'));
    return objects.publish(async () => {
      const there = await objects.child(dir.ino, name);
      return [{ parent: dir.ino, name, expected: there?.ino, to: file }];
    }, [file.content]);
  };
  const told = {
    code: 'CORRUPT',
    message: /\/b\u00fccket\/ghost, .*inode 999/,
    hint: /cairn fsck --repair/,
  };
  const [ghost, beside] = await Promise.allSettled([over('ghost'), over('beside')]);
  t.match(ghost, { status: 'rejected', reason: told });
  t.equal(beside.status, 'fulfilled');
  await t.rejects(objects.makeDirectory(dir.ino, 'ghost', { uid: 0, gid: 0, mode: 0o700 }), told);
  await put(fixture, 'later', Buffer.from('later'));
  t.same(await read(fixture, 'later'), Buffer.from('later'));
  const { findings } = await fixture.pool.control.check({ content: true, repair: false }, () => {});
  t.same(
    findings.filter(({ severity }) => severity === 'damage').map(({ code }) => code),
    ['dentry-dangling', 'metadata-counts'],
    'nothing else is damaged',
  );
});
