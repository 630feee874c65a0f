/** What clients set of a bucket: versioning, tags, ACL, policy, public access, ownership, object lock, CORS, lifecycle. */
import { randomUUID } from 'node:crypto';
import { bucketGrants, bucketOwner, denied, publicAccess, requireAccess } from './access.js';
import { aclXml, grantsFromHeaders, grantsFromXml, isPublicList, ownerOf } from './acl.js';
import {
  type Bucket,
  type BucketInfo,
  type BucketSubject,
  readSubject,
  subjectName,
  writeSubject,
} from './bucket-config.js';
import { isPublic, parsePolicy, policyOf } from './bucket-policy.js';
import { type Answer, type Call, NO_CONTENT_ANSWER, xmlAnswer } from './call.js';
import { type CorsRule, readCors, writeCors } from './cors.js';
import { readLifecycle, writeLifecycle } from './lifecycle-configuration.js';
import { readLockConfiguration, writeLockConfiguration } from './lock-documents.js';
import { lifecycleOf } from './object-end.js';
import { defaultRetention } from './object-lock.js';
import { receiveDocument } from './receive-body.js';
import { S3Error } from './s3-error.js';
import { BUCKET_TAGS_MAX, readTagging, type Tag, writeTagging } from './tagging.js';
import { document, element, malformed, readXml, type XmlElement } from './xml.js';

const DOCUMENT_BYTES_MAX = 256 * 1024;
/** What one subject's attribute may take. */
const SUBJECT_BYTES_MAX = 60 * 1024;

async function open(call: Call, action: string, writes: boolean, acl?: 'READ_ACP' | 'WRITE_ACP'): Promise<Bucket> {
  const bucket = await call.parts.store.bucket(call.request.bucket);
  requireAccess(call, bucket, { action: `s3:${action}`, writes, ...(acl !== undefined && { bucketPermission: acl }) });
  return bucket;
}

async function save(call: Call, bucket: Bucket, subject: BucketSubject, value: unknown): Promise<void> {
  const [name, bytes] = writeSubject(subject, value);
  if (bytes.length > SUBJECT_BYTES_MAX) throw new S3Error('MaxMessageLengthExceeded', 'Your request was too big.');
  await call.parts.store.tree.setAttributes(bucket.ino, new Map([[name, bytes]]));
}

async function drop(call: Call, bucket: Bucket, subject: BucketSubject): Promise<Answer> {
  await call.parts.store.tree.setAttributes(bucket.ino, new Map([[subjectName(subject), null]]));
  return NO_CONTENT_ANSWER;
}

async function saveInfo(call: Call, bucket: Bucket, change: Partial<BucketInfo>): Promise<void> {
  await save(call, bucket, 'info', {
    ...bucket.info,
    owner: bucketOwner(call, bucket),
    createdMs: bucket.createdMs,
    ...change,
  });
}

function received({ request, identity }: Call): Promise<Buffer> {
  return receiveDocument(request, identity.payload, DOCUMENT_BYTES_MAX);
}

async function body(call: Call, root: string): Promise<XmlElement> {
  return readXml(await received(call), root);
}

export async function getVersioning(call: Call): Promise<Answer> {
  const { info } = await open(call, 'GetBucketVersioning', false);
  return xmlAnswer(document('VersioningConfiguration', element('Status', info.versioning)));
}

export async function putVersioning(call: Call): Promise<Answer> {
  const bucket = await open(call, 'PutBucketVersioning', true);
  const root = await body(call, 'VersioningConfiguration');
  const status = root.textOf('Status')?.trim();
  if (status !== 'Enabled' && status !== 'Suspended')
    throw new S3Error(
      'MalformedXML',
      'The XML you provided was not well-formed or did not validate against our published schema',
    );
  if (root.textOf('MfaDelete')?.trim() === 'Enabled')
    throw new S3Error('NotImplemented', 'MFA delete is not offered by this server.');
  if (status === 'Suspended' && bucket.info.objectLock === true)
    throw new S3Error(
      'InvalidBucketState',
      'An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.',
    );
  await saveInfo(call, bucket, { versioning: status });
  await call.parts.versioningChanged();
  return { status: 200 };
}

export async function getTags(call: Call): Promise<Answer> {
  const bucket = await open(call, 'GetBucketTagging', false);
  const tags = readSubject(bucket.attributes, 'tags') as readonly Tag[] | undefined;
  if (tags === undefined) throw new S3Error('NoSuchTagSet', 'The TagSet does not exist');
  return xmlAnswer(document('Tagging', writeTagging(tags)));
}

export async function putTags(call: Call): Promise<Answer> {
  const bucket = await open(call, 'PutBucketTagging', true);
  await save(call, bucket, 'tags', readTagging(await received(call), BUCKET_TAGS_MAX));
  return NO_CONTENT_ANSWER;
}

export async function deleteTags(call: Call): Promise<Answer> {
  return drop(call, await open(call, 'PutBucketTagging', true), 'tags');
}

export async function getAcl(call: Call): Promise<Answer> {
  const bucket = await open(call, 'GetBucketAcl', false, 'READ_ACP');
  return xmlAnswer(
    aclXml(ownerOf(bucketOwner(call, bucket), call.parts.users), bucketGrants(call, bucket), call.parts.users),
  );
}

export async function putAcl(call: Call): Promise<Answer> {
  const { request, identity, parts } = call;
  const bucket = await open(call, 'PutBucketAcl', true, 'WRITE_ACP');
  const owner = bucketOwner(call, bucket);
  const document = await receiveDocument(request, identity.payload, DOCUMENT_BYTES_MAX);
  const fromHeaders = grantsFromHeaders(request, owner, owner, parts.users);
  if (fromHeaders !== undefined && document.length > 0)
    throw new S3Error('UnexpectedContent', 'This request does not support content');
  if (fromHeaders === undefined && document.length === 0) throw malformed('The request has no access control list.');
  const grants = fromHeaders ?? grantsFromXml(readXml(document, 'AccessControlPolicy'), parts.users).grants;
  if (bucket.info.ownership === 'BucketOwnerEnforced')
    throw new S3Error('AccessControlListNotSupported', 'The bucket does not allow ACLs');
  if (publicAccess(bucket).blockAcls && isPublicList(grants)) throw denied();
  await save(call, bucket, 'acl', grants);
  return { status: 200 };
}

export async function getPolicy(call: Call): Promise<Answer> {
  const bucket = await open(call, 'GetBucketPolicy', false);
  const policy = policyOf(bucket);
  if (policy === undefined) throw new S3Error('NoSuchBucketPolicy', 'The bucket policy does not exist');
  return { status: 200, headers: { 'content-type': 'application/json' }, body: policy.text };
}

export async function putPolicy(call: Call): Promise<Answer> {
  const bucket = await open(call, 'PutBucketPolicy', true);
  const policy = parsePolicy(await received(call), bucket.name);
  if (publicAccess(bucket).blockPolicy && isPublic(policy)) throw denied();
  await save(call, bucket, 'policy', { text: policy.text });
  return NO_CONTENT_ANSWER;
}

export async function deletePolicy(call: Call): Promise<Answer> {
  return drop(call, await open(call, 'DeleteBucketPolicy', true), 'policy');
}

export async function getPolicyStatus(call: Call): Promise<Answer> {
  const bucket = await open(call, 'GetBucketPolicyStatus', false);
  const policy = policyOf(bucket);
  const block = publicAccess(bucket);
  const byPolicy = policy !== undefined && isPublic(policy) && !block.restrictBuckets;
  const byList = isPublicList(bucketGrants(call, bucket)) && !block.ignoreAcls;
  return xmlAnswer(document('PolicyStatus', element('IsPublic', byPolicy || byList)));
}

export async function getPublicAccess(call: Call): Promise<Answer> {
  const bucket = await open(call, 'GetBucketPublicAccessBlock', false);
  if (readSubject(bucket.attributes, 'public-access') === undefined)
    throw new S3Error('NoSuchPublicAccessBlockConfiguration', 'The public access block configuration was not found');
  const { blockAcls, ignoreAcls, blockPolicy, restrictBuckets } = publicAccess(bucket);
  return xmlAnswer(
    document(
      'PublicAccessBlockConfiguration',
      `${element('BlockPublicAcls', blockAcls)}${element('IgnorePublicAcls', ignoreAcls)}${element('BlockPublicPolicy', blockPolicy)}${element('RestrictPublicBuckets', restrictBuckets)}`,
    ),
  );
}

export async function putPublicAccess(call: Call): Promise<Answer> {
  const bucket = await open(call, 'PutBucketPublicAccessBlock', true);
  const root = await body(call, 'PublicAccessBlockConfiguration');
  const flag = (name: string) => root.textOf(name)?.trim().toLowerCase() === 'true';
  await save(call, bucket, 'public-access', {
    blockAcls: flag('BlockPublicAcls'),
    ignoreAcls: flag('IgnorePublicAcls'),
    blockPolicy: flag('BlockPublicPolicy'),
    restrictBuckets: flag('RestrictPublicBuckets'),
  });
  return { status: 200 };
}

export async function deletePublicAccess(call: Call): Promise<Answer> {
  return drop(call, await open(call, 'PutBucketPublicAccessBlock', true), 'public-access');
}

export async function getOwnership(call: Call): Promise<Answer> {
  const { info } = await open(call, 'GetBucketOwnershipControls', false);
  if (info.ownership === undefined)
    throw new S3Error('OwnershipControlsNotFoundError', 'The bucket ownership controls were not found');
  return xmlAnswer(document('OwnershipControls', `<Rule>${element('ObjectOwnership', info.ownership)}</Rule>`));
}

export async function putOwnership(call: Call): Promise<Answer> {
  const bucket = await open(call, 'PutBucketOwnershipControls', true);
  const ownership = (await body(call, 'OwnershipControls')).need('Rule').need('ObjectOwnership').text.trim();
  if (ownership !== 'BucketOwnerEnforced' && ownership !== 'BucketOwnerPreferred' && ownership !== 'ObjectWriter')
    throw malformed('The ownership is not one.');
  const isShared = bucketGrants(call, bucket).some(([grantee]) => grantee !== `id:${bucketOwner(call, bucket)}`);
  if (ownership === 'BucketOwnerEnforced' && isShared)
    throw new S3Error(
      'InvalidBucketAclWithObjectOwnership',
      'Bucket cannot have ACLs set with ObjectOwnership BucketOwnerEnforced setting',
    );
  await saveInfo(call, bucket, { ownership });
  return { status: 200 };
}

export async function deleteOwnership(call: Call): Promise<Answer> {
  const bucket = await open(call, 'PutBucketOwnershipControls', true);
  await saveInfo(call, bucket, { ownership: undefined });
  return NO_CONTENT_ANSWER;
}

export async function getObjectLock(call: Call): Promise<Answer> {
  const bucket = await open(call, 'GetBucketObjectLockConfiguration', false);
  if (bucket.info.objectLock !== true)
    throw new S3Error(
      'ObjectLockConfigurationNotFoundError',
      'Object Lock configuration does not exist for this bucket',
    );
  return xmlAnswer(document('ObjectLockConfiguration', writeLockConfiguration(defaultRetention(bucket))));
}

export async function putObjectLock(call: Call): Promise<Answer> {
  const bucket = await open(call, 'PutBucketObjectLockConfiguration', true);
  const retention = readLockConfiguration(await received(call));
  if (bucket.info.versioning !== 'Enabled')
    throw new S3Error(
      'InvalidBucketState',
      "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
    );
  if (bucket.info.objectLock !== true) await saveInfo(call, bucket, { objectLock: true });
  await save(call, bucket, 'lock', { retention });
  return { status: 200 };
}

export async function getCors(call: Call): Promise<Answer> {
  const bucket = await open(call, 'GetBucketCORS', false);
  const rules = readSubject(bucket.attributes, 'cors') as readonly CorsRule[] | undefined;
  if (rules === undefined) throw new S3Error('NoSuchCORSConfiguration', 'The CORS configuration does not exist');
  return xmlAnswer(document('CORSConfiguration', writeCors(rules)));
}

export async function putCors(call: Call): Promise<Answer> {
  const bucket = await open(call, 'PutBucketCORS', true);
  await save(call, bucket, 'cors', readCors(await received(call)));
  return { status: 200 };
}

export async function deleteCors(call: Call): Promise<Answer> {
  return drop(call, await open(call, 'PutBucketCORS', true), 'cors');
}

export async function getLifecycle(call: Call): Promise<Answer> {
  const rules = lifecycleOf(await open(call, 'GetLifecycleConfiguration', false));
  if (rules === undefined)
    throw new S3Error('NoSuchLifecycleConfiguration', 'The lifecycle configuration does not exist');
  return xmlAnswer(document('LifecycleConfiguration', writeLifecycle(rules)));
}

export async function putLifecycle(call: Call): Promise<Answer> {
  const bucket = await open(call, 'PutLifecycleConfiguration', true);
  await save(call, bucket, 'lifecycle', readLifecycle(await received(call), randomUUID));
  return { status: 200 };
}

export async function deleteLifecycle(call: Call): Promise<Answer> {
  return drop(call, await open(call, 'PutLifecycleConfiguration', true), 'lifecycle');
}

/** Settings that are never made, and whose absence clients ask about. */
export function absent(action: string, error: S3Error): (call: Call) => Promise<Answer> {
  return async (call) => {
    await open(call, action, false);
    throw error;
  };
}

export async function getRequestPayment(call: Call): Promise<Answer> {
  await open(call, 'GetBucketRequestPayment', false);
  return xmlAnswer(document('RequestPaymentConfiguration', '<Payer>BucketOwner</Payer>'));
}
