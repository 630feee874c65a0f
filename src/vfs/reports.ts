/** What the pool reports of itself: to `status`, `state` and `commit`, the control socket and the library. Sizes are bytes. */
import type { JobControl, JobPace, JobReport, Json } from '../jobs/job.js';

export type { JobControl, JobPace, JobReport, Json };

export interface DiskReport {
  readonly number: number;
  readonly uuid: string;
  readonly role: 'data' | 'journal' | 'cache';
  readonly directory: string;
  /** `missing`: its directory or identity is not there; `foreign`: another disk is in its place. */
  readonly state: 'online' | 'suspect' | 'offline' | 'missing' | 'foreign';
  /** Why it is not online, as a sentence; '' if it is. */
  readonly reason: string;
  readonly capacityBytes: number;
  readonly liveBytes: number;
  readonly freeBytes: number;
}

export interface PoolStatus {
  readonly format: 1;
  readonly pool: string;
  readonly directory: string;
  readonly mountpoint: string | null;
  readonly mode: 'default' | 'strong';
  /** What a strong fsync answers while redundancy is missing: success with what is left, or an error. */
  readonly whenDegraded: 'allow' | 'refuse';
  readonly pid: number;
  readonly health: 'healthy' | 'degraded' | 'failed';
  /** Sentences: what is wrong and what it means for the data. */
  readonly findings: readonly string[];
  /** What is protected against what, as a sentence. */
  readonly protection: string;
  readonly disks: readonly DiskReport[];
  readonly groups: readonly { readonly scheme: string; readonly count: number; readonly degraded: number }[];
  /** Plain bytes that the pool can hold, holds, and still takes. */
  readonly usableBytes: number;
  readonly usedBytes: number;
  readonly freeBytes: number;
  readonly files: number;
  /** Staged and not committed. */
  readonly dirtyBytes: number;
  readonly dirtyFiles: number;
  readonly cacheBytes: number;
  readonly cacheCapacityBytes: number;
  /** Written since the pool was opened while a disk failed or was away, with fewer shards than there should be; whether or not it has been healed. */
  readonly degradedWrites: { readonly commits: number; readonly chunks: number; readonly bytes: number };
  readonly commitSequence: number;
  readonly epoch: number;
  readonly mapVersion: number;
  /** Work in the background: what was ever started. */
  readonly jobs: readonly JobReport[];
}

export interface FileState {
  /** Path inside the pool, starting with `/`. */
  readonly path: string;
  readonly kind: 'file' | 'directory' | 'symlink' | 'other';
  readonly sizeBytes: number;
  readonly stagedBytes: number;
  readonly committedBytes: number;
  readonly chunks: number;
  /** Schemes of its chunks, sorted: `['copies:2', 'ec:2+1']`. */
  readonly schemes: readonly string[];
  readonly state: 'staged' | 'committing' | 'committed';
  readonly health: 'healthy' | 'degraded' | 'lost';
}

export interface CommitProgress {
  readonly filesDone: number;
  readonly filesTotal: number;
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

export interface CommitReport extends CommitProgress {
  readonly sequence: number;
  readonly elapsedMs: number;
  /** False if shards are missing because a disk is. */
  readonly healthy: boolean;
}

/** `note`: nothing to do; `damage`: less safe than promised, nothing lost; `loss`: something that was promised cannot be read. */
export type CheckSeverity = 'note' | 'damage' | 'loss';

/** One thing that a check of the pool has found. */
export interface CheckFinding {
  readonly severity: CheckSeverity;
  /** Says what kind it is, for programs: `chunk-degraded`. */
  readonly code: string;
  /** A sentence: what it is and what it means for the data. */
  readonly message: string;
  /** What to do, as a sentence; '' if nothing need be done. */
  readonly advice: string;
  /** Paths in the pool of files that it concerns, the first few. */
  readonly files: readonly string[];
  /** How many more files there are. */
  readonly moreFiles: number;
}

export interface CheckRequest {
  /** Decode every chunk and compare its content with its name, and all of its shards with what they should be. */
  readonly content: boolean;
  /** Mend what can be derived from the rest. */
  readonly repair: boolean;
}

export interface CheckProgress {
  /** What is being checked, in lower case. */
  readonly step: string;
  readonly done: number;
  /** 0 if it is not known. */
  readonly total: number;
  readonly unit: 'bytes' | 'items';
}

export interface CheckReport {
  readonly format: 1;
  /** There is neither damage nor loss (any more). */
  readonly clean: boolean;
  /** What is there now. */
  readonly findings: readonly CheckFinding[];
  /** What was there and has been mended. */
  readonly repaired: readonly CheckFinding[];
  readonly checked: {
    readonly disks: number;
    readonly records: number;
    readonly logBytes: number;
    readonly commits: number;
    readonly inodes: number;
    readonly names: number;
    readonly extents: number;
    readonly chunks: number;
    /** Plain bytes of chunks that were decoded. */
    readonly contentBytes: number;
  };
  readonly elapsedMs: number;
}

/** What a face for people (the command line's socket, later the status page) may ask of a running pool. Paths are inside the pool, starting with `/`. */
export interface PoolControl {
  readonly jobs: JobControl;
  status(): Promise<PoolStatus>;
  state(path: string): Promise<FileState>;
  /** Commits what is staged below the paths (all of the pool for `/`); resolves after the pool promise. */
  commit(
    paths: readonly string[],
    onProgress: (progress: CommitProgress) => void,
    signal?: AbortSignal,
  ): Promise<CommitReport>;
  /** Checks the whole pool while it is in use. ABORTED if the signal says so. */
  check(
    request: CheckRequest,
    onProgress: (progress: CheckProgress) => void,
    signal?: AbortSignal,
  ): Promise<CheckReport>;
}
