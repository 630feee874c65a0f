/**
 * Opening a pool, third step: what keeps it whole while it is used. Collection, the sweep for what a crash has left, the count of what is at risk, changes of disks, repair and scrub as
 * jobs, and metadata snapshots.
 */
import { Collector } from '../commit/collector.js';
import type { Journal } from '../commit/journal.js';
import { Snapshotter } from '../commit/snapshotter.js';
import { Sweep } from '../commit/sweep.js';
import { LossCensus } from '../forecast/loss-census.js';
import { JobRunner } from '../jobs/job-runner.js';
import { ROOT_INO } from '../meta/rows.js';
import { RepairJob } from '../repair/repair-job.js';
import { RepairQueue } from '../repair/repair-queue.js';
import { ScrubJob } from '../repair/scrub-job.js';
import { ScrubSchedule } from '../repair/scrub-schedule.js';
import { syncAll } from '../repair/sync-all.js';
import type { InodeTable } from '../vfs/inode-table.js';
import type { StagedSet } from '../vfs/staged-set.js';
import { admitDisk } from './admit-disk.js';
import { DiskChanges } from './disk-changes.js';
import type { OpenStore } from './open-store.js';
import type { OpenTree } from './open-tree.js';
import type { Opening } from './opening.js';
import type { PoolParts } from './pool-control.js';
import { SnapshotSchedule } from './snapshot-schedule.js';
import type { Staging } from './staging.js';

/** How often space is given back, and how long a chunk must have been without references. */
const COLLECT_EVERY_MS = 10_000;
const COLLECT_GRACE_MS = 30_000;

export interface OpenUpkeep {
  readonly collector: Collector;
  readonly sweep: Sweep;
  readonly census: LossCensus;
  readonly jobs: JobRunner;
  readonly changes: DiskChanges;
  readonly queue: RepairQueue;
  readonly repair: RepairJob;
  readonly scrubs: ScrubSchedule;
  readonly snapshots: SnapshotSchedule;
  /** Makes one more commit and writes a metadata snapshot of it to every data disk. */
  takeSnapshot(): Promise<void>;
}

/** `parts` is asked when a scrub begins, which is not before the pool is open. */
export function openUpkeep(
  opening: Opening,
  store: OpenStore,
  tree: OpenTree,
  { account }: Staging,
  parts: () => PoolParts,
): OpenUpkeep {
  const { machine, directory, config, log, isResting, keep } = opening;
  const { io, clock, random } = machine;
  const { disks, map, chunks, meta, recovery, journal, damage, degraded } = store;
  const { table, staged, committer, space, userWork, throttle } = tree;
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
  if (!isResting) collector.start();
  const sweep = new Sweep({
    meta,
    chunks,
    collector,
    onDegraded: (found) => degraded.found(found),
    clock,
    disks: disks.opened,
    allOnline: () => disks.allOnlineBut(map.leaving),
    log: (message) => log.warn({}, message),
  });
  if (!isResting) keep(sweep).start();
  disks.admit = (disk) => admitDisk(disk, map.current, journal, recovery.epoch);
  disks.whenReturned((disk, isOlder) => {
    // What an older copy of it lacks is found on the others.
    for (const each of isOlder ? disks.data() : [disk]) sweep.add(each);
  });
  const census = countLosses(opening, store);
  const jobs = keep(new JobRunner({ io, poolDirectory: directory, clock, userWork, log }));
  map.whenChanged((next) => {
    chunks.useMap(next);
    space.useMap(next);
  });
  const changes = new DiskChanges({
    io,
    random,
    directory,
    disks,
    map,
    chunks,
    jobs,
    log,
    usedBytes: () => space.report().usedBytes + account.dirtyBytes,
    capacities: (directories) => machine.capacities(directories),
    takeSnapshot: () => takeSnapshot(),
    collect: () => collectAll(sweep, collector),
    onSettled: () => degraded.repair?.retry(),
  });
  jobs.add(changes.job);
  const queue = new RepairQueue({
    io,
    poolDirectory: directory,
    clock,
    settle: () => syncAll(disks.data()),
    warn: (error, message) => log.warn({ error }, message),
  });
  const repair = keep(
    new RepairJob({ queue, jobs, chunks, meta, disks, clock, onWhole: (chunk) => damage.mended(chunk) }),
  );
  jobs.add(repair);
  jobs.add(
    new ScrubJob(parts, {
      onWhole: (chunk) => damage.mended(chunk),
      onComplete: () => {
        queue.complete();
        repair.retry();
      },
    }),
  );
  const scrubs = keep(new ScrubSchedule(jobs, clock, userWork, config.scrubDays));
  degraded.repair = repair;
  disks.whenReturned(() => repair.diskReturned());
  collector.onFreed = () => repair.roomCame();
  const snapshotter = new Snapshotter(disks, meta, chunks);
  const takeSnapshot = (): Promise<void> => snapshotBeyond({ table, staged, journal, snapshotter });
  const snapshots = new SnapshotSchedule(
    snapshotter,
    journal,
    meta,
    log,
    recovery.journal,
    recovery.snapshotDue && !isResting,
  );
  committer.onFull = async () => {
    const before = space.groupsTake();
    // What is copied out of segments that are nearly full may need as many again: only what the groups take more is a gain.
    const gained = (): number => {
      const bytes = space.groupsTake() - before;
      return bytes < config.chunkBytes ? 0 : bytes;
    };
    await collector.run(true, true);
    const journals = disks.data().map((disk) => disk.space().journalBytes);
    if (gained() === 0 && (await snapshots.relieve(Math.max(0, ...journals)))) await collector.run(true, true);
    return gained();
  };
  return { collector, sweep, census, jobs, changes, queue, repair, scrubs, snapshots, takeSnapshot };
}

function countLosses({ machine, log, isResting, keep }: Opening, store: OpenStore): LossCensus {
  const { meta, disks, journal, degraded } = store;
  const census = keep(
    new LossCensus({
      meta,
      disks: disks.byNumber,
      allOnline: () => disks.missing().length === 0,
      clock: machine.clock,
      log: (message) => log.warn({}, message),
    }),
  );
  degraded.census = census;
  disks.onShard = (chunk, change) => census.shardChanged(chunk, change);
  disks.onReach = () => census.restart();
  journal.onChanges = (changes) => census.committed(changes);
  if (!isResting) census.start();
  return census;
}

/** Without the grace period, and with what an interrupted commit has left on the disks. */
export async function collectAll(sweep: Sweep, collector: Collector): Promise<void> {
  do await collector.run(true);
  while (!(await sweep.finish()) && sweep.canGoOn);
  await collector.run(true);
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
