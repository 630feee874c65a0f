/**
 * The record kinds of a log and what each carries. The byte layout is in record-codec.ts.
 * A record is what one append makes: header, payload checksums (CRC32C per 64 KiB), payload, padding.
 */
import type { BucketId } from '../../diskmap/types.js';

/** CRC32C is kept for every so many payload bytes, so that a partial read verifies only what it reads. */
export const CHECKSUM_BLOCK_BYTES = 64 * 1024;

/** How a chunk was cut into shards, as stored in a shard's record: `k` data and `m` parity shards; copies are k = 1, m = copies - 1 with `erasure` false. */
export interface ShardScheme {
  readonly erasure: boolean;
  readonly k: number;
  readonly m: number;
}

/** How a chunk's bytes were compressed before they were cut into shards. */
export interface Compression {
  /** 1 is zstd in blocks (chunks/compressed-chunk.ts); any other is of a later version. Never 0. */
  readonly method: number;
  /** Length of the compressed bytes: what the shards are made from. */
  readonly storedBytes: number;
}

export interface ShardKey {
  readonly bucket: BucketId;
  /** 64 hex digits. */
  readonly chunk: string;
  readonly shard: number;
}

export interface ShardInfo extends ShardKey {
  readonly scheme: ShardScheme;
  /** Plain length of the whole chunk. */
  readonly chunkBytes: number;
  /** undefined: the shards are made from the chunk's bytes as they are. */
  readonly compression: Compression | undefined;
  readonly shardBytes: number;
}

/** What one append takes. `payload` is written as it is; it may be several parts. */
export type RecordInput =
  | { readonly kind: 'shard'; readonly info: ShardInfo; readonly payload: readonly Uint8Array[] }
  | {
      readonly kind: 'commit';
      readonly sequence: number;
      readonly epoch: number;
      readonly acknowledged: number;
      readonly payload: readonly Uint8Array[];
    }
  | {
      readonly kind: 'slot';
      readonly bucket: BucketId;
      readonly path: string;
      readonly version: number;
      readonly payload: readonly Uint8Array[];
    }
  | { readonly kind: 'stage'; readonly sequence: number; readonly payload: readonly Uint8Array[] }
  | {
      /** Kills records of `key` whose log sequence is at most `through`. Kept as long as the segment with the record that it killed is there. */
      readonly kind: 'tombstone';
      readonly key: ShardKey;
      readonly targetSegment: number;
      readonly through: number;
    }
  | {
      readonly kind: 'snapshot';
      readonly sequence: number;
      readonly epoch: number;
      readonly part: number;
      readonly last: boolean;
      readonly payload: readonly Uint8Array[];
    };

export type RecordKind = RecordInput['kind'];

/** Where a record stands in its log. */
export interface RecordLocation {
  /** Numbers are unique on a disk, over both streams, and never given twice. */
  readonly segment: number;
  /** Byte offset of the record's header in the segment file; a multiple of 64. */
  readonly position: number;
  /** Header, checksums, payload and padding together. */
  readonly recordBytes: number;
}

export interface ShardEntry extends ShardInfo, RecordLocation {}

/** Length of what a chunk's shards are made from: of the chunk, or of what it was compressed to. */
export function storedBytes({ chunkBytes, compression }: Pick<ShardInfo, 'chunkBytes' | 'compression'>): number {
  return compression === undefined ? chunkBytes : compression.storedBytes;
}

export function isSameScheme(a: ShardScheme, b: ShardScheme): boolean {
  return a.erasure === b.erasure && a.k === b.k && a.m === b.m;
}

/** Shards of one chunk and scheme fit together only if this holds. */
export function isSameCompression(a: Compression | undefined, b: Compression | undefined): boolean {
  return a === b || (a?.method === b?.method && a?.storedBytes === b?.storedBytes);
}
