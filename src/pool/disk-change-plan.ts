/** What a change of the disks would do, worked out from the map that is and the one that would be. Writes nothing. */
import { changeDisks, type DiskMap, diskOfBucket, type MapDisk, mapDifference, plan } from '../../diskmap/index.js';
import type { Disk } from '../disks/disk.js';
import { formatBytes } from '../errors/byte-figures.js';
import { messageOf } from '../errors/cairn-error.js';
import type { DiskChangePlan, DiskChangeRequest, DiskReport } from '../vfs/reports.js';
import { protectionOf } from './init-pool.js';

/** What a hard disk writes, in bytes per second. */
const DISK_RATE = 100e6;
/** Of what the pool holds, how much more room must be left. */
const ROOM_SHARE = 0.05;

export interface PlannedPool {
  readonly map: DiskMap;
  readonly byNumber: ReadonlyMap<number, Disk | undefined>;
  readonly reports: readonly DiskReport[];
  /** Plain bytes that the pool holds, staged ones too. */
  readonly usedBytes: number;
}

export interface Joining {
  readonly number: number;
  readonly directory: string;
  readonly capacityBytes: number;
}

export interface PlannedChange {
  readonly plan: DiskChangePlan;
  /** undefined where the planner sees no way. */
  readonly next: DiskMap | undefined;
}

type Refusal = DiskChangePlan['refusals'][number];

/** `leaving`: the disk that leaves, if one does. */
export function planChange(
  pool: PlannedPool,
  action: DiskChangeRequest['action'],
  joins: readonly Joining[],
  leaving: DiskReport | undefined,
): PlannedChange {
  const { map, usedBytes } = pool;
  const before = plan(map);
  const neededBytes = Math.ceil(usedBytes * (1 + ROOM_SHARE));
  const refusals: Refusal[] = [];
  const next = nextMap(pool, joins, leaving, neededBytes, refusals);
  const after = next === undefined ? before : plan(next);
  refusals.push(...refusalsOf(pool, leaving, before.survives, after.survives));
  if (next !== undefined && after.usableBytes < neededBytes && after.usableBytes < before.usableBytes) {
    const lacking = formatBytes(neededBytes - after.usableBytes);
    refusals.push({
      reason: `the pool holds ${formatBytes(usedBytes)}, and afterwards would have room for ${formatBytes(after.usableBytes)}`,
      remedy: `delete ${lacking}, or add room for as much first`,
    });
  }
  const moves = next === undefined ? NO_MOVES : movesOf(pool, next, after.overhead);
  const disks = (of: DiskMap): number => of.disks.filter(({ buckets }) => buckets > 0).length;
  const missing = pool.reports.filter(({ role, state }) => role === 'data' && state !== 'online');
  const left = missing.filter(({ number }) => number !== leaving?.number).length;
  return {
    next,
    plan: {
      format: 1,
      action,
      joins,
      leaves:
        leaving === undefined
          ? []
          : [{ number: leaving.number, directory: leaving.directory, isThere: isReadable(leaving) }],
      usableBytesBefore: before.usableBytes,
      usableBytes: after.usableBytes,
      usedBytes,
      protectionBefore: protectionOf(before.survives, disks(map), missing.length),
      protection: protectionOf(after.survives, next === undefined ? disks(map) : disks(next), left),
      ...moves,
      needsConsent: action === 'remove' || after.usableBytes < before.usableBytes,
      refusals,
      notes: notesOf(action, leaving, before.survives),
    },
  };
}

function nextMap(
  { map, byNumber }: PlannedPool,
  joins: readonly Joining[],
  leaving: DiskReport | undefined,
  neededBytes: number,
  refusals: Refusal[],
): DiskMap | undefined {
  const add = joins.map(({ number, capacityBytes }): MapDisk => {
    const buckets = Math.floor(capacityBytes / map.bucketBytes);
    return { disk: number, site: 0, row: 0, rack: 0, machine: 0, buckets };
  });
  const held = (bucket: string): number => byNumber.get(diskOfBucket(bucket))?.bucketBytes(bucket) ?? 0;
  try {
    return changeDisks(map, { remove: leaving === undefined ? [] : [leaving.number], add, neededBytes, held });
  } catch (error) {
    refusals.push({
      reason: messageOf(error),
      remedy: 'add a disk first, and take this one out then',
    });
    return undefined;
  }
}

function refusalsOf(pool: PlannedPool, leaving: DiskReport | undefined, before: number, after: number): Refusal[] {
  if (leaving === undefined) return [];
  const refusals: Refusal[] = [];
  if (after < before)
    refusals.push({
      reason: `without disk ${leaving.number} the pool would survive ${after === 0 ? 'no loss of a disk' : `the loss of ${after}`}, and now survives ${before}`,
      remedy: 'add a disk first, and take this one out then; or replace it',
    });
  for (const { role, number, state, directory } of pool.reports) {
    if (role !== 'data' || state === 'online' || number === leaving.number) continue;
    refusals.push({
      reason: `disk ${number} at ${directory} is ${state}: what it shares with disk ${leaving.number} cannot be made whole elsewhere`,
      remedy: `bring disk ${number} back, or replace it first`,
    });
  }
  return refusals;
}

const NO_MOVES = { moveBytes: 0, readBytes: 0, leastMs: 0, groups: { kept: 0, takenApart: 0, made: 0 } };

function movesOf(
  { map, byNumber }: PlannedPool,
  next: DiskMap,
  overhead: number,
): Pick<DiskChangePlan, 'moveBytes' | 'readBytes' | 'leastMs' | 'groups'> {
  const { moved, added, removed } = mapDifference(map, next);
  const before = new Map(map.groups.map((group) => [group.id, group]));
  /** What lies in a bucket; of a disk that is away, as much as in the fullest of its group. */
  const held = (bucket: string, group: readonly string[]): number => {
    const disk = byNumber.get(diskOfBucket(bucket));
    if (disk !== undefined && disk.state !== 'offline') return disk.bucketBytes(bucket);
    return Math.max(0, ...group.map((each) => byNumber.get(diskOfBucket(each))?.bucketBytes(each) ?? 0));
  };
  const writes = new Map<number, number>();
  const write = (disk: number, bytes: number): void => void writes.set(disk, (writes.get(disk) ?? 0) + bytes);
  let readBytes = 0;
  for (const { group, from, to } of moved) {
    const { buckets, scheme } = before.get(group)!;
    const bytes = held(from ?? buckets[0]!, buckets);
    const disk = byNumber.get(diskOfBucket(from ?? buckets[0]!));
    write(diskOfBucket(to), bytes);
    const isAway = disk === undefined || disk.state === 'offline';
    readBytes += isAway && scheme.kind === 'erasure' ? bytes * scheme.k : bytes;
  }
  let plain = 0;
  for (const { buckets, weight } of removed)
    plain += (buckets.reduce((sum, bucket) => sum + held(bucket, buckets), 0) * weight) / buckets.length;
  readBytes += plain;
  const targets = next.disks.filter(({ buckets }) => buckets > 0).length;
  for (const { disk, buckets } of next.disks) if (buckets > 0) write(disk, (plain * overhead) / targets);
  return {
    moveBytes: Math.round([...writes.values()].reduce((sum, bytes) => sum + bytes, 0)),
    readBytes: Math.round(readBytes),
    leastMs: Math.round((Math.max(0, ...writes.values()) / DISK_RATE) * 1000),
    groups: { kept: map.groups.length - removed.length, takenApart: removed.length, made: added.length },
  };
}

function isReadable({ state }: DiskReport): boolean {
  return state === 'online' || state === 'suspect';
}

function notesOf(action: DiskChangeRequest['action'], leaving: DiskReport | undefined, survives: number): string[] {
  const meanwhile = 'Files are read and written all along; a crash or an unmount in between only interrupts it.';
  if (leaving === undefined)
    return [
      `Every file survives ${survives === 0 ? 'as much' : 'as many losses'} as now at every moment: a shard leaves its old place when the new one is synced.`,
      meanwhile,
    ];
  const { number, directory } = leaving;
  const gone = `Disk ${number} is let go of when nothing is needed of it any more; until then it must stay${isReadable(leaving) ? '' : ' listed'}. ${directory} is left as it is.`;
  if (!isReadable(leaving))
    return [
      `What disk ${number} had is made from the other disks: until that is done, ${survives > 1 ? `${survives - 1} more may be lost` : 'no other disk may be lost'}.`,
      meanwhile,
      gone,
    ];
  const first = action === 'remove' ? 'Nothing new is written to it.' : 'What it holds is copied to the new disk.';
  return [first, 'Every file survives as many losses as now at every moment.', meanwhile, gone];
}
