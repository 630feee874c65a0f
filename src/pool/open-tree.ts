/**
 * Opening a pool, second step: the tree of files over the store. The table of inodes, the committer that takes what is staged in the cache to the store, and the vfs and the tree of
 * objects that faces see. What the last run had staged is not in it yet.
 */
import { join } from 'node:path';
import { SealPipeline } from '../commit/seal-pipeline.js';
import { Throttle } from '../jobs/throttle.js';
import { UserWork } from '../jobs/user-work.js';
import { ROOT_INO } from '../meta/rows.js';
import { Activity } from '../vfs/activity.js';
import { Backings } from '../vfs/backings.js';
import { Committer } from '../vfs/committer.js';
import { FileData } from '../vfs/file-data.js';
import { InodeTable } from '../vfs/inode-table.js';
import { stateOf } from '../vfs/list-entries.js';
import { ObjectTree } from '../vfs/object-tree.js';
import { chunkPolicyOf } from '../vfs/policy.js';
import { PolicyTree } from '../vfs/policy-tree.js';
import { PoolReader } from '../vfs/pool-reader.js';
import { Publisher } from '../vfs/publisher.js';
import { RangeCopier } from '../vfs/range-copier.js';
import { StagedSet } from '../vfs/staged-set.js';
import { StrongRule } from '../vfs/strong-rule.js';
import { Volume } from '../vfs/volume.js';
import { WindowFiller } from '../vfs/window-filler.js';
import { Xattrs } from '../vfs/xattrs.js';
import type { OpenStore } from './open-store.js';
import type { Opening } from './opening.js';
import { PoolSpace } from './pool-space.js';
import { schemeRules } from './scheme-rules.js';
import type { Staging } from './staging.js';

/** Names and attributes, or extents of one file, that one COMMIT record should carry at most; less where journal segments are small. */
const ROUND_BYTES_MAX = 4 * 1024 * 1024;
const ROUND_SHARE = 0.125;

export interface OpenTree {
  readonly table: InodeTable;
  readonly staged: StagedSet;
  readonly committer: Committer;
  readonly space: PoolSpace;
  readonly reader: PoolReader;
  readonly policies: PolicyTree;
  readonly rule: StrongRule;
  readonly userWork: UserWork;
  readonly activity: Activity;
  readonly throttle: Throttle;
  readonly backings: Backings;
  readonly vfs: Volume;
  readonly objects: ObjectTree;
}

export function openTree(opening: Opening, store: OpenStore, staging: Staging): OpenTree {
  const { machine, config, mode, log, accessTimes } = opening;
  const { io, clock } = machine;
  const { disks, map, meta, chunks, journal } = store;
  const position = meta.position();
  const { files, account, stage } = staging;
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
    poolTakes: (bytes, files) => space.takes(bytes, files),
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
  const activity = new Activity(() => clock.monotonicMs(), userWork);
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
    strong: mode === 'strong',
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
    accessTimes,
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
  return {
    table,
    staged,
    committer,
    space,
    reader,
    policies,
    rule,
    userWork,
    activity,
    throttle,
    backings,
    vfs,
    objects,
  };
}
