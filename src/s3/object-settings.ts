/** What clients set and ask of an object that is there: tags, ACL, retention, legal hold, attributes. */
import { bucketOwner, denied, objectGrants, objectOwner, publicAccess, requireAccess } from './access.js';
import { aclXml, EVERYBODY, grantsFromHeaders, grantsFromXml, ownerOf, SIGNED_IN } from './acl.js';
import { type Answer, type Call, type Headers, xmlAnswer } from './call.js';
import { checkRead } from './conditions.js';
import type { ObjectAttributes } from './object-attributes.js';
import { partSizes } from './object-attributes.js';
import { bypasses, requireLock } from './object-lock.js';
import type { StoredObject } from './object-store.js';
import { OBJECT_TAGS_MAX, tagsFromXml, tagsXml } from './object-tags.js';
import { findObject, identityHeaders } from './read-object.js';
import { receiveDocument } from './receive-body.js';
import { S3Error } from './s3-error.js';
import { versionOf } from './versions.js';
import { checksumXml } from './write-object.js';
import { document, element, malformed, readXml, type XmlElement } from './xml.js';

const DOCUMENT_BYTES_MAX = 64 * 1024;
const PARTS_PER_PAGE = 1000;

type Permission = 'READ' | 'READ_ACP' | 'WRITE' | 'WRITE_ACP';

async function open(call: Call, action: string, permission: Permission, writes: boolean) {
  const bucket = await call.parts.store.bucket(call.request.bucket);
  const object = await findObject(call, bucket, { action: `s3:${action}`, permission, writes });
  return { bucket, object };
}

async function body(call: Call, root: string): Promise<XmlElement> {
  return readXml(await receiveDocument(call.request, call.identity.payload, DOCUMENT_BYTES_MAX), root);
}

function versionHeader(object: StoredObject): Headers {
  return object.own?.version === undefined ? {} : { 'x-amz-version-id': versionOf(object) };
}

export async function getTags(call: Call): Promise<Answer> {
  const { object } = await open(call, 'GetObjectTagging', 'READ', false);
  return xmlAnswer(tagsXml(object.own?.tags ?? []), versionHeader(object));
}

export async function putTags(call: Call): Promise<Answer> {
  const { object, bucket } = await open(call, 'PutObjectTagging', 'WRITE', true);
  const tags = tagsFromXml(await body(call, 'Tagging'), OBJECT_TAGS_MAX);
  const conditions = new Map<string, readonly string[]>(
    tags.map(([name, value]) => [`s3:requestobjecttag/${name.toLowerCase()}`, [value]]),
  );
  requireAccess(
    call,
    bucket,
    { action: 's3:PutObjectTagging', objectPermission: 'WRITE', writes: true },
    { key: object.key, own: object.own, isObjectThere: true, conditions },
  );
  await call.parts.writes.setAttributes(object, { tags });
  return { status: 200, headers: versionHeader(object) };
}

export async function deleteTags(call: Call): Promise<Answer> {
  const { object } = await open(call, 'DeleteObjectTagging', 'WRITE', true);
  await call.parts.writes.setAttributes(object, { tags: [] });
  return { status: 204, headers: versionHeader(object) };
}

export async function getAcl(call: Call): Promise<Answer> {
  const { bucket, object } = await open(call, 'GetObjectAcl', 'READ_ACP', false);
  const { users } = call.parts;
  const owner = ownerOf(objectOwner(call, bucket, object.own), users);
  return xmlAnswer(aclXml(owner, objectGrants(call, bucket, object.own), users), versionHeader(object));
}

export async function putAcl(call: Call): Promise<Answer> {
  const { request, identity, parts } = call;
  const { bucket, object } = await open(call, 'PutObjectAcl', 'WRITE_ACP', true);
  const text = await receiveDocument(request, identity.payload, DOCUMENT_BYTES_MAX);
  const owner = objectOwner(call, bucket, object.own);
  const fromHeaders = grantsFromHeaders(request, owner, bucketOwner(call, bucket), parts.users);
  if (fromHeaders === undefined && text.length === 0) throw malformed('The request has no access control list.');
  const said = fromHeaders === undefined ? grantsFromXml(readXml(text, 'AccessControlPolicy'), parts.users) : undefined;
  const grants = fromHeaders ?? said!.grants;
  if (bucket.info.ownership === 'BucketOwnerEnforced')
    throw new S3Error('AccessControlListNotSupported', 'The bucket does not allow ACLs');
  if (publicAccess(bucket).blockAcls && grants.some(([grantee]) => grantee === EVERYBODY || grantee === SIGNED_IN))
    throw denied();
  if (said !== undefined && said.owner !== '' && said.owner !== owner) throw denied();
  await parts.writes.setAttributes(object, {
    acl: grants.map(([grantee, permission]): [string, string] => [grantee, permission]),
    owner,
  });
  return { status: 200, headers: versionHeader(object) };
}

export async function getRetention(call: Call): Promise<Answer> {
  const { bucket, object } = await open(call, 'GetObjectRetention', 'READ', false);
  requireLock(bucket);
  const { retention } = object.own ?? {};
  if (retention === undefined)
    throw new S3Error('NoSuchObjectLockConfiguration', 'The specified object does not have a ObjectLock configuration');
  return xmlAnswer(
    document('Retention', `${element('Mode', retention.mode)}${element('RetainUntilDate', retention.until)}`),
  );
}

export async function putRetention(call: Call): Promise<Answer> {
  const { bucket, object } = await open(call, 'PutObjectRetention', 'WRITE', true);
  requireLock(bucket);
  const root = await body(call, 'Retention');
  const mode = root.textOf('Mode')?.trim();
  const until = root.textOf('RetainUntilDate')?.trim();
  const nowMs = call.parts.clock.nowMs();
  const before = object.own?.retention;
  const stands = before !== undefined && Date.parse(before.until) > nowMs;
  let retention: ObjectAttributes['retention'];
  if (mode !== undefined || until !== undefined) {
    if (mode !== 'GOVERNANCE' && mode !== 'COMPLIANCE') throw malformed('The mode is not one.');
    const ms = Date.parse(until ?? '');
    if (!Number.isFinite(ms)) throw malformed('The date is none.');
    retention = { mode, until: new Date(ms).toISOString() };
  }
  const isLess =
    retention === undefined ||
    (stands && Date.parse(retention.until) < Date.parse(before.until)) ||
    (stands && before.mode === 'COMPLIANCE' && retention.mode !== 'COMPLIANCE');
  const changesMode = stands && retention !== undefined && retention.mode !== before.mode;
  if (stands && (isLess || changesMode) && (before.mode === 'COMPLIANCE' ? isLess : !bypasses(call, bucket)))
    throw denied();
  await call.parts.writes.setAttributes(object, { retention });
  return { status: 200 };
}

export async function getLegalHold(call: Call): Promise<Answer> {
  const { bucket, object } = await open(call, 'GetObjectLegalHold', 'READ', false);
  requireLock(bucket);
  const { hasLegalHold } = object.own ?? {};
  if (hasLegalHold === undefined)
    throw new S3Error('NoSuchObjectLockConfiguration', 'The specified object does not have a ObjectLock configuration');
  return xmlAnswer(document('LegalHold', element('Status', hasLegalHold ? 'ON' : 'OFF')));
}

export async function putLegalHold(call: Call): Promise<Answer> {
  const { bucket, object } = await open(call, 'PutObjectLegalHold', 'WRITE', true);
  requireLock(bucket);
  const status = (await body(call, 'LegalHold')).textOf('Status')?.trim();
  if (status !== 'ON' && status !== 'OFF') throw malformed('The status is not one.');
  await call.parts.writes.setAttributes(object, { hasLegalHold: status === 'ON' });
  return { status: 200 };
}

/** GetObjectAttributes: only what the request names. */
export async function getAttributes(call: Call): Promise<Answer> {
  const { request } = call;
  const { bucket, object } = await open(call, 'GetObjectAttributes', 'READ', false);
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
  return `<ObjectParts>${element('TotalPartsCount', sizes.length)}${element('PartNumberMarker', after)}${element('NextPartNumberMarker', last)}${element('MaxParts', limit)}${element('IsTruncated', last < sizes.length)}${parts}</ObjectParts>`;
}
