/**
 * Throughput and latency over the last hour, day and month: three rings of means, each of a few hundred points, so that what is kept never grows. They are
 * written down now and then (monitor.ts), and a step during which no daemon ran is left out.
 */
import * as v from 'valibot';
import type { Flow, History, HistoryPoint, HistorySpan } from './reports.js';

const SPANS: Readonly<Record<HistorySpan, { readonly stepMs: number; readonly points: number }>> = {
  hour: { stepMs: 10_000, points: 360 },
  day: { stepMs: 240_000, points: 360 },
  month: { stepMs: 7_200_000, points: 372 },
};
const NAMES = ['hour', 'day', 'month'] as const;

interface Answered {
  readonly count: number;
  readonly totalMs: number;
}

/** What went through in a while of `elapsedMs` that ended at `atMs`. */
export interface Sample {
  readonly atMs: number;
  readonly elapsedMs: number;
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly committedBytes: number;
  readonly read: Answered;
  readonly write: Answered;
  readonly sync: Answered;
  readonly stagedBytes: number;
  readonly usedBytes: number;
}

const nothing = { count: 0, totalMs: 0 };

/** Samples of one step, added up. */
class Step {
  #sum: Sample;

  constructor(
    readonly slot: number,
    first: Sample,
  ) {
    this.#sum = first;
  }

  add(sample: Sample): void {
    const sum = this.#sum;
    this.#sum = {
      ...sample,
      elapsedMs: sum.elapsedMs + sample.elapsedMs,
      readBytes: sum.readBytes + sample.readBytes,
      writeBytes: sum.writeBytes + sample.writeBytes,
      committedBytes: sum.committedBytes + sample.committedBytes,
      read: together(sum.read, sample.read),
      write: together(sum.write, sample.write),
      sync: together(sum.sync, sample.sync),
    };
  }

  point(stepMs: number): HistoryPoint {
    const { stagedBytes, usedBytes } = this.#sum;
    return { ...flowOf(this.#sum), atMs: this.slot * stepMs, stagedBytes, usedBytes };
  }
}

function together(a: Answered = nothing, b: Answered = nothing): Answered {
  return { count: a.count + b.count, totalMs: a.totalMs + b.totalMs };
}

/** Rates and mean latencies of a sample. */
export function flowOf(sample: Sample): Flow {
  const perSecond = (bytes: number): number =>
    sample.elapsedMs <= 0 ? 0 : Math.max(0, Math.round((bytes * 1000) / sample.elapsedMs));
  const mean = ({ count, totalMs }: Answered): number | null =>
    count <= 0 ? null : Math.round((totalMs / count) * 1000) / 1000;
  return {
    atMs: sample.atMs,
    readBytesPerSecond: perSecond(sample.readBytes),
    writeBytesPerSecond: perSecond(sample.writeBytes),
    commitBytesPerSecond: perSecond(sample.committedBytes),
    readMs: mean(sample.read),
    writeMs: mean(sample.write),
    syncMs: mean(sample.sync),
  };
}

const rate = v.pipe(v.number(), v.minValue(0));
const latency = v.nullable(rate);
/** A point as it is kept: the fields of HistoryPoint in their order. */
const Row = v.tuple([rate, rate, rate, rate, latency, latency, latency, rate, rate]);
const rows = v.pipe(v.array(Row), v.maxLength(1000));
export const KeptHistory = v.strictObject({ hour: rows, day: rows, month: rows });
type Kept = v.InferOutput<typeof KeptHistory>;

export class HistoryRings {
  readonly #points: Record<HistorySpan, HistoryPoint[]> = { hour: [], day: [], month: [] };
  readonly #steps = new Map<HistorySpan, Step>();

  add(sample: Sample): void {
    for (const span of NAMES) {
      const { stepMs } = SPANS[span];
      const slot = Math.floor(sample.atMs / stepMs);
      const step = this.#steps.get(span);
      if (step?.slot === slot) step.add(sample);
      else {
        if (step !== undefined) this.#push(span, step.point(stepMs));
        this.#steps.set(span, new Step(slot, sample));
      }
    }
  }

  #push(span: HistorySpan, point: HistoryPoint): void {
    const points = this.#points[span];
    points.push(point);
    if (points.length > SPANS[span].points) points.shift();
  }

  /** The last step counts as far as it has come. */
  history(span: HistorySpan, nowMs: number): History {
    const { stepMs, points } = SPANS[span];
    const step = this.#steps.get(span);
    const all = step === undefined ? this.#points[span] : [...this.#points[span], step.point(stepMs)];
    const oldestMs = nowMs - stepMs * points;
    return { format: 1, span, stepMs, points: all.filter(({ atMs }) => atMs >= oldestMs) };
  }

  /** What `load` takes back. */
  kept(nowMs: number): Kept {
    const rowsOf = (span: HistorySpan) =>
      this.history(span, nowMs).points.map(
        (p): v.InferOutput<typeof Row> => [
          p.atMs,
          p.readBytesPerSecond,
          p.writeBytesPerSecond,
          p.commitBytesPerSecond,
          p.readMs,
          p.writeMs,
          p.syncMs,
          p.stagedBytes,
          p.usedBytes,
        ],
      );
    return { hour: rowsOf('hour'), day: rowsOf('day'), month: rowsOf('month') };
  }

  load(kept: Kept): void {
    for (const span of NAMES)
      for (const [atMs, read, write, commit, readMs, writeMs, syncMs, stagedBytes, usedBytes] of kept[span])
        this.#push(span, {
          atMs,
          readBytesPerSecond: read,
          writeBytesPerSecond: write,
          commitBytesPerSecond: commit,
          readMs,
          writeMs,
          syncMs,
          stagedBytes,
          usedBytes,
        });
  }
}
