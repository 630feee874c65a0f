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
const SPACE_BYTES = 2 * MAX_CHUNK_BYTES + 64 * 1024;
/** How long spaces are kept when nobody has one. */
const KEEP_MS = 10_000;

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

/** Whether a chunk can be put together in a space with all its shards. */
export function fitsSpace(scheme: ShardScheme, shardBytes: number): boolean {
  return (scheme.erasure ? scheme.k + scheme.m : 1) * shardBytes <= SPACE_BYTES;
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
  readonly #free: ChunkSpace[] = [];
  readonly #taken = new Set<ChunkSpace>();
  #next = 0;
  #idle: Timer | undefined;

  /** `onGone`: nobody has the space any more, nor will. */
  constructor(clock: Clock, onGone: (space: ChunkSpace) => void) {
    this.#clock = clock;
    this.#onGone = onGone;
  }

  take(): ChunkSpace {
    this.#idle?.cancel();
    this.#idle = undefined;
    const space = this.#free.pop() ?? { id: this.#next++, bytes: newBytes() };
    this.#taken.add(space);
    return space;
  }

  give(space: ChunkSpace): void {
    this.#end(space);
    setImmediate(() => {
      this.#free.push(space);
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
    for (const space of this.#free.splice(0)) this.#onGone(space);
  }

  #end(space: ChunkSpace): void {
    assert(this.#taken.delete(space), 'a space is given back or dropped once');
  }
}

function newBytes(): Uint8Array {
  return Buffer.from(new SharedArrayBuffer(SPACE_BYTES));
}
