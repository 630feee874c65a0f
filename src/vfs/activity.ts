/**
 * Counts what users ask of the vfs: requests, bytes, and how long each took. Background work stands back for them (UserWork). On the hot path: two readings of the clock and a few additions per request, no
 * allocation but for an answer that is not there yet.
 */
import type { UserWork } from '../jobs/user-work.js';
import type { PoolActivity, RequestFigures } from './reports.js';
import type { Result } from './vfs.js';

/** Upper ends of the latencies' buckets; what takes longer than the last is only in the count. */
const BOUNDS_MS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000] as const;

class Requests {
  readonly #nowMs: () => number;
  readonly #userWork: UserWork;
  #count = 0;
  #bytes = 0;
  #totalMs = 0;
  readonly #buckets = new Float64Array(BOUNDS_MS.length);

  constructor(nowMs: () => number, userWork: UserWork) {
    this.#nowMs = nowMs;
    this.#userWork = userWork;
  }

  /** Counts a request of `bytes` that began at `startedMs` with its answer, which it returns. */
  note<T>(startedMs: number, bytes: number, answer: Result<T>): Result<T> {
    this.#userWork.count(answer);
    if (!(answer instanceof Promise)) {
      this.#took(startedMs, bytes);
      return answer;
    }
    const over = (): void => this.#took(startedMs, bytes);
    answer.then(over, over);
    return answer;
  }

  #took(startedMs: number, bytes: number): void {
    const ms = this.#nowMs() - startedMs;
    this.#count += 1;
    this.#bytes += bytes;
    this.#totalMs += ms;
    for (let at = 0; at < BOUNDS_MS.length; at++)
      if (ms <= BOUNDS_MS[at]!) {
        this.#buckets[at]! += 1;
        return;
      }
  }

  figures(): RequestFigures {
    let within = 0;
    const withinCounts = Array.from(this.#buckets, (count) => {
      within += count;
      return within;
    });
    return { count: this.#count, bytes: this.#bytes, totalMs: this.#totalMs, withinCounts };
  }
}

export class Activity {
  readonly read: Requests;
  readonly write: Requests;
  readonly sync: Requests;

  constructor(nowMs: () => number, userWork: UserWork) {
    this.read = new Requests(nowMs, userWork);
    this.write = new Requests(nowMs, userWork);
    this.sync = new Requests(nowMs, userWork);
  }

  report(): Pick<PoolActivity, 'boundsMs' | 'read' | 'write' | 'sync'> {
    return {
      boundsMs: BOUNDS_MS,
      read: this.read.figures(),
      write: this.write.figures(),
      sync: this.sync.figures(),
    };
  }
}
