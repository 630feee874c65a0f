/** A clock that stands still until the test moves it. */
import type { Clock, Time, Timer } from '../../../src/io/clock.js';

export class ManualClock implements Clock {
  #ms = 1_000_000;
  #timers: { at: number; task: () => void }[] = [];

  nowMs(): number {
    return this.#ms;
  }

  now(): Time {
    return { sec: Math.floor(this.#ms / 1000), nsec: (this.#ms % 1000) * 1_000_000 };
  }

  monotonicMs(): number {
    return this.#ms;
  }

  after(delayMs: number, task: () => void): Timer {
    const timer = { at: this.#ms + delayMs, task };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer);
      },
    };
  }

  get waiting(): number {
    return this.#timers.length;
  }

  advance(ms: number): void {
    this.#ms += ms;
    const due = this.#timers.filter(({ at }) => at <= this.#ms);
    this.#timers = this.#timers.filter(({ at }) => at > this.#ms);
    for (const { task } of due) task();
  }
}
