/**
 * One keep-alive connection that sends signed requests and counts what comes back. Bytes are read into one buffer that is used again and again, and
 * requests are written by hand: on two cores the client shares the processor with the server, so whatever it costs is taken from what is measured.
 */
import { createHash } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { canonicalRequest, SigningKeys, signatureOf, stringToSign, uriEncode } from '../../src/s3/signature-v4.js';

const READ_BYTES = 1024 * 1024;
const KEPT_BODY_BYTES = 4 * 1024 * 1024;
const UNSIGNED = 'UNSIGNED-PAYLOAD';

export interface Target {
  /** `http://127.0.0.1:9000` */
  readonly endpoint: string;
  readonly accessKey: string;
  readonly secretKey: string;
}

export interface Sent {
  readonly method: string;
  /** Encoded, without the query. */
  readonly path: string;
  readonly query?: readonly (readonly [string, string])[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | undefined;
  /** The length of a body that is given piece by piece to `write`. */
  readonly bodyBytes?: number;
  /** The body's SHA-256 is signed; without it, UNSIGNED-PAYLOAD. */
  readonly signsBody?: boolean;
  /** The body is wanted, and not only its length. */
  readonly keeps?: boolean;
}

export interface Received {
  readonly status: number;
  readonly bodyBytes: number;
  readonly headers: string;
  /** Empty unless it was to be kept. */
  readonly body: string;
}

const keys = new SigningKeys();

export class Connection {
  readonly #target: Target;
  readonly #host: string;
  readonly #socket: Socket;
  #waiting: { resolve(answer: Received): void; reject(error: Error): void } | undefined;
  #head = '';
  #left = 0;
  #bodyBytes = 0;
  #isBody = false;
  #keeps = false;
  #isHead = false;
  #parts: Buffer[] = [];
  #status = 0;

  static async open(target: Target): Promise<Connection> {
    const connection = new Connection(target);
    await new Promise<void>((resolve, reject) => {
      connection.#socket.once('connect', resolve);
      connection.#socket.once('error', reject);
    });
    return connection;
  }

  private constructor(target: Target) {
    this.#target = target;
    const { hostname, port, host } = new URL(target.endpoint);
    this.#host = host;
    this.#socket = connect({
      host: hostname,
      port: Number(port),
      noDelay: true,
      onread: {
        buffer: Buffer.allocUnsafe(READ_BYTES),
        callback: (length, buffer) => {
          this.#take(buffer as Buffer, length);
          return true;
        },
      },
    });
    this.#socket.on('error', (error) => this.#waiting?.reject(error));
    this.#socket.on('close', () => this.#waiting?.reject(new Error('the server closed the connection')));
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Sends and resolves with the answer, whatever its status. */
  send(request: Sent): Promise<Received> {
    this.#keeps = request.keeps === true;
    this.#isHead = request.method === 'HEAD';
    const answer = new Promise<Received>((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
    const head = this.#headOf(request);
    const { body } = request;
    if (body === undefined || body.length === 0) this.#socket.write(head, 'latin1');
    else {
      this.#socket.cork();
      this.#socket.write(head, 'latin1');
      this.#socket.write(body);
      this.#socket.uncork();
    }
    return answer;
  }

  /** A piece of a body; resolves when there is room for the next, and not before the bytes may change. */
  write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
  }

  #headOf({ method, path, query = [], headers = {}, body, bodyBytes, signsBody }: Sent): string {
    const timestamp = new Date().toISOString().replace(/[-:]|\.\d{3}/g, '');
    const scope = { date: timestamp.slice(0, 8), region: 'us-east-1', service: 's3' };
    const payloadHash =
      signsBody === true
        ? createHash('sha256')
            .update(body ?? '')
            .digest('hex')
        : UNSIGNED;
    const all: Record<string, string> = {
      ...headers,
      host: this.#host,
      'x-amz-content-sha256': payloadHash,
      'x-amz-date': timestamp,
    };
    const signedHeaders = Object.keys(all).sort();
    const canonical = canonicalRequest({
      method,
      rawPath: path,
      parameters: query,
      headers: new Map(Object.entries(all).map(([name, value]) => [name, [value]])),
      signedHeaders,
      payloadHash,
    });
    const { accessKey, secretKey } = this.#target;
    const signature = signatureOf(keys.key(secretKey, scope), stringToSign(timestamp, scope, canonical));
    const search = query.map(([name, value]) => `${uriEncode(name, false)}=${uriEncode(value, false)}`).join('&');
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
    const length = bodyBytes ?? body?.length ?? 0;
    if (method === 'PUT' || method === 'POST' || length > 0) lines.push(`content-length: ${length}\r\n`);
    const authorization = `AWS4-HMAC-SHA256 Credential=${accessKey}/${scope.date}/us-east-1/s3/aws4_request, SignedHeaders=${signedHeaders.join(';')}, Signature=${signature}`;
    return `${method} ${path}${search === '' ? '' : `?${search}`} HTTP/1.1\r\n${lines.join('')}authorization: ${authorization}\r\n\r\n`;
  }

  #take(buffer: Buffer, length: number): void {
    let at = 0;
    if (!this.#isBody) {
      this.#head += buffer.toString('latin1', 0, length);
      const end = this.#head.indexOf('\r\n\r\n');
      if (end < 0) return;
      // What of the head came with earlier pieces is not in this one.
      at = length - (this.#head.length - (end + 4));
      this.#head = this.#head.slice(0, end + 2);
      this.#status = Number(this.#head.slice(9, 12));
      const given = /\r\ncontent-length: *(\d+)\r\n/i.exec(this.#head)?.[1];
      if (given === undefined && this.#status !== 204 && this.#status !== 304 && !this.#isHead)
        throw new Error('the server answers without a Content-Length, which this client cannot read');
      this.#left = this.#isHead ? 0 : Number(given ?? 0);
      this.#bodyBytes = this.#left;
      this.#isBody = true;
    }
    const body = length - at;
    if (this.#keeps && body > 0 && this.#bodyBytes <= KEPT_BODY_BYTES)
      this.#parts.push(Buffer.from(buffer.subarray(at, length)));
    this.#left -= body;
    if (this.#left > 0) return;
    const headers = this.#head;
    this.#head = '';
    this.#isBody = false;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    const parts = this.#parts;
    this.#parts = [];
    waiting?.resolve({
      status: this.#status,
      bodyBytes: this.#bodyBytes,
      headers,
      body: parts.length === 0 ? '' : Buffer.concat(parts).toString('utf8'),
    });
  }
}
