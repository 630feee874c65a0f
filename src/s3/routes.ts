/** Which operation a request asks for: by method, by what it names, and by the parameter that S3 calls a subresource. */

import * as settings from './bucket-settings.js';
import * as buckets from './buckets.js';
import type { Operation } from './call.js';
import * as list from './list-objects.js';
import * as versions from './list-versions.js';
import * as multipart from './multipart.js';
import * as object from './object-settings.js';
import { postObject } from './post-object.js';
import * as read from './read-object.js';
import { notImplemented, S3Error } from './s3-error.js';
import type { S3Request } from './s3-request.js';
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
  'GET versions': ['ListObjectVersions', versions.listVersions],
  'GET versioning': ['GetBucketVersioning', settings.getVersioning],
  'PUT versioning': ['PutBucketVersioning', settings.putVersioning],
  'GET tagging': ['GetBucketTagging', settings.getTags],
  'PUT tagging': ['PutBucketTagging', settings.putTags],
  'DELETE tagging': ['DeleteBucketTagging', settings.deleteTags],
  'GET acl': ['GetBucketAcl', settings.getAcl],
  'PUT acl': ['PutBucketAcl', settings.putAcl],
  'GET policy': ['GetBucketPolicy', settings.getPolicy],
  'PUT policy': ['PutBucketPolicy', settings.putPolicy],
  'DELETE policy': ['DeleteBucketPolicy', settings.deletePolicy],
  'GET policyStatus': ['GetBucketPolicyStatus', settings.getPolicyStatus],
  'GET publicAccessBlock': ['GetPublicAccessBlock', settings.getPublicAccess],
  'PUT publicAccessBlock': ['PutPublicAccessBlock', settings.putPublicAccess],
  'DELETE publicAccessBlock': ['DeletePublicAccessBlock', settings.deletePublicAccess],
  'GET ownershipControls': ['GetBucketOwnershipControls', settings.getOwnership],
  'PUT ownershipControls': ['PutBucketOwnershipControls', settings.putOwnership],
  'DELETE ownershipControls': ['DeleteBucketOwnershipControls', settings.deleteOwnership],
  'GET object-lock': ['GetObjectLockConfiguration', settings.getObjectLock],
  'PUT object-lock': ['PutObjectLockConfiguration', settings.putObjectLock],
  'GET cors': ['GetBucketCors', settings.getCors],
  'PUT cors': ['PutBucketCors', settings.putCors],
  'DELETE cors': ['DeleteBucketCors', settings.deleteCors],
  'GET lifecycle': ['GetBucketLifecycleConfiguration', settings.getLifecycle],
  'PUT lifecycle': ['PutBucketLifecycleConfiguration', settings.putLifecycle],
  'DELETE lifecycle': ['DeleteBucketLifecycle', settings.deleteLifecycle],
  'GET requestPayment': ['GetBucketRequestPayment', settings.getRequestPayment],
  'GET website': [
    'GetBucketWebsite',
    settings.absent(
      'GetBucketWebsite',
      new S3Error('NoSuchWebsiteConfiguration', 'The specified bucket does not have a website configuration'),
    ),
  ],
  'GET replication': [
    'GetBucketReplication',
    settings.absent(
      'GetReplicationConfiguration',
      new S3Error('ReplicationConfigurationNotFoundError', 'The replication configuration was not found'),
    ),
  ],
  'GET encryption': [
    'GetBucketEncryption',
    settings.absent(
      'GetEncryptionConfiguration',
      new S3Error(
        'ServerSideEncryptionConfigurationNotFoundError',
        'The server side encryption configuration was not found',
      ),
    ),
  ],
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
  'GET tagging': ['GetObjectTagging', object.getTags],
  'PUT tagging': ['PutObjectTagging', object.putTags],
  'DELETE tagging': ['DeleteObjectTagging', object.deleteTags],
  'GET acl': ['GetObjectAcl', object.getAcl],
  'PUT acl': ['PutObjectAcl', object.putAcl],
  'GET retention': ['GetObjectRetention', object.getRetention],
  'PUT retention': ['PutObjectRetention', object.putRetention],
  'GET legal-hold': ['GetObjectLegalHold', object.getLegalHold],
  'PUT legal-hold': ['PutObjectLegalHold', object.putLegalHold],
  'GET attributes': ['GetObjectAttributes', object.getAttributes],
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
  // `//bucket/key` names no bucket, and is not a question about all of them.
  if (request.bucket === '' && key !== undefined)
    throw new S3Error('InvalidBucketName', 'The specified bucket is not valid.');
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
