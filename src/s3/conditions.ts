/** Conditional requests, on read and on write (RFC 9110, section 13, as S3 applies it). */
import type { Time } from '../io/clock.js';
import type { StoredObject } from './object-store.js';
import { S3Error } from './s3-error.js';
import type { S3Request } from './s3-request.js';

function matches(header: string, etag: string): boolean {
  return header.split(',').some((one) => {
    const tag = one
      .trim()
      .replace(/^W\//, '')
      .replace(/^"(.*)"$/, '$1');
    return tag === '*' || tag === etag;
  });
}

function seconds(header: string | undefined): number | undefined {
  const ms = header === undefined ? Number.NaN : Date.parse(header);
  return Number.isFinite(ms) ? Math.floor(ms / 1000) : undefined;
}

function failed(condition: string): S3Error {
  return new S3Error('PreconditionFailed', 'At least one of the pre-conditions you specified did not hold', {
    fields: { Condition: condition },
  });
}

/** For GET and HEAD. PreconditionFailed, NotModified. `prefix`: of the headers, for a copy's source. */
export function checkRead(
  request: S3Request,
  { etag, mtime }: { readonly etag: string; readonly mtime: Time },
  prefix = '',
): void {
  const isCopy = prefix !== '';
  const header = (name: string) => request.header(prefix + name);
  const ifMatch = header('if-match');
  const unmodified = seconds(header('if-unmodified-since'));
  if (ifMatch !== undefined) {
    if (!matches(ifMatch, etag)) throw failed('If-Match');
  } else if (unmodified !== undefined && mtime.sec > unmodified) throw failed('If-Unmodified-Since');
  const notModified = (condition: string) =>
    isCopy ? failed(condition) : new S3Error('NotModified', 'Not Modified', { headers: { etag: `"${etag}"` } });
  const ifNoneMatch = header('if-none-match');
  const modified = seconds(header('if-modified-since'));
  if (ifNoneMatch !== undefined) {
    if (matches(ifNoneMatch, etag)) throw notModified('If-None-Match');
  } else if (modified !== undefined && mtime.sec <= modified) throw notModified('If-Modified-Since');
}

/** For PUT, Complete and DELETE: against what stands at the moment of the change. PreconditionFailed, NoSuchKey. */
export function checkWrite(request: S3Request, present: StoredObject | undefined): void {
  const ifMatch = request.header('if-match');
  const ifNoneMatch = request.header('if-none-match');
  if (ifMatch !== undefined) {
    if (present === undefined) throw new S3Error('NoSuchKey', 'The specified key does not exist.');
    if (!matches(ifMatch, present.etag)) throw failed('If-Match');
  }
  if (ifNoneMatch !== undefined && present !== undefined && matches(ifNoneMatch, present.etag))
    throw failed('If-None-Match');
}
