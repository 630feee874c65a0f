/**
 * Pure bytes in, bytes out: how a chunk becomes shards and back. A chunk of `chunkBytes` under scheme k+m becomes k data shards
 * and m parity shards of `shardBytes(chunkBytes)` each (the chunk is padded with zeros to k whole shards, data shard i
 * holding bytes [i*shardBytes, (i+1)*shardBytes)); under copies:r it becomes r equal shards.
 */
export type Scheme =
  | { readonly kind: 'copies'; readonly copies: number }
  | { readonly kind: 'erasure'; readonly k: number; readonly m: number };

export interface Codec {
  readonly scheme: Scheme;
  /** Shards in all: k+m, or the number of copies. */
  readonly shards: number;
  /** Shards that suffice to read: k, or 1. */
  readonly needed: number;
  shardBytes(chunkBytes: number): number;
  /** All shards of the chunk, in order. Data shards may be views of `chunk`. */
  encode(chunk: Uint8Array): Promise<Uint8Array[]>;
  /**
   * The chunk's bytes from any `needed` shards; `shards[i]` is undefined where it is missing. Throws CairnError UNREADABLE if too few are there,
   * INVALID if lengths do not fit.
   */
  decode(shards: readonly (Uint8Array | undefined)[], chunkBytes: number): Promise<Uint8Array>;
  /**
   * Bytes [from, to) of shard `wanted`, from the same byte range of any `needed` other shards (the code works column by column in blocks of
   * `blockBytes`, to which `from` and `to` must be aligned, or `to` at the shard's end).
   */
  rebuild(ranges: readonly (Uint8Array | undefined)[], wanted: number): Promise<Uint8Array>;
  /** Alignment of partial ranges for `rebuild`, in bytes. */
  readonly blockBytes: number;
}

/** `ec:2+1`, `copies:2`. */
export function schemeName(scheme: Scheme): string {
  return scheme.kind === 'copies' ? `copies:${scheme.copies}` : `ec:${scheme.k}+${scheme.m}`;
}
