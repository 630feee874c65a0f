/**
 * What was unpacked lately of compressed chunks of which only parts are read: whoever reads 4 KiB here and there gets the rest of the block from memory, and need not read the
 * chunk's table again. Chunks never change, so nothing here ever is out of date.
 */
import type { Clock } from '../io/clock.js';
import { BLOCK_BYTES, type StoredBlock } from './compressed-chunk.js';

const KEPT_BYTES = 8 * 1024 * 1024;
const TABLES_MAX = 512;
/** How long anything is kept when nobody reads. */
const IDLE_MS = 10_000;

export class BlockCache {
  readonly #clock: Clock;
  /** Least recently used first. */
  readonly #blocks = new Map<string, Uint8Array>();
  readonly #tables = new Map<string, readonly StoredBlock[]>();
  #keptBytes = 0;
  #usedMs = 0;
  #isTimed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Bytes [from, to) of the chunk, if all of them are here. They are a view, not to be written to. */
  find(chunk: string, from: number, to: number): Uint8Array | undefined {
    if (this.#blocks.size === 0) return undefined;
    const first = Math.floor(from / BLOCK_BYTES);
    const last = Math.floor((to - 1) / BLOCK_BYTES);
    const parts: Uint8Array[] = [];
    for (let block = first; block <= last; block++) {
      const bytes = this.#block(nameOf(chunk, block));
      if (bytes === undefined) return undefined;
      const at = block * BLOCK_BYTES;
      parts.push(bytes.subarray(Math.max(from - at, 0), to - at));
    }
    return parts.length === 1 ? parts[0] : Buffer.concat(parts, to - from);
  }

  /** A block that has been unpacked and checked. */
  put(chunk: string, block: number, bytes: Uint8Array): void {
    this.#keepTime();
    const name = nameOf(chunk, block);
    if (this.#blocks.has(name)) return;
    this.#blocks.set(name, bytes);
    this.#keptBytes += bytes.length;
    for (const [oldest, { length }] of this.#blocks) {
      if (this.#keptBytes <= KEPT_BYTES) break;
      this.#blocks.delete(oldest);
      this.#keptBytes -= length;
    }
  }

  /** The chunk's table as it is stored in so many bytes. */
  table(chunk: string, storedBytes: number): readonly StoredBlock[] | undefined {
    return this.#tables.get(nameOf(chunk, storedBytes));
  }

  /** undefined: it has turned out to be wrong. */
  putTable(chunk: string, storedBytes: number, table: readonly StoredBlock[] | undefined): void {
    this.#keepTime();
    if (this.#tables.size >= TABLES_MAX) this.#tables.clear();
    if (table === undefined) this.#tables.delete(nameOf(chunk, storedBytes));
    else this.#tables.set(nameOf(chunk, storedBytes), table);
  }

  clear(): void {
    this.#blocks.clear();
    this.#tables.clear();
    this.#keptBytes = 0;
  }

  #block(name: string): Uint8Array | undefined {
    const bytes = this.#blocks.get(name);
    if (bytes === undefined) return undefined;
    this.#blocks.delete(name);
    this.#blocks.set(name, bytes);
    this.#usedMs = this.#clock.monotonicMs();
    return bytes;
  }

  #keepTime(): void {
    this.#usedMs = this.#clock.monotonicMs();
    this.#clearLater(IDLE_MS);
  }

  #clearLater(delayMs: number): void {
    if (this.#isTimed) return;
    this.#isTimed = true;
    this.#clock.after(delayMs, () => {
      this.#isTimed = false;
      const leftMs = this.#usedMs + IDLE_MS - this.#clock.monotonicMs();
      if (leftMs > 0) this.#clearLater(leftMs);
      else this.clear();
    });
  }
}

function nameOf(chunk: string, number: number): string {
  return `${chunk}/${number}`;
}
