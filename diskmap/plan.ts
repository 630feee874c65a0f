/**
 * What a map, or a map to be made, gives: usable bytes, what they cost, what they survive, and which buckets it cannot use and why. Usable bytes are
 * what its groups give, no estimate: the plan of an input is the plan of the map made from it.
 */
import { diskOfBucket } from './bucket-id.js';
import { usableBound } from './comparison.js';
import { createMap, type MapInput } from './create-map.js';
import { countDomains, domainKey } from './failure-domain.js';
import { type GroupShape, groupShape } from './group-shape.js';
import { type Loss, lossesOf } from './losses.js';
import { schemeLabel, schemeSurvives, schemeWeight, schemeWidth } from './scheme.js';
import type { DiskMap, GroupScheme } from './types.js';

interface PlannedScheme {
  readonly scheme: GroupScheme;
  readonly groups: number;
  readonly usableBytes: number;
}

interface UnusableBuckets {
  readonly disk: number;
  readonly buckets: number;
  readonly bytes: number;
  /** A whole sentence for the user. */
  readonly reason: string;
}

export interface Plan {
  /** All buckets that the disks offer, in bytes. */
  readonly rawBytes: number;
  /** Plain bytes that the groups hold. */
  readonly usableBytes: number;
  /**
   * The theoretical maximum: the most that any system can hold in these buckets if it survives as many losses. A pool that has grown may be below, since
   * groups keep their schemes.
   */
  readonly boundBytes: number;
  /** Bytes of the groups' buckets for each usable byte: 1.5 for 2+1, 2 for two copies. */
  readonly overhead: number;
  /** Failure domains (disks, unless so configured) whose loss at the same time loses nothing. */
  readonly survives: number;
  /** In the order in which the map first uses them. */
  readonly schemes: readonly PlannedScheme[];
  /** Disks with buckets in no group, by number. */
  readonly unusable: readonly UnusableBuckets[];
  /** What the loss of each disk (failure domain) would cost. */
  readonly losses: readonly Loss[];
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
  const domains = domainBuckets(map);
  const schemesPresent = map.groups.map(({ scheme }) => scheme);
  const shape = groupShape(map.scheme, domains, schemesPresent);
  return {
    rawBytes: offered * map.bucketBytes,
    usableBytes: usable * map.bucketBytes,
    boundBytes: usableBound(domains, map.groups.length === 0 ? shape.parity : survives) * map.bucketBytes,
    overhead: usable === 0 ? 0 : grouped / usable,
    survives: map.groups.length === 0 ? 0 : survives,
    schemes: [...schemes.values()].map(({ scheme, groups }) => ({
      scheme,
      groups,
      usableBytes: groups * schemeWeight(scheme) * map.bucketBytes,
    })),
    unusable: unusableBuckets(map, shape),
    losses: lossesOf(map),
    warnings: warnings(map),
  };
}

/** Buckets that each failure domain offers. */
function domainBuckets(map: DiskMap): number[] {
  const domains = new Map<number, number>();
  for (const disk of map.disks) {
    const key = domainKey(disk, map.domain);
    domains.set(key, (domains.get(key) ?? 0) + disk.buckets);
  }
  return [...domains.values()];
}

function unusableBuckets(map: DiskMap, shape: GroupShape): UnusableBuckets[] {
  const free = new Map(map.disks.map((disk) => [disk.disk, disk.buckets]));
  for (const group of map.groups) {
    for (const bucket of group.buckets) {
      const disk = diskOfBucket(bucket);
      free.set(disk, free.get(disk)! - 1);
    }
  }
  const open = new Set(map.disks.filter(({ disk }) => free.get(disk)! > 0).map((disk) => domainKey(disk, map.domain)));
  const why = whyUnusable(map, shape, open.size);
  return map.disks
    .filter(({ disk }) => free.get(disk)! > 0)
    .map(({ disk, buckets }) => {
      const unused = free.get(disk)!;
      const reason = `${unused} of the ${buckets} buckets of disk ${disk} cannot be used: ${why}.`;
      return { disk, buckets: unused, bytes: unused * map.bucketBytes, reason };
    });
}

function whyUnusable({ domain, scheme }: DiskMap, { least, schemeOf }: GroupShape, open: number): string {
  const missing = least - open;
  if (missing <= 0) return 'no group has been formed with them yet';
  const group = scheme === 'auto' ? 'the smallest group' : `a group of ${schemeLabel(schemeOf(least))}`;
  const has = open === 1 ? 'has' : 'have';
  const are = missing === 1 ? 'is' : 'are';
  return `${group} takes a bucket on each of ${countDomains(least, domain)}, and only ${countDomains(open, domain)} ${has} any left; they can be used when ${countDomains(missing, domain)} more ${are} there`;
}

function warnings(map: DiskMap): string[] {
  const list: string[] = [];
  const single = map.groups.filter(({ scheme }) => schemeSurvives(scheme) === 0);
  if (single.length > 0) {
    const disks = new Set(single.flatMap(({ buckets }) => buckets.map(diskOfBucket)));
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
