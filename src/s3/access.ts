/**
 * Whether a request may do what it asks for. In this order: the bucket's policy denies; the server's own list of users (`buckets`) denies or allows; the
 * policy allows; the owner may; an ACL grants. Nothing else is allowed, to anonymous senders least of all.
 */
import { TLSSocket } from 'node:tls';
import { type AclPermission, type Grant, isGranted } from './acl.js';
import { type Bucket, readSubject } from './bucket-config.js';
import { evaluatePolicy, isPublic, policyOf } from './bucket-policy.js';
import type { Call } from './call.js';
import type { ObjectAttributes } from './object-attributes.js';
import { S3Error } from './s3-error.js';
import type { S3Request } from './s3-request.js';
import type { S3User } from './users.js';

const DAY_MS = 24 * 3600 * 1000;

/** What an operation wants to do, and which ACL permission would allow it where. */
export interface Wanted {
  /** `s3:GetObject` */
  readonly action: string;
  /** Of the bucket's ACL. */
  readonly bucketPermission?: AclPermission;
  /** Of the object's ACL. */
  readonly objectPermission?: AclPermission;
  readonly writes: boolean;
}

export const WRITE_OBJECT: Wanted = { action: 's3:PutObject', bucketPermission: 'WRITE', writes: true };

export function bucketOwner(call: Call, bucket: Bucket): string {
  return bucket.info.owner ?? call.parts.users.first?.id ?? '';
}

export function bucketGrants(call: Call, bucket: Bucket): readonly Grant[] {
  const kept = readSubject(bucket.attributes, 'acl') as readonly Grant[] | undefined;
  return kept ?? [[`id:${bucketOwner(call, bucket)}`, 'FULL_CONTROL']];
}

export function objectOwner(call: Call, bucket: Bucket, own: ObjectAttributes | undefined): string {
  return own?.owner ?? bucketOwner(call, bucket);
}

export function objectGrants(call: Call, bucket: Bucket, own: ObjectAttributes | undefined): readonly Grant[] {
  return own?.acl ?? [[`id:${objectOwner(call, bucket, own)}`, 'FULL_CONTROL']];
}

/** What the list of users says, whoever owns the bucket. */
export function serverAccess(user: S3User | undefined, bucket: Bucket): 'none' | 'read' | 'write' | undefined {
  const { buckets } = user ?? {};
  if (buckets === undefined) return undefined;
  // A bucket may be called `constructor`, which every object has.
  return Object.hasOwn(buckets, bucket.name) ? buckets[bucket.name] : buckets['*'];
}

export interface Target {
  readonly key?: string | undefined;
  /** The object's attributes, where the operation is about one that is there. */
  readonly own?: ObjectAttributes | undefined;
  readonly isObjectThere?: boolean;
  readonly conditions?: ReadonlyMap<string, readonly string[]>;
}

export function mayAccess(call: Call, bucket: Bucket, wanted: Wanted, target: Target = {}): boolean {
  const { user } = call.identity;
  if (!isExpectedOwner(call, bucket)) return false;
  const policy = policyOf(bucket);
  const decision =
    policy === undefined
      ? 'neutral'
      : evaluatePolicy(policy, {
          user,
          action: wanted.action,
          bucket: bucket.name,
          key: target.key,
          conditions: conditionsOf(call, target),
        });
  if (decision === 'deny') return isOwnPolicy(call, bucket, wanted);
  const server = serverAccess(user, bucket);
  if (server === 'none' || (server === 'read' && wanted.writes)) return false;
  const owner = bucketOwner(call, bucket);
  const isRestricted =
    policy !== undefined && user?.id !== owner && publicAccess(bucket).restrictBuckets && isPublic(policy);
  if (server !== undefined || (decision === 'allow' && !isRestricted)) return true;
  if (
    user !== undefined &&
    user.id === owner &&
    (wanted.objectPermission === undefined || target.own?.owner === undefined || target.own.owner === owner)
  )
    return true;
  const ignoresAcls = bucket.info.ownership === 'BucketOwnerEnforced';
  if (user !== undefined && user.id === owner && ignoresAcls) return true;
  if (ignoresAcls) return false;
  const block = publicAccess(bucket);
  const visible = (grants: readonly Grant[]): readonly Grant[] =>
    block.ignoreAcls ? grants.filter(([grantee]) => grantee.startsWith('id:')) : grants;
  if (wanted.objectPermission !== undefined && target.isObjectThere === true) {
    if (user !== undefined && target.own?.owner === user.id && wanted.objectPermission !== 'READ') return true;
    return isGranted(visible(objectGrants(call, bucket, target.own)), user, wanted.objectPermission);
  }
  return (
    wanted.bucketPermission !== undefined &&
    isGranted(visible(bucketGrants(call, bucket)), user, wanted.bucketPermission)
  );
}

/** Clients may say whose bucket they mean, lest a bucket of the same name be another's by now. */
function isExpectedOwner(call: Call, bucket: Bucket): boolean {
  const isSource = bucket.name !== call.request.bucket;
  const expected = call.request.header(isSource ? 'x-amz-source-expected-bucket-owner' : 'x-amz-expected-bucket-owner');
  return expected === undefined || expected === bucketOwner(call, bucket);
}

/** Owners cannot lock themselves out of the policy itself. */
function isOwnPolicy(call: Call, bucket: Bucket, wanted: Wanted): boolean {
  return call.identity.user?.id === bucketOwner(call, bucket) && /BucketPolicy$/.test(wanted.action);
}

export interface PublicAccess {
  readonly blockAcls: boolean;
  readonly ignoreAcls: boolean;
  readonly blockPolicy: boolean;
  readonly restrictBuckets: boolean;
}

export function publicAccess(bucket: Bucket): PublicAccess {
  const kept = readSubject(bucket.attributes, 'public-access') as PublicAccess | undefined;
  return kept ?? { blockAcls: false, ignoreAcls: false, blockPolicy: false, restrictBuckets: false };
}

/** AccessDenied. */
export function requireAccess(call: Call, bucket: Bucket, wanted: Wanted, target: Target = {}): void {
  if (!mayAccess(call, bucket, wanted, target)) throw denied();
}

export function denied(): S3Error {
  return new S3Error('AccessDenied', 'Access Denied');
}

/** `1.2` or `1.3`; undefined where the connection has none. */
function tlsVersion({ http }: S3Request): string | undefined {
  return http.socket instanceof TLSSocket ? http.socket.getProtocol()?.replace(/^TLSv/, '') : undefined;
}

/** What a policy's conditions may ask of the request. */
function conditionsOf(call: Call, target: Target): ReadonlyMap<string, readonly string[]> {
  const { request, identity } = call;
  const values = new Map<string, readonly string[]>(target.conditions ?? []);
  const put = (name: string, value: string | undefined): void => {
    if (value !== undefined) values.set(name.toLowerCase(), [value]);
  };
  put('aws:SourceIp', request.http.socket.remoteAddress?.replace(/^::ffff:/, ''));
  put('aws:UserAgent', request.header('user-agent'));
  put('aws:Referer', request.header('referer'));
  put('aws:SecureTransport', 'encrypted' in request.http.socket ? 'true' : 'false');
  put('aws:CurrentTime', new Date(call.parts.clock.nowMs()).toISOString());
  put('aws:EpochTime', String(Math.floor(call.parts.clock.nowMs() / 1000)));
  put('aws:username', identity.user?.name);
  put('aws:userid', identity.user?.id);
  put('aws:PrincipalArn', identity.user && `arn:aws:iam:::user/${identity.user.name}`);
  put('aws:PrincipalType', identity.user === undefined ? 'Anonymous' : 'User');
  put('s3:signatureversion', identity.user && 'AWS4-HMAC-SHA256');
  put('s3:TlsVersion', tlsVersion(request));
  for (const name of ['if-match', 'if-none-match']) put(`s3:${name}`, request.header(name));
  for (const name of ['mode', 'retain-until-date', 'legal-hold'])
    put(`s3:object-lock-${name}`, request.header(`x-amz-object-lock-${name}`));
  const untilMs = Date.parse(request.header('x-amz-object-lock-retain-until-date') ?? '');
  if (!Number.isNaN(untilMs))
    put('s3:object-lock-remaining-retention-days', String(Math.ceil((untilMs - call.parts.clock.nowMs()) / DAY_MS)));
  put('s3:prefix', request.query('prefix'));
  put('s3:delimiter', request.query('delimiter'));
  put('s3:max-keys', request.query('max-keys'));
  put('s3:VersionId', request.query('versionId'));
  put(
    's3:authType',
    identity.kind === 'query' ? 'REST-QUERY-STRING' : identity.kind === 'header' ? 'REST-HEADER' : undefined,
  );
  for (const name of request.headers.keys()) if (name.startsWith('x-amz-')) put(`s3:${name}`, request.header(name));
  for (const [name, value] of target.own?.tags ?? []) put(`s3:ExistingObjectTag/${name}`, value);
  return values;
}
