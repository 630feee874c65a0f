/**
 * Which buckets of present groups move so that new groups find enough *different* domains with free buckets.
 *
 * The t widest new groups, which need n buckets in all, can use at most t free ones of each domain. Where Σ min(free, t) is less than n, the difference is
 * missing; the shortage is the greatest such difference over all t. A move changes a sum by one at most, so at least `shortage` moves are needed. Every step here
 * lowers the shortage by one: from a domain with fewer than t free to one with more than t, for every t at which it is greatest. A step is a single move wherever some
 * group allows that; else it is a chain, which may take earlier moves back, and the cheapest one. (The tests compare the number with that of a minimum-cost flow.)
 *
 * It suffices to look where the width changes: in between the difference is convex in t, so it is greatest at an end.
 */
import type { Layout } from './layout.js';
import { type Move, MovingMembers } from './moving-members.js';

/** New groups of one width. */
export interface Demand {
  readonly width: number;
  readonly count: number;
}

/** The moves after which these groups (the widest first) can form, as few as there can be; undefined if none lead there. Changes nothing. */
export function movesTowards(layout: Layout, demands: readonly Demand[]): Move[] | undefined {
  const free = layout.domains.map((domain) => domain.free);
  let members: MovingMembers | undefined;
  for (;;) {
    const { least, most } = critical(free, demands);
    if (most === 0) return members?.moves() ?? [];
    members ??= new MovingMembers(layout);
    const step = bestMove(members, free, least, most);
    if (step === undefined) return undefined;
    free[step.from]! += 1;
    free[step.to]! -= 1;
  }
}

/** Whether groups of these widths, the widest first, can be formed with so many free buckets in each domain. */
export function isRoomFor(free: readonly number[], demands: readonly Demand[]): boolean {
  return critical(free, demands).most === 0;
}

/** The least and the greatest t at which the shortage is greatest; zeros if there is none. */
function critical(free: readonly number[], demands: readonly Demand[]): { least: number; most: number } {
  let groups = 0;
  let needed = 0;
  let shortage = 0;
  let least = 0;
  let most = 0;
  for (const { width, count } of demands) {
    groups += count;
    needed += width * count;
    let missing = needed;
    for (const buckets of free) missing -= Math.min(buckets, groups);
    if (missing > shortage) {
      shortage = missing;
      least = groups;
    }
    if (missing > 0 && missing === shortage) most = groups;
  }
  return { least, most };
}

/** From the domain with fewest free buckets to the one with most, or the next pair that has a group to do it with; else by a chain. */
function bestMove(
  members: MovingMembers,
  free: readonly number[],
  least: number,
  most: number,
): { from: number; to: number } | undefined {
  const index = free.map((_, domain) => domain);
  const givers = index.filter((domain) => free[domain]! < least).sort((a, b) => free[a]! - free[b]!);
  const takers = index.filter((domain) => free[domain]! > most).sort((a, b) => free[b]! - free[a]!);
  for (const from of givers) {
    for (const to of takers) {
      if (members.moveOne(from, to)) return { from, to };
    }
  }
  return members.moveChain(givers, takers);
}
