/** PUT, COPY and DELETE of objects. */
import { createHash } from 'node:crypto';
import { hasCode } from '../errors/cairn-error.js';
import { bucketOwner, denied, mayAccess, publicAccess, requireAccess, WRITE_OBJECT } from './access.js';
import { type Grant, grantsFromHeaders, isPublicList } from './acl.js';
import type { Bucket } from './bucket-config.js';
import { type Answer, type Call, type Headers, xmlAnswer } from './call.js';
import { checksumHeader, checksumNamed, checksumType } from './checksums.js';
import { checkRead, checkWrite } from './conditions.js';
import { refuseEncryption } from './encryption.js';
import { keyOf, keyText } from './key-path.js';
import { isoTime } from './list-objects.js';
import { userMetadata } from './object-attributes.js';
import { expirationHeaders } from './object-end.js';
import { lockForNewObject, mayRemove } from './object-lock.js';
import type { StoredObject } from './object-store.js';
import type { NewObject, OwnAttributes } from './object-writes.js';
import { OBJECT_BYTES_MAX, receiveDocument, receiveObject } from './receive-body.js';
import { notImplemented, S3Error, toS3Error } from './s3-error.js';
import { checkKey } from './s3-request.js';
import { parseTagHeader } from './tagging.js';
import { versionOf, writtenVersion } from './versions.js';
import { document, element, escapeXml, malformed, readXml } from './xml.js';

const FOR_BUCKET_OWNER = 'bucket-owner-full-control';
const COPY_ATTEMPTS_MAX = 10;
const METADATA_BYTES_MAX = 2 * 1024;
const DELETE_KEYS_MAX = 1000;
const DELETE_DOCUMENT_BYTES_MAX = 2 * 1024 * 1024;
const DELETE_CONDITIONS = ['if-match', 'x-amz-if-match-size', 'x-amz-if-match-last-modified-time'];
const KEPT_HEADERS = [
  'content-type',
  'cache-control',
  'content-disposition',
  'content-encoding',
  'content-language',
  'expires',
  'x-amz-website-redirect-location',
];

/** Headers that an object keeps and is answered with. */
export function keptHeaders(call: Call): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const name of KEPT_HEADERS) {
    let value = call.request.header(name);
    // The encoding of the request's body is not the object's.
    if (name === 'content-encoding')
      value = value?.replace(/(?:^|,\s*)aws-chunked(?=\s*(?:,|$))/gi, '').replace(/^\s*,\s*/, '');
    if (value !== undefined && value !== '') headers[name] = value;
  }
  return headers;
}

/** MetadataTooLarge. */
export function metadataOf(call: Call): [string, string][] {
  const metadata: [string, string][] = [];
  let bytes = 0;
  for (const name of call.request.headers.keys()) {
    if (!name.startsWith('x-amz-meta-')) continue;
    const own = name.slice('x-amz-meta-'.length);
    const value = call.request.header(name)!;
    bytes += own.length + value.length;
    if (own !== '') metadata.push([own, value]);
  }
  if (bytes > METADATA_BYTES_MAX)
    throw new S3Error('MetadataTooLarge', 'Your metadata headers exceed the maximum allowed metadata size', {
      fields: { Size: String(bytes), MaxSizeAllowed: String(METADATA_BYTES_MAX) },
    });
  return metadata;
}

/** NotImplemented: what would make another object of it. */
export function refuseNotOffered(call: Call): void {
  const { request } = call;
  // Ignoring it would replace the object instead of adding to it.
  if (request.header('x-amz-write-offset-bytes') !== undefined) throw notImplemented('Appending to an object');
  refuseEncryption(call);
}

function checkStorageClass(call: Call): void {
  const name = call.request.header('x-amz-storage-class');
  if (name !== undefined && name !== 'STANDARD')
    throw new S3Error('InvalidStorageClass', 'The storage class you specified is not valid.');
}

/** The grants that a new object gets; undefined: only its owner's. */
export function newGrants(call: Call, bucket: Bucket): Grant[] | undefined {
  const owner = newOwner(call, bucket);
  const grants = grantsFromHeaders(call.request, owner, bucketOwner(call, bucket), call.parts.users);
  if (grants === undefined) return undefined;
  const canned = call.request.header('x-amz-acl');
  const isForOwner =
    canned === undefined ? grants.every(([grantee]) => grantee === `id:${owner}`) : canned === FOR_BUCKET_OWNER;
  if (bucket.info.ownership === 'BucketOwnerEnforced' && !isForOwner)
    throw new S3Error('AccessControlListNotSupported', 'The bucket does not allow ACLs');
  if (publicAccess(bucket).blockAcls && isPublicList(grants)) throw denied();
  return grants;
}

/** Whose a new object is: its writer's, unless the bucket's ownership controls say otherwise. */
export function newOwner(call: Call, bucket: Bucket): string {
  const { ownership } = bucket.info;
  const isGivenUp = ownership === 'BucketOwnerPreferred' && call.request.header('x-amz-acl') === FOR_BUCKET_OWNER;
  if (ownership === 'BucketOwnerEnforced' || isGivenUp) return bucketOwner(call, bucket);
  return call.identity.user?.id ?? bucketOwner(call, bucket);
}

/** What policies may ask of the tags and lists that a request brings. */
export function requestTags(tags: readonly (readonly [string, string])[]): Map<string, readonly string[]> {
  const values = new Map<string, readonly string[]>(
    tags.map(([name, value]) => [`s3:requestobjecttag/${name.toLowerCase()}`, [value]]),
  );
  if (tags.length > 0)
    values.set(
      's3:requestobjecttagkeys',
      tags.map(([name]) => name),
    );
  return values;
}

/** The sender may make this object, as the headers say it: AccessDenied, NotImplemented, InvalidStorageClass. */
export function requireNewObject(
  call: Call,
  bucket: Bucket,
  key: string,
  conditions: ReadonlyMap<string, readonly string[]>,
): void {
  requireAccess(call, bucket, WRITE_OBJECT, { key, conditions });
  refuseNotOffered(call);
  checkStorageClass(call);
}

/** What is kept of a new object beside its bytes; what it has not is left out. */
export function ownAttributes(
  call: Call,
  bucket: Bucket,
  given: Pick<OwnAttributes, 'etag' | 'headers'> & {
    readonly grants: readonly Grant[] | undefined;
    readonly tags: OwnAttributes['tags'];
    readonly checksum?: OwnAttributes['checksum'];
    readonly lock: ReturnType<typeof lockForNewObject>;
  },
): OwnAttributes {
  const { etag, headers, grants, tags, checksum, lock } = given;
  return {
    etag,
    headers,
    owner: newOwner(call, bucket),
    ...(grants !== undefined && { acl: grants as [string, string][] }),
    ...(tags !== undefined && tags.length > 0 && { tags }),
    ...(checksum !== undefined && { checksum }),
    ...lock,
  };
}

/** Where the sender reaches an object, as an answer says it. */
export function locationOf({ request }: Call, bucket: Bucket, key: string): string {
  return `http://${request.header('host') ?? ''}/${bucket.name}/${encodeURI(keyText(key))}`;
}

export async function putObject(call: Call): Promise<Answer> {
  const { request, parts, identity } = call;
  const bucket = await parts.store.bucket(request.bucket);
  const key = request.key!;
  const tags = parseTagHeader(request.header('x-amz-tagging'));
  requireNewObject(call, bucket, key, requestTags(tags));
  const metadata = metadataOf(call);
  const grants = newGrants(call, bucket);
  const lock = lockForNewObject(call, bucket);
  // Early, so that a large body is not taken for nothing; decided in the publication.
  if (request.header('if-match') !== undefined || request.header('if-none-match') !== undefined)
    checkWrite(request, await parts.store.find(bucket, key));
  const asked = await parts.store.chunkPolicy(bucket, key);
  const { content, md5, checksum } = await receiveObject(request, identity.payload, parts.store.tree, asked);
  const etag = md5.toString('hex');
  const own = ownAttributes(call, bucket, { etag, headers: keptHeaders(call), grants, tags, checksum, lock });
  const { version } = await parts.writes.put(bucket, key, { content, own, metadata }, (present) =>
    checkWrite(request, present),
  );
  const now = { modifiedMs: parts.clock.nowMs(), sizeBytes: content.sizeBytes, tags };
  const headers: Headers = {
    etag: `"${etag}"`,
    'x-amz-version-id': writtenVersion(version),
    ...expirationHeaders(bucket, key, now),
  };
  if (checksum !== undefined) {
    headers[checksumHeader(checksum.name)] = checksum.value;
    headers['x-amz-checksum-type'] = 'FULL_OBJECT';
  }
  return { status: 200, headers };
}

/** The object that x-amz-copy-source names, readable by the sender. */
export async function copySource(
  call: Call,
): Promise<{ readonly bucket: Bucket; readonly object: StoredObject; readonly version: string | undefined }> {
  const { request, parts } = call;
  const header = request.header('x-amz-copy-source') ?? '';
  const mark = header.lastIndexOf('?versionId=');
  const rawPath = mark < 0 ? header : header.slice(0, mark);
  const version = mark < 0 ? undefined : header.slice(mark + '?versionId='.length);
  let path: string;
  try {
    path = decodeURIComponent(rawPath).replace(/^\//, '');
  } catch (cause) {
    throw new S3Error('InvalidArgument', 'Copy Source must mention the source bucket and key: sourcebucket/sourcekey', {
      cause,
    });
  }
  const slash = path.indexOf('/');
  if (slash < 1 || slash === path.length - 1)
    throw new S3Error('InvalidArgument', 'Copy Source must mention the source bucket and key: sourcebucket/sourcekey', {
      fields: { ArgumentName: 'x-amz-copy-source' },
    });
  const bucket = await parts.store.bucket(path.slice(0, slash));
  const key = keyOf(path.slice(slash + 1));
  const object =
    version === undefined
      ? await parts.store.findWritten(bucket, key)
      : await parts.versions.find(bucket, key, version);
  const action = version === undefined ? 's3:GetObject' : 's3:GetObjectVersion';
  const isAllowed = mayAccess(
    call,
    bucket,
    { action, objectPermission: 'READ', bucketPermission: 'READ', writes: false },
    { key, own: object?.own, isObjectThere: object !== undefined },
  );
  if (!isAllowed) throw denied();
  if (object === undefined)
    throw new S3Error(version === undefined ? 'NoSuchKey' : 'NoSuchVersion', 'The specified key does not exist.');
  if (object.own?.isMarker === true)
    throw new S3Error(
      'InvalidRequest',
      'The source of a copy request may not specifically refer to a delete marker by version id.',
    );
  checkRead(request, { etag: object.etag, mtime: object.node.mtime }, 'x-amz-copy-source-');
  return { bucket, object, version: version ?? (bucket.info.versioning === undefined ? undefined : versionOf(object)) };
}

export function copyObject(call: Call): Promise<Answer> {
  return untilSourceStands(() => copyOnce(call));
}

/** What copies, once more where its source changed under it. */
export async function untilSourceStands<T>(copy: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await copy();
    } catch (error) {
      if (!hasCode(error, 'CONFLICT') || attempt === COPY_ATTEMPTS_MAX) throw error;
    }
  }
}

async function copyOnce(call: Call): Promise<Answer> {
  const { request, parts } = call;
  const bucket = await parts.store.bucket(request.bucket);
  const key = request.key!;
  const replacesTags = request.header('x-amz-tagging-directive') === 'REPLACE';
  const newTags = replacesTags ? parseTagHeader(request.header('x-amz-tagging')) : [];
  const conditions = new Map(requestTags(newTags)).set('s3:x-amz-copy-source', [
    request.header('x-amz-copy-source') ?? '',
  ]);
  requireNewObject(call, bucket, key, conditions);
  const directive = request.header('x-amz-metadata-directive') ?? 'COPY';
  if (directive !== 'COPY' && directive !== 'REPLACE')
    throw new S3Error('InvalidArgument', 'Unknown metadata directive.');
  const source = await copySource(call);
  const { object } = source;
  const isSame = source.bucket.ino === bucket.ino && object.key === key;
  const changesSomething =
    directive === 'REPLACE' ||
    replacesTags ||
    source.version !== undefined ||
    request.header('x-amz-website-redirect-location') !== undefined;
  if (isSame && !changesSomething)
    throw new S3Error(
      'InvalidRequest',
      "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
    );
  if (object.node.sizeBytes > OBJECT_BYTES_MAX)
    throw new S3Error(
      'InvalidRequest',
      `The specified copy source is larger than the maximum allowable size for a copy source: ${OBJECT_BYTES_MAX}`,
    );
  const grants = newGrants(call, bucket);
  const checksum = await copiedChecksum(call, object);
  const tags = replacesTags ? newTags : object.own?.tags;
  const own = ownAttributes(call, bucket, {
    etag: object.etag,
    headers: directive === 'REPLACE' ? keptHeaders(call) : (object.own?.headers ?? {}),
    grants,
    tags,
    checksum,
    lock: lockForNewObject(call, bucket),
  });
  const metadata = directive === 'REPLACE' ? metadataOf(call) : userMetadata(object.attributes);
  const { content, sources } = await contentOf(call, object);
  const made: NewObject = { content, ...(sources.length > 0 && { sources }), own, metadata };
  const { version } = await parts.writes.put(bucket, key, made, (present) => checkWrite(request, present));
  const copied = await parts.store.find(bucket, key);
  const modified = copied?.node.mtime ?? parts.clock.now();
  return xmlAnswer(
    document(
      'CopyObjectResult',
      `${element('LastModified', isoTime(modified))}<ETag>&quot;${own.etag}&quot;</ETag>${checksumXml(checksum)}`,
    ),
    { 'x-amz-version-id': version, 'x-amz-copy-source-version-id': source.version },
  );
}

export function checksumXml(checksum: OwnAttributes['checksum']): string {
  if (checksum === undefined) return '';
  return `${element(`Checksum${checksum.name}`, checksum.value)}${element('ChecksumType', checksumType(checksum))}`;
}

/** The extents of a file that stands, for another to be made of them. */
async function contentOf(
  call: Call,
  object: StoredObject,
): Promise<{ content: NewObject['content']; sources: NonNullable<NewObject['sources']> }> {
  const { ino, version, ctime, sizeBytes, isDirectory } = object.node;
  if (isDirectory || sizeBytes === 0)
    return { content: { sizeBytes: 0, extents: [], tail: new Uint8Array(0) }, sources: [] };
  const extents = await call.parts.store.tree.extents(ino);
  return { content: { sizeBytes, extents, tail: new Uint8Array(0) }, sources: [{ ino, version, ctime }] };
}

/** The checksum of a copy: the source's own, or the one that is asked for, for which the bytes must be read. */
async function copiedChecksum(call: Call, object: StoredObject): Promise<OwnAttributes['checksum']> {
  const kept = object.isOwnContent ? object.own?.checksum : undefined;
  const named = call.request.header('x-amz-checksum-algorithm');
  const name = named === undefined ? undefined : checksumNamed(named);
  if (named !== undefined && name === undefined)
    throw new S3Error('InvalidRequest', 'Checksum algorithm provided is unsupported.');
  if (name === undefined || (kept?.name === name && kept.isComposite !== true)) return kept;
  return { name, value: await call.parts.checksumOf(object, name) };
}

export async function deleteObject(call: Call): Promise<Answer> {
  const { request, parts } = call;
  const bucket = await parts.store.bucket(request.bucket);
  const version = request.query('versionId');
  const { isMarker, told } = await deleteOne(call, bucket, request.key!, version);
  return { status: 204, headers: { 'x-amz-version-id': told, 'x-amz-delete-marker': isMarker ? 'true' : undefined } };
}

/** AccessDenied, PreconditionFailed. */
async function deleteOne(
  call: Call,
  bucket: Bucket,
  key: string,
  version: string | undefined,
  more?: (present: StoredObject) => void,
): Promise<{ readonly isMarker: boolean; readonly told: string | undefined }> {
  const { parts } = call;
  const action = version === undefined ? 's3:DeleteObject' : 's3:DeleteObjectVersion';
  requireAccess(call, bucket, { action, bucketPermission: 'WRITE', writes: true }, { key });
  if (version === '') throw new S3Error('InvalidArgument', 'Version id cannot be the empty string');
  // The answer repeats it in a header.
  if (version !== undefined && !/^[\x21-\x7e]{1,256}$/.test(version))
    throw new S3Error('InvalidArgument', 'Invalid version id specified');
  const check = async (present: StoredObject | undefined): Promise<void> => {
    const marker = version === undefined && present === undefined ? await standingMarker(call, bucket, key) : undefined;
    const standing = present ?? marker;
    if (standing !== undefined) {
      checkDelete(call, standing);
      more?.(standing);
    }
    if (present !== undefined && (version !== undefined || bucket.info.versioning === undefined))
      mayRemove(call, bucket, present);
  };
  if (version === undefined) {
    const isConditional = more !== undefined || DELETE_CONDITIONS.some((name) => call.request.headers.has(name));
    if (isConditional && (await isUnknown(call, bucket, key))) return { isMarker: false, told: undefined };
    const { isMarker, version: told } = await parts.writes.remove(bucket, key, check);
    return { isMarker, told };
  }
  const { isMarker } = await parts.writes.removeVersion(bucket, key, version, check);
  return { isMarker, told: version };
}

/** Of a key that there never was there is nothing to be deleted, if it is as somebody thinks or not: no delete marker either. */
async function isUnknown({ parts }: Call, bucket: Bucket, key: string): Promise<boolean> {
  if ((await parts.store.find(bucket, key)) !== undefined) return false;
  return bucket.info.versioning === undefined || (await parts.versions.newest(bucket, key)) === undefined;
}

/** A deleted key is not an absent one: what its delete is made to depend on is held against the delete marker. */
async function standingMarker({ parts }: Call, bucket: Bucket, key: string): Promise<StoredObject | undefined> {
  if (bucket.info.versioning === undefined) return undefined;
  const newest = await parts.versions.newest(bucket, key);
  return newest?.own?.isMarker === true ? newest : undefined;
}

function checkDelete({ request }: Call, present: StoredObject): void {
  if (request.header('if-match') !== undefined) checkWrite(request, present);
  const size = request.header('x-amz-if-match-size');
  const modified = request.header('x-amz-if-match-last-modified-time');
  const failed = (condition: string) =>
    new S3Error('PreconditionFailed', 'At least one of the pre-conditions you specified did not hold', {
      fields: { Condition: condition },
    });
  if (size !== undefined && Number(size) !== present.node.sizeBytes) throw failed('x-amz-if-match-size');
  if (modified !== undefined && Math.floor(Date.parse(modified) / 1000) !== present.node.mtime.sec)
    throw failed('x-amz-if-match-last-modified-time');
}

export async function deleteObjects(call: Call): Promise<Answer> {
  const { request, parts, identity } = call;
  const bucket = await parts.store.bucket(request.bucket);
  const body = await receiveDocument(request, identity.payload, DELETE_DOCUMENT_BYTES_MAX);
  const root = readXml(body, 'Delete');
  const isQuiet = root.textOf('Quiet')?.trim() === 'true';
  const objects = root.all('Object');
  if (objects.length === 0 || objects.length > DELETE_KEYS_MAX)
    throw malformed(`There must be 1 to ${DELETE_KEYS_MAX} objects.`);
  const results: string[] = [];
  let failure: unknown;
  for (const object of objects) {
    const text = object.need('Key').text;
    const version = object.textOf('VersionId');
    const etag = object.textOf('ETag');
    const size = object.textOf('Size');
    const modified = object.textOf('LastModifiedTime');
    try {
      const key = keyOf(text);
      checkKey(key);
      const isConditional = etag !== undefined || size !== undefined || modified !== undefined;
      const check = (present: StoredObject): void => {
        const differs =
          (etag !== undefined && etag.replaceAll('"', '') !== present.etag) ||
          (size !== undefined && Number(size) !== present.node.sizeBytes) ||
          (modified !== undefined && Math.floor(Date.parse(modified) / 1000) !== present.node.mtime.sec);
        if (differs)
          throw new S3Error('PreconditionFailed', 'At least one of the pre-conditions you specified did not hold');
      };
      const { isMarker, told } = await deleteOne(call, bucket, key, version, isConditional ? check : undefined);
      if (isQuiet) continue;
      const marker = isMarker
        ? `<DeleteMarker>true</DeleteMarker>${element('DeleteMarkerVersionId', version ?? told)}`
        : '';
      results.push(`<Deleted><Key>${escapeXml(text)}</Key>${element('VersionId', version)}${marker}</Deleted>`);
    } catch (error) {
      const { error: told, isOurs } = toS3Error(error);
      if (isOurs) failure ??= error;
      results.push(
        `<Error><Key>${escapeXml(text)}</Key>${element('VersionId', version)}${element('Code', told.code)}${element('Message', told.message)}</Error>`,
      );
    }
  }
  // Our own failure is told, and logged, as such; the other keys have been deleted all the same, and may be asked for again.
  if (failure !== undefined) throw failure;
  return xmlAnswer(document('DeleteResult', results.join('')));
}

/** The MD5 of MD5s: what a multipart upload's ETag is. */
export function etagOfParts(etags: readonly string[]): string {
  const hash = createHash('md5');
  for (const etag of etags) hash.update(Buffer.from(etag, 'hex'));
  return `${hash.digest('hex')}-${etags.length}`;
}
