/**
 * Taking disks out of a map, and putting others in their place, in one step.
 *
 * A disk that leaves stays in the map without buckets, so that its number is never given out again. Each group that had a bucket on it keeps its id and its other
 * buckets, and gets a free bucket in a failure domain in which it has none: one shard of each of its chunks moves. Where free buckets do not suffice (a pool
 * normally has none: all are in groups) some groups are taken apart, and their buckets serve the others; what lay in those groups moves as a whole. Groups
 * are taken apart last made first: these hold least. What is then free forms new groups.
 *
 * Keeping as many groups as possible moves least, but a group that stays may stand in the way of better ones. So there are three ways, each moving more than the one
 * before: keep what can be kept; take apart all groups that were on the disk; take apart all. The first that holds what is needed is taken.
 */
import { checkDisks } from './check-map.js';
import { checkChangeable, completed } from './create-map.js';
import { DiskMapError } from './disk-map-error.js';
import { Layout, type OpenGroup } from './layout.js';
import type { BucketId, DiskMap, MapDisk } from './types.js';

export interface DiskChange {
  /** Numbers of disks of the map that lose all of their buckets. */
  readonly remove: readonly number[];
  /** Disks with new numbers. Buckets of those that leave go to them first. */
  readonly add: readonly MapDisk[];
  /** Plain bytes that the map has to hold. */
  readonly neededBytes: number;
  /** What a bucket holds, in bytes, where that is known: then it is bytes that are spread evenly, else buckets. */
  readonly held?: (bucket: BucketId) => number;
}

type Way = (layout: Layout, touched: ReadonlySet<OpenGroup>) => void;

const WAYS: readonly Way[] = [
  keepAsMany,
  (layout, touched) => layout.dissolve(touched),
  (layout) => layout.dissolve(new Set(layout.groups)),
];

/**
 * The next version of `map`. If none of the ways holds `neededBytes`, the one that holds most: who asks compares `plan(map).usableBytes`, and what it
 * survives, with what it was. Throws DiskMapError: INVALID for disks that are not there or are there already, TOO_FEW_DISKS if what is left
 * cannot form a group of the map's scheme.
 */
export function changeDisks(map: DiskMap, { remove, add, neededBytes, held }: DiskChange): DiskMap {
  checkChangeable(map);
  checkDisks([...map.disks, ...add]);
  const leaving = new Set(remove);
  for (const number of leaving) {
    if (map.disks.some(({ disk, buckets }) => disk === number && buckets > 0)) continue;
    throw new DiskMapError('INVALID', `disk map: there is no disk ${number} to take out`);
  }
  let best: { readonly map: DiskMap; readonly usableBytes: number } | undefined;
  for (const way of WAYS) {
    const layout = new Layout(map, add, leaving, held);
    const touched = new Set(layout.groups.filter(({ members }) => members.some((each) => layout.isLeaving(each))));
    way(layout, touched);
    const changed = completed(map, layout);
    const usableBytes = changed.groups.reduce((sum, { weight }) => sum + weight, 0) * map.bucketBytes;
    if (best === undefined || usableBytes > best.usableBytes) best = { map: changed, usableBytes };
    if (best.usableBytes >= neededBytes) break;
  }
  return best!.map;
}

/** Gives the touched groups new buckets for those that leave, taking some apart where that is the only way to find any. */
function keepAsMany(layout: Layout, touched: ReadonlySet<OpenGroup>): void {
  const domains = layout.domains.filter(({ total }) => total > 0).length;
  const tooWide = new Set([...touched].filter(({ members }) => members.length > domains));
  layout.dissolve(tooWide);
  let waiting = [...touched].filter((group) => !tooWide.has(group));
  for (;;) {
    waiting = waiting.filter((group) => !evacuate(layout, group));
    const last = waiting.pop();
    if (last === undefined) return;
    layout.dissolve(new Set([last]));
  }
}

/** False if some bucket of the group finds no other place; those that did are in theirs. */
function evacuate(layout: Layout, group: OpenGroup): boolean {
  // Nor to where another of its shards is until that has moved.
  const before = group.members.map(({ domain }) => domain);
  for (let at = 0; at < group.members.length; at += 1) {
    const member = group.members[at]!;
    if (!layout.isLeaving(member)) continue;
    let best = -1;
    layout.domains.forEach(({ free }, domain) => {
      if (free === 0) return;
      if (group.members.some((other, i) => i !== at && (other.domain === domain || before[i] === domain))) return;
      if (best < 0 || free > layout.domains[best]!.free) best = domain;
    });
    if (best < 0) return false;
    group.members[at] = layout.take(best);
  }
  return true;
}
