/**
 * Content address → group → shards. Names chunks by BLAKE3-256, places them by the diskmap, writes and reads shards on the disks.
 */

import type { DiskMap } from '../../diskmap/types.js';
import type { Disk } from '../disks/disk.js';
import type { RecordInput, ShardInfo } from '../disks/record.js';
import type { Scheme } from '../erasure/codec.js';
import type { Holder } from './shard-set.js';

/** How a chunk is kept: as copies, or erasure coded. */
export type ChunkScheme = Scheme;

export const MAX_CHUNK_BYTES = 4 * 1024 * 1024;
/** Below this a chunk is kept as replicas: erasure coding costs more than it saves. */
export const SMALL_CHUNK_BYTES = 64 * 1024;

/** How a chunk is to be kept: what a directory's policy says. */
export interface ChunkPolicy {
  /** Instead of its group's. */
  readonly scheme?: ChunkScheme | undefined;
  /** Where that saves room worth the time. */
  readonly isCompressed?: boolean | undefined;
}

/** `healthy`: all shards are on disks that are online; `degraded`: fewer, but enough to read; `lost`: not readable now. */
type Health = 'healthy' | 'degraded' | 'lost';

export interface ChunkHealth {
  readonly health: Health;
  /** `ec:2+1`, `copies:2`; '' if no shard was found. */
  readonly scheme: string;
  readonly shardsPresent: number;
  readonly shardsNeeded: number;
  /** Numbers of the disks that hold a shard. */
  readonly disks: readonly number[];
  /** What of so many bytes is stored, where the chunk is compressed. */
  readonly compressed?: { readonly chunkBytes: number; readonly storedBytes: number } | undefined;
}

/** Bytes of a file that become one chunk, read by the pipeline's worker: from a file (the cache's) or from memory. */
export type ChunkSource =
  | { readonly kind: 'file'; readonly fd: number; readonly position: number; readonly length: number }
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array };

export interface StoredChunk {
  readonly chunk: string;
  readonly chunkBytes: number;
  /** The chunk was there already. */
  readonly deduplicated: boolean;
}

/** A small chunk prepared for the journal round: the records go, per disk, into the same append as the COMMIT. */
export interface PreparedChunk extends StoredChunk {
  /** Empty if deduplicated. */
  readonly records: readonly { readonly disk: Disk; readonly record: RecordInput }[];
  /** How it was asked to be kept. */
  readonly asked?: ChunkPolicy | undefined;
}

/** A chunk that has been read whole, in memory that is used again. */
export interface WholeChunk {
  readonly bytes: Uint8Array;
  /** To be called once: from the next turn of the event loop on the bytes may be others. */
  release(): void;
}

export interface ChunkToSettle {
  readonly chunk: string;
  readonly chunkBytes: number;
}

export interface SettleReport {
  /** Bytes of shards written where they belong. */
  readonly writtenBytes: number;
  readonly removedShards: number;
  /** Chunks that are not wholly where they belong: a disk is away or has no room, or too few shards can be read. */
  readonly unfinished: number;
  /** Of these, the ones of which too few shards can be read. */
  readonly unreadable: readonly string[];
}

export interface MendOptions {
  readonly verify?: boolean;
}

export interface Mended {
  /** How many, and the bytes of them. */
  readonly shardsWritten: number;
  readonly bytesWritten: number;
  /** Of the shards that were there, those that were not what they should be. */
  readonly shardsWrong: number;
}

export interface ChunkStore {
  /** Plain bytes that `store`, `storeSmall` and `prepareSmall` have taken since the start, what was there already included. */
  readonly takenBytes: number;
  /**
   * Reads the source, hashes, and unless the chunk is held healthy already: encodes, places and writes its shards to the data streams of the
   * disks in parallel (not synced: `syncAll` or the commit round does that). Off the event loop. `onRead` is called as soon as the source's bytes have been read, so
   * that they may change again. A disk that fails is skipped: the chunk counts as stored with `needed` shards or more (degraded).
   * NO_SPACE if no group has room, DISK_FAILED if too few disks take it.
   *
   * `asked`, here and below: how to keep it. A scheme: what is held already counts if it survives as many lost disks; what survives fewer is stored
   * again. Where no group can take it so, it is kept as the pool keeps everything. Compressed: what is held already counts, as it is.
   */
  store(source: ChunkSource, onRead: () => void, signal?: AbortSignal, asked?: ChunkPolicy): Promise<StoredChunk>;
  /** For at most SMALL_CHUNK_BYTES: hashes on the calling thread and returns replica records (m+1 of them) instead of writing them; never compressed, since somebody waits for it. `avoid`: disks that just failed. */
  prepareSmall(bytes: Uint8Array, avoid?: ReadonlySet<Disk>, asked?: ChunkPolicy): PreparedChunk;
  /** As `store`, for many small chunks (each at most SMALL_CHUNK_BYTES) at once: replicas, one append per disk to the data stream. Yields to the event loop between slices. */
  storeSmall(
    sources: readonly Uint8Array[],
    signal?: AbortSignal,
    asked?: readonly (ChunkPolicy | undefined)[],
  ): Promise<StoredChunk[]>;
  /** Bytes [from, to) of the chunk: only the shards that cover them are read; decoded from any `needed` if one is missing or corrupt. UNREADABLE. The content hash is checked when the whole chunk is read. They are not to be written to. */
  read(chunk: string, chunkBytes: number, from: number, to: number): Promise<Uint8Array>;
  /** As `read` of all its bytes, for whoever reads much: read from all disks at once into memory that is used again, and decoded and hashed in a worker thread. */
  readWhole(chunk: string, chunkBytes: number): Promise<WholeChunk>;
  /**
   * Writes the shards that a readable chunk lacks where online disks can take them: read, and stored again. With `verify`, every shard that is there is
   * read first, and written anew where it is not what it should be. Nothing is synced. Holds the chunk meanwhile. UNREADABLE; NO_SPACE and DISK_FAILED
   * where nothing can be written, though it should.
   */
  mend(chunk: string, chunkBytes: number, options?: MendOptions): Promise<Mended>;
  /** Of the shards that are there, those that are not what the chunk makes, whose `bytes` have been read whole. Reads all of them. */
  wrongShards(chunk: string, bytes: Uint8Array): Promise<readonly Holder[]>;
  health(chunk: string): ChunkHealth;
  /** From now on new chunks go where this map says, and `settle` brings others there. What lies elsewhere is read as ever. */
  useMap(map: DiskMap): void;
  /** Every scheme that chunks may be asked for under, or ever could: what is kept so is at home. */
  useSchemes(asked: readonly ChunkScheme[]): void;
  /** Chunks that were stored again under a scheme that survives more, since the last call: the shards that they had go when they are settled. */
  takeOutgrown(): ChunkToSettle[];
  /** Whether a shard lies in a bucket that the map has, under the scheme of its group or one that may be asked for. */
  isHome(shard: ShardInfo): boolean;
  /** Whether all shards of the chunk lie where the map wants them, and nowhere else. */
  isSettled(chunk: string, chunkBytes: number): boolean;
  /** Bytes of the disk's shards in buckets that the map does not have. */
  strayBytes(disk: Disk): number;
  /** Brings chunks to where the map wants their shards, and removes them from where it does not, in this order. It is durable when it resolves. See `chunk-settler.ts`. */
  settle(chunks: readonly ChunkToSettle[]): Promise<SettleReport>;
  /**
   * Every chunk that `store`, `storeSmall` or `prepareSmall` has answered with is held, once per answer, until it is released: when the commit
   * that names it has been applied, or will not be. Collection leaves held chunks alone.
   */
  release(chunks: Iterable<string>): void;
  isHeld(chunk: string): boolean;
  /** Chunks released since the last call: those that no commit came to name have no row by which collection would find them. */
  takeReleased(): string[];
  /**
   * Removes all shards of the chunks, none of them held; a store of the same content waits until this is over. Returns those that are gone: where a
   * removal failed, a later call finds the rest. Only for collection, between two rounds (no prepareSmall meanwhile).
   */
  collect(chunks: readonly string[]): Promise<string[]>;
  putSlot(path: string, version: number, bytes: Uint8Array): Promise<void>;
  getSlot(path: string): Promise<{ version: number; bytes: Buffer } | undefined>;
  close(): Promise<void>;
}
