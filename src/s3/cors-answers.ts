/** What browsers are told of a bucket's CORS rules: with every answer, and when they ask before they send. */
import { type Bucket, readSubject } from './bucket-config.js';
import type { Answer } from './call.js';
import { type CorsRequest, type CorsRule, corsHeaders, preflight } from './cors.js';
import type { ObjectStore } from './object-store.js';
import { S3Error } from './s3-error.js';
import type { S3Request } from './s3-request.js';

function rulesOf(bucket: Bucket): readonly CorsRule[] | undefined {
  return readSubject(bucket.attributes, 'cors') as readonly CorsRule[] | undefined;
}

function corsRequest(request: S3Request, ownMethod: string | undefined): CorsRequest {
  return {
    origin: request.header('origin'),
    method: request.header('access-control-request-method') ?? ownMethod,
    headers: request.header('access-control-request-headers'),
  };
}

async function rulesFor(request: S3Request, store: ObjectStore): Promise<readonly CorsRule[] | undefined> {
  try {
    return request.bucket === '' ? undefined : rulesOf(await store.bucket(request.bucket));
  } catch (error) {
    // What the request itself is answered says that there is no such bucket.
    if (error instanceof S3Error) return undefined;
    throw error;
  }
}

/** Headers for any answer to the request, refusals included. */
export async function corsHeadersOf(request: S3Request, store: ObjectStore): Promise<Record<string, string>> {
  if (request.header('origin') === undefined) return {};
  const rules = await rulesFor(request, store);
  return rules === undefined ? {} : corsHeaders(rules, corsRequest(request, request.method));
}

/** OPTIONS: a browser asks before it sends; it never signs that. */
export async function answerPreflight(request: S3Request, store: ObjectStore): Promise<Answer> {
  return { status: 200, headers: preflight(await rulesFor(request, store), corsRequest(request, undefined)) };
}
