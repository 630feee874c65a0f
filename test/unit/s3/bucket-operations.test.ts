/** Policy, public access, ownership, CORS, tags, lifecycle, object lock and forms, over HTTP. */
import { createHmac } from 'node:crypto';
import t, { type Test } from 'tap';
import { MAIN, OTHER, S3Fixture, type Sent } from './s3-fixture.js';

t.test('bucket operations', async (t) => {
  const s3 = await S3Fixture.create(t);
  const expect = async (t: Test, status: number, code: string, method: string, path: string, sent: Sent = {}) => {
    const answer = await s3.send(method, path, sent);
    t.equal(`${answer.status} ${answer.code}`, `${status} ${code}`, `${method} ${path}`);
    return answer;
  };
  const ok = (t: Test, method: string, path: string, sent: Sent = {}, status = 200) =>
    expect(t, status, '', method, path, sent);
  const bucket = async (t: Test, name: string, headers: Record<string, string> = {}) => {
    await ok(t, 'PUT', `/${name}`, { headers });
    return `/${name}`;
  };
  const statement = (more: object) =>
    JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Principal: '*', ...more }] });

  await t.test('a policy lets in whom it names, and is public or not', async (t) => {
    const box = await bucket(t, 'policy-box');
    await ok(t, 'PUT', `${box}/key`, { body: 'text' });
    await expect(t, 403, 'AccessDenied', 'GET', `${box}/key`, { as: OTHER });
    await expect(t, 404, 'NoSuchBucketPolicy', 'GET', `${box}?policy`);
    const policy = statement({ Action: 's3:GetObject', Resource: 'arn:aws:s3:::policy-box/*' });
    await ok(t, 'PUT', `${box}?policy`, { body: policy }, 204);
    t.equal((await ok(t, 'GET', `${box}?policy`)).text, policy, 'as it was set');
    t.equal((await ok(t, 'GET', `${box}/key`, { as: OTHER })).text, 'text');
    t.equal((await ok(t, 'GET', `${box}/key`, { as: null })).text, 'text');
    await expect(t, 403, 'AccessDenied', 'DELETE', `${box}/key`, { as: OTHER });
    await expect(t, 403, 'AccessDenied', 'GET', `${box}?policy`, { as: OTHER });
    t.match((await ok(t, 'GET', `${box}?policyStatus`)).text, /<IsPublic>true</);
    await ok(t, 'PUT', `${box}?publicAccessBlock`, {
      body: '<PublicAccessBlockConfiguration><RestrictPublicBuckets>true</RestrictPublicBuckets><BlockPublicPolicy>true</BlockPublicPolicy></PublicAccessBlockConfiguration>',
    });
    await expect(t, 403, 'AccessDenied', 'GET', `${box}/key`, { as: null });
    await ok(t, 'GET', `${box}/key`);
    await expect(t, 403, 'AccessDenied', 'PUT', `${box}?policy`, { body: policy });
    const deny = JSON.stringify({
      Statement: {
        Effect: 'Deny',
        Principal: '*',
        Action: 's3:*',
        Resource: ['arn:aws:s3:::policy-box', 'arn:aws:s3:::policy-box/*'],
      },
    });
    await ok(t, 'PUT', `${box}?policy`, { body: deny }, 204);
    await expect(t, 403, 'AccessDenied', 'GET', `${box}/key`);
    await expect(t, 403, 'AccessDenied', 'GET', `${box}?publicAccessBlock`);
    await ok(t, 'DELETE', `${box}?policy`, {}, 204);
    await ok(t, 'GET', `${box}?publicAccessBlock`);
    await ok(t, 'DELETE', `${box}?publicAccessBlock`, {}, 204);
    await expect(t, 404, 'NoSuchPublicAccessBlockConfiguration', 'GET', `${box}?publicAccessBlock`);
    await expect(t, 400, 'MalformedPolicy', 'PUT', `${box}?policy`, { body: '{}' });
    await expect(t, 403, 'AccessDenied', 'GET', `${box}/key`, { headers: { 'x-amz-expected-bucket-owner': OTHER.id } });
  });

  await t.test('a policy can ask for tags, addresses and prefixes', async (t) => {
    const box = await bucket(t, 'condition-box');
    await ok(t, 'PUT', `${box}/public`, { headers: { 'x-amz-tagging': 'security=public' } });
    await ok(t, 'PUT', `${box}/private`, { headers: { 'x-amz-tagging': 'security=private' } });
    const when = (Condition: object, Action = 's3:GetObject', Resource = 'arn:aws:s3:::condition-box/*') =>
      ok(t, 'PUT', `${box}?policy`, { body: statement({ Action, Resource, Condition }) }, 204);
    await when({ StringEquals: { 's3:ExistingObjectTag/security': 'public' } });
    await ok(t, 'GET', `${box}/public`, { as: OTHER });
    await expect(t, 403, 'AccessDenied', 'GET', `${box}/private`, { as: OTHER });
    await when({ IpAddress: { 'aws:SourceIp': '127.0.0.0/8' }, Bool: { 'aws:SecureTransport': 'false' } });
    await ok(t, 'GET', `${box}/private`, { as: OTHER });
    await when({ NotIpAddress: { 'aws:SourceIp': '127.0.0.0/8' } });
    await expect(t, 403, 'AccessDenied', 'GET', `${box}/private`, { as: OTHER });
    await when({ StringLike: { 's3:prefix': 'public/*' } }, 's3:ListBucket', 'arn:aws:s3:::condition-box');
    await expect(t, 404, '', 'HEAD', `${box}/public/object`, { as: OTHER });
    await expect(t, 403, '', 'HEAD', `${box}/private/object`, { as: OTHER });
  });

  await t.test('ownership controls', async (t) => {
    const box = await bucket(t, 'owner-box', { 'x-amz-object-ownership': 'BucketOwnerPreferred' });
    t.match((await ok(t, 'GET', `${box}?ownershipControls`)).text, /<ObjectOwnership>BucketOwnerPreferred</);
    await ok(t, 'DELETE', `${box}?ownershipControls`, {}, 204);
    await expect(t, 404, 'OwnershipControlsNotFoundError', 'GET', `${box}?ownershipControls`);
    const body =
      '<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>';
    await ok(t, 'PUT', `${box}?ownershipControls`, { body });
    await expect(t, 400, 'AccessControlListNotSupported', 'PUT', `${box}/a`, { headers: { 'x-amz-acl': 'private' } });
    await ok(t, 'PUT', `${box}/a`, { headers: { 'x-amz-acl': 'bucket-owner-full-control' } });
    const shared = await bucket(t, 'shared-box', { 'x-amz-acl': 'public-read' });
    await expect(t, 400, 'InvalidBucketAclWithObjectOwnership', 'PUT', `${shared}?ownershipControls`, { body });
  });

  await t.test('CORS: every answer to a browser, and what it asks before', async (t) => {
    const box = await bucket(t, 'cors-box', { 'x-amz-acl': 'public-read' });
    const origin = { origin: 'http://a.example' };
    await expect(t, 404, 'NoSuchCORSConfiguration', 'GET', `${box}?cors`);
    await expect(t, 403, 'AccessForbidden', 'OPTIONS', `${box}/x`, {
      as: null,
      headers: { ...origin, 'access-control-request-method': 'GET' },
    });
    const body =
      '<CORSConfiguration><CORSRule><AllowedOrigin>http://*.example</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>';
    await ok(t, 'PUT', `${box}?cors`, { body });
    t.match((await ok(t, 'GET', `${box}?cors`)).text, /<AllowedOrigin>http:\/\/\*\.example</);
    const allowed = (answer: { headers: Headers }) => answer.headers.get('access-control-allow-origin');
    const refused = await expect(t, 403, 'AccessDenied', 'GET', `${box}?policy`, { headers: origin, as: null });
    t.equal(allowed(refused), 'http://a.example', 'refusals too, lest scripts see only a failure');
    t.equal(allowed(await ok(t, 'GET', box, { headers: { origin: 'http://b.other' } })), null);
    const preflight = await ok(t, 'OPTIONS', `${box}/x?X-Amz-Signature=0`, {
      as: null,
      headers: { ...origin, 'access-control-request-method': 'GET' },
    });
    t.equal(allowed(preflight), 'http://a.example');
    t.equal(preflight.headers.get('access-control-allow-methods'), 'GET');
    await expect(t, 400, 'BadRequest', 'OPTIONS', `${box}/x`, { as: null });
    const header = { 'access-control-request-method': 'GET', 'access-control-request-headers': 'x-amz-meta-a' };
    const refusedHeader = await expect(t, 403, 'AccessForbidden', 'OPTIONS', `${box}/x`, {
      as: null,
      headers: { ...origin, ...header },
    });
    t.equal(allowed(refusedHeader), null);
    await ok(t, 'DELETE', `${box}?cors`, {}, 204);
    await expect(t, 404, 'NoSuchCORSConfiguration', 'GET', `${box}?cors`);
  });

  await t.test('tags of objects and buckets', async (t) => {
    const box = await bucket(t, 'tag-box');
    await ok(t, 'PUT', `${box}/key`, { headers: { 'x-amz-tagging': 'foo=bar&bar' } });
    const tags = (...pairs: string[]) =>
      `<TagSet>${pairs.map((one) => `<Tag><Key>${one}</Key><Value>v</Value></Tag>`).join('')}</TagSet>`;
    const found = await ok(t, 'GET', `${box}/key?tagging`);
    t.match(
      found.text,
      '<TagSet><Tag><Key>bar</Key><Value></Value></Tag><Tag><Key>foo</Key><Value>bar</Value></Tag></TagSet>',
    );
    await ok(t, 'PUT', `${box}/key?tagging`, { body: `<Tagging>${tags('one')}</Tagging>` });
    t.equal((await ok(t, 'HEAD', `${box}/key`)).headers.get('x-amz-tagging-count'), '1');
    const eleven = tags(...Array.from({ length: 11 }, (_, i) => `k${i}`));
    await expect(t, 400, 'InvalidTag', 'PUT', `${box}/key?tagging`, { body: `<Tagging>${eleven}</Tagging>` });
    await expect(t, 404, 'NoSuchKey', 'PUT', `${box}/other?tagging`, { body: `<Tagging>${tags('one')}</Tagging>` });
    await expect(t, 403, 'AccessDenied', 'GET', `${box}/key?tagging`, { as: OTHER });
    await ok(t, 'DELETE', `${box}/key?tagging`, {}, 204);
    t.match((await ok(t, 'GET', `${box}/key?tagging`)).text, '<TagSet></TagSet>');
    await expect(t, 404, 'NoSuchTagSet', 'GET', `${box}?tagging`);
    await ok(t, 'PUT', `${box}?tagging`, { body: `<Tagging>${eleven}</Tagging>` }, 204);
    t.match((await ok(t, 'GET', `${box}?tagging`)).text, '<Key>k10</Key>');
    await ok(t, 'DELETE', `${box}?tagging`, {}, 204);
    await expect(t, 404, 'NoSuchTagSet', 'GET', `${box}?tagging`);
  });

  await t.test('changes of one object made at once all count', async (t) => {
    const box = await bucket(t, 'lost-box', { 'x-amz-bucket-object-lock-enabled': 'true' });
    await ok(t, 'PUT', `${box}/key`);
    const send = (what: string, body: string) => ok(t, 'PUT', `${box}/key?${what}`, { body });
    await Promise.all([
      send('tagging', '<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>'),
      send('legal-hold', '<LegalHold><Status>ON</Status></LegalHold>'),
      send(
        'retention',
        '<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2090-01-01T00:00:00Z</RetainUntilDate></Retention>',
      ),
    ]);
    const { headers } = await ok(t, 'HEAD', `${box}/key`);
    t.equal(headers.get('x-amz-tagging-count'), '1');
    t.equal(headers.get('x-amz-object-lock-legal-hold'), 'ON');
    t.equal(headers.get('x-amz-object-lock-mode'), 'GOVERNANCE');
  });

  await t.test('object lock', async (t) => {
    const plain = await bucket(t, 'plain-box');
    const day = '<DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention>';
    const body = `<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>${day}</Rule></ObjectLockConfiguration>`;
    await expect(t, 409, 'InvalidBucketState', 'PUT', `${plain}?object-lock`, { body });
    await expect(t, 404, 'ObjectLockConfigurationNotFoundError', 'GET', `${plain}?object-lock`);
    await ok(t, 'PUT', `${plain}/key`);
    await expect(t, 400, 'InvalidRequest', 'GET', `${plain}/key?retention`);
    await expect(t, 400, 'InvalidRequest', 'PUT', `${plain}/key?legal-hold`, {
      body: '<LegalHold><Status>ON</Status></LegalHold>',
    });
    const box = await bucket(t, 'lock-box', { 'x-amz-bucket-object-lock-enabled': 'true' });
    await ok(t, 'PUT', `${box}/free`);
    await expect(t, 404, 'NoSuchObjectLockConfiguration', 'GET', `${box}/free?retention`);
    await ok(t, 'PUT', `${box}?object-lock`, { body });
    t.match((await ok(t, 'GET', `${box}?object-lock`)).text, day);
    const version = (await ok(t, 'PUT', `${box}/key`)).headers.get('x-amz-version-id');
    t.ok(version);
    t.match((await ok(t, 'GET', `${box}/key?retention`)).text, '<Mode>GOVERNANCE</Mode>', "the bucket's default");
    const until = (date: string, mode = 'GOVERNANCE') => ({
      body: `<Retention><Mode>${mode}</Mode><RetainUntilDate>${date}T00:00:00Z</RetainUntilDate></Retention>`,
    });
    const bypass = { 'x-amz-bypass-governance-retention': 'true' };
    await ok(t, 'PUT', `${box}/key?retention`, until('2090-01-03'));
    await expect(t, 403, 'AccessDenied', 'PUT', `${box}/key?retention`, until('2090-01-01'));
    await ok(t, 'PUT', `${box}/key?retention`, { ...until('2090-01-01'), headers: bypass });
    await expect(t, 400, 'MalformedXML', 'PUT', `${box}/key?retention`, until('2090-01-03', 'governance'));
    await expect(t, 403, 'AccessDenied', 'DELETE', `${box}/key?versionId=${version}`);
    await ok(t, 'DELETE', `${box}/key`, {}, 204);
    await expect(t, 403, 'AccessDenied', 'DELETE', `${box}/key?versionId=${version}`, { as: OTHER, headers: bypass });
    await ok(t, 'DELETE', `${box}/key?versionId=${version}`, { headers: bypass }, 204);
    const held = (await ok(t, 'PUT', `${box}/held`)).headers.get('x-amz-version-id');
    await ok(t, 'PUT', `${box}/held?legal-hold&versionId=${held}`, {
      body: '<LegalHold><Status>ON</Status></LegalHold>',
    });
    t.match((await ok(t, 'GET', `${box}/held?legal-hold`)).text, '<Status>ON</Status>');
    await expect(t, 403, 'AccessDenied', 'DELETE', `${box}/held?versionId=${held}`, { headers: bypass });
    await ok(t, 'PUT', `${box}/held?retention`, { ...until('2090-01-01', 'COMPLIANCE'), headers: bypass });
    await ok(t, 'PUT', `${box}/held?legal-hold`, { body: '<LegalHold><Status>OFF</Status></LegalHold>' });
    await expect(t, 403, 'AccessDenied', 'DELETE', `${box}/held?versionId=${held}`, { headers: bypass });
  });

  await t.test('lifecycle rules', async (t) => {
    const box = await bucket(t, 'lifecycle-box');
    await expect(t, 404, 'NoSuchLifecycleConfiguration', 'GET', `${box}?lifecycle`);
    const rule =
      '<Rule><ID>first</ID><Prefix>days1/</Prefix><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>';
    await ok(t, 'PUT', `${box}?lifecycle`, { body: `<LifecycleConfiguration>${rule}</LifecycleConfiguration>` });
    t.match((await ok(t, 'GET', `${box}?lifecycle`)).text, rule);
    const ends = /^expiry-date="[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} 00:00:00 GMT", rule-id="first"$/;
    t.match((await ok(t, 'PUT', `${box}/days1/a`, { body: 'x' })).headers.get('x-amz-expiration'), ends);
    t.match((await ok(t, 'HEAD', `${box}/days1/a`)).headers.get('x-amz-expiration'), ends);
    t.equal((await ok(t, 'PUT', `${box}/other`)).headers.get('x-amz-expiration'), null);
    await expect(t, 400, 'InvalidArgument', 'PUT', `${box}?lifecycle`, {
      body: `<LifecycleConfiguration>${rule}${rule}</LifecycleConfiguration>`,
    });
    await ok(t, 'DELETE', `${box}?lifecycle`, {}, 204);
    await ok(t, 'DELETE', `${box}?lifecycle`, {}, 204);
    await expect(t, 404, 'NoSuchLifecycleConfiguration', 'GET', `${box}?lifecycle`);
  });

  await t.test('forms', async (t) => {
    const box = await bucket(t, 'form-box', { 'x-amz-acl': 'public-read-write' });
    const post = (fields: Record<string, string>, content = 'bar', path = box) => {
      const form = new FormData();
      for (const [name, value] of Object.entries(fields)) form.append(name, value);
      form.append('file', new Blob([content]), 'name.txt');
      return new Response(form).arrayBuffer().then((body) =>
        s3.send('POST', path, {
          as: null,
          body: new Uint8Array(body),
          headers: { 'content-type': contentType(body) },
        }),
      );
    };
    const contentType = (body: ArrayBuffer) => {
      const line = Buffer.from(body).toString('latin1').split('\r\n', 1)[0] ?? '';
      return `multipart/form-data; boundary=${line.slice(2)}`;
    };
    const anonymous = await post({
      key: 'dir/$'.concat('{filename}'),
      'Content-Type': 'text/plain',
      acl: 'public-read',
      'x-amz-meta-a': 'ä',
    });
    t.equal(anonymous.status, 204, anonymous.text);
    const found = await ok(t, 'GET', `${box}/dir/name.txt`);
    t.equal(found.text, 'bar');
    t.equal(found.headers.get('content-type'), 'text/plain');
    t.equal(Buffer.from(found.headers.get('x-amz-meta-a') ?? '', 'latin1').toString('utf8'), 'ä');
    const document = (conditions: unknown[]) =>
      Buffer.from(JSON.stringify({ expiration: '2090-01-01T00:00:00Z', conditions })).toString('base64');
    const signed = (conditions: unknown[]) => {
      const policy = document(conditions);
      const signature = createHmac('sha1', MAIN.secretKey).update(policy).digest('base64');
      return { AWSAccessKeyId: MAIN.accessKey, policy, signature };
    };
    const home = await bucket(t, 'form-home');
    const conditions = [
      { bucket: 'form-home' },
      ['starts-with', '$key', 'foo'],
      ['starts-with', '$success_action_status', ''],
      ['content-length-range', 2, 5],
    ];
    const form = { ...signed(conditions), key: 'foo.txt', success_action_status: '201' };
    const made = await post(form, 'bar', home);
    t.equal(made.status, 201, made.text);
    t.match(made.text, /<PostResponse><Location>.*<Key>foo.txt<\/Key>/, 'without a namespace');
    t.equal((await ok(t, 'GET', `${home}/foo.txt`)).text, 'bar');
    const refused = async (code: string, fields: Record<string, string>, content = 'bar') =>
      t.equal((await post(fields, content, home)).code, code);
    await refused('AccessDenied', { key: 'foo.txt' });
    await refused('EntityTooLarge', form, 'too large');
    await refused('EntityTooSmall', form, 'x');
    await refused('AccessDenied', { ...form, key: 'bar.txt' });
    await refused('SignatureDoesNotMatch', { ...form, signature: 'x' });
    await refused('BadDigest', { ...form, 'x-amz-checksum-crc32': 'AAAAAA==' });
    await refused('BadDigest', { ...form, 'x-amz-checksum-sha256': 'sailorjerry' });
    t.equal((await ok(t, 'GET', `${home}/foo.txt`)).text, 'bar', 'what was refused has changed nothing');
    const redirect = await post({ key: 'r', success_action_redirect: `${s3.server.endpoint}/x?y=z` });
    t.equal(redirect.status, 303);
    t.match(redirect.headers.get('location'), /\/x\?y=z&bucket=form-box&key=r&etag=%22[0-9a-f]{32}%22$/);
    t.equal((await s3.send('POST', box, { as: null, body: 'x' })).code, 'InvalidRequest');
  });

  t.same(s3.failures, [], 'nothing that the server would have to log');
});
