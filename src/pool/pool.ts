/**
 * The composition root: builds a pool from its cairn.toml, from the disks up to the vfs, in the order of the picture in
 * ARCHITECTURE.md, and takes it down again. What faces need is `vfs` and `control`; the file methods are the library.
 */
import { join, resolve } from 'node:path';
import { type DiskMap, decodeMap, encodeMap } from '../../diskmap/index.js';
import type { ChunkStore } from '../chunks/chunk-store.js';
import { PoolChunkStore } from '../chunks/pool-chunk-store.js';
import { Collector } from '../commit/collector.js';
import { isOfRun } from '../commit/epoch.js';
import { Journal } from '../commit/journal.js';
import { type DamagedCommit, type RecoveryReport, recover } from '../commit/recovery.js';
import { SealPipeline } from '../commit/seal-pipeline.js';
import { Snapshotter } from '../commit/snapshotter.js';
import { Sweep } from '../commit/sweep.js';
import type { Disk } from '../disks/disk.js';
import { assert, CairnError, hasCode } from '../errors/cairn-error.js';
import { LossCensus } from '../forecast/loss-census.js';
import { LossForecaster } from '../forecast/loss-forecast.js';
import { pathsOf } from '../forecast/tree-paths.js';
import type { Clock } from '../io/clock.js';
import type { FileIo, IoLock } from '../io/file-io.js';
import { JobRunner } from '../jobs/job-runner.js';
import { Throttle } from '../jobs/throttle.js';
import { UserWork } from '../jobs/user-work.js';
import type { MetaPosition, MetaStore } from '../meta/meta-store.js';
import { type Ino, ROOT_INO } from '../meta/rows.js';
import { RepairJob } from '../repair/repair-job.js';
import { RepairQueue } from '../repair/repair-queue.js';
import { ScrubJob } from '../repair/scrub-job.js';
import { readReport } from '../repair/scrub-report.js';
import { ScrubSchedule } from '../repair/scrub-schedule.js';
import { syncAll } from '../repair/sync-all.js';
import { Activity } from '../vfs/activity.js';
import { Backings } from '../vfs/backings.js';
import { Committer } from '../vfs/committer.js';
import { FileData } from '../vfs/file-data.js';
import { Inode } from '../vfs/inode.js';
import { InodeTable } from '../vfs/inode-table.js';
import { stateOf } from '../vfs/list-entries.js';
import { S_IFDIR } from '../vfs/mode.js';
import { ObjectTree } from '../vfs/object-tree.js';
import { chunkPolicyOf } from '../vfs/policy.js';
import { PolicyTree } from '../vfs/policy-tree.js';
import { PoolReader } from '../vfs/pool-reader.js';
import { Publisher } from '../vfs/publisher.js';
import { RangeCopier } from '../vfs/range-copier.js';
import type { CommitProgress, CommitReport, PoolControl } from '../vfs/reports.js';
import { StagedRestore } from '../vfs/restore-staged.js';
import { StagedSet } from '../vfs/staged-set.js';
import { StrongRule } from '../vfs/strong-rule.js';
import { resolveParent, resolvePath, textOf } from '../vfs/tree-path.js';
import type { Attr, Caller, Handle, OpenMode, Vfs } from '../vfs/vfs.js';
import { Volume } from '../vfs/volume.js';
import { WindowFiller } from '../vfs/window-filler.js';
import { Xattrs } from '../vfs/xattrs.js';
import { loadConfig, type PoolConfig } from './config.js';
import { Damage } from './damage.js';
import { DiskChanges } from './disk-changes.js';
import { DiskWatch } from './disk-watch.js';
import { type InitOptions, type InitReport, initPool } from './init-pool.js';
import { LibraryVersions } from './library-versions.js';
import { LiveSettings } from './live-settings.js';
import { type Machine, SystemMachine } from './machine.js';
import { PoolDisks } from './open-disks.js';
import { OpenPoolControl, type PoolParts } from './pool-control.js';
import { PoolFile } from './pool-file.js';
import { type PoolLog, silentLog } from './pool-log.js';
import { PoolMap } from './pool-map.js';
import { PoolSpace } from './pool-space.js';
import { schemeRules } from './scheme-rules.js';
import { SnapshotSchedule } from './snapshot-schedule.js';
import { openStaging, type Staging } from './staging.js';

/** How often space is given back, and how long a chunk must have been without references. */
const COLLECT_EVERY_MS = 10_000;
const COLLECT_GRACE_MS = 30_000;
/** Names and attributes, or extents of one file, that one COMMIT record should carry at most; less where journal segments are small. */
const ROUND_BYTES_MAX = 4 * 1024 * 1024;
const ROUND_SHARE = 0.125;
/** Files that one finding names. */
const NAMED_MAX = 20;
const NOTHING_DEGRADED = { commits: 0, chunks: 0, bytes: 0 };

export interface PoolOptions {
  /** Default: what cairn.toml says. */
  readonly mode?: 'default' | 'strong' | undefined;
  readonly log?: PoolLog;
  /** False: reading moves no access time. */
  readonly accessTimes?: boolean;
  /** What the pool stands on; by default this machine. */
  readonly machine?: Machine;
  /** Opened to be looked at: nothing is committed or collected by itself, and a new pool stays empty. End it with `abandon`. */
  readonly isResting?: boolean;
}

/**
 * How `openFile` behaves: `r` reads a file that must exist; `r+` also writes it; `w` writes a new or emptied one; `a` writes a new one or
 * one as it is, always at its end. All may be read.
 */
export type FileMode = 'r' | 'r+' | 'w' | 'a';

/** What `Pool.init` must be told, and what it may be. */
export type NewPool = Pick<InitOptions, 'disks' | 'cache'> & Partial<InitOptions>;

export interface PoolEntry {
  readonly name: string;
  readonly kind: 'file' | 'directory' | 'other';
}

const WAYS: Readonly<Record<FileMode, OpenMode & { readonly create: boolean }>> = {
  r: { read: true, write: false, create: false },
  'r+': { read: true, write: true, create: false },
  w: { read: true, write: true, truncate: true, create: true },
  a: { read: true, write: true, append: true, create: true },
};

export class Pool {
  readonly vfs: Vfs;
  /** The tree for faces of objects. */
  readonly objects: ObjectTree;
  readonly control: PoolControl;
  /** @internal What the pool is made of, for checks of the whole and for the simulator. */
  readonly parts: PoolParts;
  readonly #versions: LibraryVersions;
  readonly #staging: Staging;
  readonly #snapshots: SnapshotSchedule;
  readonly #lock: IoLock;
  readonly #log: PoolLog;
  #closing: Promise<void> | undefined;

  private constructor(parts: PoolParts, staging: Staging, snapshots: SnapshotSchedule, lock: IoLock, log: PoolLog) {
    this.#log = log;
    this.parts = parts;
    this.#staging = staging;
    this.#snapshots = snapshots;
    this.#lock = lock;
    this.vfs = parts.vfs;
    this.objects = parts.objects;
    this.#versions = new LibraryVersions(parts.vfs, parts.objects, parts.clock);
    this.control = new OpenPoolControl(parts);
  }

  /**
   * Makes a pool in `directory`, which is made if it is not there. The disks' and the cache's directories must exist and be empty. Left
   * out, the metadata lies in `directory`, and scheme and sizes are chosen by the disks. See `initPool` for errors.
   */
  static async init(directory: string, options: NewPool): Promise<InitReport> {
    const { io, random } = new SystemMachine();
    const place = resolve(directory);
    await io.makeDirectory(place);
    return initPool(io, random, place, {
      disks: options.disks.map((disk) => resolve(disk)),
      journals: (options.journals ?? []).map((journal) => resolve(journal)),
      cache: resolve(options.cache),
      meta: resolve(options.meta ?? join(place, 'meta')),
      scheme: options.scheme ?? 'auto',
      bucketBytes: options.bucketBytes,
      chunkBytes: options.chunkBytes,
      sizes: new Map([...(options.sizes ?? [])].map(([disk, bytes]) => [resolve(disk), bytes])),
    });
  }

  /** Opens a pool and recovers what the last run left. LOCKED if another process has it; UNREADABLE if too few disks are there. */
  static async open(directory: string, options: PoolOptions = {}): Promise<Pool> {
    const machine = options.machine ?? new SystemMachine();
    const place = resolve(directory);
    const config = await loadConfig(machine.io, place);
    const lock = await lockPool(machine.io, place);
    try {
      return await new PoolOpening(machine, place, config, options).run(
        (parts, staging, snapshots) => new Pool(parts, staging, snapshots, lock, options.log ?? silentLog),
      );
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /** Commits everything, takes a snapshot if one is due, and lets go of the disks, also if it rejects because something could not be committed: that stays staged in the cache. */
  close(onProgress?: (progress: CommitProgress) => void): Promise<void> {
    this.#closing ??= this.#close(onProgress);
    return this.#closing;
  }

  /** Lets go of everything as it is: what is staged stays in the cache. */
  abandon(): Promise<void> {
    this.#closing ??= this.#quiet().then(() => this.#release());
    return this.#closing;
  }

  async #close(onProgress: ((progress: CommitProgress) => void) | undefined): Promise<void> {
    await this.#quiet();
    try {
      await this.parts.committer.commit(() => true, 'asked', onProgress);
      await this.#snapshots.finish();
    } finally {
      await this.#release();
    }
  }

  /** Nothing begins by itself any more, and what had begun is over. */
  async #quiet(): Promise<void> {
    const { committer, collector, sweep, watch, jobs, repair, scrubs, forecaster, backings } = this.parts;
    await backings.close();
    await watch.close();
    await forecaster.close();
    await scrubs.close();
    await jobs.close();
    await repair.close();
    await sweep.close();
    await collector.close();
    await committer.close();
  }

  async #release(): Promise<void> {
    const { disks, meta, chunks } = this.parts;
    // Each whatever becomes of the others: nothing may stay locked.
    const steps = [
      () => this.#snapshots.stop(),
      () => this.#staging.close(),
      () => chunks.close(),
      () => meta.close(),
      () => disks.close(),
      () => this.#lock.release(),
    ];
    const failures: unknown[] = [];
    for (const step of steps) await step().catch((error: unknown) => failures.push(error));
    if (failures.length > 0) this.#log.warn({ error: failures[0] }, 'the pool was not closed cleanly');
  }

  /** What of cairn.toml takes effect while the pool is open. */
  get settings(): LiveSettings {
    return this.parts.settings;
  }

  /** Gives the space of deleted data back now, without the grace period; the pool does so on its own after a while. */
  async collect(): Promise<void> {
    await collectAll(this.parts.sweep, this.parts.collector);
  }

  /** Gives back memory that is kept only to be quicker, database pages for the most: for a moment when nobody asks for anything. */
  releaseMemory(): void {
    this.parts.meta.releaseMemory?.();
    for (const disk of this.parts.disks.opened) disk.releaseMemory();
  }

  /**
   * Commits all that is staged in the pool: names, attributes and bytes. When it resolves they survive power loss, the loss of as many
   * disks as the scheme says, and the loss of cache and metadata.
   */
  commit(onProgress: (progress: CommitProgress) => void = () => {}): Promise<CommitReport> {
    return this.control.commit(['/'], onProgress);
  }

  /** Opens a file by its path in the pool (`/photos/a.jpg`); links are not followed. In a bucket that keeps versions, what is overwritten becomes an older one, as on a mount. NOT_FOUND, IS_DIRECTORY, INVALID (not a file). */
  async openFile(path: string, mode: FileMode = 'r'): Promise<PoolFile> {
    const { committer } = this.parts;
    const way = WAYS[mode];
    const vfs = way.write ? await this.#versions.vfsFor(path) : this.vfs;
    const { ino, handle } = await this.#openHandle(vfs, path, way);
    return new PoolFile({
      path,
      vfs,
      ino,
      handle,
      appends: mode === 'a',
      commit: (onProgress) => committer.commit((inode) => inode.ino === ino, 'asked', onProgress),
    });
  }

  async #openHandle(vfs: Vfs, path: string, way: (typeof WAYS)[FileMode]): Promise<{ ino: Ino; handle: Handle }> {
    for (;;) {
      try {
        const { ino } = await resolvePath(vfs, path);
        return { ino, handle: await vfs.open(ino, way) };
      } catch (error) {
        if (!way.create || !hasCode(error, 'NOT_FOUND')) throw error;
      }
      const { parent, name } = await resolveParent(vfs, path);
      try {
        const { attr, handle } = await vfs.create(parent, name, 0o644, way, own());
        return { ino: attr.ino, handle };
      } catch (error) {
        // Somebody else made it meanwhile.
        if (!hasCode(error, 'EXISTS')) throw error;
      }
    }
  }

  /** NOT_FOUND if its parent is not there, EXISTS. */
  async makeDirectory(path: string): Promise<void> {
    const { parent, name } = await resolveParent(this.vfs, path);
    await this.vfs.mkdir(parent, name, 0o755, own());
  }

  /** Removes a file or an empty directory. NOT_FOUND, NOT_EMPTY. */
  async remove(path: string): Promise<void> {
    const vfs = await this.#versions.vfsFor(path);
    const { parent, name } = await resolveParent(vfs, path);
    const attr = await resolvePath(vfs, path);
    if (kindOf(attr.mode) === 'directory') await vfs.rmdir(parent, name);
    else await vfs.unlink(parent, name);
  }

  /** Moves a file or directory, in the place of what is there: a file for a file, a directory for an empty one. NOT_FOUND, NOT_EMPTY, IS_DIRECTORY, NOT_DIRECTORY. */
  async rename(from: string, to: string): Promise<void> {
    const vfs = await this.#versions.vfsFor(from, to);
    const source = await resolveParent(vfs, from);
    const target = await resolveParent(vfs, to);
    await vfs.rename(source.parent, source.name, target.parent, target.name, {});
  }

  /** NOT_FOUND if there is nothing at the path. */
  stat(path: string): Promise<Attr> {
    return resolvePath(this.vfs, path);
  }

  /** The entries of a directory, in byte order of their names (directories as if they ended in `/`). */
  async list(path: string): Promise<PoolEntry[]> {
    const { ino } = await resolvePath(this.vfs, path);
    const handle = await this.vfs.opendir(ino);
    const entries: PoolEntry[] = [];
    try {
      await this.vfs.readdir(handle, 0, false, ({ name, mode }) => {
        if (name !== '.' && name !== '..') entries.push({ name: textOf(name), kind: kindOf(mode) });
        return true;
      });
    } finally {
      await this.vfs.releasedir(handle);
    }
    return entries;
  }
}

function own(): Caller {
  return { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, pid: process.pid };
}

function kindOf(mode: number): PoolEntry['kind'] {
  const type = mode & 0o170000;
  return type === S_IFDIR ? 'directory' : type === 0o100000 ? 'file' : 'other';
}

async function lockPool(io: FileIo, directory: string): Promise<IoLock> {
  try {
    return await io.lock(join(directory, 'lock'));
  } catch (error) {
    if (!hasCode(error, 'LOCKED')) throw error;
    throw new CairnError('LOCKED', `the pool in ${directory} is in use by another process`, {
      hint: `see \`cairn status ${directory}\``,
      cause: error,
    });
  }
}

/** One opening, from the disks up. What has been opened is closed again if a later step fails. */
class PoolOpening {
  readonly #machine: Machine;
  readonly #directory: string;
  readonly #config: PoolConfig;
  readonly #mode: 'default' | 'strong';
  readonly #log: PoolLog;
  readonly #isResting: boolean;
  readonly #accessTimes: boolean;
  readonly #opened: { close(): Promise<void> }[] = [];

  constructor(machine: Machine, directory: string, config: PoolConfig, options: PoolOptions) {
    this.#machine = machine;
    this.#directory = directory;
    this.#config = config;
    this.#mode = options.mode ?? config.mode;
    this.#log = options.log ?? silentLog;
    this.#isResting = options.isResting === true;
    this.#accessTimes = options.accessTimes !== false;
  }

  async run<T>(make: (parts: PoolParts, staging: Staging, snapshots: SnapshotSchedule) => T): Promise<T> {
    try {
      return make(...(await this.#build()));
    } catch (error) {
      for (const { close } of this.#opened.reverse()) await close().catch(() => undefined);
      throw error;
    }
  }

  #keep<T extends { close(): Promise<void> }>(part: T): T {
    this.#opened.push({ close: () => part.close() });
    return part;
  }

  async #build(): Promise<[PoolParts, Staging, SnapshotSchedule]> {
    const config = this.#config;
    const log = this.#log;
    const { io, clock, random } = this.#machine;
    const disks = this.#keep(await PoolDisks.open(this.#machine, config, log));
    const map = await PoolMap.open(disks, log);
    const damage = new Damage(disks, log);
    // What finds damage is needed before what mends it can be built.
    const noticed: { repair?: RepairJob; journal?: Journal } = {};
    const watch = this.#keep(new DiskWatch(disks, clock, log));
    // What it is told of exists before what it asks.
    const census: { current?: LossCensus } = {};
    const chunks = this.#keep(
      new PoolChunkStore({
        map: map.current,
        disks: disks.byNumber,
        pipeline: this.#machine.makePipeline(),
        clock,
        onSlowDisk: (number) =>
          log.warn(
            { disk: disks.byNumber.get(number)?.directory },
            `disk ${number} answers far more slowly than the others: what it has is read from them for a while`,
          ),
        onDegradedRead: (chunk, disk) => {
          damage.note(chunk, disk);
          noticed.repair?.noteRead(chunk, disk);
        },
        onShort: (chunk) => {
          census.current?.storedShort(chunk);
          noticed.journal?.noteShort();
        },
      }),
    );
    const { meta, recovery } = await this.#recover(disks, chunks);
    for (const note of recovery.notes) log.info({}, note);
    const journal = new Journal(disks, meta, chunks, recovery, clock);
    noticed.journal = journal;
    const degraded = { ...NOTHING_DEGRADED };
    journal.onDegraded = ({ chunks, bytes }) => {
      noticed.repair?.noteDegraded(chunks);
      degraded.commits += 1;
      degraded.chunks += chunks.length;
      degraded.bytes += bytes;
    };
    let refusal: unknown;
    journal.onRefused = (error) => {
      const again = refusal !== undefined && textIn(refusal) === textIn(error);
      refusal = error;
      // It is offered again every two seconds.
      if (again) return;
      log.error(
        { error },
        'the metadata store did not take a commit that is safe on the disks: tried again until it does',
      );
      // What the store refuses for good is in the journal: made anew from it, the store takes it.
      if (hasCode(error, 'CORRUPT', 'CONFLICT')) this.#machine.condemnMeta?.(config.metaDirectory, config.pool);
    };
    const position = meta.position();
    const staging = this.#keep(
      await openStaging({
        io,
        random,
        clock,
        config: { ...config, cache: { ...config.cache, directory: disks.cacheDirectory } },
        committedThrough: position.stagedThrough,
        committedEpoch: position.epoch,
        epoch: recovery.epoch,
        log,
      }),
    );
    const { files, account, stage, replay } = staging;
    if (position.sequence > 0) await this.#confirm(journal, position);
    const table = new InodeTable(meta, files, account);
    const segments = disks.opened.map(({ identity }) => identity.journalSegmentBytes);
    const roundBytes = Math.min(ROUND_BYTES_MAX, ROUND_SHARE * Math.min(...segments));
    const staged = new StagedSet({
      chunks,
      stage,
      clock,
      chunkBytes: config.chunkBytes,
      roundBytes,
      nextIno: Math.max(position.nextIno, ROOT_INO + 1),
      durableThrough: position.stagedThrough,
    });
    staged.onDeleted = (inode) => table.forgetGone(inode);
    const pipeline = new SealPipeline(chunks, {
      pin: (ino) => {
        const { file, release } = files.pin(ino, true);
        return { fd: file.fd, done: release };
      },
    });
    const space = new PoolSpace({
      map: map.current,
      chunkBytes: config.chunkBytes,
      disks: () => disks.data(),
      stagedBytes: () => account.dirtyBytes,
      sequence: () => journal.sequence,
      nowMs: () => clock.monotonicMs(),
    });
    const committer = new Committer({
      staged,
      journal,
      pipeline,
      account,
      stage,
      clock,
      options: { delayMs: config.commitDelayMs, roundBytes },
      log: (message) => log.error({}, message),
      poolTakes: (bytes) => space.takes(bytes),
    });
    journal.source = staged;
    const reader = new PoolReader(meta, chunks, clock);
    committer.filler = new WindowFiller(reader, account);
    const data = new FileData({ files, account, stage, staged, committer, reader, clock });
    const xattrs = new Xattrs(meta, stage, staged);
    const policies = new PolicyTree({
      table,
      xattrs,
      schemes: schemeRules(
        () => map.current,
        (schemes) => {
          chunks.useSchemes(schemes);
          space.useSchemes(schemes);
        },
      ),
    });
    committer.policies = policies;
    staged.chunkPolicyOf = (inode) => chunkPolicyOf(policies.now(inode));
    const userWork = new UserWork();
    const activity = new Activity(() => clock.monotonicMs());
    const throttle = new Throttle(userWork, clock);
    const backings = new Backings({
      io,
      path: join(disks.cacheDirectory, 'backing'),
      account,
      reader,
      throttle,
      clock,
      onFailure: (error) => void stage.distrust(error),
    });
    const rule = new StrongRule(config.whenDegraded, journal, () => disks.missing());
    const vfs = new Volume({
      strong: this.#mode === 'strong',
      rule,
      table,
      data,
      staged,
      stage,
      committer,
      reader,
      copier: new RangeCopier({ staged, journal, committer, reader, data }),
      xattrs,
      policies,
      clock,
      space: () => space.blocks(),
      inodes: async () => (await meta.statistics()).inodes,
      userWork,
      activity,
      backings,
      accessTimes: this.#accessTimes,
      stateOf: (inode) => stateOf(inode, { table, reader, chunks }),
    });
    const publisher = new Publisher({
      staged,
      table,
      journal,
      chunks,
      reader,
      clock,
      chunkBytes: config.chunkBytes,
      largestBytes: roundBytes,
      retire: (inode) => vfs.retire(inode),
    });
    const objects = new ObjectTree({
      volume: vfs,
      table,
      committer,
      reader,
      xattrs,
      policies,
      staged,
      publisher,
      clock,
    });
    files.onFailure = (cause) => void stage.distrust(cause);
    files.onLoss = (ino, failure) => {
      const inode = table.peek(ino);
      if (inode !== undefined) data.lost(inode, failure);
      log.error({ ino, error: failure.cause }, `${failure.message}; what is still in memory of it goes to the pool`);
    };
    const collector = new Collector({
      meta,
      chunks,
      journal,
      disks,
      clock,
      options: { everyMs: COLLECT_EVERY_MS, graceMs: COLLECT_GRACE_MS },
      pinned: () => table.orphanChunks(),
      onRemoved: (chunk) => staged.collected.add(chunk),
      log: (message) => log.warn({}, message),
      rest: (workedMs, signal) => throttle.rest(workedMs, signal),
    });
    committer.onFull = () => collector.run(true, true);
    if (!this.#isResting) collector.start();
    const sweep = new Sweep({
      meta,
      chunks,
      collector,
      onDegraded: (found) => noticed.repair?.noteDegraded(found),
      clock,
      disks: disks.opened,
      allOnline: () => disks.allOnlineBut(map.leaving),
      log: (message) => log.warn({}, message),
    });
    if (!this.#isResting) this.#keep(sweep).start();
    disks.admit = (disk) => admit(disk, map.current, journal, recovery.epoch);
    disks.whenReturned((disk) => sweep.add(disk));
    const losses = this.#countLosses({ meta, disks, journal });
    census.current = losses;
    const jobs = this.#keep(new JobRunner({ io, poolDirectory: this.#directory, clock, userWork, log }));
    map.whenChanged((next) => {
      chunks.useMap(next);
      space.useMap(next);
    });
    const changes = new DiskChanges({
      io,
      random,
      directory: this.#directory,
      disks,
      map,
      chunks,
      jobs,
      log,
      usedBytes: () => space.report().usedBytes + account.dirtyBytes,
      capacities: (directories) => this.#machine.capacities(directories),
      takeSnapshot: () => takeSnapshot(),
      collect: () => collectAll(sweep, collector),
      onSettled: () => noticed.repair?.retry(),
    });
    jobs.add(changes.job);
    const queue = new RepairQueue({
      io,
      poolDirectory: this.#directory,
      clock,
      settle: () => syncAll(disks.data()),
      warn: (error, message) => log.warn({ error }, message),
    });
    const repair = this.#keep(
      new RepairJob({ queue, jobs, chunks, meta, disks, clock, onWhole: (chunk) => damage.mended(chunk) }),
    );
    jobs.add(repair);
    const pool: { parts?: PoolParts } = {};
    jobs.add(
      new ScrubJob(
        () => {
          assert(pool.parts !== undefined, 'no job runs before the pool is open');
          return pool.parts;
        },
        {
          onWhole: (chunk) => damage.mended(chunk),
          onComplete: () => {
            queue.complete();
            repair.retry();
          },
        },
      ),
    );
    const scrubs = this.#keep(new ScrubSchedule(jobs, clock, config.scrubDays));
    noticed.repair = repair;
    disks.whenReturned(() => repair.diskReturned());
    const snapshotter = new Snapshotter(disks, meta, chunks);
    const takeSnapshot = (): Promise<void> => snapshotBeyond({ table, staged, journal, snapshotter });
    const snapshots = new SnapshotSchedule(
      snapshotter,
      journal,
      meta,
      log,
      recovery.journal,
      recovery.snapshotDue && !this.#isResting,
    );
    await this.#restore(
      new StagedRestore({ meta, table, staged, account, files, clock }),
      staging,
      position.stagedThrough,
    );
    await policies.open();
    if (!this.#isResting) await makeRoot(table, staged, journal, clock);
    if (!this.#isResting) watch.start();
    if (!this.#isResting && (staged.contents.size > 0 || staged.namespaceBytes > 0)) committer.staged();
    const unreadable = await describeDamage(recovery.damage, vfs);
    for (const line of unreadable) log.error({}, line);
    const parts: PoolParts = {
      directory: this.#directory,
      io,
      get config() {
        return disks.config;
      },
      mode: this.#mode,
      get map() {
        return map.current;
      },
      poolMap: map,
      disks,
      meta,
      chunks,
      journal,
      account,
      staged,
      committer,
      collector,
      sweep,
      watch,
      jobs,
      changes,
      repair,
      scrubs,
      userWork,
      activity,
      backings,
      table,
      reader,
      space,
      vfs,
      policies,
      objects,
      clock,
      degradedWrites: () => {
        // Which of them have been made whole already is not kept in mind, only that some have not.
        if (queue.degraded === 0 && !queue.isIncomplete) Object.assign(degraded, NOTHING_DEGRADED);
        return { ...degraded };
      },
      forecaster: new LossForecaster({
        census: losses,
        meta,
        disks,
        cacheDirectory: disks.cacheDirectory,
        account,
        staged,
        vfs,
      }),
      settings: new LiveSettings({ disks, committer, scrubs, rule }),
      takeSnapshot,
      findings: () => [
        ...unreadable,
        ...replay.notes,
        ...damage.findings(),
        ...(stage.failure === undefined ? [] : [cacheFinding(config.cache.directory, stage.failure)]),
        ...(journal.isRefused ? [refusedFinding(refusal)] : []),
        ...scrubFindings(jobs),
        ...(queue.degraded === 0 ? [] : [degradedFinding(queue.degraded, queue.isIncomplete)]),
      ],
    };
    if (!this.#isResting) {
      pool.parts = parts;
      await repair.open(parts);
      await jobs.open();
      scrubs.start();
      await changes.goOn();
      disks.whenReturned(
        () => void changes.goOn().catch((error: unknown) => log.warn({ error }, 'moving did not go on')),
      );
    }
    return [parts, staging, snapshots];
  }

  #countLosses(parts: { meta: MetaStore; disks: PoolDisks; journal: Journal }): LossCensus {
    const { meta, disks, journal } = parts;
    const census = this.#keep(
      new LossCensus({
        meta,
        disks: disks.byNumber,
        allOnline: () => disks.missing().length === 0,
        clock: this.#machine.clock,
        log: (message) => this.#log.warn({}, message),
      }),
    );
    disks.onShard = (chunk, change) => census.shardChanged(chunk, change);
    disks.onReach = () => census.restart();
    journal.onChanges = (changes) => census.committed(changes);
    if (!this.#isResting) census.start();
    return census;
  }

  /** A store that turns out to be damaged only while it is used is made anew, once. */
  async #recover(disks: PoolDisks, chunks: ChunkStore): Promise<{ meta: MetaStore; recovery: RecoveryReport }> {
    const { metaDirectory, pool } = this.#config;
    const { random } = this.#machine;
    for (let attempt = 0; ; attempt++) {
      const meta = await this.#machine.openMeta(metaDirectory, pool, this.#log);
      try {
        const { opened, tolerance, tooMany } = disks;
        const missing = disks.missing();
        const recovery = await recover({ disks: opened, meta, chunks, random, tolerance, missing, tooMany });
        return { meta: this.#keep(meta), recovery };
      } catch (error) {
        await meta.close();
        if (meta.isDamaged !== true || attempt > 0) throw error;
        this.#log.warn({ error }, 'the metadata store is damaged: it is rebuilt from the disks');
      }
    }
  }

  /**
   * What recovery decided becomes a commit of this daemon's epoch, before anything else is written in it: whoever opens the pool next, with whichever
   * disks, knows this epoch and takes a higher one, and no end of the journal that an absent disk may hold counts any more.
   */
  async #confirm(journal: Journal, position: MetaPosition): Promise<void> {
    try {
      await journal.confirm(position);
    } catch (error) {
      if (!hasCode(error, 'DISK_FAILED', 'NO_SPACE')) throw error;
      this.#log.warn({ error }, 'the pool takes no commits now');
    }
  }

  async #restore(restore: StagedRestore, { replay }: Staging, stagedThrough: number): Promise<void> {
    const report = await restore.run(replay, stagedThrough);
    if (report.names > 0 || report.files > 0) {
      this.#log.info(
        { names: report.names, files: report.files, bytes: report.bytes },
        `replayed the stage log: ${report.names} changes of names and attributes, ${report.bytes} bytes in ${report.files} files are staged again`,
      );
    }
    if (report.lostPages)
      this.#log.warn(
        {},
        'the cache device has lost what had not been synced to it: it was unplugged, or its file system failed; what no fsync had made safe is gone',
      );
    if (replay.lostWrites > 0)
      this.#log.warn(
        { writes: replay.lostWrites },
        `${replay.lostWrites} writes that no fsync had made safe were lost with the power`,
      );
  }
}

/** A sentence per commit, with the paths that its files have after recovery. */
async function describeDamage(damage: readonly DamagedCommit[], vfs: Vfs): Promise<string[]> {
  if (damage.length === 0) return [];
  const paths = await pathsOf(vfs, new Set(damage.flatMap(({ files }) => files)));
  return damage.map(({ sequence, chunks, files }) => {
    const named = files.flatMap((ino) => paths.get(ino) ?? []).map((path) => JSON.stringify(path).slice(1, -1));
    const more = named.length > NAMED_MAX ? ` and ${named.length - NAMED_MAX} more` : '';
    const whose = named.length === 0 ? 'deleted files' : `${named.slice(0, NAMED_MAX).join(', ')}${more}`;
    return `commit ${sequence} counts, but data of it cannot be read from the disks that are here: ${chunks} chunks, of ${whose}`;
  });
}

function cacheFinding(directory: string, failure: CairnError): string {
  return `the cache at ${directory} is suspect (${textIn(failure.cause)}): fsync commits to the pool, or fails, instead of relying on it; check the device, then unmount and mount again`;
}

function refusedFinding(refusal: unknown): string {
  const remedy = hasCode(refusal, 'CORRUPT', 'CONFLICT')
    ? 'unmount and mount again: it is made anew from the disks'
    : 'it is tried again until it works';
  return `the metadata store does not take commits (${textIn(refusal)}): what is committed is safe on the disks, and nothing new is committed until it does; ${remedy}`;
}

/** Of the last scrub that came to its end. */
function scrubFindings(jobs: JobRunner): string[] {
  const scrub = jobs.list().find(({ name }) => name === 'scrub');
  const report = scrub && readReport(scrub.report);
  if (report === undefined || report.lost.names.length === 0) return [];
  const count = report.lost.names.length + report.lost.more;
  return [
    `the last scrub found ${count === 1 ? 'a file' : `${count} files`} of which a part cannot be read: see \`cairn scrub --status\`, restore ${count === 1 ? 'it' : 'them'} from a copy, and scrub again`,
  ];
}

function degradedFinding(chunks: number, isIncomplete: boolean): string {
  const some = chunks === 1 ? 'a chunk was' : `${chunks}${isIncomplete ? ' or more' : ''} chunks were`;
  return `${some} committed while a disk was failing or away, and can lose fewer disks than the others until made whole, which begins by itself when all disks are there${isIncomplete ? '; for all of them run `cairn scrub`' : ''}`;
}

function textIn(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Without the grace period, and with what an interrupted commit has left on the disks. */
async function collectAll(sweep: Sweep, collector: Collector): Promise<void> {
  do await collector.run(true);
  while (!(await sweep.finish()) && sweep.canGoOn);
  await collector.run(true);
}

/**
 * A disk that was away is taken in again with the pool's diskmap. DISK_FOREIGN if another daemon, or a newer map, has been at work on it meanwhile:
 * which of the two histories counts is decided when the pool is opened, with all of its disks.
 */
async function admit(disk: Disk, map: DiskMap, journal: Journal, firstEpoch: number): Promise<void> {
  const foreign = (what: string): CairnError =>
    new CairnError('DISK_FOREIGN', `the disk at ${disk.directory} ${what} while it was away`, {
      hint: 'unmount and mount the pool: what counts is decided then',
    });
  for (const { epoch, sequence } of disk.commits(0)) {
    if (epoch < firstEpoch || (isOfRun(epoch, firstEpoch) && sequence <= journal.sequence + 1)) continue;
    throw foreign('was written by another daemon');
  }
  if (disk.identity.role !== 'data') return;
  const bytes = await disk.readMap();
  const version = bytes === undefined ? 0 : decodeMap(bytes).version;
  if (version > map.version) throw foreign('got a newer diskmap');
  if (version < map.version) await disk.writeMap(encodeMap(map));
}

/** A snapshot of a later commit than any that there is: as long as it is not complete, what there is stays. */
async function snapshotBeyond(parts: {
  table: InodeTable;
  staged: StagedSet;
  journal: Journal;
  snapshotter: Snapshotter;
}): Promise<void> {
  const { table, staged, journal, snapshotter } = parts;
  const root = await table.find(ROOT_INO);
  // A pool that was never mounted has nothing to be safe.
  if (root === undefined) return;
  staged.touch(root);
  const sequence = await journal.request();
  // Applied too: an acknowledgement does not wait for the metadata store.
  await journal.between(async () => {});
  // One that was under way may be of an earlier commit.
  if ((await snapshotter.take()) < sequence) await snapshotter.take();
}

/** The first commit of a new pool. */
async function makeRoot(table: InodeTable, staged: StagedSet, journal: Journal, clock: Clock): Promise<void> {
  if ((await table.find(ROOT_INO)) !== undefined) return;
  const root = new Inode(ROOT_INO, S_IFDIR | 0o755, clock.now());
  root.uid = process.getuid?.() ?? 0;
  root.gid = process.getgid?.() ?? 0;
  table.add(root);
  staged.touch(root);
  await journal.request();
}
