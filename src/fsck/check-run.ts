/** One run of checks: what has been found so far and how it can be mended, how far it is, and when it pauses or stops. */
import { CairnError } from '../errors/cairn-error.js';
import type { FileIo } from '../io/file-io.js';
import type { CheckFinding, CheckReport, CheckSeverity } from '../vfs/reports.js';
import type { CheckedPool, CheckOptions } from './checked-pool.js';

/** A mending; one that serves several findings is one object. Smaller orders come first: what later ones need. */
export interface Fix {
  readonly order: number;
  run(): Promise<void>;
}

export interface FindingInput {
  readonly severity: CheckSeverity;
  readonly code: string;
  readonly message: string;
  /** Left out: nothing need be done, or `cairn fsck --repair` if there is a fix. */
  readonly advice?: string;
  readonly files?: NamedFiles;
  readonly fix?: Fix | undefined;
}

export interface NamedFiles {
  readonly names: readonly string[];
  readonly more: number;
}

export interface Found {
  readonly finding: CheckFinding;
  readonly fix: Fix | undefined;
}

type Counts = { -readonly [K in keyof CheckReport['checked']]: number };

/** Work between two pauses, in steps that each check chooses: well below a millisecond. Who pauses looks at the clock, and may go on at once. */
const SLICE = 64 * 1024;

export class CheckRun {
  /** As recovery has left them. */
  readonly files: FileIo;
  readonly options: CheckOptions;
  readonly found: Found[] = [];
  readonly counts: Counts = {
    disks: 0,
    records: 0,
    logBytes: 0,
    commits: 0,
    inodes: 0,
    names: 0,
    extents: 0,
    chunks: 0,
    contentBytes: 0,
  };
  readonly #onFinding: (finding: CheckFinding) => void;
  #step: { name: string; done: number; total: number; unit: 'bytes' | 'items' } | undefined;
  #sincePause = 0;

  constructor(files: FileIo, options: CheckOptions, onFinding: (finding: CheckFinding) => void) {
    this.files = files;
    this.options = options;
    this.#onFinding = onFinding;
  }

  get live(): boolean {
    return this.options.live === true;
  }

  has(code: string): boolean {
    return this.found.some(({ finding }) => finding.code === code);
  }

  report({ severity, code, message, advice, files, fix }: FindingInput): void {
    const finding: CheckFinding = {
      severity,
      code,
      message,
      advice: advice ?? (fix === undefined ? '' : 'mend it with `cairn fsck --repair`'),
      files: files?.names ?? [],
      moreFiles: files?.more ?? 0,
    };
    this.found.push({ finding, fix });
    this.#onFinding(finding);
  }

  /** What comes next, and how much of it there is. */
  begin(name: string, total: number, unit: 'bytes' | 'items'): void {
    this.#step = { name, done: 0, total, unit };
    this.#tell();
  }

  /** `amount` more of the step is done, for which about `work` bytes were touched. ABORTED if the check is to stop. */
  async advance(amount: number, work = amount): Promise<void> {
    if (this.options.signal?.aborted) throw new CairnError('ABORTED', 'the check was stopped');
    if (this.#step !== undefined) this.#step.done += amount;
    this.#sincePause += work;
    if (this.#sincePause < SLICE) return;
    this.#sincePause = 0;
    this.#tell();
    await this.options.pause?.();
  }

  #tell(): void {
    if (this.#step === undefined) return;
    const { name, done, total, unit } = this.#step;
    this.options.onProgress?.({ step: name, done, total, unit });
  }
}

/** A run over a pool that is open. */
export class PoolRun extends CheckRun {
  readonly pool: CheckedPool;

  constructor(pool: CheckedPool, options: CheckOptions, onFinding: (finding: CheckFinding) => void) {
    super(pool.io, options, onFinding);
    this.pool = pool;
  }

  /** Runs a task while nothing is being committed or collected, and what was committed is in the metadata store. */
  async quietly<T>(task: () => Promise<T>): Promise<T> {
    const results: T[] = [];
    await this.pool.journal.between(async () => {
      results.push(await task());
    });
    return results[0] as T;
  }
}

/** The order in which things are mended. */
export const FIX_ORDER = { map: 1, journal: 2, metadata: 3, shards: 4, snapshot: 5, garbage: 6 } as const;
