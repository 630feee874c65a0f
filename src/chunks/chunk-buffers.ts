/**
 * Buffers of one chunk's length that are used again and again. They are of shared memory, so that a worker thread stores a chunk from where an upload has put
 * it. New ones for each chunk would be the garbage collector's main work: it runs after some dozen megabytes, however small the heap is.
 */
import { loadAddon } from '../../native/addon.js';
import type { Clock, Timer } from '../io/clock.js';

/** So many are kept for the next. */
const SPARE_MAX = 6;
/** How long they are kept after the last one was given back. */
const KEEP_MS = 10_000;

export class ChunkBuffers {
  readonly #chunkBytes: number;
  readonly #clock: Clock;
  readonly #spare: Buffer[] = [];
  readonly #addon = loadAddon();
  #usedMs = 0;
  #timer: Timer | undefined;

  constructor(chunkBytes: number, clock: Clock) {
    this.#chunkBytes = chunkBytes;
    this.#clock = clock;
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
    this.#usedMs = this.#clock.monotonicMs();
    this.#letGoLater(KEEP_MS);
  }

  /** One timer for many uses: when it comes it looks how long ago the last one was. */
  #letGoLater(delayMs: number): void {
    this.#timer ??= this.#clock.after(delayMs, () => {
      this.#timer = undefined;
      const leftMs = this.#usedMs + KEEP_MS - this.#clock.monotonicMs();
      if (leftMs > 0) this.#letGoLater(leftMs);
      else this.#spare.length = 0;
    });
  }
}
