/**
 * Who sends a request: a user whose signature (header or query) is right, or nobody (anonymous). Whatever claims to be signed and is not, is refused;
 * that there is no such key and that its signature is wrong take the same way, as far as the answer allows.
 */

import { S3Error } from './s3-error.js';
import type { S3Request } from './s3-request.js';
import { headerUserV2, queryUserV2 } from './signature-v2.js';
import {
  ALGORITHM,
  ChunkSignatures,
  canonicalRequest,
  isSameSignature,
  type Scope,
  type SigningKeys,
  signatureOf,
  stringToSign,
} from './signature-v4.js';
import type { S3User, UserTable } from './users.js';

const SKEW_MS = 15 * 60 * 1000;
const PRESIGNED_SECONDS_MAX = 7 * 24 * 3600;

/** How the body travels, as x-amz-content-sha256 says. */
export type PayloadMode =
  | { readonly kind: 'plain'; readonly sha256: string | undefined }
  | {
      readonly kind: 'chunked';
      /** Undefined: the chunks carry no signatures. */
      readonly signatures: ChunkSignatures | undefined;
      readonly hasTrailer: boolean;
    };

export interface Identity {
  /** Undefined: anonymous. */
  readonly user: S3User | undefined;
  readonly payload: PayloadMode;
  readonly kind: 'anonymous' | 'header' | 'query';
}

export interface AuthenticationContext {
  readonly users: UserTable;
  readonly keys: SigningKeys;
  /** Another region in a scope is refused; `us-east-1` is always taken. */
  readonly region: string;
  readonly nowMs: number;
}

export function authenticate(request: S3Request, context: AuthenticationContext): Identity {
  const authorization = request.header('authorization');
  const isQuery = request.has('X-Amz-Signature') || request.has('X-Amz-Algorithm');
  if (authorization !== undefined && isQuery)
    throw new S3Error(
      'InvalidArgument',
      'Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter or the Authorization header should be specified',
    );
  if (authorization !== undefined) return byHeader(request, authorization, context);
  if (isQuery) return byQuery(request, context);
  if (request.has('Signature') && request.has('AWSAccessKeyId')) {
    const user = queryUserV2(request, context.users, context.nowMs);
    return { user, payload: payloadOf(request, undefined), kind: 'query' };
  }
  return { user: undefined, payload: payloadOf(request, undefined), kind: 'anonymous' };
}

interface Claim {
  readonly accessKey: string;
  readonly scope: Scope;
  readonly signedHeaders: readonly string[];
  readonly signature: string;
  /** YYYYMMDDTHHMMSSZ */
  readonly timestamp: string;
}

function byHeader(request: S3Request, authorization: string, context: AuthenticationContext): Identity {
  if (authorization.trim() === '') throw new S3Error('AccessDenied', 'Access Denied');
  if (!authorization.startsWith(`${ALGORITHM} `)) {
    if (authorization.startsWith('AWS ')) {
      const user = headerUserV2(request, authorization, context.users, context.nowMs);
      return { user, payload: payloadOf(request, undefined), kind: 'header' };
    }
    throw new S3Error('InvalidArgument', 'Unsupported Authorization Type');
  }
  const fields = new Map<string, string>();
  for (const part of authorization.slice(ALGORITHM.length + 1).split(',')) {
    const equals = part.indexOf('=');
    if (equals > 0) fields.set(part.slice(0, equals).trim(), part.slice(equals + 1).trim());
  }
  const credential = fields.get('Credential');
  const signature = fields.get('Signature');
  const signedHeaders = fields.get('SignedHeaders');
  if (credential === undefined || signature === undefined || signedHeaders === undefined || signedHeaders === '')
    throw new S3Error(
      'AuthorizationHeaderMalformed',
      'The authorization header is malformed; it must have Credential, SignedHeaders and Signature.',
    );
  const { accessKey, scope } = parseCredential(credential, 'AuthorizationHeaderMalformed');
  const timestamp = timestampOf(request);
  const claim = { accessKey, scope, signedHeaders: signedHeaders.split(';'), signature, timestamp };
  const sentMs = parseTimestamp(timestamp);
  if (sentMs === undefined)
    throw new S3Error('AccessDenied', 'AWS authentication requires a valid Date or x-amz-date header');
  if (Math.abs(context.nowMs - sentMs) > SKEW_MS)
    throw new S3Error(
      'RequestTimeTooSkewed',
      'The difference between the request time and the current time is too large.',
      {
        fields: {
          RequestTime: timestamp,
          ServerTime: new Date(context.nowMs).toISOString(),
          MaxAllowedSkewMilliseconds: String(SKEW_MS),
        },
      },
    );
  checkScope(claim, context, 'AuthorizationHeaderMalformed');
  const hash = request.header('x-amz-content-sha256');
  if (hash === undefined)
    throw new S3Error('InvalidRequest', 'Missing required header for this request: x-amz-content-sha256');
  const { user, key } = verify(request, claim, hash, request.parameters, context);
  const signatures = new ChunkSignatures(key, timestamp, scope, signature);
  return { user, payload: payloadOf(request, signatures), kind: 'header' };
}

function byQuery(request: S3Request, context: AuthenticationContext): Identity {
  const need = (name: string): string => {
    const value = request.query(name);
    if (value === undefined || value === '')
      throw new S3Error(
        'AuthorizationQueryParametersError',
        'Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.',
      );
    return value;
  };
  if (need('X-Amz-Algorithm') !== ALGORITHM)
    throw new S3Error('AuthorizationQueryParametersError', `X-Amz-Algorithm only supports "${ALGORITHM}"`);
  const { accessKey, scope } = parseCredential(need('X-Amz-Credential'), 'AuthorizationQueryParametersError');
  const timestamp = need('X-Amz-Date');
  const signature = need('X-Amz-Signature');
  const expires = need('X-Amz-Expires');
  const seconds = /^\d{1,7}$/.test(expires) ? Number(expires) : Number.NaN;
  if (!(seconds >= 1 && seconds <= PRESIGNED_SECONDS_MAX))
    throw new S3Error('AuthorizationQueryParametersError', 'X-Amz-Expires must be between 1 and 604800 seconds', {
      status: 403,
    });
  const sentMs = parseTimestamp(timestamp);
  if (sentMs === undefined)
    throw new S3Error(
      'AuthorizationQueryParametersError',
      "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"",
    );
  if (sentMs - context.nowMs > SKEW_MS) throw new S3Error('AccessDenied', 'Request is not yet valid');
  if (context.nowMs > sentMs + seconds * 1000) throw new S3Error('AccessDenied', 'Request has expired');
  const claim = { accessKey, scope, signedHeaders: need('X-Amz-SignedHeaders').split(';'), signature, timestamp };
  checkScope(claim, context, 'AuthorizationQueryParametersError');
  const signed = request.parameters.filter(([name]) => name !== 'X-Amz-Signature');
  const hash = request.query('X-Amz-Content-Sha256') ?? request.header('x-amz-content-sha256') ?? 'UNSIGNED-PAYLOAD';
  const { user, key } = verify(request, claim, hash, signed, context);
  return {
    user,
    payload: payloadOf(request, new ChunkSignatures(key, timestamp, scope, signature), hash),
    kind: 'query',
  };
}

function verify(
  request: S3Request,
  claim: Claim,
  payloadHash: string,
  parameters: readonly (readonly [string, string])[],
  { users, keys }: AuthenticationContext,
): { user: S3User; key: Buffer } {
  const { accessKey, scope, signedHeaders, signature, timestamp } = claim;
  if (!signedHeaders.includes('host')) throw new S3Error('AccessDenied', 'The host header must be signed.');
  for (const name of request.headers.keys()) {
    if (!name.startsWith('x-amz-') || signedHeaders.includes(name)) continue;
    throw new S3Error('AccessDenied', 'There were headers present in the request which were not signed', {
      fields: { HeadersNotSigned: name },
    });
  }
  const { method, rawPath, headers } = request;
  const canonical = canonicalRequest({ method, rawPath, parameters, headers, signedHeaders, payloadHash });
  const text = stringToSign(timestamp, scope, canonical);
  const user = users.byAccessKey(accessKey);
  const key = keys.key(user?.secretKey ?? 'nobody has this one', scope);
  const isRight = isSameSignature(signatureOf(key, text), signature);
  if (user === undefined)
    throw new S3Error('InvalidAccessKeyId', 'The AWS Access Key Id you provided does not exist in our records.', {
      fields: { AWSAccessKeyId: accessKey },
    });
  if (!isRight)
    throw new S3Error(
      'SignatureDoesNotMatch',
      'The request signature we calculated does not match the signature you provided. Check your key and signing method.',
      {
        fields: { AWSAccessKeyId: accessKey },
      },
    );
  return { user, key };
}

function parseCredential(
  credential: string,
  code: 'AuthorizationHeaderMalformed' | 'AuthorizationQueryParametersError',
): { accessKey: string; scope: Scope } {
  const parts = credential.split('/');
  const [terminator, service, region, date] = [parts.pop(), parts.pop(), parts.pop(), parts.pop()];
  const accessKey = parts.join('/');
  if (
    terminator !== 'aws4_request' ||
    service === undefined ||
    region === undefined ||
    date === undefined ||
    accessKey === ''
  )
    throw new S3Error(
      code,
      'The Credential is malformed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".',
    );
  return { accessKey, scope: { date, region, service } };
}

function checkScope(
  { scope, timestamp }: Claim,
  context: AuthenticationContext,
  code: 'AuthorizationHeaderMalformed' | 'AuthorizationQueryParametersError',
): void {
  if (scope.service !== 's3') throw new S3Error(code, `The service of the Credential is wrong; expecting "s3".`);
  if (scope.region !== context.region && scope.region !== 'us-east-1')
    throw new S3Error(code, `The region '${scope.region.slice(0, 64)}' is wrong; expecting '${context.region}'`, {
      fields: { Region: context.region },
    });
  if (!timestamp.startsWith(scope.date) || scope.date.length !== 8)
    throw new S3Error(code, 'The date of the Credential is not that of the request.');
}

function timestampOf(request: S3Request): string {
  const own = request.header('x-amz-date');
  if (own !== undefined) return own;
  const date = request.header('date');
  const ms = date === undefined ? Number.NaN : Date.parse(date);
  if (!Number.isFinite(ms))
    throw new S3Error('AccessDenied', 'AWS authentication requires a valid Date or x-amz-date header');
  return new Date(ms).toISOString().replace(/[-:]|\.\d{3}/g, '');
}

/** YYYYMMDDTHHMMSSZ in milliseconds; undefined if it is not a time. */
function parseTimestamp(text: string): number | undefined {
  const match = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second] = match;
  const iso = `${year}-${month}-${day}T${hour}:${minute}:${second}`;
  const ms = Date.parse(`${iso}Z`);
  // JavaScript takes the 31st of February for the 3rd of March.
  return Number.isFinite(ms) && new Date(ms).toISOString().startsWith(iso) ? ms : undefined;
}

/** `hash`: what was signed as the payload's. */
function payloadOf(
  request: S3Request,
  signatures: ChunkSignatures | undefined,
  hash = request.header('x-amz-content-sha256'),
): PayloadMode {
  switch (hash) {
    case 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD':
    case 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER':
      if (signatures === undefined) throw new S3Error('AccessDenied', 'Signed chunks need a signed request.');
      return { kind: 'chunked', signatures, hasTrailer: hash.endsWith('TRAILER') };
    case 'STREAMING-UNSIGNED-PAYLOAD-TRAILER':
      return { kind: 'chunked', signatures: undefined, hasTrailer: true };
    case undefined:
    case 'UNSIGNED-PAYLOAD':
      return { kind: 'plain', sha256: undefined };
    default:
      if (!/^[0-9a-f]{64}$/.test(hash))
        throw new S3Error(
          'InvalidArgument',
          'x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.',
          {
            fields: { ArgumentName: 'x-amz-content-sha256', ArgumentValue: hash.slice(0, 100) },
          },
        );
      return { kind: 'plain', sha256: hash };
  }
}
