/**
 * What holds for every map, checked where one comes in from outside: out of bytes, or out of a caller's hands. The rest of the folder may then
 * rely on it. Every failure is a DiskMapError INVALID that names the rule and the disk or group.
 */
import { decodeBucketId } from './bucket-id.js';
import { DiskMapError } from './disk-map-error.js';
import { domainKey, FAILURE_DOMAINS } from './failure-domain.js';
import { checkScheme, schemeLabel, schemeWeight, schemeWidth } from './scheme.js';
import type { DiskMap, FailureDomain, Group, MapDisk, SchemeChoice } from './types.js';

/** Highest version of a map: 32 bits in the encoding and in group ids. */
export const MAX_VERSION = 0xffff_ffff;

const HEX_16 = /^[0-9a-f]{16}$/;

/** The part of a map that stays as it was made. */
export interface MapFrame {
  /** 16 hex digits from the pool's id. */
  readonly pool: string;
  readonly bucketBytes: number;
  readonly domain: FailureDomain;
  readonly scheme: SchemeChoice;
}

export function checkFrame(frame: MapFrame): void {
  require(HEX_16.test(frame.pool), `pool "${frame.pool}" must be 16 lowercase hex digits`);
  require(Number.isSafeInteger(frame.bucketBytes) &&
    frame.bucketBytes > 0, `bucketBytes must be a positive integer, got ${frame.bucketBytes}`);
  require(FAILURE_DOMAINS.includes(
    frame.domain,
  ), `failure domain "${frame.domain}" must be one of ${FAILURE_DOMAINS.join(', ')}`);
  if (frame.scheme !== 'auto') checkScheme(frame.scheme);
}

export function checkDisks(disks: readonly MapDisk[]): void {
  const seen = new Set<number>();
  for (const disk of disks) {
    inRange(disk, 'disk', 1, 65_535);
    for (const field of ['site', 'row', 'rack', 'machine'] as const) inRange(disk, field, 0, 255);
    inRange(disk, 'buckets', 0, 65_536);
    require(!seen.has(disk.disk), `disk ${disk.disk} is there twice`);
    seen.add(disk.disk);
  }
}

export function checkMap(map: DiskMap): void {
  require(map.format === 1, `format ${map.format} is not known`);
  require(Number.isInteger(map.version) &&
    map.version >= 1 &&
    map.version <= MAX_VERSION, `version must be from 1 to ${MAX_VERSION}, got ${map.version}`);
  checkFrame(map);
  checkDisks(map.disks);
  const disks = new Map(map.disks.map((disk) => [disk.disk, disk]));
  const ids = new Set<string>();
  const places = new Set<number>();
  for (const group of map.groups) {
    require(!ids.has(group.id), `group ${group.id} is there twice`);
    ids.add(group.id);
    checkGroup(group, map, disks, places);
  }
}

function checkGroup(group: Group, map: DiskMap, disks: ReadonlyMap<number, MapDisk>, places: Set<number>): void {
  require(HEX_16.test(group.id), `group id "${group.id}" must be 16 lowercase hex digits`);
  checkScheme(group.scheme);
  const { id, scheme, buckets } = group;
  require(buckets.length ===
    schemeWidth(
      scheme,
    ), `group ${id} has ${buckets.length} buckets, ${schemeLabel(scheme)} takes ${schemeWidth(scheme)}`);
  require(group.weight ===
    schemeWeight(
      scheme,
    ), `group ${id} has weight ${group.weight}, ${schemeLabel(scheme)} weighs ${schemeWeight(scheme)}`);
  const domains = new Set<number>();
  for (const bucket of buckets) {
    const fields = decodeBucketId(bucket);
    const disk = disks.get(fields.disk);
    require(disk !== undefined, `group ${id} has a bucket on disk ${fields.disk}, which is not in the map`);
    require(fields.site === disk.site &&
      fields.row === disk.row &&
      fields.rack === disk.rack &&
      fields.machine === disk.machine &&
      fields.pool ===
        map.pool.slice(
          0,
          12,
        ), `bucket ${bucket} of group ${id} names another pool or place than disk ${fields.disk} has`);
    require(fields.bucket < disk.buckets, `bucket ${bucket} of group ${id} lies beyond the end of disk ${fields.disk}`);
    const place = fields.disk * 65_536 + fields.bucket;
    require(!places.has(place), `bucket ${fields.bucket} of disk ${fields.disk} is in two places of the map`);
    places.add(place);
    domains.add(domainKey(disk, map.domain));
  }
  require(domains.size === buckets.length, `group ${id} has two buckets on one ${map.domain}`);
}

function inRange(disk: MapDisk, field: keyof MapDisk, least: number, most: number): void {
  const value = disk[field];
  require(Number.isInteger(value) &&
    value >= least &&
    value <= most, `disk ${disk.disk}: ${field} must be an integer from ${least} to ${most}, got ${value}`);
}

function require(holds: boolean, rule: string): asserts holds {
  if (!holds) throw new DiskMapError('INVALID', `disk map: ${rule}`);
}
