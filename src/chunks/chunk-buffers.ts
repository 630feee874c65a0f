/**
 * Buffers of one chunk's length that are used again and again. They are of shared memory, so that a worker thread stores a chunk from where an upload has put
 * it. New ones for each chunk would be the garbage collector's main work: it runs after some dozen megabytes, however small the heap is.
 */
import { loadAddon } from '../../native/addon.js';

/** So many are kept for the next. */
const SPARE_MAX = 6;

export class ChunkBuffers {
  readonly #chunkBytes: number;
  readonly #spare: Buffer[] = [];
  readonly #addon = loadAddon();

  constructor(chunkBytes: number) {
    this.#chunkBytes = chunkBytes;
  }

  get chunkBytes(): number {
    return this.#chunkBytes;
  }

  /** Holds whatever it held last. */
  take(): Buffer {
    return this.#spare.pop() ?? Buffer.from(new SharedArrayBuffer(this.#chunkBytes));
  }

  /** Into one of these, or another buffer. */
  copy(target: Buffer, at: number, bytes: Uint8Array): void {
    this.#addon.copyBytes(target, at, bytes);
  }

  /** Nobody may use it any more. */
  give(buffer: Buffer): void {
    if (this.#spare.length < SPARE_MAX) this.#spare.push(buffer);
  }
}
