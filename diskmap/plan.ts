/**
 * What a map, or a map to be made, gives: usable bytes, what they cost, what they survive, and which buckets it cannot use and why. Usable bytes are
 * what its groups give, no estimate: the plan of an input is the plan of the map made from it.
 */
import { decodeBucketId } from './bucket-id.js';
import { createMap, type MapInput } from './create-map.js';
import { countDomains, domainKey } from './failure-domain.js';
import { schemeLabel, schemeLadder, schemeSurvives, schemeWeight, schemeWidth } from './scheme.js';
import type { DiskMap, GroupScheme } from './types.js';

interface PlannedScheme {
  readonly scheme: GroupScheme;
  readonly groups: number;
  readonly usableBytes: number;
}

interface UnusableBuckets {
  readonly disk: number;
  readonly buckets: number;
  /** A whole sentence for the user. */
  readonly reason: string;
}

export interface Plan {
  /** All buckets that the disks offer, in bytes. */
  readonly rawBytes: number;
  /** Plain bytes that the groups hold. */
  readonly usableBytes: number;
  /** Bytes of the groups' buckets for each usable byte: 1.5 for 2+1, 2 for two copies. */
  readonly overhead: number;
  /** Failure domains (disks, unless so configured) whose loss at the same time loses nothing. */
  readonly survives: number;
  /** In the order in which the map first uses them. */
  readonly schemes: readonly PlannedScheme[];
  /** Disks with buckets in no group, by number. */
  readonly unusable: readonly UnusableBuckets[];
  /** Whole sentences on what is not protected, and on disks that give nothing. */
  readonly warnings: readonly string[];
}

/** Plans a map as it is, or the map that `createMap` would make. Throws what `createMap` throws. */
export function plan(of: DiskMap | MapInput): Plan {
  const map = 'groups' in of ? of : createMap(of);
  let offered = 0;
  for (const disk of map.disks) offered += disk.buckets;
  let grouped = 0;
  let usable = 0;
  let survives = Number.POSITIVE_INFINITY;
  const schemes = new Map<string, { scheme: GroupScheme; groups: number }>();
  for (const { scheme } of map.groups) {
    grouped += schemeWidth(scheme);
    usable += schemeWeight(scheme);
    survives = Math.min(survives, schemeSurvives(scheme));
    const label = schemeLabel(scheme);
    const entry = schemes.get(label);
    if (entry === undefined) schemes.set(label, { scheme, groups: 1 });
    else entry.groups += 1;
  }
  return {
    rawBytes: offered * map.bucketBytes,
    usableBytes: usable * map.bucketBytes,
    overhead: usable === 0 ? 0 : grouped / usable,
    survives: map.groups.length === 0 ? 0 : survives,
    schemes: [...schemes.values()].map(({ scheme, groups }) => ({
      scheme,
      groups,
      usableBytes: groups * schemeWeight(scheme) * map.bucketBytes,
    })),
    unusable: unusableBuckets(map),
    warnings: warnings(map),
  };
}

function unusableBuckets(map: DiskMap): UnusableBuckets[] {
  const free = new Map(map.disks.map((disk) => [disk.disk, disk.buckets]));
  for (const group of map.groups) {
    for (const bucket of group.buckets) {
      const { disk } = decodeBucketId(bucket);
      free.set(disk, free.get(disk)! - 1);
    }
  }
  const domains = new Map<number, number>();
  for (const disk of map.disks) {
    const key = domainKey(disk, map.domain);
    domains.set(key, (domains.get(key) ?? 0) + disk.buckets);
  }
  const narrowest = schemeLadder(map.scheme, [...domains.values()]).at(-1)!;
  const needed = schemeWidth(narrowest);
  const open = new Set(map.disks.filter(({ disk }) => free.get(disk)! > 0).map((disk) => domainKey(disk, map.domain)));
  const why =
    open.size < needed
      ? `a group of ${schemeLabel(narrowest)} takes a bucket on each of ${countDomains(needed, map.domain)}, and only ${countDomains(open.size, map.domain)} ${open.size === 1 ? 'has' : 'have'} any left`
      : 'no group has been formed with them yet';
  return map.disks
    .filter(({ disk }) => free.get(disk)! > 0)
    .map(({ disk, buckets }) => {
      const unused = free.get(disk)!;
      const reason = `${unused} of the ${buckets} buckets of disk ${disk} cannot be used: ${why}.`;
      return { disk, buckets: unused, reason };
    });
}

function warnings(map: DiskMap): string[] {
  const list: string[] = [];
  const single = map.groups.filter(({ scheme }) => schemeSurvives(scheme) === 0);
  if (single.length > 0) {
    const disks = new Set(single.flatMap(({ buckets }) => buckets.map((bucket) => decodeBucketId(bucket).disk)));
    const which = disks.size === 1 ? `disk ${[...disks].join()}` : 'any of their disks';
    list.push(
      `${single.length} of ${map.groups.length} groups keep one copy only: losing ${which} loses the files in them.`,
    );
  }
  for (const { disk, buckets } of map.disks) {
    if (buckets === 0)
      list.push(`Disk ${disk} offers no bucket: it is smaller than one bucket of ${map.bucketBytes} bytes.`);
  }
  return list;
}
