/**
 * Long work in the background (scrub, repair, rebuild, …) as the rest sees it: one job of each kind in a pool, which can be started,
 * paused, resumed and cancelled, and goes on after a crash from where its cursor was last written.
 *
 * Pausing, the end of the daemon and a crash are one thing to a job: `run` ends, and is called again later with the cursor that was kept. So the
 * cursor is never the only truth. It may be lost or older than what has been done; then work is done again, and must do no harm then.
 */

/** What JSON can say: cursors, options and reports are kept in a file. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/**
 * `idle`: never started. `running`: at work, or about to be. `waiting`: a job that goes first is at work. `paused`: until it is resumed, also
 * beyond the end of the daemon. `done`, `cancelled`, `failed`: over, the last two resumable from the start and from the cursor.
 */
export type JobState = 'idle' | 'running' | 'waiting' | 'paused' | 'done' | 'cancelled' | 'failed';

export interface JobReport {
  /** The kind, which is its name: `scrub`. */
  readonly name: string;
  readonly state: JobState;
  /** What it is doing, or how it ended, in one line. */
  readonly line: string;
  readonly doneBytes: number;
  /** 0 if it is not known. */
  readonly totalBytes: number;
  /** Of the last half minute; 0 while it does not run. */
  readonly bytesPerSecond: number;
  /** null if it cannot be told. */
  readonly leftMs: number | null;
  /** It does not stand back for user work. */
  readonly fullSpeed: boolean;
  /** Milliseconds since the Unix epoch; null if it has not begun, or not ended. */
  readonly startedMs: number | null;
  readonly endedMs: number | null;
  /** What the last run that came to its end found, as the kind says; null if none did. */
  readonly report: Json;
}

/** What a run is given. All of it may be used until `run` has settled. */
export interface JobContext {
  /** What it was started with. */
  readonly options: Json;
  /** Where the last run was, as it said then; undefined: from the start. */
  readonly cursor: Json | undefined;
  /** Aborted when the run must end: paused, cancelled, or the pool closes. */
  readonly signal: AbortSignal;
  /** How much there is to be done altogether, as far as it is known. */
  total(bytes: number): void;
  /** What is being done, in one line. */
  say(line: string): void;
  /**
   * Called between two pieces of work, while nothing is held: adds the piece to what is done, takes note of the cursor behind it, and resolves when the next
   * may begin. A piece should keep the event loop no longer than a millisecond; smaller ones cost next to nothing, since turns within a millisecond return at
   * once. Rejects with ABORTED where the run is to end: let it through.
   */
  turn(doneBytes: number, cursor?: Json): Promise<void>;
  /** Writes the last cursor down now, where its loss would cost more than time; otherwise that is done every ten seconds. */
  keep(): Promise<void>;
}

export interface JobKind {
  readonly name: string;
  /** Of two jobs that want to run, the one with the lower rank does, and the other waits. */
  readonly rank: number;
  /** Before it is started: throws INVALID if the options say nothing that it understands, BUSY or another code if it cannot run now. */
  check?(options: Json): void;
  /** Does all of it, from the cursor on; resolves with its report. */
  run(context: JobContext): Promise<Json>;
  /** Makes what was done so far durable; called each time before the cursor is written down. */
  settle?(): Promise<void>;
}

/** What faces may do with the jobs of a pool. NOT_FOUND if there is no such kind. */
export interface JobControl {
  list(): JobReport[];
  /** Begins; a job that runs goes on as it is, with the new pace. INVALID, BUSY. */
  start(name: string, options?: Json, pace?: JobPace): Promise<JobReport>;
  /** Resolves when it has stopped and its cursor is kept. BUSY if it does not run. */
  pause(name: string): Promise<JobReport>;
  /** Goes on from where it was; a job that runs gets the new pace. BUSY if there is nothing to go on with. */
  resume(name: string, pace?: JobPace): Promise<JobReport>;
  /** From its next piece on, which begins at once where it was resting; kept for when it goes on. BUSY if it is over, or was never started. */
  setPace(name: string, pace: JobPace): Promise<JobReport>;
  /** Stops it and forgets the cursor. BUSY if there is nothing to cancel. */
  cancel(name: string): Promise<JobReport>;
}

export interface JobPace {
  readonly fullSpeed: boolean;
}
