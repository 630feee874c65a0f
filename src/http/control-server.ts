/**
 * The API of a running pool (operations.ts) as HTTP over the unix socket `<pool>/control.sock`.
 *
 * Only the owner of the daemon may speak to it: the socket is made with mode 0600, and never exists with a wider one. Headers, times and connections are
 * bounded here, everything else in api-router.ts.
 */
import { lstatSync, unlinkSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { createConnection, type Socket } from 'node:net';
import { CairnError, systemCode } from '../errors/cairn-error.js';
import type { Clock } from '../io/clock.js';
import type { ApiParts } from './api.js';
import { ApiRouter } from './api-router.js';
import { openSocketPath, type SocketPath } from './socket-path.js';

const MAX_HEADER_BYTES = 32 * 1024;
const MAX_CONNECTIONS = 128;
/** At the end: how long a client may take to read the rest of its answer. */
const LINGER_MS = 5000;

export class ControlServer {
  readonly #server: Server;
  readonly #parts: ApiParts;
  readonly #router: ApiRouter;
  readonly #clock: Clock;
  readonly #place: SocketPath;
  #closed: Promise<void> | undefined;

  /**
   * Listens in the pool directory. The caller has locked the pool, so that a socket file found there is a dead
   * daemon's and is replaced; if one does answer, LOCKED.
   */
  static async start(poolDirectory: string, parts: ApiParts, clock: Clock): Promise<ControlServer> {
    const place = openSocketPath(poolDirectory);
    try {
      await removeStale(place.path);
      const server = new ControlServer(place, parts, clock);
      await server.#listen();
      return server;
    } catch (error) {
      place.close();
      throw error;
    }
  }

  private constructor(place: SocketPath, parts: ApiParts, clock: Clock) {
    this.#place = place;
    this.#parts = parts;
    this.#router = new ApiRouter(parts, clock, { isLocal: true });
    this.#clock = clock;
    this.#server = createServer({ maxHeaderSize: MAX_HEADER_BYTES, keepAliveTimeout: 1000 }, (request, response) => {
      void this.#router.answer(request, response);
    });
    this.#server.headersTimeout = 10_000;
    this.#server.requestTimeout = 30_000;
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.on('clientError', (error, socket) => refuseGarbage(error, socket as Socket));
  }

  /** No new connections, and the socket file is gone, when this returns; requests under way go on, however long they take. */
  stopListening(): void {
    this.#closed ??= new Promise((resolve) => {
      this.#server.close(() => {
        this.#place.close();
        resolve();
      });
      this.#server.closeIdleConnections();
      this.#router.close();
    });
  }

  /** Resolves when the last answer is with its client; cuts those off that do not take theirs. */
  async close(): Promise<void> {
    this.stopListening();
    const impatient = this.#clock.after(LINGER_MS, () => this.#server.closeAllConnections());
    await this.#closed;
    impatient.cancel();
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
          this.#server.on('error', (error) => this.#parts.onFailure('control socket', error));
          resolve();
        });
      } finally {
        process.umask(umask);
      }
    });
  }
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
  if (alive)
    throw new CairnError('LOCKED', `another daemon answers on ${path}`, {
      hint: 'unmount its pool first, or wait until it has ended',
    });
  unlinkSync(path);
}
