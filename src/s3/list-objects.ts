/** ListObjects, versions 1 and 2. A page costs what it shows: keys that are grouped by the delimiter are skipped, not read. */
import type { Time } from '../io/clock.js';
import { objectOwner, requireAccess } from './access.js';
import type { Bucket } from './bucket-config.js';
import { ownerXml } from './buckets.js';
import { type Answer, type Call, xmlAnswer } from './call.js';
import { checksumType } from './checksums.js';
import { keyOf, keyText } from './key-path.js';
import { KeyWalk } from './key-walk.js';
import type { ListedObject } from './object-store.js';
import { S3Error } from './s3-error.js';
import { uriEncode } from './signature-v4.js';
import { document, element, escapeXml } from './xml.js';

export const KEYS_MAX = 1000;

interface Listing {
  readonly objects: readonly ListedObject[];
  readonly prefixes: readonly string[];
  /** Where to go on: the last key or common prefix; undefined at the end. */
  readonly next: string | undefined;
}

/** Up to `limit` keys and common prefixes after `after`. */
async function listKeys(
  call: Call,
  bucket: Bucket,
  options: { readonly prefix: string; readonly delimiter: string; readonly after: string; readonly limit: number },
): Promise<Listing> {
  const { store } = call.parts;
  const { prefix, delimiter, after, limit } = options;
  const objects: ListedObject[] = [];
  const prefixes: string[] = [];
  if (limit === 0) return { objects, prefixes, next: undefined };
  const walk = new KeyWalk(store.tree, bucket.ino, { prefix, after, page: limit, skips: delimiter !== '' });
  // A marker that is a common prefix, or lies in one, has had that prefix listed.
  const passed = delimiter === '' ? undefined : groupOf(after, prefix, delimiter);
  let last = '';
  for (;;) {
    const found = walk.nextNow() ?? (await walk.next());
    if (found === undefined) return { objects, prefixes, next: undefined };
    const group = delimiter === '' ? undefined : groupOf(found.key, prefix, delimiter);
    if (group !== undefined && group === passed) {
      walk.skip(group);
      continue;
    }
    const listed = group === undefined ? store.listed(found) : undefined;
    const object = listed instanceof Promise ? await listed : listed;
    if (group === undefined && object === undefined) continue;
    if (objects.length + prefixes.length === limit) return { objects, prefixes, next: last };
    if (object !== undefined) {
      objects.push(object);
      last = found.key;
    } else if (group !== undefined) {
      prefixes.push(group);
      last = group;
      walk.skip(group);
    }
  }
}

/** The common prefix that the key falls into; undefined if into none. */
export function groupOf(key: string, prefix: string, delimiter: string): string | undefined {
  if (!key.startsWith(prefix)) return undefined;
  const at = key.indexOf(delimiter, prefix.length);
  return at < 0 ? undefined : key.slice(0, at + delimiter.length);
}

/** Reads what the client says of encoding; the function writes a key or prefix as text of the document. */
export function keyEncoder(call: Call): {
  readonly encode: (key: string) => string;
  readonly type: string | undefined;
} {
  const type = call.request.query('encoding-type');
  if (type !== undefined && type !== 'url')
    throw new S3Error('InvalidArgument', 'Invalid Encoding Method specified in Request', {
      fields: { ArgumentName: 'encoding-type', ArgumentValue: type.slice(0, 100) },
    });
  return { type, encode: (key) => (type === 'url' ? uriEncode(keyText(key), true) : escapeXml(keyText(key))) };
}

const DAY_SECONDS = 24 * 3600;
const TWO_DIGITS = Array.from({ length: 60 }, (_, value) => String(value).padStart(2, '0'));
/** The last day that was written, `2026-11-28T`. */
let latestDay = { day: Number.NaN, text: '' };

/** As Date.toISOString writes it, to the millisecond. */
export function isoTime({ sec, nsec }: Time): string {
  const day = Math.floor(sec / DAY_SECONDS);
  if (latestDay.day !== day) latestDay = { day, text: new Date(day * DAY_SECONDS * 1000).toISOString().slice(0, -13) };
  const second = sec - day * DAY_SECONDS;
  const hours = TWO_DIGITS[Math.floor(second / 3600)];
  const minutes = TWO_DIGITS[Math.floor(second / 60) % 60];
  const ms = String(Math.floor(nsec / 1e6)).padStart(3, '0');
  return `${latestDay.text}${hours}:${minutes}:${TWO_DIGITS[second % 60]}.${ms}Z`;
}

export async function listObjects(call: Call): Promise<Answer> {
  const bucket = await call.parts.store.bucket(call.request.bucket);
  requireAccess(call, bucket, { action: 's3:ListBucket', bucketPermission: 'READ', writes: false });
  return call.request.query('list-type') === '2' ? listV2(call, bucket) : listV1(call, bucket);
}

function common(call: Call) {
  const { request } = call;
  const { encode, type } = keyEncoder(call);
  return {
    encode,
    type,
    prefix: keyOf(request.query('prefix') ?? ''),
    delimiter: keyOf(request.query('delimiter') ?? ''),
    limit: Math.min(KEYS_MAX, request.number('max-keys', 0, 2 ** 31 - 1) ?? KEYS_MAX),
  };
}

async function listV1(call: Call, bucket: Bucket): Promise<Answer> {
  const { encode, type, prefix, delimiter, limit } = common(call);
  const marker = keyOf(call.request.query('marker') ?? '');
  const { objects, prefixes, next } = await listKeys(call, bucket, { prefix, delimiter, after: marker, limit });
  const head = [
    element('Name', bucket.name),
    `<Prefix>${isSameDecoded(prefix) ? escapeXml(keyText(prefix)) : encode(prefix)}</Prefix><Marker>${encode(marker)}</Marker>`,
    next !== undefined && delimiter !== '' ? `<NextMarker>${encode(next)}</NextMarker>` : '',
    element('MaxKeys', limit),
    delimiter === '' ? '' : `<Delimiter>${encode(delimiter)}</Delimiter>`,
    element('IsTruncated', next !== undefined),
    element('EncodingType', type),
  ];
  return xmlAnswer(
    document('ListBucketResult', head.join('') + contents(call, bucket, objects, prefixes, encode, true)),
  );
}

/**
 * True for a text that stays what it is when it is decoded. S3 documents that version 1 encodes the prefix too, but botocore does not decode it where other
 * clients do: what can be written so that both read the same is written so.
 */
function isSameDecoded(prefix: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: XML 1.0 has these only as they are, or not at all
  return !/[%+\r\x00-\x08\x0b\x0c\x0e-\x1f]/.test(prefix);
}

async function listV2(call: Call, bucket: Bucket): Promise<Answer> {
  const { request } = call;
  const { encode, type, prefix, delimiter, limit } = common(call);
  const token = request.query('continuation-token');
  const startAfter = request.query('start-after');
  const after = token === undefined || token === '' ? keyOf(startAfter ?? '') : fromToken(token);
  const { objects, prefixes, next } = await listKeys(call, bucket, { prefix, delimiter, after, limit });
  const head = [
    element('Name', bucket.name),
    `<Prefix>${encode(prefix)}</Prefix>`,
    element('ContinuationToken', token),
    next === undefined ? '' : element('NextContinuationToken', toToken(next)),
    startAfter === undefined ? '' : `<StartAfter>${encode(keyOf(startAfter))}</StartAfter>`,
    element('KeyCount', objects.length + prefixes.length),
    element('MaxKeys', limit),
    delimiter === '' ? '' : `<Delimiter>${encode(delimiter)}</Delimiter>`,
    element('IsTruncated', next !== undefined),
    element('EncodingType', type),
  ];
  const withOwner = request.query('fetch-owner') === 'true';
  return xmlAnswer(
    document('ListBucketResult', head.join('') + contents(call, bucket, objects, prefixes, encode, withOwner)),
  );
}

function contents(
  call: Call,
  bucket: Bucket,
  objects: readonly ListedObject[],
  prefixes: readonly string[],
  encode: (key: string) => string,
  withOwner: boolean,
): string {
  let xml = '';
  for (const object of objects) {
    const { key, node, etag, own } = object;
    const owner = withOwner ? ownerXml(call, objectOwner(call, bucket, own)) : '';
    const checksum = object.isOwnContent ? own?.checksum : undefined;
    const sum =
      checksum === undefined
        ? ''
        : `<ChecksumAlgorithm>${checksum.name}</ChecksumAlgorithm><ChecksumType>${checksumType(checksum)}</ChecksumType>`;
    xml += `<Contents><Key>${encode(key)}</Key><LastModified>${isoTime(node.mtime)}</LastModified><ETag>&quot;${etag}&quot;</ETag>${sum}<Size>${node.sizeBytes}</Size>${owner}<StorageClass>STANDARD</StorageClass></Contents>`;
  }
  for (const prefix of prefixes) xml += `<CommonPrefixes><Prefix>${encode(prefix)}</Prefix></CommonPrefixes>`;
  return xml;
}

function toToken(key: string): string {
  return Buffer.from(key, 'latin1').toString('base64url');
}

function fromToken(token: string): string {
  const key = Buffer.from(token, 'base64url').toString('latin1');
  if (toToken(key) !== token.replace(/=+$/, ''))
    throw new S3Error('InvalidArgument', 'The continuation token provided is incorrect', {
      fields: { ArgumentName: 'continuation-token' },
    });
  return key;
}
