/** ListObjectVersions: the keys of the bucket and of its heads (versions.ts) side by side, and for each key its versions, newest first. */
import { objectOwner, requireAccess } from './access.js';
import { ownerXml } from './buckets.js';
import { type Answer, type Call, xmlAnswer } from './call.js';
import { keyOf } from './key-path.js';
import { groupOf, isoTime, KEYS_MAX, keyEncoder } from './list-objects.js';
import type { StoredObject } from './object-store.js';
import { S3Error } from './s3-error.js';
import { VersionWalk } from './version-walk.js';
import { versionOf } from './versions.js';
import { document, element } from './xml.js';

interface Listed {
  readonly object: StoredObject;
  readonly isLatest: boolean;
}

export async function listVersions(call: Call): Promise<Answer> {
  const { request, parts } = call;
  const bucket = await parts.store.bucket(request.bucket);
  requireAccess(call, bucket, { action: 's3:ListBucketVersions', bucketPermission: 'READ', writes: false });
  const { encode, type } = keyEncoder(call);
  const prefix = keyOf(request.query('prefix') ?? '');
  const delimiter = keyOf(request.query('delimiter') ?? '');
  const keyMarker = keyOf(request.query('key-marker') ?? '');
  const idMarker = request.query('version-id-marker') ?? '';
  if (idMarker !== '' && keyMarker === '')
    throw new S3Error('InvalidArgument', 'A version-id marker cannot be specified without a key marker.');
  const limit = Math.min(KEYS_MAX, request.number('max-keys', 0, 2 ** 31 - 1) ?? KEYS_MAX);
  const heads = await parts.versions.heads(bucket, false);
  // A key of which some versions have been listed comes once more.
  const after = idMarker === '' ? keyMarker : before(keyMarker);
  const options = { prefix, after, page: limit };
  const versions = new VersionWalk(parts, bucket, heads, options);
  const passed = delimiter === '' ? undefined : groupOf(keyMarker, prefix, delimiter);
  const listed: Listed[] = [];
  const prefixes: string[] = [];
  let last: { key: string; id: string } | undefined;
  let isTruncated = false;
  walk: for (;;) {
    const key = await versions.peek();
    if (key === undefined) break;
    const group = delimiter === '' ? undefined : groupOf(key, prefix, delimiter);
    if (group !== undefined) {
      if (group !== passed) {
        if (listed.length + prefixes.length === limit) {
          isTruncated = true;
          break;
        }
        prefixes.push(group);
        last = { key: group, id: '' };
      }
      versions.skip(group);
      continue;
    }
    const found = (await versions.next())!;
    let isPast = key !== keyMarker || idMarker === '';
    let isLatest = true;
    for await (const object of versions.versionsOf(found)) {
      const isShown = isPast;
      if (!isPast && versionOf(object) === idMarker) isPast = true;
      if (isShown) {
        if (listed.length + prefixes.length === limit) {
          isTruncated = true;
          break walk;
        }
        listed.push({ object, isLatest });
        last = { key, id: versionOf(object) };
      }
      isLatest = false;
    }
  }
  if (limit === 0) isTruncated = false;
  const head = [
    element('Name', bucket.name),
    `<Prefix>${encode(prefix)}</Prefix><KeyMarker>${encode(keyMarker)}</KeyMarker>`,
    element('VersionIdMarker', idMarker),
    isTruncated && last !== undefined
      ? `<NextKeyMarker>${encode(last.key)}</NextKeyMarker>${element('NextVersionIdMarker', last.id === '' ? undefined : last.id)}`
      : '',
    element('MaxKeys', limit),
    delimiter === '' ? '' : `<Delimiter>${encode(delimiter)}</Delimiter>`,
    element('EncodingType', type),
    element('IsTruncated', isTruncated),
  ];
  let xml = head.join('');
  for (const { object, isLatest } of listed) {
    const { key, node, etag, own: attributes } = object;
    const about = `<Key>${encode(key)}</Key>${element('VersionId', versionOf(object))}${element('IsLatest', isLatest)}<LastModified>${isoTime(node.mtime)}</LastModified>`;
    const owner = ownerXml(call, objectOwner(call, bucket, attributes));
    xml +=
      attributes?.isMarker === true
        ? `<DeleteMarker>${about}${owner}</DeleteMarker>`
        : `<Version>${about}<ETag>&quot;${etag}&quot;</ETag><Size>${node.sizeBytes}</Size>${owner}<StorageClass>STANDARD</StorageClass></Version>`;
  }
  for (const one of prefixes) xml += `<CommonPrefixes><Prefix>${encode(one)}</Prefix></CommonPrefixes>`;
  return xmlAnswer(document('ListVersionsResult', xml));
}

/** A string right before the key in byte order, as far as keys go. */
function before(key: string): string {
  const last = key.charCodeAt(key.length - 1);
  return last === 0 ? key.slice(0, -1) : key.slice(0, -1) + String.fromCharCode(last - 1) + '\xff'.repeat(1025);
}
