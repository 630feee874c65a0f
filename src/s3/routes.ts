/** Which operation a request asks for: by method, by what it names, and by the parameter that S3 calls a subresource. */

import * as buckets from './buckets.js';
import type { Operation } from './call.js';
import * as cors from './cors-operations.js';
import * as lifecycle from './lifecycle-operations.js';
import * as list from './list-objects.js';
import * as lock from './lock-operations.js';
import * as multipart from './multipart.js';
import * as policy from './policy-operations.js';
import { postObject } from './post-object.js';
import * as read from './read-object.js';
import { notImplemented, S3Error } from './s3-error.js';
import type { S3Request } from './s3-request.js';
import * as tagging from './tagging-operations.js';
import * as write from './write-object.js';

export interface Route {
  readonly name: string;
  readonly run: Operation;
}

type Table = Readonly<Record<string, Route>>;

function routes(operations: Readonly<Record<string, readonly [name: string, run: Operation]>>): Table {
  return Object.fromEntries(Object.entries(operations).map(([key, [name, run]]) => [key, { name, run }]));
}

/** `METHOD` or `METHOD subresource`. */
const SERVICE = routes({ GET: ['ListBuckets', buckets.listBuckets] });

const BUCKET = routes({
  GET: ['ListObjects', list.listObjects],
  HEAD: ['HeadBucket', buckets.headBucket],
  PUT: ['CreateBucket', buckets.createBucket],
  DELETE: ['DeleteBucket', buckets.deleteBucket],
  'GET location': ['GetBucketLocation', buckets.bucketLocation],
  'GET uploads': ['ListMultipartUploads', multipart.listUploads],
  POST: ['PostObject', postObject],
  'POST delete': ['DeleteObjects', write.deleteObjects],
  'GET cors': ['GetBucketCors', cors.getCors],
  'PUT cors': ['PutBucketCors', cors.putCors],
  'DELETE cors': ['DeleteBucketCors', cors.deleteCors],
  'GET lifecycle': ['GetBucketLifecycleConfiguration', lifecycle.getLifecycle],
  'PUT lifecycle': ['PutBucketLifecycleConfiguration', lifecycle.putLifecycle],
  'DELETE lifecycle': ['DeleteBucketLifecycle', lifecycle.deleteLifecycle],
  'GET object-lock': ['GetObjectLockConfiguration', lock.getLockConfiguration],
  'PUT object-lock': ['PutObjectLockConfiguration', lock.putLockConfiguration],
  'GET ownershipControls': ['GetBucketOwnershipControls', policy.getOwnership],
  'PUT ownershipControls': ['PutBucketOwnershipControls', policy.putOwnership],
  'DELETE ownershipControls': ['DeleteBucketOwnershipControls', policy.deleteOwnership],
  'GET policy': ['GetBucketPolicy', policy.getPolicy],
  'PUT policy': ['PutBucketPolicy', policy.putPolicy],
  'DELETE policy': ['DeleteBucketPolicy', policy.deletePolicy],
  'GET policyStatus': ['GetBucketPolicyStatus', policy.getPolicyStatus],
  'GET publicAccessBlock': ['GetPublicAccessBlock', policy.getPublicAccess],
  'PUT publicAccessBlock': ['PutPublicAccessBlock', policy.putPublicAccess],
  'DELETE publicAccessBlock': ['DeletePublicAccessBlock', policy.deletePublicAccess],
  'GET tagging': ['GetBucketTagging', tagging.getBucketTagging],
  'PUT tagging': ['PutBucketTagging', tagging.putBucketTagging],
  'DELETE tagging': ['DeleteBucketTagging', tagging.deleteBucketTagging],
});

const OBJECT = routes({
  GET: ['GetObject', read.getObject],
  HEAD: ['HeadObject', read.headObject],
  PUT: ['PutObject', write.putObject],
  DELETE: ['DeleteObject', write.deleteObject],
  'PUT copy': ['CopyObject', write.copyObject],
  'POST uploads': ['CreateMultipartUpload', multipart.createUpload],
  'PUT uploadId': ['UploadPart', multipart.uploadPart],
  'PUT uploadId copy': ['UploadPartCopy', multipart.uploadPartCopy],
  'POST uploadId': ['CompleteMultipartUpload', multipart.completeUpload],
  'DELETE uploadId': ['AbortMultipartUpload', multipart.abortUpload],
  'GET uploadId': ['ListParts', multipart.listParts],
  'GET legal-hold': ['GetObjectLegalHold', lock.getLegalHold],
  'PUT legal-hold': ['PutObjectLegalHold', lock.putLegalHold],
  'GET retention': ['GetObjectRetention', lock.getRetention],
  'PUT retention': ['PutObjectRetention', lock.putRetention],
  'GET tagging': ['GetObjectTagging', tagging.getObjectTagging],
  'PUT tagging': ['PutObjectTagging', tagging.putObjectTagging],
  'DELETE tagging': ['DeleteObjectTagging', tagging.deleteObjectTagging],
});

/** Parameters that name what is meant instead of the bucket or object itself; also those that are not offered. */
const SUBRESOURCES = new Set([
  'accelerate',
  'acl',
  'analytics',
  'attributes',
  'cors',
  'delete',
  'encryption',
  'intelligent-tiering',
  'inventory',
  'legal-hold',
  'lifecycle',
  'location',
  'logging',
  'metadataTable',
  'metrics',
  'notification',
  'object-lock',
  'ownershipControls',
  'policy',
  'policyStatus',
  'publicAccessBlock',
  'renameObject',
  'replication',
  'requestPayment',
  'restore',
  'retention',
  'select',
  'session',
  'tagging',
  'torrent',
  'uploadId',
  'uploads',
  'versioning',
  'versions',
  'website',
]);

export function routeOf(request: S3Request): Route {
  const { method, key } = request;
  const subresource = request.parameters.find(([name]) => SUBRESOURCES.has(name))?.[0];
  const isCopy =
    method === 'PUT' &&
    key !== undefined &&
    request.headers.has('x-amz-copy-source') &&
    (subresource === undefined || subresource === 'uploadId');
  const name = [method, subresource, isCopy ? 'copy' : undefined].filter((part) => part !== undefined).join(' ');
  const table = request.bucket === '' ? SERVICE : key === undefined ? BUCKET : OBJECT;
  const route = table[name];
  if (route !== undefined) return route;
  if (subresource !== undefined)
    throw notImplemented(`${method} of ${key === undefined ? 'a bucket' : 'an object'} with ?${subresource}`);
  throw new S3Error('MethodNotAllowed', 'The specified method is not allowed against this resource.');
}
