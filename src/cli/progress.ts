/**
 * One line that says how far something is, how fast, and what is left. Silent for the first two seconds, so that quick things say nothing. On a terminal
 * the line redraws itself and has a bar; elsewhere (a log, a pipe) a plain line appears every ten seconds.
 */
import type { Clock, Timer } from '../io/clock.js';
import type { CheckProgress, CommitProgress, JobReport } from '../vfs/reports.js';
import type { CliContext } from './context.js';
import { jobText } from './job-text.js';
import type { Output } from './output.js';
import { percent, Style } from './style.js';
import { counted, formatBytes, formatCount, formatDuration, formatRate } from './units.js';

const QUIET_MS = 2000;
const REDRAW_MS = 200;
const PLAIN_EVERY_MS = 10_000;
const BAR_COLUMNS = 20;
/** Less is no bar. */
const BAR_COLUMNS_MIN = 5;
/** Of a share in words, with the spaces around it. */
const PERCENT_COLUMNS = 8;
const CLEAR_LINE = '\r\u001b[K';

export class Progress {
  readonly #output: Output;
  readonly #clock: Clock;
  readonly #startMs: number;
  #label: string;
  #progress: CommitProgress | undefined;
  /** How much is done, from 0 to 1; undefined where that is not known. */
  #share: number | undefined;
  readonly #style: Style;
  /** Whether the label says it all: how long it has been at it is not added. */
  #isWhole = false;
  /** Where the rate is measured from: the first report. */
  #first: { readonly atMs: number; readonly bytes: number } | undefined;
  #timer: Timer | undefined;
  #lastDrawnMs = Number.NEGATIVE_INFINITY;
  #drawn = false;

  /** `label`: what is going on, in lower case: `committing`. */
  constructor(output: Output, clock: Clock, label: string) {
    this.#output = output;
    this.#clock = clock;
    this.#style = new Style(output);
    this.#label = label;
    this.#startMs = clock.monotonicMs();
    this.#schedule();
  }

  /** What is going on is something else now. */
  step(label: string): void {
    this.#label = label;
    this.#progress = undefined;
    this.#share = undefined;
    this.#first = undefined;
  }

  readonly update = (progress: CommitProgress): void => {
    this.#first ??= { atMs: this.#clock.monotonicMs(), bytes: progress.bytesDone };
    this.#progress = progress;
    this.#share = shareOf(progress.bytesDone, progress.bytesTotal);
  };

  /** As `update`, for what is done in steps that count different things. */
  readonly check = ({ step, done, total, unit }: CheckProgress): void => {
    const text = unit === 'bytes' ? formatBytes : formatCount;
    this.#label = done === 0 ? step : `${step}: ${text(done)}${total > done ? ` of ${text(total)}` : ''}`;
    this.#share = shareOf(done, total);
  };

  /** As `update`, for work in the background, which keeps its own figures. */
  readonly job = (job: JobReport): void => {
    this.#label = jobText(job);
    this.#isWhole = true;
    this.#share = shareOf(job.doneBytes, job.totalBytes);
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
      this.#output.write(CLEAR_LINE + this.#terminalLine(nowMs));
      this.#drawn = true;
    } else if (nowMs - this.#lastDrawnMs >= PLAIN_EVERY_MS) {
      this.#output.write(`${this.#line(nowMs)}\n`);
      this.#lastDrawnMs = nowMs;
    }
  }

  /** The words, and before them a bar that takes what room they leave. */
  #terminalLine(nowMs: number): string {
    const words = this.#line(nowMs);
    const room = this.#output.columns - 1;
    const columns = Math.min(BAR_COLUMNS, room - words.length - PERCENT_COLUMNS);
    if (this.#share === undefined || columns < BAR_COLUMNS_MIN) return words.slice(0, room);
    return `${this.#style.good(this.#style.bar(this.#share, columns))} ${percent(this.#share)}  ${words}`;
  }

  #line(nowMs: number): string {
    const progress = this.#progress;
    if (this.#isWhole) return this.#label;
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

function shareOf(done: number, total: number): number | undefined {
  return total > 0 ? done / total : undefined;
}

/** A line of its own, also while a progress is drawn: that comes again below it. */
export function sayAbove(output: Output, line: string): void {
  output.write(`${output.isTTY ? CLEAR_LINE : ''}${line}\n`);
}

/** Shows that it goes on, while it takes longer than two seconds. */
export async function withProgress<T>(
  context: Pick<CliContext, 'stderr' | 'clock'>,
  label: string,
  work: (progress: Progress) => Promise<T>,
): Promise<T> {
  const progress = new Progress(context.stderr, context.clock, label);
  try {
    return await work(progress);
  } finally {
    progress.done();
  }
}
