/**
 * Pure bytes in, bytes out: how a chunk becomes shards and back. A chunk of `chunkBytes` under scheme k+m becomes k data shards
 * and m parity shards of `shardBytes(chunkBytes)` each (the chunk is padded with zeros to k whole shards, data shard i
 * holding bytes [i*shardBytes, (i+1)*shardBytes)); under copies:r it becomes r equal shards.
 *
 * A codec computes on the calling thread: 4 MiB take well under a millisecond, less than a hop to a thread pool and back costs.
 * A shard is a pure function of the chunk's bytes and the scheme, so shards of one chunk and one scheme fit together wherever they lie.
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
  /** Length of every shard of a chunk of `chunkBytes` (1 or more). */
  shardBytes(chunkBytes: number): number;
  /**
   * All shards of the chunk, in order. Data shards are views of `chunk` where they lie in it whole; parity is written to `parity`
   * (at least (shards - needed) * shardBytes long; allocated if it is not given).
   */
  encode(chunk: Uint8Array, parity?: Uint8Array): Uint8Array[];
  /**
   * The chunk's bytes from any `needed` shards; `shards[i]` is undefined where it is missing. Throws CairnError UNREADABLE if too few are there,
   * INVALID if lengths do not fit.
   */
  decode(shards: readonly (Uint8Array | undefined)[], chunkBytes: number): Uint8Array;
  /**
   * Bytes [from, to) of shard `wanted`, from the same byte range of any `needed` other shards. `from` must be a multiple of `blockBytes`, and
   * `to` too or the shard's end. With `into` (as long as the ranges) they are put there, and it is what is returned. UNREADABLE if too few are there, INVALID if lengths do not fit.
   */
  rebuild(ranges: readonly (Uint8Array | undefined)[], wanted: number, into?: Uint8Array): Uint8Array;
  /** Alignment of partial ranges for `rebuild`, in bytes. */
  readonly blockBytes: number;
}

/** `ec:2+1`, `copies:2`. */
export function schemeName(scheme: Scheme): string {
  return scheme.kind === 'copies' ? `copies:${scheme.copies}` : `ec:${scheme.k}+${scheme.m}`;
}
