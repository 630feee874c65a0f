/**
 * A disk as it lies there: a directory that is only read. Its identity and its map may be missing or damaged, since its log says enough: whose
 * records they are (the owner in every header), and which pool they belong to (the bucket ids of shards carry 48 bits of it).
 *
 * Files are opened with O_RDONLY, nothing is locked, and nothing but `cairn-disk.json`, `map` and `log/` is looked at.
 */
import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { decodeMap } from '../../diskmap/codec.js';
import type { DiskMap } from '../../diskmap/types.js';
import type { DiskIdentity } from '../disks/disk.js';
import { decodeIdentity, IDENTITY_FILE } from '../disks/disk-identity.js';
import type { Crc32c } from '../disks/record-codec.js';
import { messageOf, systemCode } from '../errors/cairn-error.js';
import { toCairnError } from '../io/system-error.js';
import { SegmentWalk } from './segment-walk.js';

const SEGMENT = /^(data|journal)-(\d{10})\.log$/;
/** No identity and no map of Cairn's is larger. */
const SMALL_FILE_BYTES = 64 * 1024 * 1024;
/** How much of a segment of a disk without an identity is looked at for a shard that names its pool. */
const SNIFFED_RECORDS = 100_000;
/** Digits of a bucket id that hold the first digits of the pool's id. */
const POOL_FROM = 16;
const POOL_TO = 28;

export interface BareSegment {
  readonly disk: BareDisk;
  readonly path: string;
  readonly stream: 'data' | 'journal';
  /** The number in its name: the generation of its records. */
  readonly number: number;
  readonly sizeBytes: number;
}

export interface BareDisk {
  readonly directory: string;
  /** Device and inode of the directory: tells one given twice under two names. */
  readonly place: string;
  readonly identity: DiskIdentity | undefined;
  /** The pool's id, or its first 12 digits if only the records say it; undefined: nothing says it. */
  readonly pool: string | undefined;
  /** 16 hex digits; undefined: nothing says it. */
  readonly owner: string | undefined;
  readonly map: DiskMap | undefined;
  /** Journal first, each stream ascending. */
  readonly segments: readonly BareSegment[];
  /** What is wrong with it, one sentence each. */
  readonly notes: readonly string[];
}

/** NOT_FOUND if there is no directory; ACCESS, IO if it cannot be listed. A directory without a log gives a disk without segments. */
export function openBareDisk(directory: string, crc32c: Crc32c): BareDisk {
  const notes: string[] = [];
  let place: string;
  try {
    const { dev, ino } = statSync(directory);
    place = `${dev}:${ino}`;
  } catch (error) {
    throw toCairnError(error, 'look at the disk', directory);
  }
  const found = readIdentity(directory, notes);
  const map = readMap(directory, notes);
  const disk: { -readonly [Field in keyof BareDisk]: BareDisk[Field] } = {
    directory,
    place,
    identity: found,
    pool: found?.pool,
    owner: found?.uuid.slice(0, 16),
    map,
    segments: [],
    notes,
  };
  disk.segments = listSegments(disk, notes);
  const owner = mostFrequent(disk.segments.map((segment) => firstOwner(segment, crc32c)));
  if (owner !== undefined && owner !== disk.owner) {
    if (found !== undefined) notes.push(`its ${IDENTITY_FILE} belongs to another disk than its log`);
    disk.identity = undefined;
    disk.owner = owner;
    disk.pool = undefined;
  }
  disk.pool ??= sniffPool(disk, crc32c);
  return disk;
}

/** True if the disk is of the pool with this id, as far as what it says goes; a disk that says nothing is of any. */
export function isOfPool(disk: BareDisk, pool: string): boolean {
  return disk.pool === undefined || disk.pool.startsWith(pool) || pool.startsWith(disk.pool);
}

/** Opens the segment for a walk; whoever asked calls `done`. ACCESS, IO. */
export function openWalk(segment: BareSegment, crc32c: Crc32c): { readonly walk: SegmentWalk; done(): void } {
  const fd = openReadOnly(segment.path);
  const walk = new SegmentWalk(fd, segment.number, segment.sizeBytes, segment.disk.owner, crc32c);
  return { walk, done: () => closeSync(fd) };
}

export function openReadOnly(path: string): number {
  try {
    // O_NONBLOCK: whatever lies there under that name, opening it must not wait.
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw toCairnError(error, 'open', path);
  }
}

function readIdentity(directory: string, notes: string[]): DiskIdentity | undefined {
  const bytes = readSmall(join(directory, IDENTITY_FILE), notes);
  if (bytes === undefined) return undefined;
  try {
    return decodeIdentity(bytes, directory);
  } catch (error) {
    notes.push(messageOf(error));
    return undefined;
  }
}

function readMap(directory: string, notes: string[]): DiskMap | undefined {
  const bytes = readSmall(join(directory, 'map'), notes);
  if (bytes === undefined) return undefined;
  try {
    return decodeMap(bytes);
  } catch (error) {
    notes.push(`${join(directory, 'map')} cannot be used: ${messageOf(error)}`);
    return undefined;
  }
}

/** undefined if it is not there; if it cannot be read, with a note. */
function readSmall(path: string, notes: string[]): Buffer | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT' && systemCode(error) !== 'ENOTDIR')
      notes.push(toCairnError(error, 'read', path).message);
    return undefined;
  }
  try {
    const stats = fstatSync(fd);
    if (stats.isFile() && stats.size <= SMALL_FILE_BYTES) return readFileSync(fd);
    notes.push(`${path} is no file that Cairn has written`);
  } catch (error) {
    notes.push(toCairnError(error, 'read', path).message);
  } finally {
    closeSync(fd);
  }
  return undefined;
}

function listSegments(disk: BareDisk, notes: string[]): BareSegment[] {
  const directory = join(disk.directory, 'log');
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    notes.push(
      systemCode(error) === 'ENOENT'
        ? `${directory} is not there: nothing can be read from this disk`
        : toCairnError(error, 'list', directory).message,
    );
    return [];
  }
  const segments: BareSegment[] = [];
  for (const name of names) {
    const [, stream, number] = SEGMENT.exec(name) ?? [];
    if (stream === undefined) continue;
    const path = join(directory, name);
    try {
      const stats = lstatSync(path);
      if (!stats.isFile()) notes.push(`${path} is not a file`);
      else
        segments.push({
          disk,
          path,
          stream: stream as 'data' | 'journal',
          number: Number(number),
          sizeBytes: stats.size,
        });
    } catch (error) {
      notes.push(toCairnError(error, 'look at', path).message);
    }
  }
  return segments.sort((a, b) => (a.stream < b.stream ? 1 : a.stream > b.stream ? -1 : a.number - b.number));
}

/** The owner that the segment's first record names, if that one is good. */
function firstOwner(segment: BareSegment, crc32c: Crc32c): string | undefined {
  try {
    const fd = openReadOnly(segment.path);
    try {
      const first = new SegmentWalk(fd, segment.number, Math.min(segment.sizeBytes, 128), undefined, crc32c).next();
      return first?.decoded.owner;
    } finally {
      closeSync(fd);
    }
  } catch {
    // The scan meets it again, and says so.
    return undefined;
  }
}

function sniffPool(disk: BareDisk, crc32c: Crc32c): string | undefined {
  for (const segment of disk.segments) {
    try {
      const { walk, done } = openWalk(segment, crc32c);
      try {
        for (let left = SNIFFED_RECORDS; left > 0; left--) {
          const record = walk.next()?.decoded.record;
          if (record === undefined) break;
          if (record.kind === 'shard') return record.info.bucket.slice(POOL_FROM, POOL_TO);
          if (record.kind === 'slot') return record.bucket.slice(POOL_FROM, POOL_TO);
        }
      } finally {
        done();
      }
    } catch {
      // As above.
    }
  }
  return undefined;
}

function mostFrequent(values: readonly (string | undefined)[]): string | undefined {
  const counts = new Map<string, number>();
  let best: string | undefined;
  for (const value of values) {
    if (value === undefined) continue;
    const count = (counts.get(value) ?? 0) + 1;
    counts.set(value, count);
    if (best === undefined || count > (counts.get(best) ?? 0)) best = value;
  }
  return best;
}
