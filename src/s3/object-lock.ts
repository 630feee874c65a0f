/** Object lock: retention and legal holds, what new objects inherit of their bucket, and what may not be removed. */
import { bucketOwner, denied, mayAccess } from './access.js';
import { type Bucket, readSubject } from './bucket-config.js';
import type { Call } from './call.js';
import type { ObjectAttributes } from './object-attributes.js';
import type { StoredObject } from './object-store.js';
import { S3Error } from './s3-error.js';

const DAY_MS = 24 * 3600 * 1000;

export interface DefaultRetention {
  readonly mode: 'GOVERNANCE' | 'COMPLIANCE';
  readonly days?: number;
  readonly years?: number;
}

/** The bucket's default, if it has one. */
export function defaultRetention(bucket: Bucket): DefaultRetention | undefined {
  return (readSubject(bucket.attributes, 'lock') as { retention?: DefaultRetention } | undefined)?.retention;
}

export function requireLock(bucket: Bucket): void {
  if (bucket.info.objectLock !== true)
    throw new S3Error('InvalidRequest', 'Bucket is missing Object Lock Configuration');
}

/** An ISO time in the future, canonical. InvalidArgument, MalformedXML through `refuse`. */
function retainUntil(text: string, nowMs: number): string {
  const ms = Date.parse(text);
  if (!Number.isFinite(ms)) throw new S3Error('InvalidArgument', 'The retain until date must be a date.');
  if (ms <= nowMs) throw new S3Error('InvalidArgument', 'The retain until date must be in the future!');
  return new Date(ms).toISOString();
}

/** What the request's headers and the bucket's default say of a new object. */
export function lockForNewObject(call: Call, bucket: Bucket): Pick<ObjectAttributes, 'retention' | 'hasLegalHold'> {
  const { request, parts } = call;
  const mode = request.header('x-amz-object-lock-mode');
  const until = request.header('x-amz-object-lock-retain-until-date');
  const hold = request.header('x-amz-object-lock-legal-hold');
  if (mode !== undefined || until !== undefined || hold !== undefined) requireLock(bucket);
  if ((mode === undefined) !== (until === undefined))
    throw new S3Error(
      'InvalidArgument',
      'x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied',
    );
  if (hold !== undefined && hold !== 'ON' && hold !== 'OFF')
    throw new S3Error('InvalidArgument', "Legal Hold must be either of 'ON' or 'OFF'");
  const legal = hold === undefined ? {} : { hasLegalHold: hold === 'ON' };
  if (mode !== undefined && until !== undefined) {
    if (mode !== 'GOVERNANCE' && mode !== 'COMPLIANCE')
      throw new S3Error('InvalidArgument', 'Unknown wormMode directive.');
    return { retention: { mode, until: retainUntil(until, parts.clock.nowMs()) }, ...legal };
  }
  const standing = defaultRetention(bucket);
  if (standing === undefined) return legal;
  const at = new Date(parts.clock.nowMs());
  if (standing.years !== undefined) at.setUTCFullYear(at.getUTCFullYear() + standing.years);
  const untilMs = at.getTime() + (standing.days ?? 0) * DAY_MS;
  return { retention: { mode: standing.mode, until: new Date(untilMs).toISOString() }, ...legal };
}

/** The sender may pass over retention in governance mode, and has asked to. */
export function bypasses(call: Call, bucket: Bucket): boolean {
  if (call.request.header('x-amz-bypass-governance-retention')?.toLowerCase() !== 'true') return false;
  const { user } = call.identity;
  if (user !== undefined && user.id === bucketOwner(call, bucket)) return true;
  return mayAccess(call, bucket, { action: 's3:BypassGovernanceRetention', writes: true }, { key: call.request.key });
}

/** AccessDenied if the version is held. */
export function mayRemove(call: Call, bucket: Bucket, object: StoredObject): void {
  const { own } = object;
  if (own?.hasLegalHold === true) throw denied();
  const retention = own?.retention;
  if (retention === undefined || Date.parse(retention.until) <= call.parts.clock.nowMs()) return;
  if (retention.mode === 'GOVERNANCE' && bypasses(call, bucket)) return;
  throw denied();
}
