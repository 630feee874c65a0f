/** Plain bytes that a pool can hold, holds and still takes. */
import { type DiskMap, diskOfBucket, type GroupScheme, plan } from '../../diskmap/index.js';
import type { Disk } from '../disks/disk.js';
import type { BlockReport } from '../vfs/vfs.js';

const BLOCK_BYTES = 4096;
/** Around a shard in its record, at most. */
const RECORD_BYTES = 1024;
/** Without a commit the figures are made anew at most this often. */
const FRESH_MS = 200;

/** Kept back, so that what was taken can be committed: records have headers, and segments and buckets ends that fit nothing. */
const RESERVE_SHARE = 0.02;
const RESERVE_BYTES = 256 * 1024 ** 2;

export interface SpaceFigures {
  readonly usableBytes: number;
  readonly usedBytes: number;
  readonly freeBytes: number;
}

export class PoolSpace {
  readonly #chunkBytes: number;
  #usableBytes = 0;
  /** Plain bytes per byte on disks: 2/3 for 2+1. */
  #efficiency = 0;
  /** The largest shard. */
  #shardBytes = 0;
  #map: DiskMap;
  /** Schemes that directories ask for. */
  #asked: readonly GroupScheme[] = [];
  /** How many times as much as the pool's own the dearest of them takes; 1 if none takes more. */
  #dearness = 1;
  /** Per disk that takes chunks: the bytes of its buckets that are in groups. */
  #grouped: ReadonlyMap<number, number> = new Map();
  readonly #disks: () => readonly Disk[];
  readonly #stagedBytes: () => number;
  readonly #sequence: () => number;
  readonly #nowMs: () => number;
  #figures: SpaceFigures | undefined;
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
    const schemes = [...map.groups.map(({ scheme }) => scheme), ...this.#asked];
    this.#shardBytes = Math.max(
      ...schemes.map((scheme) => this.#chunkBytes / (scheme.kind === 'erasure' ? scheme.k : 1)),
    );
    this.#usableBytes = planned.usableBytes;
    this.#efficiency = planned.overhead === 0 ? 0 : 1 / planned.overhead;
    const costs = this.#asked.map((scheme) => (scheme.kind === 'copies' ? scheme.copies : 1 + scheme.m / scheme.k));
    this.#dearness = Math.max(1, ...costs.map((cost) => cost * this.#efficiency));
    this.#grouped = groupedBytes(map);
    this.#figures = undefined;
  }

  report(): SpaceFigures {
    const now = this.#nowMs();
    const sequence = this.#sequence();
    if (this.#figures === undefined || now - this.#madeMs > FRESH_MS || sequence !== this.#madeAt) {
      this.#figures = this.#make();
      this.#madeMs = now;
      this.#madeAt = sequence;
    }
    return this.#figures;
  }

  /** Whether so many plain bytes more fit. Exact where it matters: figures are made anew when they are near. */
  takes(bytes: number): boolean {
    const wanted = bytes * this.#dearness;
    if (2 * wanted > this.report().freeBytes) this.#figures = undefined;
    return wanted <= this.report().freeBytes;
  }

  #make(): SpaceFigures {
    let live = 0;
    let free = 0;
    let capacity = 0;
    for (const disk of this.#disks()) {
      const space = disk.space();
      live += space.liveBytes;
      // One that is being emptied, or has no part in the map yet, holds what it holds, and takes nothing.
      const grouped = this.#grouped.get(disk.identity.number);
      if (grouped === undefined) continue;
      // The rest of a segment may be just too small for a shard: what is taken must find its place all the same.
      const packed = 1 - (this.#shardBytes + RECORD_BYTES) / disk.identity.dataSegmentBytes;
      // What no group uses takes no chunk, however large the disk is.
      free += Math.min(space.freeBytes * Math.max(0, packed), Math.max(0, grouped - space.liveBytes));
      capacity += grouped;
    }
    // With disks missing the rest still stands for the whole: what it holds is what it holds per capacity.
    const share = capacity === 0 ? 0 : live / capacity;
    const usedBytes = Math.min(this.#usableBytes, Math.round(this.#usableBytes * share));
    const room = Math.min(this.#usableBytes - usedBytes, Math.floor(free * this.#efficiency));
    const reserve = Math.min(RESERVE_BYTES, RESERVE_SHARE * this.#usableBytes);
    const freeBytes = Math.max(0, Math.floor(room - reserve));
    return { usableBytes: this.#usableBytes, usedBytes, freeBytes };
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
