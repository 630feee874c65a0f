/**
 * Placing: which groups a hash prefers, in order, by weighted rendezvous hashing. Each group draws a number from the hash and its own id, the best draw wins; a
 * group's draw depends on nothing else, so a new group only takes hashes that now prefer it, and takes them evenly from all.
 *
 * The draw of a group with weight w is u in (0, 1), its cost −ln(u)/w, and the least cost ranks first: w/W of all hashes prefer a group, W being the
 * sum of all weights. The exact arithmetic, down to the bit, is in README.md ("Ranking, exactly"); it uses only operations that IEEE 754 and
 * 32-bit integers define, so every implementation ranks alike. Changing any of it would lose every chunk: it is a format.
 */
import { DiskMapError } from './disk-map-error.js';
import { mix32 } from './mix.js';
import type { DiskMap } from './types.js';

const TWO_TO_32 = 4_294_967_296;
const LN_2 = Math.LN2;
const SQRT_HALF = Math.SQRT1_2;
/** Powers of two, exactly; Math.pow is not bound to be. */
const POWER = Float64Array.from({ length: 34 }, () => 1);
for (let at = 1; at < POWER.length; at += 1) POWER[at] = POWER[at - 1]! * 2;

/** After so many single steps `ranked` sorts the rest: a walk that long is a search through all of the pool. */
const SINGLE_STEPS = 4;

/** The ranking of one map's groups, prepared. `hash` is 64 lowercase hex digits, of which the first 16 decide; others throw DiskMapError INVALID. */
export interface Ranking {
  /** Index in `map.groups` of the group that ranks first; -1 if the map has none. Allocates nothing. */
  best(hash: string): number;
  /** All indexes, best first, each computed when asked for. */
  ranked(hash: string): Generator<number, void, undefined>;
}

/** Prepares the ranking of a map's groups. Throws DiskMapError INVALID for a weight that is not a positive number. */
export function createRanking(map: Pick<DiskMap, 'groups'>): Ranking {
  return new RendezvousRanking(map.groups);
}

/** All group indexes of the map for one hash, best first. For more than one hash, prepare a ranking. */
export function rankGroups(map: Pick<DiskMap, 'groups'>, hash: string): number[] {
  return [...createRanking(map).ranked(hash)];
}

class RendezvousRanking implements Ranking {
  /** Index in the map of the group with the n-th lowest id. All else here is in that order, so that the lower id wins a tie. */
  readonly #index: Int32Array;
  readonly #seed0: Int32Array;
  readonly #seed1: Int32Array;
  readonly #weight: Float64Array;
  // The hash in hand, as two words: fields, not a tuple, so that `best` allocates nothing.
  #hash0 = 0;
  #hash1 = 0;

  constructor(groups: DiskMap['groups']) {
    const order = groups.map((_, index) => index);
    order.sort((a, b) => (groups[a]!.id < groups[b]!.id ? -1 : 1));
    this.#index = Int32Array.from(order);
    this.#seed0 = new Int32Array(groups.length);
    this.#seed1 = new Int32Array(groups.length);
    this.#weight = new Float64Array(groups.length);
    order.forEach((index, at) => {
      const { id, weight } = groups[index]!;
      if (!(weight > 0 && weight < Number.POSITIVE_INFINITY)) {
        throw new DiskMapError('INVALID', `disk map: group ${id} has weight ${weight}, which is not a positive number`);
      }
      const high = word(id, 0);
      const low = word(id, 8);
      const seed0 = mix32(low + Math.imul(high, 0x9e3779b1));
      this.#seed0[at] = seed0;
      this.#seed1[at] = mix32(high ^ seed0 ^ 0x85ebca6b);
      this.#weight[at] = weight;
    });
  }

  best(hash: string): number {
    this.#take(hash);
    return this.#index[this.#least(-1, -1)] ?? -1;
  }

  *ranked(hash: string): Generator<number, void, undefined> {
    const count = this.#index.length;
    let at = -1;
    let cost = -1;
    for (let step = 0; step < Math.min(count, SINGLE_STEPS); step += 1) {
      // Another hash may have been in hand since the last step.
      this.#take(hash);
      at = this.#least(cost, at);
      cost = this.#cost(at, this.#draw(at));
      yield this.#index[at]!;
    }
    if (count <= SINGLE_STEPS) return;
    this.#take(hash);
    const costs = Float64Array.from(this.#index, (_, each) => this.#cost(each, this.#draw(each)));
    const order = Int32Array.from(this.#index, (_, each) => each).sort((a, b) => costs[a]! - costs[b]! || a - b);
    for (const each of order.subarray(SINGLE_STEPS)) yield this.#index[each]!;
  }

  #take(hash: string): void {
    if (hash.length !== 64)
      throw new DiskMapError('INVALID', `hash: must be 64 hex digits, got ${hash.length} characters`);
    this.#hash0 = word(hash, 0);
    this.#hash1 = word(hash, 8);
  }

  /** The least in the order of (cost, position) that is greater than (`cost`, `position`); -1 if there is none. */
  #least(cost: number, position: number): number {
    let least = Number.POSITIVE_INFINITY;
    let found = -1;
    const count = this.#index.length;
    for (let at = 0; at < count; at += 1) {
      const u = this.#draw(at);
      // −ln(u) > 1 − u: nearly every group is out without its logarithm. The gap, (1−u)²/2 with 1−u > 2⁻³³, is far above rounding.
      if (1 - u >= least * this.#weight[at]!) continue;
      const own = this.#cost(at, u);
      if (own < least && (own > cost || (own === cost && at > position))) {
        least = own;
        found = at;
      }
    }
    return found;
  }

  #draw(at: number): number {
    const first = mix32(this.#hash0 ^ this.#seed0[at]!);
    return (mix32((first + this.#hash1) ^ this.#seed1[at]!) + 0.5) / TWO_TO_32;
  }

  #cost(at: number, u: number): number {
    return minusLn(u) / this.#weight[at]!;
  }
}

/**
 * −ln(u) for u = (x + ½)/2³², x an integer. Written out, since Math.log may differ in the last bit from one engine to the next: u = m/2^z with m in
 * [√½, √2), and ln(m) = 2·artanh((m−1)/(m+1)) by its series up to the 21st power.
 */
function minusLn(u: number): number {
  let z = Math.clz32(Math.floor(u * TWO_TO_32));
  if (u * POWER[z]! < SQRT_HALF) z += 1;
  const m = u * POWER[z]!;
  const s = (m - 1) / (m + 1);
  const q = s * s;
  let p = 1 / 21;
  for (let n = 19; n >= 1; n -= 2) p = p * q + 1 / n;
  return z * LN_2 - 2 * s * p;
}

/** Eight hex digits from `at` on, as a signed 32-bit integer. */
function word(digits: string, at: number): number {
  let value = 0;
  for (let each = at; each < at + 8; each += 1) {
    const code = digits.charCodeAt(each);
    let digit = code - 48;
    if (digit < 0 || digit > 9) {
      digit = code - 87;
      if (!(digit >= 10 && digit <= 15)) {
        throw new DiskMapError('INVALID', `hash: must be lowercase hex digits, got "${digits.slice(0, 64)}"`);
      }
    }
    value = (value << 4) | digit;
  }
  return value;
}
