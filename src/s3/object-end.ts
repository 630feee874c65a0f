/** What an answer about an object says of when a lifecycle rule ends it. */
import { type Bucket, readSubject } from './bucket-config.js';
import type { Headers } from './call.js';
import { keyText } from './key-path.js';
import type { LifecycleRule } from './lifecycle-configuration.js';
import { expirationHeader, LifecycleCalendar } from './lifecycle-due.js';
import type { Tag } from './tagging.js';

export function lifecycleOf(bucket: Bucket): readonly LifecycleRule[] | undefined {
  return readSubject(bucket.attributes, 'lifecycle') as readonly LifecycleRule[] | undefined;
}

/** x-amz-expiration, where a rule ends the present version of the key. */
export function expirationHeaders(
  bucket: Bucket,
  key: string,
  object: { readonly modifiedMs: number; readonly sizeBytes: number; readonly tags: readonly Tag[] },
): Headers {
  const rules = lifecycleOf(bucket);
  if (rules === undefined) return {};
  const end = new LifecycleCalendar(rules).expiryOf(keyText(key), object);
  return end === undefined ? {} : { 'x-amz-expiration': expirationHeader(end) };
}
