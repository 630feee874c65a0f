/**
 * The documents and forms that S3 clients send, damaged and made up: every reader answers with a value that survives writing and reading again, or with
 * an S3Error of the client's, never with anything else. `SEED=` replays a run.
 */
import { deepStrictEqual } from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { corsHeaders, preflight, readCors, writeCors } from '../../src/s3/cors.js';
import { readForm } from '../../src/s3/form-data.js';
import { checkForm } from '../../src/s3/form-policy.js';
import { readLifecycle, writeLifecycle } from '../../src/s3/lifecycle-configuration.js';
import { LifecycleCalendar } from '../../src/s3/lifecycle-due.js';
import {
  lockFromHeaders,
  readLegalHold,
  readLockConfiguration,
  readRetention,
  writeLockConfiguration,
  writeRetention,
} from '../../src/s3/lock-documents.js';
import { readPolicy } from '../../src/s3/policy-document.js';
import { evaluatePolicy, isPublicPolicy } from '../../src/s3/policy-evaluation.js';
import { S3Error } from '../../src/s3/s3-error.js';
import { SigningKeys } from '../../src/s3/signature-v4.js';
import { parseTagHeader, readTagging, writeTagging } from '../../src/s3/tagging.js';
import { matchesWildcard } from '../../src/s3/wildcard.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`SEED=${seed}`);
const NOW = Date.parse('2026-11-28T12:00:00Z');

/** What `read` gives; undefined if it refused as it should. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof S3Error && error.status >= 400 && error.status <= 501 && error.status !== 500)
      return undefined;
    throw error;
  }
}

const xml = (text: string) => Buffer.from(text, 'utf8');
const wrapped = (root: string, body: string) => xml(`<${root}>${body}</${root}>`);

/** A text with pieces put in, taken out and replaced by others that have a meaning. */
function edited(valid: readonly string[], junk: readonly string[]): fc.Arbitrary<Uint8Array> {
  const edit = fc.record({
    at: fc.nat(2000),
    remove: fc.nat(30),
    insert: fc.oneof(
      fc.constantFrom(...junk),
      fc.string({ maxLength: 6 }),
      fc.string({ unit: 'binary', maxLength: 4 }),
    ),
  });
  const texts = fc.tuple(fc.constantFrom(...valid), fc.array(edit, { maxLength: 4 })).map(([text, edits]) =>
    edits.reduce((now, { at, remove, insert }) => {
      const place = at % (now.length + 1);
      return now.slice(0, place) + insert + now.slice(place + remove);
    }, text),
  );
  return fc.oneof(
    { weight: 9, arbitrary: texts.map((text) => Buffer.from(text, 'utf8')) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }) },
  );
}

const XML_JUNK = [
  '<',
  '>',
  '&amp;',
  '&#x0;',
  '&lol;',
  '<!DOCTYPE a>',
  '<![CDATA[x]]>',
  '<!--',
  '-1',
  '1e9',
  '*',
  '0',
  ' ',
  '</Rule>',
  '<Rule>',
];

function documents<T>(
  name: string,
  valid: readonly string[],
  read: (bytes: Uint8Array) => T,
  write: (value: T) => Uint8Array,
  use: (value: T) => void = () => {},
): void {
  t.test(name, async (t) => {
    let accepted = 0;
    fc.assert(
      fc.property(edited(valid, XML_JUNK), (bytes) => {
        const value = attempt(() => read(bytes));
        if (value === undefined) return;
        accepted += 1;
        deepStrictEqual(read(write(value)), value);
        use(value);
      }),
      { seed, numRuns: 3000 },
    );
    t.ok(accepted > 50, `${accepted} were accepted`);
  });
}

documents(
  'CORS',
  [
    '<CORSConfiguration><CORSRule><ID>a</ID><AllowedOrigin>http://*.example</AllowedOrigin><AllowedMethod>GET</AllowedMethod><AllowedHeader>x-*</AllowedHeader><ExposeHeader>etag</ExposeHeader><MaxAgeSeconds>3</MaxAgeSeconds></CORSRule></CORSConfiguration>',
    '<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>PUT</AllowedMethod></CORSRule></CORSConfiguration>',
  ],
  readCors,
  (rules) => wrapped('CORSConfiguration', writeCors(rules)),
  (rules) => {
    const request = { origin: 'http://a.example', method: 'GET', headers: 'x-a,,b' };
    const headers = corsHeaders(rules, request);
    attempt(() => preflight(rules, request));
    for (const value of Object.values(headers)) deepStrictEqual(/[\r\n]/.test(value), false);
  },
);

documents(
  'lifecycle',
  [
    '<LifecycleConfiguration><Rule><ID>a</ID><Filter><And><Prefix>p/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan></And></Filter><Status>Enabled</Status><Expiration><Days>3</Days></Expiration></Rule></LifecycleConfiguration>',
    '<LifecycleConfiguration><Rule><ID>b</ID><Prefix>p/</Prefix><Status>Enabled</Status><Expiration><Date>2030-01-01T00:00:00Z</Date></Expiration><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>2</NewerNoncurrentVersions></NoncurrentVersionExpiration><AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>',
  ],
  (bytes) => readLifecycle(bytes, () => 'made'),
  (rules) => wrapped('LifecycleConfiguration', writeLifecycle(rules)),
  (rules) => {
    const calendar = new LifecycleCalendar(rules);
    const version = {
      versionId: 'v',
      isMarker: false,
      modifiedMs: NOW,
      sizeBytes: 9,
      tags: [['k', 'v']] as [string, string][],
    };
    for (const nowMs of [0, NOW, NOW + 1e12])
      calendar.dueOfKey('p/x', [version, { ...version, versionId: 'w' }], nowMs);
    calendar.uploadEndOf('p/x', NOW);
  },
);

documents(
  'tags',
  ['<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag><Tag><Key>l</Key><Value></Value></Tag></TagSet></Tagging>'],
  (bytes) => readTagging(bytes, 10),
  (tags) => wrapped('Tagging', writeTagging(tags)),
);

documents(
  'object lock configuration',
  [
    '<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>7</Days></DefaultRetention></Rule></ObjectLockConfiguration>',
  ],
  (bytes) => ({ rule: readLockConfiguration(bytes) }),
  ({ rule }) => wrapped('ObjectLockConfiguration', writeLockConfiguration(rule)),
);

documents(
  'retention',
  ['<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate></Retention>'],
  (bytes) => ({ retention: readRetention(bytes, NOW) }),
  ({ retention }) => wrapped('Retention', retention === undefined ? '' : writeRetention(retention)),
);

documents(
  'legal hold',
  ['<LegalHold><Status>ON</Status></LegalHold>', '<LegalHold><Status>OFF</Status></LegalHold>'],
  (bytes) => ({ isOn: readLegalHold(bytes) }),
  ({ isOn }) => wrapped('LegalHold', `<Status>${isOn ? 'ON' : 'OFF'}</Status>`),
);

t.test('headers of tags and of object lock', async (t) => {
  const header = fc.oneof(
    fc.stringMatching(/^[a-c=&%+0-9]{0,30}$/),
    fc.string(),
    fc.constantFrom('GOVERNANCE', 'COMPLIANCE', 'ON', 'OFF', '2030-01-01T00:00:00Z', '2030-13-01', '9999999-01-01'),
  );
  fc.assert(
    fc.property(header, header, header, (mode, until, hold) => {
      attempt(() => parseTagHeader(mode));
      const values = [mode, until, hold];
      const names = ['mode', 'retain-until-date', 'legal-hold'];
      attempt(() => lockFromHeaders((name) => values[names.indexOf(name.replace('x-amz-object-lock-', ''))], NOW));
    }),
    { seed, numRuns: 3000 },
  );
  t.pass();
});

const POLICY = {
  Version: '2012-10-17',
  Statement: [
    {
      Sid: 'a',
      Effect: 'Allow',
      Principal: { AWS: ['*', 'arn:aws:iam:::user/x'] },
      Action: ['s3:Get*', 's3:PutObject'],
      Resource: ['arn:aws:s3:::box/*', `arn:aws:s3:::box/${'$'}{aws:username}/*`],
      Condition: {
        StringLikeIfExists: { 's3:prefix': ['a*', 'b?'] },
        IpAddress: { 'aws:SourceIp': '10.0.0.0/8' },
        NumericLessThanEquals: { 's3:max-keys': 10 },
        DateLessThan: { 'aws:CurrentTime': '2030-01-01T00:00:00Z' },
        Bool: { 'aws:SecureTransport': false },
      },
    },
    { Effect: 'Deny', NotPrincipal: '*', NotAction: '*', NotResource: 'arn:aws:s3:::box' },
  ],
};
const POLICY_JUNK = [
  '"',
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  'null',
  '1',
  'true',
  '"*"',
  '"Deny"',
  'Not',
  '\\u0000',
  '*',
  '?',
  '/33',
  '__proto__',
];

t.test('bucket policies', async (t) => {
  let accepted = 0;
  const bytes = fc.oneof(
    edited([JSON.stringify(POLICY)], POLICY_JUNK),
    fc.json().map((text) => Buffer.from(text)),
    fc.json().map((text) => Buffer.from(`{"Statement":${text}}`)),
  );
  fc.assert(
    fc.property(bytes, fc.string(), fc.string(), (given, key, value) => {
      const policy = attempt(() => readPolicy(given, 'box'));
      if (policy === undefined) return;
      accepted += 1;
      deepStrictEqual(JSON.parse(JSON.stringify(policy)), policy, 'it can be kept as JSON');
      isPublicPolicy(policy);
      for (const user of [undefined, { id: 'x', name: value }])
        evaluatePolicy(policy, { user, action: 's3:GetObject', resource: `box/${key}`, values: () => [value] });
    }),
    { seed, numRuns: 3000 },
  );
  t.ok(accepted > 50, `${accepted} were accepted`);
});

t.test('wildcards match what the same regular expression does', async (t) => {
  const unit = fc.constantFrom('a', 'b', '*', '?', '.');
  fc.assert(
    fc.property(
      fc.string({ unit, maxLength: 8 }),
      fc.string({ unit, maxLength: 12 }),
      fc.boolean(),
      (pattern, text, hasSingle) => {
        const source = [...pattern]
          .map((one) =>
            one === '*' ? '[^]*' : one === '?' && hasSingle ? '[^]' : `\\u{${one.codePointAt(0)!.toString(16)}}`,
          )
          .join('');
        deepStrictEqual(matchesWildcard(pattern, text, hasSingle), new RegExp(`^${source}$`, 'u').test(text));
      },
    ),
    { seed, numRuns: 5000 },
  );
  t.equal(
    matchesWildcard('*a'.repeat(2000), 'a'.repeat(1999), true),
    false,
    'at once, also where backtracking would have no end',
  );
});

const FORM =
  '--bOuNd\r\nContent-Disposition: form-data; name="key"\r\n\r\na/b\r\n--bOuNd\r\nContent-Type: text/plain\r\nContent-Disposition: form-data; name="file"; filename="x.txt"\r\n\r\nthe\r\nfile\r\n--bOuNd--\r\n';

t.test('forms: the same answer in whatever pieces they come', async (t) => {
  const junk = ['\r\n', '--bOuNd', '--', '"', ';', 'name=', '\r', '\n', '\0', ': '];
  async function outcome(bytes: Uint8Array, sizes: readonly number[]): Promise<string> {
    async function* source() {
      for (let at = 0, turn = 0; at < bytes.length; turn++) {
        const end = at + (sizes[turn % sizes.length] ?? bytes.length);
        yield bytes.subarray(at, end);
        at = end;
      }
    }
    try {
      const { fields, file } = await readForm(source(), 'bOuNd');
      const parts: Buffer[] = [];
      for await (const part of file.bytes) parts.push(Buffer.from(part));
      return JSON.stringify([[...fields], file.name, file.contentType, Buffer.concat(parts).toString('hex')]);
    } catch (error) {
      if (error instanceof S3Error && error.status === 400) return error.code;
      throw error;
    }
  }
  let accepted = 0;
  const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(edited([FORM, `junk\r\n${FORM}`], junk), sizes, async (bytes, pieces) => {
      const whole = await outcome(bytes, [bytes.length + 1]);
      if (whole.startsWith('[')) accepted += 1;
      deepStrictEqual(await outcome(bytes, pieces), whole);
    }),
    { seed, numRuns: 2000 },
  );
  t.ok(accepted > 50, `${accepted} were accepted`);
});

t.test('policies of forms', async (t) => {
  const context = { bucket: 'box', region: 'r', nowMs: NOW, keys: new SigningKeys(), secretOf: () => 'secret' };
  const name = fc.oneof(
    fc.constantFrom(
      'policy',
      'signature',
      'awsaccesskeyid',
      'x-amz-signature',
      'x-amz-credential',
      'x-amz-date',
      'x-amz-algorithm',
      'key',
    ),
    fc.string(),
  );
  const value = fc.oneof(
    fc.string(),
    fc.json().map((text) => Buffer.from(text).toString('base64')),
    fc.constantFrom('AWS4-HMAC-SHA256', 'AK/20261128/r/s3/aws4_request', '20261128T120000Z'),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 8 }), (fields) => {
      attempt(() => checkForm(new Map(fields), context));
    }),
    { seed, numRuns: 3000 },
  );
  t.pass();
});
