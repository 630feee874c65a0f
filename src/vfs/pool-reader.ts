/**
 * Bytes of committed extents. Random reads fetch only what they cover; a reader that goes on where it stopped gets whole chunks, and the next ones are fetched ahead of it: as many as it has
 * shown that it will read, so that a look at the head of a file costs one.
 *
 * Whole chunks lie in memory that is used again (WholeChunk). Invariant: one is released only when nobody reads from it; what `view` answers with holds until the end of the turn of the event
 * loop in which it comes.
 */
import { type ChunkStore, SMALL_CHUNK_BYTES, type WholeChunk } from '../chunks/chunk-store.js';
import type { Clock } from '../io/clock.js';
import type { MetaStore } from '../meta/meta-store.js';
import type { ExtentRow } from '../meta/rows.js';
import type { Inode } from './inode.js';

/** Whole chunks that are kept, read or fetched ahead, of all readers. */
const KEPT_BYTES = 48 * 1024 * 1024;
/** What is fetched ahead of one reader, and of all: enough to keep several disks busy. */
const AHEAD_BYTES = 20 * 1024 * 1024;
const AHEAD_ALL_BYTES = 32 * 1024 * 1024;
/** A reader that has read so many bytes in a row is taken to read so many times as many more. */
const AHEAD_FACTOR = 2;
/** Chunks kept that somebody has read to their end: for those who read the same a little later. */
const SPENT_MAX = 2;
/** How long anything is kept when nobody reads. */
const IDLE_MS = 10_000;
/** A file's extents are kept in memory up to this many. */
const EXTENTS_KEPT = 2048;
const ZEROS = Buffer.alloc(1024 * 1024);

interface Kept {
  readonly name: string;
  readonly sizeBytes: number;
  readonly whole: Promise<WholeChunk>;
  /** Reads that use it now. */
  users: number;
  /** Fetched ahead, and not asked for yet. */
  isAhead: boolean;
  isDropped: boolean;
}

export class PoolReader {
  readonly #meta: MetaStore;
  readonly #chunks: ChunkStore;
  readonly #clock: Clock;
  /** Least recently used first. */
  readonly #kept = new Map<string, Kept>();
  /** Read to their end, in the order in which they were. */
  readonly #spent = new Set<Kept>();
  #keptBytes = 0;
  #aheadBytes = 0;
  #usedMs = 0;
  #isTimed = false;

  constructor(meta: MetaStore, chunks: ChunkStore, clock: Clock) {
    this.#meta = meta;
    this.#chunks = chunks;
    this.#clock = clock;
  }

  /** Fills `into` with the committed bytes of the file from `from` on; zeros where there is no extent. `run` as for `view`. UNREADABLE, CORRUPT. */
  async read(inode: Inode, from: number, into: Uint8Array, run: number): Promise<void> {
    let at = 0;
    for (const part of await this.view(inode, from, from + into.length, run)) {
      into.set(part, at);
      at += part.length;
    }
  }

  /**
   * The committed bytes [from, to) of the file; zeros where there is no extent. They hold until the end of this turn of the event loop. `run`: bytes that the reader has read in a row, with
   * these; 0 if it reads here and there. UNREADABLE, CORRUPT.
   */
  async view(inode: Inode, from: number, to: number, run: number): Promise<Uint8Array[]> {
    const ahead = Math.min(AHEAD_BYTES, AHEAD_FACTOR * run);
    const extents = await this.extents(inode, from, to + ahead);
    const parts: (Uint8Array | Promise<Uint8Array>)[] = [];
    const users: Kept[] = [];
    let position = from;
    try {
      for (const extent of extents) {
        const start = Math.max(from, extent.offset);
        const end = Math.min(to, extent.offset + extent.length);
        if (start >= end) break;
        parts.push(...zeros(start - position));
        const inChunk = extent.chunkOffset + (start - extent.offset);
        parts.push(this.#part(extent, inChunk, inChunk + end - start, run > 0, users));
        position = end;
      }
      parts.push(...zeros(to - position));
      this.#ahead(extents, to);
      return await Promise.all(parts);
    } finally {
      for (const kept of users) this.#leave(kept);
    }
  }

  /** Bytes [from, to) of the extent's chunk. Adds what they are a view of to `users`. */
  #part(extent: ExtentRow, from: number, to: number, isSequential: boolean, users: Kept[]): Promise<Uint8Array> {
    const { chunk, chunkBytes } = extent;
    const isKept = this.#kept.has(chunk);
    if (!isKept && !(isSequential && chunkBytes > SMALL_CHUNK_BYTES))
      return this.#chunks.read(chunk, chunkBytes, from, to);
    const kept = this.#keep(extent);
    kept.users += 1;
    users.push(kept);
    this.#asked(kept);
    if (isSequential && to >= extent.chunkOffset + extent.length) this.#spend(kept);
    return kept.whole.then(({ bytes }) => bytes.subarray(from, to));
  }

  #keep({ chunk, chunkBytes }: ExtentRow): Kept {
    this.#usedMs = this.#clock.monotonicMs();
    this.#keepTime();
    const before = this.#kept.get(chunk);
    if (before !== undefined) {
      this.#kept.delete(chunk);
      this.#kept.set(chunk, before);
      return before;
    }
    const whole = this.#chunks.readWhole(chunk, chunkBytes);
    const kept: Kept = { name: chunk, sizeBytes: chunkBytes, whole, users: 0, isAhead: false, isDropped: false };
    this.#kept.set(chunk, kept);
    this.#keptBytes += chunkBytes;
    // Whoever reads it has the error, and the next one tries again.
    whole.catch(() => this.#drop(kept));
    for (const oldest of [...this.#spent, ...this.#kept.values()]) {
      if (this.#keptBytes <= KEPT_BYTES) break;
      if (oldest !== kept) this.#drop(oldest);
    }
    return kept;
  }

  /** Somebody wants what may have been fetched ahead. */
  #asked(kept: Kept): void {
    if (kept.isAhead) this.#aheadBytes -= kept.sizeBytes;
    kept.isAhead = false;
    this.#spent.delete(kept);
  }

  #spend(kept: Kept): void {
    this.#spent.add(kept);
    for (const oldest of this.#spent) {
      if (this.#spent.size <= SPENT_MAX) break;
      this.#drop(oldest);
    }
  }

  #leave(kept: Kept): void {
    kept.users -= 1;
    if (kept.isDropped && kept.users === 0) release(kept);
  }

  #drop(kept: Kept): void {
    if (kept.isDropped) return;
    kept.isDropped = true;
    this.#asked(kept);
    this.#kept.delete(kept.name);
    this.#keptBytes -= kept.sizeBytes;
    if (kept.users === 0) release(kept);
  }

  /** Starts fetching the chunks of those that begin at `position` or later. Errors come up when they are really read. */
  #ahead(extents: readonly ExtentRow[], position: number): void {
    for (const next of extents) {
      if (next.offset < position || next.chunkBytes <= SMALL_CHUNK_BYTES || this.#kept.has(next.chunk)) continue;
      if (this.#aheadBytes + next.chunkBytes > AHEAD_ALL_BYTES) return;
      const kept = this.#keep(next);
      kept.isAhead = true;
      this.#aheadBytes += kept.sizeBytes;
    }
  }

  /** Lets everything go some time after the last read. */
  #keepTime(): void {
    if (this.#isTimed) return;
    this.#isTimed = true;
    this.#clock.after(IDLE_MS, () => {
      this.#isTimed = false;
      if (this.#clock.monotonicMs() - this.#usedMs < IDLE_MS) this.#keepTime();
      else for (const kept of [...this.#kept.values()]) this.#drop(kept);
    });
  }

  /** Committed extents that overlap [from, to). */
  async extents(inode: Inode, from: number, to: number): Promise<readonly ExtentRow[]> {
    if (inode.extents === undefined) {
      const { version } = inode;
      if (version === 0) return [];
      if (inode.manyExtents) return this.#meta.listExtents(inode.ino, from, to, Number.MAX_SAFE_INTEGER);
      const all = await this.#meta.listExtents(inode.ino, 0, Number.MAX_SAFE_INTEGER, EXTENTS_KEPT + 1);
      inode.manyExtents = all.length > EXTENTS_KEPT;
      if (inode.manyExtents) return this.extents(inode, from, to);
      // A commit may have been applied while they were being read.
      if (inode.version === version) inode.extents = all;
      return overlapping(all, from, to);
    }
    return overlapping(inode.extents, from, to);
  }

  /** All committed extents into memory, to stay: the rows are about to be deleted while the file is open. */
  async pin(inode: Inode): Promise<void> {
    const { version } = inode;
    const all = await this.#meta.listExtents(inode.ino, 0, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
    // A commit may have been applied while they were being read: then the caller finds them missing and asks again.
    if (inode.version === version) inode.extents = all;
  }
}

/** The part of an ascending list that overlaps [from, to). */
function overlapping(extents: readonly ExtentRow[], from: number, to: number): readonly ExtentRow[] {
  let low = 0;
  let high = extents.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const extent = extents[middle]!;
    if (extent.offset + extent.length > from) high = middle;
    else low = middle + 1;
  }
  let end = low;
  while (end < extents.length && extents[end]!.offset < to) end += 1;
  return extents.slice(low, end);
}

/** So many zeros. They are not to be written to. */
export function zeros(length: number): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let left = length; left > 0; left -= ZEROS.length) parts.push(ZEROS.subarray(0, Math.min(ZEROS.length, left)));
  return parts;
}

function release({ whole }: Kept): void {
  whole.then(
    (chunk) => chunk.release(),
    () => undefined,
  );
}
