/**
 * The composition root: a pool out of its cairn.toml, from the disks up to the vfs in three steps, in the order of the picture in ARCHITECTURE.md, and then what the last run had staged. What
 * has been opened is closed again if a later step fails.
 */
import type { Journal } from '../commit/journal.js';
import { assert, hasCode } from '../errors/cairn-error.js';
import { LossForecaster } from '../forecast/loss-forecast.js';
import type { Clock } from '../io/clock.js';
import type { MetaPosition } from '../meta/meta-store.js';
import { ROOT_INO } from '../meta/rows.js';
import { Inode } from '../vfs/inode.js';
import type { InodeTable } from '../vfs/inode-table.js';
import { S_IFDIR } from '../vfs/mode.js';
import { StagedRestore } from '../vfs/restore-staged.js';
import type { StagedSet } from '../vfs/staged-set.js';
import { cacheFinding, damageFindings, degradedFindings, refusedFinding, scrubFindings } from './findings.js';
import { LiveSettings } from './live-settings.js';
import { type OpenStore, openStore } from './open-store.js';
import { type OpenTree, openTree } from './open-tree.js';
import { type OpenUpkeep, openUpkeep } from './open-upkeep.js';
import type { Opening } from './opening.js';
import type { PoolParts } from './pool-control.js';
import type { SnapshotSchedule } from './snapshot-schedule.js';
import { openStaging, type Staging } from './staging.js';

export interface OpenedPool {
  readonly parts: PoolParts;
  readonly staging: Staging;
  readonly snapshots: SnapshotSchedule;
}

/** See Pool.open for errors. */
export async function openParts(options: Omit<Opening, 'keep'>): Promise<OpenedPool> {
  const opened: { close(): Promise<void> }[] = [];
  const keep: Opening['keep'] = (part) => {
    opened.push(part);
    return part;
  };
  try {
    return await build({ ...options, keep });
  } catch (error) {
    for (const part of opened.reverse()) await part.close().catch(() => undefined);
    throw error;
  }
}

async function build(opening: Opening): Promise<OpenedPool> {
  const { machine, config, log, isResting, keep } = opening;
  const { io, clock, random } = machine;
  const store = await openStore(opening);
  const { disks, journal, recovery, meta } = store;
  const position = meta.position();
  const staging = keep(
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
  if (position.sequence > 0) await confirm(opening, journal, position);
  const tree = openTree(opening, store, staging);
  const open: { parts?: PoolParts } = {};
  const upkeep = openUpkeep(opening, store, tree, staging, () => {
    assert(open.parts !== undefined, 'no job runs before the pool is open');
    return open.parts;
  });
  await restore(opening, store, tree, staging, position.stagedThrough);
  const { staged, committer, policies, table, vfs } = tree;
  await policies.open();
  if (!isResting) await makeRoot(table, staged, journal, clock);
  if (!isResting) store.watch.start();
  if (!isResting && (staged.contents.size > 0 || staged.namespaceBytes > 0)) committer.staged();
  const unreadable = await damageFindings(recovery.damage, vfs);
  for (const line of unreadable) log.error({}, line);
  const parts = partsOf(opening, store, tree, upkeep, staging, unreadable);
  if (!isResting) {
    open.parts = parts;
    await upkeep.repair.open(parts);
    await upkeep.jobs.open();
    upkeep.scrubs.start();
    const { changes } = upkeep;
    await changes.goOn();
    disks.whenReturned(
      () => void changes.goOn().catch((error: unknown) => log.warn({ error }, 'moving did not go on')),
    );
  }
  return { parts, staging, snapshots: upkeep.snapshots };
}

/**
 * What recovery decided becomes a commit of this daemon's epoch, before anything else is written in it: whoever opens the pool next, with whichever
 * disks, knows this epoch and takes a higher one, and no end of the journal that an absent disk may hold counts any more.
 */
async function confirm({ log }: Opening, journal: Journal, position: MetaPosition): Promise<void> {
  try {
    await journal.confirm(position);
  } catch (error) {
    if (!hasCode(error, 'DISK_FAILED', 'NO_SPACE')) throw error;
    log.warn({ error }, 'the pool takes no commits now');
  }
}

/** What the last run had staged is staged again. */
async function restore(
  { machine, log }: Opening,
  { meta }: OpenStore,
  { table, staged }: OpenTree,
  { files, account, replay }: Staging,
  stagedThrough: number,
): Promise<void> {
  const { clock } = machine;
  const report = await new StagedRestore({ meta, table, staged, account, files, clock }).run(replay, stagedThrough);
  if (report.names > 0 || report.files > 0) {
    log.info(
      { names: report.names, files: report.files, bytes: report.bytes },
      `replayed the stage log: ${report.names} changes of names and attributes, ${report.bytes} bytes in ${report.files} files are staged again`,
    );
  }
  const { lostWrites, lostPages } = report;
  if (lostPages)
    log.warn(
      {},
      'the cache device has lost what had not been synced to it: it was unplugged, or its file system failed; what no fsync had made safe is gone',
    );
  else if (lostWrites > 0)
    log.warn(
      { writes: lostWrites },
      `the power cut took ${lostWrites} ${lostWrites === 1 ? 'write' : 'writes'} that no fsync had made safe`,
    );
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

function partsOf(
  opening: Opening,
  store: OpenStore,
  tree: OpenTree,
  upkeep: OpenUpkeep,
  staging: Staging,
  unreadable: readonly string[],
): PoolParts {
  const { directory, config, mode, machine } = opening;
  const { io, clock } = machine;
  const { disks, map, watch, chunks, meta, journal, damage, degraded, refusal } = store;
  const { table, staged, committer, space, reader, policies, rule, userWork, activity, backings, vfs, objects } = tree;
  const { collector, sweep, census, jobs, changes, queue, repair, scrubs, takeSnapshot } = upkeep;
  const { account, stage, replay } = staging;
  const { cacheDirectory } = disks;
  return {
    directory,
    io,
    get config() {
      return disks.config;
    },
    mode,
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
    degradedWrites: () => degraded.report(queue),
    forecaster: new LossForecaster({ census, meta, disks, cacheDirectory, account, staged, vfs }),
    settings: new LiveSettings({ disks, committer, scrubs, rule }),
    takeSnapshot,
    findings: () => [
      ...unreadable,
      ...replay.notes,
      ...damage.findings(),
      ...(stage.failure === undefined ? [] : [cacheFinding(config.cache.directory, stage.failure)]),
      ...(journal.isRefused ? [refusedFinding(refusal())] : []),
      ...scrubFindings(jobs),
      ...degradedFindings(queue, disks.allOnline),
    ],
  };
}
