/** ListObjectVersions: the keys of the bucket and of its heads (versions.ts) side by side, and for each key its versions, newest first. */
import { objectOwner, requireAccess } from './access.js';
import { ownerXml } from './buckets.js';
import { type Answer, type Call, xmlAnswer } from './call.js';
import { keyOf } from './key-path.js';
import { KeyWalk, type WalkedKey } from './key-walk.js';
import { groupOf, isoTime, KEYS_MAX, keyEncoder } from './list-objects.js';
import type { StoredObject } from './object-store.js';
import { S3Error } from './s3-error.js';
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
  const own = new Side(new KeyWalk(parts.store.tree, bucket.ino, options));
  const others = new Side(heads === undefined ? undefined : new KeyWalk(parts.store.tree, heads.ino, options));
  const passed = delimiter === '' ? undefined : groupOf(keyMarker, prefix, delimiter);
  const listed: Listed[] = [];
  const prefixes: string[] = [];
  let last: { key: string; id: string } | undefined;
  let isTruncated = false;
  walk: for (;;) {
    const [a, b] = [await own.peek(), await others.peek()];
    const key = a === undefined ? b?.key : b === undefined || a.key < b.key ? a.key : b.key;
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
      own.skip(group);
      others.skip(group);
      continue;
    }
    const present = a?.key === key ? own.take() : undefined;
    const head = b?.key === key ? others.take() : undefined;
    let isPast = key !== keyMarker || idMarker === '';
    let isLatest = true;
    for await (const object of versionsOf(call, key, present, head)) {
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

/** Every version of a key, the present one first. */
async function* versionsOf(
  call: Call,
  key: string,
  present: WalkedKey | undefined,
  head: WalkedKey | undefined,
): AsyncGenerator<StoredObject> {
  const { store, versions } = call.parts;
  if (present !== undefined) {
    const object = await store.object(key, present.parent, present.name, present.node);
    if (object !== undefined) yield object;
  }
  if (head !== undefined) yield* versions.list(await versions.directoryOf(head.node.ino), key);
}

/** A walk of which one can see the next key without taking it. */
class Side {
  readonly #walk: KeyWalk | undefined;
  #next: WalkedKey | undefined;

  constructor(walk: KeyWalk | undefined) {
    this.#walk = walk;
  }

  async peek(): Promise<WalkedKey | undefined> {
    this.#next ??= await this.#walk?.next();
    return this.#next;
  }

  take(): WalkedKey | undefined {
    const next = this.#next;
    this.#next = undefined;
    return next;
  }

  skip(prefix: string): void {
    if (this.#next?.key.startsWith(prefix)) this.#next = undefined;
    this.#walk?.skip(prefix);
  }
}

/** A string right before the key in byte order, as far as keys go. */
function before(key: string): string {
  const last = key.charCodeAt(key.length - 1);
  return last === 0 ? key.slice(0, -1) : key.slice(0, -1) + String.fromCharCode(last - 1) + '\xff'.repeat(1025);
}
