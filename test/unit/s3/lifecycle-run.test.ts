/** Passes of the lifecycle over buckets, with and without versions, at times that the test says. */
import t, { type Test } from 'tap';
import { S3Fixture } from './s3-fixture.js';

const DAY = 24 * 3600 * 1000;
const rule = (id: string, prefix: string, body: string) =>
  `<Rule><ID>${id}</ID><Filter><Prefix>${prefix}</Prefix></Filter><Status>Enabled</Status>${body}</Rule>`;
const expire = (days: number) => `<Expiration><Days>${days}</Days></Expiration>`;

t.test('lifecycle passes', async (t) => {
  const s3 = await S3Fixture.create(t);
  const ok = async (t: Test, method: string, path: string, sent: Parameters<S3Fixture['send']>[2] = {}) => {
    const answer = await s3.send(method, path, sent);
    t.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${answer.code}`);
    return answer;
  };
  const keys = async (t: Test, path: string, element = 'Key') =>
    [...(await ok(t, 'GET', path)).text.matchAll(new RegExp(`<${element}>([^<]*)</${element}>`, 'g'))].map(
      ([, key]) => key,
    );
  const rules = (t: Test, box: string, ...all: string[]) =>
    ok(t, 'PUT', `${box}?lifecycle`, { body: `<LifecycleConfiguration>${all.join('')}</LifecycleConfiguration>` });
  const pass = (days: number) => s3.server.lifecycle.run(Date.now() + days * DAY);

  await t.test('objects go when they are due, and only those of their rule', async (t) => {
    await ok(t, 'PUT', '/plain');
    for (const key of ['one/a', 'one/b', 'five/c', 'keep/d']) await ok(t, 'PUT', `/plain/${key}`, { body: key });
    await rules(t, '/plain', rule('one', 'one/', expire(1)), rule('five', 'five/', expire(5)));
    t.same(await pass(0.5), { expired: 0, removedVersions: 0, abortedUploads: 0 });
    t.same(await pass(3), { expired: 2, removedVersions: 0, abortedUploads: 0 });
    t.same(await keys(t, '/plain'), ['five/c', 'keep/d']);
    await pass(7);
    t.same(await keys(t, '/plain'), ['keep/d']);
  });

  await t.test('uploads that are not completed are given up', async (t) => {
    await ok(t, 'PUT', '/uploads');
    for (const key of ['test1/a', 'test2/']) await ok(t, 'POST', `/uploads/${key}?uploads`);
    const abort =
      '<AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation></AbortIncompleteMultipartUpload>';
    await rules(t, '/uploads', rule('abort', 'test1/', abort));
    t.equal((await pass(1)).abortedUploads, 0);
    t.equal((await pass(4)).abortedUploads, 1);
    t.same(await keys(t, '/uploads?uploads'), ['test2/']);
    await pass(13);
    t.same(await keys(t, '/uploads?uploads'), ['test2/'], 'no rule says anything of it');
    await pass(15);
    t.same(await keys(t, '/uploads?uploads'), [], 'abandoned all the same');
  });

  await t.test('versions: a marker first, old ones by their age, the marker last; a lock holds', async (t) => {
    await ok(t, 'PUT', '/versions', { headers: { 'x-amz-bucket-object-lock-enabled': 'true' } });
    const until = {
      'x-amz-object-lock-mode': 'COMPLIANCE',
      'x-amz-object-lock-retain-until-date': new Date(Date.now() + 20 * DAY).toISOString(),
    };
    for (const headers of [until, {}, {}]) await ok(t, 'PUT', '/versions/key', { body: 'text', headers });
    const noncurrent = '<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>';
    await rules(t, '/versions', rule('all', '', expire(5) + noncurrent));
    const versions = async () => (await keys(t, '/versions?versions', 'VersionId')).length;
    t.equal(await versions(), 3);
    t.same(await pass(3), { expired: 0, removedVersions: 1, abortedUploads: 0 }, 'the locked one stays');
    t.same(await pass(7), { expired: 1, removedVersions: 0, abortedUploads: 0 });
    const hidden = await s3.send('GET', '/versions/key');
    t.equal(`${hidden.code} ${hidden.headers.get('x-amz-delete-marker')}`, 'NoSuchKey true');
    t.equal(await versions(), 3, 'marker, present one before it, locked one');
    t.equal((await pass(10)).removedVersions, 1);
    t.equal((await pass(30)).removedVersions, 1, 'no more held');
    t.equal((await pass(30)).removedVersions, 1, 'the marker, with nothing behind it');
    t.equal(await versions(), 0);
    const gone = await s3.send('GET', '/versions/key');
    t.equal(`${gone.code} ${gone.headers.get('x-amz-delete-marker')}`, 'NoSuchKey false', 'no marker either');
  });

  await t.test('newer versions are kept', async (t) => {
    await ok(t, 'PUT', '/kept');
    await ok(t, 'PUT', '/kept?versioning', {
      body: '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>',
    });
    for (let i = 0; i < 6; i++) await ok(t, 'PUT', '/kept/key', { body: String(i) });
    const noncurrent =
      '<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>2</NewerNoncurrentVersions></NoncurrentVersionExpiration>';
    await rules(t, '/kept', rule('some', '', noncurrent));
    t.equal((await pass(9)).removedVersions, 3);
    t.equal((await ok(t, 'GET', '/kept/key')).text, '5');
    t.equal((await pass(9)).removedVersions, 0);
  });

  t.same(s3.failures, []);
});
