/**
 * The encoding of a map: what lies on every disk. All integers little-endian.
 *
 *     header, 48 bytes                               disk, 12 bytes each            group, 12 + 6·n bytes each
 *      0  8  magic "CAIRNMAP"                         0  2  disk                     0  8  id
 *      8  2  format, 1                                2  1  site                     8  3  scheme, as in the header, never auto
 *     10  1  failure domain: 0 disk, 1 machine,       3  1  row                     11  1  zero
 *            2 rack, 3 row, 4 site                    4  1  rack                    12 6·n the n buckets, in shard order, each
 *     11  3  scheme: kind (0 auto, 1 copies,          5  1  machine                         0  2  disk
 *            2 erasure), copies or k, m               6  2  zero                            2  2  bucket
 *     14  2  zero                                     8  4  buckets                         4  2  generation
 *     16  4  length of all, with the checksum
 *     20  4  version                                 checksum, 4 bytes: CRC-32 of all before it
 *     24  8  bytes of a bucket
 *     32  8  pool                                    The 8 bytes of pool and of group ids are their hex digits in pairs,
 *     40  4  number of disks                         from the left.
 *     44  4  number of groups
 *
 * What follows from something else is not stored (the rest of a bucket id from its disk and pool, n and the weight from the scheme), so
 * it cannot contradict. A released format is never edited: a change gets a new format number.
 */
import { encodeBucketId } from './bucket-id.js';
import { checkMap } from './check-map.js';
import { crc32 } from './crc32.js';
import { DiskMapError } from './disk-map-error.js';
import { FAILURE_DOMAINS } from './failure-domain.js';
import { schemeWeight, schemeWidth } from './scheme.js';
import type { DiskMap, Group, GroupScheme, MapDisk, SchemeChoice } from './types.js';

const MAGIC = 'CAIRNMAP';
const FORMAT = 1;
const HEADER_BYTES = 48;
const DISK_BYTES = 12;
const GROUP_BYTES = 12;
const BUCKET_BYTES = 6;
const CHECKSUM_BYTES = 4;
/** No map comes near it; a length beyond is damage, and nothing is allocated for it. */
const MAX_BYTES = 64 * 1024 * 1024;

/** The bytes of a map. Throws DiskMapError INVALID for a map that breaks a rule of `types.ts`. */
export function encodeMap(map: DiskMap): Uint8Array {
  checkMap(map);
  let length = HEADER_BYTES + map.disks.length * DISK_BYTES + CHECKSUM_BYTES;
  for (const { buckets } of map.groups) length += GROUP_BYTES + buckets.length * BUCKET_BYTES;
  if (length > MAX_BYTES) throw new DiskMapError('INVALID', `disk map: its ${length} bytes are more than ${MAX_BYTES}`);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < MAGIC.length; at += 1) bytes[at] = MAGIC.charCodeAt(at);
  view.setUint16(8, FORMAT, true);
  bytes[10] = FAILURE_DOMAINS.indexOf(map.domain);
  putScheme(bytes, 11, map.scheme);
  view.setUint32(16, length, true);
  view.setUint32(20, map.version, true);
  view.setBigUint64(24, BigInt(map.bucketBytes), true);
  putHex(view, 32, map.pool);
  view.setUint32(40, map.disks.length, true);
  view.setUint32(44, map.groups.length, true);
  let at = HEADER_BYTES;
  for (const disk of map.disks) {
    view.setUint16(at, disk.disk, true);
    bytes.set([disk.site, disk.row, disk.rack, disk.machine], at + 2);
    view.setUint32(at + 8, disk.buckets, true);
    at += DISK_BYTES;
  }
  for (const group of map.groups) {
    putHex(view, at, group.id);
    putScheme(bytes, at + 8, group.scheme);
    at += GROUP_BYTES;
    for (const bucket of group.buckets) {
      view.setUint16(at, Number.parseInt(bucket.slice(8, 12), 16), true);
      view.setUint16(at + 2, Number.parseInt(bucket.slice(12, 16), 16), true);
      view.setUint16(at + 4, Number.parseInt(bucket.slice(28, 32), 16), true);
      at += BUCKET_BYTES;
    }
  }
  view.setUint32(at, crc32(bytes.subarray(0, at)), true);
  return bytes;
}

/** The map that `encodeMap` made these bytes of. Throws DiskMapError CORRUPT for any others. */
export function decodeMap(bytes: Uint8Array): DiskMap {
  const view = checkEnvelope(bytes);
  const frame = {
    format: FORMAT as 1,
    version: view.getUint32(20, true),
    pool: getHex(view, 32),
    bucketBytes: Number(view.getBigUint64(24, true)),
    domain: FAILURE_DOMAINS[bytes[10]!] ?? corrupt(`failure domain ${bytes[10]} is not known`),
    scheme: getScheme(bytes, 11),
  };
  requireZero(view.getUint16(14, true));

  const body = bytes.length - HEADER_BYTES - CHECKSUM_BYTES;
  const diskCount = view.getUint32(40, true);
  const groupCount = view.getUint32(44, true);
  if (diskCount * DISK_BYTES + groupCount * (GROUP_BYTES + BUCKET_BYTES) > body) {
    corrupt(`${diskCount} disks and ${groupCount} groups do not fit into ${bytes.length} bytes`);
  }
  const end = HEADER_BYTES + body;
  const disks = new Map<number, MapDisk>();
  const list: MapDisk[] = [];
  for (let at = HEADER_BYTES; list.length < diskCount; at += DISK_BYTES) {
    const disk = getDisk(view, at);
    disks.set(disk.disk, disk);
    list.push(disk);
  }
  let at = HEADER_BYTES + diskCount * DISK_BYTES;
  const groups: Group[] = [];
  for (; groups.length < groupCount; ) {
    if (at + GROUP_BYTES > end) corrupt(`it ends within group ${groups.length} of ${groupCount}`);
    const scheme = getScheme(bytes, at + 8);
    if (scheme === 'auto') return corrupt(`group ${groups.length} has no scheme`);
    requireZero(bytes[at + 11]!);
    const next = at + GROUP_BYTES + schemeWidth(scheme) * BUCKET_BYTES;
    if (next > end) corrupt(`it ends within group ${groups.length} of ${groupCount}`);
    const buckets: string[] = [];
    for (let member = at + GROUP_BYTES; member < next; member += BUCKET_BYTES) {
      buckets.push(getBucket(view, member, disks, frame.pool));
    }
    groups.push({ id: getHex(view, at), scheme, buckets, weight: schemeWeight(scheme) });
    at = next;
  }
  if (at !== end) corrupt(`${end - at} bytes are left over`);

  const map: DiskMap = { ...frame, disks: list, groups };
  try {
    checkMap(map);
  } catch (error) {
    if (error instanceof DiskMapError) throw new DiskMapError('CORRUPT', error.message);
    throw error;
  }
  return map;
}

/** Checks all that can be checked without looking inside: magic, format, length, checksum. */
function checkEnvelope(bytes: Uint8Array): DataView {
  if (bytes.length < HEADER_BYTES + CHECKSUM_BYTES) corrupt(`${bytes.length} bytes are too few`);
  if (bytes.length > MAX_BYTES) corrupt(`${bytes.length} bytes are too many`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < MAGIC.length; at += 1) {
    if (bytes[at] !== MAGIC.charCodeAt(at)) corrupt('it does not begin with CAIRNMAP');
  }
  const format = view.getUint16(8, true);
  if (format !== FORMAT) corrupt(`format ${format} is not known to this version of Cairn, which reads ${FORMAT}`);
  const length = view.getUint32(16, true);
  if (length !== bytes.length) corrupt(`it says that it has ${length} bytes, and has ${bytes.length}`);
  const sum = bytes.length - CHECKSUM_BYTES;
  if (view.getUint32(sum, true) !== crc32(bytes.subarray(0, sum))) corrupt('its checksum does not match');
  return view;
}

function putScheme(bytes: Uint8Array, at: number, scheme: SchemeChoice): void {
  if (scheme === 'auto') bytes.set([0, 0, 0], at);
  else if (scheme.kind === 'copies') bytes.set([1, scheme.copies, 0], at);
  else bytes.set([2, scheme.k, scheme.m], at);
}

function getScheme(bytes: Uint8Array, at: number): SchemeChoice {
  const [kind, first, second] = [bytes[at]!, bytes[at + 1]!, bytes[at + 2]!];
  const scheme: SchemeChoice | undefined =
    kind === 0 && first === 0 && second === 0
      ? 'auto'
      : kind === 1 && second === 0
        ? ({ kind: 'copies', copies: first } satisfies GroupScheme)
        : kind === 2
          ? { kind: 'erasure', k: first, m: second }
          : undefined;
  return scheme ?? corrupt(`scheme ${kind},${first},${second} is not known`);
}

function getDisk(view: DataView, at: number): MapDisk {
  requireZero(view.getUint16(at + 6, true));
  return {
    disk: view.getUint16(at, true),
    site: view.getUint8(at + 2),
    row: view.getUint8(at + 3),
    rack: view.getUint8(at + 4),
    machine: view.getUint8(at + 5),
    buckets: view.getUint32(at + 8, true),
  };
}

function getBucket(view: DataView, at: number, disks: ReadonlyMap<number, MapDisk>, pool: string): string {
  const number = view.getUint16(at, true);
  const place = disks.get(number) ?? corrupt(`a bucket lies on disk ${number}, which is not in the map`);
  const { site, row, rack, machine, disk } = place;
  const bucket = view.getUint16(at + 2, true);
  const generation = view.getUint16(at + 4, true);
  return encodeBucketId({ site, row, rack, machine, disk, bucket, pool: pool.slice(0, 12), generation });
}

function putHex(view: DataView, at: number, digits: string): void {
  view.setUint32(at, Number.parseInt(digits.slice(0, 8), 16));
  view.setUint32(at + 4, Number.parseInt(digits.slice(8, 16), 16));
}

function getHex(view: DataView, at: number): string {
  const half = (from: number): string => view.getUint32(from).toString(16).padStart(8, '0');
  return half(at) + half(at + 4);
}

function requireZero(reserved: number): void {
  if (reserved !== 0) corrupt('bytes that must be zero are not');
}

function corrupt(what: string): never {
  throw new DiskMapError('CORRUPT', `encoded disk map: ${what}`);
}
