/** The operations on object lock: a bucket's configuration, and retention and legal hold of single versions. */
import { writeSubject } from './bucket-config.js';
import { bucketFor, changedInfo, keepSubject, receivedDocument } from './bucket-subjects.js';
import { type Answer, type Call, xmlAnswer } from './call.js';
import {
  checkRetentionChange,
  readLegalHold,
  readLockConfiguration,
  readRetention,
  writeLegalHold,
  writeLockConfiguration,
  writeRetention,
} from './lock-documents.js';
import { bypasses, defaultRetention, requireLock } from './object-lock.js';
import type { StoredObject } from './object-store.js';
import { findObject } from './read-object.js';
import { S3Error } from './s3-error.js';
import { document } from './xml.js';

export async function getLockConfiguration(call: Call): Promise<Answer> {
  const bucket = await bucketFor(call, 's3:GetBucketObjectLockConfiguration');
  if (bucket.info.objectLock !== true)
    throw new S3Error(
      'ObjectLockConfigurationNotFoundError',
      'Object Lock configuration does not exist for this bucket',
      {
        fields: { BucketName: bucket.name },
      },
    );
  return xmlAnswer(document('ObjectLockConfiguration', writeLockConfiguration(defaultRetention(bucket))));
}

export async function putLockConfiguration(call: Call): Promise<Answer> {
  const bucket = await bucketFor(call, 's3:PutBucketObjectLockConfiguration');
  const retention = readLockConfiguration(await receivedDocument(call));
  if (bucket.info.versioning !== 'Enabled')
    throw new S3Error(
      'InvalidBucketState',
      "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
    );
  const info = writeSubject('info', changedInfo(bucket, { objectLock: true }));
  await keepSubject(call, bucket, 'lock', { retention }, [info]);
  return { status: 200 };
}

/** Retention and hold have no action of their own for versions. */
async function target(call: Call, action: string): Promise<StoredObject> {
  const bucket = await call.parts.store.bucket(call.request.bucket);
  requireLock(bucket);
  return findObject(call, bucket, { action, versionAction: action, writes: action.startsWith('s3:Put') });
}

export async function getRetention(call: Call): Promise<Answer> {
  const { own } = await target(call, 's3:GetObjectRetention');
  if (own?.retention === undefined) throw notLocked();
  return xmlAnswer(document('Retention', writeRetention(own.retention)));
}

export async function putRetention(call: Call): Promise<Answer> {
  const object = await target(call, 's3:PutObjectRetention');
  const nowMs = call.parts.clock.nowMs();
  const retention = readRetention(await receivedDocument(call), nowMs);
  const canBypass = bypasses(call, await call.parts.store.bucket(call.request.bucket));
  await call.parts.writes.changeAttributes(object, (own) => {
    checkRetentionChange(own?.retention, retention, canBypass, nowMs);
    return { retention };
  });
  return { status: 200 };
}

export async function getLegalHold(call: Call): Promise<Answer> {
  const { own } = await target(call, 's3:GetObjectLegalHold');
  if (own?.hasLegalHold === undefined) throw notLocked();
  return xmlAnswer(document('LegalHold', writeLegalHold(own.hasLegalHold)));
}

export async function putLegalHold(call: Call): Promise<Answer> {
  const object = await target(call, 's3:PutObjectLegalHold');
  const hasLegalHold = readLegalHold(await receivedDocument(call));
  await call.parts.writes.changeAttributes(object, () => ({ hasLegalHold }));
  return { status: 200 };
}

function notLocked(): S3Error {
  return new S3Error('NoSuchObjectLockConfiguration', 'The specified object does not have a ObjectLock configuration');
}
