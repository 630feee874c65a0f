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

export class SystemClock implements Clock {
  nowMs(): number {
    return Date.now();
  }

  now(): Time {
    // performance.timeOrigin + now() has microsecond resolution; Date.now() only milliseconds.
    const ms = performance.timeOrigin + performance.now();
    const sec = Math.floor(ms / 1000);
    return { sec, nsec: Math.min(999_999_999, Math.floor((ms - sec * 1000) * 1e6)) };
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
