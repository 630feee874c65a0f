/**
 * multipart/form-data as a stream, for uploads by POST: small fields first, then one file, whose bytes are handed on as they come. What comes behind
 * the file is not looked at, as S3 has it. Everything but the file is bounded: the names, headers and fields together.
 */
import { S3Error } from './s3-error.js';

/** Of all fields before the file, with their headers. */
const FIELDS_BYTES_MAX = 20 * 1024;
/** Behind the file. */
const EPILOGUE_BYTES_MAX = 1024 * 1024;
const BOUNDARY_MAX = 70;
const CRLF = Buffer.from('\r\n');
const HEADERS_END = Buffer.from('\r\n\r\n');

export interface FormFile {
  /** As the client gave it; '' if it did not. */
  readonly name: string;
  readonly contentType: string | undefined;
  /** The bytes, once. MalformedPOSTRequest where the body ends within the file. */
  readonly bytes: AsyncIterable<Buffer>;
}

export interface Form {
  /** By lower-case name. */
  readonly fields: ReadonlyMap<string, string>;
  readonly file: FormFile;
}

/** The boundary in a Content-Type. InvalidRequest, MalformedPOSTRequest. */
export function boundaryOf(contentType: string | undefined): string {
  if (contentType === undefined || !/^multipart\/form-data\s*(;|$)/i.test(contentType))
    throw new S3Error('InvalidRequest', 'POST requires a body of the type multipart/form-data.');
  const match = /;\s*boundary=(?:"([^"]*)"|([^;\s]*))/i.exec(contentType);
  const boundary = match?.[1] ?? match?.[2] ?? '';
  // RFC 2046, 5.1.1.
  if (boundary.length > BOUNDARY_MAX || !/^[0-9a-zA-Z'()+_,./:=? -]*[0-9a-zA-Z'()+_,./:=?-]$/.test(boundary))
    throw malformed();
  return boundary;
}

/** Reads up to the file. MalformedPOSTRequest, MaxPostPreDataLengthExceededError, InvalidArgument (no file, a field twice). */
export async function readForm(source: AsyncIterable<Uint8Array>, boundary: string): Promise<Form> {
  const reader = new FormReader(source[Symbol.asyncIterator](), Buffer.from(`\r\n--${boundary}`, 'latin1'));
  const fields = new Map<string, string>();
  await reader.start();
  for (;;) {
    const part = await reader.headers();
    if (part === undefined) throw new S3Error('InvalidArgument', 'POST requires exactly one file upload per request.');
    const name = part.name.toLowerCase();
    if (name === 'file') {
      const { filename, contentType } = part;
      return { fields, file: { name: filename, contentType, bytes: reader.rest() } };
    }
    if (fields.has(name))
      throw new S3Error('InvalidArgument', 'A field of the form is given twice.', {
        fields: { ArgumentName: name.slice(0, 100) },
      });
    fields.set(name, await reader.field());
  }
}

interface PartHead {
  readonly name: string;
  readonly filename: string;
  readonly contentType: string | undefined;
}

class FormReader {
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #delimiter: Buffer;
  #buffer = Buffer.alloc(0);
  #isEnded = false;
  #budget = FIELDS_BYTES_MAX;

  constructor(source: AsyncIterator<Uint8Array>, delimiter: Buffer) {
    this.#source = source;
    this.#delimiter = delimiter;
    // The first delimiter has no line before it.
    this.#buffer = CRLF;
  }

  /** False at the end of the body. */
  async #more(): Promise<boolean> {
    if (this.#isEnded) return false;
    const { done, value } = await this.#source.next();
    if (done === true) {
      this.#isEnded = true;
      return false;
    }
    this.#buffer = this.#buffer.length === 0 ? Buffer.from(value) : Buffer.concat([this.#buffer, value]);
    return true;
  }

  async #need(bytes: number): Promise<void> {
    while (this.#buffer.length < bytes) if (!(await this.#more())) throw malformed();
  }

  /** Everything before `mark`, which is taken too; counted as fields. */
  async #until(mark: Buffer): Promise<Buffer> {
    let from = 0;
    for (;;) {
      const at = this.#buffer.indexOf(mark, from);
      if (at < 0 ? this.#buffer.length > this.#budget + mark.length : at > this.#budget) throw tooMuch();
      if (at >= 0) {
        const found = this.#buffer.subarray(0, at);
        this.#buffer = this.#buffer.subarray(at + mark.length);
        this.#budget -= at;
        return found;
      }
      from = Math.max(0, this.#buffer.length - mark.length + 1);
      if (!(await this.#more())) throw malformed();
    }
  }

  /** To the first delimiter; text before it is not a part. */
  async start(): Promise<void> {
    await this.#until(this.#delimiter);
  }

  /** Behind a delimiter: the head of the next part; undefined at the end of the form. */
  async headers(): Promise<PartHead | undefined> {
    await this.#need(2);
    if (this.#buffer.subarray(0, 2).toString('latin1') === '--') return undefined;
    // White space may follow a delimiter.
    const padding = await this.#until(CRLF);
    if (!/^[ \t]*$/.test(padding.toString('latin1'))) throw malformed();
    await this.#need(2);
    if (this.#buffer.subarray(0, 2).equals(CRLF)) throw malformed();
    return readHead((await this.#until(HEADERS_END)).toString('utf8'));
  }

  async field(): Promise<string> {
    return (await this.#until(this.#delimiter)).toString('utf8');
  }

  /** The file's bytes up to the next delimiter. */
  async *rest(): AsyncGenerator<Buffer> {
    const keep = this.#delimiter.length - 1;
    for (;;) {
      const at = this.#buffer.indexOf(this.#delimiter);
      const end = at >= 0 ? at : Math.max(0, this.#buffer.length - keep);
      if (end > 0) {
        const bytes = this.#buffer.subarray(0, end);
        this.#buffer = this.#buffer.subarray(end);
        yield bytes;
      }
      if (at >= 0) break;
      if (!(await this.#more())) throw malformed();
    }
    this.#buffer = Buffer.alloc(0);
    // The connection can be used again when the body has been read whole.
    for (let left = EPILOGUE_BYTES_MAX; await this.#more(); this.#buffer = Buffer.alloc(0)) {
      left -= this.#buffer.length;
      if (left < 0) throw malformed();
    }
  }
}

function readHead(text: string): PartHead {
  let name: string | undefined;
  let filename = '';
  let contentType: string | undefined;
  for (const line of text.split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon <= 0) throw malformed();
    const header = line.slice(0, colon).trim().toLowerCase();
    const value = line.slice(colon + 1).trim();
    if (header === 'content-type') contentType = value;
    if (header !== 'content-disposition') continue;
    if (!/^form-data\s*;/i.test(value)) throw malformed();
    name = parameterOf(value, 'name');
    filename = parameterOf(value, 'filename') ?? '';
  }
  if (name === undefined || name === '') throw malformed();
  return { name, filename, contentType };
}

/** Quoted as browsers quote: `"` as %22 or with a backslash. */
function parameterOf(value: string, name: string): string | undefined {
  for (const match of value.matchAll(/;\s*([!#$%&'*+.^_`|~0-9a-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s"]*))/gi)) {
    if (match[1]!.toLowerCase() !== name) continue;
    return match[2] === undefined ? (match[3] ?? '') : match[2].replace(/\\(["\\])/g, '$1').replace(/%22/g, '"');
  }
  return undefined;
}

function malformed(): S3Error {
  return new S3Error('MalformedPOSTRequest', 'The body of your POST request is not well-formed multipart/form-data.');
}

function tooMuch(): S3Error {
  return new S3Error(
    'MaxPostPreDataLengthExceededError',
    `Your POST request fields preceding the upload file were too large: at most ${FIELDS_BYTES_MAX} bytes.`,
  );
}
