/**
 * Forming groups: how many of one width fit beside those that are there, which buckets must move so that they do, and which buckets they
 * get. `README.md` draws it; the reasons for its being optimal are here.
 *
 * **How many fit.** Groups of widths n1, n2, … can be laid over domains with c1, c2, … buckets, no group twice in a domain, exactly if every set
 * of groups finds enough places: for every t, the t widest need together at most Σ min(c, t) (Gale's and Ryser's theorem on matrices of 0 and 1).
 *
 * **Which buckets.** Always one from each of the domains with most free buckets. Gale showed that this greedy choice completes whenever completion is
 * possible, in whatever order the groups come. Among equals a mixed number decides, so that a disk's partners are all the other
 * disks: after its loss every one of them takes part in the rebuild.
 */
import { DomainHeap } from './domain-heap.js';
import { type Layout, type OpenDomain, widthCounts } from './layout.js';
import { type Demand, movesTowards } from './make-room.js';
import { schemeWidth } from './scheme.js';
import type { GroupScheme } from './types.js';

/** So many groups of one scheme. */
interface Batch extends Demand {
  readonly scheme: GroupScheme;
}

/**
 * Adds as many groups of the first scheme as fit, then of the next, …; the ladder goes from wide to narrow. Buckets of present groups move into free
 * ones only where fewer groups could form without.
 */
export function formGroups(layout: Layout, ladder: readonly GroupScheme[]): void {
  let batches = mostBatches(layout, ladder);
  let moves = movesTowards(layout, batches);
  // Single moves hardly ever fail to lead there (README.md, "As few as can be"). Then narrow groups are given up, one at a time, and not more buckets moved.
  while (moves === undefined) {
    batches = withoutOne(batches);
    moves = movesTowards(layout, batches);
  }
  for (const { group, member, to } of moves) layout.swap(layout.groups[group]!, member, layout.take(to));
  for (const { scheme, count } of batches) takeGroups(layout, scheme, count);
}

function withoutOne(batches: readonly Batch[]): Batch[] {
  const last = batches.findLastIndex(({ count }) => count > 0);
  return batches.map((batch, at) => (at === last ? { ...batch, count: batch.count - 1 } : batch));
}

/** The greatest number of further groups of each scheme that the domains could hold, wherever the present groups' buckets were. */
function mostBatches(layout: Layout, ladder: readonly GroupScheme[]): Batch[] {
  const counts = widthCounts(layout.groups);
  let free = 0;
  for (const domain of layout.domains) free += domain.free;
  return ladder.map((scheme) => {
    const width = schemeWidth(scheme);
    let fits = 0;
    let tooMany = Math.floor(free / width) + 1;
    while (tooMany - fits > 1) {
      const middle = Math.floor((fits + tooMany) / 2);
      if (fit(layout.domains, counts, width, middle)) fits = middle;
      else tooMany = middle;
    }
    counts.set(width, (counts.get(width) ?? 0) + fits);
    free -= fits * width;
    return { scheme, width, count: fits };
  });
}

function fit(
  domains: readonly OpenDomain[],
  present: ReadonlyMap<number, number>,
  width: number,
  count: number,
): boolean {
  const counts = new Map(present);
  counts.set(width, (counts.get(width) ?? 0) + count);
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

/** Forms `count` groups out of free buckets, which must suffice. */
function takeGroups(layout: Layout, scheme: GroupScheme, count: number): void {
  const width = schemeWidth(scheme);
  const heap = new DomainHeap(layout.domains.map(({ free }) => free));
  const chosen: number[] = [];
  for (let formed = 0; formed < count; formed += 1) {
    chosen.length = 0;
    for (let shard = 0; shard < width; shard += 1) chosen.push(heap.pop());
    layout.addGroup(
      scheme,
      chosen.map((domain) => layout.take(domain)),
    );
    for (const domain of chosen) heap.push(domain, layout.domains[domain]!.free);
  }
}
