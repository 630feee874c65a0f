/** A client of the S3 face for tests: signs with version 4 by the functions that signature-v4.test.ts proves against AWS's examples. */
import { createHash } from 'node:crypto';
import { request } from 'node:http';
import { canonicalRequest, SigningKeys, signatureOf, stringToSign, uriEncode } from '../../../src/s3/signature-v4.js';
import type { S3User } from '../../../src/s3/users.js';

export interface ClientAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
  /** The code of an error's XML; '' if it is none. */
  readonly code: string;
}

export interface ClientRequest {
  /** Text, encoded by the client. */
  readonly key?: string;
  readonly query?: readonly (readonly [string, string])[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
  /** Sent without a signature. */
  readonly isAnonymous?: boolean;
  readonly atMs?: number;
}

const keys = new SigningKeys();

export class SigningClient {
  constructor(
    readonly endpoint: string,
    readonly user: Pick<S3User, 'accessKey' | 'secretKey'>,
  ) {}

  send(method: string, bucket: string, options: ClientRequest = {}): Promise<ClientAnswer> {
    const { key, query = [], isAnonymous = false } = options;
    const body = Buffer.from(options.body ?? '');
    const path = `/${bucket}${key === undefined ? '' : `/${uriEncode(key, true)}`}`;
    const timestamp = new Date(options.atMs ?? Date.now()).toISOString().replace(/[-:]|\.\d{3}/g, '');
    const scope = { date: timestamp.slice(0, 8), region: 'us-east-1', service: 's3' };
    const payloadHash = createHash('sha256').update(body).digest('hex');
    const { host } = new URL(this.endpoint);
    const headers: Record<string, string> = {
      ...options.headers,
      host,
      'content-length': String(body.length),
      ...(isAnonymous
        ? {}
        : {
            'x-amz-date': timestamp,
            'x-amz-content-sha256': options.headers?.['x-amz-content-sha256'] ?? payloadHash,
          }),
    };
    if (!isAnonymous) {
      const all = new Map(Object.entries(headers).map(([name, value]) => [name, [value]]));
      const signedHeaders = [...all.keys()].sort();
      const hash = headers['x-amz-content-sha256']!;
      const canonical = canonicalRequest({
        method,
        rawPath: path,
        parameters: query,
        headers: all,
        signedHeaders,
        payloadHash: hash,
      });
      const signature = signatureOf(keys.key(this.user.secretKey, scope), stringToSign(timestamp, scope, canonical));
      headers['authorization'] =
        `AWS4-HMAC-SHA256 Credential=${this.user.accessKey}/${scope.date}/us-east-1/s3/aws4_request, SignedHeaders=${signedHeaders.join(';')}, Signature=${signature}`;
    }
    const search = query.map(([name, value]) => `${uriEncode(name, false)}=${uriEncode(value, false)}`).join('&');
    return exchange(this.endpoint, method, `${path}${search === '' ? '' : `?${search}`}`, headers, body);
  }
}

export function exchange(
  endpoint: string,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>>,
  body: Uint8Array,
): Promise<ClientAnswer> {
  const { hostname, port } = new URL(endpoint);
  return new Promise((resolve, reject) => {
    const sent = request({ hostname, port, method, path, headers, agent: false }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('error', reject);
      response.on('end', () => {
        const all = Buffer.concat(parts);
        const code = /<Error><Code>(\w+)<\/Code>/.exec(all.toString('latin1'))?.[1] ?? '';
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: all, code });
      });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}
