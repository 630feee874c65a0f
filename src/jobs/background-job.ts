/**
 * One kind's job: its state, its run if there is one, its progress, and what is kept of it. Invariant: the cursor that is written down
 * never stands beyond what `settle` has made durable.
 */
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { Clock } from '../io/clock.js';
import type { JobContext, JobKind, JobReport, JobState, Json } from './job.js';
import type { JobFiles, KeptJob } from './job-file.js';
import { Rate } from './rate.js';
import { SLICE_MS, type Throttle } from './throttle.js';

/** A crash repeats at most so much work, and the file is written at most so often. */
const KEEP_EVERY_MS = 10_000;
/** Turns that are passed over within a slice, whatever the clock says. */
const TURNS_MAX = 1000;

export interface JobLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** Decides which of several jobs may work. */
interface JobOrder {
  /** Resolves when no job that goes before it wants to work, or when the signal says so. */
  first(job: BackgroundJob, signal: AbortSignal): Promise<void>;
  isFirst(job: BackgroundJob): boolean;
  /** The job wants to work no more. */
  left(): void;
}

export interface JobParts {
  readonly clock: Clock;
  readonly throttle: Throttle;
  readonly files: JobFiles;
  readonly log: JobLog;
  readonly order: JobOrder;
}

/** Why a run is told to end. */
type Intent = 'pause' | 'cancel' | 'close';

export class BackgroundJob {
  readonly kind: JobKind;
  readonly #parts: JobParts;
  #state: JobState = 'idle';
  #options: Json = null;
  #cursor: Json = null;
  #line = 'never started';
  #doneBytes = 0;
  #totalBytes = 0;
  #fullSpeed = false;
  #startedMs: number | null = null;
  #endedMs: number | null = null;
  #report: Json = null;
  #rate = new Rate();
  #abort: AbortController | undefined;
  /** Of the rest that a run takes; aborted, the rest is over. */
  #rest = new AbortController();
  #intent: Intent = 'close';
  #run: Promise<void> | undefined;
  #resumedMs = 0;
  #turns = 0;
  #keptMs = 0;
  #keeping: Promise<void> = Promise.resolve();
  #hasWarned = false;

  constructor(kind: JobKind, parts: JobParts) {
    this.kind = kind;
    this.#parts = parts;
  }

  get state(): JobState {
    return this.#state;
  }

  /** Running or waiting for its turn. */
  get isActive(): boolean {
    return this.#run !== undefined && (this.#state === 'running' || this.#state === 'waiting');
  }

  /** Resolves when a run that has come to its end is written down; at once if one is at work, or none. */
  async settled(): Promise<void> {
    if (!this.isActive) await this.#run;
  }

  get options(): Json {
    return this.#options;
  }

  setPace(fullSpeed: boolean): void {
    this.#fullSpeed = fullSpeed;
    if (fullSpeed) this.#rest.abort();
  }

  /** What is known of it, written down. */
  keep(): Promise<void> {
    return this.#keep();
  }

  report(): JobReport {
    const nowMs = this.#parts.clock.monotonicMs();
    const perSecond = this.#state === 'running' ? this.#rate.perSecond(nowMs, this.#doneBytes) : 0;
    const left = this.#totalBytes - this.#doneBytes;
    return {
      name: this.kind.name,
      state: this.#state,
      line: this.#line,
      // A piece that was done twice, before a crash and after it, is counted twice.
      doneBytes: this.#totalBytes === 0 ? this.#doneBytes : Math.min(this.#doneBytes, this.#totalBytes),
      totalBytes: this.#totalBytes,
      bytesPerSecond: Math.round(perSecond),
      leftMs: perSecond > 0 && left > 0 ? Math.round((left / perSecond) * 1000) : null,
      fullSpeed: this.#fullSpeed,
      startedMs: this.#startedMs,
      endedMs: this.#endedMs,
      report: this.#report,
    };
  }

  /** From the start. */
  async begin(options: Json, fullSpeed: boolean): Promise<void> {
    this.#options = options;
    this.#cursor = null;
    this.#doneBytes = 0;
    this.#totalBytes = 0;
    this.#fullSpeed = fullSpeed;
    this.#startedMs = this.#parts.clock.nowMs();
    this.#line = 'beginning';
    this.#go();
    // Also a start that nothing has come of yet survives a crash.
    await this.#keep();
  }

  /** From where it was. */
  goOn(): void {
    this.#go();
  }

  /** What was kept of it; true if it was at work then. */
  async load(): Promise<boolean> {
    const { files, log } = this.#parts;
    let kept: KeptJob | undefined;
    try {
      kept = await files.read(this.kind.name);
    } catch (error) {
      log.warn({ job: this.kind.name, error }, `what was known of the last ${this.kind.name} cannot be read`);
    }
    if (kept === undefined || this.#state !== 'idle') return false;
    const { state, options, cursor, line, doneBytes, totalBytes, fullSpeed, startedMs, endedMs, report } = kept;
    this.#options = options;
    this.#cursor = cursor;
    this.#line = line;
    this.#doneBytes = doneBytes;
    this.#totalBytes = totalBytes;
    this.#fullSpeed = fullSpeed;
    this.#startedMs = startedMs;
    this.#endedMs = endedMs;
    this.#report = report;
    this.#state = state === 'running' ? 'paused' : state;
    return state === 'running';
  }

  /** Resolves when the run, if there is one, has ended and what is to be kept of it is kept. */
  async end(intent: Intent): Promise<void> {
    if (this.#run === undefined) return;
    this.#intent = intent;
    this.#abort?.abort();
    this.#rest.abort();
    await this.#run;
  }

  /** For one that does not run. */
  async forget(): Promise<void> {
    this.#state = 'cancelled';
    this.#line = 'cancelled';
    this.#cursor = null;
    this.#endedMs = this.#parts.clock.nowMs();
    await this.#keep();
  }

  #go(): void {
    this.#state = 'running';
    this.#endedMs = null;
    this.#rate = new Rate();
    this.#hasWarned = false;
    const abort = new AbortController();
    this.#abort = abort;
    this.#keptMs = this.#parts.clock.monotonicMs();
    this.#run = this.#execute(abort.signal).finally(() => {
      this.#run = undefined;
      this.#parts.order.left();
    });
  }

  async #execute(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#parts;
    const { name } = this.kind;
    try {
      // What started it has its answer first.
      await new Promise(setImmediate);
      await this.#turn(signal);
      this.#report = await this.kind.run(this.#context(signal));
      this.#over('done', 'done');
      log.info({ job: name }, `${name} is done`);
    } catch (error) {
      if (signal.aborted) {
        if (!hasCode(error, 'ABORTED')) log.warn({ job: name, error }, `${name} was stopped, and failed meanwhile`);
        if (this.#intent === 'pause') this.#state = 'paused';
        else if (this.#intent === 'cancel') this.#over('cancelled', 'cancelled');
      } else {
        const hint = error instanceof CairnError && error.hint !== undefined ? `; ${error.hint}` : '';
        const reason =
          error instanceof CairnError ? `${error.message}${hint}` : 'an error of cairn itself: see daemon.log';
        this.#state = 'failed';
        this.#line = reason;
        this.#endedMs = clock.nowMs();
        log.error({ job: name, error }, `${name} has failed: ${reason}`);
      }
    }
    await this.#keep();
  }

  #over(state: 'done' | 'cancelled', line: string): void {
    this.#state = state;
    this.#line = line;
    this.#cursor = null;
    this.#endedMs = this.#parts.clock.nowMs();
  }

  #context(signal: AbortSignal): JobContext {
    return {
      options: this.#options,
      cursor: this.#cursor ?? undefined,
      signal,
      total: (bytes) => {
        this.#totalBytes = Math.max(0, Math.round(bytes));
      },
      say: (line) => {
        this.#line = line;
      },
      keep: () => this.#keep(),
      turn: async (doneBytes, cursor) => {
        const { clock, throttle, order } = this.#parts;
        this.#doneBytes += Math.round(doneBytes);
        if (cursor !== undefined) this.#cursor = cursor;
        const nowMs = clock.monotonicMs();
        if (nowMs - this.#resumedMs < SLICE_MS && ++this.#turns < TURNS_MAX && !signal.aborted && order.isFirst(this))
          return;
        this.#rate.note(nowMs, this.#doneBytes);
        if (!signal.aborted && nowMs - this.#keptMs >= KEEP_EVERY_MS) await this.#keep();
        if (this.#fullSpeed) await new Promise(setImmediate);
        else if (!signal.aborted) {
          this.#rest = new AbortController();
          await throttle.rest(nowMs - this.#resumedMs, this.#rest.signal);
        }
        await this.#turn(signal);
      },
    };
  }

  async #turn(signal: AbortSignal): Promise<void> {
    const { clock, order } = this.#parts;
    if (!signal.aborted && !order.isFirst(this)) {
      this.#state = 'waiting';
      await order.first(this, signal);
      this.#state = 'running';
      this.#rate = new Rate();
    }
    if (signal.aborted) throw new CairnError('ABORTED', `${this.kind.name} was told to stop`);
    this.#resumedMs = clock.monotonicMs();
    this.#turns = 0;
  }

  #keep(): Promise<void> {
    this.#keeping = this.#keeping.then(() => this.#keepNow());
    return this.#keeping;
  }

  async #keepNow(): Promise<void> {
    const { clock, files, log } = this.#parts;
    const { name } = this.kind;
    this.#keptMs = clock.monotonicMs();
    // Taken before what is done is settled: what is done meanwhile is not in it.
    const kept: KeptJob = {
      format: 1,
      state: this.#state === 'waiting' || this.#state === 'idle' ? 'running' : this.#state,
      options: this.#options,
      cursor: this.#cursor,
      line: this.#line,
      doneBytes: this.#doneBytes,
      totalBytes: this.#totalBytes,
      fullSpeed: this.#fullSpeed,
      startedMs: this.#startedMs ?? clock.nowMs(),
      endedMs: this.#endedMs,
      report: this.#report,
    };
    try {
      await this.kind.settle?.();
      await files.write(name, kept);
    } catch (error) {
      if (this.#hasWarned) return;
      this.#hasWarned = true;
      log.warn(
        { job: name, error },
        `how far ${name} is could not be written down: after a crash it does that part again`,
      );
    }
  }
}
