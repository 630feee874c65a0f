/** Rules of S3 that ceph/s3-tests asks of a server, over HTTP: what a client is told before it sends, version 2 signatures of buckets, checksums of whole uploads. */
import { createHash, createHmac } from 'node:crypto';
import { connect } from 'node:net';
import t from 'tap';
import { MAIN, S3Fixture } from './s3-fixture.js';

/** The first status line that comes back for a head whose body is never sent. */
function firstStatus(endpoint: string, head: string): Promise<string> {
  const { hostname, port } = new URL(endpoint);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(head));
    socket.once('data', (bytes) => {
      socket.destroy();
      resolve(bytes.toString('latin1').split(' ')[1] ?? '');
    });
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
  t.same(s3.failures, []);
});
