/** The scheme as a shard's record spells it, and as the codecs do. */
import type { ShardScheme } from '../disks/record.js';
import type { Scheme } from '../erasure/codec.js';

export function codecScheme(scheme: ShardScheme): Scheme {
  return scheme.erasure
    ? { kind: 'erasure', k: scheme.k, m: scheme.m }
    : { kind: 'copies', copies: scheme.k + scheme.m };
}

export function shardScheme(scheme: Scheme): ShardScheme {
  return scheme.kind === 'erasure'
    ? { erasure: true, k: scheme.k, m: scheme.m }
    : { erasure: false, k: 1, m: scheme.copies - 1 };
}

/** How a small chunk is kept in a group of this scheme: as many copies as losses that the group survives, and one more. */
export function smallScheme(scheme: Scheme): Scheme {
  return scheme.kind === 'erasure' ? { kind: 'copies', copies: scheme.m + 1 } : scheme;
}
