/** The operations on a bucket's CORS rules, and what browsers are told with every answer. */
import { type Bucket, readSubject } from './bucket-config.js';
import { bucketFor, keepSubject, receivedDocument } from './bucket-subjects.js';
import { type Answer, type Call, NO_CONTENT_ANSWER, xmlAnswer } from './call.js';
import { type CorsRequest, type CorsRule, corsHeaders, preflight, readCors, writeCors } from './cors.js';
import type { ObjectStore } from './object-store.js';
import { S3Error } from './s3-error.js';
import type { S3Request } from './s3-request.js';
import { document } from './xml.js';

function rulesOf(bucket: Bucket): readonly CorsRule[] | undefined {
  return readSubject(bucket.attributes, 'cors') as readonly CorsRule[] | undefined;
}

export async function getCors(call: Call): Promise<Answer> {
  const rules = rulesOf(await bucketFor(call, 's3:GetBucketCORS'));
  if (rules === undefined)
    throw new S3Error('NoSuchCORSConfiguration', 'The CORS configuration does not exist', {
      fields: { BucketName: call.request.bucket },
    });
  return xmlAnswer(document('CORSConfiguration', writeCors(rules)));
}

export async function putCors(call: Call): Promise<Answer> {
  const bucket = await bucketFor(call, 's3:PutBucketCORS');
  await keepSubject(call, bucket, 'cors', readCors(await receivedDocument(call)));
  return { status: 200 };
}

export async function deleteCors(call: Call): Promise<Answer> {
  await keepSubject(call, await bucketFor(call, 's3:PutBucketCORS'), 'cors', undefined);
  return NO_CONTENT_ANSWER;
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
