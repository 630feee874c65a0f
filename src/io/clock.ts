/** Time, as an interface so that the simulator can drive it. */
export interface Clock {
  /** Milliseconds since the Unix epoch; may jump. */
  nowMs(): number;
  /** Nanoseconds since the Unix epoch as seconds and the rest; may jump. */
  now(): Time;
  /** Milliseconds from an arbitrary start; never jumps back. */
  monotonicMs(): number;
  /** Runs `task` once after `delayMs`. The timer does not keep the process alive. */
  after(delayMs: number, task: () => void): Timer;
}

export interface Timer {
  cancel(): void;
}

/** A POSIX timestamp. Immutable: one object may be shared by several fields. */
export interface Time {
  readonly sec: number;
  readonly nsec: number;
}

/** Less than anybody sets a clock by. */
const STEP_MS = 50;
/** Between two readings of clocks, unless the process was kept from running just then. */
const READING_MS = 1;

export class SystemClock implements Clock {
  /** What the monotonic clock is behind the wall clock. */
  #originMs = performance.timeOrigin;

  nowMs(): number {
    return Date.now();
  }

  now(): Time {
    // The monotonic clock has microseconds, Date.now() only milliseconds; but it does not follow when the time is set, and stands still while the machine sleeps.
    const wallMs = Date.now();
    const runMs = performance.now();
    if (Math.abs(this.#originMs + runMs - wallMs) > STEP_MS) this.#follow();
    const ms = this.#originMs + runMs;
    const sec = Math.floor(ms / 1000);
    return { sec, nsec: Math.min(999_999_999, Math.floor((ms - sec * 1000) * 1e6)) };
  }

  /** A pause between two readings is no step. */
  #follow(): void {
    for (;;) {
      const beforeMs = performance.now();
      const originMs = Date.now() - beforeMs;
      if (performance.now() - beforeMs > READING_MS) continue;
      if (Math.abs(originMs - this.#originMs) > STEP_MS) this.#originMs = originMs;
      return;
    }
  }

  monotonicMs(): number {
    return performance.now();
  }

  after(delayMs: number, task: () => void): Timer {
    const timer = setTimeout(task, delayMs);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  }
}
