/** Rules of S3 that ceph/s3-tests asks of a server, over HTTP: what a client is told before it sends, version 2 signatures of buckets, checksums of whole uploads. */
import { createHash, createHmac } from 'node:crypto';
import { connect } from 'node:net';
import t from 'tap';
import { CairnError } from '../../../src/errors/cairn-error.js';
import { MAIN, S3Fixture } from './s3-fixture.js';

/** The first status (or what else is looked for) that comes back for bytes of which no more follow. */
function firstStatus(endpoint: string, head: string, wanted = /(?<=^HTTP\/1.1 )\d+/): Promise<string> {
  const { hostname, port } = new URL(endpoint);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(head));
    let text = '';
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1');
      const found = wanted.exec(text)?.[0];
      if (found === undefined) return;
      socket.destroy();
      resolve(found);
    });
    socket.once('close', () => resolve(text));
    socket.once('error', reject);
  });
}

t.test('what clients are told', async (t) => {
  const s3 = await S3Fixture.create(t);
  await s3.send('PUT', '/box');

  await t.test('a client that waits to send is told to go on only when its body is wanted', async (t) => {
    const head = (path: string) =>
      `PUT ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 123\r\nExpect: 100-continue\r\n\r\n`;
    t.equal(await firstStatus(s3.server.endpoint, head('/box/key')), '403', 'refused before a byte is sent');
    t.equal(await firstStatus(s3.server.endpoint, head('/box/%zz')), '400', 'also where the request cannot be read');
    await s3.send('PUT', '/open', { headers: { 'x-amz-acl': 'public-read-write' } });
    t.equal(await firstStatus(s3.server.endpoint, head('/open/key')), '100');
  });

  await t.test('a bucket is signed with version 2 as `/bucket` or as `/bucket/`', async (t) => {
    const date = new Date().toUTCString();
    const status = async (resource: string) => {
      const signature = createHmac('sha1', MAIN.secretKey).update(`GET\n\n\n${date}\n${resource}`).digest('base64');
      const headers = { date, authorization: `AWS ${MAIN.accessKey}:${signature}` };
      return (await s3.send('GET', '/box', { headers, as: null })).status;
    };
    t.equal(await status('/box'), 200);
    t.equal(await status('/box/'), 200);
    t.equal(await status('/box/key'), 403);
    t.equal(await status('/boxes'), 403);
  });

  await t.test('the checksum of a Complete is that of the whole object, and a wrong one is a BadDigest', async (t) => {
    const sha = (bytes: string | Uint8Array) => createHash('sha256').update(bytes).digest();
    const name = 'x-amz-checksum-sha256';
    const body = 'the only part';
    const started = await s3.send('POST', '/box/whole?uploads', { headers: { 'x-amz-checksum-algorithm': 'SHA256' } });
    const id = /<UploadId>([^<]*)</.exec(started.text)?.[1] ?? '';
    const sum = sha(body).toString('base64');
    const part = await s3.send('PUT', `/box/whole?partNumber=1&uploadId=${id}`, { body, headers: { [name]: sum } });
    t.equal(part.status, 200);
    const complete = (said: string) =>
      s3.send('POST', `/box/whole?uploadId=${id}`, {
        body: `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${part.headers.get('etag')}</ETag><ChecksumSHA256>${sum}</ChecksumSHA256></Part></CompleteMultipartUpload>`,
        headers: { [name]: said },
      });
    for (const wrong of ['bad', `${sum}-1`]) {
      const refused = await complete(wrong);
      t.equal(`${refused.status} ${refused.code}`, '400 BadDigest', wrong);
    }
    const whole = `${sha(sha(body)).toString('base64')}-1`;
    const completed = await complete(whole);
    t.equal(completed.status, 200);
    t.ok(completed.text.includes(`<ChecksumSHA256>${whole}</ChecksumSHA256>`));
    const bad = await s3.send('PUT', '/box/bad', { body, headers: { [name]: 'bad' } });
    t.equal(`${bad.status} ${bad.code}`, '400 BadDigest');
    const parts = await s3.send('GET', '/box/whole?attributes', {
      headers: { 'x-amz-object-attributes': 'ObjectParts,Checksum' },
    });
    t.match(parts.text, /<ObjectParts><PartsCount>1</);
    t.match(parts.text, /<ChecksumType>COMPOSITE<\/ChecksumType><\/Checksum>/);
  });

  await t.test('a write is told its version only where versions are kept', async (t) => {
    const versioning = (status: string) =>
      s3.send('PUT', '/box?versioning', {
        body: `<VersioningConfiguration><Status>${status}</Status></VersioningConfiguration>`,
      });
    const told = async () => (await s3.send('PUT', '/box/versioned', { body: 'x' })).headers.get('x-amz-version-id');
    t.equal(await told(), null);
    await versioning('Enabled');
    t.match(await told(), /^.{8,}$/);
    await versioning('Suspended');
    t.equal(await told(), null, 'the null version is what is there without versions');
  });

  await t.test('a delete that depends on what is there is held against a delete marker too', async (t) => {
    await s3.send('PUT', '/box/marked', { body: 'x' });
    const remove = (headers: Record<string, string>) => s3.send('DELETE', '/box/marked', { headers });
    t.equal((await remove({ 'if-match': '"other"' })).code, 'PreconditionFailed');
    t.equal((await remove({ 'if-match': '*' })).headers.get('x-amz-delete-marker'), 'true');
    t.equal((await remove({ 'if-match': '"other"' })).code, 'PreconditionFailed');
    t.equal((await remove({ 'x-amz-if-match-size': '1' })).code, 'PreconditionFailed');
    const body = '<Delete><Object><Key>marked</Key><ETag>other</ETag></Object></Delete>';
    t.match((await s3.send('POST', '/box?delete', { body })).text, '<Code>PreconditionFailed');
    t.equal((await remove({ 'if-match': '*' })).status, 204);
    t.equal((await s3.send('DELETE', '/box/never', { headers: { 'if-match': '"other"' } })).status, 204);
    const never = await s3.send('GET', '/box?versions&prefix=never');
    t.notMatch(never.text, '<DeleteMarker>', 'a key that there never was gets none');
  });

  await t.test(
    'of many keys to be deleted one that fails hinders no other, and the failure is told and logged',
    async (t) => {
      for (const key of ['one', 'two', 'three']) await s3.send('PUT', `/open/many/${key}`, { body: key });
      const { tree } = s3.server.parts.store;
      const publish = tree.publish.bind(tree);
      let calls = 0;
      tree.publish = (...args) => (++calls === 2 ? Promise.reject(new CairnError('IO', 'planted')) : publish(...args));
      const object = (key: string) => `<Object><Key>many/${key}</Key></Object>`;
      const body = `<Delete>${['one', 'two', 'three'].map(object).join('')}</Delete>`;
      const answer = await s3.send('POST', '/open?delete', { body });
      tree.publish = publish;
      t.equal(answer.status, 500);
      t.match(s3.failures.splice(0), [{ message: 'planted' }]);
      t.equal((await s3.send('GET', '/open/many/two')).text, 'two');
      for (const key of ['one', 'three']) t.equal((await s3.send('GET', `/open/many/${key}`)).status, 404, key);
      t.equal((await s3.send('POST', '/open?delete', { body })).status, 200, 'asked again it is done');
    },
  );

  await t.test('a bucket that is not empty keeps its uploads when somebody tries to delete it', async (t) => {
    await s3.send('PUT', '/busy');
    await s3.send('PUT', '/busy/there/key', { body: 'x' });
    const { text } = await s3.send('POST', '/busy/there/large?uploads');
    const id = /<UploadId>([^<]+)</.exec(text)?.[1] ?? '';
    t.equal((await s3.send('PUT', `/busy/there/large?partNumber=1&uploadId=${id}`, { body: 'part' })).status, 200);
    t.equal((await s3.send('DELETE', '/busy')).code, 'BucketNotEmpty');
    t.match((await s3.send('GET', `/busy/there/large?uploadId=${id}`)).text, '<PartNumber>1</PartNumber>');
    await s3.send('DELETE', '/busy/there/key');
    t.equal((await s3.send('DELETE', '/busy')).status, 204, 'an empty one goes with them');
    await s3.send('PUT', '/busy');
    t.notMatch((await s3.send('GET', '/busy?uploads')).text, id);
  });

  await t.test('versions that are removed at once are all gone', async (t) => {
    await s3.send('PUT', '/crowd');
    const body = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>';
    await s3.send('PUT', '/crowd?versioning', { body });
    for (let round = 0; round < 4; round++) {
      const puts = await Promise.all([1, 2, 3, 4, 5, 6].map((i) => s3.send('PUT', '/crowd/key', { body: `${i}` })));
      const ids = puts.map(({ headers }) => headers.get('x-amz-version-id'));
      t.equal(new Set(ids).size, ids.length);
      await Promise.all(ids.map((id) => s3.send('DELETE', `/crowd/key?versionId=${id}`)));
      t.notMatch((await s3.send('GET', '/crowd?versions')).text, '<Version>');
    }
  });

  await t.test('a part that is asked for comes with the checksum of that part', async (t) => {
    const start = { headers: { 'x-amz-checksum-algorithm': 'CRC32C', 'x-amz-checksum-type': 'FULL_OBJECT' } };
    const id = /<UploadId>([^<]*)</.exec((await s3.send('POST', '/box/parts?uploads', start)).text)?.[1] ?? '';
    const name = 'x-amz-checksum-crc32c';
    const headers = { 'x-amz-sdk-checksum-algorithm': 'CRC32C' };
    const bodies = [Buffer.alloc(5 * 1024 * 1024, 'a'), Buffer.from('the last')];
    const etags: string[] = [];
    const sums: (string | null)[] = [];
    // The second one is sent twice: what counts is what was sent last.
    for (const [number, sent] of [
      [1, bodies[0]!],
      [2, Buffer.from('sent before')],
      [2, bodies[1]!],
    ] as const) {
      const sending = { body: sent, headers };
      const part = await s3.send('PUT', `/box/parts?partNumber=${number}&uploadId=${id}`, sending);
      etags.push(`<Part><PartNumber>${number}</PartNumber><ETag>${part.headers.get('etag')}</ETag></Part>`);
      sums[number] = part.headers.get(name);
    }
    const complete = (parts: readonly string[]) =>
      s3.send('POST', `/box/parts?uploadId=${id}`, {
        body: `<CompleteMultipartUpload>${parts.join('')}</CompleteMultipartUpload>`,
      });
    t.equal((await complete([etags[0]!, etags[1]!])).code, 'InvalidPart', 'that one has been replaced');
    t.equal((await complete([etags[2]!, etags[0]!])).code, 'InvalidPartOrder');
    t.equal((await complete(etags)).status, 200, 'listed twice, as it was sent');
    const mode = { headers: { 'x-amz-checksum-mode': 'ENABLED' } };
    for (const number of [1, 2]) {
      const part = await s3.send('GET', `/box/parts?partNumber=${number}`, mode);
      t.equal(part.headers.get(name), sums[number]);
      t.equal(part.headers.get('x-amz-checksum-type'), 'FULL_OBJECT');
      t.equal(part.text, bodies[number - 1]!.toString());
    }
    const whole = (await s3.send('HEAD', '/box/parts', mode)).headers.get(name);
    t.not(whole, null);
    t.notOk(sums.includes(whole));
    const range = await s3.send('GET', '/box/parts', { headers: { ...mode.headers, range: 'bytes=0-9' } });
    t.equal(range.headers.get(name), null, 'of a range nothing is known');
  });

  await t.test('the prefix of a list reads the same whether a client decodes it or not', async (t) => {
    const prefixOf = async (query: string) =>
      /<Prefix>([^<]*)</.exec((await s3.send('GET', `/box?encoding-type=url&${query}`)).text)?.[1];
    t.equal(await prefixOf('prefix=a%20b'), 'a b');
    t.equal(await prefixOf('prefix=%0A'), '&#xA;');
    t.equal(await prefixOf('prefix=a%2520b'), 'a%2520b', 'a percent sign must be encoded');
    t.equal(await prefixOf('prefix=%01'), '%01', 'XML has no such character');
    t.equal(await prefixOf('list-type=2&prefix=a%20b'), 'a%20b');
  });

  await t.test('a version id that no header can carry is refused', async (t) => {
    t.equal((await s3.send('DELETE', '/box/key?versionId=%00')).code, 'InvalidArgument');
  });

  await t.test('what is not offered is refused by its name, and several ranges are the whole', async (t) => {
    const refused = async (method: string, path: string, name: string, headers = {}) => {
      const answer = await s3.send(method, path, { headers });
      t.equal(`${answer.status} ${answer.code}`, '501 NotImplemented', `${method} ${path}`);
      t.match(answer.text, name);
    };
    for (const name of [
      'accelerate',
      'analytics',
      'intelligent-tiering',
      'inventory',
      'logging',
      'metrics',
      'notification',
    ])
      for (const method of ['GET', 'PUT']) await refused(method, `/box?${name}`, `?${name}`);
    for (const name of ['website', 'replication', 'encryption', 'requestPayment'])
      await refused('PUT', `/box?${name}`, `?${name}`);
    for (const name of ['restore', 'select']) await refused('POST', `/box/key?${name}`, `?${name}`);
    await refused('GET', '/box/key?torrent', '?torrent');
    await refused('PUT', '/box/key?renameObject', '?renameObject', { 'x-amz-rename-source': '/box/bad' });
    await refused('PUT', '/box/key', 'Appending', { 'x-amz-write-offset-bytes': '3' });
    await refused('PUT', '/box/key', 'Server-side encryption', { 'x-amz-server-side-encryption': 'AES256' });
    for (const [name, told] of [
      ['customer-algorithm', 'SSE-C'],
      ['customer-key', 'SSE-C'],
      ['aws-kms-key-id', 'Server-side encryption'],
    ] as const)
      for (const method of ['PUT', 'GET'])
        await refused(method, '/box/key', told, {
          [`x-amz-server-side-encryption-${name}`]: 'x',
        });
    t.equal((await s3.send('GET', '/box/key')).status, 404);
    await s3.send('PUT', '/box/ranges', { body: '0123456789' });
    const range = async (text: string) => {
      const { status, text: body } = await s3.send('GET', '/box/ranges', { headers: { range: text } });
      return `${status} ${body.slice(0, 10)}`;
    };
    t.equal(await range('bytes=2-4'), '206 234');
    t.equal(await range('bytes=-2'), '206 89');
    t.equal(await range('bytes=7-'), '206 789');
    for (const text of ['bytes=0-1,4-5', 'bytes=0-1, 4-5', 'bytes=-1,0-0', 'bytes=99-,0-1'])
      t.equal(await range(text), '200 0123456789', text);
    const whole = await s3.send('GET', '/box/ranges', { headers: { range: 'bytes=0-1,4-5' } });
    t.equal(whole.headers.get('content-length'), '10');
    t.equal(whole.headers.get('content-range'), null, 'it does not look like a part');
    t.equal(await range('lines=1-2'), '200 0123456789');
    t.match(await range('bytes=10-'), /^416/);
  });

  await t.test('what is wrong behind a request does not cost it its answer', async (t) => {
    await s3.send('PUT', '/open/there', { body: 'x' });
    const head = 'Host: localhost\r\nContent-MD5: AAAAAAAAAAAAAAAAAAAAAA==\r\nContent-Length: 2\r\n\r\n';
    const status = await firstStatus(s3.server.endpoint, `PUT /open/short HTTP/1.1\r\n${head}bar`, /<Code>\w+/);
    t.equal(status, '<Code>BadDigest');
  });
  t.same(s3.failures, []);
});
