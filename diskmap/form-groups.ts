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
import { movesTowards } from './make-room.js';
import { schemeWidth } from './scheme.js';
import type { GroupScheme } from './types.js';

/** Adds as many groups of `scheme` as fit, moving buckets of present groups into free ones only where no group could form without. */
export function formGroups(layout: Layout, scheme: GroupScheme): void {
  const width = schemeWidth(scheme);
  // Single moves have led to the greatest count in every case tried (tens of thousands, and each run of the tests); that they always do is not proved, so
  // if they should not, fewer groups are formed rather than more moved.
  for (let count = mostGroups(layout, width); count > 0; count -= 1) {
    const moves = movesTowards(layout, count, width);
    if (moves === undefined) continue;
    for (const { group, member, to } of moves) layout.swap(layout.groups[group]!, member, layout.take(to));
    takeGroups(layout, scheme, count);
    return;
  }
}

/** The greatest number of further groups of `width` that the domains could hold, wherever the present groups' buckets were. */
export function mostGroups(layout: Layout, width: number): number {
  const present = widthCounts(layout.groups);
  let free = 0;
  for (const domain of layout.domains) free += domain.free;
  let fits = 0;
  let tooMany = Math.floor(free / width) + 1;
  while (tooMany - fits > 1) {
    const middle = Math.floor((fits + tooMany) / 2);
    if (fit(layout.domains, present, width, middle)) fits = middle;
    else tooMany = middle;
  }
  return fits;
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

/** Forms `count` groups out of free buckets, which must suffice: Σ min(free, count) >= count · width. */
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
