/**
 * Makes up S3 requests as bytes: every operation, with its method, path, parameters, headers and body changed at random, then signed (mostly), then perhaps
 * damaged as bytes, or cut off. The same seed makes the same requests, but for the time in their signatures and the upload ids that it is told of.
 */
import { createHash } from 'node:crypto';
import {
  ALGORITHM,
  canonicalRequest,
  SigningKeys,
  signatureOf,
  stringToSign,
  uriEncode,
} from '../../src/s3/signature-v4.js';
import type { S3User } from '../../src/s3/users.js';
import type { SeededRandom } from '../sim/seeded-random.js';

export interface MadeRequest {
  readonly bytes: Buffer;
  readonly isHead: boolean;
  /** The request may end anywhere, or be none: its sender ends its side of the connection. */
  readonly isDamaged: boolean;
}

type Parameter = readonly [name: string, value: string];

interface Draft {
  method: string;
  path: string;
  parameters: Parameter[];
  headers: Map<string, string>;
  body: Buffer;
}

const BUCKETS = ['aaa', 'bbb', 'versioned'];
const KEYS = [
  'k',
  'k/',
  'k/l',
  'k//l',
  'k/../l',
  '.',
  '..',
  'ü+ &%',
  'n'.repeat(300),
  'x/'.repeat(20),
  '.cairn-key-61',
  '\u0001',
  '-',
];
const VALUES = [
  '',
  '0',
  '1',
  '-1',
  '2',
  '3',
  '1000',
  '99999999999999999999',
  'null',
  'url',
  'true',
  'k',
  'k/',
  '/',
  '\u0000',
  '\u{10ffff}',
  '*',
  'a b',
  '%',
  '"x"',
  'Enabled',
];
const PARAMETERS = [
  'list-type',
  'prefix',
  'delimiter',
  'marker',
  'start-after',
  'continuation-token',
  'max-keys',
  'encoding-type',
  'fetch-owner',
  'versionId',
  'partNumber',
  'uploadId',
  'key-marker',
  'version-id-marker',
  'upload-id-marker',
  'part-number-marker',
  'max-parts',
  'max-uploads',
  'max-buckets',
  'response-content-type',
  'response-expires',
  'X-Amz-Expires',
  'X-Amz-Signature',
  'Signature',
  'AWSAccessKeyId',
];
const SUBRESOURCES = [
  'acl',
  'attributes',
  'cors',
  'delete',
  'legal-hold',
  'lifecycle',
  'location',
  'object-lock',
  'ownershipControls',
  'policy',
  'policyStatus',
  'publicAccessBlock',
  'requestPayment',
  'retention',
  'tagging',
  'uploads',
  'versioning',
  'versions',
  'website',
  'torrent',
  'encryption',
];
const HEADERS: Readonly<Record<string, readonly string[]>> = {
  range: [
    'bytes=0-',
    'bytes=-5',
    'bytes=5-2',
    'bytes=0-0,2-3',
    'bytes=99999999999999999999-',
    'lines=1-2',
    'bytes=3-9',
  ],
  'if-match': ['*', '"x"', ''],
  'if-none-match': ['*', '"x"', 'W/"x"'],
  'if-modified-since': ['Sat, 28 Nov 2026 00:00:00 GMT', 'yesterday'],
  'if-unmodified-since': ['Sat, 28 Nov 2020 00:00:00 GMT', '0'],
  'content-md5': ['XrY7u+Ae7tCTyyK7j1rNww==', 'x', ''],
  'x-amz-acl': ['private', 'public-read', 'bucket-owner-full-control', 'x'],
  'x-amz-grant-read': ['id="nobody"', 'uri="http://acs.amazonaws.com/groups/global/AllUsers"', 'id=', '='],
  'x-amz-tagging': ['a=b', 'a=b&a=c', '&&&', `${'k'.repeat(200)}=v`],
  'x-amz-meta-a': ['b', 'ü', 'm'.repeat(3000), ''],
  'x-amz-storage-class': ['STANDARD', 'GLACIER'],
  'x-amz-checksum-algorithm': ['CRC32', 'crc64nvme', 'SHA1', 'MD5'],
  'x-amz-sdk-checksum-algorithm': ['CRC32C', 'SHA256', 'x'],
  'x-amz-checksum-crc32': ['AAAAAA==', '!', ''],
  'x-amz-checksum-sha256': ['AAAA'],
  'x-amz-checksum-mode': ['ENABLED', 'x'],
  'x-amz-trailer': ['x-amz-checksum-crc32', 'x-amz-checksum-crc64nvme', 'x'],
  'x-amz-decoded-content-length': ['5', '0', '-1', 'x', '99999999999999'],
  'x-amz-object-attributes': ['ETag,Checksum,ObjectParts,StorageClass,ObjectSize', 'x', ','],
  'x-amz-metadata-directive': ['COPY', 'REPLACE', 'x'],
  'x-amz-tagging-directive': ['REPLACE'],
  'x-amz-copy-source-range': ['bytes=0-2', 'bytes=9-', 'x'],
  'x-amz-copy-source-if-match': ['"x"', '*'],
  'x-amz-bypass-governance-retention': ['true'],
  'x-amz-object-lock-mode': ['GOVERNANCE', 'x'],
  'x-amz-object-lock-retain-until-date': ['2026-11-28T00:00:00Z', 'x'],
  'x-amz-object-lock-legal-hold': ['OFF', 'x'],
  'x-amz-server-side-encryption': ['AES256'],
  'x-amz-expected-bucket-owner': ['ma1n', 'x'],
  origin: ['http://a.example', 'null'],
  'access-control-request-method': ['GET', 'x'],
  expect: ['100-continue', 'x'],
  'content-type': ['text/plain', 'multipart/form-data; boundary=b', 'multipart/form-data', '\u00ff'],
  'content-encoding': ['aws-chunked', 'gzip,aws-chunked', ''],
  'transfer-encoding': ['chunked', 'gzip'],
  'content-length': ['3', '-1', 'x'],
  'x-amz-date': ['20200101T000000Z', 'x'],
  host: ['aaa.s3.test', ''],
};
const XML: readonly string[] = [
  '<Delete><Quiet>true</Quiet><Object><Key>k</Key></Object><Object><Key>k/l</Key><VersionId>null</VersionId></Object></Delete>',
  '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>',
  '<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>',
  '<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>',
  '<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>',
  '<LifecycleConfiguration><Rule><ID>a</ID><Prefix>q/</Prefix><Status>Enabled</Status><Expiration><Days>3</Days></Expiration></Rule></LifecycleConfiguration>',
  '<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>',
  '<PublicAccessBlockConfiguration><BlockPublicAcls>false</BlockPublicAcls></PublicAccessBlockConfiguration>',
  '<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>',
  '<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2026-11-28T00:00:00Z</RetainUntilDate></Retention>',
  '<LegalHold><Status>OFF</Status></LegalHold>',
  '<AccessControlPolicy><Owner><ID>ma1n</ID></Owner><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>ma1n</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>',
  '<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>5d41402abc4b2a76b9719d911017c592</ETag></Part></CompleteMultipartUpload>',
  '<CreateBucketConfiguration><LocationConstraint>us-east-1</LocationConstraint></CreateBucketConfiguration>',
  '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::aaa/*"}]}',
  '<!DOCTYPE a [<!ENTITY b "c">]><Delete>&b;</Delete>',
  `${'<a>'.repeat(200)}`,
];
// biome-ignore lint/suspicious/noTemplateCurlyInString: what forms have filled in by the server
const FILENAME_KEY = 'f/${filename}';
const keys = new SigningKeys();

export class RequestMaker {
  /** Uploads that were begun; the last ones. */
  readonly uploads: string[] = [];
  readonly #random: SeededRandom;
  readonly #user: S3User;
  readonly #host: string;

  constructor(random: SeededRandom, user: S3User, host: string) {
    this.#random = random;
    this.#user = user;
    this.#host = host;
  }

  next(): MadeRequest {
    const random = this.#random;
    const draft = this.#draft();
    for (let edits = random.chance(0.5) ? 0 : random.below(4); edits > 0; edits--) this.#edit(draft);
    let bytes = this.#written(draft);
    const isHead = draft.method === 'HEAD';
    // What decides where the body ends was drawn: then it may never end.
    const isLoose = ['transfer-encoding', 'content-length', 'expect'].some((name) => draft.headers.has(name));
    if (!random.chance(0.15)) return { bytes, isHead, isDamaged: isLoose };
    for (let edits = 1 + random.below(4); edits > 0; edits--) bytes = this.#damaged(bytes);
    return { bytes, isHead, isDamaged: true };
  }

  #draft(): Draft {
    const random = this.#random;
    const bucket = random.pick(BUCKETS);
    const key = random.pick(KEYS);
    const body = this.#content();
    const draft = (
      method: string,
      path: string,
      parameters: Parameter[] = [],
      bytes: Buffer = Buffer.alloc(0),
    ): Draft => ({
      method,
      path,
      parameters,
      headers: new Map(),
      body: bytes,
    });
    const object = `/${bucket}/${uriEncode(key, true)}`;
    const upload = this.uploads.length > 0 && random.chance(0.9) ? random.pick(this.uploads) : 'none';
    switch (random.below(16)) {
      case 0:
        return draft('GET', '/');
      case 1:
        return draft('GET', `/${bucket}`, [
          ['list-type', '2'],
          ['delimiter', random.pick(['', '/', 'k'])],
          ['max-keys', '3'],
        ]);
      case 2:
        return draft('GET', `/${bucket}`, [['versions', '']]);
      case 3:
        return draft(random.pick(['PUT', 'HEAD', 'GET']), `/${bucket}`);
      case 4:
      case 5:
        return draft(
          random.pick(['GET', 'PUT', 'DELETE', 'POST']),
          `/${bucket}`,
          [[random.pick(SUBRESOURCES), '']],
          this.#document(),
        );
      case 6:
        return draft(
          random.pick(['GET', 'PUT', 'DELETE', 'POST']),
          object,
          [[random.pick(SUBRESOURCES), '']],
          this.#document(),
        );
      case 7:
      case 8:
        return draft('PUT', object, [], body);
      case 9:
        return draft(random.pick(['GET', 'HEAD']), object);
      case 10:
        return draft('DELETE', object);
      case 11: {
        const copy = draft('PUT', object);
        copy.headers.set('x-amz-copy-source', `/${random.pick(BUCKETS)}/${uriEncode(random.pick(KEYS), true)}`);
        return copy;
      }
      case 12:
        return draft('POST', object, [['uploads', '']]);
      case 13:
        return draft(
          'PUT',
          object,
          [
            ['partNumber', random.pick(['1', '2', '10000', '0'])],
            ['uploadId', upload],
          ],
          body,
        );
      case 14:
        return draft(random.pick(['POST', 'GET', 'DELETE']), object, [['uploadId', upload]], Buffer.from(XML[12]!));
      default:
        return this.#form(bucket, body);
    }
  }

  #content(): Buffer {
    const random = this.#random;
    return random.chance(0.3) ? Buffer.from('hello') : random.bytes(random.chance(0.05) ? 70_000 : random.below(300));
  }

  #document(): Buffer {
    const random = this.#random;
    let text = random.pick(XML);
    for (let edits = random.chance(0.6) ? 0 : random.below(4); edits > 0; edits--) {
      const at = random.below(text.length + 1);
      text =
        text.slice(0, at) +
        random.pick([...VALUES, '<', '>', '&#0;', '&x;', '<!--', ']]>']) +
        text.slice(at + random.below(12));
    }
    return Buffer.from(text);
  }

  #form(bucket: string, body: Buffer): Draft {
    const random = this.#random;
    const field = (name: string, value: string) =>
      `--b\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
    const policy = Buffer.from(
      JSON.stringify({ expiration: '2099-01-01T00:00:00Z', conditions: [{ bucket }, ['starts-with', '$key', '']] }),
    ).toString('base64');
    const date = timestampOf(Date.now());
    const scope = { date: date.slice(0, 8), region: 'us-east-1', service: 's3' };
    const signature = signatureOf(keys.key(this.#user.secretKey, scope), policy);
    let head = field('key', random.pick(['k', FILENAME_KEY, ...VALUES]));
    if (random.chance(0.8)) {
      const credential = `${this.#user.accessKey}/${scope.date}/us-east-1/s3/aws4_request`;
      head += field('policy', policy) + field('x-amz-algorithm', ALGORITHM) + field('x-amz-credential', credential);
      head += field('x-amz-date', date) + field('x-amz-signature', random.chance(0.9) ? signature : 'x');
    }
    if (random.chance(0.4))
      head += field(
        random.pick(['acl', 'tagging', 'success_action_status', 'redirect', 'x-amz-meta-a', 'Content-Type']),
        random.pick(VALUES),
      );
    head += `--b\r\ncontent-disposition: form-data; name="file"; filename="${random.pick(['a', 'ü', '"', ''])}"\r\n\r\n`;
    return {
      method: 'POST',
      path: `/${bucket}`,
      parameters: [],
      headers: new Map([['content-type', 'multipart/form-data; boundary=b']]),
      body: Buffer.concat([
        Buffer.from(head),
        body,
        Buffer.from(random.pick(['\r\n--b--\r\n', '\r\n--b--', '--b', ''])),
      ]),
    };
  }

  #edit(draft: Draft): void {
    const random = this.#random;
    switch (random.below(6)) {
      case 0:
        draft.method = random.pick(['GET', 'PUT', 'POST', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH']);
        break;
      case 1:
        draft.path += random.pick(['/', '//', '%00', '%2F..', '%ff', '/x', '%', '?', ';', `/${'y'.repeat(1100)}`]);
        break;
      case 2:
        draft.parameters.push([random.pick([...PARAMETERS, ...SUBRESOURCES]), random.pick(VALUES)]);
        break;
      case 3:
      case 4: {
        const name = random.pick(Object.keys(HEADERS));
        draft.headers.set(name, random.pick(HEADERS[name]!));
        break;
      }
      default:
        draft.body = random.chance(0.5) ? this.#document() : this.#content();
    }
  }

  /** With a signature, mostly, and the body in one of the encodings. */
  #written(draft: Draft): Buffer {
    const random = this.#random;
    const { method, parameters, headers } = draft;
    const timestamp = timestampOf(Date.now());
    const scope = { date: timestamp.slice(0, 8), region: 'us-east-1', service: 's3' };
    const mode = method === 'PUT' && random.chance(0.5) ? random.below(3) : 3 + random.below(2);
    const payloadHash = [
      'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
      'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER',
      'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
      'UNSIGNED-PAYLOAD',
      createHash('sha256').update(draft.body).digest('hex'),
    ][mode]!;
    const all = new Map([
      ['host', this.#host],
      ['x-amz-date', timestamp],
      ['x-amz-content-sha256', payloadHash],
      ...headers,
    ]);
    if (mode < 3 && !all.has('x-amz-decoded-content-length'))
      all.set('x-amz-decoded-content-length', String(draft.body.length));
    if (mode === 1 || mode === 2) all.set('x-amz-trailer', 'x-amz-checksum-crc32');
    const key = keys.key(random.chance(0.97) ? this.#user.secretKey : 'another secret', scope);
    const signedHeaders = [...all.keys()].sort();
    let signature = '';
    try {
      const canonical = canonicalRequest({
        method,
        rawPath: draft.path,
        parameters,
        headers: new Map([...all].map(([name, value]) => [name, [value]])),
        signedHeaders,
        payloadHash: all.get('x-amz-content-sha256')!,
      });
      signature = signatureOf(key, stringToSign(timestamp, scope, canonical));
    } catch {
      // A path that cannot be decoded has no canonical form.
    }
    if (random.chance(0.95))
      all.set(
        'authorization',
        `${ALGORITHM} Credential=${this.#user.accessKey}/${scope.date}/us-east-1/s3/aws4_request,SignedHeaders=${signedHeaders.join(';')},Signature=${signature}`,
      );
    const body = mode < 3 ? this.#chunked(draft.body, mode, { key, timestamp, scope, signature }) : draft.body;
    if (!all.has('content-length') && !all.has('transfer-encoding')) all.set('content-length', String(body.length));
    const search = parameters
      .map(([name, value]) => `${uriEncode(name, false)}=${encodeURIComponent(value)}`)
      .join('&');
    const lines = [...all].map(([name, value]) => `${name}: ${value}\r\n`).join('');
    return Buffer.concat([
      Buffer.from(`${method} ${draft.path}${search === '' ? '' : `?${search}`} HTTP/1.1\r\n${lines}\r\n`, 'latin1'),
      body,
    ]);
  }

  #chunked(
    body: Buffer,
    mode: number,
    signing: {
      key: Uint8Array;
      timestamp: string;
      scope: { date: string; region: string; service: string };
      signature: string;
    },
  ): Buffer {
    const random = this.#random;
    const parts: Buffer[] = [];
    let previous = signing.signature;
    const scope = `${signing.scope.date}/us-east-1/s3/aws4_request`;
    const hash = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex');
    const chunk = (bytes: Buffer): void => {
      previous = signatureOf(
        signing.key,
        `AWS4-HMAC-SHA256-PAYLOAD\n${signing.timestamp}\n${scope}\n${previous}\n${hash('')}\n${hash(bytes)}`,
      );
      parts.push(
        Buffer.from(`${bytes.length.toString(16)}${mode === 2 ? '' : `;chunk-signature=${previous}`}\r\n`),
        bytes,
      );
      if (bytes.length > 0) parts.push(Buffer.from('\r\n'));
    };
    for (let at = 0; at < body.length; ) {
      const length = 1 + random.below(body.length - at);
      chunk(body.subarray(at, at + length));
      at += length;
    }
    chunk(Buffer.alloc(0));
    if (mode > 0) parts.push(Buffer.from(`x-amz-checksum-crc32:${random.pick(['AAAAAA==', 'NhCmhg==', 'x'])}\r\n`));
    if (mode === 1) parts.push(Buffer.from(`x-amz-trailer-signature:${'0'.repeat(64)}\r\n`));
    parts.push(Buffer.from('\r\n'));
    return Buffer.concat(parts);
  }

  #damaged(bytes: Buffer): Buffer {
    const random = this.#random;
    const at = random.below(bytes.length + 1);
    switch (random.below(5)) {
      case 0:
        return bytes.subarray(0, at);
      case 1:
        return Buffer.concat([bytes.subarray(0, at), random.bytes(1 + random.below(4)), bytes.subarray(at)]);
      case 2:
        return Buffer.concat([
          bytes.subarray(0, at),
          bytes.subarray(Math.min(bytes.length, at + 1 + random.below(20))),
        ]);
      case 3: {
        const copy = Buffer.from(bytes);
        if (at < copy.length) copy[at] = random.below(256);
        return copy;
      }
      default:
        return Buffer.concat([
          bytes.subarray(0, at),
          Buffer.from(random.pick(['\r\n', '\r\n\r\n', '\0', ' ', ':', ';', ',', '0\r\n\r\n'])),
          bytes.subarray(at),
        ]);
    }
  }
}

function timestampOf(ms: number): string {
  return new Date(ms).toISOString().replace(/[-:]|\.\d{3}/g, '');
}
