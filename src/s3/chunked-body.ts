/**
 * A body in `aws-chunked` encoding, piece by piece: chunks with or without signatures, then trailing headers with or without one.
 *
 *     size in hex [;chunk-signature=…] CRLF bytes CRLF   …   0 [;chunk-signature=…] CRLF (name:value CRLF)* [x-amz-trailer-signature:… CRLF] CRLF
 *
 * Bytes are handed on before their chunk's signature has been checked: whoever takes them must not let them count before the end has been reached.
 */
import { createHash, type Hash } from 'node:crypto';
import { S3Error } from './s3-error.js';
import type { ChunkSignatures } from './signature-v4.js';

const LINE_BYTES_MAX = 1024;
const TRAILERS_BYTES_MAX = 16 * 1024;
const EMPTY = Buffer.alloc(0);

type State = 'size' | 'bytes' | 'end of chunk' | 'trailers' | 'over';

export class ChunkedBody {
  /** Lower-case names; complete at the end. */
  readonly trailers = new Map<string, string>();
  readonly #signatures: ChunkSignatures | undefined;
  readonly #hasTrailer: boolean;
  #state: State = 'size';
  /** What has been read of a line that is not complete. */
  #rest: Buffer = EMPTY;
  #left = 0;
  #signature = '';
  #hash: Hash | undefined;
  #trailerLines = '';
  #trailerSignature: string | undefined;

  constructor(signatures: ChunkSignatures | undefined, hasTrailer: boolean) {
    this.#signatures = signatures;
    this.#hasTrailer = hasTrailer;
  }

  get isOver(): boolean {
    return this.#state === 'over';
  }

  /** The plain bytes in a piece of the body. InvalidRequest, SignatureDoesNotMatch, MalformedTrailerError. */
  take(piece: Buffer): Buffer[] {
    const plain: Buffer[] = [];
    let input = this.#rest.length === 0 ? piece : Buffer.concat([this.#rest, piece]);
    this.#rest = EMPTY;
    while (input.length > 0) {
      if (this.#state === 'over') throw new S3Error('InvalidRequest', 'There is something after the end of the body.');
      if (this.#state === 'bytes') {
        const bytes = input.subarray(0, this.#left);
        this.#hash?.update(bytes);
        plain.push(bytes);
        this.#left -= bytes.length;
        input = input.subarray(bytes.length);
        if (this.#left === 0) this.#state = 'end of chunk';
        continue;
      }
      const end = input.indexOf('\r\n');
      if (end > LINE_BYTES_MAX || (end < 0 && input.length > LINE_BYTES_MAX + 1))
        throw new S3Error('InvalidRequest', 'A line of the chunked body is too long.');
      if (end < 0) {
        this.#rest = input;
        break;
      }
      this.#line(input.toString('latin1', 0, end));
      input = input.subarray(end + 2);
    }
    return plain;
  }

  /** The body has ended. IncompleteBody if it should not have. */
  end(): void {
    if (this.#state !== 'over') throw new S3Error('IncompleteBody', 'The request body terminated unexpectedly');
  }

  #line(line: string): void {
    switch (this.#state) {
      case 'size':
        this.#begin(line);
        break;
      case 'end of chunk':
        if (line !== '') throw new S3Error('InvalidRequest', 'A chunk is longer than it says.');
        this.#checkChunk();
        this.#state = 'size';
        break;
      case 'trailers':
        if (line === '') this.#finish();
        else this.#trailer(line);
        break;
    }
  }

  #begin(line: string): void {
    const match = /^([0-9a-fA-F]{1,14})(?:;(.*))?$/.exec(line);
    if (match === null) throw new S3Error('InvalidRequest', 'The size of a chunk is not a number.');
    this.#left = Number.parseInt(match[1]!, 16);
    this.#signature = /^chunk-signature=([0-9a-f]{64})$/.exec(match[2]?.trim() ?? '')?.[1] ?? '';
    if (this.#signatures !== undefined) {
      if (this.#signature === '') throw wrong();
      this.#hash = createHash('sha256');
    }
    if (this.#left > 0) {
      this.#state = 'bytes';
      return;
    }
    this.#checkChunk();
    this.#state = 'trailers';
  }

  #checkChunk(): void {
    if (this.#signatures === undefined || this.#hash === undefined) return;
    const sha256 = this.#hash.digest('hex');
    this.#hash = undefined;
    if (!this.#signatures.takeChunk(this.#signature, sha256)) throw wrong();
  }

  #trailer(line: string): void {
    const colon = line.indexOf(':');
    if (!this.#hasTrailer || colon < 1 || this.#trailerLines.length > TRAILERS_BYTES_MAX)
      throw new S3Error(
        'MalformedTrailerError',
        'The request contained trailing data that was not well-formed or did not conform to our published schema.',
      );
    const name = line.slice(0, colon).trim().toLowerCase();
    const value = line.slice(colon + 1).trim();
    if (name === 'x-amz-trailer-signature') this.#trailerSignature = value;
    else {
      this.trailers.set(name, value);
      this.#trailerLines += `${name}:${value}\n`;
    }
  }

  #finish(): void {
    this.#state = 'over';
    if (this.#signatures === undefined || !this.#hasTrailer) return;
    if (
      this.#trailerSignature === undefined ||
      !this.#signatures.takeTrailer(this.#trailerSignature, this.#trailerLines)
    )
      throw wrong();
  }
}

function wrong(): S3Error {
  return new S3Error('SignatureDoesNotMatch', 'The signature of a chunk does not match what was sent.');
}
