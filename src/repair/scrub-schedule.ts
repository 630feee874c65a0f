/** Starts a scrub when the last one is so long ago. A pool that was never scrubbed is due; but none begins in the minutes after opening, which have other work. */
import { CairnError } from '../errors/cairn-error.js';
import type { Clock, Timer } from '../io/clock.js';
import type { JobRunner } from '../jobs/job-runner.js';

const FIRST_LOOK_MS = 10 * 60_000;
const LOOK_EVERY_MS = 60 * 60_000;
const DAY_MS = 24 * 60 * 60_000;

export class ScrubSchedule {
  readonly #jobs: JobRunner;
  readonly #clock: Clock;
  #everyDays: number;
  #isStarted = false;
  #timer: Timer | undefined;
  #isClosed = false;

  /** `everyDays`: 0 for never. */
  constructor(jobs: JobRunner, clock: Clock, everyDays: number) {
    this.#jobs = jobs;
    this.#clock = clock;
    this.#everyDays = everyDays;
  }

  start(): void {
    this.#isStarted = true;
    if (this.#everyDays > 0) this.#later(FIRST_LOOK_MS);
  }

  /** As the constructor's, from now on. */
  setEvery(days: number): void {
    if (days === this.#everyDays) return;
    this.#everyDays = days;
    this.#timer?.cancel();
    if (this.#isStarted && days > 0) this.#later(FIRST_LOOK_MS);
  }

  #later(delayMs: number): void {
    if (this.#isClosed) return;
    this.#timer?.cancel();
    this.#timer = this.#clock.after(delayMs, () => {
      void this.#look().finally(() => {
        if (this.#everyDays > 0) this.#later(LOOK_EVERY_MS);
      });
    });
  }

  async #look(): Promise<void> {
    const scrub = this.#jobs.list().find(({ name }) => name === 'scrub');
    if (scrub === undefined || ['running', 'waiting', 'paused'].includes(scrub.state)) return;
    if (scrub.endedMs !== null && this.#clock.nowMs() - scrub.endedMs < this.#everyDays * DAY_MS) return;
    try {
      await this.#jobs.start('scrub');
    } catch (error) {
      // The pool is being closed.
      if (!(error instanceof CairnError)) throw error;
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
  }
}
