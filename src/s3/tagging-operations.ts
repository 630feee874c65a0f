/** The operations on tags of objects and of buckets. */
import { type Bucket, readSubject } from './bucket-config.js';
import { bucketFor, keepSubject, receivedDocument } from './bucket-subjects.js';
import { type Answer, type Call, type Headers, NO_CONTENT_ANSWER, xmlAnswer } from './call.js';
import type { StoredObject } from './object-store.js';
import { findObject } from './read-object.js';
import { S3Error } from './s3-error.js';
import { BUCKET_TAGS_MAX, OBJECT_TAGS_MAX, readTagging, type Tag, writeTagging } from './tagging.js';
import { versionOf } from './versions.js';
import { document } from './xml.js';

function versionHeader({ info }: Bucket, object: StoredObject): Headers {
  return info.versioning === undefined ? {} : { 'x-amz-version-id': versionOf(object) };
}

async function target(call: Call, action: string): Promise<{ bucket: Bucket; object: StoredObject }> {
  const bucket = await call.parts.store.bucket(call.request.bucket);
  const object = await findObject(call, bucket, { action, writes: !action.startsWith('s3:Get') });
  return { bucket, object };
}

export async function getObjectTagging(call: Call): Promise<Answer> {
  const { bucket, object } = await target(call, 's3:GetObjectTagging');
  return xmlAnswer(document('Tagging', writeTagging(object.own?.tags ?? [])), versionHeader(bucket, object));
}

export async function putObjectTagging(call: Call): Promise<Answer> {
  const { bucket, object } = await target(call, 's3:PutObjectTagging');
  const tags = readTagging(await receivedDocument(call), OBJECT_TAGS_MAX);
  await call.parts.writes.changeAttributes(object, () => ({ tags }));
  return { status: 200, headers: versionHeader(bucket, object) };
}

export async function deleteObjectTagging(call: Call): Promise<Answer> {
  const { bucket, object } = await target(call, 's3:DeleteObjectTagging');
  await call.parts.writes.changeAttributes(object, () => ({ tags: undefined }));
  return { status: 204, headers: versionHeader(bucket, object) };
}

export async function getBucketTagging(call: Call): Promise<Answer> {
  const bucket = await bucketFor(call, 's3:GetBucketTagging');
  const tags = readSubject(bucket.attributes, 'tags') as readonly Tag[] | undefined;
  if (tags === undefined)
    throw new S3Error('NoSuchTagSet', 'The TagSet does not exist', { fields: { BucketName: bucket.name } });
  return xmlAnswer(document('Tagging', writeTagging(tags)));
}

export async function putBucketTagging(call: Call): Promise<Answer> {
  const bucket = await bucketFor(call, 's3:PutBucketTagging');
  await keepSubject(call, bucket, 'tags', readTagging(await receivedDocument(call), BUCKET_TAGS_MAX));
  return NO_CONTENT_ANSWER;
}

export async function deleteBucketTagging(call: Call): Promise<Answer> {
  await keepSubject(call, await bucketFor(call, 's3:PutBucketTagging'), 'tags', undefined);
  return NO_CONTENT_ANSWER;
}
