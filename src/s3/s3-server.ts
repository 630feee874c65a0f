/**
 * The S3 face: an HTTP server over the object tree. Everything that a client can make long, large or many has a bound here; what a request does is in
 * the operations (routes.ts). Every request leaves one audit line, which has no secret in it.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, Server as TlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { assert, CairnError, systemCode } from '../errors/cairn-error.js';
import type { Clock, Timer } from '../io/clock.js';
import { whyNotListening } from '../io/system-error.js';
import type { ObjectTree } from '../vfs/object-tree.js';
import { authenticate, type Identity } from './authenticate.js';
import type { Answer, Call, S3Parts } from './call.js';
import { answerPreflight, corsHeadersOf } from './cors-answers.js';
import { digestsOf } from './digest-object.js';
import { keyText } from './key-path.js';
import { Lifecycle } from './lifecycle.js';
import { ObjectStore } from './object-store.js';
import { ObjectWrites } from './object-writes.js';
import { randomHex } from './random-hex.js';
import { clean } from './read-object.js';
import { RequestLimits } from './request-limits.js';
import { routeOf } from './routes.js';
import { S3Error, toS3Error } from './s3-error.js';
import { S3Request } from './s3-request.js';
import { SigningKeys } from './signature-v4.js';
import { type Pace, SlowClients } from './slow-clients.js';
import { Uploads } from './uploads.js';
import type { UserTable } from './users.js';
import { Versions } from './versions.js';
import { element } from './xml.js';

const HEADER_BYTES_MAX = 32 * 1024;
const HEADERS_TIMEOUT_MS = 20_000;
/** A connection on which nothing moves for so long ends. */
const IDLE_MS = 60_000;
const CONNECTIONS_MAX = 1024;
/** At the end: how long clients may take to read the rest of their answers. */
const LINGER_MS = 5000;
/** What is left of a refused request's body is read up to so much, so that the client reads the answer instead of a reset. */
const DRAIN_BYTES_MAX = 1024 * 1024;

export interface S3ServerOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly region: string;
  /** Hosts that end in it name a bucket in front. */
  readonly domain?: string | undefined;
  readonly tls?: { readonly cert: string | Buffer; readonly key: string | Buffer } | undefined;
  /** Another length of a lifecycle's day, for tests. */
  readonly lifecycleDayMs?: number | undefined;
  /** Requests under way at one time; more get SlowDown. */
  readonly requestsMax: number;
  /** Of one user, or one address that does not sign; more get SlowDown. Undefined: no limit. */
  readonly requestsPerSecond?: number | undefined;
  /** More are closed at once (1024). */
  readonly connectionsMax?: number | undefined;
  /** Other bounds for clients that trickle, for tests. */
  readonly pace?: Pace | undefined;
}

export interface AuditLine {
  readonly time: string;
  readonly id: string;
  readonly remote: string;
  readonly user: string;
  readonly operation: string;
  readonly bucket: string;
  readonly key: string;
  readonly status: number;
  readonly code: string;
  readonly elapsedMs: number;
}

export interface S3ServerParts {
  readonly tree: ObjectTree;
  readonly users: UserTable;
  readonly clock: Clock;
  /** It keeps versions or no longer: some bucket. */
  readonly onVersioning?: (() => Promise<void>) | undefined;
  readonly audit: (line: AuditLine) => void;
  /** A failure of the server's own, which clients are told of only in general. */
  readonly onFailure: (what: string, error: unknown) => void;
}

export class S3Server {
  readonly parts: S3Parts;
  readonly lifecycle: Lifecycle;
  readonly #server: Server;
  readonly #options: S3ServerOptions;
  readonly #given: S3ServerParts;
  readonly #keys = new SigningKeys();
  readonly #limits: RequestLimits;
  readonly #slow: SlowClients;
  /** The request that is being answered on a connection. */
  readonly #current = new WeakMap<Socket, { readonly http: IncomingMessage; readonly response: ServerResponse }>();
  #closed: Promise<void> | undefined;

  /** Listens when it resolves. IO if the address cannot be had. */
  static async start(given: S3ServerParts, options: S3ServerOptions): Promise<S3Server> {
    const server = new S3Server(given, options);
    await server.#listen();
    server.lifecycle.start();
    return server;
  }

  private constructor(given: S3ServerParts, options: S3ServerOptions) {
    this.#given = given;
    this.#options = options;
    const { tree, users, clock } = given;
    this.#limits = new RequestLimits(options, clock);
    this.#slow = new SlowClients(clock, options.pace);
    const store = new ObjectStore(tree);
    const versions = new Versions(store);
    this.parts = {
      store,
      versions,
      writes: new ObjectWrites(store, versions, clock),
      uploads: new Uploads(store, versions),
      users,
      clock,
      signingKeys: this.#keys,
      versioningChanged: given.onVersioning ?? (async () => undefined),
      region: options.region,
      ...digestsOf(tree),
    };
    this.lifecycle = new Lifecycle({ ...this.parts, onFailure: given.onFailure }, options.lifecycleDayMs);
    const answer = (request: IncomingMessage, response: ServerResponse): void => void this.#answer(request, response);
    const limits = {
      maxHeaderSize: HEADER_BYTES_MAX,
      keepAliveTimeout: IDLE_MS,
      requireHostHeader: false,
      noDelay: true,
    };
    this.#server =
      options.tls === undefined ? createServer(limits, answer) : createTlsServer({ ...limits, ...options.tls }, answer);
    this.#server.headersTimeout = HEADERS_TIMEOUT_MS;
    // Their bytes are bounded; what is beyond a number of them would be left out without a word.
    this.#server.maxHeadersCount = 0;
    // A large upload takes as long as it takes, as long as bytes come.
    this.#server.requestTimeout = 0;
    this.#server.timeout = IDLE_MS;
    this.#server.maxConnections = options.connectionsMax ?? CONNECTIONS_MAX;
    // Whoever waits is told to go on when its body is wanted: what is refused before is never sent.
    this.#server.on('checkContinue', (request, response) => void this.#answer(request, response, true));
    // An expectation that nobody knows is not met by refusing the request.
    this.#server.on('checkExpectation', answer);
    this.#server.on('clientError', (error, socket) => this.#refuseGarbage(error, socket as Socket));
  }

  /** `http://host:port` */
  get endpoint(): string {
    const { port, family, address } = this.#server.address() as AddressInfo;
    const host = family === 'IPv6' ? `[${address}]` : address;
    return `${this.#options.tls === undefined ? 'http' : 'https'}://${host}:${port}`;
  }

  /** For new connections; only of a server that was started with TLS, and with a pair that makes a TLS context. */
  renewTls(pair: NonNullable<S3ServerOptions['tls']>): void {
    assert(this.#server instanceof TlsServer, 'a server with TLS');
    this.#server.setSecureContext(pair);
  }

  #listen(): Promise<void> {
    const { host, port } = this.#options;
    return new Promise((resolve, reject) => {
      this.#server.once('error', (cause) => {
        reject(
          new CairnError('IO', `S3 cannot be served at ${host}:${port}: ${whyNotListening(cause)}`, {
            hint: 'choose another address in [s3] of cairn.toml',
            cause,
          }),
        );
      });
      this.#server.listen(port, host, () => {
        this.#server.removeAllListeners('error');
        this.#server.on('error', (error) => this.#given.onFailure('S3 server', error));
        resolve();
      });
    });
  }

  /** No new connections; resolves when the last answer is with its client, or after a short while. */
  close(): Promise<void> {
    this.#closed ??= Promise.all([this.#end(), this.lifecycle.close()]).then(() => this.#slow.close());
    return this.#closed;
  }

  #end(): Promise<void> {
    return new Promise((resolve) => {
      let impatient: Timer | undefined;
      this.#server.close(() => {
        impatient?.cancel();
        resolve();
      });
      this.#server.closeIdleConnections();
      impatient = this.#given.clock.after(LINGER_MS, () => this.#server.closeAllConnections());
    });
  }

  async #answer(http: IncomingMessage, response: ServerResponse, isWaiting = false): Promise<void> {
    const id = randomHex(8).toUpperCase();
    const startMs = this.#given.clock.monotonicMs();
    const audit = { operation: '-', bucket: '', key: '', user: '-', code: '', status: 0 };
    // Given to writeHead with the rest: headers that are set before it cost it a slower way.
    const head: Record<string, string> = { 'x-amz-request-id': id, server: 'Cairn' };
    // A client that goes away is no failure of ours.
    response.on('error', () => undefined);
    http.on('error', () => undefined);
    this.#limits.begin();
    this.#slow.watch(http, response);
    const { socket } = http;
    const current = { http, response };
    this.#current.set(socket, current);
    let request: S3Request | undefined;
    try {
      this.#limits.checkUnderWay();
      request = new S3Request(http, id, this.#options.domain, isWaiting ? response : undefined);
      Object.assign(audit, { bucket: request.bucket, key: keyText(request.key ?? '') });
      await this.#serve(request, response, head, audit);
    } catch (error) {
      const waits = request?.isWaiting ?? isWaiting;
      const refused = this.#refuse(error, http, response, { request, head, isWaiting: waits });
      Object.assign(audit, refused);
    } finally {
      this.#limits.end();
      if (this.#current.get(socket) === current) this.#current.delete(socket);
      this.#given.audit({
        ...audit,
        id,
        time: new Date(this.#given.clock.nowMs()).toISOString(),
        remote: socket.remoteAddress ?? '',
        status: audit.status === 0 ? response.statusCode : audit.status,
        elapsedMs: Math.round(this.#given.clock.monotonicMs() - startMs),
      });
    }
  }

  async #serve(
    request: S3Request,
    response: ServerResponse,
    head: Record<string, string>,
    audit: { operation: string; user: string },
  ): Promise<void> {
    await this.#given.users.refresh();
    if (request.method === 'OPTIONS') {
      audit.operation = 'Preflight';
      await this.#send(request, response, head, await answerPreflight(request, this.parts.store));
      return;
    }
    if (request.header('origin') !== undefined) Object.assign(head, await corsHeadersOf(request, this.parts.store));
    const identity = this.#identify(request);
    audit.user = identity.user?.name ?? 'anonymous';
    this.#limits.take(identity.user?.id ?? `address ${request.http.socket.remoteAddress ?? ''}`);
    await this.#checkOwner(request);
    const route = routeOf(request);
    audit.operation = route.name;
    const call: Call = { request, response, head, identity, parts: this.parts };
    const answer = await route.run(call);
    if (request.method !== 'GET' && request.method !== 'HEAD') await this.#given.tree.told();
    if (answer !== undefined) await this.#send(request, response, head, answer);
  }

  /** A client may say whose bucket it means; another's is refused before anything is done with it. */
  async #checkOwner(request: S3Request): Promise<void> {
    const expected = request.header('x-amz-expected-bucket-owner');
    if (expected === undefined || request.bucket === '') return;
    const bucket = await this.parts.store.bucket(request.bucket).catch(() => undefined);
    const owner = bucket && (bucket.info.owner ?? this.#given.users.first?.id);
    if (bucket !== undefined && owner !== expected) throw new S3Error('AccessDenied', 'Access Denied');
  }

  #identify(request: S3Request): Identity {
    const { users, clock } = this.#given;
    return authenticate(request, { users, keys: this.#keys, region: this.#options.region, nowMs: clock.nowMs() });
  }

  async #send(
    request: S3Request,
    response: ServerResponse,
    head: Readonly<Record<string, string>>,
    { status, headers = {}, body }: Answer,
  ): Promise<void> {
    // A body that nobody has read would be taken for the next request.
    if (!request.http.complete && !request.isWaiting) await drain(request.http);
    const last = request.http.complete ? {} : { connection: 'close' };
    const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) };
    const none =
      body === undefined && status !== 204 && headers['content-length'] === undefined ? { 'content-length': 0 } : {};
    response.writeHead(status, { ...head, ...last, ...length, ...none, ...clean(headers) });
    response.end(request.method === 'HEAD' ? undefined : body);
  }

  /** What has come is no request. If it came behind one that is being answered, that answer still goes out, and is the last. */
  #refuseGarbage(error: Error, socket: Socket): void {
    const current = this.#current.get(socket);
    if (current === undefined && systemCode(error) !== 'ECONNRESET') this.#auditGarbage(error, socket);
    if (current === undefined || (!current.http.complete && !current.response.headersSent))
      refuseGarbage(error, socket);
    else if (!current.http.complete) socket.destroy();
    else if (!current.response.writableFinished) current.response.once('finish', () => socket.end());
  }

  #auditGarbage(error: Error, socket: Socket): void {
    this.#given.audit({
      time: new Date(this.#given.clock.nowMs()).toISOString(),
      id: '-',
      remote: socket.remoteAddress ?? '',
      user: '-',
      operation: 'Malformed',
      bucket: '',
      key: '',
      status: 400,
      code: systemCode(error) ?? '',
      elapsedMs: 0,
    });
  }

  /** Tells the client, and the log where it is our own failure. Returns what it tells. */
  #refuse(
    thrown: unknown,
    http: IncomingMessage,
    response: ServerResponse,
    {
      request,
      head,
      isWaiting,
    }: {
      readonly request: S3Request | undefined;
      readonly head: Readonly<Record<string, string>>;
      readonly isWaiting: boolean;
    },
  ): { readonly code: string; readonly status: number } {
    const { error, isOurs } = toS3Error(thrown);
    const { code, status } = error;
    if (isOurs && systemCode(thrown) !== 'ECONNRESET')
      this.#given.onFailure(`S3 ${request?.method ?? ''} failed`, thrown);
    if (response.headersSent || response.destroyed) {
      response.destroy();
      return { code, status };
    }
    const resource = element('Resource', request?.rawPath.slice(0, 1024));
    const fields = Object.entries(error.fields).map(([name, value]) => element(name, value));
    const xml = `<?xml version="1.0" encoding="UTF-8"?>\n<Error>${element('Code', error.code)}${element('Message', error.message)}${resource}${fields.join('')}${element('RequestId', head['x-amz-request-id'])}${element('HostId', 'cairn')}</Error>`;
    const hasBody = http.method !== 'HEAD' && error.status !== 304;
    const finish = (): void => {
      if (response.destroyed) return;
      response.writeHead(error.status, {
        ...head,
        ...(http.complete ? {} : { connection: 'close' }),
        ...error.headers,
        ...(hasBody ? { 'content-type': 'application/xml', 'content-length': Buffer.byteLength(xml) } : {}),
      });
      response.end(hasBody ? xml : undefined);
    };
    if (http.complete || isWaiting) finish();
    else void drain(http).then(finish);
    return { code, status };
  }
}

/** Reads the rest of a body that nobody wants, up to a bound. */
function drain(http: IncomingMessage): Promise<void> {
  if (http.complete || http.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    let bytes = 0;
    const done = (): void => {
      http.off('data', take);
      http.pause();
      resolve();
    };
    const take = (piece: Buffer): void => {
      bytes += piece.length;
      if (bytes > DRAIN_BYTES_MAX) done();
    };
    // Whoever stopped reading in the middle may have left its own listener, and as long as there is one nothing flows.
    http.removeAllListeners('readable');
    http.on('data', take);
    for (const event of ['end', 'close', 'error']) http.once(event, done);
    http.resume();
  });
}

function refuseGarbage(error: Error, socket: Socket): void {
  if (systemCode(error) === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const tooLarge = systemCode(error) === 'HPE_HEADER_OVERFLOW';
  const status = tooLarge ? '431 Request Header Fields Too Large' : '400 Bad Request';
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${tooLarge ? 'RequestHeaderSectionTooLarge' : 'BadRequest'}</Code><Message>This is not an HTTP request that the server takes.</Message></Error>`;
  socket.end(
    `HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-type: application/xml\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
}
