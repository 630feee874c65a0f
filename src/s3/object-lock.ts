/** Object lock in requests: what new objects get of their headers and their bucket, who may pass over a retention, and what may not be removed. */
import { bucketOwner, mayAccess, requireAccess } from './access.js';
import { type Bucket, readSubject } from './bucket-config.js';
import type { Call } from './call.js';
import { checkRemoval, type DefaultRetention, lockFromHeaders, retentionFrom } from './lock-documents.js';
import type { ObjectAttributes } from './object-attributes.js';
import type { StoredObject } from './object-store.js';
import { S3Error } from './s3-error.js';

/** The bucket's default, if it has one. */
export function defaultRetention(bucket: Bucket): DefaultRetention | undefined {
  return (readSubject(bucket.attributes, 'lock') as { readonly retention?: DefaultRetention } | undefined)?.retention;
}

/** InvalidRequest where the bucket has no object lock. */
export function requireLock(bucket: Bucket): void {
  if (bucket.info.objectLock !== true)
    throw new S3Error('InvalidRequest', 'Bucket is missing Object Lock Configuration');
}

/**
 * What the request's headers and the bucket's default say of a new object. InvalidArgument, InvalidRequest; AccessDenied for senders who may put objects but
 * not lock them: nobody could remove what they have put.
 */
export function lockForNewObject(call: Call, bucket: Bucket): Pick<ObjectAttributes, 'retention' | 'hasLegalHold'> {
  const nowMs = call.parts.clock.nowMs();
  const asked = lockFromHeaders((name) => call.request.header(name), nowMs);
  if (asked.retention !== undefined || asked.hasLegalHold !== undefined) requireLock(bucket);
  const { key } = call.request;
  if (asked.retention !== undefined)
    requireAccess(call, bucket, { action: 's3:PutObjectRetention', writes: true }, { key });
  if (asked.hasLegalHold !== undefined)
    requireAccess(call, bucket, { action: 's3:PutObjectLegalHold', writes: true }, { key });
  const standing = defaultRetention(bucket);
  const retention = asked.retention ?? (standing && retentionFrom(standing, nowMs));
  return {
    ...(retention !== undefined && { retention }),
    ...(asked.hasLegalHold !== undefined && { hasLegalHold: asked.hasLegalHold }),
  };
}

/** The sender may pass over retention in governance mode, and has asked to. */
export function bypasses(call: Call, bucket: Bucket): boolean {
  if (call.request.header('x-amz-bypass-governance-retention')?.toLowerCase() !== 'true') return false;
  const { user } = call.identity;
  if (user !== undefined && user.id === bucketOwner(call, bucket)) return true;
  return mayAccess(call, bucket, { action: 's3:BypassGovernanceRetention', writes: true }, { key: call.request.key });
}

/** AccessDenied if the version is held. */
export function mayRemove(call: Call, bucket: Bucket, { own }: StoredObject): void {
  checkRemoval(own ?? {}, bypasses(call, bucket), call.parts.clock.nowMs());
}
