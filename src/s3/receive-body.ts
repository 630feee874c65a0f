/**
 * Takes the body of a request: small ones whole into memory, an object's as a stream into the pool. Everything that the client has said of the bytes
 * (length, MD5, SHA-256, checksums, signatures) has been compared with them when this resolves; nothing has been published.
 */
import { createHash } from 'node:crypto';
import type { StoredContent } from '../vfs/content-writer.js';
import type { ObjectTree } from '../vfs/object-tree.js';
import type { PayloadMode } from './authenticate.js';
import {
  CHECKSUMS,
  type ChecksumName,
  checksumBytes,
  checksumHeader,
  checksumNamed,
  newChecksum,
} from './checksums.js';
import { ChunkedBody } from './chunked-body.js';
import { Md5Lanes } from './md5-lanes.js';
import { S3Error } from './s3-error.js';
import type { S3Request } from './s3-request.js';

const lanes = new Md5Lanes();

/** What one PUT may bring. */
export const OBJECT_BYTES_MAX = 5 * 1024 ** 3;

export interface Received {
  readonly content: StoredContent;
  readonly md5: Buffer;
  /** What the client asked for or gave. */
  readonly checksum: { readonly name: ChecksumName; readonly value: string } | undefined;
}

/** A document that a request brings, of at most `limit` bytes. `isOfBody`: whether a checksum in the headers is the document's. */
export async function receiveDocument(
  request: S3Request,
  payload: PayloadMode,
  limit: number,
  isOfBody = true,
): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  const checks = new BodyChecks(request, payload, { isOfBody });
  await checks.run((part) => {
    bytes += part.length;
    if (bytes > limit)
      throw new S3Error('MaxMessageLengthExceeded', `Your request was too big: at most ${limit} bytes.`);
    parts.push(part);
    return undefined;
  }, limit);
  checks.finish();
  return Buffer.concat(parts);
}

/** An object's bytes, in the pool; `asked`: kept like that. */
export async function receiveObject(
  request: S3Request,
  payload: PayloadMode,
  tree: ObjectTree,
  asked: StoredContent['asked'],
): Promise<Received> {
  const checks = new BodyChecks(request, payload, { hasMd5: true });
  const length = checks.plainLength;
  if (length === undefined && request.header('transfer-encoding') === undefined)
    throw new S3Error('MissingContentLength', 'You must provide the Content-Length HTTP header.');
  if (length !== undefined && length > OBJECT_BYTES_MAX) throw tooLarge();
  const md5 = lanes.stream();
  const writer = tree.writer(length, (bytes, done) => md5.update(bytes, done), asked);
  let content: StoredContent | undefined;
  try {
    await checks.run((part) => {
      if (writer.sizeBytes + part.length > OBJECT_BYTES_MAX) throw tooLarge();
      return writer.write(part);
    }, OBJECT_BYTES_MAX);
    content = await writer.finish();
    const digest = await md5.digest();
    checks.finish(digest);
    return { content, md5: digest, checksum: checks.checksum };
  } catch (error) {
    if (content === undefined) await writer.discard();
    else tree.discard(content);
    throw error;
  }
}

function tooLarge(): S3Error {
  return new S3Error('EntityTooLarge', 'Your proposed upload exceeds the maximum allowed object size.', {
    fields: { MaxSizeAllowed: String(OBJECT_BYTES_MAX) },
  });
}

/** Computes what the client has said of the bytes while they pass. */
class BodyChecks {
  /** The length that the plain bytes must have; undefined if nobody has said. */
  readonly plainLength: number | undefined;
  checksum: { name: ChecksumName; value: string } | undefined;
  readonly #request: S3Request;
  readonly #chunked: ChunkedBody | undefined;
  readonly #sha256: ReturnType<typeof createHash> | undefined;
  readonly #expectedSha256: string | undefined;
  readonly #expectedMd5: Buffer | undefined;
  readonly #md5: ReturnType<typeof createHash> | undefined;
  readonly #checksumName: ChecksumName | undefined;
  /** Undefined: in a trailer, or asked for without a value. */
  readonly #expectedChecksum: string | undefined;
  readonly #running: ReturnType<typeof newChecksum> | undefined;
  #received = 0;

  /** `isOfBody`: a checksum in the headers is the body's. `hasMd5`: the caller computes the MD5 of the bytes. */
  constructor(request: S3Request, payload: PayloadMode, { isOfBody = true, hasMd5 = false } = {}) {
    this.#request = request;
    if (payload.kind === 'chunked') {
      this.#chunked = new ChunkedBody(payload.signatures, payload.hasTrailer);
      const decoded = request.header('x-amz-decoded-content-length');
      if (decoded === undefined || !/^\d{1,16}$/.test(decoded))
        throw new S3Error('MissingContentLength', 'You must provide the x-amz-decoded-content-length HTTP header.');
      this.plainLength = Number(decoded);
    } else {
      this.plainLength = request.contentLength;
      this.#expectedSha256 = payload.sha256;
      if (payload.sha256 !== undefined) this.#sha256 = createHash('sha256');
    }
    this.#expectedMd5 = expectedMd5(request);
    if (this.#expectedMd5 !== undefined && !hasMd5) this.#md5 = createHash('md5');
    const said = isOfBody ? saidChecksum(request) : undefined;
    this.#checksumName = said?.name;
    this.#expectedChecksum = said?.value;
    if (said !== undefined) this.#running = newChecksum(said.name);
  }

  /** Gives the plain bytes to `take`, which may have us wait. */
  async run(take: (bytes: Buffer) => Promise<void> | undefined, limit: number): Promise<void> {
    const { http } = this.#request;
    if (this.plainLength !== undefined && this.plainLength > limit)
      throw new S3Error('MaxMessageLengthExceeded', `Your request was too big: at most ${limit} bytes.`);
    try {
      await this.#request.eachPiece((piece) => {
        if (this.#chunked === undefined) return this.#take(piece, take);
        const waits = this.#chunked.take(piece).map((bytes) => this.#take(bytes, take));
        return waits.some((wait) => wait !== undefined) ? Promise.all(waits).then(() => undefined) : undefined;
      });
    } catch (error) {
      if (http.errored !== null || http.destroyed)
        if (!(error instanceof S3Error))
          throw new S3Error('IncompleteBody', 'The connection ended before the body did.', { cause: error });
      throw error;
    }
    this.#chunked?.end();
  }

  #take(bytes: Buffer, take: (bytes: Buffer) => Promise<void> | undefined): Promise<void> | undefined {
    this.#received += bytes.length;
    if (this.plainLength !== undefined && this.#received > this.plainLength)
      throw new S3Error('IncompleteBody', 'You provided more bytes than specified by the Content-Length HTTP header');
    this.#sha256?.update(bytes);
    this.#md5?.update(bytes);
    this.#running?.update(bytes);
    return take(bytes);
  }

  /** Compares. `md5`: of the bytes, where the caller has it anyway. BadDigest, IncompleteBody, XAmzContentSHA256Mismatch. */
  finish(md5?: Buffer): void {
    if (this.plainLength !== undefined && this.#received !== this.plainLength)
      throw new S3Error(
        'IncompleteBody',
        'You did not provide the number of bytes specified by the Content-Length HTTP header',
      );
    if (this.#sha256 !== undefined && this.#sha256.digest('hex') !== this.#expectedSha256)
      throw new S3Error(
        'XAmzContentSHA256Mismatch',
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
      );
    if (this.#expectedMd5 !== undefined) {
      const digest = md5 ?? this.#md5!.digest();
      if (!digest.equals(this.#expectedMd5))
        throw new S3Error('BadDigest', 'The Content-MD5 you specified did not match what we received.');
    }
    if (this.#checksumName === undefined || this.#running === undefined) return;
    const value = this.#running.digest().toString('base64');
    const expected = this.#expectedChecksum ?? this.#trailing(this.#checksumName);
    if (expected !== undefined && expected !== value)
      throw new S3Error('BadDigest', `The ${this.#checksumName} you specified did not match the calculated checksum.`);
    this.checksum = { name: this.#checksumName, value };
  }

  #trailing(name: ChecksumName): string | undefined {
    const value = this.#chunked?.trailers.get(checksumHeader(name));
    if (value !== undefined && !isChecksum(name, value))
      throw new S3Error('InvalidRequest', `Value for ${checksumHeader(name)} trailing header is invalid.`);
    const promised = this.#request.header('x-amz-trailer')?.toLowerCase();
    if (promised?.includes(checksumHeader(name)) && value === undefined)
      throw new S3Error('MalformedTrailerError', 'The trailing checksum that was announced did not come.');
    return value;
  }
}

function expectedMd5(request: S3Request): Buffer | undefined {
  const text = request.header('content-md5');
  if (text === undefined) return undefined;
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length !== 16 || bytes.toString('base64') !== text.trim())
    throw new S3Error('InvalidDigest', 'The Content-MD5 you specified is not valid.');
  return bytes;
}

function isChecksum(name: ChecksumName, text: string): boolean {
  const bytes = Buffer.from(text, 'base64');
  return bytes.length === checksumBytes(name) && bytes.toString('base64') === text;
}

/** The checksum that the request gives in a header, announces in a trailer, or names. InvalidRequest, BadDigest. */
export function saidChecksum(request: S3Request): { name: ChecksumName; value: string | undefined } | undefined {
  const given = CHECKSUMS.filter((name) => request.headers.has(checksumHeader(name)));
  if (given.length > 1)
    throw new S3Error(
      'InvalidRequest',
      'Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.',
    );
  const named = request.header('x-amz-sdk-checksum-algorithm') ?? request.header('x-amz-checksum-algorithm');
  const algorithm = named === undefined ? undefined : checksumNamed(named);
  if (named !== undefined && algorithm === undefined)
    throw new S3Error(
      'InvalidRequest',
      'Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]',
    );
  const [one] = given;
  if (one !== undefined) {
    const value = request.header(checksumHeader(one))!;
    if (!isChecksum(one, value)) throw new S3Error('BadDigest', `Value for ${checksumHeader(one)} header is invalid.`);
    if (algorithm !== undefined && algorithm !== one)
      throw new S3Error('InvalidRequest', 'Value for x-amz-sdk-checksum-algorithm header is invalid.');
    return { name: one, value };
  }
  const trailer = request.header('x-amz-trailer')?.toLowerCase();
  const trailing = CHECKSUMS.find((name) => trailer?.includes(checksumHeader(name)) === true);
  if (trailing !== undefined) return { name: trailing, value: undefined };
  return algorithm === undefined ? undefined : { name: algorithm, value: undefined };
}
