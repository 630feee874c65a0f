/**
 * Chunks with a small number and a length each, in flat arrays: about 35 bytes a chunk, since there may be millions. Known by 128 bits of their
 * names, which tell all chunks of a pool apart.
 */
import { assert } from '../errors/cairn-error.js';

const WORDS = 4;
const FREE = 0;
const DELETED = 0xffff;
/** The largest value that can be kept. */
const VALUE_MAX = DELETED - 1;
const FILL_MAX = 0.6;

export interface ChunkValue {
  /** 1 to 65534. */
  readonly value: number;
  readonly bytes: number;
}

export class ChunkTable {
  #keys = new Uint32Array(0);
  #values = new Uint16Array(0);
  #bytes = new Uint32Array(0);
  #size = 0;
  /** Slots that are not free: with those of deleted entries. */
  #used = 0;
  readonly #key = new Uint32Array(WORDS);

  get size(): number {
    return this.#size;
  }

  clear(): void {
    this.#keys = new Uint32Array(0);
    this.#values = new Uint16Array(0);
    this.#bytes = new Uint32Array(0);
    this.#size = 0;
    this.#used = 0;
  }

  has(chunk: string): boolean {
    return this.#find(chunk) !== undefined;
  }

  get(chunk: string): ChunkValue | undefined {
    const slot = this.#find(chunk);
    return slot === undefined ? undefined : { value: this.#values[slot]!, bytes: this.#bytes[slot]! };
  }

  set(chunk: string, { value, bytes }: ChunkValue): void {
    assert(value > FREE && value <= VALUE_MAX, 'the value fits the table');
    const there = this.#find(chunk);
    if (there !== undefined) {
      this.#values[there] = value;
      this.#bytes[there] = bytes;
      return;
    }
    if (this.#used + 1 > this.#values.length * FILL_MAX) this.#rebuild();
    this.#read(chunk);
    this.#insert(this.#key, 0, value, bytes);
  }

  delete(chunk: string): void {
    const slot = this.#find(chunk);
    if (slot === undefined) return;
    this.#values[slot] = DELETED;
    this.#size--;
  }

  #find(chunk: string): number | undefined {
    if (this.#size === 0) return undefined;
    this.#read(chunk);
    const mask = this.#values.length - 1;
    for (let slot = this.#key[0]! & mask; this.#values[slot] !== FREE; slot = (slot + 1) & mask)
      if (this.#values[slot] !== DELETED && this.#isAt(slot)) return slot;
    return undefined;
  }

  #isAt(slot: number): boolean {
    for (let i = 0; i < WORDS; i++) if (this.#keys[slot * WORDS + i] !== this.#key[i]) return false;
    return true;
  }

  #read(chunk: string): void {
    for (let i = 0; i < WORDS; i++) this.#key[i] = Number.parseInt(chunk.slice(i * 8, i * 8 + 8), 16);
  }

  #insert(keys: Uint32Array, at: number, value: number, bytes: number): void {
    const mask = this.#values.length - 1;
    let slot = keys[at]! & mask;
    while (this.#values[slot] !== FREE) slot = (slot + 1) & mask;
    for (let i = 0; i < WORDS; i++) this.#keys[slot * WORDS + i] = keys[at + i]!;
    this.#values[slot] = value;
    this.#bytes[slot] = bytes;
    this.#size++;
    this.#used++;
  }

  /** Without the deleted entries, and large enough for as many again. */
  #rebuild(): void {
    const keys = this.#keys;
    const values = this.#values;
    const bytes = this.#bytes;
    let slots = 64;
    while (slots * FILL_MAX < 2 * (this.#size + 1)) slots *= 2;
    this.#keys = new Uint32Array(slots * WORDS);
    this.#values = new Uint16Array(slots);
    this.#bytes = new Uint32Array(slots);
    this.#size = 0;
    this.#used = 0;
    for (let slot = 0; slot < values.length; slot++) {
      const value = values[slot]!;
      if (value !== FREE && value !== DELETED) this.#insert(keys, slot * WORDS, value, bytes[slot]!);
    }
  }
}
