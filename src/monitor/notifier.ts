/**
 * Tells the owner of a pool what happened to it, by every way of `[notify]`. Nothing waits for it: each way has a queue in memory, and is tried again, ever more
 * rarely, until a message is a day old; then that it did not go is an event, so that it is seen on the page and in the log. Messages that wait are lost with the
 * daemon: what is still wrong then is told anew when the pool is opened.
 */
import { CairnError } from '../errors/cairn-error.js';
import type { Clock, Timer } from '../io/clock.js';
import type { EventKind, PoolEvent } from './reports.js';

export interface Message {
  readonly pool: string;
  readonly host: string;
  readonly event: Omit<PoolEvent, 'id'>;
}

/** One way of telling: a webhook, ntfy, mail. Rejects if it did not go. */
export interface Way {
  readonly name: string;
  send(message: Message, signal: AbortSignal): Promise<void>;
}

/** What is told by each word of `[notify] on`. */
const TOLD = {
  degraded: ['degraded', 'failed', 'disk-gone', 'disk-failing', 'finding'],
  healed: ['healed', 'disk-back'],
  scrub: ['scrub-found'],
  full: ['nearly-full'],
  jobs: ['job-ended'],
} as const satisfies Record<string, readonly EventKind[]>;

type Topic = keyof typeof TOLD;

const RETRY_FIRST_MS = 5_000;
const RETRY_MOST_MS = 30 * 60_000;
const GIVE_UP_MS = 24 * 60 * 60_000;
const SEND_MS = 20_000;
/** A way that fails for long keeps the newest. */
const QUEUE_MAX = 100;

export interface NotifierParts {
  readonly ways: readonly Way[];
  readonly on: readonly Topic[];
  readonly pool: string;
  readonly host: string;
  readonly clock: Clock;
  /** A message was given up. */
  onFailure(way: string, message: Message, error: unknown): void;
}

export class Notifier {
  readonly #parts: NotifierParts;
  readonly #kinds: ReadonlySet<EventKind>;
  readonly #queues: readonly Queue[];
  readonly #stop = new AbortController();

  constructor(parts: NotifierParts) {
    this.#parts = parts;
    this.#kinds = new Set(parts.on.flatMap((topic): readonly EventKind[] => TOLD[topic]));
    this.#queues = parts.ways.map((way) => new Queue(way, parts, this.#stop.signal));
  }

  /** Returns at once. */
  tell(event: PoolEvent): void {
    if (!this.#kinds.has(event.kind)) return;
    for (const queue of this.#queues) queue.add(this.#message(event));
  }

  /** One message by every way, once; null: it went. */
  async test(): Promise<readonly { readonly way: string; readonly error: string | null }[]> {
    const { clock, ways } = this.#parts;
    const message = this.#message({
      atMs: clock.nowMs(),
      kind: 'started',
      severity: 'note',
      message: 'This is a test: notifications of the pool arrive.',
      advice: '',
    });
    return await Promise.all(
      ways.map(async (way) => ({
        way: way.name,
        error: await way.send(message, AbortSignal.any([this.#stop.signal, AbortSignal.timeout(SEND_MS)])).then(
          () => null,
          (error: unknown) => wordsOf(error),
        ),
      })),
    );
  }

  /** In the place of another one, which is closed: what waits to go by a way that this one has too, goes by it. */
  takeOver(other: Notifier): void {
    for (const queue of this.#queues)
      for (const { name, waiting } of other.#queues)
        if (name === queue.name) for (const each of waiting) queue.add(each);
    other.close();
  }

  close(): void {
    this.#stop.abort();
    for (const queue of this.#queues) queue.close();
  }

  #message({ atMs, kind, severity, message, advice }: Message['event']): Message {
    const { pool, host } = this.#parts;
    return { pool, host, event: { atMs, kind, severity, message, advice } };
  }
}

class Queue {
  readonly #way: Way;
  readonly #parts: NotifierParts;
  readonly #signal: AbortSignal;
  #waiting: Message[] = [];
  #isSending = false;
  #retryMs = RETRY_FIRST_MS;
  #timer: Timer | undefined;

  constructor(way: Way, parts: NotifierParts, signal: AbortSignal) {
    this.#way = way;
    this.#parts = parts;
    this.#signal = signal;
  }

  get name(): string {
    return this.#way.name;
  }

  /** Oldest first; one that is just being sent is among them. */
  get waiting(): readonly Message[] {
    return this.#waiting;
  }

  add(message: Message): void {
    this.#waiting.push(message);
    if (this.#waiting.length > QUEUE_MAX) this.#giveUp(new CairnError('BUSY', 'too many messages wait'));
    if (this.#timer === undefined) void this.#send();
  }

  close(): void {
    this.#timer?.cancel();
    this.#waiting = [];
  }

  async #send(): Promise<void> {
    if (this.#isSending) return;
    this.#isSending = true;
    try {
      for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
        await this.#way.send(first, AbortSignal.any([this.#signal, AbortSignal.timeout(SEND_MS)]));
        if (this.#waiting[0] === first) this.#waiting.shift();
        this.#retryMs = RETRY_FIRST_MS;
      }
    } catch (error) {
      if (!this.#signal.aborted) this.#later(error);
    } finally {
      this.#isSending = false;
    }
  }

  #later(error: unknown): void {
    const { clock } = this.#parts;
    const first = this.#waiting[0];
    if (first !== undefined && clock.nowMs() - first.event.atMs > GIVE_UP_MS) this.#giveUp(error);
    this.#timer = clock.after(this.#retryMs, () => {
      this.#timer = undefined;
      void this.#send();
    });
    this.#retryMs = Math.min(RETRY_MOST_MS, 2 * this.#retryMs);
  }

  #giveUp(error: unknown): void {
    const message = this.#waiting.shift();
    if (message !== undefined) this.#parts.onFailure(this.#way.name, message, error);
  }
}

/** What went wrong, as far as it may be shown: fetch hides its reason in the cause. */
export function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}
