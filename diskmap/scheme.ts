/** What a group's scheme means for placing: how many buckets it takes, what it gives, what it survives. */
import { DiskMapError } from './disk-map-error.js';
import type { GroupScheme } from './types.js';

const MAX_COPIES = 16;
/** What the erasure codec can do (Cauchy bit matrices with word size 8, as @ronomon/reed-solomon builds them). */
const MAX_K = 24;
const MAX_M = 6;

/** Buckets in a group, each in another failure domain. */
export function schemeWidth(scheme: GroupScheme): number {
  return scheme.kind === 'copies' ? scheme.copies : scheme.k + scheme.m;
}

/** Buckets' worth of plain bytes that a group holds: its weight in the ranking. */
export function schemeWeight(scheme: GroupScheme): number {
  return scheme.kind === 'copies' ? 1 : scheme.k;
}

/** Failure domains that may be lost at the same time without losing a byte. */
export function schemeSurvives(scheme: GroupScheme): number {
  return scheme.kind === 'copies' ? scheme.copies - 1 : scheme.m;
}

/** `ec:2+1`, `copies:2`, as on the command line. */
export function schemeLabel(scheme: GroupScheme): string {
  return scheme.kind === 'copies' ? `copies:${scheme.copies}` : `ec:${scheme.k}+${scheme.m}`;
}

/** Throws DiskMapError INVALID unless the scheme is one that groups can have. */
export function checkScheme(scheme: GroupScheme): void {
  const within = (value: number, least: number, most: number): boolean =>
    Number.isInteger(value) && value >= least && value <= most;
  if (scheme.kind === 'copies') {
    if (!within(scheme.copies, 1, MAX_COPIES)) {
      throw new DiskMapError('INVALID', `scheme copies:${scheme.copies}: from 1 to ${MAX_COPIES} copies are possible`);
    }
  } else if (!within(scheme.k, 2, MAX_K) || !within(scheme.m, 1, MAX_M)) {
    const limits = `k from 2 to ${MAX_K} and m from 1 to ${MAX_M} are possible`;
    throw new DiskMapError('INVALID', `scheme ${schemeLabel(scheme)}: ${limits}`);
  }
}
