/**
 * The control API of a running pool: HTTP over the unix socket `<pool>/control.sock` (protocol: wire.ts).
 *
 * Only the owner of the daemon may speak to it: the socket is made with mode 0600, and never exists with a wider one.
 * Whatever a client sends gets an answer: bodies, headers and times are bounded, and bad input is a 400 that says what
 * is wrong. A client that goes away does not stop the commit it has started: others may wait for the same one. It does stop a check.
 */
import { lstatSync, unlinkSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createConnection, type Socket } from 'node:net';
import * as v from 'valibot';
import { CairnError, systemCode } from '../errors/cairn-error.js';
import type { Clock } from '../io/clock.js';
import type {
  CheckProgress,
  CheckReport,
  CommitProgress,
  DiskChangePlan,
  JobReport,
  Json,
  PoolControl,
} from '../vfs/reports.js';
import { openSocketPath, type SocketPath } from './socket-path.js';
import { httpStatusOf, toWireError, type UnmountReport, type WireEvent } from './wire.js';

const MAX_BODY_BYTES = 1024 * 1024;
const MAX_HEADER_BYTES = 32 * 1024;
const MAX_PATH_BYTES = 4096;
const MAX_PATHS = 10_000;
/** Named in one forecast. */
const MAX_FILES = 100_000;
const MAX_CONNECTIONS = 128;
const MAX_DISKS = 64;
/** A progress line to each client at most this often. */
const PROGRESS_EVERY_MS = 100;
/** At the end: how long a client may take to read the rest of its answer. */
const LINGER_MS = 5000;

export interface ControlHandlers {
  readonly control: PoolControl;
  /** Commits, unmounts and closes the pool; called once more while it runs, it joins the first. BUSY if files are open. */
  unmount(onProgress: (progress: CommitProgress) => void): Promise<void>;
  /** What went wrong where no client is told: a commit nobody waits for, an error that is not Cairn's own. */
  onFailure(what: string, error: unknown): void;
}

const CommitBody = v.strictObject({
  paths: v.pipe(v.array(v.string()), v.minLength(1), v.maxLength(MAX_PATHS)),
  wait: v.optional(v.boolean(), true),
});

const CheckBody = v.strictObject({
  content: v.boolean(),
  repair: v.boolean(),
});

const JobBody = v.strictObject({
  options: v.optional(v.custom<Json>((value) => value !== undefined)),
  fullSpeed: v.optional(v.boolean()),
});

const absolute = v.pipe(
  v.string(),
  v.maxLength(MAX_PATH_BYTES),
  v.check((path) => path.startsWith('/') && !path.includes('\0'), 'a directory must be absolute'),
);
const named = v.pipe(v.string(), v.minLength(1), v.maxLength(MAX_PATH_BYTES));
const sizeBytes = v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1)));

const DiskBody = v.strictObject({
  request: v.variant('action', [
    v.strictObject({
      action: v.literal('add'),
      directories: v.pipe(v.array(absolute), v.minLength(1), v.maxLength(MAX_DISKS)),
      sizeBytes,
    }),
    v.strictObject({ action: v.literal('replace'), disk: named, directory: absolute, sizeBytes }),
    v.strictObject({ action: v.literal('remove'), disk: named }),
  ]),
  fullSpeed: v.optional(v.boolean()),
});

const JOB_PATH = /^\/v1\/jobs\/([a-z-]{1,40})\/(start|pause|resume|cancel)$/;

export class ControlServer {
  readonly #server: Server;
  readonly #handlers: ControlHandlers;
  readonly #clock: Clock;
  readonly #place: SocketPath;
  #closed: Promise<void> | undefined;

  /**
   * Listens in the pool directory. The caller has locked the pool, so that a socket file found there is a dead
   * daemon's and is replaced; if one does answer, LOCKED.
   */
  static async start(poolDirectory: string, handlers: ControlHandlers, clock: Clock): Promise<ControlServer> {
    const place = openSocketPath(poolDirectory);
    try {
      await removeStale(place.path);
      const server = new ControlServer(place, handlers, clock);
      await server.#listen();
      return server;
    } catch (error) {
      place.close();
      throw error;
    }
  }

  private constructor(place: SocketPath, handlers: ControlHandlers, clock: Clock) {
    this.#place = place;
    this.#handlers = handlers;
    this.#clock = clock;
    this.#server = createServer({ maxHeaderSize: MAX_HEADER_BYTES, keepAliveTimeout: 1000 }, (request, response) => {
      this.#answer(request, response).catch((error: unknown) => this.#refuse(request, response, error));
    });
    this.#server.headersTimeout = 10_000;
    this.#server.requestTimeout = 30_000;
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.on('clientError', (error, socket) => refuseGarbage(error, socket as Socket));
  }

  /** No new connections, and the socket file is gone, when this returns; requests under way go on. */
  stopListening(): void {
    this.#closed ??= new Promise((resolve) => {
      const impatient = this.#clock.after(LINGER_MS, () => this.#server.closeAllConnections());
      this.#server.close(() => {
        impatient.cancel();
        this.#place.close();
        resolve();
      });
      this.#server.closeIdleConnections();
    });
  }

  /** Resolves when the last answer is with its client. */
  async close(): Promise<void> {
    this.stopListening();
    await this.#closed;
  }

  #listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', (cause) => {
        reject(new CairnError('IO', `cannot listen on ${this.#place.path}: ${cause.message}`, { cause }));
      });
      // The file is created within this call, so it never has other permissions, and nothing else runs in between.
      const umask = process.umask(0o177);
      try {
        this.#server.listen(this.#place.path, () => {
          this.#server.removeAllListeners('error');
          this.#server.on('error', (error) => this.#handlers.onFailure('control socket', error));
          resolve();
        });
      } finally {
        process.umask(umask);
      }
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = parseUrl(request.url ?? '');
    switch (`${request.method} ${url.pathname}`) {
      case 'GET /v1/status':
        return sendJson(response, 200, await this.#handlers.control.status());
      case 'GET /v1/state':
        return sendJson(response, 200, await this.#handlers.control.state(checkPath(url.searchParams.get('path'))));
      case 'GET /v1/forecast':
        return await this.#forecast(url.searchParams, response);
      case 'POST /v1/commit':
        return await this.#commit(await readJson(request), response);
      case 'POST /v1/check':
        return await this.#check(await readJson(request), response);
      case 'POST /v1/unmount':
        return await this.#stream<UnmountReport>(response, async (onProgress) => {
          await this.#handlers.unmount(onProgress);
          return { unmounted: true };
        });
      case 'POST /v1/disks/plan':
      case 'POST /v1/disks/change':
        return sendJson(response, 200, await this.#disks(url.pathname, await readJson(request)));
      case 'GET /v1/jobs':
        return sendJson(response, 200, { jobs: this.#handlers.control.jobs.list() });
      default: {
        const [, name, action] = (request.method === 'POST' && JOB_PATH.exec(url.pathname)) || [];
        if (name !== undefined && action !== undefined)
          return sendJson(response, 200, await this.#job(name, action, await readJson(request)));
        sendJson(response, 404, {
          error: { code: 'INVALID', message: `there is no ${request.method} ${url.pathname.slice(0, 200)}` },
        });
      }
    }
  }

  async #disks(path: string, body: unknown): Promise<DiskChangePlan> {
    const input = v.safeParse(DiskBody, Array.isArray(body) ? null : body);
    if (!input.success) throw new CairnError('INVALID', `the body for a change of disks: ${input.issues[0].message}`);
    const { request, fullSpeed } = input.output;
    const { disks } = this.#handlers.control;
    if (path.endsWith('/plan')) return disks.plan(request);
    return disks.change(request, fullSpeed === undefined ? undefined : { fullSpeed });
  }

  async #job(name: string, action: string, body: unknown): Promise<JobReport> {
    const input = v.safeParse(JobBody, Array.isArray(body) ? null : body);
    if (!input.success) throw new CairnError('INVALID', `the body for a job: ${input.issues[0].message}`);
    const { options, fullSpeed } = input.output;
    const pace = fullSpeed === undefined ? undefined : { fullSpeed };
    const { jobs } = this.#handlers.control;
    switch (action) {
      case 'start':
        return jobs.start(name, options ?? null, pace);
      case 'pause':
        return jobs.pause(name);
      case 'resume':
        return jobs.resume(name, pace);
      default:
        return jobs.cancel(name);
    }
  }

  async #forecast(query: URLSearchParams, response: ServerResponse): Promise<void> {
    const disk = query.get('disk') ?? undefined;
    const files = Number(query.get('files') ?? '0');
    if (!Number.isInteger(files) || files < 0 || files > MAX_FILES)
      throw new CairnError('INVALID', `files is a whole number from 0 to ${MAX_FILES}`);
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const answer = await this.#handlers.control.forecast({ disk, files }, gone.signal).catch((error: unknown) => {
      if (gone.signal.aborted) return undefined;
      throw error;
    });
    if (answer !== undefined) sendJson(response, 200, answer);
  }

  async #commit(body: unknown, response: ServerResponse): Promise<void> {
    const input = v.safeParse(CommitBody, body);
    if (!input.success) throw new CairnError('INVALID', `the body of a commit: ${input.issues[0].message}`);
    const paths = input.output.paths.map(checkPath);
    const { control } = this.#handlers;
    if (input.output.wait) {
      return await this.#stream(response, (onProgress) => control.commit(paths, onProgress));
    }
    control
      .commit(paths, () => {})
      .catch((error: unknown) => this.#handlers.onFailure('commit that nobody waits for', error));
    sendJson(response, 202, { started: true });
  }

  /** A check is for whoever asked for it: it ends with the connection. */
  async #check(body: unknown, response: ServerResponse): Promise<void> {
    const input = v.safeParse(CheckBody, body);
    if (!input.success) throw new CairnError('INVALID', `the body of a check: ${input.issues[0].message}`);
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    await this.#stream<CheckReport, CheckProgress>(response, (onProgress) =>
      this.#handlers.control.check(input.output, onProgress, gone.signal),
    );
  }

  /** Errors before the first event have their own HTTP status; later ones are the last event. */
  async #stream<T, P = CommitProgress>(
    response: ServerResponse,
    work: (onProgress: (progress: P) => void) => Promise<T>,
  ): Promise<void> {
    let lastMs = Number.NEGATIVE_INFINITY;
    const send = (event: WireEvent<T, P>) => {
      if (response.destroyed) return;
      if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      response.write(`${JSON.stringify(event)}\n`);
    };
    try {
      const report = await work((progress) => {
        const nowMs = this.#clock.monotonicMs();
        // A client that does not read gets no more lines until it does, rather than the daemon's memory.
        if (nowMs - lastMs < PROGRESS_EVERY_MS || response.writableNeedDrain) return;
        lastMs = nowMs;
        send({ progress });
      });
      send({ report });
    } catch (error) {
      if (!response.headersSent) throw error;
      this.#tell(error);
      send({ error: toWireError(error) });
    }
    response.end();
  }

  #refuse(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    this.#tell(error);
    if (response.headersSent || response.destroyed) {
      response.destroy();
      return;
    }
    // The rest of an oversized or broken body is not worth reading: the connection ends with the answer.
    if (!request.complete) response.setHeader('connection', 'close');
    sendJson(response, httpStatusOf(error), { error: toWireError(error) });
  }

  #tell(error: unknown): void {
    if (!(error instanceof CairnError) && systemCode(error) !== 'ECONNRESET')
      this.#handlers.onFailure('control request', error);
  }
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  const bytes = Buffer.from(`${JSON.stringify(body)}\n`);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': bytes.length });
  response.end(bytes);
}

function refuseGarbage(error: Error, socket: Socket): void {
  if (systemCode(error) === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const body = `${JSON.stringify({ error: { code: 'INVALID', message: 'this is not an HTTP request' } })}\n`;
  socket.end(
    `HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
}

function parseUrl(text: string): URL {
  try {
    return new URL(text, 'http://pool/');
  } catch (cause) {
    throw new CairnError('INVALID', 'the request has no valid address', { cause });
  }
}

function checkPath(path: string | null): string {
  if (path === null) throw new CairnError('INVALID', 'the query must have a path');
  if (!path.startsWith('/') || path.includes('\0') || path.split('/').includes('..')) {
    throw new CairnError('INVALID', 'a path inside the pool starts with / and has no .. and no NUL in it');
  }
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new CairnError('INVALID', `a path has at most ${MAX_PATH_BYTES} bytes`);
  }
  return path;
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > MAX_BODY_BYTES) throw new CairnError('TOO_BIG', `a body has at most ${MAX_BODY_BYTES} bytes`);
    parts.push(part);
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString('utf8'));
  } catch (cause) {
    throw new CairnError('INVALID', 'the body is not JSON', { cause });
  }
}

async function removeStale(path: string): Promise<void> {
  try {
    if (!lstatSync(path).isSocket()) {
      throw new CairnError('EXISTS', `${path} is in the way: it is not a socket`, { hint: 'move it away' });
    }
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return;
    throw error;
  }
  const alive = await new Promise<boolean>((resolve) => {
    const socket = createConnection(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
  if (alive) throw new CairnError('LOCKED', `another daemon answers on ${path}`);
  unlinkSync(path);
}
