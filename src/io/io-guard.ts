/**
 * Keeps a device that does not answer from holding up those who wait for it, and from taking all of libuv's threads. A system call that hangs
 * cannot be taken back, so it is left to itself: its caller is told that it failed, and until it has ended (`answered`) nothing is asked of the device.
 *
 * Invariants:
 * - At most JOBS_AT_ONCE jobs of one guard are under way, the others wait in the order in which they came.
 * - A device hangs when a job has been under way for the limit and the device has finished nothing meanwhile, as far as that can be seen: the sync
 *   of gigabytes takes minutes on a slow disk that works. It is then for `mayHang` to say whether it can be done without; if not, waiting goes on.
 * - Time is counted in ticks that really came, so a process that was stopped, or whose thread was busy, does not blame the device.
 *
 * One timer serves all jobs, and only while there are any.
 */
import { CairnError } from '../errors/cairn-error.js';
import type { Clock } from './clock.js';

/** A quarter of libuv's threads (`src/cli/cairn.cts`): three disks that hang leave some. */
const JOBS_AT_ONCE = 4;
const TICK_MS = 1_000;
/** Without an answer for so long, and without anything else that the device finishes: more than a sleeping disk takes to spin up. */
const HANG_TICKS = 15;
/** Where the kernel does not tell what the device finishes. */
const BLIND_HANG_TICKS = 30;
/** A job that takes longer than most: nothing is asked of the device on the calling thread then. */
const BEHIND_TICKS = 2;

/** What a device has finished so far: any text that differs when it has finished more; undefined where that cannot be told. */
export type Activity = () => string | undefined;

export interface IoGuardParts {
  readonly clock: Clock;
  /** Names the device in messages. */
  readonly name: string;
  /** Whether it may be given up now. Asked again at every tick while the device hangs. */
  mayHang(): boolean;
  /** It has been given up. Called before those who wait are told. */
  onHang(reason: string): void;
}

interface Job {
  /** Begins it. */
  run(): void;
  /** Tells its caller. */
  refuse(error: CairnError): void;
  /** It is begun even on a device that hangs: what gives a descriptor back. */
  readonly always: boolean;
  sinceTick: number;
}

export class IoGuard {
  /** Asked about a device that is slow to answer. */
  activity: Activity = () => undefined;
  readonly #parts: IoGuardParts;
  readonly #running = new Set<Job>();
  readonly #waiting: Job[] = [];
  readonly #whenAnswered: (() => void)[] = [];
  readonly #whenHung: (() => void)[] = [];
  #tick = 0;
  #isTicking = false;
  #seen: string | undefined;
  #activeTick = 0;
  #hang: CairnError | undefined;

  constructor(parts: IoGuardParts) {
    this.#parts = parts;
  }

  /** Why nothing is asked of the device; undefined while it answers. */
  get hang(): CairnError | undefined {
    return this.#hang;
  }

  /** Some job takes longer than most. */
  get isBehind(): boolean {
    if (this.#hang !== undefined) return true;
    const [oldest] = this.#running;
    return oldest !== undefined && this.#tick - oldest.sinceTick >= BEHIND_TICKS;
  }

  /** Resolves when no job is under way that its caller has been told has failed. */
  answered(): Promise<void> {
    if (this.#hang === undefined) return Promise.resolve();
    return new Promise((resolve) => this.#whenAnswered.push(resolve));
  }

  /** Resolves when the device has been given up. */
  hung(): Promise<void> {
    if (this.#hang !== undefined) return Promise.resolve();
    return new Promise((resolve) => this.#whenHung.push(resolve));
  }

  /**
   * Runs `job`. IO if the device hangs, or begins to. `onLate` gets what the job gives after its caller has been told so.
   * `always`: runs all the same, and resolves with undefined where others reject.
   */
  run<T>(job: () => Promise<T>, onLate?: (result: T) => void): Promise<T> {
    if (this.#hang !== undefined) return Promise.reject(this.#refusal());
    return this.#start(job, false, (error, _resolve, reject) => reject(error), onLate);
  }

  /** As `run`, for what gives something back: begun in its turn also while the device hangs, which its caller does not wait for. Never IO for that reason. */
  release(job: () => Promise<void>): Promise<void> {
    return this.#start(job, true, (_error, resolve) => resolve());
  }

  #start<T>(
    job: () => Promise<T>,
    always: boolean,
    onHang: (error: CairnError, resolve: (value: T) => void, reject: (error: unknown) => void) => void,
    onLate?: (result: T) => void,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      let isTold = false;
      const entry: Job = {
        always,
        sinceTick: 0,
        refuse: (error) => {
          isTold = true;
          onHang(error, resolve as (value: T) => void, reject);
        },
        run: () => {
          entry.sinceTick = this.#tick;
          this.#running.add(entry);
          this.#keepTicking();
          begin(job).then(
            (result) => {
              this.#ended(entry);
              if (isTold) onLate?.(result);
              else resolve(result);
            },
            (error: unknown) => {
              this.#ended(entry);
              if (!isTold) reject(error);
            },
          );
        },
      };
      if (this.#hang !== undefined) {
        entry.refuse(this.#hang);
        entry.run();
      } else if (this.#running.size < JOBS_AT_ONCE) entry.run();
      else this.#waiting.push(entry);
    });
  }

  #ended(job: Job): void {
    this.#running.delete(job);
    if (this.#hang !== undefined) {
      if (this.#running.size > 0) return;
      this.#hang = undefined;
      for (const tell of this.#whenAnswered.splice(0)) tell();
    }
    while (this.#running.size < JOBS_AT_ONCE) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      next.run();
    }
  }

  #keepTicking(): void {
    if (this.#isTicking) return;
    this.#isTicking = true;
    this.#parts.clock.after(TICK_MS, () => {
      this.#isTicking = false;
      if (this.#running.size === 0) return;
      this.#tick += 1;
      this.#look();
      if (this.#running.size > 0) this.#keepTicking();
    });
  }

  #look(): void {
    const [oldest] = this.#running;
    if (this.#hang !== undefined || oldest === undefined || !this.isBehind) return;
    const activity = this.activity();
    if (activity !== this.#seen) {
      this.#seen = activity;
      this.#activeTick = this.#tick;
    }
    const limit = activity === undefined ? BLIND_HANG_TICKS : HANG_TICKS;
    const quietTicks = this.#tick - (activity === undefined ? oldest.sinceTick : this.#quietSince(oldest));
    if (quietTicks >= limit && this.#parts.mayHang()) this.#giveUp(quietTicks);
  }

  #quietSince({ sinceTick }: Job): number {
    // The first look at a device can tell nothing: it counts as quiet since the job began.
    return this.#activeTick - sinceTick <= BEHIND_TICKS ? sinceTick : this.#activeTick;
  }

  #giveUp(quietTicks: number): void {
    const reason = `${this.#parts.name} has not answered for ${Math.round((quietTicks * TICK_MS) / 1000)} s`;
    this.#hang = new CairnError('IO', reason, { hint: 'look at its cable and at the kernel log' });
    this.#parts.onHang(reason);
    for (const tell of this.#whenHung.splice(0)) tell();
    const waiting = this.#waiting.splice(0);
    for (const job of [...this.#running, ...waiting]) job.refuse(this.#refusal());
    for (const job of waiting) if (job.always) job.run();
  }

  #refusal(): CairnError {
    const { message, hint } = this.#hang as CairnError;
    return new CairnError('IO', message, hint === undefined ? {} : { hint });
  }
}

/** A job that fails before it has begun fails like any other. */
async function begin<T>(job: () => Promise<T>): Promise<T> {
  return job();
}
