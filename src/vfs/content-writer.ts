/**
 * Bytes on their way into the pool before they have a name: what an upload brings. They are cut into chunks and stored as they come, past the
 * cache, so that a file of any size takes the memory of a few chunks; a Publication then gives them an inode and a name.
 *
 * Until then nothing names the chunks: they are held, so that collection leaves them, and `discard` lets go of them. After a crash no commit
 * names them, and the sweep finds them.
 */

import type { ChunkBuffers } from '../chunks/chunk-buffers.js';
import { type ChunkPolicy, type ChunkStore, SMALL_CHUNK_BYTES, type StoredChunk } from '../chunks/chunk-store.js';
import { assert, CairnError } from '../errors/cairn-error.js';
import type { ExtentRow } from '../meta/rows.js';

/** Chunks of one writer that are being stored at one time. */
const AT_ONCE = 3;

/** Content without a name. Whoever has it gives it to one publication, or discards it. */
export interface StoredContent {
  readonly sizeBytes: number;
  /** Ascending, without gaps; each names a chunk that is held once. */
  readonly extents: readonly ExtentRow[];
  /** What follows the extents: at most SMALL_CHUNK_BYTES, which travel with the commit; empty if there is nothing. */
  readonly tail: Uint8Array;
  /** The scheme that its chunks are kept under, if a policy asks for one. */
  readonly asked?: ChunkPolicy | undefined;
}

export const NO_CONTENT: StoredContent = { sizeBytes: 0, extents: [], tail: new Uint8Array(0) };

const EMPTY = Buffer.alloc(0);

/** Told of all bytes, in order, in pieces of whole chunks but for the end. They stay as they are until `done` is called. */
export type ContentObserver = (bytes: Uint8Array, done: () => void) => void;

export class ContentWriter {
  readonly #chunks: ChunkStore;
  readonly #buffers: ChunkBuffers;
  readonly #chunkBytes: number;
  readonly #observer: ContentObserver | undefined;
  /** What the next buffer should hold at least. */
  readonly #expectedBytes: number;
  readonly #asked: ChunkPolicy | undefined;
  /** The chunk that is being filled; grows from little, so that a small upload takes little. */
  #buffer: Buffer = EMPTY;
  #filled = 0;
  #sizeBytes = 0;
  readonly #extents: ExtentRow[] = [];
  readonly #jobs = new Set<Promise<void>>();
  #failure: unknown;
  #ended = false;

  /** `expectedBytes`: what the caller thinks that there will be, if it does. */
  constructor(
    chunks: ChunkStore,
    buffers: ChunkBuffers,
    expectedBytes: number | undefined,
    observer: ContentObserver | undefined,
    asked: ChunkPolicy | undefined,
  ) {
    this.#asked = asked;
    this.#chunks = chunks;
    this.#buffers = buffers;
    this.#chunkBytes = buffers.chunkBytes;
    this.#observer = observer;
    this.#expectedBytes = expectedBytes ?? SMALL_CHUNK_BYTES;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Takes all bytes, which are the caller's again when it returns. Resolves when there is room for more; undefined: at once. Rejects with what storing failed with. */
  write(bytes: Uint8Array): Promise<void> | undefined {
    assert(!this.#ended, 'content is written before it is finished');
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    for (let at = 0; at < bytes.length; ) {
      const length = Math.min(bytes.length - at, this.#chunkBytes - this.#filled);
      this.#grow(this.#filled + length);
      this.#buffers.copy(this.#buffer, this.#filled, bytes.subarray(at, at + length));
      this.#filled += length;
      at += length;
      if (this.#filled === this.#chunkBytes) this.#store();
    }
    this.#sizeBytes += bytes.length;
    return this.#jobs.size < AT_ONCE ? undefined : this.#room();
  }

  #grow(needed: number): void {
    if (needed <= this.#buffer.length) return;
    const wanted = Math.min(this.#chunkBytes, Math.max(needed, this.#buffer.length * 4, this.#expectedBytes));
    const larger = wanted === this.#chunkBytes ? this.#buffers.take() : Buffer.allocUnsafeSlow(wanted);
    this.#buffer.copy(larger, 0, 0, this.#filled);
    this.#buffer = larger;
  }

  async #room(): Promise<void> {
    while (this.#jobs.size >= AT_ONCE) await Promise.race(this.#jobs);
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Stores what the buffer holds as one chunk, and begins another. */
  #store(): void {
    const bytes = this.#buffer.subarray(0, this.#filled);
    const offset = this.#sizeOf(this.#extents);
    // The place is taken now, so that extents stay in order whichever chunk is stored first.
    const index = this.#extents.push({ offset, length: bytes.length, chunk: '', chunkOffset: 0, chunkBytes: 0 }) - 1;
    const buffer = this.#buffer;
    this.#buffer = EMPTY;
    this.#filled = 0;
    // One for the store, one for the observer.
    let users = this.#observer === undefined ? 1 : 2;
    const release = (): void => {
      users -= 1;
      if (users === 0 && buffer.length === this.#chunkBytes) this.#buffers.give(buffer);
    };
    const observed = this.#observer === undefined ? undefined : this.#observe(this.#observer, bytes).then(release);
    const stored = (one: StoredChunk): void => {
      this.#extents[index] = { ...this.#extents[index]!, chunk: one.chunk, chunkBytes: one.chunkBytes };
    };
    const job = this.#chunks
      .store({ kind: 'bytes', bytes }, release, undefined, this.#asked)
      .then(stored, (error: unknown) => {
        this.#failure ??= error;
      })
      .then(() => observed)
      .finally(() => this.#jobs.delete(job));
    this.#jobs.add(job);
  }

  /** Resolves when the observer is done with them. */
  #observe(observer: ContentObserver, bytes: Uint8Array): Promise<void> {
    return new Promise((resolve) => observer(bytes, resolve));
  }

  #sizeOf(extents: readonly ExtentRow[]): number {
    const last = extents.at(-1);
    return last === undefined ? 0 : last.offset + last.length;
  }

  /** All bytes are there. Rejects with what storing failed with; then nothing is held any more. */
  async finish(): Promise<StoredContent> {
    if (this.#filled > SMALL_CHUNK_BYTES && this.#failure === undefined) this.#store();
    this.#ended = true;
    const tail = Buffer.from(this.#buffer.subarray(0, this.#filled));
    this.#putAway();
    if (tail.length > 0) this.#observer?.(tail, () => {});
    await Promise.all(this.#jobs);
    if (this.#failure !== undefined) {
      this.#release();
      throw this.#failure;
    }
    return { sizeBytes: this.#sizeBytes, extents: this.#extents, tail, asked: this.#asked };
  }

  /** There will be no more bytes, and what there was is not wanted. */
  async discard(): Promise<void> {
    this.#failure ??= new CairnError('ABORTED', 'the upload was ended');
    if (this.#ended) return;
    this.#ended = true;
    this.#putAway();
    await Promise.all(this.#jobs);
    this.#release();
  }

  /** The buffer that is being filled is not needed any more. */
  #putAway(): void {
    if (this.#buffer.length === this.#chunkBytes) this.#buffers.give(this.#buffer);
    this.#buffer = EMPTY;
    this.#filled = 0;
  }

  #release(): void {
    this.#chunks.release(this.#extents.filter(({ chunk }) => chunk !== '').map(({ chunk }) => chunk));
    this.#extents.length = 0;
  }
}
