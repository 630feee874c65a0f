/**
 * Puts background work behind user work. Nobody there: full speed. While users ask for something, and for half a second after, the work gets a tenth of
 * the time, and a piece of it does not begin while a user waits for an answer; but never less than a hundredth of the time, so that it comes to
 * its end on a pool that is never quiet.
 *
 * What runs on the event loop has pieces of SLICE_MS: a request that comes in the middle of one waits for its end.
 */
import type { Clock, Timer } from '../io/clock.js';
import type { UserWork } from './user-work.js';

/** So long a piece of work may keep the event loop. */
export const SLICE_MS = 1;
/** Of the time, while users are there, */
const SHARE = 0.1;
/** and while one always waits. */
const SHARE_MIN = 0.01;
const BUSY_MS = 500;
/** The longest rest after one piece. */
const REST_MAX_MS = 2000;

export class Throttle {
  readonly #work: UserWork;
  readonly #clock: Clock;
  #seen = 0;
  #busyUntilMs = Number.NEGATIVE_INFINITY;

  constructor(work: UserWork, clock: Clock) {
    this.#work = work;
    this.#clock = clock;
  }

  /** To be called after a piece of work that took `workedMs`; resolves when the next may begin, or when the signal says so. */
  async rest(workedMs: number, signal: AbortSignal): Promise<void> {
    if (!this.#isBusy()) {
      await new Promise(setImmediate);
      return;
    }
    const startMs = this.#clock.monotonicMs();
    await this.#sleep(restOf(workedMs, SHARE), signal);
    const left = restOf(workedMs, SHARE_MIN) - (this.#clock.monotonicMs() - startMs);
    if (this.#work.waiting > 0 && left > 0) await this.#sleep(left, signal, this.#work.quiet());
  }

  #isBusy(): boolean {
    const { requests, waiting } = this.#work;
    const nowMs = this.#clock.monotonicMs();
    if (requests !== this.#seen || waiting > 0) this.#busyUntilMs = nowMs + BUSY_MS;
    this.#seen = requests;
    return nowMs < this.#busyUntilMs;
  }

  async #sleep(ms: number, signal: AbortSignal, orUntil?: Promise<void>): Promise<void> {
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        timer.cancel();
        signal.removeEventListener('abort', wake);
        resolve();
      };
      const timer: Timer = this.#clock.after(ms, wake);
      signal.addEventListener('abort', wake);
      void orUntil?.then(wake);
    });
  }
}

/** What makes the work a share of the time. */
function restOf(workedMs: number, share: number): number {
  return Math.min(REST_MAX_MS, Math.max(1, (workedMs * (1 - share)) / share));
}
