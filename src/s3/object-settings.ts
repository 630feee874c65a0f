/** What clients set and ask of an object that is there: tags, ACL, retention, legal hold, attributes. */
import { bucketOwner, denied, objectGrants, objectOwner, publicAccess, requireAccess } from './access.js';
import { aclXml, grantsFromHeaders, grantsFromXml, isPublicList, ownerOf } from './acl.js';
import { type Answer, type Call, type Headers, xmlAnswer } from './call.js';
import { checkRead } from './conditions.js';
import {
  checkRetentionChange,
  readLegalHold,
  readRetention,
  writeLegalHold,
  writeRetention,
} from './lock-documents.js';
import { partSizes } from './object-attributes.js';
import { bypasses, requireLock } from './object-lock.js';
import type { StoredObject } from './object-store.js';
import { findObject, identityHeaders } from './read-object.js';
import { receiveDocument } from './receive-body.js';
import { S3Error } from './s3-error.js';
import { OBJECT_TAGS_MAX, readTagging, writeTagging } from './tagging.js';
import { versionOf } from './versions.js';
import { checksumXml, requestTags } from './write-object.js';
import { document, element, malformed, readXml } from './xml.js';

const DOCUMENT_BYTES_MAX = 64 * 1024;
const PARTS_PER_PAGE = 1000;

/** `permission`: of the object's list; without it, no list gives this. */
async function open(call: Call, action: string, writes: boolean, permission?: 'READ' | 'READ_ACP' | 'WRITE_ACP') {
  const bucket = await call.parts.store.bucket(call.request.bucket);
  const wanted = { action: `s3:${action}`, writes, ...(permission !== undefined && { permission }) };
  return { bucket, object: await findObject(call, bucket, wanted) };
}

/** Retention and hold have no action of their own for versions. InvalidRequest where the bucket has no object lock. */
async function openLocked(call: Call, action: string, writes: boolean) {
  const bucket = await call.parts.store.bucket(call.request.bucket);
  requireLock(bucket);
  const named = `s3:${action}`;
  return { bucket, object: await findObject(call, bucket, { action: named, versionAction: named, writes }) };
}

function received({ request, identity }: Call): Promise<Buffer> {
  return receiveDocument(request, identity.payload, DOCUMENT_BYTES_MAX);
}

function versionHeader(object: StoredObject): Headers {
  return object.own?.version === undefined ? {} : { 'x-amz-version-id': versionOf(object) };
}

export async function getTags(call: Call): Promise<Answer> {
  const { object } = await open(call, 'GetObjectTagging', false);
  return xmlAnswer(document('Tagging', writeTagging(object.own?.tags ?? [])), versionHeader(object));
}

export async function putTags(call: Call): Promise<Answer> {
  const { object, bucket } = await open(call, 'PutObjectTagging', true);
  const tags = readTagging(await received(call), OBJECT_TAGS_MAX);
  // What the policy says of the tags that come is known only by now.
  requireAccess(
    call,
    bucket,
    { action: 's3:PutObjectTagging', writes: true },
    { key: object.key, own: object.own, isObjectThere: true, conditions: requestTags(tags) },
  );
  await call.parts.writes.changeAttributes(object, () => ({ tags }));
  return { status: 200, headers: versionHeader(object) };
}

export async function deleteTags(call: Call): Promise<Answer> {
  const { object } = await open(call, 'DeleteObjectTagging', true);
  await call.parts.writes.changeAttributes(object, () => ({ tags: undefined }));
  return { status: 204, headers: versionHeader(object) };
}

export async function getAcl(call: Call): Promise<Answer> {
  const { bucket, object } = await open(call, 'GetObjectAcl', false, 'READ_ACP');
  const { users } = call.parts;
  const owner = ownerOf(objectOwner(call, bucket, object.own), users);
  return xmlAnswer(aclXml(owner, objectGrants(call, bucket, object.own), users), versionHeader(object));
}

export async function putAcl(call: Call): Promise<Answer> {
  const { request, identity, parts } = call;
  const { bucket, object } = await open(call, 'PutObjectAcl', true, 'WRITE_ACP');
  const text = await receiveDocument(request, identity.payload, DOCUMENT_BYTES_MAX);
  const owner = objectOwner(call, bucket, object.own);
  const fromHeaders = grantsFromHeaders(request, owner, bucketOwner(call, bucket), parts.users);
  if (fromHeaders === undefined && text.length === 0) throw malformed('The request has no access control list.');
  const said = fromHeaders === undefined ? grantsFromXml(readXml(text, 'AccessControlPolicy'), parts.users) : undefined;
  const grants = fromHeaders ?? said!.grants;
  if (bucket.info.ownership === 'BucketOwnerEnforced')
    throw new S3Error('AccessControlListNotSupported', 'The bucket does not allow ACLs');
  if (publicAccess(bucket).blockAcls && isPublicList(grants)) throw denied();
  if (said !== undefined && said.owner !== '' && said.owner !== owner) throw denied();
  const acl = grants.map(([grantee, permission]): [string, string] => [grantee, permission]);
  await parts.writes.changeAttributes(object, () => ({ acl, owner }));
  return { status: 200, headers: versionHeader(object) };
}

export async function getRetention(call: Call): Promise<Answer> {
  const { object } = await openLocked(call, 'GetObjectRetention', false);
  if (object.own?.retention === undefined) throw notLocked();
  return xmlAnswer(document('Retention', writeRetention(object.own.retention)));
}

export async function putRetention(call: Call): Promise<Answer> {
  const { bucket, object } = await openLocked(call, 'PutObjectRetention', true);
  const nowMs = call.parts.clock.nowMs();
  const retention = readRetention(await received(call), nowMs);
  const canBypass = bypasses(call, bucket);
  await call.parts.writes.changeAttributes(object, (own) => {
    checkRetentionChange(own?.retention, retention, canBypass, nowMs);
    return { retention };
  });
  return { status: 200 };
}

export async function getLegalHold(call: Call): Promise<Answer> {
  const { object } = await openLocked(call, 'GetObjectLegalHold', false);
  if (object.own?.hasLegalHold === undefined) throw notLocked();
  return xmlAnswer(document('LegalHold', writeLegalHold(object.own.hasLegalHold)));
}

export async function putLegalHold(call: Call): Promise<Answer> {
  const { object } = await openLocked(call, 'PutObjectLegalHold', true);
  const hasLegalHold = readLegalHold(await received(call));
  await call.parts.writes.changeAttributes(object, () => ({ hasLegalHold }));
  return { status: 200 };
}

function notLocked(): S3Error {
  return new S3Error('NoSuchObjectLockConfiguration', 'The specified object does not have a ObjectLock configuration');
}

/** GetObjectAttributes: only what the request names. */
export async function getAttributes(call: Call): Promise<Answer> {
  const { request } = call;
  const { bucket, object } = await open(call, 'GetObjectAttributes', false, 'READ');
  const names = new Set((request.header('x-amz-object-attributes') ?? '').split(',').map((name) => name.trim()));
  names.delete('');
  const known = ['ETag', 'Checksum', 'ObjectParts', 'StorageClass', 'ObjectSize'];
  if (names.size === 0 || [...names].some((name) => !known.includes(name)))
    throw new S3Error('InvalidArgument', 'Invalid attribute name specified.', {
      fields: { ArgumentName: 'x-amz-object-attributes' },
    });
  checkRead(request, { etag: object.etag, mtime: object.node.mtime });
  const { own, isOwnContent, node } = object;
  const checksum = isOwnContent ? own?.checksum : undefined;
  const xml = [
    names.has('ETag') ? element('ETag', object.etag) : '',
    names.has('Checksum') && checksum !== undefined ? `<Checksum>${checksumXml(checksum)}</Checksum>` : '',
    names.has('ObjectParts') ? partsXml(call, object) : '',
    names.has('StorageClass') ? element('StorageClass', 'STANDARD') : '',
    names.has('ObjectSize') ? element('ObjectSize', node.sizeBytes) : '',
  ];
  const { etag: _etag, ...headers } = identityHeaders(bucket, object);
  return xmlAnswer(document('GetObjectAttributesResponse', xml.join('')), headers);
}

function partsXml({ request }: Call, { own, isOwnContent }: StoredObject): string {
  if (own?.parts === undefined || !isOwnContent) return '';
  const sizes = partSizes(own.parts);
  const header = (name: string) => Number(request.header(name) ?? Number.NaN);
  const after = Number.isInteger(header('x-amz-part-number-marker')) ? header('x-amz-part-number-marker') : 0;
  const limit = Number.isInteger(header('x-amz-max-parts'))
    ? Math.min(PARTS_PER_PAGE, header('x-amz-max-parts'))
    : PARTS_PER_PAGE;
  const shown = sizes
    .map((size, i) => ({ number: i + 1, size }))
    .filter(({ number }) => number > after)
    .slice(0, limit);
  const sum = (number: number) => {
    const value = own.partChecksums?.[number - 1];
    return own.checksum === undefined || value === undefined ? '' : element(`Checksum${own.checksum.name}`, value);
  };
  // Sizes of single parts are told only where they have checksums: so AWS does.
  const parts =
    own.checksum === undefined
      ? ''
      : shown
          .map(
            ({ number, size }) => `<Part>${element('PartNumber', number)}${element('Size', size)}${sum(number)}</Part>`,
          )
          .join('');
  const last = shown.at(-1)?.number ?? after;
  return `<ObjectParts>${element('PartsCount', sizes.length)}${element('PartNumberMarker', after)}${element('NextPartNumberMarker', last)}${element('MaxParts', limit)}${element('IsTruncated', last < sizes.length)}${parts}</ObjectParts>`;
}
