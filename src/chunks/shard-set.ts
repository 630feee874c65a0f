/**
 * What the disks hold of a chunk. Shards are kept apart by scheme, length and compression only, not by group: a shard is a pure function of the
 * chunk, or of what it was compressed to, and its scheme, so shards from an old place and a new one complete each other while the map changes.
 */
import type { Disk } from '../disks/disk.js';
import {
  type Compression,
  isSameCompression,
  isSameScheme,
  type ShardEntry,
  type ShardScheme,
  storedBytes,
} from '../disks/record.js';
import { type Codec, schemeName } from '../erasure/codec.js';
import { codecFor } from '../erasure/codec-for.js';
import { hasCode } from '../errors/cairn-error.js';
import { isKnown } from './compressed-chunk.js';
import { codecScheme } from './shard-scheme.js';

export interface Holder {
  readonly disk: Disk;
  /** The disk's number in the diskmap. */
  readonly number: number;
  readonly entry: ShardEntry;
}

/** Disks by their number in the diskmap. May change at any time; undefined or absent: the disk is missing. */
export type Disks = ReadonlyMap<number, Disk | undefined>;

export class ShardSet {
  readonly scheme: ShardScheme;
  readonly codec: Codec;
  readonly chunkBytes: number;
  readonly compression: Compression | undefined;
  /** By shard number; those on online disks first. */
  readonly holders: Holder[][];

  constructor(entry: ShardEntry, codec: Codec) {
    this.scheme = entry.scheme;
    this.codec = codec;
    this.chunkBytes = entry.chunkBytes;
    this.compression = entry.compression;
    this.holders = Array.from({ length: codec.shards }, () => []);
  }

  get name(): string {
    return schemeName(this.codec.scheme);
  }

  /** Length of what the shards are made from. */
  get storedBytes(): number {
    return storedBytes(this);
  }

  get shardBytes(): number {
    return this.codec.shardBytes(this.storedBytes);
  }

  /** Disks that may be lost while every shard is there. */
  get survives(): number {
    return this.codec.shards - this.codec.needed;
  }

  /** Different shards that can be read. */
  get present(): number {
    let count = 0;
    for (const holders of this.holders) if (holders.length > 0) count++;
    return count;
  }

  get readable(): boolean {
    return this.present >= this.codec.needed;
  }

  /** All shards are there, on online disks, no two on one disk. */
  get healthy(): boolean {
    const disks = new Set<number>();
    for (const holders of this.holders) {
      let online = false;
      for (const { disk, number } of holders) {
        if (disk.state !== 'online') continue;
        online = true;
        disks.add(number);
      }
      if (!online) return false;
    }
    return disks.size >= this.codec.shards;
  }
}

/**
 * Everything that the disks hold of the chunk, best first: healthy (of these, what survives most), then readable, then the rest. Every disk is asked for the chunk in
 * whichever bucket: one index look-up per disk, where a walk over the ranking would ask every bucket of the pool about a chunk that is new.
 */
export function locate(disks: Disks, chunk: string, avoid?: ReadonlySet<Disk>): ShardSet[] {
  const sets: ShardSet[] = [];
  for (const [number, disk] of disks) {
    if (disk === undefined || disk.state === 'offline' || avoid?.has(disk)) continue;
    for (const entry of disk.findAnywhere(chunk)) {
      let set = sets.find((candidate) => fits(candidate, entry));
      if (set === undefined) {
        const codec = codecOf(entry);
        if (codec === undefined) continue;
        set = new ShardSet(entry, codec);
        sets.push(set);
      }
      const holders = set.holders[entry.shard];
      // A record that contradicts itself cannot be used and is left to scrub.
      if (holders === undefined || set.shardBytes !== entry.shardBytes) continue;
      if (disk.state === 'online') holders.unshift({ disk, number, entry });
      else holders.push({ disk, number, entry });
    }
  }
  return sets.length < 2 ? sets : sets.sort((a, b) => rank(b) - rank(a));
}

/** Whether some disk has shards of the chunk that a later version has compressed: they can neither be read nor taken for nothing. */
export function isOfLaterVersion(disks: Disks, chunk: string): boolean {
  return [...disks.values()].some(
    (disk) =>
      disk !== undefined &&
      disk.state !== 'offline' &&
      disk.findAnywhere(chunk).some(({ compression }) => !isKnown(compression)),
  );
}

/** Whether shards of the two complete each other; both are of one chunk. */
export function fits(
  set: Pick<ShardSet, 'chunkBytes' | 'scheme' | 'compression'>,
  entry: Pick<ShardSet, 'chunkBytes' | 'scheme' | 'compression'>,
): boolean {
  return (
    set.chunkBytes === entry.chunkBytes &&
    isSameCompression(set.compression, entry.compression) &&
    isSameScheme(set.scheme, entry.scheme)
  );
}

/** undefined: written by a version that knows more schemes or compressions, or a record that contradicts itself. */
function codecOf(entry: ShardEntry): Codec | undefined {
  if (entry.chunkBytes < 1 || !isKnown(entry.compression)) return undefined;
  // What is compressed is shorter than it was; so a length is at most that of a chunk, whatever the record says.
  if (entry.compression !== undefined && !isBetween(entry.compression.storedBytes, 1, entry.chunkBytes))
    return undefined;
  try {
    return codecFor(codecScheme(entry.scheme));
  } catch (error) {
    if (hasCode(error, 'CONFIG')) return undefined;
    throw error;
  }
}

function isBetween(bytes: number, from: number, to: number): boolean {
  return bytes >= from && bytes < to;
}

function rank(set: ShardSet): number {
  return (set.healthy ? 2 + set.survives : set.readable ? 1 : 0) + set.present / 100;
}
