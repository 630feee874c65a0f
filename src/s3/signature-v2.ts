/**
 * AWS Signature Version 2 (HMAC-SHA1), for presigned URLs and clients that know no other: botocore still makes such URLs where it is not told better.
 * It covers neither the host nor the body, so everything that can signs with version 4.
 */
import { createHmac } from 'node:crypto';
import { S3Error } from './s3-error.js';
import type { S3Request } from './s3-request.js';
import { isSameSignature } from './signature-v4.js';
import type { S3User, UserTable } from './users.js';

const SKEW_MS = 15 * 60 * 1000;

/** Parameters that belong to the canonical resource. */
const SIGNED = new Set([
  'accelerate',
  'acl',
  'cors',
  'defaultObjectAcl',
  'delete',
  'lifecycle',
  'location',
  'logging',
  'notification',
  'object-lock',
  'legal-hold',
  'retention',
  'partNumber',
  'policy',
  'policyStatus',
  'publicAccessBlock',
  'requestPayment',
  'restore',
  'response-cache-control',
  'response-content-disposition',
  'response-content-encoding',
  'response-content-language',
  'response-content-type',
  'response-expires',
  'tagging',
  'torrent',
  'uploadId',
  'uploads',
  'versionId',
  'versioning',
  'versions',
  'website',
  'encryption',
  'ownershipControls',
  'replication',
  'attributes',
]);

function stringToSign(request: S3Request, date: string, bucketPath = ''): string {
  const header = (name: string) => request.header(name) ?? '';
  const amz = [...request.headers]
    .filter(([name]) => name.startsWith('x-amz-'))
    .map(([name, values]) => `${name}:${values.map((value) => value.trim().replace(/\s+/g, ' ')).join(',')}\n`)
    .sort()
    .join('');
  const query = request.parameters
    .filter(([name]) => SIGNED.has(name))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => (value === '' ? name : `${name}=${value}`))
    .join('&');
  const path = (request.isVirtual ? `/${request.bucket}${request.rawPath}` : request.rawPath) + bucketPath;
  return `${request.method}\n${header('content-md5')}\n${header('content-type')}\n${date}\n${amz}${path}${query === '' ? '' : `?${query}`}`;
}

function accept(request: S3Request, users: UserTable, accessKey: string, signature: string, date: string): S3User {
  const user = users.byAccessKey(accessKey);
  const signed = (bucketPath: string): boolean =>
    isSameSignature(
      createHmac('sha1', user?.secretKey ?? 'nobody has this one')
        .update(stringToSign(request, date, bucketPath), 'latin1')
        .digest('base64'),
      signature,
    );
  // Some clients sign a bucket as `/bucket` and some as `/bucket/`, whichever of them they send; both name the same.
  const isBucketAlone = request.key === undefined && request.bucket !== '' && !request.rawPath.endsWith('/');
  const isRight = signed('') || (isBucketAlone && signed('/'));
  if (user === undefined)
    throw new S3Error('InvalidAccessKeyId', 'The AWS Access Key Id you provided does not exist in our records.', {
      fields: { AWSAccessKeyId: accessKey.slice(0, 128) },
    });
  if (!isRight)
    throw new S3Error(
      'SignatureDoesNotMatch',
      'The request signature we calculated does not match the signature you provided. Check your key and signing method.',
    );
  return user;
}

/** `Authorization: AWS <access key>:<signature>` */
export function headerUserV2(request: S3Request, authorization: string, users: UserTable, nowMs: number): S3User {
  const match = /^AWS ([^:]+):(\S+)$/.exec(authorization.trim());
  if (match === null) throw new S3Error('InvalidArgument', 'The authorization header is malformed.');
  const said = request.header('x-amz-date') ?? request.header('date');
  const ms = said === undefined ? Number.NaN : Date.parse(said);
  if (!(ms >= 0)) throw new S3Error('AccessDenied', 'AWS authentication requires a valid Date or x-amz-date header');
  if (Math.abs(nowMs - ms) > SKEW_MS)
    throw new S3Error(
      'RequestTimeTooSkewed',
      'The difference between the request time and the current time is too large.',
    );
  return accept(
    request,
    users,
    match[1]!,
    match[2]!,
    request.headers.has('x-amz-date') ? '' : (request.header('date') ?? ''),
  );
}

/** `?AWSAccessKeyId=…&Expires=…&Signature=…` */
export function queryUserV2(request: S3Request, users: UserTable, nowMs: number): S3User {
  const expires = request.query('Expires') ?? '';
  if (!/^\d{1,12}$/.test(expires))
    throw new S3Error(
      'AccessDenied',
      'Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters',
    );
  if (Number(expires) * 1000 < nowMs) throw new S3Error('AccessDenied', 'Request has expired');
  return accept(request, users, request.query('AWSAccessKeyId') ?? '', request.query('Signature') ?? '', expires);
}
