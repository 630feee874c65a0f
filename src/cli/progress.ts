/**
 * One line that says how far something is. Silent for the first two seconds, so that quick things say nothing. On a terminal
 * the line redraws itself; elsewhere (a log, a pipe) a plain line appears every ten seconds.
 */
import type { Clock, Timer } from '../io/clock.js';
import type { CheckProgress, CommitProgress } from '../vfs/reports.js';
import type { Output } from './output.js';
import { counted, formatBytes, formatCount, formatDuration, formatRate } from './units.js';

const QUIET_MS = 2000;
const REDRAW_MS = 200;
const PLAIN_EVERY_MS = 10_000;
const CLEAR_LINE = '\r\u001b[K';

export class Progress {
  readonly #output: Output;
  readonly #clock: Clock;
  readonly #startMs: number;
  #label: string;
  #progress: CommitProgress | undefined;
  /** Where the rate is measured from: the first report. */
  #first: { readonly atMs: number; readonly bytes: number } | undefined;
  #timer: Timer | undefined;
  #lastDrawnMs = Number.NEGATIVE_INFINITY;
  #drawn = false;

  /** `label`: what is going on, in lower case: `committing`. */
  constructor(output: Output, clock: Clock, label: string) {
    this.#output = output;
    this.#clock = clock;
    this.#label = label;
    this.#startMs = clock.monotonicMs();
    this.#schedule();
  }

  /** What is going on is something else now. */
  step(label: string): void {
    this.#label = label;
    this.#progress = undefined;
    this.#first = undefined;
  }

  readonly update = (progress: CommitProgress): void => {
    this.#first ??= { atMs: this.#clock.monotonicMs(), bytes: progress.bytesDone };
    this.#progress = progress;
  };

  /** As `update`, for what is done in steps that count different things. */
  readonly check = ({ step, done, total, unit }: CheckProgress): void => {
    const text = unit === 'bytes' ? formatBytes : formatCount;
    this.#label = done === 0 ? step : `${step}: ${text(done)}${total > done ? ` of ${text(total)}` : ''}`;
  };

  /** Nothing is drawn after this; on a terminal the line is gone. */
  done(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#drawn && this.#output.isTTY) this.#output.write(CLEAR_LINE);
    this.#drawn = false;
  }

  #schedule(): void {
    this.#timer = this.#clock.after(REDRAW_MS, () => {
      this.#draw();
      this.#schedule();
    });
  }

  #draw(): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#startMs < QUIET_MS) return;
    if (this.#output.isTTY) {
      // A line that wraps cannot be cleared by one carriage return.
      this.#output.write(CLEAR_LINE + this.#line(nowMs).slice(0, this.#output.columns - 1));
      this.#drawn = true;
    } else if (nowMs - this.#lastDrawnMs >= PLAIN_EVERY_MS) {
      this.#output.write(`${this.#line(nowMs)}\n`);
      this.#lastDrawnMs = nowMs;
    }
  }

  #line(nowMs: number): string {
    const progress = this.#progress;
    if (progress === undefined || this.#first === undefined) {
      return `${this.#label}, ${formatDuration(nowMs - this.#startMs)} so far`;
    }
    const { bytesDone, bytesTotal, filesDone, filesTotal } = progress;
    const parts = [
      `${this.#label}: ${formatBytes(bytesDone)} of ${formatBytes(bytesTotal)}`,
      `${formatCount(filesDone)} of ${counted(filesTotal, 'file')}`,
    ];
    const elapsedMs = nowMs - this.#first.atMs;
    const moved = bytesDone - this.#first.bytes;
    if (moved > 0 && elapsedMs >= 1000) {
      const perSecond = (moved * 1000) / elapsedMs;
      parts.push(formatRate(perSecond));
      const leftMs = ((bytesTotal - bytesDone) / perSecond) * 1000;
      if (leftMs >= 0) parts.push(`${formatDuration(leftMs)} left`);
    }
    return parts.join(', ');
  }
}
