/**
 * Gives memory back when the daemon has nothing to do. V8 keeps the pages of a heap that has once been large, the C library what was freed in the
 * middle of its own, SQLite its pages: together more than a daemon is that has just started.
 *
 * Idle is a process that has used next to no processor time since the last look, whoever it works for. Then what may have grown since the last time is given back: a
 * collection stops everything for some dozen milliseconds, so it comes only where it gives enough, and again at the next look only as long as it did. While there is work only what costs nothing is given back, and only after much growth.
 */
import type { Clock, Timer } from '../io/clock.js';

const LOOK_EVERY_MS = 10_000;
/** Of one processor, between two looks. */
const IDLE_SHARE = 0.02;
/** So much more than after the last time is worth a collection. */
const WORTH_BYTES = 8 * 1024 * 1024;
/** So much more is worth asking the C library while there is work. */
const WORTH_WORKING_BYTES = 128 * 1024 * 1024;

/** The process, as far as memory goes. */
export interface ProcessMemory {
  /** Processor time that it has used, all threads together. */
  processorMs(): number;
  residentBytes(): number;
  /** Collects garbage and gives pages back. */
  collect(): void;
  /** Gives back what the C library has free. */
  trim(): void;
}

export class IdleMemory {
  readonly #clock: Clock;
  readonly #process: ProcessMemory;
  readonly #release: () => void;
  #timer: Timer | undefined;
  #lookedMs: number;
  #processorMs: number;
  /** Resident after the last collection, and after the C library was asked last; what was there at the start is not worth anything. */
  #collectedBytes: number;
  #trimmedBytes: number;
  /** The last collection gave enough for another one: V8 empties only some of its half-empty pages at a time. */
  #hasMore = false;

  /** `release`: lets go of what is kept only to be quicker. */
  constructor(clock: Clock, process: ProcessMemory, release: () => void) {
    this.#clock = clock;
    this.#process = process;
    this.#release = release;
    this.#lookedMs = clock.monotonicMs();
    this.#processorMs = process.processorMs();
    this.#collectedBytes = process.residentBytes();
    this.#trimmedBytes = this.#collectedBytes;
  }

  start(): void {
    this.#timer = this.#clock.after(LOOK_EVERY_MS, () => {
      try {
        this.#look();
      } catch {
        // What cannot be measured, as where no more files may be opened, is looked at the next time.
      }
      this.start();
    });
  }

  close(): void {
    this.#timer?.cancel();
  }

  #look(): void {
    const now = this.#clock.monotonicMs();
    const processorMs = this.#process.processorMs();
    const isIdle = processorMs - this.#processorMs < IDLE_SHARE * (now - this.#lookedMs);
    this.#lookedMs = now;
    this.#processorMs = processorMs;
    const beforeBytes = this.#process.residentBytes();
    const collects = isIdle && (this.#hasMore || beforeBytes - this.#collectedBytes > WORTH_BYTES);
    if (collects) {
      this.#release();
      this.#process.collect();
    } else if (beforeBytes - this.#trimmedBytes <= WORTH_WORKING_BYTES) {
      return;
    }
    this.#process.trim();
    this.#trimmedBytes = this.#process.residentBytes();
    if (collects) {
      this.#collectedBytes = this.#trimmedBytes;
      this.#hasMore = beforeBytes - this.#collectedBytes > WORTH_BYTES;
    }
    // What this took is no work.
    this.#processorMs = this.#process.processorMs();
  }
}
