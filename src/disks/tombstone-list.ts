/**
 * Tombstones of one journal segment, in a buffer: as objects with their texts they would be four times as large, and a pool from which much is removed has a
 * million of them until its journal is given back.
 */
import type { Tombstone } from './journal-state.js';

/** chunk 32 | bucket 16 | shard u32 | target segment f64 | through f64 */
const ENTRY_BYTES = 68;
const CHUNK_END = 32;
const SHARD_AT = 48;
const SEGMENT_AT = 52;
const THROUGH_AT = 60;
const FIRST_ENTRIES = 16;

export class TombstoneList {
  #bytes = Buffer.alloc(FIRST_ENTRIES * ENTRY_BYTES);
  #count = 0;

  add({ key, targetSegment, through }: Tombstone): void {
    const at = this.#count * ENTRY_BYTES;
    if (at === this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes], 2 * at);
    const bytes = this.#bytes;
    bytes.write(key.chunk, at, 'hex');
    bytes.write(key.bucket, at + CHUNK_END, 'hex');
    bytes.writeUInt32LE(key.shard, at + SHARD_AT);
    bytes.writeDoubleLE(targetSegment, at + SEGMENT_AT);
    bytes.writeDoubleLE(through, at + THROUGH_AT);
    this.#count += 1;
  }

  /** In the order in which they were added. */
  all(): Tombstone[] {
    return Array.from({ length: this.#count }, (_, index) => {
      const at = index * ENTRY_BYTES;
      const bytes = this.#bytes;
      return {
        kind: 'tombstone',
        key: {
          bucket: bytes.toString('hex', at + CHUNK_END, at + SHARD_AT),
          chunk: bytes.toString('hex', at, at + CHUNK_END),
          shard: bytes.readUInt32LE(at + SHARD_AT),
        },
        targetSegment: bytes.readDoubleLE(at + SEGMENT_AT),
        through: bytes.readDoubleLE(at + THROUGH_AT),
      };
    });
  }
}
