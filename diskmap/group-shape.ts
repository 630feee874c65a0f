/**
 * Which groups may be formed of a set of disks: how many buckets of each are parity (or further copies), and how wide a group may be. A fixed scheme has one
 * width. Under `auto` any width between two limits will do, as long as every group survives the same number of losses. `README.md`
 * gives the reasons for the limits.
 */
import { schemeSurvives, schemeWidth } from './scheme.js';
import type { GroupScheme, SchemeChoice } from './types.js';

/** `auto` protects against a second loss where one failure domain holds less than one bucket in so many (5 %). */
const WIDE_SHARE = 20;
/**
 * With one parity bucket no group need be wider than this. A domain then has at least 1/20 of all buckets, so as many groups as that one has
 * buckets, 20 wide at most, hold all buckets and give the theoretical maximum.
 */
const MOST_WITH_ONE = WIDE_SHARE;
/** With two: the widest k that the erasure codec has (24), so that up to 26 equal disks give the theoretical maximum. */
const MOST_WITH_TWO = 26;

export interface GroupShape {
  /** Losses that a group survives: buckets of it that add no room. */
  readonly parity: number;
  /** Buckets of the narrowest group, each in another failure domain. */
  readonly least: number;
  /** Buckets of the widest group. */
  readonly most: number;
  /** The scheme of a group with so many buckets, from `least` to `most`. */
  schemeOf(width: number): GroupScheme;
}

/**
 * `domainBuckets` holds the buckets that each failure domain offers, used or free; `present` the schemes of the groups that are there. What a pool survives
 * never falls because of a disk that is added: where all present groups survive two losses, the new ones do.
 */
export function groupShape(
  choice: SchemeChoice,
  domainBuckets: readonly number[],
  present: readonly GroupScheme[],
): GroupShape {
  if (choice !== 'auto') return fixed(choice);
  const offering = domainBuckets.filter((buckets) => buckets > 0);
  if (offering.length <= 1) return fixed({ kind: 'copies', copies: 1 });
  const total = offering.reduce((sum, buckets) => sum + buckets, 0);
  const largest = offering.reduce((most, buckets) => Math.max(most, buckets), 0);
  const kept = present.length > 0 && present.every((scheme) => schemeSurvives(scheme) >= 2);
  return largest * WIDE_SHARE < total || kept ? flexible(2, MOST_WITH_TWO) : flexible(1, MOST_WITH_ONE);
}

function fixed(scheme: GroupScheme): GroupShape {
  const width = schemeWidth(scheme);
  return { parity: schemeSurvives(scheme), least: width, most: width, schemeOf: () => scheme };
}

function flexible(parity: number, most: number): GroupShape {
  return {
    parity,
    least: parity + 1,
    most,
    schemeOf: (width) =>
      width === parity + 1 ? { kind: 'copies', copies: width } : { kind: 'erasure', k: width - parity, m: parity },
  };
}
