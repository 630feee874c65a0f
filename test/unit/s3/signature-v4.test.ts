/**
 * Signature Version 4 against a signer of another hand: the examples of AWS's documentation ("Signature Calculations for the Authorization Header",
 * "… Chunked Upload", "Authenticating Requests: Using Query Parameters"), with the keys and dates that it gives.
 */
import t from 'tap';
import { ChunkedBody } from '../../../src/s3/chunked-body.js';
import {
  ChunkSignatures,
  canonicalRequest,
  isSameSignature,
  SigningKeys,
  signatureOf,
  stringToSign,
} from '../../../src/s3/signature-v4.js';

const SECRET = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY';
const TIMESTAMP = '20130524T000000Z';
const SCOPE = { date: '20130524', region: 'us-east-1', service: 's3' };
const EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
const keys = new SigningKeys();

interface Example {
  readonly what: string;
  readonly method: string;
  readonly rawPath: string;
  readonly parameters?: [string, string][];
  readonly headers: Record<string, string>;
  readonly payloadHash?: string;
  readonly signature: string;
}

const HOST = 'examplebucket.s3.amazonaws.com';
const EXAMPLES: Example[] = [
  {
    what: 'GET with a range',
    method: 'GET',
    rawPath: '/test.txt',
    headers: { host: HOST, range: 'bytes=0-9', 'x-amz-content-sha256': EMPTY, 'x-amz-date': TIMESTAMP },
    signature: 'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
  },
  {
    what: 'PUT of a key with a dollar sign',
    method: 'PUT',
    rawPath: '/test$file.text',
    headers: {
      date: 'Fri, 24 May 2013 00:00:00 GMT',
      host: HOST,
      'x-amz-content-sha256': '44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072',
      'x-amz-date': TIMESTAMP,
      'x-amz-storage-class': 'REDUCED_REDUNDANCY',
    },
    payloadHash: '44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072',
    signature: '98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd',
  },
  {
    what: 'a subresource without a value',
    method: 'GET',
    rawPath: '/',
    parameters: [['lifecycle', '']],
    headers: { host: HOST, 'x-amz-content-sha256': EMPTY, 'x-amz-date': TIMESTAMP },
    signature: 'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543',
  },
  {
    what: 'a list with parameters',
    method: 'GET',
    rawPath: '/',
    parameters: [
      ['prefix', 'J'],
      ['max-keys', '2'],
    ],
    headers: { host: HOST, 'x-amz-content-sha256': EMPTY, 'x-amz-date': TIMESTAMP },
    signature: '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7',
  },
  {
    what: 'a presigned URL',
    method: 'GET',
    rawPath: '/test.txt',
    parameters: [
      ['X-Amz-Algorithm', 'AWS4-HMAC-SHA256'],
      ['X-Amz-Credential', 'AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request'],
      ['X-Amz-Date', TIMESTAMP],
      ['X-Amz-Expires', '86400'],
      ['X-Amz-SignedHeaders', 'host'],
    ],
    headers: { host: HOST },
    payloadHash: 'UNSIGNED-PAYLOAD',
    signature: 'aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404',
  },
];

for (const { what, method, rawPath, parameters = [], headers, payloadHash = EMPTY, signature } of EXAMPLES) {
  t.test(what, async (t) => {
    const all = new Map(Object.entries(headers).map(([name, value]) => [name, [value]]));
    const signedHeaders = [...all.keys()].sort();
    const canonical = canonicalRequest({ method, rawPath, parameters, headers: all, signedHeaders, payloadHash });
    const own = signatureOf(keys.key(SECRET, SCOPE), stringToSign(TIMESTAMP, SCOPE, canonical));
    t.equal(own, signature);
    t.ok(isSameSignature(own, signature));
    t.notOk(isSameSignature(own, `${signature.slice(0, -1)}0`));
    t.notOk(isSameSignature(own, ''));
  });
}

/** The documentation's upload of 66,560 bytes `a` in chunks of 64 KiB. */
const SEED = '4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9';
const CHUNKS: [size: number, signature: string][] = [
  [65536, 'ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648'],
  [1024, '0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497'],
  [0, 'b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9'],
];
const streamed = (change: (text: string) => string = (text) => text): Buffer =>
  Buffer.concat(
    CHUNKS.map(([size, signature]) =>
      Buffer.from(`${change(`${size.toString(16)};chunk-signature=${signature}`)}\r\n${'a'.repeat(size)}\r\n`),
    ),
  );
const signatures = () => new ChunkSignatures(keys.key(SECRET, SCOPE), TIMESTAMP, SCOPE, SEED);

t.test('signed chunks', async (t) => {
  for (const step of [1_000_000, 1000, 7]) {
    const body = new ChunkedBody(signatures(), false);
    const bytes = streamed();
    const plain: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += step) plain.push(...body.take(bytes.subarray(at, at + step)));
    body.end();
    t.equal(Buffer.concat(plain).toString(), 'a'.repeat(66_560), `in pieces of ${step} bytes`);
  }
  t.throws(() => new ChunkedBody(signatures(), false).take(streamed((text) => text.replace('ad80', 'ad81'))), {
    code: 'SignatureDoesNotMatch',
  });
  t.throws(() => new ChunkedBody(signatures(), false).take(streamed((text) => text.replace(/;.*/, ''))), {
    code: 'SignatureDoesNotMatch',
  });
  const short = new ChunkedBody(signatures(), false);
  short.take(streamed().subarray(0, 66_000));
  t.throws(() => short.end(), { code: 'IncompleteBody' });
});

t.test('unsigned chunks with a trailer', async (t) => {
  const body = new ChunkedBody(undefined, true);
  const plain = body.take(Buffer.from('5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n'));
  body.end();
  t.equal(Buffer.concat(plain).toString(), 'hello world');
  t.equal(body.trailers.get('x-amz-checksum-crc32'), 'DUoRhQ==');
  t.throws(() => body.take(Buffer.from('x')), { code: 'InvalidRequest' });
  for (const bad of ['zz\r\n', '5\r\nhelloX', `${'1'.repeat(2000)}`, '0\r\nno colon\r\n'])
    t.throws(
      () => {
        const broken = new ChunkedBody(undefined, true);
        broken.take(Buffer.from(`${bad}\r\n`));
        broken.end();
      },
      { name: 'S3Error' },
      JSON.stringify(bad.slice(0, 20)),
    );
});
