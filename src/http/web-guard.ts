/**
 * Who may speak to the web server, and how a browser proves that it speaks for its owner.
 *
 * - Host: only names that are the server's own, so that a page elsewhere cannot reach it by a name of its own (DNS rebinding).
 * - Who: a session (cookie: HttpOnly, SameSite=Strict), or the secret as a bearer token, for programs. The secret is the password of `[web]`; without one, a key
 *   that is made anew with every start of the daemon, since a loopback address is open to every user of the machine. `cairn web` shows its owner the link with it.
 * - Origin: what changes something and comes with a cookie must come from the server's own page (CSRF).
 * - Guessing is slow: one try at a time, and ever longer pauses after wrong ones.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Clock } from '../io/clock.js';
import { isPassword } from './password.js';

const SESSION_MS = 12 * 60 * 60_000;
const SESSIONS_MAX = 256;
const FREE_TRIES = 5;
const PAUSE_MOST_MS = 60_000;
const COOKIE_SECONDS = 30 * 24 * 60 * 60;

export interface Refusal {
  readonly status: 401 | 403 | 429;
  readonly message: string;
  readonly hint: string;
}

export interface WebGuardParts {
  /** `host:port` of every name that it may be called by, in lower case. */
  readonly hosts: ReadonlySet<string>;
  readonly port: number;
  readonly isSecure: boolean;
  /** A scrypt hash; undefined: there is a key instead. */
  readonly passwordHash: string | undefined;
  readonly clock: Clock;
}

export class WebGuard {
  readonly #parts: WebGuardParts;
  /** Of the link, where no password is set. */
  readonly key: string | undefined;
  /** When each was last used, by token. */
  readonly #sessions = new Map<string, number>();
  /** SHA-256 of a bearer token that was right: programs need not pay for scrypt each time. */
  #rightBearer: Buffer | undefined;
  #wrongTries = 0;
  #notBeforeMs = 0;
  #trying: Promise<unknown> = Promise.resolve();

  constructor(parts: WebGuardParts) {
    this.#parts = parts;
    this.key = parts.passwordHash === undefined ? randomBytes(24).toString('base64url') : undefined;
  }

  get needs(): 'password' | 'key' {
    return this.key === undefined ? 'password' : 'key';
  }

  /** The name under which the server is called must be its own. */
  checkHost(request: IncomingMessage): Refusal | undefined {
    const host = request.headers.host?.toLowerCase() ?? '';
    const named = /:\d+$/.test(host) ? host : `${host}:${this.#parts.isSecure ? 443 : 80}`;
    if (this.#parts.hosts.has(named)) return undefined;
    return {
      status: 403,
      message: 'this server is not known by that name',
      hint: 'list the name in [web] names of cairn.toml',
    };
  }

  /** Undefined: the request may be answered. */
  async check(request: IncomingMessage): Promise<Refusal | undefined> {
    const bearer = /^Bearer (.{1,1024})$/i.exec(request.headers.authorization ?? '')?.[1];
    if (bearer !== undefined) return await this.#checkBearer(bearer);
    if (!this.#hasSession(request)) return { status: 401, message: 'not logged in', hint: this.#hint };
    return this.checkOrigin(request);
  }

  /** What comes with a cookie, or would get one, comes from the server's own page. */
  checkOrigin(request: IncomingMessage): Refusal | undefined {
    const { origin, host } = request.headers;
    const site = request.headers['sec-fetch-site'];
    const own = `${this.#parts.isSecure ? 'https' : 'http'}://${host?.toLowerCase()}`;
    const isRead = request.method === 'GET' || request.method === 'HEAD';
    const isOwn = origin === undefined ? isRead : origin.toLowerCase() === own;
    if (isOwn && (site === undefined || site === 'same-origin' || (site === 'none' && isRead))) return undefined;
    return {
      status: 403,
      message: 'this request does not come from the page of this server',
      hint: 'use the page, or a bearer token',
    };
  }

  /** The value of Set-Cookie for whoever knows the secret. */
  async login(secret: string): Promise<{ readonly cookie: string } | Refusal> {
    const refusal = await this.#try(secret);
    if (refusal !== undefined) return refusal;
    const token = randomBytes(32).toString('base64url');
    const now = this.#parts.clock.monotonicMs();
    for (const [old, usedMs] of this.#sessions) if (now - usedMs > SESSION_MS) this.#sessions.delete(old);
    if (this.#sessions.size >= SESSIONS_MAX) this.#sessions.delete(this.#sessions.keys().next().value!);
    this.#sessions.set(token, now);
    return { cookie: this.#cookie(token, COOKIE_SECONDS) };
  }

  /** The value of Set-Cookie that ends the session in the browser; here it is over too. */
  logout(request: IncomingMessage): string {
    const token = this.#tokenOf(request);
    if (token !== undefined) this.#sessions.delete(token);
    return this.#cookie('', 0);
  }

  get #hint(): string {
    return this.needs === 'password'
      ? 'log in with the password of [web]'
      : 'open the link that `cairn web link POOL` shows';
  }

  /** Ports of one host share their cookies. */
  get #cookieName(): string {
    return `cairn-${this.#parts.port}`;
  }

  #cookie(value: string, seconds: number): string {
    const secure = this.#parts.isSecure ? '; Secure' : '';
    return `${this.#cookieName}=${value}; Path=/; Max-Age=${seconds}; HttpOnly; SameSite=Strict${secure}`;
  }

  #tokenOf(request: IncomingMessage): string | undefined {
    for (const part of (request.headers.cookie ?? '').split(';')) {
      const [name, value] = part.trim().split('=');
      if (name === this.#cookieName && value !== undefined) return value;
    }
    return undefined;
  }

  #hasSession(request: IncomingMessage): boolean {
    const token = this.#tokenOf(request);
    const usedMs = token === undefined ? undefined : this.#sessions.get(token);
    if (token === undefined || usedMs === undefined) return false;
    const now = this.#parts.clock.monotonicMs();
    if (now - usedMs > SESSION_MS) {
      this.#sessions.delete(token);
      return false;
    }
    // Moved to the end: the one that has rested longest goes first.
    this.#sessions.delete(token);
    this.#sessions.set(token, now);
    return true;
  }

  async #checkBearer(secret: string): Promise<Refusal | undefined> {
    const digest = sha256(secret);
    if (this.#rightBearer !== undefined && timingSafeEqual(digest, this.#rightBearer)) return undefined;
    const refusal = await this.#try(secret);
    if (refusal === undefined) this.#rightBearer = digest;
    return refusal;
  }

  /** One after the other. */
  #try(secret: string): Promise<Refusal | undefined> {
    const result = this.#trying.then(() => this.#tryNow(secret));
    this.#trying = result.catch(() => undefined);
    return result;
  }

  async #tryNow(secret: string): Promise<Refusal | undefined> {
    const { clock, passwordHash } = this.#parts;
    if (clock.monotonicMs() < this.#notBeforeMs)
      return { status: 429, message: 'too many wrong tries', hint: 'wait a minute, then try again' };
    const isRight =
      passwordHash === undefined
        ? timingSafeEqual(sha256(secret), sha256(this.key ?? ''))
        : await isPassword(secret, passwordHash);
    if (isRight) {
      this.#wrongTries = 0;
      return undefined;
    }
    this.#wrongTries += 1;
    if (this.#wrongTries > FREE_TRIES) {
      const pauseMs = Math.min(PAUSE_MOST_MS, 1000 * 2 ** (this.#wrongTries - FREE_TRIES));
      this.#notBeforeMs = clock.monotonicMs() + pauseMs;
    }
    return { status: 401, message: `the ${this.needs} is wrong`, hint: this.#hint };
  }
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
