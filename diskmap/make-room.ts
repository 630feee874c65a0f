/**
 * Which buckets of present groups move so that new groups find enough *different* domains with free buckets.
 *
 * The t widest new groups, which need n buckets in all, can use at most t free ones of each domain. Where Σ min(free, t) is less than n, the difference is
 * missing; the shortage is the greatest such difference over all t. A move changes a sum by one at most, so at least `shortage` moves are needed. Every move here
 * is one that lowers the shortage: from a domain with fewer than t free to one with more than t, for every t at which it is greatest. So a
 * plan made of them has the least possible number.
 *
 * It suffices to look where the width changes: in between the difference is convex in t, so it is greatest at an end.
 */
import type { Layout } from './layout.js';

/** New groups of one width. */
export interface Demand {
  readonly width: number;
  readonly count: number;
}

export interface Move {
  readonly group: number;
  readonly member: number;
  /** The domain whose free bucket takes over. */
  readonly to: number;
}

/** The moves after which these groups (the widest first) can form, as few as there can be; undefined if no such moves lead there. Changes nothing. */
export function movesTowards(layout: Layout, demands: readonly Demand[]): Move[] | undefined {
  const free = layout.domains.map((domain) => domain.free);
  const moves: Move[] = [];
  let search: DonorSearch | undefined;
  for (;;) {
    const { least, most } = critical(free, demands);
    if (most === 0) return moves;
    search ??= new DonorSearch(layout);
    const move = bestMove(search, free, least, most);
    if (move === undefined) return undefined;
    free[move.from]! += 1;
    free[move.to]! -= 1;
    search.moved(move.group, move.member, move.to);
    moves.push(move);
  }
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

/** From the domain with fewest free buckets to the one with most, or the next pair that has a group to do it with. */
function bestMove(
  search: DonorSearch,
  free: readonly number[],
  least: number,
  most: number,
): (Move & { from: number }) | undefined {
  const index = free.map((_, domain) => domain);
  const givers = index.filter((domain) => free[domain]! < least).sort((a, b) => free[a]! - free[b]!);
  const takers = index.filter((domain) => free[domain]! > most).sort((a, b) => free[b]! - free[a]!);
  for (const from of givers) {
    for (const to of takers) {
      const found = search.find(from, to);
      if (found !== undefined) return { ...found, from, to };
    }
  }
  return undefined;
}

/**
 * Finds a group with a bucket in one domain and none in another. Among all t at which the shortage is greatest none ever stops being one, so a domain that
 * gave (it ends at `least` free, at most) never takes and one that took never gives: a group that did not suit a pair never will, and each pair
 * remembers how far it has looked.
 */
class DonorSearch {
  readonly #domainsOf: number[][];
  readonly #groupsIn: number[][];
  readonly #looked: Map<number, number> = new Map();

  constructor(layout: Layout) {
    this.#domainsOf = layout.groups.map((group) => group.members.map((member) => member.domain));
    this.#groupsIn = layout.domains.map(() => []);
    this.#domainsOf.forEach((domains, group) => {
      for (const domain of domains) this.#groupsIn[domain]!.push(group);
    });
  }

  find(from: number, to: number): { group: number; member: number } | undefined {
    const groups = this.#groupsIn[from]!;
    const pair = from * this.#groupsIn.length + to;
    for (let at = this.#looked.get(pair) ?? 0; at < groups.length; at += 1) {
      const group = groups[at]!;
      const domains = this.#domainsOf[group]!;
      const member = domains.indexOf(from);
      if (member >= 0 && !domains.includes(to)) {
        this.#looked.set(pair, at);
        return { group, member };
      }
    }
    this.#looked.set(pair, groups.length);
    return undefined;
  }

  moved(group: number, member: number, to: number): void {
    this.#domainsOf[group]![member] = to;
  }
}
