/** `r` equal shards, each the chunk itself: what small chunks and pools of two disks use. Nothing is copied. */
import { assert, CairnError } from '../errors/cairn-error.js';
import type { Codec, Scheme } from './codec.js';

export class CopiesCodec implements Codec {
  readonly scheme: Scheme;
  readonly shards: number;
  readonly needed = 1;
  readonly blockBytes = 1;

  /** CONFIG if `copies` is not between 1 and 32. */
  constructor(copies: number) {
    if (!Number.isInteger(copies) || copies < 1 || copies > 32) {
      throw new CairnError('CONFIG', `${copies} copies are not possible`, { hint: 'choose from 1 to 32' });
    }
    this.scheme = { kind: 'copies', copies };
    this.shards = copies;
  }

  shardBytes(chunkBytes: number): number {
    assert(Number.isInteger(chunkBytes) && chunkBytes > 0, 'a chunk has at least one byte');
    return chunkBytes;
  }

  encode(chunk: Uint8Array): Uint8Array[] {
    assert(chunk.length > 0, 'a chunk has at least one byte');
    return new Array<Uint8Array>(this.shards).fill(chunk);
  }

  decode(shards: readonly (Uint8Array | undefined)[], chunkBytes: number): Uint8Array {
    const copy = this.#anyOf(shards, -1);
    if (copy.length !== chunkBytes) {
      throw new CairnError('INVALID', `a copy has ${copy.length} bytes instead of ${chunkBytes}`);
    }
    return copy;
  }

  rebuild(ranges: readonly (Uint8Array | undefined)[], wanted: number, into?: Uint8Array): Uint8Array {
    assert(Number.isInteger(wanted) && wanted >= 0 && wanted < this.shards, 'the wanted shard exists');
    const copy = this.#anyOf(ranges, wanted);
    if (into === undefined) return copy;
    assert(into.length === copy.length, 'the room is as long as the range');
    into.set(copy);
    return into;
  }

  #anyOf(shards: readonly (Uint8Array | undefined)[], wanted: number): Uint8Array {
    if (shards.length > this.shards)
      throw new CairnError('INVALID', `${shards.length} shards of ${this.shards} copies`);
    const copy = shards.find((shard, i) => shard !== undefined && i !== wanted);
    if (copy === undefined) throw new CairnError('UNREADABLE', `none of the ${this.shards} copies is there`);
    return copy;
  }
}
