/** What the loss of one failure domain costs: how much of the pool hangs on it, and what has to be read and written to make everything whole again. */
import { diskOfBucket } from './bucket-id.js';
import { domainKey } from './failure-domain.js';
import { schemeSurvives, schemeWeight } from './scheme.js';
import type { DiskMap } from './types.js';

export interface Loss {
  /** The disks of the failure domain, by number. */
  readonly disks: readonly number[];
  /** Groups with a bucket there. */
  readonly groups: number;
  /** Of all buckets in groups, the part that is there: from 0 to 1. */
  readonly share: number;
  /** Plain bytes that are gone with it: of groups with a single copy. */
  readonly lostBytes: number;
  /** Bytes that have to be written elsewhere if its buckets are full. */
  readonly rebuildBytes: number;
  /** Bytes that have to be read from the others for that: k buckets for each of a k+m group, one for copies. */
  readonly readBytes: number;
}

/** One for each failure domain with buckets in groups, in the order of their lowest disks. */
export function lossesOf(map: DiskMap): Loss[] {
  const keyOf = new Map(map.disks.map((disk) => [disk.disk, domainKey(disk, map.domain)]));
  const losses = new Map<number, { groups: number; lost: number; read: number }>();
  let all = 0;
  for (const { scheme, buckets } of map.groups) {
    const weight = schemeWeight(scheme);
    const single = schemeSurvives(scheme) === 0;
    all += buckets.length;
    for (const bucket of buckets) {
      const key = keyOf.get(diskOfBucket(bucket))!;
      const loss = losses.get(key) ?? { groups: 0, lost: 0, read: 0 };
      // A group has one bucket in a domain, so its buckets there are as many as its groups.
      loss.groups += 1;
      if (single) loss.lost += weight;
      else loss.read += weight;
      losses.set(key, loss);
    }
  }
  const numbers = new Map<number, number[]>();
  for (const { disk } of [...map.disks].sort((a, b) => a.disk - b.disk)) {
    const key = keyOf.get(disk)!;
    if (losses.has(key)) numbers.set(key, [...(numbers.get(key) ?? []), disk]);
  }
  return [...numbers].map(([key, disks]) => {
    const { groups, lost, read } = losses.get(key)!;
    return {
      disks,
      groups,
      share: groups / all,
      lostBytes: lost * map.bucketBytes,
      rebuildBytes: (groups - lost) * map.bucketBytes,
      readBytes: read * map.bucketBytes,
    };
  });
}
