/** The S3 face over a small real pool, in process: what it answers, what the mount's side of the tree sees of it, and what survives a kill. */
import { createHash } from 'node:crypto';
import t, { type Test } from 'tap';
import { SystemClock } from '../../../src/io/clock.js';
import { S3Server } from '../../../src/s3/s3-server.js';
import { newUser, UserTable } from '../../../src/s3/users.js';
import type { Attr } from '../../../src/vfs/vfs.js';
import { PoolFixture } from '../vfs/pool-fixture.js';
import { exchange, SigningClient } from './signing-client.js';

const ROOT = 1;
const CALLER = { uid: 0, gid: 0, pid: 1 };
const MIB = 1024 * 1024;
const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex');
const bytesOf = (length: number, seed: number): Buffer =>
  Buffer.from(Array.from({ length }, (_, i) => (i * 31 + seed + (i >> 9)) & 255));
const textsOf = (xml: Buffer, name: string): string[] =>
  [...xml.toString().matchAll(new RegExp(`<${name}>([^<]*)</${name}>`, 'g'))].map((match) => match[1]!);

async function serve(t: Test, fixture: PoolFixture) {
  const users = [newUser('alice'), newUser('bob')];
  const clock = new SystemClock();
  const failures: unknown[] = [];
  const table = new UserTable(
    async () => users,
    clock,
    (error) => failures.push(error),
  );
  const server = await S3Server.start(
    {
      tree: fixture.pool.objects,
      users: table,
      clock,
      audit: () => {},
      onFailure: (_what, error) => failures.push(error),
    },
    { host: '127.0.0.1', port: 0, region: 'us-east-1', requestsMax: 100 },
  );
  t.teardown(() => server.close());
  const [alice, bob] = users.map((user) => new SigningClient(server.endpoint, user));
  return { alice: alice!, bob: bob!, failures, server };
}

t.test('objects and the tree', async (t) => {
  const fixture = await PoolFixture.create(t);
  const { alice, bob, failures } = await serve(t, fixture);
  t.equal((await alice.send('PUT', 'photos')).status, 200);

  await t.test('a PUT is there for both faces, after a kill without cache too', async (t) => {
    const bytes = bytesOf(700_000, 3);
    const answer = await alice.send('PUT', 'photos', {
      key: 'a/b.jpg',
      body: bytes,
      headers: { 'content-type': 'image/jpeg', 'x-amz-meta-camera': 'old' },
    });
    t.equal(answer.status, 200);
    t.equal(answer.headers['etag'], `"${md5(bytes)}"`);
    const { vfs } = fixture;
    const photos = (await vfs.lookup(ROOT, 'photos')) as Attr;
    const a = (await vfs.lookup(photos.ino, 'a')) as Attr;
    const file = (await vfs.lookup(a.ino, 'b.jpg')) as Attr;
    t.equal(file.sizeBytes, bytes.length);
    t.same(Buffer.from(await vfs.getxattr(file.ino, 'user.s3.meta.camera')).toString(), 'old');
    const got = await alice.send('GET', 'photos', { key: 'a/b.jpg' });
    t.same(got.body, bytes);
    t.match(got.headers, { 'content-type': 'image/jpeg', 'x-amz-meta-camera': 'old', etag: `"${md5(bytes)}"` });
    const part = await alice.send('GET', 'photos', { key: 'a/b.jpg', headers: { range: 'bytes=1000-1999' } });
    t.equal(part.status, 206);
    t.same(part.body, bytes.subarray(1000, 2000));
    t.equal((await alice.send('GET', 'photos', { key: 'a/b.jpg', headers: { range: 'bytes=700000-' } })).status, 416);
  });

  await t.test('what the mount writes has an ETag of committed content, that no one takes for an MD5', async (t) => {
    const { vfs } = fixture;
    const photos = (await vfs.lookup(ROOT, 'photos')) as Attr;
    const { handle } = await vfs.create(photos.ino, 'from-mount', 0o644, { read: true, write: true }, CALLER);
    await vfs.write(handle, 0, Buffer.from('hello'));
    await vfs.release(handle);
    const head = await alice.send('HEAD', 'photos', { key: 'from-mount' });
    t.match(head.headers['etag'], /^"[0-9a-f]{32}-0"$/);
    t.equal((await alice.send('GET', 'photos', { key: 'from-mount' })).body.toString(), 'hello');
    const b = (await vfs.lookup((await vfs.lookup(photos.ino, 'a'))!.ino, 'b.jpg')) as Attr;
    const again = await vfs.open(b.ino, { read: true, write: true });
    await vfs.write(again, 0, Buffer.from('X'));
    await vfs.release(again);
    t.match(
      (await alice.send('HEAD', 'photos', { key: 'a/b.jpg' })).headers['etag'],
      /-0"$/,
      'an ETag of other bytes is void',
    );
  });

  await t.test('keys that no file can be named, and object and directory of one name', async (t) => {
    const keys = [
      'a',
      'a/',
      'x//y',
      'x/../y',
      'x/./z',
      '.',
      `long/${'n'.repeat(600)}`,
      'é/ü',
      '.cairn-key-61',
      'a-b',
      'a.b',
      'a/b/c',
    ];
    for (const key of keys)
      t.equal((await alice.send('PUT', 'photos', { key, body: key })).status, 200, key.slice(0, 20));
    for (const key of keys)
      t.equal((await alice.send('GET', 'photos', { key })).body.toString(), key, key.slice(0, 20));
    const listed = textsOf((await alice.send('GET', 'photos')).body, 'Key');
    const sorted = [...keys, 'a/b.jpg', 'from-mount'].sort((x, y) => Buffer.compare(Buffer.from(x), Buffer.from(y)));
    t.same(listed, sorted, 'in byte order');
    const paged: string[] = [];
    for (let marker = ''; ; ) {
      const page = await alice.send('GET', 'photos', {
        query: [
          ['marker', marker],
          ['max-keys', '3'],
        ],
      });
      paged.push(...textsOf(page.body, 'Key'));
      if (textsOf(page.body, 'IsTruncated')[0] === 'false') break;
      marker = paged.at(-1)!;
    }
    t.same(paged, sorted, 'in pages');
    const grouped = (await alice.send('GET', 'photos', { query: [['delimiter', '/']] })).body;
    t.same(textsOf(grouped, 'Prefix').slice(1), ['a/', 'long/', 'x/', 'é/']);
    for (const key of keys) t.equal((await alice.send('DELETE', 'photos', { key })).status, 204);
    t.same(textsOf((await alice.send('GET', 'photos')).body, 'Key'), ['a/b.jpg', 'from-mount']);
  });

  await t.test('directories that keys made go with them, others stay', async (t) => {
    const { vfs } = fixture;
    const photos = (await vfs.lookup(ROOT, 'photos')) as Attr;
    const put = (key: string, body = key, headers = {}) => alice.send('PUT', 'photos', { key, body, headers });
    const remove = (key: string) => alice.send('DELETE', 'photos', { key });
    await put('i/j/k');
    await put('i/other');
    await remove('i/j/k');
    const i = (await vfs.lookup(photos.ino, 'i')) as Attr;
    t.equal(await vfs.lookup(i.ino, 'j'), undefined);
    await remove('i/other');
    t.equal(await vfs.lookup(photos.ino, 'i'), undefined, 'made for keys');
    await put('e/', '');
    await put('e/f');
    await remove('e/f');
    t.ok((await vfs.lookup(photos.ino, 'e'))!.mode & 0o040000, 'asked for');
    await remove('e/');
    await vfs.mkdir(photos.ino, 'm', 0o755, CALLER);
    await put('m/f');
    await remove('m/f');
    t.ok(await vfs.lookup(photos.ino, 'm'), 'made through the mount');
    await vfs.rmdir(photos.ino, 'm');
    await put('d/', 'a body', { 'x-amz-meta-kind': 'folder' });
    const d = await alice.send('GET', 'photos', { key: 'd/' });
    t.equal(d.body.toString(), 'a body');
    t.equal(d.headers['x-amz-meta-kind'], 'folder');
    t.ok((await vfs.lookup(photos.ino, 'd'))!.mode & 0o040000);
    await remove('d/');
    const strict = { headers: { 'x-cairn-strict-keys': 'true' } };
    t.equal((await alice.send('PUT', 'strict', strict)).status, 200);
    const inStrict = (key: string) => alice.send('PUT', 'strict', { key, body: key });
    t.equal((await inStrict('a')).status, 200);
    const conflict = await inStrict('a/b');
    t.equal(`${conflict.status} ${conflict.code}`, '409 KeyConflict');
    t.equal((await inStrict('b/c')).status, 200);
    t.equal((await inStrict('b')).code, 'KeyConflict');
    t.equal((await inStrict('b/c')).status, 200, 'one and the same is written over');
    t.same(textsOf((await alice.send('GET', 'strict')).body, 'Key'), ['a', 'b/c']);
    await alice.send('DELETE', 'strict', { key: 'b/c' });
    t.equal((await inStrict('b')).status, 200, 'when the directory is gone');
  });

  await t.test('names of the mount as keys, keys as names of the mount', async (t) => {
    const { vfs } = fixture;
    await alice.send('PUT', 'names');
    const bucket = (await vfs.lookup(ROOT, 'names')) as Attr;
    const { handle } = await vfs.create(bucket.ino, 'caf\xe9', 0o644, { read: true, write: true }, CALLER);
    await vfs.write(handle, 0, Buffer.from('latin'));
    await vfs.release(handle);
    const [key] = textsOf((await alice.send('GET', 'names')).body, 'Key');
    t.equal(key, '.cairn-hex-636166e9', 'a name that is no text');
    t.equal((await alice.send('GET', 'names', { key: key! })).body.toString(), 'latin');
    t.equal((await alice.send('DELETE', 'names', { key: key! })).status, 204);
    t.equal(await vfs.lookup(bucket.ino, 'caf\xe9'), undefined);
    const long = 'n'.repeat(300);
    for (const one of ['..', '.', 'a/b', 'a', long, 'é']) await alice.send('PUT', 'names', { key: one, body: one });
    const names: string[] = [];
    const listing = await vfs.opendir(bucket.ino);
    await vfs.readdir(listing, 0, false, ({ name }) => names.push(name) > 0);
    await vfs.releasedir(listing);
    const hash = createHash('sha256').update(long).digest('hex').slice(0, 32);
    const shown = ['.', '..', '.cairn-key-2e', '.cairn-key-2e2e', '.cairn-key-61', 'a', '\xc3\xa9'];
    t.same(names.sort(), [...shown, `.cairn-longkey-${hash}`].sort());
    await vfs.rename(bucket.ino, '.cairn-key-2e2e', bucket.ino, 'plain', {});
    t.equal((await alice.send('GET', 'names', { key: 'plain' })).body.toString(), '..');
  });

  await t.test('metadata is the same on both faces', async (t) => {
    const { vfs } = fixture;
    const headers = { 'x-amz-meta-by': 's3', 'x-amz-meta-gone': 'x' };
    await alice.send('PUT', 'names', { key: 'meta', body: 'x', headers });
    const bucket = (await vfs.lookup(ROOT, 'names')) as Attr;
    const { ino } = (await vfs.lookup(bucket.ino, 'meta')) as Attr;
    t.same((await vfs.listxattr(ino)).sort(), ['user.s3.meta.by', 'user.s3.meta.gone']);
    t.equal(Buffer.from(await vfs.getxattr(ino, 'user.s3.meta.by')).toString(), 's3');
    await vfs.setxattr(ino, 'user.s3.meta.new', Buffer.from('mount'), 'set');
    await vfs.removexattr(ino, 'user.s3.meta.gone');
    const head = await alice.send('HEAD', 'names', { key: 'meta' });
    t.equal(head.headers['x-amz-meta-new'], 'mount');
    t.equal(head.headers['x-amz-meta-gone'], undefined);
    await alice.send('PUT', 'names', { key: 'copy', headers: { 'x-amz-copy-source': 'names/meta' } });
    const copy = (await vfs.lookup(bucket.ino, 'copy')) as Attr;
    t.equal(Buffer.from(await vfs.getxattr(copy.ino, 'user.s3.meta.new')).toString(), 'mount');
    for (const name of ['one', 'two']) {
      const { handle } = await vfs.create(bucket.ino, name, 0o644, { read: true, write: true }, CALLER);
      await vfs.write(handle, 0, Buffer.alloc(300_000, 'same'));
      await vfs.release(handle);
    }
    const etag = async (key: string) => (await alice.send('HEAD', 'names', { key })).headers['etag'];
    t.equal(await etag('one'), await etag('two'), 'the same bytes have the same ETag');
    t.equal(await etag('one'), await etag('one'));
    await alice.send('PUT', 'names', { key: 'three', headers: { 'x-amz-copy-source': 'names/one' } });
    t.equal(await etag('three'), await etag('one'));
  });

  await t.test('conditions are checked at the change itself', async (t) => {
    const puts = await Promise.all(
      Array.from({ length: 8 }, (_, i) =>
        alice.send('PUT', 'photos', { key: 'once', body: `${i}`, headers: { 'if-none-match': '*' } }),
      ),
    );
    t.same(puts.map(({ status }) => status).sort(), [200, 412, 412, 412, 412, 412, 412, 412]);
    const etag = (await alice.send('HEAD', 'photos', { key: 'once' })).headers['etag'] as string;
    t.equal(
      (await alice.send('PUT', 'photos', { key: 'once', body: 'new', headers: { 'if-match': '"0"' } })).status,
      412,
    );
    t.equal(
      (await alice.send('PUT', 'photos', { key: 'once', body: 'new', headers: { 'if-match': etag } })).status,
      200,
    );
    t.equal(
      (await alice.send('GET', 'photos', { key: 'once', headers: { 'if-none-match': `"${md5(Buffer.from('new'))}"` } }))
        .status,
      304,
    );
  });

  await t.test('bytes that are not what the client says are refused, and leave nothing', async (t) => {
    const bad = async (headers: Record<string, string>, code: string) => {
      const answer = await alice.send('PUT', 'photos', { key: 'bad', body: 'hello', headers });
      t.equal(answer.code, code);
    };
    await bad({ 'content-md5': 'XrY7u+Ae7tCTyyK7j1rNww==' }, 'BadDigest');
    await bad({ 'content-md5': 'nonsense' }, 'InvalidDigest');
    await bad({ 'x-amz-checksum-crc32c': 'AAAAAA==' }, 'BadDigest');
    await bad({ 'x-amz-content-sha256': '0'.repeat(64) }, 'XAmzContentSHA256Mismatch');
    t.equal((await alice.send('GET', 'photos', { key: 'bad' })).code, 'NoSuchKey');
  });

  await t.test('who may do what', async (t) => {
    t.equal((await bob.send('GET', 'photos', { key: 'once' })).code, 'AccessDenied');
    t.equal((await bob.send('GET', 'photos', { isAnonymous: true })).code, 'AccessDenied');
    t.equal(
      (await new SigningClient(alice.endpoint, { ...alice.user, secretKey: 'wrong one' }).send('GET', 'photos')).code,
      'SignatureDoesNotMatch',
    );
    t.equal(
      (await new SigningClient(alice.endpoint, { ...alice.user, accessKey: 'NOBODY' }).send('GET', 'photos')).code,
      'InvalidAccessKeyId',
    );
    t.equal((await alice.send('GET', 'photos', { atMs: Date.now() - 16 * 60_000 })).code, 'RequestTimeTooSkewed');
    const policy = JSON.stringify({
      Version: '2012-10-17',
      Statement: [
        { Effect: 'Allow', Principal: '*', Action: 's3:GetObject', Resource: 'arn:aws:s3:::photos/*' },
        { Effect: 'Deny', Principal: '*', Action: 's3:GetObject', Resource: 'arn:aws:s3:::photos/a/*' },
      ],
    });
    t.equal((await alice.send('PUT', 'photos', { query: [['policy', '']], body: policy })).status, 204);
    t.equal((await bob.send('GET', 'photos', { key: 'once', isAnonymous: true })).status, 200);
    t.equal((await bob.send('GET', 'photos', { key: 'a/b.jpg' })).code, 'AccessDenied', 'deny comes first');
    t.equal((await alice.send('DELETE', 'photos', { query: [['policy', '']] })).status, 204);
  });

  await t.test('multipart: parts become one file without moving a byte', async (t) => {
    const created = await alice.send('POST', 'photos', { key: 'big', query: [['uploads', '']] });
    const id = textsOf(created.body, 'UploadId')[0]!;
    const parts = [bytesOf(5 * MIB, 1), bytesOf(1000, 2)];
    for (const [i, part] of parts.entries())
      t.equal(
        (
          await alice.send('PUT', 'photos', {
            key: 'big',
            query: [
              ['partNumber', `${i + 1}`],
              ['uploadId', id],
            ],
            body: part,
          })
        ).status,
        200,
      );
    const xml = `<CompleteMultipartUpload>${parts.map((part, i) => `<Part><PartNumber>${i + 1}</PartNumber><ETag>${md5(part)}</ETag></Part>`).join('')}</CompleteMultipartUpload>`;
    const complete = () => alice.send('POST', 'photos', { key: 'big', query: [['uploadId', id]], body: xml });
    const etag = textsOf((await complete()).body, 'ETag')[0];
    t.equal(textsOf((await complete()).body, 'ETag')[0], etag, 'once more, its answer lost');
    t.same((await alice.send('GET', 'photos', { key: 'big' })).body, Buffer.concat(parts));
    t.same((await alice.send('GET', 'photos', { key: 'big', query: [['partNumber', '2']] })).body, parts[1]);
    const again = await alice.send('POST', 'photos', { key: 'big2', query: [['uploads', '']] });
    const aborted = textsOf(again.body, 'UploadId')[0]!;
    t.equal((await alice.send('DELETE', 'photos', { key: 'big2', query: [['uploadId', aborted]] })).status, 204);
    t.equal(
      (await alice.send('DELETE', 'photos', { key: 'big2', query: [['uploadId', aborted]] })).code,
      'NoSuchUpload',
    );
  });

  await t.test('versions, delete markers, and the name that follows them', async (t) => {
    t.equal((await alice.send('PUT', 'versioned')).status, 200);
    await alice.send('PUT', 'versioned', { key: 'k', body: 'null version' });
    const enable = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>';
    await alice.send('PUT', 'versioned', { query: [['versioning', '']], body: enable });
    const first = (await alice.send('PUT', 'versioned', { key: 'k', body: 'one' })).headers[
      'x-amz-version-id'
    ] as string;
    await alice.send('PUT', 'versioned', { key: 'k', body: 'two' });
    const marker = (await alice.send('DELETE', 'versioned', { key: 'k' })).headers['x-amz-version-id'] as string;
    const bucket = (await fixture.vfs.lookup(ROOT, 'versioned')) as Attr;
    t.equal(await fixture.vfs.lookup(bucket.ino, 'k'), undefined, 'a marker hides the file on the mount');
    t.equal((await alice.send('GET', 'versioned', { key: 'k' })).headers['x-amz-delete-marker'], 'true');
    const get = async (id: string) =>
      (await alice.send('GET', 'versioned', { key: 'k', query: [['versionId', id]] })).body.toString();
    t.equal(await get(first), 'one');
    t.equal(await get('null'), 'null version');
    const list = (await alice.send('GET', 'versioned', { query: [['versions', '']] })).body;
    t.same(textsOf(list, 'VersionId').slice(0, 1), [marker], 'newest first');
    t.equal(textsOf(list, 'VersionId').length, 4);
    await alice.send('DELETE', 'versioned', { key: 'k', query: [['versionId', marker]] });
    t.equal(
      (await alice.send('GET', 'versioned', { key: 'k' })).body.toString(),
      'two',
      'without the marker it is back',
    );
    t.equal((await alice.send('DELETE', 'versioned')).code, 'BucketNotEmpty');
  });

  await t.test('garbage gets an answer', async (t) => {
    const { endpoint } = alice;
    for (const [path, status] of [
      ['/%zz', 400],
      ['/photos/%ff', 400],
      ['/photos?versionId', 403],
    ] as const)
      t.equal((await exchange(endpoint, 'GET', path, { host: 'x' }, Buffer.alloc(0))).status, status, path);
    const xml = '<!DOCTYPE x [<!ENTITY e "x">]><Delete><Object><Key>&e;</Key></Object></Delete>';
    t.equal((await alice.send('POST', 'photos', { query: [['delete', '']], body: xml })).code, 'MalformedXML');
    t.equal((await alice.send('GET', 'photos', { query: [['torrent', '']] })).code, 'NotImplemented');
    const other = { 'x-amz-expected-bucket-owner': 'somebody' };
    t.equal((await alice.send('GET', 'photos', { headers: other })).code, 'AccessDenied');
  });

  await t.test(
    'a refusal in the middle of a body is answered, also where the rest of the body is never read',
    async (t) => {
      const form = { 'content-type': 'multipart/form-data; boundary=b', host: 'x' };
      const field = (name: string, value: string) =>
        `--b\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
      const fields = field('policy', 'e30=') + field('awsaccesskeyid', 'NOBODY') + field('signature', 'x');
      const body = Buffer.concat([
        Buffer.from(`${fields}${field('file', 'f'.repeat(300_000))}`),
        Buffer.from('--b--\r\n'),
      ]);
      const { status } = await exchange(
        alice.endpoint,
        'POST',
        '/photos',
        { ...form, 'content-length': String(body.length) },
        body,
      );
      t.ok(status === 403 || status === 400, `${status}`);
    },
  );
  t.same(failures, []);

  await t.test('the pool is whole, and what was answered is there without cache and metadata', async (t) => {
    t.same((await fixture.pool.control.check({ content: true, repair: false }, () => {})).findings, []);
    const tagging = '<Tagging><TagSet><Tag><Key>color</Key><Value>blue</Value></Tag></TagSet></Tagging>';
    await alice.send('PUT', 'names', { key: 'meta', query: [['tagging', '']], body: tagging });
    const shared = { query: [['acl', '']] as [string, string][], headers: { 'x-amz-acl': 'public-read' } };
    t.equal((await alice.send('PUT', 'names', { key: 'meta', ...shared })).status, 200);
    await alice.send('PUT', 'names', { query: [['tagging', '']], body: tagging });
    await fixture.kill('cache', 'meta');
    const names = (await fixture.vfs.lookup(ROOT, 'names')) as Attr;
    const kept = async (ino: number, name: string) =>
      Buffer.from((await fixture.pool.objects.attributes(ino)).get(name) ?? []).toString();
    const meta = await kept((await fixture.vfs.lookup(names.ino, 'meta'))!.ino, 'cairn.s3.object');
    t.match(meta, '"tags":[["color","blue"]]', 'what changes only attributes has the pool promise too');
    t.match(meta, '"acl":[["');
    t.match(await kept(names.ino, 'cairn.s3.bucket.tags'), 'blue');
    const { pool } = fixture;
    const photos = (await fixture.vfs.lookup(ROOT, 'photos')) as Attr;
    const big = (await fixture.vfs.lookup(photos.ino, 'big')) as Attr;
    t.equal(big.sizeBytes, 5 * MIB + 1000);
    t.same((await pool.control.check({ content: true, repair: false }, () => {})).findings, []);
  });
});
