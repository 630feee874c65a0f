/** Operations on buckets themselves: list, create, delete, head, location. */
import { bucketGrants, bucketOwner, denied, mayAccess, requireAccess, serverAccess } from './access.js';
import { cannedGrants, type Grant, grantsFromHeaders, ownerOf } from './acl.js';
import { type Bucket, isBucketName, writeSubject } from './bucket-config.js';
import { type Answer, type Call, NO_CONTENT_ANSWER, xmlAnswer } from './call.js';
import { receiveDocument } from './receive-body.js';
import { S3Error } from './s3-error.js';
import { document, element, readXml } from './xml.js';

const DOCUMENT_BYTES_MAX = 64 * 1024;
const BUCKETS_PER_PAGE = 10_000;
const BUCKETS_MAX = 1000;
/** Our own: the bucket refuses `a` beside `a/b` instead of keeping both. */
const STRICT_KEYS = 'x-cairn-strict-keys';

export async function listBuckets(call: Call): Promise<Answer> {
  const { request, parts, identity } = call;
  const { user } = identity;
  if (user === undefined) throw denied();
  const prefix = request.query('prefix') ?? '';
  const after = request.query('continuation-token') ?? '';
  const limit = request.number('max-buckets', 1, BUCKETS_PER_PAGE) ?? BUCKETS_PER_PAGE;
  const listed: string[] = [];
  let token: string | undefined;
  let last = '';
  for await (const bucket of parts.store.buckets()) {
    if (bucket.name <= after || !bucket.name.startsWith(prefix) || !isListed(call, bucket)) continue;
    if (listed.length === limit) {
      token = last;
      break;
    }
    last = bucket.name;
    listed.push(
      `<Bucket>${element('Name', bucket.name)}${element('CreationDate', new Date(bucket.createdMs).toISOString())}</Bucket>`,
    );
  }
  return xmlAnswer(
    document(
      'ListAllMyBucketsResult',
      `<Owner>${element('ID', user.id)}${element('DisplayName', user.name)}</Owner><Buckets>${listed.join('')}</Buckets>${element('Prefix', prefix === '' ? undefined : prefix)}${element('ContinuationToken', token)}`,
    ),
  );
}

function isListed(call: Call, bucket: Bucket): boolean {
  const { user } = call.identity;
  const given = serverAccess(user, bucket);
  return bucketOwner(call, bucket) === user?.id || given === 'read' || given === 'write';
}

export async function createBucket(call: Call): Promise<Answer> {
  const { request, parts, identity } = call;
  const { user } = identity;
  if (user === undefined) throw denied();
  const name = request.bucket;
  if (!isBucketName(name))
    throw new S3Error('InvalidBucketName', 'The specified bucket is not valid.', {
      fields: { BucketName: name.slice(0, 100) },
    });
  const location = await locationOf(call);
  const objectLock = request.header('x-amz-bucket-object-lock-enabled')?.toLowerCase() === 'true';
  const ownership = request.header('x-amz-object-ownership');
  if (ownership !== undefined && !/^(BucketOwnerEnforced|BucketOwnerPreferred|ObjectWriter)$/.test(ownership))
    throw new S3Error('InvalidArgument', 'The object ownership is not one.');
  const grants = grantsFromHeaders(request, user.id, user.id, parts.users) ?? cannedGrants('private', user.id, user.id);
  const there = await parts.store.bucket(name).catch((error: unknown) => {
    if (error instanceof S3Error && error.code === 'NoSuchBucket') return undefined;
    throw error;
  });
  if (there !== undefined) return taken(call, there, grants);
  let owned = 0;
  for await (const bucket of parts.store.buckets()) if (bucketOwner(call, bucket) === user.id) owned += 1;
  if (owned >= BUCKETS_MAX)
    throw new S3Error('TooManyBuckets', 'You have attempted to create more buckets than allowed');
  const isNew = await parts.store.createBucket(
    name,
    {
      owner: user.id,
      createdMs: parts.clock.nowMs(),
      ...(request.header(STRICT_KEYS)?.toLowerCase() === 'true' && { strictKeys: true }),
      ...(objectLock && { objectLock: true, versioning: 'Enabled' as const }),
      ...(ownership !== undefined && { ownership: ownership as 'ObjectWriter' }),
      ...(location !== undefined && { location }),
    },
    [writeSubject('acl', grants)],
  );
  if (objectLock) await parts.versioningChanged();
  if (!isNew) return taken(call, await parts.store.bucket(name), grants);
  return { status: 200, headers: { location: `/${name}` } };
}

/** The bucket is there. Whoever owns it and asks for the same once more is answered as the first time. */
function taken(call: Call, bucket: Bucket, grants: readonly Grant[]): Answer {
  const isOwn = bucketOwner(call, bucket) === call.identity.user?.id;
  if (isOwn && JSON.stringify(grants) === JSON.stringify(bucketGrants(call, bucket)))
    return { status: 200, headers: { location: `/${bucket.name}` } };
  throw new S3Error('BucketAlreadyExists', 'The requested bucket name is not available.');
}

async function locationOf({ request, identity, parts }: Call): Promise<string | undefined> {
  const body = await receiveDocument(request, identity.payload, DOCUMENT_BYTES_MAX);
  if (body.length === 0) return undefined;
  const location = readXml(body, 'CreateBucketConfiguration').textOf('LocationConstraint')?.trim();
  if (location === undefined || location === '') return undefined;
  if (location !== parts.region && location !== 'us-east-1' && location !== 'default' && location !== 'EU')
    throw new S3Error('InvalidLocationConstraint', 'The specified location-constraint is not valid');
  return location;
}

export async function deleteBucket(call: Call): Promise<Answer> {
  const bucket = await call.parts.store.bucket(call.request.bucket);
  const { user } = call.identity;
  if (user === undefined || bucketOwner(call, bucket) !== user.id)
    requireAccess(call, bucket, { action: 's3:DeleteBucket', writes: true });
  const { store, uploads, versions } = call.parts;
  if (await versions.hasAny(bucket))
    throw new S3Error(
      'BucketNotEmpty',
      'The bucket you tried to delete is not empty. You must delete all versions in the bucket.',
    );
  // Before anything goes: of a bucket that stays, uploads under way stay as well.
  await store.requireEmpty(bucket);
  await uploads.removeAll(bucket);
  await store.removeBucket(bucket);
  await versions.forget(bucket);
  await call.parts.versioningChanged();
  return NO_CONTENT_ANSWER;
}

export async function headBucket(call: Call): Promise<Answer> {
  const bucket = await call.parts.store.bucket(call.request.bucket);
  requireAccess(call, bucket, { action: 's3:ListBucket', bucketPermission: 'READ', writes: false });
  return { status: 200, headers: { 'x-amz-bucket-region': call.parts.region } };
}

export async function bucketLocation(call: Call): Promise<Answer> {
  const bucket = await call.parts.store.bucket(call.request.bucket);
  if (!mayAccess(call, bucket, { action: 's3:GetBucketLocation', writes: false })) throw denied();
  return xmlAnswer(
    document(
      'LocationConstraint',
      bucket.info.location ?? (call.parts.region === 'us-east-1' ? '' : call.parts.region),
    ),
  );
}

export function ownerXml(call: Call, id: string | undefined): string {
  const owner = ownerOf(id, call.parts.users);
  return `<Owner>${element('ID', owner.id)}${element('DisplayName', owner.name)}</Owner>`;
}
