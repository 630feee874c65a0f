/**
 * Plain bytes that a pool can hold, holds and still takes.
 *
 * What it takes is reckoned group by group, since room on one disk is of no use without room on the others of its group: a group takes as much as the fullest of its
 * buckets leaves, and where a disk cannot fill all of its buckets, its groups share what it can. While disks are away, groups that can do without them take chunks that lack
 * shards; otherwise none are promised. A disk that others have filled is there, so what is free is reckoned with it; but writes go on without it as if it were away. Too little only means that a commit begins sooner; too much would accept what no disk takes.
 */
import { type BucketId, type DiskMap, diskOfBucket, type GroupScheme, plan } from '../../diskmap/index.js';
import { smallScheme } from '../chunks/shard-scheme.js';
import { sliceBytes } from '../chunks/small-writer.js';
import type { Disk } from '../disks/disk.js';
import type { BlockReport } from '../vfs/vfs.js';

const BLOCK_BYTES = 4096;
/** Around a shard in its record, at most. */
const RECORD_BYTES = 1024;
/** Without a commit the figures are made anew at most this often. */
const FRESH_MS = 200;
/** More than can be committed within that: with so much to spare, older figures will do. */
const AHEAD_BYTES = 1024 ** 3;
/** What each disk may leave over when its groups have shared it is shared once more. */
const SHARINGS = 2;

/** Kept back, so that what was taken can be committed: records have headers, and segments and buckets ends that fit nothing. */
const RESERVE_SHARE = 0.02;
const RESERVE_BYTES = 256 * 1024 ** 2;

export interface SpaceFigures {
  readonly usableBytes: number;
  readonly usedBytes: number;
  readonly freeBytes: number;
}

interface MadeFigures extends SpaceFigures {
  /** What is free, or more: without disks that others have filled. */
  readonly takenBytes: number;
}

export class PoolSpace {
  readonly #chunkBytes: number;
  #usableBytes = 0;
  #groups: readonly SharedGroup[] = [];
  /** The largest shard. */
  #shardBytes = 0;
  #map: DiskMap;
  /** Schemes that directories ask for. */
  #asked: readonly GroupScheme[] = [];
  /** How many times as much as large chunks under the pool's own schemes staged bytes may take: as small chunks, which are copies, or under the dearest scheme that is asked for. */
  #dearness = 1;
  /** Per disk that takes chunks: the bytes of its buckets that are in groups. */
  #grouped: ReadonlyMap<number, number> = new Map();
  readonly #disks: () => readonly Disk[];
  readonly #stagedBytes: () => number;
  readonly #sequence: () => number;
  readonly #nowMs: () => number;
  #figures: MadeFigures | undefined;
  #madeMs = 0;
  #madeAt = 0;

  constructor(parts: {
    map: DiskMap;
    /** The largest chunk. */
    chunkBytes: number;
    /** Data disks that are online. */
    disks: () => readonly Disk[];
    /** Bytes that will need room in the pool when they are committed. */
    stagedBytes: () => number;
    /** Grows with every commit: what was staged takes room then. */
    sequence: () => number;
    nowMs: () => number;
  }) {
    this.#chunkBytes = parts.chunkBytes;
    this.#map = parts.map;
    this.useMap(parts.map);
    this.#disks = parts.disks;
    this.#stagedBytes = parts.stagedBytes;
    this.#sequence = parts.sequence;
    this.#nowMs = parts.nowMs;
  }

  /** What is staged may be of directories that ask for these: room is reckoned for the dearest. */
  useSchemes(asked: readonly GroupScheme[]): void {
    this.#asked = asked;
    this.useMap(this.#map);
  }

  useMap(map: DiskMap): void {
    this.#map = map;
    const planned = plan(map);
    this.#usableBytes = planned.usableBytes;
    this.#groups = map.groups.map(({ scheme, buckets }) => {
      const disks = buckets.map(diskOfBucket);
      const needed = scheme.kind === 'erasure' ? scheme.k : 1;
      return { buckets, disks, needed, shardBytes: Math.ceil(this.#chunkBytes / needed) };
    });
    this.#shardBytes = Math.max(0, ...this.#groups.map(({ shardBytes }) => shardBytes));
    const cheapest = Math.min(...map.groups.map(({ scheme }) => costOf(scheme)));
    const dearest = [...map.groups.map(({ scheme }) => scheme), ...this.#asked].flatMap((scheme) => [
      costOf(scheme),
      costOf(smallScheme(scheme)),
    ]);
    this.#dearness = map.groups.length === 0 ? 1 : Math.max(...dearest) / cheapest;
    this.#grouped = groupedBytes(map);
    this.#figures = undefined;
  }

  report(): SpaceFigures {
    return this.#fresh();
  }

  #fresh(): MadeFigures {
    const now = this.#nowMs();
    const sequence = this.#sequence();
    if (this.#figures === undefined || now - this.#madeMs > FRESH_MS || sequence !== this.#madeAt) {
      this.#figures = this.#make();
      this.#madeMs = now;
      this.#madeAt = sequence;
    }
    return this.#figures;
  }

  /** Whether so many plain bytes more fit, in so many files. Exact where it matters: figures are made anew when they are near. */
  takes(bytes: number, files = 0): boolean {
    const wanted = (bytes + files * RECORD_BYTES) * this.#dearness;
    const isFresh = this.#nowMs() - this.#madeMs <= FRESH_MS;
    if (isFresh && this.#figures !== undefined && wanted + AHEAD_BYTES <= this.#figures.takenBytes) return true;
    // What is being committed is still counted as staged until the sequence grows.
    if (wanted <= this.#fresh().takenBytes) return true;
    this.#figures = undefined;
    return wanted <= this.#fresh().takenBytes;
  }

  #make(): MadeFigures {
    const disks = this.#disks();
    const figures = this.#reckon(disks);
    const uncrowded = disks.filter((disk) => !disk.space().isCrowded);
    const withoutBytes = uncrowded.length < disks.length ? this.#reckon(uncrowded).freeBytes : 0;
    return { ...figures, takenBytes: Math.max(figures.freeBytes, withoutBytes) };
  }

  #reckon(disks: readonly Disk[]): SpaceFigures {
    let live = 0;
    let capacity = 0;
    for (const disk of disks) {
      live += disk.space().liveBytes;
      // One that is being emptied, or has no part in the map yet, holds what it holds.
      capacity += this.#grouped.get(disk.identity.number) ?? 0;
    }
    // With disks missing the rest still stands for the whole: what it holds is what it holds per capacity.
    const share = capacity === 0 ? 0 : live / capacity;
    const usedBytes = Math.min(this.#usableBytes, Math.round(this.#usableBytes * share));
    const room = Math.min(this.#usableBytes - usedBytes, this.groupsTake(disks));
    const reserve = Math.min(RESERVE_BYTES, RESERVE_SHARE * this.#usableBytes);
    const freeBytes = Math.max(0, Math.floor(room - reserve));
    return { usableBytes: this.#usableBytes, usedBytes, freeBytes };
  }

  /** Plain bytes that the groups take now by these disks, what is kept back included. */
  groupsTake(online: readonly Disk[] = this.#disks()): number {
    const disks = new Map<number, Disk>();
    const left = new Map<number, number>();
    for (const disk of online) {
      disks.set(disk.identity.number, disk);
      left.set(disk.identity.number, steadyBytes(disk, this.#shardBytes));
    }
    const whole: SharingGroup[] = [];
    const short: SharingGroup[] = [];
    for (const group of this.#groups) {
      const online = group.disks.filter((number) => disks.has(number));
      if (online.length < group.needed) continue;
      let bytes = Number.POSITIVE_INFINITY;
      for (const [i, bucket] of group.buckets.entries()) {
        const disk = disks.get(group.disks[i]!);
        // The end of a bucket is too small for another shard.
        if (disk !== undefined)
          bytes = Math.min(bytes, this.#map.bucketBytes - disk.bucketBytes(bucket) - group.shardBytes - RECORD_BYTES);
      }
      if (bytes > 0) (online.length < group.disks.length ? short : whole).push({ group, online, bytes });
    }
    // What is stored without all of its shards takes less of the disks that are there, and chance may leave it less of them than its share.
    return share(whole, left) + share(short, left);
  }

  /** For statfs: what is in use or staged counts as used, what cannot be used as neither. */
  blocks(): BlockReport {
    const { usedBytes, freeBytes } = this.report();
    return {
      blockBytes: BLOCK_BYTES,
      totalBlocks: Math.floor((usedBytes + freeBytes) / BLOCK_BYTES),
      freeBlocks: Math.floor(Math.max(0, freeBytes - this.#stagedBytes()) / BLOCK_BYTES),
    };
  }
}

interface SharedGroup {
  readonly buckets: readonly BucketId[];
  /** The number of each bucket's disk. */
  readonly disks: readonly number[];
  /** Shards that a chunk is read from: it is so many times as large as one. */
  readonly needed: number;
  /** The largest shard. */
  readonly shardBytes: number;
}

/** A group that takes chunks now, by the disks of it that are there. */
interface SharingGroup {
  readonly group: SharedGroup;
  readonly online: readonly number[];
  /** Of each of its buckets. */
  bytes: number;
}

/** Plain bytes that the groups take of what the disks have left, which becomes less. */
function share(sharing: readonly SharingGroup[], left: Map<number, number>): number {
  let taken = 0;
  for (let round = 0; round < SHARINGS; round++) {
    const wanted = new Map<number, number>();
    for (const { online, bytes } of sharing)
      for (const number of online) wanted.set(number, (wanted.get(number) ?? 0) + bytes);
    const shares = new Map([...wanted].map(([number, bytes]) => [number, Math.min(1, left.get(number)! / bytes)]));
    for (const one of sharing) {
      if (one.bytes <= 0) continue;
      const got = one.bytes * Math.min(...one.online.map((number) => shares.get(number)!));
      one.bytes -= got;
      taken += got * one.group.needed;
      for (const number of one.online) left.set(number, Math.max(0, left.get(number)! - got));
    }
  }
  return taken;
}

/** Bytes on disks for a plain byte. */
function costOf(scheme: GroupScheme): number {
  return scheme.kind === 'copies' ? scheme.copies : 1 + scheme.m / scheme.k;
}

/** What a disk takes of shards, also when the journal has grown by a segment meanwhile, and where the end of each segment is too small for another shard or another slice of small chunks. */
function steadyBytes(disk: Disk, shardBytes: number): number {
  const { dataSegmentBytes, journalSegmentBytes } = disk.identity;
  const { capacityBytes, segmentBytes, freeBytes } = disk.space();
  const left = capacityBytes - segmentBytes - dataSegmentBytes - 2 * journalSegmentBytes;
  const isLast = left >= 0 && left % dataSegmentBytes < journalSegmentBytes;
  const steady = isLast ? freeBytes - dataSegmentBytes : freeBytes;
  const endBytes = Math.max(shardBytes, sliceBytes(dataSegmentBytes)) + RECORD_BYTES;
  return Math.max(0, steady * Math.max(0, 1 - endBytes / dataSegmentBytes));
}

/** Disks that are being emptied have buckets in groups, and none in the map. */
function groupedBytes(map: DiskMap): Map<number, number> {
  const serving = new Set(map.disks.flatMap(({ disk, buckets }) => (buckets > 0 ? [disk] : [])));
  const grouped = new Map<number, number>();
  for (const { buckets } of map.groups)
    for (const bucket of buckets) {
      const disk = diskOfBucket(bucket);
      if (serving.has(disk)) grouped.set(disk, (grouped.get(disk) ?? 0) + map.bucketBytes);
    }
  return grouped;
}
