/** Answers the questions of people's faces: status, the state of a file, commit with progress. */
import { type DiskMap, decodeBucketId, type Plan, plan } from '../../diskmap/index.js';
import type { CacheAccount } from '../cache/cache-account.js';
import type { ChunkStore } from '../chunks/chunk-store.js';
import type { Collector } from '../commit/collector.js';
import type { Journal } from '../commit/journal.js';
import type { Sweep } from '../commit/sweep.js';
import { CairnError, messageOf } from '../errors/cairn-error.js';
import type { LossForecaster } from '../forecast/loss-forecast.js';
import { checkPool } from '../fsck/check-pool.js';
import type { Clock } from '../io/clock.js';
import type { FileIo } from '../io/file-io.js';
import type { JobRunner } from '../jobs/job-runner.js';
import { SLICE_MS } from '../jobs/throttle.js';
import type { UserWork } from '../jobs/user-work.js';
import type { MetaStore } from '../meta/meta-store.js';
import type { RepairJob } from '../repair/repair-job.js';
import type { ScrubSchedule } from '../repair/scrub-schedule.js';
import type { Activity } from '../vfs/activity.js';
import type { Backings } from '../vfs/backings.js';
import type { Committer } from '../vfs/committer.js';
import type { Inode } from '../vfs/inode.js';
import type { InodeTable } from '../vfs/inode-table.js';
import { listEntries, stateOf } from '../vfs/list-entries.js';
import type { ObjectTree } from '../vfs/object-tree.js';
import type { PolicyTree } from '../vfs/policy-tree.js';
import type { PoolReader } from '../vfs/pool-reader.js';
import type {
  CheckProgress,
  CheckReport,
  CheckRequest,
  CommitProgress,
  CommitReport,
  DiskControl,
  FileListing,
  FileState,
  ForecastRequest,
  LossForecast,
  PolicyChange,
  PolicyReport,
  PoolActivity,
  PoolControl,
  PoolPlan,
  PoolStatus,
} from '../vfs/reports.js';
import type { StagedSet } from '../vfs/staged-set.js';
import { resolvePath } from '../vfs/tree-path.js';
import type { Volume } from '../vfs/volume.js';
import type { PoolConfig } from './config.js';
import type { DiskChanges } from './disk-changes.js';
import type { DiskWatch } from './disk-watch.js';
import { protectionOf } from './init-pool.js';
import type { LiveSettings } from './live-settings.js';
import type { PoolDisks } from './open-disks.js';
import { changePolicy, policyAt } from './policy-control.js';
import type { PoolMap } from './pool-map.js';
import { planGrowth } from './pool-plan.js';
import type { PoolSpace } from './pool-space.js';
import { formatScheme } from './scheme-choice.js';

export interface PoolParts {
  readonly directory: string;
  readonly io: FileIo;
  readonly config: PoolConfig;
  readonly mode: 'default' | 'strong';
  readonly map: DiskMap;
  readonly poolMap: PoolMap;
  readonly disks: PoolDisks;
  readonly meta: MetaStore;
  readonly chunks: ChunkStore;
  readonly journal: Journal;
  readonly account: CacheAccount;
  readonly staged: StagedSet;
  readonly committer: Committer;
  readonly collector: Collector;
  readonly sweep: Sweep;
  readonly watch: DiskWatch;
  readonly forecaster: LossForecaster;
  readonly jobs: JobRunner;
  readonly changes: DiskChanges;
  readonly repair: RepairJob;
  readonly scrubs: ScrubSchedule;
  readonly userWork: UserWork;
  readonly activity: Activity;
  readonly backings: Backings;
  readonly table: InodeTable;
  readonly reader: PoolReader;
  readonly space: PoolSpace;
  readonly vfs: Volume;
  readonly policies: PolicyTree;
  readonly objects: ObjectTree;
  readonly settings: LiveSettings;
  readonly clock: Clock;
  /** Written since the pool was opened with fewer shards than there should be. */
  degradedWrites(): { readonly commits: number; readonly chunks: number; readonly bytes: number };
  /** Makes one more commit and writes a metadata snapshot of it to every data disk. */
  takeSnapshot(): Promise<void>;
  /** Sentences of recovery that matter as long as the pool is open, and of damage met since. */
  findings(): readonly string[];
}

/** Of its time a check sleeps at least half, so that requests are answered; at most so long at once. */
const CHECK_SLEEP_MAX_MS = 50;

export class OpenPoolControl implements PoolControl {
  readonly jobs: JobRunner;
  readonly disks: DiskControl;
  readonly #parts: PoolParts;
  #checking = false;
  /** As far as is known. */
  #files = 0;
  #plan: { readonly map: DiskMap; readonly planned: Plan } | undefined;

  constructor(parts: PoolParts) {
    this.#parts = parts;
    this.jobs = parts.jobs;
    this.disks = parts.changes;
  }

  /** A status is asked for every second; the plan changes with the map only. */
  #planFor(map: DiskMap): Plan {
    if (this.#plan?.map !== map) this.#plan = { map, planned: plan(map) };
    return this.#plan.planned;
  }

  async status(): Promise<PoolStatus> {
    const { config, map, disks, journal, account, staged, space } = this.#parts;
    const reports = disks.reports();
    const online = new Set(
      reports.filter(({ state, role }) => state === 'online' && role === 'data').map(({ number }) => number),
    );
    const spares = new Set(this.#parts.poolMap.spares);
    const counted = reports.filter(({ role, number }) => role === 'data' && !spares.has(number));
    const { survives } = this.#planFor(map);
    const groups = new Map<string, { scheme: string; count: number; degraded: number; lost: number }>();
    for (const group of map.groups) {
      const scheme = formatScheme(group.scheme);
      const entry = groups.get(scheme) ?? { scheme, count: 0, degraded: 0, lost: 0 };
      const missing = group.buckets.filter((bucket) => !online.has(decodeBucketId(bucket).disk)).length;
      const tolerated = group.scheme.kind === 'erasure' ? group.scheme.m : group.scheme.copies - 1;
      entry.count += 1;
      if (missing > 0) entry.degraded += 1;
      if (missing > tolerated) entry.lost += 1;
      groups.set(scheme, entry);
    }
    const broken = reports.filter(({ state }) => state !== 'online');
    const lost = [...groups.values()].some((group) => group.lost > 0);
    const noticed = this.#parts.findings();
    const findings = [...noticed];
    for (const disk of broken) {
      findings.push(
        `the ${disk.role} disk at ${disk.directory} is ${disk.state}: ${disk.reason}${
          disk.role === 'data' && !lost ? '; everything stays readable from the other disks' : ''
        }`,
      );
    }
    if (lost) findings.push('too many disks are missing: a part of the data cannot be read until they are back');
    const figures = space.report();
    const unread = await this.#countFiles();
    if (unread !== undefined) findings.push(unread);
    return {
      format: 1,
      pool: config.pool,
      directory: this.#parts.directory,
      mountpoint: null,
      readOnly: false,
      passthrough: false,
      writeback: false,
      mode: this.#parts.mode,
      whenDegraded: config.whenDegraded,
      pid: process.pid,
      health:
        lost || unread !== undefined ? 'failed' : broken.length > 0 || noticed.length > 0 ? 'degraded' : 'healthy',
      findings,
      protection: protectionOf(survives, counted.length, counted.filter(({ state }) => state !== 'online').length),
      disks: reports,
      groups: [...groups.values()].map(({ scheme, count, degraded }) => ({ scheme, count, degraded })),
      usableBytes: figures.usableBytes,
      usedBytes: figures.usedBytes,
      freeBytes: figures.freeBytes,
      files: this.#files,
      dirtyBytes: account.dirtyBytes,
      dirtyFiles: new Set([...staged.contents, ...staged.sealing]).size,
      cacheBytes: account.cachedBytes,
      cacheCapacityBytes: account.limits.capacityBytes,
      degradedWrites: this.#parts.degradedWrites(),
      forecast: await this.#parts.forecaster.summary(),
      commitSequence: journal.sequence,
      epoch: journal.epoch,
      mapVersion: map.version,
      jobs: this.jobs.list().filter(({ state }) => state !== 'idle'),
    };
  }

  /** Everything else is known also while the metadata store cannot be read; a sentence then. */
  async #countFiles(): Promise<string | undefined> {
    try {
      // The root is nobody's file.
      this.#files = Math.max(0, (await this.#parts.meta.statistics()).inodes - 1);
      return undefined;
    } catch (error) {
      return `names and files cannot be read: ${messageOf(error)}; unmount the pool and mount it again: the store is made anew from the disks, and what is staged waits in the cache`;
    }
  }

  async state(path: string): Promise<FileState> {
    const { vfs, table } = this.#parts;
    const { ino } = await resolvePath(vfs, path);
    return { path, ...(await stateOf(await table.get(ino), this.#parts)) };
  }

  async files(path: string, after: string | undefined, limit: number): Promise<FileListing> {
    const { vfs, table } = this.#parts;
    const { ino } = await resolvePath(vfs, path);
    return { path, ...(await listEntries(await table.get(ino), this.#parts, after, limit)) };
  }

  policy(path: string): Promise<PolicyReport> {
    return policyAt(path, this.#parts);
  }

  setPolicy(path: string, change: PolicyChange): Promise<PolicyReport> {
    return changePolicy(path, change, this.#parts);
  }

  capacity(): PoolPlan {
    return planGrowth(this.#parts.map, []);
  }

  activity(): PoolActivity {
    const { activity, account, chunks, staged } = this.#parts;
    let committingBytes = 0;
    for (const { content } of staged.sealing) committingBytes += content?.sealedBytes ?? 0;
    return {
      ...activity.report(),
      committedBytes: chunks.takenBytes,
      stagedBytes: account.dirtyBytes,
      committingBytes,
    };
  }

  forecast(request: ForecastRequest, signal?: AbortSignal): Promise<LossForecast> {
    return this.#parts.forecaster.forecast(request, signal);
  }

  async commit(
    paths: readonly string[],
    onProgress: (progress: CommitProgress) => void,
    signal?: AbortSignal,
  ): Promise<CommitReport> {
    const { vfs, table, committer, journal, clock, disks } = this.#parts;
    const started = clock.monotonicMs();
    const roots = new Set<Inode>();
    for (const path of paths) roots.add(await table.get((await resolvePath(vfs, path)).ino));
    if (roots.size === 0) throw new CairnError('INVALID', 'say which path to commit');
    let last: CommitProgress = { filesDone: 0, filesTotal: 0, bytesDone: 0, bytesTotal: 0 };
    await committer.commit(
      (inode) => isBelow(inode, roots, table),
      'asked',
      (progress) => {
        last = { ...progress };
        onProgress(last);
      },
      signal,
    );
    return {
      ...last,
      sequence: journal.sequence,
      elapsedMs: clock.monotonicMs() - started,
      healthy: disks.reports().every(({ state }) => state === 'online'),
    };
  }

  async check(
    { content, repair }: CheckRequest,
    onProgress: (progress: CheckProgress) => void,
    signal?: AbortSignal,
  ): Promise<CheckReport> {
    if (this.#checking)
      throw new CairnError('BUSY', 'a check of this pool is under way already', {
        hint: 'wait for its end, or stop it',
      });
    this.#checking = true;
    const { clock } = this.#parts;
    const started = clock.monotonicMs();
    // The clock's timers keep no process alive; somebody who waits for a check does.
    const alive = setInterval(() => undefined, CHECK_SLEEP_MAX_MS * 1000);
    try {
      const pause = resting(clock);
      const report = await checkPool(this.#parts, { live: true, content, repair, onProgress, signal, pause });
      return { ...report, elapsedMs: clock.monotonicMs() - started };
    } finally {
      clearInterval(alive);
      this.#checking = false;
    }
  }
}

/** A pause as long as the work since the last one; none before that has taken a while. */
function resting(clock: Clock): () => Promise<void> {
  let resumedMs = clock.monotonicMs();
  return async () => {
    const workedMs = clock.monotonicMs() - resumedMs;
    if (workedMs < SLICE_MS) return;
    await new Promise<void>((resolve) => {
      clock.after(Math.min(CHECK_SLEEP_MAX_MS, workedMs), resolve);
    });
    resumedMs = clock.monotonicMs();
  };
}

/** True if one of the roots is the inode or above it. Where that is not known (a parent was forgotten, a file has several names) the inode is taken: too much is safe. */
function isBelow(inode: Inode, roots: ReadonlySet<Inode>, table: InodeTable): boolean {
  if (inode.nlink > 1 && inode.directory === undefined) return true;
  for (let at: Inode | undefined = inode; ; at = table.peek(at.parent)) {
    if (at === undefined) return true;
    if (roots.has(at)) return true;
    if (at.parent === at.ino) return false;
  }
}
