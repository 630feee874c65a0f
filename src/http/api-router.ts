/**
 * Answers requests by the table of operations: finds the operation, takes its input through its schemas, sends what it gives. Both servers (control-server.ts,
 * web-server.ts) have one, so that whatever listens, the API is the same.
 *
 * Whatever a client sends gets an answer: bodies are bounded, and bad input is a 400 that says what is wrong. A client that goes away does not stop the
 * commit it has started: others may wait for the same one. It does stop a check, a forecast and live messages.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import * as v from 'valibot';
import { CairnError, systemCode } from '../errors/cairn-error.js';
import type { Clock } from '../io/clock.js';
import { type ApiParts, apiOf, type Call, STARTED } from './api.js';
import { OPERATIONS, type Operation, type OperationName } from './operations.js';
import { httpStatusOf, toWireError, type WireEvent } from './wire.js';

const MAX_BODY_BYTES = 1024 * 1024;
/** A progress line to each client at most this often. */
const PROGRESS_EVERY_MS = 100;
/** A connection without messages looks dead to whatever is in between. */
const HEARTBEAT_MS = 15_000;

/** Any operation, called by its name. */
type AnyOperation = (
  input: { readonly params: unknown; readonly query: unknown; readonly body: unknown },
  call: Call<unknown, unknown>,
) => unknown;

interface Route {
  readonly name: OperationName;
  readonly operation: Operation;
  readonly pattern: RegExp;
}

export class ApiRouter {
  readonly #parts: ApiParts;
  readonly #clock: Clock;
  readonly #routes: readonly Route[];
  readonly #api: Readonly<Record<string, AnyOperation>>;
  /** Requests that only their client's going ends. */
  readonly #endless = new Set<AbortController>();

  /** `isLocal`: also what ends the daemon. */
  constructor(parts: ApiParts, clock: Clock, { isLocal }: { readonly isLocal: boolean }) {
    this.#parts = parts;
    this.#clock = clock;
    this.#api = apiOf(parts) as unknown as Record<string, AnyOperation>;
    this.#routes = Object.entries<Operation>(OPERATIONS).flatMap(([name, operation]) =>
      operation.isLocal === true && !isLocal
        ? []
        : [{ name: name as OperationName, operation, pattern: patternOf(operation.path) }],
    );
  }

  /** Never rejects. */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#answer(request, response);
    } catch (error) {
      this.refuse(request, response, error);
    }
  }

  /** Says what is wrong, in the form of every error of the API. */
  refuse(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    this.#tell(error);
    if (response.headersSent || response.destroyed) {
      response.destroy();
      return;
    }
    // The rest of an oversized or broken body is not worth reading: the connection ends with the answer.
    if (!request.complete) response.setHeader('connection', 'close');
    sendJson(response, httpStatusOf(error), { error: toWireError(error) });
  }

  /** Live messages end; other requests go on. */
  close(): void {
    for (const endless of this.#endless) endless.abort();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = parseUrl(request.url ?? '');
    for (const { name, operation, pattern } of this.#routes) {
      if (operation.method !== request.method) continue;
      const match = pattern.exec(url.pathname);
      if (match === null) continue;
      const params = operation.params && v.safeParse(operation.params, match.groups);
      if (params?.success === false) break;
      const input = {
        params: params?.output,
        query: operation.query && take(operation.query, Object.fromEntries(url.searchParams), operation.input),
        body: operation.body && take(operation.body, await readJson(request), operation.input),
      };
      await this.#call(operation, (call) => this.#api[name]!(input, call), response);
      return;
    }
    sendJson(response, 404, {
      error: { code: 'INVALID', message: `there is no ${request.method} ${url.pathname.slice(0, 200)}` },
    });
  }

  async #call(
    { answer }: Operation,
    work: (call: Call<unknown, unknown>) => unknown,
    response: ServerResponse,
  ): Promise<void> {
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const { signal } = gone;
    switch (answer.kind) {
      case 'json': {
        const value = await Promise.resolve(work({ signal, onProgress: () => {}, send: () => false })).catch(
          (error: unknown) => {
            if (signal.aborted) return undefined;
            throw error;
          },
        );
        if (!signal.aborted) sendJson(response, 200, value);
        return;
      }
      case 'progress':
        return await this.#stream(response, (onProgress) => work({ signal, onProgress, send: () => false }));
      case 'text': {
        const text = String(await work({ signal, onProgress: () => {}, send: () => false }));
        response.writeHead(200, { 'content-type': answer.type, 'cache-control': 'no-store' });
        response.end(text);
        return;
      }
      case 'messages':
        this.#endless.add(gone);
        try {
          await this.#messages(response, signal, (send) => work({ signal, onProgress: () => {}, send }));
        } finally {
          this.#endless.delete(gone);
        }
    }
  }

  /** Errors before the first event have their own HTTP status; later ones are the last event. */
  async #stream(response: ServerResponse, work: (onProgress: (progress: unknown) => void) => unknown): Promise<void> {
    let lastMs = Number.NEGATIVE_INFINITY;
    const send = (event: WireEvent<unknown, unknown>) => {
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
      if (report === STARTED) {
        sendJson(response, 202, { started: true });
        return;
      }
      send({ report });
    } catch (error) {
      if (!response.headersSent) throw error;
      this.#tell(error);
      send({ error: toWireError(error) });
    }
    response.end();
  }

  async #messages(
    response: ServerResponse,
    signal: AbortSignal,
    work: (send: (message: unknown) => boolean) => unknown,
  ): Promise<void> {
    const write = (text: string): boolean => {
      if (signal.aborted || response.writableNeedDrain) return false;
      if (!response.headersSent)
        response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      response.write(text);
      return true;
    };
    let beat = this.#clock.after(HEARTBEAT_MS, () => pulse());
    const pulse = (): void => {
      write(':\n\n');
      beat = this.#clock.after(HEARTBEAT_MS, pulse);
    };
    try {
      await work((message) => write(`data: ${JSON.stringify(message)}\n\n`));
    } finally {
      beat.cancel();
    }
    response.end();
  }

  #tell(error: unknown): void {
    if (!(error instanceof CairnError) && systemCode(error) !== 'ECONNRESET')
      this.#parts.onFailure('control request', error);
  }
}

export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  const bytes = Buffer.from(`${JSON.stringify(body)}\n`);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': bytes.length,
    'cache-control': 'no-store',
  });
  response.end(bytes);
}

function patternOf(path: string): RegExp {
  return new RegExp(`^${path.replaceAll(/\{(\w+)\}/g, '(?<$1>[^/]{1,100})')}$`);
}

function take(schema: v.GenericSchema, value: unknown, input: string): unknown {
  // An array has entries too, but it is no object of this API.
  const taken = v.safeParse(schema, Array.isArray(value) ? null : value, { abortEarly: true });
  if (!taken.success) throw new CairnError('INVALID', `${input}: ${taken.issues[0].message}`);
  return taken.output;
}

function parseUrl(text: string): URL {
  try {
    return new URL(text, 'http://pool/');
  } catch (cause) {
    throw new CairnError('INVALID', 'the request has no valid address', { cause });
  }
}

export async function readJson(request: IncomingMessage): Promise<unknown> {
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
