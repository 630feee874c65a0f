/** How many requests are taken: so many under way at one time, and so many a second from one sender (a user; an address, where nobody has signed). */
import type { Clock } from '../io/clock.js';
import { S3Error } from './s3-error.js';

export interface RequestLimitOptions {
  /** Under way at one time. */
  readonly requestsMax: number;
  /** Of one sender, in the long run; twice as many may come at once. Undefined: as many as come. */
  readonly requestsPerSecond?: number | undefined;
}

/** Senders that are remembered; one that has been quiet for two seconds has all its requests left, so forgetting it changes nothing. */
const SENDERS_MAX = 10_000;
const BURST_SECONDS = 2;

export class RequestLimits {
  readonly #options: RequestLimitOptions;
  readonly #clock: Clock;
  readonly #senders = new Map<string, { left: number; atMs: number }>();
  #underWay = 0;

  constructor(options: RequestLimitOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
  }

  /** A request has come; `end` is called once it is over. */
  begin(): void {
    this.#underWay += 1;
  }

  end(): void {
    this.#underWay -= 1;
  }

  /** SlowDown if too many are under way. */
  checkUnderWay(): void {
    if (this.#underWay > this.#options.requestsMax) throw slowDown();
  }

  /** SlowDown if this sender's requests come too fast. */
  take(sender: string): void {
    const { requestsPerSecond } = this.#options;
    if (requestsPerSecond === undefined) return;
    const nowMs = this.#clock.monotonicMs();
    const most = requestsPerSecond * BURST_SECONDS;
    const { left, atMs } = this.#senders.get(sender) ?? { left: most, atMs: nowMs };
    const now = Math.min(most, left + ((nowMs - atMs) / 1000) * requestsPerSecond);
    if (this.#senders.size >= SENDERS_MAX && !this.#senders.has(sender)) this.#forgetQuiet(nowMs);
    this.#senders.set(sender, { left: Math.max(0, now - 1), atMs: nowMs });
    if (now < 1) throw slowDown();
  }

  #forgetQuiet(nowMs: number): void {
    for (const [sender, { atMs }] of this.#senders)
      if (nowMs - atMs > BURST_SECONDS * 1000) this.#senders.delete(sender);
    // A crowd of new addresses does not make the table grow.
    if (this.#senders.size >= SENDERS_MAX) this.#senders.clear();
  }
}

function slowDown(): S3Error {
  return new S3Error('SlowDown', 'Please reduce your request rate.', { headers: { 'retry-after': '1' } });
}
