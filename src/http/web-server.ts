/**
 * The server of the status page: the page's files, the API (api-router.ts) without what would end the daemon, and `/metrics`. Who may speak to it: web-guard.ts.
 * The page's files are the same for everybody and say nothing of the pool, so they are sent to whoever asks.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer, Server as SecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import * as v from 'valibot';
import { assert, CairnError } from '../errors/cairn-error.js';
import type { Clock } from '../io/clock.js';
import { isLoopback } from '../io/loopback.js';
import { whyNotListening } from '../io/system-error.js';
import type { ApiParts } from './api.js';
import { ApiRouter, readJson, sendJson } from './api-router.js';
import { PageFiles } from './page-files.js';
import { isPasswordHash } from './password.js';
import { type Refusal, WebGuard } from './web-guard.js';

const MAX_HEADER_BYTES = 32 * 1024;
const MAX_CONNECTIONS = 256;
const LINGER_MS = 3000;

const Login = v.strictObject({ password: v.pipe(v.string(), v.maxLength(1024)) });

/** Nothing is loaded from elsewhere, and no page elsewhere shows this one. */
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
};

export interface WebOptions {
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** A scrypt hash (password.ts); undefined: a link with a key. */
  readonly passwordHash: string | undefined;
  /** PEM. */
  readonly tls: { readonly cert: Buffer; readonly key: Buffer } | undefined;
  /** Further names that the server is called by. */
  readonly names: readonly string[];
}

export class WebServer {
  readonly #parts: ApiParts;
  readonly #options: WebOptions;
  readonly #clock: Clock;
  readonly #router: ApiRouter;
  readonly #files = new PageFiles();
  readonly #server: Server;
  #guard!: WebGuard;
  #port = 0;
  #closed: Promise<void> | undefined;

  /** Listens when it resolves. IO if the address cannot be had; CONFIG for an address beyond this machine without password and TLS. */
  static async start(parts: ApiParts, options: WebOptions, clock: Clock): Promise<WebServer> {
    if (!isLoopback(options.host) && (options.passwordHash === undefined || options.tls === undefined))
      throw new CairnError(
        'CONFIG',
        `[web] address ${options.host} can be reached from elsewhere, so it needs a password and TLS`,
        {
          hint: 'set password, certificate and key in [web], or use 127.0.0.1',
        },
      );
    if (options.passwordHash !== undefined && !isPasswordHash(options.passwordHash))
      throw new CairnError('CONFIG', '[web] password is not a hash that can be checked', {
        hint: 'make one with `cairn web password`',
      });
    const server = new WebServer(parts, options, clock);
    await server.#listen();
    return server;
  }

  private constructor(parts: ApiParts, options: WebOptions, clock: Clock) {
    this.#parts = parts;
    this.#options = options;
    this.#clock = clock;
    this.#router = new ApiRouter(parts, clock, { isLocal: false });
    const answer = (request: IncomingMessage, response: ServerResponse): void => void this.#answer(request, response);
    const limits = { maxHeaderSize: MAX_HEADER_BYTES, keepAliveTimeout: 5000 };
    const { tls } = options;
    this.#server = tls === undefined ? createServer(limits, answer) : createSecureServer({ ...limits, ...tls }, answer);
    this.#server.headersTimeout = 10_000;
    this.#server.requestTimeout = 30_000;
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** `http://127.0.0.1:8090` */
  get address(): string {
    const { host, tls, names } = this.#options;
    const name = names[0] ?? (host.includes(':') ? `[${host}]` : host);
    return `${tls === undefined ? 'http' : 'https'}://${name}:${this.#port}`;
  }

  /** What opens the page in a browser: with the key, where there is no password. The key is behind `#`, which no server is told. */
  get link(): string {
    const { key } = this.#guard;
    return key === undefined ? `${this.address}/` : `${this.address}/#key=${key}`;
  }

  /** For new connections; only of a server that was started with TLS, and with a pair that makes a TLS context. */
  renewTls(pair: NonNullable<WebOptions['tls']>): void {
    assert(this.#server instanceof SecureServer, 'a server with TLS');
    this.#server.setSecureContext(pair);
  }

  async close(): Promise<void> {
    this.#closed ??= new Promise((resolve) => {
      const impatient = this.#clock.after(LINGER_MS, () => this.#server.closeAllConnections());
      this.#server.close(() => {
        impatient.cancel();
        resolve();
      });
      this.#server.closeIdleConnections();
      this.#router.close();
    });
    await this.#closed;
  }

  async #listen(): Promise<void> {
    const { host, port, names, passwordHash, tls } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (cause) =>
        reject(
          new CairnError('IO', `the status page cannot be served at ${host}:${port}: ${whyNotListening(cause)}`, {
            hint: 'set another address in [web] of cairn.toml',
            cause,
          }),
        ),
      );
      this.#server.listen(port, host, () => resolve());
    });
    this.#server.removeAllListeners('error');
    this.#server.on('error', (error) => this.#parts.onFailure('web server', error));
    this.#port = (this.#server.address() as AddressInfo).port;
    const own = isLoopback(host) ? ['localhost', '127.0.0.1', '[::1]', host] : [host];
    const hosts = new Set([...own, ...names].map((name) => `${name.toLowerCase()}:${this.#port}`));
    this.#guard = new WebGuard({
      hosts,
      port: this.#port,
      isSecure: tls !== undefined,
      passwordHash,
      clock: this.#clock,
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    try {
      const stranger = this.#guard.checkHost(request);
      if (stranger !== undefined) return refuse(response, stranger);
      const path = (request.url ?? '/').split('?', 1)[0] ?? '/';
      if (path === '/v1/login' && request.method === 'POST') return await this.#login(request, response);
      const isRead = request.method === 'GET' || request.method === 'HEAD';
      if (isRead && (await this.#files.answer(path, request, response))) return;
      if (path === '/favicon.ico') return void response.writeHead(204).end();
      const isOpen = path === '/metrics' && isLoopback(this.#options.host);
      const refusal = isOpen ? undefined : await this.#guard.check(request);
      if (refusal !== undefined) return refuse(response, refusal, this.#guard.needs);
      if (path === '/v1/logout' && request.method === 'POST') {
        response.setHeader('set-cookie', this.#guard.logout(request));
        return sendJson(response, 200, { loggedIn: false });
      }
      await this.#router.answer(request, response);
    } catch (error) {
      this.#router.refuse(request, response, error);
    }
  }

  async #login(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const foreign = this.#guard.checkOrigin(request);
    // A program without an origin has no cookies to protect.
    if (foreign !== undefined && request.headers.origin !== undefined) return refuse(response, foreign);
    const body = v.safeParse(Login, await readJson(request));
    if (!body.success) throw new CairnError('INVALID', 'the body of a login is {"password": "…"}');
    const answer = await this.#guard.login(body.output.password);
    if ('status' in answer) return refuse(response, answer, this.#guard.needs);
    response.setHeader('set-cookie', answer.cookie);
    sendJson(response, 200, { loggedIn: true });
  }
}

function refuse(response: ServerResponse, { status, message, hint }: Refusal, needs?: 'password' | 'key'): void {
  if (status === 401) response.setHeader('www-authenticate', 'Bearer realm="cairn"');
  sendJson(response, status, { error: { code: 'ACCESS', message, hint }, ...(needs !== undefined && { needs }) });
}
