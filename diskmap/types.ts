/** Types of the diskmap. This folder imports nothing, not even `node:`. */

/** 32 lowercase hex digits: site 8, row 8, rack 8, machine 8, disk 16, bucket 16, pool and generation 64 bits. */
export type BucketId = string;

export interface BucketFields {
  readonly site: number;
  readonly row: number;
  readonly rack: number;
  readonly machine: number;
  readonly disk: number;
  readonly bucket: number;
  /** 48 bits from the pool's id (its first 12 hex digits). */
  readonly pool: string;
  /** 16 bits: grows when a bucket's place is given out again. */
  readonly generation: number;
}

export interface MapDisk {
  /** 1–65535, unique in the pool, never reused. */
  readonly disk: number;
  readonly site: number;
  readonly row: number;
  readonly rack: number;
  readonly machine: number;
  /** How many buckets of the map's bucketBytes this disk offers, 0–65536. */
  readonly buckets: number;
}

/** What one loss may take away at most: two buckets of a group never share it. */
export type FailureDomain = 'disk' | 'machine' | 'rack' | 'row' | 'site';

export type GroupScheme =
  | { readonly kind: 'copies'; readonly copies: number }
  | { readonly kind: 'erasure'; readonly k: number; readonly m: number };

export interface Group {
  /** 64-bit id as 16 hex digits; stable as long as the group lives; what the ranking hashes. */
  readonly id: string;
  readonly scheme: GroupScheme;
  /** One bucket per shard, in shard order, on as many failure domains. */
  readonly buckets: readonly BucketId[];
  /** Weight in the ranking: usable bytes of the group in buckets (k for k+m, 1 for copies). */
  readonly weight: number;
}

export type SchemeChoice = 'auto' | GroupScheme;

export interface DiskMap {
  /** Format version of the encoding. */
  readonly format: 1;
  /** Grows with every change of the map. */
  readonly version: number;
  /** 16 hex digits from the pool's id. */
  readonly pool: string;
  readonly bucketBytes: number;
  readonly domain: FailureDomain;
  readonly scheme: SchemeChoice;
  readonly disks: readonly MapDisk[];
  readonly groups: readonly Group[];
}
