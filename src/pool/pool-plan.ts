/**
 * What a pool of some disks would give, or a pool with some disks more, before anything is written: the planner's figures in bytes of whole disks, and what
 * other systems would give with the same disks.
 */
import { join } from 'node:path';
import {
  addDisks,
  compareSystems,
  type DiskMap,
  decodeMap,
  fitBucketBytes,
  mapDifference,
  plan,
  type SchemeChoice,
} from '../../diskmap/index.js';
import { MAP_FILE } from '../disks/log-disk.js';
import { CairnError, messageOf } from '../errors/cairn-error.js';
import type { FileIo } from '../io/file-io.js';
import type { PoolPlan } from '../vfs/reports.js';
import type { PoolConfig } from './config.js';
import { groupsOf, mapDisksOf, protectionOf } from './init-pool.js';
import { formatScheme } from './scheme-choice.js';

/** For a pool to be made of disks of these sizes. CONFIG if the scheme needs more of them. */
export function planDisks(
  diskBytes: readonly number[],
  scheme: SchemeChoice,
  bucketBytes = fitBucketBytes(diskBytes),
): PoolPlan {
  const disks = mapDisksOf(diskBytes, bucketBytes, 1);
  return planOf(groupsOf('0'.repeat(16), bucketBytes, scheme, disks), diskBytes);
}

/** For a pool that is there, and disks of these sizes added to it. */
export function planGrowth(map: DiskMap, addedBytes: readonly number[]): PoolPlan {
  const first = Math.max(0, ...map.disks.map(({ disk }) => disk)) + 1;
  const present = map.disks.map(({ buckets }) => buckets * map.bucketBytes);
  if (addedBytes.length === 0) return planOf(map, present);
  const grown = addDisks(map, mapDisksOf(addedBytes, map.bucketBytes, first));
  const movedBuckets = mapDifference(map, grown).moved.length;
  return {
    ...planOf(grown, [...present, ...addedBytes]),
    growth: {
      usableBytesBefore: plan(map).usableBytes,
      movedBuckets,
      movedBytes: movedBuckets * map.bucketBytes,
    },
  };
}

/** The newest map that any of the pool's data disks holds. DISK_MISSING if none can be read. */
export async function readPoolMap(io: Pick<FileIo, 'readFile'>, config: PoolConfig): Promise<DiskMap> {
  const failures: string[] = [];
  let newest: DiskMap | undefined;
  for (const { role, directory } of config.disks) {
    if (role !== 'data') continue;
    try {
      const map = decodeMap(await io.readFile(join(directory, MAP_FILE)));
      if (newest === undefined || map.version > newest.version) newest = map;
    } catch (error) {
      failures.push(`${directory}: ${messageOf(error)}`);
    }
  }
  if (newest !== undefined) return newest;
  throw new CairnError('DISK_MISSING', `no disk of the pool has a map that can be read: ${failures.join('; ')}`, {
    hint: 'connect the disks, or correct cairn.toml',
  });
}

/** `diskBytes` are the sizes of the map's disks, in the order of their numbers. */
function planOf(map: DiskMap, diskBytes: readonly number[]): PoolPlan {
  const planned = plan(map);
  const { survives } = planned;
  const others = survives === 1 || survives === 2 ? compareSystems(diskBytes, survives) : null;
  return {
    format: 1,
    bucketBytes: map.bucketBytes,
    disks: map.disks.map(({ disk, buckets }, index) => {
      const sizeBytes = diskBytes[index]!;
      const unusable = planned.unusable.find((each) => each.disk === disk);
      const usedBytes = (buckets - (unusable?.buckets ?? 0)) * map.bucketBytes;
      const loss = planned.losses.find(({ disks }) => disks.includes(disk));
      const rest = sizeBytes - buckets * map.bucketBytes;
      const reasons = unusable === undefined ? [] : [unusable.reason];
      if (rest > 0) reasons.push(`${rest} bytes of disk ${disk} are less than a bucket.`);
      return {
        disk,
        sizeBytes,
        usedBytes,
        unusedBytes: sizeBytes - usedBytes,
        reasons,
        loss: {
          share: loss?.share ?? 0,
          rebuildBytes: loss?.rebuildBytes ?? 0,
          readBytes: loss?.readBytes ?? 0,
          lostBytes: loss?.lostBytes ?? 0,
        },
      };
    }),
    rawBytes: diskBytes.reduce((sum, bytes) => sum + bytes, 0),
    usableBytes: planned.usableBytes,
    boundBytes: others?.boundBytes ?? planned.boundBytes,
    overhead: planned.overhead,
    survives,
    protection: protectionOf(survives, map.disks.length),
    groups: planned.schemes.map(({ scheme, groups, usableBytes }) => ({
      scheme: formatScheme(scheme),
      count: groups,
      usableBytes,
    })),
    findings: [...planned.warnings, ...planned.unusable.map(({ reason }) => reason)],
    others:
      others === null
        ? null
        : { raidzBytes: others.raidzBytes, btrfsBytes: others.btrfsBytes, shrBytes: others.shrBytes },
  };
}
