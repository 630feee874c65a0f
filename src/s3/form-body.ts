/** A multipart/form-data body, read field by field as it comes (RFC 7578); the file, of any size, as a stream. Everything else is bounded. */
import type { IncomingMessage } from 'node:http';
import { S3Error } from './s3-error.js';

const HEADERS_BYTES_MAX = 8 * 1024;
const FIELD_BYTES_MAX = 64 * 1024;
const FIELDS_MAX = 100;
const CRLF = Buffer.from('\r\n');

export interface FormFile {
  readonly name: string;
  /** As the browser gives it; '' if it does not. */
  readonly fileName: string;
  readonly contentType: string | undefined;
}

export class FormBody {
  readonly #source: AsyncIterator<Buffer>;
  readonly #delimiter: Buffer;
  #buffer: Buffer = CRLF;
  #isOver = false;

  /** MalformedPOSTRequest if the content type says no boundary. */
  constructor(http: IncomingMessage, contentType: string | undefined) {
    const match = /^multipart\/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]{1,200})"|([^;\s]{1,200}))/i.exec(
      contentType ?? '',
    );
    const boundary = match?.[1] ?? match?.[2];
    if (boundary === undefined) throw broken();
    this.#delimiter = Buffer.from(`\r\n--${boundary}`, 'latin1');
    this.#source = (http.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  }

  /** The fields up to the file, with lower-case names, and the file, which `file` then streams. */
  async fields(): Promise<{ readonly fields: ReadonlyMap<string, string>; readonly file: FormFile }> {
    const fields = new Map<string, string>();
    for (let count = 0; count <= FIELDS_MAX; count++) {
      for await (const _ of this.#until(this.#delimiter)) if (count > 0) throw broken();
      const header = await this.#header();
      if (header === undefined)
        throw new S3Error('InvalidArgument', 'POST requires exactly one file upload per request.', {
          fields: { ArgumentName: 'file', ArgumentValue: '0' },
        });
      if (header.name === 'file') return { fields, file: header };
      const parts: Buffer[] = [];
      let bytes = 0;
      for await (const part of this.#until(this.#delimiter)) {
        bytes += part.length;
        if (bytes > FIELD_BYTES_MAX) throw new S3Error('MaxMessageLengthExceeded', 'A field of the form is too long.');
        parts.push(part);
      }
      fields.set(header.name, Buffer.concat(parts).toString('utf8'));
      // The delimiter has been taken: the next turn must find itself behind it.
      this.#buffer = Buffer.concat([this.#delimiter, this.#buffer]);
    }
    throw broken();
  }

  /** The file's bytes. What follows it is read and does not count. */
  async *file(): AsyncGenerator<Buffer> {
    yield* this.#until(this.#delimiter);
    while (!this.#isOver) {
      this.#buffer = Buffer.alloc(0);
      await this.#more();
    }
  }

  /** Bytes before the next delimiter, which is taken. */
  async *#until(delimiter: Buffer): AsyncGenerator<Buffer> {
    for (;;) {
      const at = this.#buffer.indexOf(delimiter);
      if (at >= 0) {
        const bytes = this.#buffer.subarray(0, at);
        this.#buffer = this.#buffer.subarray(at + delimiter.length);
        if (bytes.length > 0) yield bytes;
        return;
      }
      const safe = this.#buffer.length - delimiter.length + 1;
      if (safe > 0) {
        const bytes = this.#buffer.subarray(0, safe);
        this.#buffer = this.#buffer.subarray(safe);
        yield bytes;
      }
      await this.#more();
      if (this.#isOver) throw broken();
    }
  }

  /** Behind a delimiter: the part's headers; undefined at the end of the form. */
  async #header(): Promise<FormFile | undefined> {
    while (this.#buffer.length < 2 && !this.#isOver) await this.#more();
    if (this.#buffer.toString('latin1', 0, 2) === '--') return undefined;
    let text = '';
    for await (const bytes of this.#until(Buffer.from('\r\n\r\n'))) {
      text += bytes.toString('utf8');
      if (text.length > HEADERS_BYTES_MAX) throw broken();
    }
    const disposition = /^content-disposition:\s*form-data\s*;(.*)$/im.exec(text)?.[1] ?? '';
    const name = /(?:^|;)\s*name="([^"]*)"/i.exec(disposition)?.[1];
    if (name === undefined) throw broken();
    const fileName = /(?:^|;)\s*filename="([^"]*)"/i.exec(disposition)?.[1] ?? '';
    return { name: name.toLowerCase(), fileName, contentType: /^content-type:\s*(.*?)\s*$/im.exec(text)?.[1] };
  }

  async #more(): Promise<void> {
    const { done, value } = await this.#source.next();
    if (done === true) this.#isOver = true;
    else this.#buffer = this.#buffer.length === 0 ? value : Buffer.concat([this.#buffer, value]);
  }
}

function broken(): S3Error {
  return new S3Error('MalformedPOSTRequest', 'The body of your POST request is not well-formed multipart/form-data.');
}
