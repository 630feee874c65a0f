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
  /** Every change through the mount is refused; other faces go on. */
  readonly readOnly: boolean;
  /** The kernel reads large files by itself, from whole copies in the cache. */
  readonly passthrough: boolean;
  /** The kernel keeps what is written through the mount for about a second. */
  readonly writeback: boolean;
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
  /** Written since the pool was opened while a disk failed or was away, with fewer shards than there should be; zeros as soon as all of it has been made whole. */
  readonly degradedWrites: { readonly commits: number; readonly chunks: number; readonly bytes: number };
  /** What is lost with each disk if it dies now; without files. */
  readonly forecast: LossForecast;
  readonly commitSequence: number;
  readonly epoch: number;
  readonly mapVersion: number;
  /** Work in the background: what was ever started. */
  readonly jobs: readonly JobReport[];
}

export interface LostFile {
  /** Path inside the pool. */
  readonly path: string;
  readonly bytes: number;
}

/** What would be lost with one disk, all others as they are. */
export interface DiskLoss {
  readonly role: 'data' | 'journal' | 'cache';
  readonly number: number;
  readonly uuid: string;
  readonly directory: string;
  readonly state: DiskReport['state'];
  /** Chunks that files name and that could not be read any more; 0 for the cache. */
  readonly chunks: number;
  /** Plain bytes of these chunks; for the cache those that are staged. */
  readonly bytes: number;
  /** As many as were asked for, by path, with the bytes of each that would be lost; for the cache also those of which only names or attributes are staged. */
  readonly files: readonly LostFile[];
  /** How many more there are, where files were asked for; for the cache always how many are not in `files`. */
  readonly moreFiles: number;
}

export interface LossForecast {
  readonly format: 1;
  /** Share of the pool's chunks that the figures are about; below 1 for a while after opening, and after a disk has gone or returned. */
  readonly counted: number;
  /** What cannot be read as it is. */
  readonly unreadable: { readonly chunks: number; readonly bytes: number };
  readonly disks: readonly DiskLoss[];
}

export interface ForecastRequest {
  /** A number of the diskmap, an id, a directory or `cache`; undefined: all. */
  readonly disk?: string | undefined;
  /** How many files to name per disk. */
  readonly files: number;
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
  /** Of its compressed chunks, each counted once: their length, and what of it is stored, which is what the shards are made from. */
  readonly compressed: { readonly chunks: number; readonly bytes: number; readonly storedBytes: number };
  readonly state: 'staged' | 'committing' | 'committed';
  readonly health: 'healthy' | 'degraded' | 'lost';
}

/** `from`: the directory (path inside the pool) that says so; null: the pool, by cairn.toml or how it was mounted. */
export interface PolicyValue<T> {
  readonly value: T;
  readonly from: string | null;
}

/** What holds for a path. */
export interface PolicyReport {
  readonly path: string;
  readonly isDirectory: boolean;
  /** What fsync and close promise. */
  readonly mode: PolicyValue<'default' | 'strong'>;
  /** How chunks are kept that are committed from now on: `copies:3`, `ec:2+1`; `auto`: as the group is that the chunk goes to. */
  readonly scheme: PolicyValue<string>;
  /** Whether chunks are compressed that are committed from now on. */
  readonly compression: PolicyValue<'off' | 'zstd'>;
  /** How long staged bytes wait for the commit that begins by itself. */
  readonly commitDelayMs: PolicyValue<number>;
}

/** What a directory is to say from now on, as texts; null: nothing, so that what holds above it holds; not given: as it is. */
export interface PolicyChange {
  readonly mode?: string | null | undefined;
  readonly scheme?: string | null | undefined;
  readonly compression?: string | null | undefined;
  /** `0s`, `500ms`, `5m`, `1h`, at most `1d`. */
  readonly commitDelay?: string | null | undefined;
}

/** One name in a directory, as it is now: what is staged counts. */
export interface FileEntry {
  readonly name: string;
  readonly kind: FileState['kind'];
  readonly sizeBytes: number;
  /** Milliseconds since the Unix epoch. */
  readonly modifiedMs: number;
  readonly state: FileState['state'];
  /** null: not looked at, because the file has too many chunks for a listing; ask for its state. */
  readonly health: FileState['health'] | null;
}

export interface FileListing {
  readonly path: string;
  readonly entries: readonly FileEntry[];
  /** Pass it as `after` for the next page; null at the end. */
  readonly next: string | null;
}

/** Requests of one kind since the pool was opened. */
export interface RequestFigures {
  readonly count: number;
  readonly bytes: number;
  readonly totalMs: number;
  /** Requests that took at most so long, by the bounds of `PoolActivity.boundsMs`; each is in every later one too. */
  readonly withinCounts: readonly number[];
}

/** What has gone through the daemon since the pool was opened; what the kernel answers from its own pages does not. */
export interface PoolActivity {
  readonly boundsMs: readonly number[];
  readonly read: RequestFigures;
  readonly write: RequestFigures;
  /** fsync, and close in strong mode; `bytes` is 0. */
  readonly sync: RequestFigures;
  /** Plain bytes that commits have taken. */
  readonly committedBytes: number;
  readonly stagedBytes: number;
  /** Of the staged bytes, those that a commit has under way. */
  readonly committingBytes: number;
}

/** What the planner says of a pool's disks, or of a pool to be made. */
export interface PoolPlan {
  readonly format: 1;
  readonly bucketBytes: number;
  readonly disks: readonly PlannedDisk[];
  readonly rawBytes: number;
  readonly usableBytes: number;
  /** The most that any system can give which survives as much. */
  readonly boundBytes: number;
  /** Bytes on disks for each byte of room. */
  readonly overhead: number;
  readonly survives: number;
  readonly protection: string;
  readonly groups: readonly { readonly scheme: string; readonly count: number; readonly usableBytes: number }[];
  readonly findings: readonly string[];
  /** With the same disks, surviving as many losses; null where others have nothing alike. */
  readonly others: {
    readonly raidzBytes: number;
    readonly btrfsBytes: number;
    readonly shrBytes: number;
  } | null;
  /** Only of disks that are added to a pool. */
  readonly growth?: {
    readonly usableBytesBefore: number;
    /** Buckets that move to other disks, and their bytes if they are full. */
    readonly movedBuckets: number;
    readonly movedBytes: number;
  };
}

export interface PlannedDisk {
  readonly disk: number;
  readonly sizeBytes: number;
  /** In groups. */
  readonly usedBytes: number;
  /** Not in any group. */
  readonly unusedBytes: number;
  /** Sentences that say why; empty where nothing is unused. */
  readonly reasons: readonly string[];
  /** What its loss would cost: of all buckets in groups, the share that is on it; what must be read and written to make up for it; what is gone. */
  readonly loss: {
    readonly share: number;
    readonly rebuildBytes: number;
    readonly readBytes: number;
    readonly lostBytes: number;
  };
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

/**
 * A change of the pool's data disks. A disk is named by its number, its directory or the beginning of its id. `sizeBytes`: what a new disk may take, if not all
 * that its device has free.
 */
export type DiskChangeRequest =
  | { readonly action: 'add'; readonly directories: readonly string[]; readonly sizeBytes?: number | undefined }
  | {
      readonly action: 'replace';
      readonly disk: string;
      readonly directory: string;
      readonly sizeBytes?: number | undefined;
    }
  | { readonly action: 'remove'; readonly disk: string };

/** What a change would do, before anything is done. */
export interface DiskChangePlan {
  readonly format: 1;
  readonly action: DiskChangeRequest['action'];
  readonly joins: readonly { readonly number: number; readonly directory: string; readonly capacityBytes: number }[];
  readonly leaves: readonly { readonly number: number; readonly directory: string; readonly isThere: boolean }[];
  /** Plain bytes: room before and after, and what is used of it. */
  readonly usableBytesBefore: number;
  readonly usableBytes: number;
  readonly usedBytes: number;
  readonly protectionBefore: string;
  readonly protection: string;
  /** Written to disks, and read for it. */
  readonly moveBytes: number;
  readonly readBytes: number;
  /** With nothing else to do, at 100 MB/s for the disk that is written most. */
  readonly leastMs: number;
  /** Groups of buckets: kept as they are but for the buckets that move; taken apart; made. */
  readonly groups: { readonly kept: number; readonly takenApart: number; readonly made: number };
  /** It takes something away (room, or a disk): to be asked before it is done. */
  readonly needsConsent: boolean;
  /** Why it cannot be done, and what would make it possible. Empty if it can. */
  readonly refusals: readonly { readonly reason: string; readonly remedy: string }[];
  /** Sentences: what is safe meanwhile, and what becomes of it. */
  readonly notes: readonly string[];
}

export interface DiskControl {
  /** INVALID, NOT_FOUND, EXISTS, NOT_EMPTY if the request makes no sense; what stands in its way otherwise is in the plan. */
  plan(request: DiskChangeRequest): Promise<DiskChangePlan>;
  /** Does it: what moves, moves in the background (job `rebalance`). CONFIG with the first refusal of the plan; BUSY while another change is being made. */
  change(request: DiskChangeRequest, pace?: JobPace): Promise<DiskChangePlan>;
}

/** What a face for people (the command line's socket, the status page) may ask of a running pool. Paths are inside the pool, starting with `/`. */
export interface PoolControl {
  readonly jobs: JobControl;
  readonly disks: DiskControl;
  status(): Promise<PoolStatus>;
  state(path: string): Promise<FileState>;
  /** Names in a directory behind `after` (a `next` of an earlier page; undefined: from the start), `limit` at most. NOT_FOUND, NOT_DIRECTORY. */
  files(path: string, after: string | undefined, limit: number): Promise<FileListing>;
  /** What holds for a file or directory, and which directory says so. NOT_FOUND. */
  policy(path: string): Promise<PolicyReport>;
  /** Changes what a directory says, all of it or nothing. NOT_FOUND, NOT_DIRECTORY, INVALID. */
  setPolicy(path: string, change: PolicyChange): Promise<PolicyReport>;
  /** What the disks give, and why not more. */
  capacity(): PoolPlan;
  activity(): PoolActivity;
  /** What is lost if a disk dies now. Counts what has not been counted yet, and looks for files where they are asked for. NOT_FOUND. */
  forecast(request: ForecastRequest, signal?: AbortSignal): Promise<LossForecast>;
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
