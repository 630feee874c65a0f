/**
 * One request as S3 reads it: bucket and key from path or host, query and headers checked for what HTTP libraries let through. Nothing is decided here
 * but what the client has asked for.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { keyOf } from './key-path.js';
import { notImplemented, S3Error } from './s3-error.js';

const PATH_BYTES_MAX = 8 * 1024;
const PARAMETERS_MAX = 128;
const KEY_BYTES_MAX = 1024;

export class S3Request {
  readonly http: IncomingMessage;
  readonly id: string;
  readonly method: string;
  /** As it was sent, without the query. */
  readonly rawPath: string;
  /** Decoded, in the order sent. */
  readonly parameters: readonly (readonly [name: string, value: string])[];
  /** '' where the request names none. */
  readonly bucket: string;
  /** The host names the bucket. */
  readonly isVirtual: boolean;
  /** Undefined where the request names none; a binary string (key-path.ts). */
  readonly key: string | undefined;
  /** All values of each header, lower-case names, in the order sent. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
  readonly #query = new Map<string, string>();
  #waiting: ServerResponse | undefined;

  /** InvalidURI, InvalidRequest, KeyTooLongError. `domain`: hosts that end in it name a bucket in front. `waiting`: the client sends its body when it is told to go on. */
  constructor(http: IncomingMessage, id: string, domain: string | undefined, waiting?: ServerResponse) {
    this.http = http;
    this.#waiting = waiting;
    this.id = id;
    this.method = http.method ?? 'GET';
    this.headers = headersOf(http.rawHeaders);
    const url = http.url ?? '/';
    const mark = url.indexOf('?');
    this.rawPath = mark < 0 ? url : url.slice(0, mark);
    if (!this.rawPath.startsWith('/') || this.rawPath.length > PATH_BYTES_MAX)
      throw new S3Error('InvalidURI', 'The request has no valid path.');
    this.parameters = mark < 0 ? [] : parseQuery(url.slice(mark + 1));
    for (const [name, value] of this.parameters) if (!this.#query.has(name)) this.#query.set(name, value);
    const host = this.header('host')?.toLowerCase().replace(/:\d+$/, '') ?? '';
    const virtual = domain !== undefined && host.endsWith(`.${domain}`) ? host.slice(0, -domain.length - 1) : '';
    const path = this.rawPath.slice(1);
    const slash = path.indexOf('/');
    const first = slash < 0 ? path : path.slice(0, slash);
    const rawKey = virtual !== '' ? path : slash < 0 ? '' : path.slice(slash + 1);
    this.isVirtual = virtual !== '';
    this.bucket = virtual !== '' ? virtual : decodePart(first);
    this.key = rawKey === '' ? undefined : keyFrom(rawKey);
  }

  /** The client has not been told to send its body, and may never send it. */
  get isWaiting(): boolean {
    return this.#waiting !== undefined;
  }

  /**
   * Gives the body to `take` as it comes; nothing more comes until what `take` returns has resolved. Rejects with what `take` throws, and then leaves the
   * rest of the body to be read by another.
   */
  eachPiece(take: (piece: Buffer) => Promise<void> | undefined): Promise<void> {
    this.#goOn();
    const { http } = this;
    return new Promise((resolve, reject) => {
      let isOver = false;
      const end = (error?: unknown): void => {
        if (isOver) return;
        isOver = true;
        http.off('data', onData);
        http.off('end', onEnd);
        http.off('error', end);
        http.off('close', onClose);
        http.pause();
        if (error === undefined) resolve();
        else reject(error);
      };
      const goOn = (): void => {
        if (!isOver) http.resume();
      };
      const onData = (piece: Buffer): void => {
        let wait: Promise<void> | undefined;
        try {
          wait = take(piece);
        } catch (error) {
          end(error);
          return;
        }
        if (wait === undefined) return;
        http.pause();
        wait.then(goOn, end);
      };
      const onEnd = (): void => end();
      const onClose = (): void => end(http.errored ?? new Error('the connection ended before the body did'));
      http.on('end', onEnd);
      http.on('error', end);
      http.on('close', onClose);
      http.on('data', onData);
      if (http.destroyed) onClose();
      else if (http.readableEnded) onEnd();
    });
  }

  /** The body as it comes. Whoever stops in the middle leaves the rest to be read. */
  body(): AsyncIterableIterator<Buffer> {
    this.#goOn();
    return this.http.iterator({ destroyOnReturn: false }) as AsyncIterableIterator<Buffer>;
  }

  #goOn(): void {
    this.#waiting?.writeContinue();
    this.#waiting = undefined;
  }

  /** A parameter of the query; '' for one without a value. */
  query(name: string): string | undefined {
    return this.#query.get(name);
  }

  has(name: string): boolean {
    return this.#query.has(name);
  }

  /** The header, several joined as HTTP says. */
  header(name: string): string | undefined {
    return this.headers.get(name)?.join(',');
  }

  /** A whole number from the query. InvalidArgument if it is none, or out of range. */
  number(name: string, from: number, to: number): number | undefined {
    const text = this.query(name);
    if (text === undefined || text === '') return undefined;
    const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= from && value <= to))
      throw new S3Error('InvalidArgument', `${name} must be a number from ${from} to ${to}.`, {
        fields: { ArgumentName: name, ArgumentValue: text.slice(0, 100) },
      });
    return value;
  }

  /** Content-Length; undefined without one. */
  get contentLength(): number | undefined {
    const text = this.header('content-length');
    if (text === undefined) return undefined;
    if (!/^\d{1,16}$/.test(text)) throw new S3Error('InvalidArgument', 'Content-Length is not a number.');
    return Number(text);
  }
}

function headersOf(raw: readonly string[]): Map<string, string[]> {
  const headers = new Map<string, string[]>();
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase();
    const values = headers.get(name);
    if (values === undefined) headers.set(name, [raw[i + 1]!]);
    else values.push(raw[i + 1]!);
  }
  // What decides where the body ends, or whose request it is, must be said once.
  for (const name of ['content-length', 'transfer-encoding', 'host', 'authorization', 'x-amz-content-sha256'])
    if ((headers.get(name)?.length ?? 0) > 1)
      throw new S3Error('InvalidRequest', `There is more than one ${name} header.`);
  if (headers.has('content-length') && headers.has('transfer-encoding'))
    throw new S3Error('InvalidRequest', 'Content-Length and Transfer-Encoding exclude each other.');
  const encoding = headers.get('transfer-encoding')?.[0]?.trim().toLowerCase();
  // Of several codings only the last is undone here: what is under it would be stored as it is.
  if (encoding !== undefined && encoding !== 'chunked')
    throw notImplemented(`The transfer coding ${encoding.slice(0, 100)}`);
  return headers;
}

function parseQuery(text: string): [string, string][] {
  const parameters: [string, string][] = [];
  for (const part of text.split('&')) {
    if (part === '') continue;
    if (parameters.length === PARAMETERS_MAX) throw new S3Error('InvalidURI', 'The query has too many parameters.');
    const equals = part.indexOf('=');
    const name = equals < 0 ? part : part.slice(0, equals);
    parameters.push([decodePart(name, true), equals < 0 ? '' : decodePart(part.slice(equals + 1), true)]);
  }
  return parameters;
}

function decodePart(text: string, plusIsSpace = false): string {
  try {
    return decodeURIComponent(plusIsSpace ? text.replaceAll('+', ' ') : text);
  } catch (cause) {
    throw new S3Error('InvalidURI', "Couldn't parse the specified URI.", { cause });
  }
}

function keyFrom(raw: string): string {
  const key = keyOf(decodePart(raw));
  checkKey(key);
  return key;
}

/** KeyTooLongError, InvalidArgument. */
export function checkKey(key: string): void {
  if (key.length > KEY_BYTES_MAX)
    throw new S3Error('KeyTooLongError', 'Your key is too long.', {
      fields: { Size: String(key.length), MaxSizeAllowed: String(KEY_BYTES_MAX) },
    });
}
