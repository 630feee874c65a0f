/** What clients set of a bucket: versioning, tags, ACL, policy, public access, ownership, object lock, CORS, lifecycle. */
import { bucketGrants, bucketOwner, denied, publicAccess, requireAccess } from './access.js';
import { aclXml, EVERYBODY, grantsFromHeaders, grantsFromXml, ownerOf, SIGNED_IN } from './acl.js';
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
import { type CorsRule, corsFromXml, corsXml } from './cors.js';
import { type LifecycleRule, lifecycleFromXml, lifecycleXml } from './lifecycle-rules.js';
import { type DefaultRetention, defaultRetention } from './object-lock.js';
import { BUCKET_TAGS_MAX, tagsFromXml, tagsXml } from './object-tags.js';
import { receiveDocument } from './receive-body.js';
import { S3Error } from './s3-error.js';
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

async function body(call: Call, root: string): Promise<XmlElement> {
  return readXml(await receiveDocument(call.request, call.identity.payload, DOCUMENT_BYTES_MAX), root);
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
  return { status: 200 };
}

export async function getTags(call: Call): Promise<Answer> {
  const bucket = await open(call, 'GetBucketTagging', false);
  const tags = readSubject(bucket.attributes, 'tags') as [string, string][] | undefined;
  if (tags === undefined) throw new S3Error('NoSuchTagSet', 'The TagSet does not exist');
  return xmlAnswer(tagsXml(tags));
}

export async function putTags(call: Call): Promise<Answer> {
  const bucket = await open(call, 'PutBucketTagging', true);
  await save(call, bucket, 'tags', tagsFromXml(await body(call, 'Tagging'), BUCKET_TAGS_MAX));
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
  if (publicAccess(bucket).blockAcls && grants.some(([grantee]) => grantee === EVERYBODY || grantee === SIGNED_IN))
    throw denied();
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
  const { request, identity } = call;
  const bucket = await open(call, 'PutBucketPolicy', true);
  const text = (await receiveDocument(request, identity.payload, DOCUMENT_BYTES_MAX)).toString('utf8');
  const policy = parsePolicy(text, bucket.name);
  if (publicAccess(bucket).blockPolicy && isPublic(policy)) throw denied();
  await save(call, bucket, 'policy', policy);
  return NO_CONTENT_ANSWER;
}

export async function deletePolicy(call: Call): Promise<Answer> {
  return drop(call, await open(call, 'DeleteBucketPolicy', true), 'policy');
}

export async function getPolicyStatus(call: Call): Promise<Answer> {
  const bucket = await open(call, 'GetBucketPolicyStatus', false);
  const policy = policyOf(bucket);
  const isAclPublic = bucketGrants(call, bucket).some(([grantee]) => grantee === EVERYBODY || grantee === SIGNED_IN);
  return xmlAnswer(
    document('PolicyStatus', element('IsPublic', isAclPublic || (policy !== undefined && isPublic(policy)))),
  );
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
  const retention = defaultRetention(bucket);
  const rule =
    retention === undefined
      ? ''
      : `<Rule><DefaultRetention>${element('Mode', retention.mode)}${element('Days', retention.days)}${element('Years', retention.years)}</DefaultRetention></Rule>`;
  return xmlAnswer(document('ObjectLockConfiguration', `<ObjectLockEnabled>Enabled</ObjectLockEnabled>${rule}`));
}

export async function putObjectLock(call: Call): Promise<Answer> {
  const bucket = await open(call, 'PutBucketObjectLockConfiguration', true);
  const root = await body(call, 'ObjectLockConfiguration');
  if (bucket.info.objectLock !== true) {
    if (bucket.info.versioning !== 'Enabled')
      throw new S3Error(
        'InvalidBucketState',
        'Object Lock configuration cannot be enabled on existing buckets without versioning',
      );
    await saveInfo(call, bucket, { objectLock: true });
  }
  if (root.textOf('ObjectLockEnabled')?.trim() !== 'Enabled') throw malformed('Object lock cannot be switched off.');
  const rule = root.one('Rule')?.need('DefaultRetention');
  if (rule === undefined) await drop(call, bucket, 'lock');
  else await save(call, bucket, 'lock', { retention: retentionOf(rule) });
  return { status: 200 };
}

function retentionOf(rule: XmlElement): DefaultRetention {
  const mode = rule.textOf('Mode')?.trim();
  if (mode !== 'GOVERNANCE' && mode !== 'COMPLIANCE') throw malformed('The mode is not one.');
  const [days, years] = [rule.textOf('Days')?.trim(), rule.textOf('Years')?.trim()];
  if ((days === undefined) === (years === undefined)) throw malformed('There must be days or years.');
  const count = Number(days ?? years);
  if (!Number.isInteger(count) || count <= 0 || count > (days === undefined ? 100 : 36_500))
    throw new S3Error('InvalidRetentionPeriod', 'Default retention period must be a positive integer value');
  return days === undefined ? { mode, years: count } : { mode, days: count };
}

export async function getCors(call: Call): Promise<Answer> {
  const bucket = await open(call, 'GetBucketCORS', false);
  const rules = readSubject(bucket.attributes, 'cors') as CorsRule[] | undefined;
  if (rules === undefined) throw new S3Error('NoSuchCORSConfiguration', 'The CORS configuration does not exist');
  return xmlAnswer(corsXml(rules));
}

export async function putCors(call: Call): Promise<Answer> {
  const bucket = await open(call, 'PutBucketCORS', true);
  await save(call, bucket, 'cors', corsFromXml(await body(call, 'CORSConfiguration')));
  return { status: 200 };
}

export async function deleteCors(call: Call): Promise<Answer> {
  return drop(call, await open(call, 'PutBucketCORS', true), 'cors');
}

export async function getLifecycle(call: Call): Promise<Answer> {
  const bucket = await open(call, 'GetLifecycleConfiguration', false);
  const rules = readSubject(bucket.attributes, 'lifecycle') as LifecycleRule[] | undefined;
  if (rules === undefined)
    throw new S3Error('NoSuchLifecycleConfiguration', 'The lifecycle configuration does not exist');
  return xmlAnswer(lifecycleXml(rules));
}

export async function putLifecycle(call: Call): Promise<Answer> {
  const bucket = await open(call, 'PutLifecycleConfiguration', true);
  await save(call, bucket, 'lifecycle', lifecycleFromXml(await body(call, 'LifecycleConfiguration')));
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
