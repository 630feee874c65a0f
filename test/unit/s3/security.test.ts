/**
 * What an attacker would try: signatures, dates and scopes that are not right, requests and chunks sent again or out of order, paths that lead elsewhere,
 * headers that two readers read differently, things too large, too many or too slow; TLS; and what the audit log says of all that.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, createHmac } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { SystemClock } from '../../../src/io/clock.js';
import { RequestLimits } from '../../../src/s3/request-limits.js';
import { type AuditLine, S3Server, type S3ServerOptions } from '../../../src/s3/s3-server.js';
import { canonicalRequest, SigningKeys, signatureOf, stringToSign } from '../../../src/s3/signature-v4.js';
import { newUser, type S3User, UserTable } from '../../../src/s3/users.js';
import { PoolFixture } from '../vfs/pool-fixture.js';
import { type ClientAnswer, exchange, SigningClient } from './signing-client.js';

const MINUTE_MS = 60_000;
const sha256 = (bytes: string | Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const timestampOf = (ms: number) => new Date(ms).toISOString().replace(/[-:]|\.\d{3}/g, '');
const keys = new SigningKeys();
const alice = newUser('alice');
const bob = newUser('bob');
const phone: S3User = { ...newUser('phone'), buckets: { photos: 'write' } };

async function serve(t: Test, fixture: PoolFixture, options: Partial<S3ServerOptions> = {}) {
  const clock = new SystemClock();
  const audit: AuditLine[] = [];
  const failures: unknown[] = [];
  const users = new UserTable(
    async () => [alice, bob, phone],
    clock,
    (error) => failures.push(error),
  );
  const server = await S3Server.start(
    {
      tree: fixture.pool.objects,
      users,
      clock,
      audit: (line) => audit.push(line),
      onFailure: (_what, error) => failures.push(error),
    },
    { host: '127.0.0.1', port: 0, region: 'eu-home-1', requestsMax: 100, ...options },
  );
  t.teardown(() => server.close());
  return { server, audit, failures, endpoint: server.endpoint };
}

interface Forged {
  readonly timestamp?: string;
  readonly date?: string;
  readonly region?: string;
  readonly service?: string;
  readonly terminator?: string;
  readonly accessKey?: string;
  readonly signed?: readonly string[];
  /** Of the header's text. */
  readonly change?: (authorization: string) => string;
  /** Sent, and not signed. */
  readonly more?: Record<string, string>;
  readonly sentPath?: string;
  readonly method?: string;
}

/** A GET of /box/key that is right but for what is said. */
function forged(endpoint: string, said: Forged): Promise<ClientAnswer> {
  const timestamp = said.timestamp ?? timestampOf(Date.now());
  const date = said.date ?? timestamp.slice(0, 8);
  const scope = { date, region: said.region ?? 'eu-home-1', service: said.service ?? 's3' };
  const headers = { host: new URL(endpoint).host, 'x-amz-content-sha256': sha256(''), 'x-amz-date': timestamp };
  const signedHeaders = said.signed ?? ['host', 'x-amz-content-sha256', 'x-amz-date'];
  const all = new Map(Object.entries(headers).map(([name, value]) => [name, [value]]));
  const canonical = canonicalRequest({
    method: 'GET',
    rawPath: '/box/key',
    parameters: [],
    headers: all,
    signedHeaders,
    payloadHash: sha256(''),
  });
  const signature = signatureOf(keys.key(alice.secretKey, scope), stringToSign(timestamp, scope, canonical));
  const credential = `${said.accessKey ?? alice.accessKey}/${date}/${scope.region}/${scope.service}/${said.terminator ?? 'aws4_request'}`;
  const text = `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=${signedHeaders.join(';')}, Signature=${signature}`;
  const authorization = said.change?.(text) ?? text;
  const sent = { ...headers, authorization, ...said.more };
  return exchange(endpoint, said.method ?? 'GET', said.sentPath ?? '/box/key', sent, Buffer.alloc(0));
}

interface Presigned {
  readonly at?: number;
  readonly expires?: string;
  readonly path?: string;
  readonly method?: string;
  /** What the URL is signed for. */
  readonly signedMethod?: string;
  readonly payloadHash?: string;
  readonly body?: string;
}

function presigned(endpoint: string, said: Presigned) {
  const timestamp = timestampOf(said.at ?? Date.now());
  const scope = { date: timestamp.slice(0, 8), region: 'eu-home-1', service: 's3' };
  const { host } = new URL(endpoint);
  const parameters: [string, string][] = [
    ['X-Amz-Algorithm', 'AWS4-HMAC-SHA256'],
    ['X-Amz-Credential', `${alice.accessKey}/${scope.date}/eu-home-1/s3/aws4_request`],
    ['X-Amz-Date', timestamp],
    ['X-Amz-Expires', said.expires ?? '60'],
    ['X-Amz-SignedHeaders', 'host'],
  ];
  const { signedMethod = 'GET', payloadHash } = said;
  if (payloadHash !== undefined) parameters.push(['X-Amz-Content-Sha256', payloadHash]);
  const canonical = canonicalRequest({
    method: signedMethod,
    rawPath: '/box/key',
    parameters,
    headers: new Map([['host', [host]]]),
    signedHeaders: ['host'],
    payloadHash: payloadHash ?? 'UNSIGNED-PAYLOAD',
  });
  const signature = signatureOf(keys.key(alice.secretKey, scope), stringToSign(timestamp, scope, canonical));
  const query = [...parameters, ['X-Amz-Signature', signature]].map((pair) => pair.map(encodeURIComponent).join('='));
  const path = `${said.path ?? '/box/key'}?${query.join('&')}`;
  const body = Buffer.from(said.body ?? '');
  const headers = { host, 'content-length': String(body.length) };
  return exchange(endpoint, said.method ?? signedMethod, path, headers, body);
}

/** What comes back for bytes on a connection, until its end or until it says what is looked for. */
function raw(endpoint: string, bytes: string, until?: RegExp): Promise<string> {
  const { hostname, port } = new URL(endpoint);
  return new Promise((resolve, reject) => {
    let text = '';
    const socket: Socket = connect(Number(port), hostname, () => socket.write(bytes, 'latin1'));
    socket.on('data', (piece) => {
      text += piece.toString('latin1');
      if (until?.test(text)) socket.destroy();
    });
    socket.on('error', (error) => (text === '' ? reject(error) : resolve(text)));
    socket.on('close', () => resolve(text));
  });
}

function hasOpenssl(): boolean {
  return spawnSync('openssl', ['version']).status === 0;
}

t.test('security', async (t) => {
  const fixture = await PoolFixture.create(t);
  const { endpoint, audit, failures } = await serve(t, fixture);
  const client = new SigningClient(endpoint, alice);
  const put = (key: string, body: string) => client.send('PUT', 'box', { key, body });
  const present = async () => (await client.send('GET', 'box', { key: 'key' })).body.toString();
  t.equal((await client.send('PUT', 'box')).status, 200);
  t.equal((await put('key', 'secret body')).status, 200);

  await t.test('signatures, dates and scopes', async (t) => {
    t.equal((await forged(endpoint, {})).status, 200, 'the request itself is right');
    t.equal((await forged(endpoint, { timestamp: timestampOf(Date.now() - 14 * MINUTE_MS) })).status, 200);
    const skewed = (minutes: number) => ({ timestamp: timestampOf(Date.now() + minutes * MINUTE_MS) });
    const lastHex = (text: string) => text.replace(/.$/, (hex) => (hex === '0' ? '1' : '0'));
    const cases: [what: string, said: Forged, code: string][] = [
      ['another signature', { change: lastHex }, 'SignatureDoesNotMatch'],
      ['half a signature', { change: (text) => text.slice(0, -32) }, 'SignatureDoesNotMatch'],
      ['no signature', { change: (text) => text.replace(/, Signature.*/, '') }, 'AuthorizationHeaderMalformed'],
      [
        'an empty signature',
        { change: (text) => text.replace(/Signature=\w+$/, 'Signature=') },
        'SignatureDoesNotMatch',
      ],
      ['a key that nobody has', { accessKey: 'NOBODY' }, 'InvalidAccessKeyId'],
      ["another user's key", { accessKey: bob.accessKey }, 'SignatureDoesNotMatch'],
      ['too old', skewed(-16), 'RequestTimeTooSkewed'],
      ['from the future', skewed(16), 'RequestTimeTooSkewed'],
      ['a day that there is not', { timestamp: '20260231T000000Z' }, 'AccessDenied'],
      ['no time', { timestamp: 'yesterday' }, 'AccessDenied'],
      ['an hour that there is not', { timestamp: '20260228T250000Z' }, 'AccessDenied'],
      ['the date of another day', { date: '20200101' }, 'AuthorizationHeaderMalformed'],
      ['a date cut short', { date: timestampOf(Date.now()).slice(0, 6) }, 'AuthorizationHeaderMalformed'],
      ['another region', { region: 'us-west-2' }, 'AuthorizationHeaderMalformed'],
      ['another service', { service: 'iam' }, 'AuthorizationHeaderMalformed'],
      ['another version', { terminator: 'aws5_request' }, 'AuthorizationHeaderMalformed'],
      ['a host that is not signed', { signed: ['x-amz-content-sha256', 'x-amz-date'] }, 'AccessDenied'],
      ['a header beside the signed ones', { more: { 'x-amz-acl': 'public-read' } }, 'AccessDenied'],
      ['another key', { sentPath: '/box/other' }, 'SignatureDoesNotMatch'],
      ['a query more', { sentPath: '/box/key?versionId=null' }, 'SignatureDoesNotMatch'],
      ['another method', { method: 'DELETE' }, 'SignatureDoesNotMatch'],
      ['another algorithm', { change: (text) => text.replace('SHA256', 'SHA1') }, 'InvalidArgument'],
    ];
    for (const [what, said, code] of cases) t.equal((await forged(endpoint, said)).code, code, what);
    const tampered = await client.send('PUT', 'box', {
      key: 'key',
      body: 'other',
      headers: { 'x-amz-content-sha256': sha256('secret body') },
    });
    t.equal(tampered.code, 'XAmzContentSHA256Mismatch');
    t.equal(await present(), 'secret body');
  });

  await t.test('presigned URLs', async (t) => {
    t.equal((await presigned(endpoint, {})).body.toString(), 'secret body');
    const ago = (seconds: number) => ({ at: Date.now() - seconds * 1000 });
    for (const [what, said, code] of [
      ['over', ago(61), 'AccessDenied'],
      ['not yet', ago(-16 * 60), 'AccessDenied'],
      ['for no time', { expires: '0' }, 'AuthorizationQueryParametersError'],
      ['for more than a week', { expires: '604801' }, 'AuthorizationQueryParametersError'],
      ['for ever', { expires: '-1' }, 'AuthorizationQueryParametersError'],
      ['of another key', { path: '/box/other' }, 'SignatureDoesNotMatch'],
      ['for another method', { method: 'PUT' }, 'SignatureDoesNotMatch'],
    ] as const)
      t.equal((await presigned(endpoint, said)).code, code, what);
    const upload = { signedMethod: 'PUT', payloadHash: sha256('secret body') };
    t.equal((await presigned(endpoint, { ...upload, body: 'other' })).code, 'XAmzContentSHA256Mismatch');
    t.equal(await present(), 'secret body', 'signed for one content, it takes no other');
    t.equal((await presigned(endpoint, { ...upload, body: 'secret body' })).status, 200);
  });

  await t.test('streamed chunks sent again, out of order, or left out', async (t) => {
    const size = 64 * 1024;
    const parts = ['a', 'b', ''].map((letter) => letter.repeat(letter === '' ? 0 : size));
    const send = (change: (chunks: string[]) => string[], atMs = Date.now()) => {
      const timestamp = timestampOf(atMs);
      const scope = { date: timestamp.slice(0, 8), region: 'eu-home-1', service: 's3' };
      const key = keys.key(alice.secretKey, scope);
      const payloadHash = 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD';
      const headers = {
        host: new URL(endpoint).host,
        'x-amz-content-sha256': payloadHash,
        'x-amz-date': timestamp,
        'x-amz-decoded-content-length': String(2 * size),
      };
      const signedHeaders = Object.keys(headers);
      const all = new Map(Object.entries(headers).map(([name, value]) => [name, [value]]));
      const request = { method: 'PUT', rawPath: '/box/streamed', parameters: [], headers: all, signedHeaders };
      let before = signatureOf(key, stringToSign(timestamp, scope, canonicalRequest({ ...request, payloadHash })));
      const authorization = `AWS4-HMAC-SHA256 Credential=${alice.accessKey}/${scope.date}/eu-home-1/s3/aws4_request, SignedHeaders=${signedHeaders.join(';')}, Signature=${before}`;
      const chunks = parts.map((bytes) => {
        const text = `AWS4-HMAC-SHA256-PAYLOAD\n${timestamp}\n${scope.date}/eu-home-1/s3/aws4_request\n${before}\n${sha256('')}\n${sha256(bytes)}`;
        before = createHmac('sha256', key).update(text).digest('hex');
        return `${bytes.length.toString(16)};chunk-signature=${before}\r\n${bytes}\r\n`;
      });
      const body = Buffer.from(change(chunks).join(''));
      const sent = { ...headers, authorization, 'content-length': String(body.length) };
      return exchange(endpoint, 'PUT', '/box/streamed', sent, body);
    };
    let recorded: string[] = [];
    const whole = await send((chunks) => {
      recorded = chunks;
      return chunks;
    }, Date.now() - MINUTE_MS);
    t.equal(whole.status, 200, whole.body.toString());
    const cases: [what: string, change: (chunks: string[]) => string[], code: string][] = [
      ['turned round', ([a, b, end]) => [b!, a!, end!], 'SignatureDoesNotMatch'],
      ['one twice', ([a, , end]) => [a!, a!, end!], 'SignatureDoesNotMatch'],
      ['one left out', ([, b, end]) => [b!, end!], 'SignatureDoesNotMatch'],
      ['no end', ([a, b]) => [a!, b!], 'IncompleteBody'],
      ['of another upload', ([a, , end]) => [a!, recorded[1]!, end!], 'SignatureDoesNotMatch'],
      ['without a signature', ([a, b, end]) => [a!, b!.replace(/;[^\r]*/, ''), end!], 'SignatureDoesNotMatch'],
      ['other bytes', ([a, b, end]) => [a!, b!.replace('bbb', 'bXb'), end!], 'SignatureDoesNotMatch'],
    ];
    const etag = whole.headers['etag'];
    for (const [what, change, code] of cases) t.equal((await send(change)).code, code, what);
    t.equal((await client.send('HEAD', 'box', { key: 'streamed' })).headers['etag'], etag, 'nothing of it counts');
  });

  await t.test('nobody gets in without a policy, and then no further than it says', async (t) => {
    const nobody = (method: string, key?: string, query: [string, string][] = []) =>
      client.send(method, 'box', { ...(key !== undefined && { key }), query, isAnonymous: true });
    for (const method of ['GET', 'HEAD', 'PUT', 'DELETE']) t.equal((await nobody(method, 'key')).status, 403, method);
    for (const name of ['', 'acl', 'policy', 'versions', 'uploads', 'tagging', 'cors', 'location'])
      t.equal((await nobody('GET', undefined, name === '' ? [] : [[name, '']])).status, 403, `bucket ${name}`);
    for (const name of ['acl', 'tagging', 'uploads', 'attributes', 'retention'])
      t.ok((await nobody(name === 'uploads' ? 'POST' : 'GET', 'key', [[name, '']])).status >= 400, `object ${name}`);
    t.equal((await exchange(endpoint, 'GET', '/', { host: 'x' }, Buffer.alloc(0))).status, 403);
    const policy = {
      Version: '2012-10-17',
      Statement: [{ Effect: 'Allow', Principal: '*', Action: 's3:GetObject', Resource: 'arn:aws:s3:::box/open/*' }],
    };
    await put('open/key', 'for all');
    const set = { query: [['policy', '']] as [string, string][], body: JSON.stringify(policy) };
    t.equal((await client.send('PUT', 'box', set)).status, 204);
    t.equal((await nobody('GET', 'open/key')).body.toString(), 'for all');
    for (const key of ['key', 'open/../key', 'open', 'opened/key'])
      t.equal((await nobody('GET', key)).status, 403, key);
    t.equal((await nobody('PUT', 'open/key')).status, 403);
    const vault = { 'x-amz-bucket-object-lock-enabled': 'true' };
    t.equal((await client.send('PUT', 'vault', { headers: vault })).status, 200);
    const writers = {
      Version: '2012-10-17',
      Statement: [{ Effect: 'Allow', Principal: '*', Action: 's3:PutObject', Resource: 'arn:aws:s3:::vault/*' }],
    };
    t.equal(
      (await client.send('PUT', 'vault', { query: [['policy', '']], body: JSON.stringify(writers) })).status,
      204,
    );
    const leave = (headers: Record<string, string>) =>
      client.send('PUT', 'vault', { key: 'key', headers, isAnonymous: true });
    t.equal((await leave({})).status, 200);
    const until = new Date(Date.now() + 100 * 24 * 60 * MINUTE_MS).toISOString();
    const lock = { 'x-amz-object-lock-mode': 'COMPLIANCE', 'x-amz-object-lock-retain-until-date': until };
    t.equal((await leave(lock)).status, 403, 'who may put may not lock');
    t.equal((await leave({ 'x-amz-object-lock-legal-hold': 'ON' })).status, 403);
    t.equal((await client.send('PUT', 'vault', { key: 'key', headers: lock })).status, 200, 'but the owner may');
    t.equal((await nobody('GET')).status, 403);
  });

  await t.test('names that every object of JavaScript has give nothing', async (t) => {
    const bucket = 'constructor';
    t.equal((await client.send('PUT', bucket)).status, 200);
    t.equal((await client.send('PUT', bucket, { key: 'key', body: 'secret body' })).status, 200);
    const restricted = new SigningClient(endpoint, phone);
    t.equal((await restricted.send('GET', bucket, { key: 'key' })).status, 403);
    t.equal((await restricted.send('PUT', bucket, { key: 'key' })).status, 403);
    t.equal((await restricted.send('GET', bucket)).status, 403);
    for (const uri of ['constructor', 'toString', '__proto__']) {
      const headers = { 'x-amz-grant-read': `uri="${uri}"` };
      t.equal((await client.send('PUT', 'box', { key: 'granted', headers })).code, 'InvalidArgument', uri);
    }
    const body = '<Delete><Object><Key>&toString;</Key></Object></Delete>';
    t.equal((await client.send('POST', 'box', { query: [['delete', '']], body })).code, 'MalformedXML');
  });

  await t.test('paths lead nowhere else', async (t) => {
    const { objects } = fixture.pool;
    const before = (await objects.list(objects.root, '', 100)).map(({ name }) => name);
    const get = (path: string) => raw(endpoint, `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    // What the policy opens is open/: each of these would be the secret if a path were normalised.
    for (const path of [
      '/box/open/../key',
      '/box/open/%2e%2e/key',
      '/box/open/..%2fkey',
      '/box/open//../key',
      '/box/open/%2e%2e%2fkey%00',
      '/elsewhere/../box/open/../key',
    ])
      t.notMatch(await get(path), 'secret body', path);
    for (const path of ['/.cairn-s3', '/.cairn-s3/heads/x', '/%2e%2e/box/key', '/..', '/%2e/box', '/box%2fkey'])
      t.match(await get(path), /^HTTP\/1.1 40[034]/, path);
    t.match(await get('http://elsewhere/box/open/key'), /InvalidURI/);
    for (const method of ['GET', 'PUT', 'DELETE'])
      t.equal((await client.send(method, '', { key: 'box/key' })).code, 'InvalidBucketName', `${method} //box/key`);
    for (const source of ['/.cairn-s3/heads', '../box/key', 'box/../box/key', '/box'])
      t.ok((await client.send('PUT', 'box', { key: 'copy', headers: { 'x-amz-copy-source': source } })).status >= 400);
    for (const key of ['../../escape', '..', '/etc/passwd', 'a/../../../b', 'nul\0nul']) {
      t.equal((await put(key, 'inside')).status, 200, JSON.stringify(key));
      t.equal((await client.send('GET', 'box', { key })).body.toString(), 'inside');
      await client.send('DELETE', 'box', { key });
    }
    t.same(
      (await objects.list(objects.root, '', 100)).map(({ name }) => name),
      before,
    );
  });

  await t.test('headers that two readers would read differently', async (t) => {
    const heads = [
      'Content-Length: 0\r\nContent-Length: 44',
      'Content-Length: 44\r\nTransfer-Encoding: chunked',
      'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity',
      'Transfer-Encoding: gzip, identity',
      'Transfer-Encoding: gzip, chunked',
      'Content-Length: +0',
      'Content-Length: 0x2',
      'Content-Length : 0',
      ' Content-Length: 0',
      'X: a\r\n b: c\r\n\tContent-Length: 44',
      'X: a\0b',
      'Authorization: a\r\nAuthorization: b',
      'Host: x\r\nHost: y',
    ];
    for (const head of heads) {
      const hidden = 'GET /box/open/key HTTP/1.1\r\nHost: x\r\n\r\n';
      const text = await raw(
        endpoint,
        `PUT /box/open/smuggled HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${head}\r\n\r\n${hidden}`,
      );
      t.match(text, /^HTTP\/1.1 [45]\d\d/, JSON.stringify(head));
      t.notMatch(text, 'for all', 'what follows is no request');
    }
    t.equal((await client.send('GET', 'box', { key: 'open/smuggled' })).status, 404);
  });

  await t.test('too large', async (t) => {
    const head = (more: string) => `GET /box/open/key HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${more}\r\n\r\n`;
    t.match(await raw(endpoint, head(`X: ${'x'.repeat(40_000)}`), /\r\n\r\n/), /^HTTP\/1.1 431/);
    t.match(await raw(endpoint, head('X: y\r\n'.repeat(20_000)), /\r\n\r\n/), /^HTTP\/1.1 431/);
    const many = (name: string, count: number) => Array.from({ length: count }, (_, i) => `${name}${i}=1`).join('&');
    t.match(await raw(endpoint, head('').replace('key', `key?${many('a', 200)}`)), /InvalidURI/);
    t.match(await raw(endpoint, head('').replace('key', 'k'.repeat(9000))), /InvalidURI/);
    t.equal((await put('k'.repeat(1025), '')).code, 'KeyTooLongError');
    const metadata = { 'x-amz-meta-a': 'x'.repeat(2048) };
    t.equal((await client.send('PUT', 'box', { key: 'm', headers: metadata })).code, 'MetadataTooLarge');
    const document = (body: string) => client.send('POST', 'box', { query: [['delete', '']], body });
    const key = '<Object><Key>k</Key></Object>';
    const far = `${'x-a: b\r\n'.repeat(2500)}If-None-Match: *`;
    t.match(await raw(endpoint, head(far)), /^HTTP\/1.1 304/, 'a header behind thousands counts');
    for (const [what, body] of [
      ['many tags', `<Delete>${'<a/>'.repeat(400_000)}</Delete>`],
      ['many attributes', `<Delete ${'a="b" '.repeat(300_000)}/>`],
      ['a long tag', `<Delete ${' '.repeat(1_000_000)}/>`],
    ] as const)
      t.match((await document(body)).body.toString(), /MalformedXML.*too many tags/, what);
    t.equal((await document(`<Delete>${key.repeat(80_000)}</Delete>`)).code, 'MaxMessageLengthExceeded');
    t.equal((await document(`<Delete>${key.repeat(1001)}</Delete>`)).code, 'MalformedXML');
    t.equal((await document(`${'<a>'.repeat(50_000)}`)).code, 'MalformedXML');
    t.equal((await document(`${'<a>'.repeat(50)}${'</a>'.repeat(50)}`)).code, 'MalformedXML');
    const entity = (text: string) => document(`${text}<Delete><Object><Key>&lol9;</Key></Object></Delete>`);
    const laughs = Array.from({ length: 9 }, (_, i) => `<!ENTITY lol${i + 1} "${`&lol${i};`.repeat(10)}">`).join('');
    t.equal((await entity(`<!DOCTYPE lolz [<!ENTITY lol0 "lol">${laughs}]>`)).code, 'MalformedXML');
    t.equal((await entity('<!DOCTYPE x [<!ENTITY lol9 SYSTEM "file:///etc/passwd">]>')).code, 'MalformedXML');
    t.equal((await entity('')).code, 'MalformedXML', 'an entity that nobody has declared');
  });

  await t.test('metadata of the mount that no header can carry is not sent', async (t) => {
    const { vfs } = fixture;
    const box = (await vfs.lookup(1, 'box'))!;
    const { ino } = (await vfs.lookup(box.ino, 'key'))!;
    for (const [name, value] of [
      ['good', 'by the mount'],
      ['split', 'a\r\nx-evil: b'],
      ['bell', 'a\x07b'],
      ['no header', 'a'],
    ] as const)
      await vfs.setxattr(ino, `user.s3.meta.${name}`, Buffer.from(value), 'set');
    const { status, headers } = await client.send('GET', 'box', { key: 'key' });
    t.equal(status, 200);
    t.equal(headers['x-amz-meta-good'], 'by the mount');
    t.same(
      Object.keys(headers).filter((name) => /evil|split|bell|no/.test(name)),
      [],
    );
    t.equal(headers['x-amz-missing-meta'], undefined);
    await vfs.setxattr(ino, 'user.s3.meta.large', Buffer.alloc(60_000, 'x'), 'set');
    const large = (await client.send('GET', 'box', { key: 'key' })).headers;
    t.equal(large['x-amz-missing-meta'], '1', 'nor what clients would choke on, and that is said');
    t.equal(large['x-amz-meta-good'], 'by the mount');
  });

  await t.test('the audit log has a line for each request, and no secret in any', async (t) => {
    const count = audit.length;
    await client.send('GET', 'box', { key: 'né\nw' });
    await forged(endpoint, { timestamp: 'x' });
    await presigned(endpoint, {});
    await raw(endpoint, 'GARBAGE\r\n\r\n');
    const lines = audit.slice(count);
    t.same(
      lines.map(({ operation, status, code, user, key }) => [operation, status, code, user, key]),
      [
        ['GetObject', 404, 'NoSuchKey', 'alice', 'né\nw'],
        ['-', 403, 'AccessDenied', '-', 'key'],
        ['GetObject', 200, '', 'alice', 'key'],
        ['Malformed', 400, 'HPE_INVALID_METHOD', '-', ''],
      ],
    );
    const text = audit.map((line) => JSON.stringify(line)).join('\n');
    t.equal(text.split('\n').length, audit.length, 'a line is a line, whatever the key is');
    for (const secret of [alice.secretKey, bob.secretKey, 'Signature=', 'AWS4-HMAC']) t.notMatch(text, secret);
    t.ok(audit.every(({ remote, id, time }) => remote === '127.0.0.1' && id !== '' && !Number.isNaN(Date.parse(time))));
  });
  t.same(failures, []);

  await t.test('many at once, and slow ones', async (t) => {
    const busy = await serve(t, fixture, { requestsMax: 1, connectionsMax: 3 });
    const head = (path: string) => `PUT ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n`;
    const policy = {
      Version: '2012-10-17',
      Statement: [{ Effect: 'Allow', Principal: '*', Action: ['s3:*Object'], Resource: 'arn:aws:s3:::box/open/*' }],
    };
    await client.send('PUT', 'box', { query: [['policy', '']], body: JSON.stringify(policy) });
    const { hostname, port } = new URL(busy.endpoint);
    const open = (text = '') =>
      new Promise<Socket>((resolve, reject) => {
        const socket = connect(Number(port), hostname, () => {
          socket.write(text);
          resolve(socket);
        });
        socket.on('error', reject);
      });
    const first = await open(`${head('/box/open/a')}some`);
    for (;;) {
      // The first one is under way as soon as another is told to come later.
      const answer = await exchange(busy.endpoint, 'GET', '/box/open/key', { host: 'x' }, Buffer.alloc(0));
      if (answer.status === 200) continue;
      t.equal(answer.code, 'SlowDown');
      t.equal(answer.headers['retry-after'], '1');
      break;
    }
    const others = [await open(), await open()];
    t.equal(await raw(busy.endpoint, head('/box/open/b')).catch(() => ''), '', 'one connection too many is closed');
    for (const socket of [first, ...others]) socket.destroy();

    const pace = { everyMs: 20, bytesMin: 1000, looksMax: 3 };
    const impatient = await serve(t, fixture, { pace });
    await raw(impatient.endpoint, `${head('/box/open/slow')}a few bytes`);
    const lineOf = async (key: string): Promise<AuditLine> => {
      while (impatient.audit.at(-1)?.key !== key) await new Promise((resolve) => setTimeout(resolve, 5));
      return impatient.audit.at(-1)!;
    };
    t.equal((await lineOf('open/slow')).code, 'IncompleteBody', 'the body of a client that trickles is not waited for');
    t.equal((await client.send('GET', 'box', { key: 'open/slow' })).status, 404, 'and leaves nothing');
    await client.send('PUT', 'box', { key: 'open/large', body: Buffer.alloc(24 * 1024 * 1024) });
    const taker = await new Promise<Socket>((resolve) => {
      const { hostname, port } = new URL(impatient.endpoint);
      const socket = connect(Number(port), hostname, () => {
        socket.pause();
        socket.write('GET /box/open/large HTTP/1.1\r\nHost: x\r\n\r\n');
        resolve(socket);
      });
      socket.on('error', () => undefined);
    });
    t.equal((await lineOf('open/large')).operation, 'GetObject', 'nor one that takes nothing of its answer');
    taker.destroy();
    t.same([...busy.failures, ...impatient.failures], []);
  });

  await t.test('TLS', { skip: hasOpenssl() ? false : 'openssl is not installed' }, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'cairn-tls-'));
    t.teardown(() => rmSync(directory, { recursive: true, force: true }));
    const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
    const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
    const about = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
    execFileSync('openssl', [...made, ...about, '-keyout', key, '-out', cert], { stdio: 'ignore' });
    const tls = { key: readFileSync(key), cert: readFileSync(cert) };
    const safe = await serve(t, fixture, { tls });
    t.match(safe.endpoint, /^https:/);
    const policy = {
      Version: '2012-10-17',
      Statement: [
        { Effect: 'Allow', Principal: '*', Action: 's3:GetObject', Resource: 'arn:aws:s3:::box/open/*' },
        {
          Effect: 'Deny',
          Principal: '*',
          Action: 's3:GetObject',
          Resource: 'arn:aws:s3:::box/*',
          Condition: { Bool: { 'aws:SecureTransport': 'false' } },
        },
      ],
    };
    await client.send('PUT', 'box', { query: [['policy', '']], body: JSON.stringify(policy) });
    t.equal((await client.send('GET', 'box', { key: 'open/key' })).status, 403, 'denied without TLS');
    const get = (options: object) =>
      new Promise<string>((resolve) => {
        const { port } = new URL(safe.endpoint);
        const sent = httpsRequest(
          { host: '127.0.0.1', port, path: '/box/open/key', agent: false, ...options },
          (response) => {
            let text = '';
            response.on('data', (piece) => (text += piece));
            response.on('end', () => resolve(text));
          },
        );
        sent.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
        sent.end();
      });
    t.equal(await get({ ca: tls.cert }), 'for all');
    t.equal(await get({}), 'DEPTH_ZERO_SELF_SIGNED_CERT', 'nobody but its owner has signed it');
    t.not(await get({ ca: tls.cert, maxVersion: 'TLSv1.1' }), 'for all', 'old versions are not spoken');
    const plain = await raw(safe.endpoint, 'GET /box/open/key HTTP/1.1\r\nHost: x\r\n\r\n').catch(() => '');
    t.notMatch(plain, 'for all');
    t.same(safe.failures, []);
  });
});

t.test('a sender that asks too fast is told to slow down, others are not', async (t) => {
  let nowMs = 0;
  const clock = Object.assign(new SystemClock(), { monotonicMs: () => nowMs });
  const limits = new RequestLimits({ requestsMax: 10, requestsPerSecond: 5 }, clock);
  const taken = (sender: string, tries: number) =>
    Array.from({ length: tries }, () => {
      try {
        limits.take(sender);
        return 1;
      } catch {
        return 0;
      }
    }).reduce((sum: number, one) => sum + one, 0);
  t.equal(taken('a', 20), 10, 'two seconds at once');
  t.equal(taken('b', 3), 3);
  nowMs += 1000;
  t.equal(taken('a', 20), 5, 'then as many as a second brings');
  for (let i = 0; i < 12_000; i++) limits.take(`address ${i}`);
  nowMs += 10_000;
  t.equal(taken('a', 20), 10);
  t.equal(new Set([taken('c', 1), taken('d', 1)]).size, 1);
});
