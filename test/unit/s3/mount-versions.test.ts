/** Buckets with versions under a mount: whatever is done to a file there, what S3 has told of stays, byte for byte. */
import t, { type Test } from 'tap';
import { SystemClock } from '../../../src/io/clock.js';
import { versionsOf } from '../../../src/s3/file-versions.js';
import { mountHistory } from '../../../src/s3/mount-history.js';
import { VersionedVfs } from '../../../src/s3/versioned-vfs.js';
import type { Attr, Vfs } from '../../../src/vfs/vfs.js';
import { S3Fixture } from './s3-fixture.js';

const ROOT = 1;
const CALLER = { uid: 0, gid: 0, pid: 1 };
const WRITE = { read: true, write: true };
const DIRECTORY = 0o755;

interface Version {
  readonly id: string;
  readonly isMarker: boolean;
  readonly body: string | undefined;
}

class Mounted {
  constructor(
    readonly s3: S3Fixture,
    readonly vfs: Vfs,
  ) {}

  static async create(t: Test): Promise<Mounted> {
    const s3 = await S3Fixture.create(t);
    const tree = s3.pool.pool.objects;
    const vfs = new VersionedVfs(s3.pool.vfs, tree);
    vfs.history = mountHistory(tree, new SystemClock());
    s3.onVersioning = async () => vfs.history?.refresh();
    return new Mounted(s3, vfs);
  }

  async ino(path: string): Promise<number> {
    let at = ROOT;
    for (const name of path.split('/')) at = ((await this.vfs.lookup(at, name)) as Attr).ino;
    return at;
  }

  /** As `cp` and editors do: opened, cut to nothing, written, closed. */
  async write(path: string, ...pieces: string[]): Promise<void> {
    const handle = await this.vfs.open(await this.ino(path), { ...WRITE, truncate: true });
    let at = 0;
    for (const piece of pieces) at += await this.vfs.write(handle, at, Buffer.from(piece));
    await this.vfs.flush(handle);
    await this.vfs.release(handle);
  }

  async create(directory: string, name: string, body: string): Promise<void> {
    const { handle } = await this.vfs.create(await this.ino(directory), name, 0o644, WRITE, CALLER);
    await this.vfs.write(handle, 0, Buffer.from(body));
    await this.vfs.release(handle);
  }

  /** Newest first. */
  async versions(bucket: string, key: string): Promise<Version[]> {
    const { text } = await this.s3.send('GET', `/${bucket}?versions&prefix=${encodeURIComponent(key)}`);
    const found = [...text.matchAll(/<(Version|DeleteMarker)><Key>([^<]*)<\/Key><VersionId>([^<]*)</g)];
    const own = found.filter(([, , name]) => name === key);
    return Promise.all(
      own.map(async ([, kind, , id = '']) => ({
        id,
        isMarker: kind === 'DeleteMarker',
        body:
          kind === 'DeleteMarker' ? undefined : (await this.s3.send('GET', `/${bucket}/${key}?versionId=${id}`)).text,
      })),
    );
  }

  async bodies(bucket: string, key: string): Promise<(string | undefined)[]> {
    return (await this.versions(bucket, key)).map(({ body }) => body);
  }

  versioning(bucket: string, status: string) {
    return this.s3.send('PUT', `/${bucket}?versioning`, {
      body: `<VersioningConfiguration><Status>${status}</Status></VersioningConfiguration>`,
    });
  }
}

t.test('versions and the mount', async (t) => {
  const m = await Mounted.create(t);
  const { s3, vfs } = m;
  await s3.send('PUT', '/plain');
  await s3.send('PUT', '/box');
  await s3.send('PUT', '/box/before', { body: 'before there were versions' });
  await m.versioning('box', 'Enabled');

  await t.test('a write makes a version at its last close, and none that was changes', async (t) => {
    const put = await s3.send('PUT', '/box/key', { body: 'from s3', headers: { 'x-amz-meta-a': 'b' } });
    const first = put.headers.get('x-amz-version-id')!;
    await m.write('box/key', 'from ', 'the mount');
    t.same(await m.bodies('box', 'key'), ['from the mount', 'from s3']);
    const [latest, older] = await m.versions('box', 'key');
    t.equal(older!.id, first);
    t.not(latest!.id, first);
    const kept = await s3.send('GET', `/box/key?versionId=${first}`);
    t.equal(kept.headers.get('etag'), put.headers.get('etag'), 'the ETag is kept with its version');
    t.equal(kept.headers.get('x-amz-meta-a'), 'b');
    t.match((await s3.send('HEAD', '/box/key')).headers.get('etag'), /-0"$/);

    const [a, b] = [await vfs.open(await m.ino('box/key'), WRITE), await vfs.open(await m.ino('box/key'), WRITE)];
    await vfs.write(a, 0, Buffer.from('FROM'));
    await vfs.release(a);
    await vfs.write(b, 5, Buffer.from('THE'));
    await vfs.release(b);
    t.same(await m.bodies('box', 'key'), ['FROM THE mount', 'from the mount', 'from s3'], 'one for both');
    await vfs.setattr(await m.ino('box/key'), { sizeBytes: 4 }, CALLER);
    t.same((await m.bodies('box', 'key')).slice(0, 2), ['FROM', 'FROM THE mount'], 'a truncate is a write');
    const reader = await vfs.open(await m.ino('box/key'), WRITE);
    await vfs.release(reader);
    t.equal((await m.versions('box', 'key')).length, 4, 'nothing is written, nothing is made');
    await m.write('box/before', 'after');
    t.same(
      (await m.versions('box', 'before')).map(({ id, body }) => [id === 'null', body]),
      [
        [false, 'after'],
        [true, 'before there were versions'],
      ],
    );
  });

  await t.test(
    'people see the versions of a file by its path: those of S3 and of the mount, and none elsewhere',
    async (t) => {
      const seen = async (path: string) => versionsOf(s3.server.parts, path);
      await s3.send('PUT', '/box/way/b', { body: 'one' });
      await m.write('box/way/b', 'three');
      const listed = await m.versions('box', 'way/b');
      t.match(await seen('/box/way/b'), [
        { id: listed[0]!.id, isCurrent: true, isDeleteMarker: false, sizeBytes: 5 },
        { id: listed[1]!.id, isCurrent: false, isDeleteMarker: false, sizeBytes: 3 },
      ]);
      await vfs.unlink(await m.ino('box/way'), 'b');
      const [marker, ...kept] = await seen('/box/way/b');
      t.match(marker, { isCurrent: true, isDeleteMarker: true });
      t.match(kept, [{ sizeBytes: 5 }, { sizeBytes: 3 }], 'what is removed is kept');
      t.ok(kept.every(({ isCurrent }) => !isCurrent));
      await s3.send('PUT', '/box/%C3%A4', { body: 'four' });
      t.match(await seen('/box/ä'), [{ isCurrent: true, sizeBytes: 4 }], 'paths are text');
      for (const path of ['/', '/box', '/box/absent', '/nowhere/a', '/box/way/b/c', '/Not-A-Bucket/a'])
        t.same(await seen(path), [], path);
    },
  );

  await t.test('files made, renamed over and removed', async (t) => {
    await m.create('box', 'new', 'one');
    const [made] = await m.versions('box', 'new');
    t.not(made!.id, 'null', 'a new file has a version of its own');
    await m.create('box', 'new~', 'two');
    await vfs.rename(await m.ino('box'), 'new~', await m.ino('box'), 'new', {});
    t.same(await m.bodies('box', 'new'), ['two', 'one'], 'as editors save');
    t.same(
      (await m.versions('box', 'new~')).map(({ isMarker }) => isMarker),
      [true, false],
    );
    t.equal((await s3.send('GET', '/box/new~')).status, 404);
    await vfs.unlink(await m.ino('box'), 'new');
    const gone = await m.versions('box', 'new');
    t.same(
      gone.map(({ body }) => body),
      [undefined, 'two', 'one'],
    );
    t.equal(gone[0]!.isMarker, true, 'removed as S3 removes: a marker');
    t.equal((await s3.send('DELETE', `/box/new?versionId=${gone[0]!.id}`)).status, 204);
    t.equal((await s3.send('GET', '/box/new')).text, 'two', 'and comes back when that goes');
    t.ok(await m.ino('box/new'));
    await vfs.mkdir(await m.ino('box'), 'dir', DIRECTORY, CALLER);
    await m.create('box/dir', 'deep', 'deep');
    await vfs.rename(await m.ino('box/dir'), 'deep', await m.ino('plain'), 'deep', {});
    t.equal((await s3.send('GET', '/plain/deep')).text, 'deep');
    t.equal((await s3.send('GET', '/plain/deep')).headers.get('x-amz-version-id'), null);
    t.same(await m.bodies('box', 'dir/deep'), [undefined, 'deep']);
    await vfs.rename(await m.ino('plain'), 'deep', await m.ino('box'), 'back', {});
    t.not((await m.versions('box', 'back'))[0]!.id, 'null');
  });

  await t.test('the library keeps what it overwrites, replaces and removes', async (t) => {
    const { pool } = s3.pool;
    await s3.send('PUT', '/box/library', { body: 'first' });
    const file = await pool.openFile('/box/library', 'w');
    await file.write(0, Buffer.from('second'));
    await file.close();
    t.same(await m.bodies('box', 'library'), ['second', 'first']);
    const more = await pool.openFile('/box/library', 'r');
    await t.rejects(more.append(Buffer.from('!')), { code: 'BAD_HANDLE' });
    await more.close();
    const end = await pool.openFile('/box/library', 'a');
    await end.append(Buffer.from(' and'));
    await end.append(Buffer.from(' third'));
    await end.close();
    t.same(await m.bodies('box', 'library'), ['second and third', 'second', 'first'], 'one version a handle');
    const beside = await pool.openFile('/box/new', 'w');
    await beside.write(0, Buffer.from('new'));
    await beside.close();
    t.not((await m.versions('box', 'new'))[0]!.id, 'null');
    await pool.rename('/box/new', '/box/library');
    t.same(await m.bodies('box', 'library'), ['new', 'second and third', 'second', 'first']);
    await pool.remove('/box/library');
    t.match(await m.versions('box', 'library'), [{ isMarker: true }, { body: 'new' }, {}, {}, { body: 'first' }]);
    t.equal((await m.versions('box', 'new'))[0]!.isMarker, true);
    const plain = await pool.openFile('/plain/library', 'w');
    await plain.close();
    await pool.remove('/plain/library');
    t.same(await m.versions('plain', 'library'), [], 'where no versions are kept, none are');
  });

  await t.test('who has a file open writes to no version', async (t) => {
    await s3.send('PUT', '/box/open', { body: 'first' });
    const quiet = await vfs.open(await m.ino('box/open'), WRITE);
    await s3.send('PUT', '/box/open', { body: 'second' });
    await vfs.write(quiet, 0, Buffer.from('XXXXX'));
    await vfs.release(quiet);
    t.same(await m.bodies('box', 'open'), ['second', 'first']);
    const busy = await vfs.open(await m.ino('box/open'), WRITE);
    await vfs.write(busy, 0, Buffer.from('3'));
    await s3.send('PUT', '/box/open', { body: 'fourth' });
    await vfs.write(busy, 0, Buffer.from('YYYYY'));
    await vfs.release(busy);
    t.same(
      (await m.bodies('box', 'open')).filter((body) => body?.includes('Y')),
      [],
    );
    t.equal((await s3.send('GET', '/box/open')).text, 'fourth');
  });

  await t.test('what versions cannot follow is refused', async (t) => {
    const box = await m.ino('box');
    const rejects = (code: string, change: () => unknown) => t.rejects(async () => change(), { code });
    await m.create('box/dir', 'inside', 'x');
    await rejects('CROSS_DEVICE', () => vfs.rename(box, 'dir', box, 'elsewhere', {}));
    const key = await m.ino('box/key');
    await rejects('NOT_PERMITTED', () => vfs.link(key, box, 'second'));
    await rejects('INVALID', () => vfs.rename(box, 'key', box, 'back', { exchange: true }));
    await vfs.mkdir(box, 'empty', DIRECTORY, CALLER);
    await vfs.rename(box, 'empty', box, 'named', {});
  });

  await t.test('a locked version stays, whatever the mount does', async (t) => {
    await s3.send('PUT', '/vault', { headers: { 'x-amz-bucket-object-lock-enabled': 'true' } });
    const until = new Date(Date.now() + 3_600_000).toISOString();
    const lock = { 'x-amz-object-lock-mode': 'COMPLIANCE', 'x-amz-object-lock-retain-until-date': until };
    const put = await s3.send('PUT', '/vault/deed', { body: 'signed', headers: lock });
    const id = put.headers.get('x-amz-version-id');
    await m.write('vault/deed', 'forged');
    await vfs.unlink(await m.ino('vault'), 'deed');
    const kept = await s3.send('GET', `/vault/deed?versionId=${id}`);
    t.equal(kept.text, 'signed');
    t.equal(kept.headers.get('x-amz-object-lock-mode'), 'COMPLIANCE');
    t.equal((await s3.send('DELETE', `/vault/deed?versionId=${id}`)).status, 403);
    t.equal((await s3.send('DELETE', '/vault')).code, 'BucketNotEmpty');
    await t.rejects(async () => vfs.rmdir(ROOT, 'vault'), { code: 'NOT_EMPTY' });
  });

  await t.test('suspended: one null version, and those that were', async (t) => {
    await s3.send('PUT', '/rest');
    await m.versioning('rest', 'Enabled');
    await s3.send('PUT', '/rest/key', { body: 'kept' });
    await m.versioning('rest', 'Suspended');
    await m.write('rest/key', 'null one');
    await m.write('rest/key', 'null two');
    t.same(
      (await m.versions('rest', 'key')).map(({ id, body }) => [id === 'null', body]),
      [
        [true, 'null two'],
        [false, 'kept'],
      ],
    );
    await vfs.unlink(await m.ino('rest'), 'key');
    t.same(
      (await m.versions('rest', 'key')).map(({ id, isMarker }) => [id === 'null', isMarker]),
      [
        [true, true],
        [false, false],
      ],
    );
  });

  t.equal((await s3.pool.pool.control.check({ content: true, repair: false }, () => {})).clean, true);
  t.same(s3.failures, []);
});

t.test('a clock that is set back makes no version older than those that the key has', async (t) => {
  const TEN_MINUTES_MS = 600_000;
  const ahead = await S3Fixture.create(t, {
    clock: Object.assign(new SystemClock(), { nowMs: () => Date.now() + TEN_MINUTES_MS }),
  });
  await ahead.send('PUT', '/kept');
  await ahead.send('PUT', '/kept?versioning', {
    body: '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>',
  });
  for (const key of ['a', 'b']) for (const body of ['1', '2']) await ahead.send('PUT', `/kept/${key}`, { body });
  // Another daemon, which knows nothing of the one before.
  const s3 = await S3Fixture.create(t, { pool: ahead.pool });
  const { vfs } = s3.pool;
  const mounted = new Mounted(s3, new VersionedVfs(vfs, s3.pool.pool.objects));
  for (const body of ['3', '4']) await s3.send('PUT', '/kept/a', { body });
  t.same(await mounted.bodies('kept', 'a'), ['4', '3', '2', '1']);
  await s3.send('DELETE', '/kept/b');
  t.equal((await s3.send('GET', '/kept/b')).status, 404);
  const [marker] = await mounted.versions('kept', 'b');
  t.match(marker, { isMarker: true }, 'the marker is the newest');
  await s3.send('DELETE', `/kept/b?versionId=${marker?.id}`);
  t.equal((await s3.send('GET', '/kept/b')).text, '2', 'without it the object is there again');
});
