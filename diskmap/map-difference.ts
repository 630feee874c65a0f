/** What has to be done on the disks to go from one version of a map to a later one. */
import { DiskMapError } from './disk-map-error.js';
import type { BucketId, DiskMap, Group } from './types.js';

/** One shard's new home: its bytes are copied from `from`, or rebuilt from the group's other buckets. */
export interface BucketMove {
  /** The group's id. */
  readonly group: string;
  /** Index of the shard, and of the bucket, in the group. */
  readonly shard: number;
  /** Undefined where the group had no such shard: a second copy that an only one gets. */
  readonly from: BucketId | undefined;
  readonly to: BucketId;
}

export interface MapDifference {
  readonly moved: readonly BucketMove[];
  /** Groups only the newer map has. */
  readonly added: readonly Group[];
  /** Groups only the older map has. */
  readonly removed: readonly Group[];
}

/** From `older` to `newer`, in the order of their groups. Throws DiskMapError INVALID if they are not of one pool, or in the wrong order. */
export function mapDifference(older: DiskMap, newer: DiskMap): MapDifference {
  if (older.pool !== newer.pool) {
    throw new DiskMapError('INVALID', `disk map: comparing maps of two pools, ${older.pool} and ${newer.pool}`);
  }
  if (older.version > newer.version) {
    throw new DiskMapError('INVALID', `disk map: version ${older.version} is not older than version ${newer.version}`);
  }
  const before = new Map(older.groups.map((group) => [group.id, group]));
  const moved: BucketMove[] = [];
  const added: Group[] = [];
  for (const group of newer.groups) {
    const old = before.get(group.id);
    if (old === undefined) {
      added.push(group);
      continue;
    }
    before.delete(group.id);
    group.buckets.forEach((to, shard) => {
      const from = old.buckets[shard];
      if (from !== to) moved.push({ group: group.id, shard, from, to });
    });
  }
  return { moved, added, removed: [...before.values()] };
}
