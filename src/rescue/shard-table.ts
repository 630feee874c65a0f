/**
 * Where each shard lies, of all disks together: made by one walk over the headers, kept in memory in 32 bytes a shard (a pool of 18 TB has
 * some 13 million), so that rescue needs no database for it.
 *
 * Tombstones are not looked at: a chunk is named by its content and everything read is checked against that name, so a removed shard whose record
 * is still there can only help. Entries are found by the first 64 bits of the chunk's name; whoever reads the record compares the rest.
 */
import type { Compression, ShardInfo } from '../disks/record.js';
import { RECORD_ALIGNMENT } from '../disks/record-codec.js';
import type { BareSegment } from './bare-disk.js';
import type { RecordPlace } from './record-reader.js';

export interface FoundShard extends RecordPlace {
  readonly shard: number;
  readonly erasure: boolean;
  readonly k: number;
  readonly m: number;
  readonly compression: Compression | undefined;
}

/** Numbers per entry: two of the chunk's name, segment, position, length, scheme and shard, compression, the next entry of the same slot. */
const FIELDS = 8;
const NEXT = FIELDS - 1;
const FIRST_ENTRIES = 1 << 12;
const NONE = 0;
/** A compressed chunk is shorter than it was: at most 4 MiB. So its method has room beside its length. */
const STORED_BYTES_END = 1 << 24;

export class ShardTable {
  readonly #segments: BareSegment[] = [];
  #current: BareSegment | undefined;
  /** Entry numbers begin at 1. */
  #entries = new Uint32Array(FIELDS * FIRST_ENTRIES);
  #slots = new Uint32Array(FIRST_ENTRIES);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** One that says of itself that it is longer than a chunk can be is left out: no chunk comes out of it. */
  add(segment: BareSegment, position: number, recordBytes: number, info: ShardInfo): void {
    const { method, storedBytes } = info.compression ?? { method: 0, storedBytes: 0 };
    if (storedBytes >= STORED_BYTES_END) return;
    if (this.#current !== segment) {
      this.#segments.push(segment);
      this.#current = segment;
    }
    if ((this.#count + 2) * FIELDS > this.#entries.length) this.#grow();
    this.#count++;
    const { erasure, k, m } = info.scheme;
    const [high, low] = prefix(info.chunk);
    this.#entries.set(
      [
        high,
        low,
        this.#segments.length - 1,
        position / RECORD_ALIGNMENT,
        recordBytes / RECORD_ALIGNMENT,
        // A scheme has at most 255 shards of each kind; the highest bit tells an erasure code.
        ((info.shard << 16) | (k << 8) | m | (erasure ? 0x8000_0000 : 0)) >>> 0,
        method * STORED_BYTES_END + storedBytes,
      ],
      this.#count * FIELDS,
    );
    this.#link(this.#count);
  }

  /** All records that may be shards of the chunk. */
  find(chunk: string): FoundShard[] {
    const [high, low] = prefix(chunk);
    const found: FoundShard[] = [];
    let entry = this.#slots[low & (this.#slots.length - 1)]!;
    for (; entry !== NONE; entry = this.#entries[entry * FIELDS + NEXT]!) {
      const at = entry * FIELDS;
      if (this.#entries[at] !== high || this.#entries[at + 1] !== low) continue;
      const scheme = this.#entries[at + 5]!;
      const method = this.#entries[at + 6]! >>> 24;
      const storedBytes = this.#entries[at + 6]! % STORED_BYTES_END;
      found.push({
        segment: this.#segments[this.#entries[at + 2]!]!,
        position: this.#entries[at + 3]! * RECORD_ALIGNMENT,
        recordBytes: this.#entries[at + 4]! * RECORD_ALIGNMENT,
        shard: (scheme >>> 16) & 0x7fff,
        erasure: scheme >>> 31 === 1,
        k: (scheme >>> 8) & 0xff,
        m: scheme & 0xff,
        compression: method === 0 ? undefined : { method, storedBytes },
      });
    }
    // In the order in which they were met.
    return found.reverse();
  }

  #link(entry: number): void {
    const slot = this.#entries[entry * FIELDS + 1]! & (this.#slots.length - 1);
    this.#entries[entry * FIELDS + NEXT] = this.#slots[slot]!;
    this.#slots[slot] = entry;
  }

  #grow(): void {
    const entries = new Uint32Array(this.#entries.length * 2);
    entries.set(this.#entries);
    this.#entries = entries;
    this.#slots = new Uint32Array(this.#slots.length * 2);
    for (let entry = 1; entry <= this.#count; entry++) this.#link(entry);
  }
}

/** The name's first 64 bits as two numbers. */
function prefix(chunk: string): [high: number, low: number] {
  return [Number.parseInt(chunk.slice(0, 8), 16), Number.parseInt(chunk.slice(8, 16), 16)];
}
