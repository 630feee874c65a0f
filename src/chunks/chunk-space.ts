/**
 * Memory in which a whole chunk is put together from its shards: shard i lies at i times their length, so the data shards, one after the other, are the chunk, and nothing is copied
 * once it has been read. Worker threads see the same memory: there what is missing is made and the chunk is hashed.
 * Of a compressed chunk the shards are what it was compressed to, which is unpacked into another space.
 *
 * It is used again and again. Buffers that come and go cost more than all the work on their bytes: the collector, which counts them, ran for more than half of the processor's time of
 * a cold read, and the kernel clears every page of them first.
 *
 * Invariants: a space has one owner from `take` to `give` or `drop`. What has been given back is taken again in a later turn of the event loop at the earliest, so bytes that were answered in
 * this turn hold until its end. A space that somebody may still write to, or write to a disk from, is dropped, never given back.
 */

import { type Compression, type ShardScheme, storedBytes } from '../disks/record.js';
import { codecFor } from '../erasure/codec-for.js';
import { assert, hasCode } from '../errors/cairn-error.js';
import type { Clock, Timer } from '../io/clock.js';
import { MAX_CHUNK_BYTES } from './chunk-store.js';
import { decompressChunk } from './compressed-chunk.js';
import { contentHash } from './content-hash.js';
import { codecScheme } from './shard-scheme.js';

/** A chunk, as much parity, and what rounding shards up adds. Pages that nobody writes to take no memory. */
const LARGEST_BYTES = 2 * MAX_CHUNK_BYTES + 64 * 1024;
/** Smaller spaces have a power of two, from this on: a chunk of 100 KiB would otherwise keep what a large one before it has used. */
const SMALLEST_BYTES = 128 * 1024;
/** How long spaces are kept when nobody has one. */
const KEEP_MS = 10_000;
/** Spaces that nobody has are kept up to this much. */
const FREE_BYTES = 64 * 1024 * 1024;

export interface ChunkSpace {
  readonly id: number;
  readonly bytes: Uint8Array;
}

/** What lies in a space, or will. */
export interface SpaceLayout {
  readonly scheme: ShardScheme;
  readonly chunkBytes: number;
  readonly compression: Compression | undefined;
  readonly shardBytes: number;
  /** Numbers of the shards that are there. */
  readonly there: readonly number[];
  /** Numbers of those that are made from them: all data shards that are not there, and what else is wanted. */
  readonly make: readonly number[];
}

/** Bytes of the space that a chunk with all its shards needs; undefined if it is more than a space may have. */
export function neededSpace(scheme: ShardScheme, shardBytes: number): number | undefined {
  const bytes = (scheme.erasure ? scheme.k + scheme.m : 1) * shardBytes;
  return bytes <= LARGEST_BYTES ? bytes : undefined;
}

/** The shard's place. Copies are all alike and have one place. */
export function shardIn(bytes: Uint8Array, { scheme, shardBytes }: SpaceLayout, shard: number): Uint8Array {
  const at = scheme.erasure ? shard * shardBytes : 0;
  return bytes.subarray(at, at + shardBytes);
}

/** What the shards are made from: the chunk, or what it was compressed to. */
export function storedIn(bytes: Uint8Array, layout: SpaceLayout): Uint8Array {
  return bytes.subarray(0, storedBytes(layout));
}

/**
 * Makes what is to be made, and hashes the chunk, of one that is compressed after it has been unpacked into `plain`: undefined if it cannot be. On the calling thread.
 * INVALID, UNREADABLE, CONFIG.
 */
export function completeSpace(
  bytes: Uint8Array,
  layout: SpaceLayout,
  plain: Uint8Array | undefined,
): string | undefined {
  const { scheme, there, make } = layout;
  if (make.length > 0 && scheme.erasure) {
    const codec = codecFor(codecScheme(scheme));
    const shards: (Uint8Array | undefined)[] = new Array(codec.shards).fill(undefined);
    for (const shard of there) shards[shard] = shardIn(bytes, layout, shard);
    for (const shard of make) codec.rebuild(shards, shard, shardIn(bytes, layout, shard));
  }
  const stored = storedIn(bytes, layout);
  if (layout.compression === undefined) return contentHash(stored);
  assert(plain, 'there is a place for what is unpacked');
  const chunk = plain.subarray(0, layout.chunkBytes);
  try {
    decompressChunk(stored, chunk);
  } catch (error) {
    if (!hasCode(error, 'CORRUPT')) throw error;
    return undefined;
  }
  return contentHash(chunk);
}

export class ChunkSpaces {
  readonly #clock: Clock;
  readonly #onGone: (space: ChunkSpace) => void;
  /** The one that was given back last is the last. */
  readonly #free: ChunkSpace[] = [];
  #freeBytes = 0;
  readonly #taken = new Set<ChunkSpace>();
  #next = 0;
  #idle: Timer | undefined;

  /** `onGone`: nobody has the space any more, nor will. */
  constructor(clock: Clock, onGone: (space: ChunkSpace) => void) {
    this.#clock = clock;
    this.#onGone = onGone;
  }

  /** A space of so many bytes or more. */
  take(bytes: number): ChunkSpace {
    this.#idle?.cancel();
    this.#idle = undefined;
    const size = sizeFor(bytes);
    const at = this.#free.findLastIndex((free) => free.bytes.length === size);
    const space = this.#free[at] ?? { id: this.#next++, bytes: Buffer.from(new SharedArrayBuffer(size)) };
    if (at >= 0) this.#unfree(at);
    this.#taken.add(space);
    return space;
  }

  give(space: ChunkSpace): void {
    this.#end(space);
    setImmediate(() => {
      this.#free.push(space);
      this.#freeBytes += space.bytes.length;
      while (this.#freeBytes > FREE_BYTES) this.#onGone(this.#unfree(0));
      if (this.#taken.size > 0) return;
      this.#idle ??= this.#clock.after(KEEP_MS, () => this.clear());
    });
  }

  drop(space: ChunkSpace): void {
    this.#end(space);
    this.#onGone(space);
  }

  /** Lets go of those that nobody has. */
  clear(): void {
    this.#idle?.cancel();
    this.#idle = undefined;
    while (this.#free.length > 0) this.#onGone(this.#unfree(0));
  }

  #unfree(at: number): ChunkSpace {
    const [space] = this.#free.splice(at, 1);
    assert(space, 'there is one');
    this.#freeBytes -= space.bytes.length;
    return space;
  }

  #end(space: ChunkSpace): void {
    assert(this.#taken.delete(space), 'a space is given back or dropped once');
  }
}

function sizeFor(bytes: number): number {
  assert(bytes <= LARGEST_BYTES, 'no chunk needs more');
  return Math.min(LARGEST_BYTES, Math.max(SMALLEST_BYTES, 2 ** Math.ceil(Math.log2(bytes))));
}
