/**
 * Epochs tell daemons apart. Each start takes one that is higher than any that the disks know, and no two starts ever take the same, not
 * even where one did not know of the other (each saw only some of the disks): the upper part counts starts, the lower begins at
 * a random number. A round that failed adds one, so that its next attempt wins.
 *
 *   epoch = start (22 bits) · 2^31 + a random number below 2^30 + rounds that failed
 */
import { assert } from '../errors/cairn-error.js';
import type { Random } from '../io/random.js';

const START = 2 ** 31;
/** More failed rounds than one daemon ever sees, fewer than lie between the random numbers of two. */
const ROUNDS_MAX = 2 ** 20;

/** For a daemon that starts now. `known`: the highest epoch found anywhere. */
export function nextEpoch(known: number, random: Random): number {
  const epoch = (Math.floor(known / START) + 1) * START + (random.bytes(4).readUInt32LE() >>> 2);
  assert(Number.isSafeInteger(epoch), 'a pool is not started four million times');
  return epoch;
}

/** Whether `epoch` is one that the daemon has used which began with `first`. */
export function isOfRun(epoch: number, first: number): boolean {
  return epoch >= first && epoch - first < ROUNDS_MAX;
}
