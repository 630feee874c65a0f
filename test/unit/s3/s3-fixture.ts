/** A small pool with the S3 face on a port of loopback, three users, and a client that signs by itself (not with the server's code). */
import { createHash, createHmac } from 'node:crypto';
import type { Test } from 'tap';
import { type Clock, SystemClock } from '../../../src/io/clock.js';
import { S3Server } from '../../../src/s3/s3-server.js';
import type { S3User } from '../../../src/s3/users.js';
import { UserTable } from '../../../src/s3/users.js';
import { PoolFixture } from '../vfs/pool-fixture.js';

const REGION = 'us-east-1';
const user = (name: string, id: string): S3User => ({
  id,
  name,
  accessKey: `${name.toUpperCase()}KEY`,
  secretKey: `${name}-secret-key`,
  email: `${name}@example.com`,
});
export const MAIN = user('main', 'ma1n');
export const OTHER = user('other', '07he2');

export interface S3Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** Of an error's document. */
  readonly code: string;
}

export interface Sent {
  readonly body?: string | Uint8Array;
  readonly headers?: Record<string, string>;
  /** Null: anonymous. */
  readonly as?: S3User | null;
}

export class S3Fixture {
  readonly pool: PoolFixture;
  readonly server: S3Server;
  readonly failures: unknown[] = [];
  /** Called when a bucket keeps versions or no longer. */
  onVersioning: () => Promise<void> = async () => undefined;

  /** `given.pool`: a second server, with a clock of its own, over the pool of another fixture. */
  static async create(
    t: Test,
    given: { readonly pool?: PoolFixture; readonly clock?: Clock } = {},
  ): Promise<S3Fixture> {
    const pool = given.pool ?? (await PoolFixture.create(t));
    const clock = given.clock ?? new SystemClock();
    const failures: unknown[] = [];
    const users = new UserTable(
      async () => [MAIN, OTHER],
      clock,
      (error) => failures.push(error),
    );
    let fixture: S3Fixture | undefined;
    const server = await S3Server.start(
      {
        onVersioning: async () => fixture?.onVersioning(),
        tree: pool.pool.objects,
        users,
        clock,
        audit: () => undefined,
        onFailure: (_what, error) => failures.push(error),
      },
      { host: '127.0.0.1', port: 0, region: REGION, requestsMax: 100 },
    );
    t.teardown(() => server.close());
    fixture = new S3Fixture(pool, server, failures);
    return fixture;
  }

  private constructor(pool: PoolFixture, server: S3Server, failures: unknown[]) {
    this.pool = pool;
    this.server = server;
    this.failures = failures;
  }

  /** `path`: percent-encoded, with its query. */
  async send(method: string, path: string, { body = '', headers = {}, as = MAIN }: Sent = {}): Promise<S3Answer> {
    const url = new URL(path, this.server.endpoint);
    const bytes = typeof body === 'string' ? Buffer.from(body, 'utf8') : Buffer.from(body);
    const signed = as === null ? headers : { ...headers, ...signatureHeaders(method, url, headers, bytes, as) };
    const hasBody = method !== 'GET' && method !== 'HEAD';
    const answer = await fetch(url, {
      method,
      headers: signed,
      redirect: 'manual',
      ...(hasBody && { body: new Uint8Array(bytes) }),
    });
    const text = await answer.text();
    return {
      status: answer.status,
      headers: answer.headers,
      text,
      code: /<Code>([^<]*)<\/Code>/.exec(text)?.[1] ?? '',
    };
  }
}

const hash = (bytes: string | Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const hmac = (key: string | Uint8Array, text: string) => createHmac('sha256', key).update(text).digest();

function signatureHeaders(
  method: string,
  url: URL,
  headers: Record<string, string>,
  body: Uint8Array,
  { accessKey, secretKey }: S3User,
): Record<string, string> {
  const time = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  const day = time.slice(0, 8);
  const own = { 'x-amz-date': time, 'x-amz-content-sha256': hash(body) };
  const all = Object.entries({ host: url.host, ...headers, ...own }).map(([name, value]) => [
    name.toLowerCase(),
    value.trim(),
  ]);
  all.sort(([a = ''], [b = '']) => (a < b ? -1 : 1));
  const names = all.map(([name]) => name).join(';');
  const encode = (text: string) =>
    encodeURIComponent(text).replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);
  const query = [...url.searchParams].map(([name, value]) => `${encode(name)}=${encode(value)}`).sort();
  const canonical = [
    method,
    url.pathname,
    query.join('&'),
    ...all.map(([name, value]) => `${name}:${value}`),
    '',
    names,
    own['x-amz-content-sha256'],
  ];
  const scope = `${day}/${REGION}/s3/aws4_request`;
  const text = `AWS4-HMAC-SHA256\n${time}\n${scope}\n${hash(canonical.join('\n'))}`;
  const key = ['s3', 'aws4_request'].reduce(
    (before, part) => hmac(before, part),
    hmac(hmac(`AWS4${secretKey}`, day), REGION),
  );
  const signature = createHmac('sha256', key).update(text).digest('hex');
  return {
    ...own,
    authorization: `AWS4-HMAC-SHA256 Credential=${accessKey}/${scope}, SignedHeaders=${names}, Signature=${signature}`,
  };
}
