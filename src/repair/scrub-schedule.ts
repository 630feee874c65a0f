/**
 * Starts a scrub when the last one is so long ago. A pool that was never scrubbed is due; but none begins in the minutes after opening, which have other work, nor
 * while users are at work, as who fills a new pool is: unless they have been for a day.
 */
import { CairnError } from '../errors/cairn-error.js';
import type { Clock, Timer } from '../io/clock.js';
import type { JobRunner } from '../jobs/job-runner.js';
import type { UserWork } from '../jobs/user-work.js';

const FIRST_LOOK_MS = 10 * 60_000;
const LOOK_EVERY_MS = 60 * 60_000;
/** So long nobody has asked for anything when it begins. */
const QUIET_MS = 60_000;
const DAY_MS = 24 * 60 * 60_000;

export class ScrubSchedule {
  readonly #jobs: JobRunner;
  readonly #clock: Clock;
  readonly #userWork: UserWork;
  /** Requests of users at the last look. */
  #seen = 0;
  /** Since when one that is due has been put off; undefined: none is. */
  #putOffSinceMs: number | undefined;
  #everyDays: number;
  #isStarted = false;
  #timer: Timer | undefined;
  #isClosed = false;

  /** `everyDays`: 0 for never. */
  constructor(jobs: JobRunner, clock: Clock, userWork: UserWork, everyDays: number) {
    this.#jobs = jobs;
    this.#clock = clock;
    this.#userWork = userWork;
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
        if (this.#everyDays > 0) this.#later(this.#putOffSinceMs === undefined ? LOOK_EVERY_MS : QUIET_MS);
      });
    });
  }

  async #look(): Promise<void> {
    const scrub = this.#jobs.list().find(({ name }) => name === 'scrub');
    if (scrub === undefined || ['running', 'waiting', 'paused'].includes(scrub.state)) return;
    // One that ended in the future ended while the clock was wrong: when is not known, so it is due.
    const sinceMs = scrub.endedMs === null ? Number.POSITIVE_INFINITY : this.#clock.nowMs() - scrub.endedMs;
    if (sinceMs > -DAY_MS && sinceMs < this.#everyDays * DAY_MS) return;
    if (this.#mustPutOff()) return;
    try {
      await this.#jobs.start('scrub');
    } catch (error) {
      // The pool is being closed.
      if (!(error instanceof CairnError)) throw error;
    }
  }

  #mustPutOff(): boolean {
    const { requests } = this.#userWork;
    const nowMs = this.#clock.monotonicMs();
    const isQuiet = requests === this.#seen;
    this.#seen = requests;
    this.#putOffSinceMs ??= nowMs;
    if (!isQuiet && nowMs - this.#putOffSinceMs < DAY_MS) return true;
    this.#putOffSinceMs = undefined;
    return false;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
  }
}
