/**
 * What the commands need of the pool and of FUSE. The real ones are handed in by daemon.ts; tests hand in fakes.
 */
import type { SchemeChoice } from '../../diskmap/types.js';
import type { ApiParts } from '../http/api.js';
import type { FileVersion, MonitorView, S3Key } from '../monitor/reports.js';
import type { PoolConfig } from '../pool/config.js';
import type { NotifyConfig, S3Config, WebConfig } from '../pool/face-config.js';
import type { AccessTimes } from '../vfs/access-times.js';
import type { ObjectTree, TreeWatcher } from '../vfs/object-tree.js';
import type { CheckProgress, CheckReport, CheckRequest, CommitProgress, PoolControl } from '../vfs/reports.js';
import type { Vfs } from '../vfs/vfs.js';

/** All directories are absolute and exist. */
export interface InitOptions {
  readonly disks: readonly string[];
  readonly journals: readonly string[];
  readonly cache: string;
  readonly meta: string;
  readonly scheme: SchemeChoice;
  /** Undefined: chosen by the size of the disks. */
  readonly bucketBytes: number | undefined;
  readonly chunkBytes: number | undefined;
  /** What a disk may take at most, by its directory, where that is not all that its device has free. */
  readonly sizes?: ReadonlyMap<string, number>;
}

export interface InitReport {
  /** The pool's id. */
  readonly pool: string;
  /** What is protected against what, as a sentence. */
  readonly protection: string;
  readonly usableBytes: number;
  readonly groups: readonly { readonly scheme: string; readonly count: number }[];
  /** Sentences: what could not be used and why. */
  readonly findings: readonly string[];
}

/** As pino's: what happened in words, figures in the fields. */
export interface PoolLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface OpenPool {
  /** The tree for faces of objects; not given by a stand-in that has none. */
  readonly objects?: ObjectTree | undefined;
  readonly control: PoolControl;
  /** The settings in use, and how to change them; not given by a stand-in that has none. */
  readonly settings?: { readonly current: PoolConfig; apply(config: PoolConfig): void } | undefined;
  readonly vfs: Vfs;
  /** Gives back memory that is kept only to be quicker; not given by a stand-in that keeps none. */
  releaseMemory?(): void;
  /** Commits everything, then lets go of the disks, also if it rejects because something could not be committed. */
  close(onProgress?: (progress: CommitProgress) => void): Promise<void>;
}

export interface PoolOpener {
  init(directory: string, options: InitOptions): Promise<InitReport>;
  /** `kernelTimes`: the kernel gives times to the same files, so those of the pool are by its clock. LOCKED if another process has the pool or one of its disks. */
  open(
    directory: string,
    options: { mode: 'default' | 'strong'; accessTimes?: AccessTimes; kernelTimes?: boolean; log: PoolLog },
  ): Promise<OpenPool>;
  /** Checks a pool that no daemon has; without repair nothing of it is written. LOCKED if a process has it, ABORTED. */
  check(
    directory: string,
    request: CheckRequest,
    options: { onProgress: (progress: CheckProgress) => void; signal: AbortSignal },
  ): Promise<CheckReport>;
}

export interface MountSession {
  /** Whether the kernel reads by itself what the cache has whole; not given by a stand-in. */
  readonly isPassthrough?: boolean;
  /** Whether the kernel keeps what is written (its writeback cache); not given by a stand-in. */
  readonly isWriteback?: boolean;
  /** A sentence for `cairn status`: what was lost of what programs had written. */
  finding?(): string | undefined;
  /** Resolves when what programs have written is with the pool, and not only in the kernel's pages. IO. Not given by a stand-in that keeps none. */
  handOver?(): Promise<void>;
  /** To be told of what other faces change; not given by a stand-in that remembers nothing. */
  readonly watcher?: TreeWatcher;
  /** Resolves when the mount is gone, by whoever's wish, and every answer under way has come to its end. Never rejects. */
  readonly ended: Promise<void>;
  /** BUSY if files are open or somebody's working directory is inside, unless `lazy`. */
  unmount(lazy: boolean): Promise<void>;
}

export interface Mounter {
  mount(
    vfs: Vfs,
    options: {
      mountpoint: string;
      source: string;
      allowOther: boolean;
      readOnly: boolean;
      /** No program in it can be started. */
      noExec: boolean;
      /** For the table of mounts: the words for how reading moves access times, which the vfs sees to. */
      accessOptions: readonly string[];
      /** Only with `readOnly`: the kernel reads by itself what it can. */
      passthrough: boolean;
      /** Never with `readOnly`: the kernel keeps what is written. */
      writeback: boolean;
      log: PoolLog;
    },
  ): Promise<MountSession>;
  /** Takes away a mount that no daemon of this process serves. BUSY as above. */
  detach(mountpoint: string, lazy: boolean): Promise<void>;
}

export interface S3Face {
  /** `http://127.0.0.1:9000` */
  readonly endpoint: string;
  /** Who may use it. */
  keys(): Promise<readonly S3Key[]>;
  /** What is kept of a file, newest first; the path begins with `/`. */
  versions(path: string): Promise<readonly FileVersion[]>;
  /** A sentence for `cairn status`: what is wrong with it, though it is served. */
  finding?(): string | undefined;
  /** No new requests; resolves when those under way are answered, or after a short while. */
  close(): Promise<void>;
}

/** Serves the tree as S3. IO if the address cannot be had. */
export type S3Opener = (
  tree: ObjectTree,
  options: {
    poolDirectory: string;
    config: S3Config;
    log: PoolLog;
    /** A bucket keeps versions, or keeps them no longer. */
    onVersioning?: (() => Promise<void>) | undefined;
  },
) => Promise<S3Face>;

export interface WebFace {
  /** `http://127.0.0.1:8090` */
  readonly address: string;
  /** What opens the page in a browser. */
  readonly link: string;
  /** As of `S3Face`. */
  finding?(): string | undefined;
  close(): Promise<void>;
}

/** Serves the status page. IO if the address cannot be had, CONFIG. */
export type WebOpener = (parts: ApiParts, config: WebConfig, log: PoolLog) => Promise<WebFace>;

export interface Watch {
  readonly monitor: MonitorView;
  /** Who is told from here on, and from which fill on; undefined: nobody. What waits to be sent by a way that stays is sent. */
  notify(config: NotifyConfig | undefined): void;
  close(): Promise<void>;
}

/** Begins to watch a pool: history, events, notifications. Never rejects for what it sees. */
export type Watcher = (
  control: PoolControl,
  options: { poolDirectory: string; notify: NotifyConfig | undefined; log: PoolLog },
) => Promise<Watch>;

/** A vfs for the mount, by which buckets with versions keep what is changed there. */
export interface VersionedMount {
  readonly vfs: Vfs;
  /** Which buckets have versions may have changed. */
  refresh(): Promise<void>;
}

export type VersionsOpener = (vfs: Vfs, tree: ObjectTree) => Promise<VersionedMount>;
