/**
 * Ends connections on which a request or its answer trickles: a client that sends or takes a few bytes now and then never looks idle, and holds its request for
 * ever. Only what waits for the client counts; while we are the slow ones nobody is ended.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Clock, Timer } from '../io/clock.js';

export interface Pace {
  readonly everyMs: number;
  /** What must pass between two looks. */
  readonly bytesMin: number;
  /** Looks in a row at which it did not. */
  readonly looksMax: number;
}

/** 100 bytes a second over half a minute: less than any link that can be worked with. */
const PACE: Pace = { everyMs: 10_000, bytesMin: 1000, looksMax: 3 };

interface Exchange {
  readonly http: IncomingMessage;
  readonly response: ServerResponse;
  received: number;
  sent: number;
  /** What the kernel has not taken of the answer yet. */
  queued: number;
  slowLooks: number;
}

export class SlowClients {
  readonly #clock: Clock;
  readonly #pace: Pace;
  readonly #exchanges = new Set<Exchange>();
  #timer: Timer | undefined;

  constructor(clock: Clock, pace: Pace = PACE) {
    this.#clock = clock;
    this.#pace = pace;
  }

  /** Watches until the answer is out or the connection is gone. */
  watch(http: IncomingMessage, response: ServerResponse): void {
    const { bytesRead, bytesWritten } = http.socket;
    const exchange = { http, response, received: bytesRead, sent: bytesWritten, queued: 0, slowLooks: 0 };
    this.#exchanges.add(exchange);
    response.once('close', () => this.#exchanges.delete(exchange));
    this.#wait();
  }

  close(): void {
    this.#timer?.cancel();
    this.#exchanges.clear();
  }

  #wait(): void {
    this.#timer ??= this.#clock.after(this.#pace.everyMs, () => {
      this.#timer = undefined;
      for (const exchange of this.#exchanges) this.#look(exchange);
      if (this.#exchanges.size > 0) this.#wait();
    });
  }

  #look(exchange: Exchange): void {
    const { http, response, received, sent, queued } = exchange;
    const { socket } = http;
    exchange.received = socket.bytesRead;
    exchange.sent = socket.bytesWritten;
    exchange.queued = queuedOf(socket);
    const wantsBody = !http.complete && http.readableLength === 0 && !response.headersSent;
    const came = exchange.received - received;
    // Written bytes count as sent when they are handed on, a piece at a time; how much of a piece the client has taken the queue tells.
    const went = exchange.sent - sent + Math.abs(exchange.queued - queued);
    const { bytesMin, looksMax } = this.#pace;
    const isSlow = (wantsBody && came < bytesMin) || (exchange.queued > 0 && went < bytesMin);
    exchange.slowLooks = isSlow ? exchange.slowLooks + 1 : 0;
    if (exchange.slowLooks >= looksMax) socket.destroy();
  }
}

function queuedOf(socket: Socket): number {
  return (socket as { _handle?: { writeQueueSize?: number } | null })._handle?.writeQueueSize ?? 0;
}
