/**
 * The members of present groups while buckets are moved, as failure domains only.
 *
 * A move takes one bucket of a group from a domain to another in which the group has none. Where no group suits a pair of domains a chain does: a to b in one
 * group, b to c in another. A step of a chain may take back what was moved before (a to c, and then b to a in the same group, is b to c), so a chain
 * need not cost more than a move. What counts in the end is how a group differs from what it was.
 */
import type { Layout } from './layout.js';

export interface Move {
  readonly group: number;
  readonly member: number;
  /** The domain whose free bucket takes over. */
  readonly to: number;
}

/** A step of a chain: the group that lets `from` go, and what that adds to the moves: -1, 0 or 1. */
interface Step {
  readonly group: number;
  readonly cost: number;
}

export class MovingMembers {
  readonly #before: readonly (readonly number[])[];
  readonly #domainsOf: number[][];
  readonly #groupsIn: number[][];
  /** By pair of domains, how many groups of the first do not suit. */
  readonly #looked: Map<number, number> = new Map();

  /** `made`: moves that are counted as made already. */
  constructor(layout: Layout, made: readonly Move[] = []) {
    this.#before = layout.groups.map((group) => group.members.map((member) => member.domain));
    this.#domainsOf = this.#before.map((domains) => [...domains]);
    for (const { group, member, to } of made) this.#domainsOf[group]![member] = to;
    this.#groupsIn = layout.domains.map(() => []);
    this.#domainsOf.forEach((domains, group) => {
      for (const domain of domains) this.#groupsIn[domain]!.push(group);
    });
  }

  /**
   * Moves a bucket of some group; false if no group has one in `from` and none in `to`. As long as no chain was needed, a domain that gave never takes and
   * one that took never gives (see `critical`): a group that did not suit a pair never will, and each pair remembers how far it has looked.
   */
  moveOne(from: number, to: number): boolean {
    const groups = this.#groupsIn[from]!;
    const pair = from * this.#groupsIn.length + to;
    let at = this.#looked.get(pair) ?? 0;
    while (at < groups.length && !this.#suits(groups[at]!, from, to)) at += 1;
    this.#looked.set(pair, at);
    if (at === groups.length) return false;
    this.#move(groups[at]!, from, to);
    return true;
  }

  /** Moves along the cheapest chain from any of some domains to any of others; undefined if there is none. */
  moveChain(from: readonly number[], to: readonly number[]): { from: number; to: number } | undefined {
    const steps = this.#steps();
    const count = this.#groupsIn.length;
    const cost = new Array<number>(count).fill(Number.POSITIVE_INFINITY);
    const before = new Array<number>(count).fill(-1);
    for (const domain of from) cost[domain] = 0;
    // Bellman and Ford: steps that take something back cost less than nothing.
    for (let changed = true, round = 0; changed && round < count; round += 1) {
      changed = false;
      steps.forEach(({ cost: more }, pair) => {
        const [a, b] = [Math.floor(pair / count), pair % count];
        if (cost[a]! + more >= cost[b]!) return;
        cost[b] = cost[a]! + more;
        before[b] = a;
        changed = true;
      });
    }
    const end = to.reduce((best, domain) => (best < 0 || cost[domain]! < cost[best]! ? domain : best), -1);
    if (end < 0 || cost[end] === Number.POSITIVE_INFINITY) return undefined;
    let at = end;
    for (let length = 0; before[at] !== -1 && length < count; length += 1) {
      const previous = before[at]!;
      this.#move(steps.get(previous * count + at)!.group, previous, at);
      at = previous;
    }
    this.#looked.clear();
    return { from: at, to: end };
  }

  /** What has to be done with the groups as they were. */
  moves(): Move[] {
    const moves: Move[] = [];
    this.#before.forEach((before, group) => {
      const after = this.#domainsOf[group]!;
      const gained = after.filter((domain) => !before.includes(domain));
      before.forEach((domain, member) => {
        if (!after.includes(domain)) moves.push({ group, member, to: gained.pop()! });
      });
    });
    return moves;
  }

  /** The cheapest step of every pair of domains that has one. */
  #steps(): Map<number, Step> {
    const steps = new Map<number, Step>();
    const count = this.#groupsIn.length;
    this.#domainsOf.forEach((domains, group) => {
      const own = this.#before[group]!;
      for (let to = 0; to < count; to += 1) {
        if (domains.includes(to)) continue;
        for (const from of domains) {
          const cost = (own.includes(to) ? 0 : 1) - (own.includes(from) ? 0 : 1);
          const pair = from * count + to;
          const known = steps.get(pair);
          if (known === undefined || cost < known.cost) steps.set(pair, { group, cost });
        }
      }
    });
    return steps;
  }

  #suits(group: number, from: number, to: number): boolean {
    const domains = this.#domainsOf[group]!;
    return domains.includes(from) && !domains.includes(to);
  }

  #move(group: number, from: number, to: number): void {
    const domains = this.#domainsOf[group]!;
    domains[domains.indexOf(from)] = to;
    if (!this.#groupsIn[to]!.includes(group)) this.#groupsIn[to]!.push(group);
  }
}
