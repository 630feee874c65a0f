/**
 * How many groups of which widths hold most: the planner's arithmetic, before any bucket is chosen.
 *
 * **What fits.** Groups of widths n1, n2, … can be laid over domains with c1, c2, … buckets, no group twice in a domain, exactly if every set
 * of groups finds enough places: for every t, the t widest need together at most Σ min(c, t) (Gale's and Ryser's theorem on matrices of 0 and 1).
 *
 * **What holds most.** t groups over n buckets, p of each being parity, hold n − p·t. For a given t the greatest n is wanted, and widths that differ by one at
 * most are the easiest to lay (any others of the same sum majorize them), so n alone is searched for: n − 1 fits where n does. The greatest n, as a function
 * of t, is the value of a maximum flow whose capacities grow linearly with t: it is concave, so the best t is where the gain of one
 * more group is no longer above p. Of several t that hold as much the least is taken: it writes the least, and leaves the most free.
 */
import type { GroupShape } from './group-shape.js';
import { type Layout, type OpenDomain, widthCounts } from './layout.js';
import type { Demand } from './make-room.js';
import type { GroupScheme } from './types.js';

/** So many new groups, over so many buckets in all. Their widths differ by one at most. */
export interface GroupCount {
  readonly groups: number;
  readonly buckets: number;
}

/** So many groups of one scheme. */
export interface Batch extends Demand {
  readonly scheme: GroupScheme;
}

/** The new groups that hold most beside those of the layout, wherever the present groups' buckets were. */
export function mostUsable(layout: Layout, shape: GroupShape): GroupCount {
  const present = widthCounts(layout.groups);
  let free = 0;
  for (const domain of layout.domains) free += domain.free;
  const bucketsOf = (groups: number): number | undefined => mostBuckets(layout.domains, present, shape, groups, free);
  const usable = (groups: number): number => (bucketsOf(groups) ?? Number.NEGATIVE_INFINITY) - shape.parity * groups;
  // The least number of groups at which one more adds nothing.
  let low = 0;
  let high = Math.floor(free / shape.least);
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (usable(middle + 1) > usable(middle)) low = middle + 1;
    else high = middle;
  }
  return { groups: low, buckets: bucketsOf(low) ?? 0 };
}

/** The next lesser thing to try: a bucket less, or a group less where all are as narrow as can be. */
export function oneLess({ groups, buckets }: GroupCount, shape: GroupShape): GroupCount {
  return buckets > groups * shape.least
    ? { groups, buckets: buckets - 1 }
    : { groups: groups - 1, buckets: buckets - shape.least };
}

/** The widths of the groups, the widest first. */
export function batchesOf({ groups, buckets }: GroupCount, shape: GroupShape): Batch[] {
  if (groups === 0) return [];
  const width = Math.floor(buckets / groups);
  const wider = buckets - width * groups;
  return [
    { width: width + 1, count: wider },
    { width, count: groups - wider },
  ]
    .filter(({ count }) => count > 0)
    .map((batch) => ({ ...batch, scheme: shape.schemeOf(batch.width) }));
}

/** The most buckets that `groups` new groups can have; undefined if not even the narrowest fit. */
function mostBuckets(
  domains: readonly OpenDomain[],
  present: ReadonlyMap<number, number>,
  shape: GroupShape,
  groups: number,
  free: number,
): number | undefined {
  const fits = (buckets: number): boolean => fit(domains, present, batchesOf({ groups, buckets }, shape));
  let low = shape.least * groups;
  let high = Math.min(shape.most * groups, free);
  if (low > high || !fits(low)) return undefined;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (fits(middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}

function fit(domains: readonly OpenDomain[], present: ReadonlyMap<number, number>, batches: readonly Batch[]): boolean {
  const counts = new Map(present);
  for (const { width, count } of batches) counts.set(width, (counts.get(width) ?? 0) + count);
  let groups = 0;
  let needed = 0;
  // Between two widths both sides of the condition are concave and linear, so it holds everywhere if it holds where the width changes.
  for (const [each, many] of [...counts].sort(([a], [b]) => b - a)) {
    groups += many;
    needed += each * many;
    let places = 0;
    for (const { total } of domains) places += Math.min(total, groups);
    if (places < needed) return false;
  }
  return true;
}
