/** The operations on who may use a bucket: its policy and whether that is public, the block of public access, and the ownership of objects. */
import { bucketGrants, bucketOwner, denied, publicAccess } from './access.js';
import { isPublicList } from './acl.js';
import { type Bucket, type BucketInfo, readSubject, writeSubject } from './bucket-config.js';
import { isPublic, parsePolicy, policyOf } from './bucket-policy.js';
import { bucketFor, changedInfo, keepSubject, receivedDocument } from './bucket-subjects.js';
import { type Answer, type Call, NO_CONTENT_ANSWER, xmlAnswer } from './call.js';
import { S3Error } from './s3-error.js';
import { document, element, malformed, readXml, type XmlElement } from './xml.js';

export async function getPolicy(call: Call): Promise<Answer> {
  const policy = policyOf(await bucketFor(call, 's3:GetBucketPolicy'));
  if (policy === undefined)
    throw new S3Error('NoSuchBucketPolicy', 'The bucket policy does not exist', {
      fields: { BucketName: call.request.bucket },
    });
  return { status: 200, headers: { 'content-type': 'application/json' }, body: policy.text };
}

export async function putPolicy(call: Call): Promise<Answer> {
  const bucket = await bucketFor(call, 's3:PutBucketPolicy');
  const policy = parsePolicy(await receivedDocument(call), bucket.name);
  if (publicAccess(bucket).blockPolicy && isPublic(policy)) throw denied();
  await keepSubject(call, bucket, 'policy', { text: policy.text });
  return NO_CONTENT_ANSWER;
}

export async function deletePolicy(call: Call): Promise<Answer> {
  await keepSubject(call, await bucketFor(call, 's3:DeleteBucketPolicy'), 'policy', undefined);
  return NO_CONTENT_ANSWER;
}

export async function getPolicyStatus(call: Call): Promise<Answer> {
  const bucket = await bucketFor(call, 's3:GetBucketPolicyStatus');
  const policy = policyOf(bucket);
  const block = publicAccess(bucket);
  const byPolicy = policy !== undefined && isPublic(policy) && !block.restrictBuckets;
  const byList = isPublicList(bucketGrants(call, bucket)) && !block.ignoreAcls;
  return xmlAnswer(document('PolicyStatus', element('IsPublic', byPolicy || byList)));
}

const BLOCKS = {
  BlockPublicAcls: 'blockAcls',
  IgnorePublicAcls: 'ignoreAcls',
  BlockPublicPolicy: 'blockPolicy',
  RestrictPublicBuckets: 'restrictBuckets',
} as const;

export async function getPublicAccess(call: Call): Promise<Answer> {
  const bucket = await bucketFor(call, 's3:GetBucketPublicAccessBlock');
  if (readSubject(bucket.attributes, 'public-access') === undefined)
    throw new S3Error('NoSuchPublicAccessBlockConfiguration', 'The public access block configuration was not found', {
      fields: { BucketName: bucket.name },
    });
  const block = publicAccess(bucket);
  const fields = Object.entries(BLOCKS).map(([name, field]) => element(name, block[field]));
  return xmlAnswer(document('PublicAccessBlockConfiguration', fields.join('')));
}

export async function putPublicAccess(call: Call): Promise<Answer> {
  const bucket = await bucketFor(call, 's3:PutBucketPublicAccessBlock');
  const root = readXml(await receivedDocument(call), 'PublicAccessBlockConfiguration');
  const block = Object.fromEntries(Object.entries(BLOCKS).map(([name, field]) => [field, booleanOf(root, name)]));
  await keepSubject(call, bucket, 'public-access', block);
  return { status: 200 };
}

export async function deletePublicAccess(call: Call): Promise<Answer> {
  await keepSubject(call, await bucketFor(call, 's3:PutBucketPublicAccessBlock'), 'public-access', undefined);
  return NO_CONTENT_ANSWER;
}

function booleanOf(root: XmlElement, name: string): boolean {
  const text = root.textOf(name)?.trim().toLowerCase() ?? 'false';
  if (text !== 'true' && text !== 'false') throw malformed(`${name} must be true or false.`);
  return text === 'true';
}

export async function getOwnership(call: Call): Promise<Answer> {
  const { info, name } = await bucketFor(call, 's3:GetBucketOwnershipControls');
  if (info.ownership === undefined)
    throw new S3Error('OwnershipControlsNotFoundError', 'The bucket ownership controls were not found', {
      fields: { BucketName: name },
    });
  return xmlAnswer(document('OwnershipControls', `<Rule>${element('ObjectOwnership', info.ownership)}</Rule>`));
}

export async function putOwnership(call: Call): Promise<Answer> {
  const bucket = await bucketFor(call, 's3:PutBucketOwnershipControls');
  const text = readXml(await receivedDocument(call), 'OwnershipControls')
    .need('Rule')
    .need('ObjectOwnership')
    .text.trim();
  const ownership = (['BucketOwnerEnforced', 'BucketOwnerPreferred', 'ObjectWriter'] as const).find(
    (one) => one === text,
  );
  if (ownership === undefined) throw malformed('There is no such ownership.');
  const isShared = bucketGrants(call, bucket).some(([grantee]) => grantee !== `id:${bucketOwner(call, bucket)}`);
  if (ownership === 'BucketOwnerEnforced' && isShared)
    throw new S3Error(
      'InvalidBucketAclWithObjectOwnership',
      'Bucket cannot have ACLs set with ObjectOwnership BucketOwnerEnforced setting',
    );
  await keepOwnership(call, bucket, ownership);
  return { status: 200 };
}

export async function deleteOwnership(call: Call): Promise<Answer> {
  await keepOwnership(call, await bucketFor(call, 's3:PutBucketOwnershipControls'), undefined);
  return NO_CONTENT_ANSWER;
}

async function keepOwnership(
  { parts }: Call,
  bucket: Bucket,
  ownership: BucketInfo['ownership'] | undefined,
): Promise<void> {
  const [name, bytes] = writeSubject('info', changedInfo(bucket, { ownership }));
  await parts.store.tree.setAttributes(bucket.ino, new Map([[name, bytes]]));
}
