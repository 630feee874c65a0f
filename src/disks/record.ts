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
