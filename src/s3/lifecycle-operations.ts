/** The operations on a bucket's lifecycle rules, and what an answer about an object says of its end. */
import { randomUUID } from 'node:crypto';
import { type Bucket, readSubject } from './bucket-config.js';
import { bucketFor, keepSubject, receivedDocument } from './bucket-subjects.js';
import { type Answer, type Call, type Headers, NO_CONTENT_ANSWER, xmlAnswer } from './call.js';
import { keyText } from './key-path.js';
import { type LifecycleRule, readLifecycle, writeLifecycle } from './lifecycle-configuration.js';
import { expirationHeader, LifecycleCalendar } from './lifecycle-due.js';
import { S3Error } from './s3-error.js';
import type { Tag } from './tagging.js';
import { document } from './xml.js';

export function lifecycleOf(bucket: Bucket): readonly LifecycleRule[] | undefined {
  return readSubject(bucket.attributes, 'lifecycle') as readonly LifecycleRule[] | undefined;
}

export async function getLifecycle(call: Call): Promise<Answer> {
  const rules = lifecycleOf(await bucketFor(call, 's3:GetLifecycleConfiguration'));
  if (rules === undefined)
    throw new S3Error('NoSuchLifecycleConfiguration', 'The lifecycle configuration does not exist', {
      fields: { BucketName: call.request.bucket },
    });
  return xmlAnswer(document('LifecycleConfiguration', writeLifecycle(rules)));
}

export async function putLifecycle(call: Call): Promise<Answer> {
  const bucket = await bucketFor(call, 's3:PutLifecycleConfiguration');
  await keepSubject(call, bucket, 'lifecycle', readLifecycle(await receivedDocument(call), randomUUID));
  return { status: 200 };
}

export async function deleteLifecycle(call: Call): Promise<Answer> {
  await keepSubject(call, await bucketFor(call, 's3:PutLifecycleConfiguration'), 'lifecycle', undefined);
  return NO_CONTENT_ANSWER;
}

/** x-amz-expiration, where a rule ends the present version of the key. */
export function expirationHeaders(
  call: Call,
  bucket: Bucket,
  key: string,
  object: { readonly modifiedMs: number; readonly sizeBytes: number; readonly tags: readonly Tag[] },
): Headers {
  const rules = lifecycleOf(bucket);
  if (rules === undefined) return {};
  const end = new LifecycleCalendar(rules, call.parts.lifecycleDayMs).expiryOf(keyText(key), object);
  return end === undefined ? {} : { 'x-amz-expiration': expirationHeader(end) };
}
