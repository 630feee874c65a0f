/**
 * Which buckets of present groups move so that new groups find enough *different* domains with free buckets.
 *
 * `count` new groups of `width` can use at most `count` free buckets of one domain. They fit when Σ min(free, count) reaches count · width; what is
 * missing is the shortage. Moving a group's bucket from a domain with fewer than `count` free to one with more than `count` lowers the
 * shortage by one, and no move can lower it by more, so a plan made only of such moves has the least possible number: the shortage.
 */
import type { Layout } from './layout.js';

export interface Move {
  readonly group: number;
  readonly member: number;
  /** The domain whose free bucket takes over. */
  readonly to: number;
}

/** The moves after which `count` groups of `width` fit, as few as there can be; undefined if single moves do not lead there. Changes nothing. */
export function movesTowards(layout: Layout, count: number, width: number): Move[] | undefined {
  const free = layout.domains.map((domain) => domain.free);
  let shortage = count * width;
  for (const buckets of free) shortage -= Math.min(buckets, count);
  if (shortage <= 0) return [];

  const search = new DonorSearch(layout);
  const moves: Move[] = [];
  for (; shortage > 0; shortage -= 1) {
    const move = bestMove(search, free, count);
    if (move === undefined) return undefined;
    free[move.from]! += 1;
    free[move.to]! -= 1;
    search.moved(move.group, move.member, move.to);
    moves.push(move);
  }
  return moves;
}

/** From the domain with fewest free buckets to the one with most, or the next pair that has a group to do it with. */
function bestMove(search: DonorSearch, free: readonly number[], count: number): (Move & { from: number }) | undefined {
  const index = free.map((_, domain) => domain);
  const givers = index.filter((domain) => free[domain]! < count).sort((a, b) => free[a]! - free[b]!);
  const takers = index.filter((domain) => free[domain]! > count).sort((a, b) => free[b]! - free[a]!);
  for (const from of givers) {
    for (const to of takers) {
      const found = search.find(from, to);
      if (found !== undefined) return { ...found, from, to };
    }
  }
  return undefined;
}

/**
 * Finds a group with a bucket in one domain and none in another. A domain only ever gives or only ever takes (givers end at `count` free, takers
 * too), so a group that did not suit a pair never will, and each pair remembers how far it has looked.
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
