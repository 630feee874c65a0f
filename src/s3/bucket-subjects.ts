/** Operations on what is kept of a bucket beside its objects: finding the bucket with the right to it, reading the document, keeping or dropping it. */
import { requireAccess } from './access.js';
import { type Bucket, type BucketInfo, type BucketSubject, subjectName, writeSubject } from './bucket-config.js';
import type { Call } from './call.js';
import { receiveDocument } from './receive-body.js';
import { S3Error } from './s3-error.js';

const DOCUMENT_BYTES_MAX = 256 * 1024;
/** What one attribute of a directory can hold. */
const SUBJECT_BYTES_MAX = 65_536;

/** The bucket of the request, for an action that lists do not grant: its owner's, or a policy's to give. NoSuchBucket, AccessDenied. */
export async function bucketFor(call: Call, action: string): Promise<Bucket> {
  const bucket = await call.parts.store.bucket(call.request.bucket);
  requireAccess(call, bucket, { action, writes: !action.startsWith('s3:Get') });
  return bucket;
}

/** The body of the request. */
export function receivedDocument({ request, identity }: Call): Promise<Buffer> {
  return receiveDocument(request, identity.payload, DOCUMENT_BYTES_MAX);
}

/** Keeps the value (undefined: nothing any more); resolves after the pool promise. MaxMessageLengthExceeded. */
export async function keepSubject(
  { parts }: Call,
  bucket: Bucket,
  subject: BucketSubject,
  value: unknown,
  more: readonly [string, Uint8Array][] = [],
): Promise<void> {
  const [name, bytes] = value === undefined ? [subjectName(subject), null] : writeSubject(subject, value);
  if (bytes !== null && bytes.length > SUBJECT_BYTES_MAX)
    throw new S3Error(
      'MaxMessageLengthExceeded',
      `The configuration is too large to be kept: at most ${SUBJECT_BYTES_MAX} bytes.`,
    );
  await parts.store.tree.setAttributes(bucket.ino, new Map<string, Uint8Array | null>([[name, bytes], ...more]));
}

/** The bucket's info with changes; undefined removes a field. */
export function changedInfo(
  { info }: Bucket,
  change: { readonly [Name in keyof BucketInfo]?: BucketInfo[Name] | undefined },
): BucketInfo {
  const merged = Object.entries({ ...info, ...change }).filter(([, value]) => value !== undefined);
  return Object.fromEntries(merged) as BucketInfo;
}
