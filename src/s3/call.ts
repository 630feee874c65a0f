/** What every operation is given: the request, who sent it, and the parts of the server. And what it answers with. */
import type { ServerResponse } from 'node:http';
import type { Clock } from '../io/clock.js';
import type { Identity } from './authenticate.js';
import type { ChecksumName } from './checksums.js';
import type { ObjectStore, StoredObject } from './object-store.js';
import type { ObjectWrites } from './object-writes.js';
import type { S3Request } from './s3-request.js';
import type { SigningKeys } from './signature-v4.js';
import type { Uploads } from './uploads.js';
import type { UserTable } from './users.js';
import type { Versions } from './versions.js';

/** Bytes [from, to) of an object. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

export interface S3Parts {
  readonly store: ObjectStore;
  readonly versions: Versions;
  readonly writes: ObjectWrites;
  readonly uploads: Uploads;
  readonly users: UserTable;
  /** Of an object's bytes, which are read for it; in base64. */
  readonly checksumOf: (object: StoredObject, name: ChecksumName, span?: Span) => Promise<string>;
  /** In hex. */
  readonly md5Of: (object: StoredObject, span?: Span) => Promise<string>;
  /** The server's signing keys, which forms are checked with as well. */
  readonly signingKeys: SigningKeys;
  /** Whoever keeps versions for other faces looks again which buckets have them. */
  readonly versioningChanged: () => Promise<void>;
  readonly clock: Clock;
  readonly region: string;
}

export interface Call {
  readonly request: S3Request;
  readonly response: ServerResponse;
  /** Headers that every answer has; whoever answers by itself gives them. */
  readonly head: Readonly<Record<string, string>>;
  readonly identity: Identity;
  readonly parts: S3Parts;
}

export type Headers = Record<string, string | number | readonly string[] | undefined>;

export interface Answer {
  readonly status: number;
  readonly headers?: Headers;
  /** XML as text; undefined: no body. */
  readonly body?: string;
}

/** Undefined: the operation has answered itself. */
export type Operation = (call: Call) => Promise<Answer | undefined>;

export function xmlAnswer(body: string, headers: Headers = {}): Answer {
  return { status: 200, headers: { 'content-type': 'application/xml', ...headers }, body };
}

export const NO_CONTENT_ANSWER: Answer = { status: 204 };
