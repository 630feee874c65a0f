/** The errors of S3, each with its code and status, and how Cairn's own become one. The text is for a person; clients match the code. */
import { CairnError } from '../errors/cairn-error.js';

const STATUS = {
  AccessControlListNotSupported: 400,
  AccessDenied: 403,
  AuthorizationHeaderMalformed: 400,
  AuthorizationQueryParametersError: 400,
  AccessForbidden: 403,
  BadDigest: 400,
  BadRequest: 400,
  BucketAlreadyExists: 409,
  BucketAlreadyOwnedByYou: 409,
  BucketNotEmpty: 409,
  EntityTooLarge: 400,
  EntityTooSmall: 400,
  IllegalLocationConstraintException: 400,
  IncompleteBody: 400,
  InternalError: 500,
  InvalidAccessKeyId: 403,
  InvalidArgument: 400,
  InvalidBucketAclWithObjectOwnership: 400,
  InvalidBucketName: 400,
  InvalidBucketState: 409,
  InvalidDigest: 400,
  InvalidLocationConstraint: 400,
  InvalidPart: 400,
  InvalidPartOrder: 400,
  InvalidPolicyDocument: 400,
  InvalidRange: 416,
  InvalidRequest: 400,
  InvalidRetentionPeriod: 400,
  InvalidStorageClass: 400,
  InvalidTag: 400,
  InvalidURI: 400,
  KeyConflict: 409,
  KeyTooLongError: 400,
  MalformedACLError: 400,
  MalformedPOSTRequest: 400,
  MalformedPolicy: 400,
  MalformedTrailerError: 400,
  MalformedXML: 400,
  MaxMessageLengthExceeded: 400,
  MaxPostPreDataLengthExceededError: 400,
  MetadataTooLarge: 400,
  MethodNotAllowed: 405,
  MissingContentLength: 411,
  NoSuchBucket: 404,
  NoSuchBucketPolicy: 404,
  NoSuchCORSConfiguration: 404,
  NoSuchKey: 404,
  NoSuchLifecycleConfiguration: 404,
  NoSuchObjectLockConfiguration: 404,
  NoSuchPublicAccessBlockConfiguration: 404,
  NoSuchTagSet: 404,
  NoSuchTagSetError: 404,
  NoSuchUpload: 404,
  NoSuchVersion: 404,
  NoSuchWebsiteConfiguration: 404,
  NotImplemented: 501,
  NotModified: 304,
  ObjectLockConfigurationNotFoundError: 404,
  OperationAborted: 409,
  OwnershipControlsNotFoundError: 404,
  PreconditionFailed: 412,
  ReplicationConfigurationNotFoundError: 404,
  RequestHeaderSectionTooLarge: 431,
  RequestTimeTooSkewed: 403,
  RequestTimeout: 400,
  ServerSideEncryptionConfigurationNotFoundError: 404,
  ServiceUnavailable: 503,
  SignatureDoesNotMatch: 403,
  SlowDown: 503,
  TooManyBuckets: 400,
  UnexpectedContent: 400,
  UnresolvableGrantByEmailAddress: 400,
  XAmzContentSHA256Mismatch: 400,
} as const;

export type S3Code = keyof typeof STATUS;

export class S3Error extends Error {
  override readonly name = 'S3Error';
  readonly code: S3Code;
  readonly status: number;
  /** More elements of the XML body. */
  readonly fields: Readonly<Record<string, string>>;
  /** More headers of the answer. */
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    code: S3Code,
    message: string,
    more: {
      readonly fields?: Readonly<Record<string, string>>;
      readonly headers?: Readonly<Record<string, string>>;
      readonly cause?: unknown;
      /** Where it is not the code's usual one. */
      readonly status?: number;
    } = {},
  ) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.code = code;
    this.status = more.status ?? STATUS[code];
    this.fields = more.fields ?? {};
    this.headers = more.headers ?? {};
  }
}

export function notImplemented(what: string): S3Error {
  return new S3Error('NotImplemented', `${what} is not offered by this server.`);
}

/** What a client is told of an error. `isOurs`: it is a failure of the server, which belongs into the log with its cause. */
export function toS3Error(error: unknown): { readonly error: S3Error; readonly isOurs: boolean } {
  if (error instanceof S3Error) return { error, isOurs: error.status >= 500 && error.code === 'InternalError' };
  if (!(error instanceof CairnError))
    return { error: new S3Error('InternalError', 'The server failed to answer.', { cause: error }), isOurs: true };
  const told = (code: S3Code, message: string) => ({
    error: new S3Error(code, message, { cause: error }),
    isOurs: false,
  });
  switch (error.code) {
    case 'NAME_TOO_LONG':
      return told('KeyTooLongError', 'The key is too long.');
    case 'TOO_BIG':
      return told('EntityTooLarge', error.message);
    case 'STALE':
    case 'NOT_FOUND':
    case 'CONFLICT':
      return told('OperationAborted', 'What the request is about has just been changed by another. Try again.');
    case 'NOT_DIRECTORY':
    case 'IS_DIRECTORY':
    case 'EXISTS':
      return told('InvalidRequest', 'The key is in the way of another name in the file system.');
    case 'NO_SPACE':
    case 'BUSY':
    case 'CLOSED':
    case 'READ_ONLY':
    case 'DISK_FAILED':
      return { error: new S3Error('ServiceUnavailable', error.message, { cause: error }), isOurs: true };
    default:
      return { error: new S3Error('InternalError', error.message, { cause: error }), isOurs: true };
  }
}
