import { createHmac } from 'node:crypto';
import t, { type Test } from 'tap';
import { boundaryOf, readForm } from '../../../src/s3/form-data.js';
import { checkForm, formKey } from '../../../src/s3/form-policy.js';
import { S3Error } from '../../../src/s3/s3-error.js';
import { SigningKeys, signatureOf } from '../../../src/s3/signature-v4.js';
import { expectCode } from './expect-code.js';

const BOUNDARY = 'xYzZY';
const FILE_NAME = '$'.concat('{filename}');
const part = (name: string, value: string, more = '') =>
  `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"${more}\r\n\r\n${value}\r\n`;
const END = `--${BOUNDARY}--\r\n`;

async function* pieces(body: string, size: number): AsyncGenerator<Buffer> {
  const bytes = Buffer.from(body, 'utf8');
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function read(body: string, size = 1000) {
  const form = await readForm(pieces(body, size), BOUNDARY);
  const parts: Buffer[] = [];
  for await (const bytes of form.file.bytes) parts.push(bytes);
  return { fields: Object.fromEntries(form.fields), file: form.file, content: Buffer.concat(parts).toString('utf8') };
}

async function refused(t: Test, code: string, run: Promise<unknown>, name: string) {
  const error: unknown = await run.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  t.equal(error instanceof S3Error ? error.code : error, code, name);
}

t.test('fields and file, in pieces of any size', async (t) => {
  const content = `first\r\n--${BOUNDARY.slice(0, 3)}\r\n-- \u00e4 ${'z'.repeat(3000)}\r\n`;
  const body =
    part('Key', `a/${FILE_NAME}`, '; filename="Key"') +
    part('x-amz-meta-\u00e4', 'w\u00f6rt\r\nmore') +
    `--${BOUNDARY} \t\r\ncontent-type: text/plain\r\nCONTENT-DISPOSITION: form-data; filename="C:\\dir\\f %22q%22.txt"; name=file\r\n\r\n${content}\r\n` +
    part('submit', 'ignored') +
    END;
  for (const size of [1, 2, 3, 7, 64, 100_000]) {
    const form = await read(body, size);
    t.same(form.fields, { key: `a/${FILE_NAME}`, 'x-amz-meta-\u00e4': 'w\u00f6rt\r\nmore' });
    t.equal(form.content, content, `pieces of ${size}`);
    t.equal(form.file.contentType, 'text/plain');
    t.equal(form.file.name, 'C:\\dir\\f "q".txt');
  }
  t.equal((await read(`preamble\r\n${part('file', '')}${END}`)).content, '', 'an empty file behind a preamble');
});

t.test('what is no form', async (t) => {
  const file = part('file', 'x');
  await refused(t, 'InvalidArgument', read(part('key', 'a') + END), 'no file');
  await refused(t, 'InvalidArgument', read(part('key', 'a') + part('KEY', 'b') + file + END), 'a field twice');
  await refused(t, 'MalformedPOSTRequest', read(file.slice(0, -2)), 'ends within the file');
  await refused(t, 'MalformedPOSTRequest', read(''), 'nothing');
  await refused(t, 'MalformedPOSTRequest', read('no boundary at all'), 'no boundary');
  await refused(t, 'MalformedPOSTRequest', read(`--${BOUNDARY}x\r\n\r\n`), 'another boundary');
  await refused(t, 'MalformedPOSTRequest', read(`--${BOUNDARY}\r\n\r\nx\r\n${END}`), 'no headers');
  await refused(t, 'MalformedPOSTRequest', read(`--${BOUNDARY}\r\nA: b\r\n\r\nx\r\n${END}`), 'no name');
  await refused(t, 'MalformedPOSTRequest', read(`--${BOUNDARY}\r\nnonsense\r\n\r\nx\r\n${END}`), 'no header');
  const long = part('key', 'k'.repeat(25_000));
  for (const size of [100, 100_000])
    await refused(t, 'MaxPostPreDataLengthExceededError', read(long + file + END, size), `too long, ${size}`);
  await refused(t, 'MaxPostPreDataLengthExceededError', read('-'.repeat(50_000), 100), 'a preamble without end');
  await refused(t, 'MalformedPOSTRequest', read(file + END + 'x'.repeat(1_200_000), 65_536), 'an epilogue without end');
});

t.test('boundaries', async (t) => {
  t.equal(boundaryOf('multipart/form-data; boundary=abc'), 'abc');
  t.equal(boundaryOf('Multipart/Form-Data; charset=utf-8; Boundary="a b:c"; x=y'), 'a b:c');
  for (const type of [undefined, 'text/plain', 'multipart/form-datax; boundary=a'])
    expectCode(t, 'InvalidRequest', () => boundaryOf(type), String(type));
  for (const type of [
    'multipart/form-data',
    'multipart/form-data; boundary=',
    `multipart/form-data; boundary=${'a'.repeat(71)}`,
    'multipart/form-data; boundary="a "',
  ])
    expectCode(t, 'MalformedPOSTRequest', () => boundaryOf(type), type.slice(0, 60));
});

const NOW = Date.parse('2026-11-28T12:00:00Z');
const SECRET = 'secret/key';
const context = {
  bucket: 'box',
  region: 'somewhere',
  nowMs: NOW,
  keys: new SigningKeys(),
  secretOf: (key: string) => (key === 'AK' ? SECRET : undefined),
};
const CONDITIONS: unknown[] = [
  { bUcKeT: 'box' },
  ['StArTs-WiTh', '$KeY', 'foo'],
  { AcL: 'private' },
  ['starts-with', '$Content-Type', 'text/plain'],
  ['content-length-range', 0, 1024],
];
const FIELDS = { key: 'foo.txt', acl: 'private', 'content-type': 'text/plain' };
const document = (conditions: unknown = CONDITIONS, more: object = {}) =>
  Buffer.from(JSON.stringify({ expiration: '2026-11-28T13:00:00Z', conditions, ...more })).toString('base64');

function old(policy: string, fields: Record<string, string> = FIELDS): Map<string, string> {
  const signature = createHmac('sha1', SECRET).update(policy).digest('base64');
  return new Map(Object.entries({ ...fields, policy, awsaccesskeyid: 'AK', signature }));
}

function signed(policy: string, fields: Record<string, string> = FIELDS, region = 'somewhere'): Map<string, string> {
  const key = context.keys.key(SECRET, { date: '20261128', region, service: 's3' });
  return new Map(
    Object.entries({
      ...fields,
      policy,
      'x-amz-algorithm': 'AWS4-HMAC-SHA256',
      'x-amz-credential': `AK/20261128/${region}/s3/aws4_request`,
      'x-amz-date': '20261128T115900Z',
      'x-amz-signature': signatureOf(key, policy),
    }),
  );
}
const SIGNED = [
  ...CONDITIONS,
  ['starts-with', '$x-amz-algorithm', ''],
  ['starts-with', '$x-amz-credential', ''],
  ['starts-with', '$x-amz-date', ''],
];

t.test('both signatures', async (t) => {
  const allowed = { accessKey: 'AK', minBytes: 0, maxBytes: 1024 };
  t.same(checkForm(old(document()), context), allowed);
  t.same(checkForm(signed(document(SIGNED)), context), allowed);
  t.same(checkForm(signed(document(SIGNED), FIELDS, 'us-east-1'), context), allowed);
  t.same(checkForm(new Map(Object.entries(FIELDS)), context).accessKey, undefined, 'without a policy: anonymous');
  const change = (fields: Map<string, string>, name: string, value: string | undefined) => {
    if (value === undefined) fields.delete(name);
    else fields.set(name, value);
    return fields;
  };
  const cases: [string, Map<string, string>][] = [
    ['SignatureDoesNotMatch', change(old(document()), 'signature', 'bad')],
    ['SignatureDoesNotMatch', change(old(document()), 'policy', document(CONDITIONS, { a: 1 }))],
    ['InvalidAccessKeyId', change(old(document()), 'awsaccesskeyid', 'foo')],
    ['InvalidArgument', change(old(document()), 'signature', undefined)],
    ['InvalidArgument', change(old(document()), 'policy', undefined)],
    ['SignatureDoesNotMatch', change(signed(document(SIGNED)), 'x-amz-signature', '0'.repeat(64))],
    ['InvalidArgument', change(signed(document(SIGNED)), 'x-amz-signature', undefined)],
    ['InvalidArgument', change(signed(document(SIGNED)), 'x-amz-date', '20261129T115900Z')],
    ['InvalidArgument', change(signed(document(SIGNED)), 'x-amz-credential', 'AK/20261128/somewhere/sqs/aws4_request')],
    ['InvalidArgument', signed(document(SIGNED), FIELDS, 'elsewhere')],
    ['InvalidArgument', change(signed(document(SIGNED)), 'x-amz-algorithm', 'AWS4-ECDSA')],
  ];
  for (const [code, fields] of cases) expectCode(t, code, () => checkForm(fields, context));
});

t.test('the policy must speak of every field, and hold', async (t) => {
  const refuse = (
    code: string,
    conditions: unknown,
    more: Record<string, string | undefined> = {},
    top: object = {},
  ) => {
    const fields: Record<string, string> = {};
    for (const [name, value] of Object.entries({ ...FIELDS, ...more })) if (value !== undefined) fields[name] = value;
    expectCode(
      t,
      code,
      () => checkForm(old(document(conditions, top), fields), context),
      `${code} ${JSON.stringify(conditions)} ${JSON.stringify(more)}`,
    );
  };
  refuse('AccessDenied', CONDITIONS.slice(1));
  refuse('AccessDenied', [{ bucket: 'other' }, ...CONDITIONS.slice(1)], { bucket: 'other' });
  refuse('AccessDenied', CONDITIONS, { 'x-amz-meta-foo': 'bar' });
  refuse('AccessDenied', [...CONDITIONS, ['starts-with', '$x-amz-meta-foo', 'bar']]);
  refuse('AccessDenied', [...CONDITIONS, ['eq', '$x-amz-meta-foo', '']], { 'x-amz-meta-foo': 'barclamp' });
  refuse('AccessDenied', CONDITIONS, { key: 'Foo.txt' });
  refuse('AccessDenied', CONDITIONS, { 'content-type': 'text/plain, image/png' });
  refuse('AccessDenied', CONDITIONS, {}, { expiration: '2026-11-28T12:00:00Z' });
  refuse('InvalidPolicyDocument', CONDITIONS, {}, { expiration: '2026-11-28 13:00:00+00:00' });
  refuse('InvalidPolicyDocument', CONDITIONS, {}, { expiration: undefined, EXPIRATION: '2026-11-28T13:00:00Z' });
  refuse('InvalidPolicyDocument', [], {}, { conditions: undefined, CONDITIONS });
  for (const bad of [
    {},
    { a: 'b', c: 'd' },
    { a: 1 },
    ['content-length-range', 0],
    ['content-length-range', -1, 0],
    ['content-length-range', 5, 1],
    ['content-length-range', 'x', 1],
    ['like', '$key', 'a'],
    ['eq', 'key', 'a'],
    ['eq', '$key', 1],
    7,
    null,
  ])
    refuse('InvalidPolicyDocument', [...CONDITIONS, bad]);
  for (const bad of [
    '!',
    Buffer.from('[]').toString('base64'),
    Buffer.from('{').toString('base64'),
    Buffer.from([0xff]).toString('base64'),
  ])
    expectCode(t, 'InvalidPolicyDocument', () => checkForm(old(bad), context));
  const fine = { ...FIELDS, 'x-ignore-foo': 'bar', 'x-amz-checksum-sha256': 'abc' };
  t.doesNotThrow(() => checkForm(old(document(), fine), context));
  t.doesNotThrow(() =>
    checkForm(
      old(document([...CONDITIONS, ['starts-with', '$x-amz-meta-foo', 'bar']]), {
        ...FIELDS,
        'x-amz-meta-foo': 'barclamp',
      }),
      context,
    ),
  );
  const ranges = [...CONDITIONS, ['content-length-range', '10', '2000']];
  t.same(
    checkForm(old(document(ranges)), context),
    { accessKey: 'AK', minBytes: 10, maxBytes: 1024 },
    'the narrowest of several',
  );
});

t.test('the key may have the name of the file', async (t) => {
  const key = (text: string, name: string) => formKey(new Map([['key', text]]), name);
  t.equal(key(`user/${FILE_NAME}`, 'C:\\docs\\a$&.txt'), 'user/a$&.txt');
  t.equal(key(FILE_NAME + FILE_NAME, '/x/y'), 'yy');
  t.equal(key('\\$foo.txt', 'z'), '\\$foo.txt');
  expectCode(t, 'InvalidArgument', () => formKey(new Map(), 'x'));
  expectCode(t, 'InvalidArgument', () => key('', 'x'));
});
