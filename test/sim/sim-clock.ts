/** Time that moves only when the simulation says so; the time of day may jump, the monotonic one does not. */
import type { Clock, Time, Timer } from '../../src/io/clock.js';

export class SimClock implements Clock {
  #ms: number;
  /** Added to the time of day. */
  #offsetMs = 0;
  #timers: { readonly at: number; readonly task: () => void }[] = [];
  #stopped = false;

  constructor(ms: number) {
    this.#ms = ms;
  }

  nowMs(): number {
    return this.#ms + this.#offsetMs;
  }

  now(): Time {
    const ms = this.nowMs();
    const sec = Math.floor(ms / 1000);
    return { sec, nsec: Math.floor((ms - sec * 1000) * 1e6) };
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

  /** When the next timer is due, in milliseconds from this moment; undefined if none is set. */
  get nextMs(): number | undefined {
    if (this.#timers.length === 0) return undefined;
    return Math.max(0, Math.min(...this.#timers.map(({ at }) => at)) - this.#ms);
  }

  /** Runs the timers that are due by then, in order. */
  advance(ms: number): void {
    const end = this.#ms + ms;
    for (;;) {
      let next: { readonly at: number; readonly task: () => void } | undefined;
      for (const timer of this.#timers) if (timer.at <= end && (next === undefined || timer.at < next.at)) next = timer;
      if (next === undefined || this.#stopped) break;
      this.#timers = this.#timers.filter((other) => other !== next);
      this.#ms = Math.max(this.#ms, next.at);
      next.task();
    }
    this.#ms = end;
  }

  /** The time of day is set. */
  jump(ms: number): void {
    this.#offsetMs += ms;
  }

  /** The machine has stopped. */
  stop(): void {
    this.#stopped = true;
    this.#timers = [];
  }
}
