/**
 * Bytes of committed extents. Random reads fetch only what they cover; a reader that goes on where it stopped gets whole chunks,
 * kept for its next calls, and the next chunk fetched ahead.
 */
import { type ChunkStore, SMALL_CHUNK_BYTES } from '../chunks/chunk-store.js';
import type { MetaStore } from '../meta/meta-store.js';
import type { ExtentRow } from '../meta/rows.js';
import type { Inode } from './inode.js';

/** Plain chunks kept for sequential readers. */
const KEPT_BYTES = 48 * 1024 * 1024;
/** Chunks of at most this length are read whole and kept, whoever reads them: they are whole small files. */
const TINY_BYTES = 16 * 1024;
/** What is fetched ahead of a sequential reader: enough to keep several disks busy. */
const AHEAD_BYTES = 12 * 1024 * 1024;
/** A file's extents are kept in memory up to this many. */
const EXTENTS_KEPT = 2048;

export class PoolReader {
  readonly #meta: MetaStore;
  readonly #chunks: ChunkStore;
  /** Least recently used first. */
  readonly #kept = new Map<string, Promise<Uint8Array>>();
  readonly #sizes = new Map<string, number>();
  #keptBytes = 0;

  constructor(meta: MetaStore, chunks: ChunkStore) {
    this.#meta = meta;
    this.#chunks = chunks;
  }

  /** Fills `into` with the committed bytes of the file from `from` on; zeros where there is no extent. UNREADABLE, CORRUPT. */
  async read(inode: Inode, from: number, into: Uint8Array, sequential: boolean): Promise<void> {
    const to = from + into.length;
    const extents = await this.extents(inode, from, to);
    let position = from;
    const jobs: Promise<void>[] = [];
    for (const extent of extents) {
      const start = Math.max(from, extent.offset);
      const end = Math.min(to, extent.offset + extent.length);
      if (start >= end) continue;
      if (start > position) into.fill(0, position - from, start - from);
      const inChunk = extent.chunkOffset + (start - extent.offset);
      jobs.push(this.#copy(extent, inChunk, into.subarray(start - from, end - from), sequential));
      position = end;
    }
    if (position < to) into.fill(0, position - from);
    if (jobs.length === 1) await jobs[0];
    else await Promise.all(jobs);
    const last = extents.at(-1);
    if (sequential && last !== undefined) this.#ahead(inode, last.offset + last.length);
  }

  /** As `read`, without a copy where a chunk is at hand or read whole. The pieces are nobody's to change. */
  async pieces(inode: Inode, from: number, to: number, sequential: boolean): Promise<Uint8Array[]> {
    const extents = await this.extents(inode, from, to);
    const pieces: (Uint8Array | Promise<Uint8Array>)[] = [];
    let position = from;
    for (const extent of extents) {
      const start = Math.max(from, extent.offset);
      const end = Math.min(to, extent.offset + extent.length);
      if (start >= end) continue;
      if (start > position) pieces.push(Buffer.alloc(start - position));
      const inChunk = extent.chunkOffset + (start - extent.offset);
      pieces.push(this.#part(extent, inChunk, inChunk + (end - start), sequential));
      position = end;
    }
    if (position < to) pieces.push(Buffer.alloc(to - position));
    const all = await Promise.all(pieces);
    const last = extents.at(-1);
    if (sequential && last !== undefined) this.#ahead(inode, last.offset + last.length);
    return all;
  }

  async #part(extent: ExtentRow, from: number, to: number, sequential: boolean): Promise<Uint8Array> {
    const { chunk, chunkBytes } = extent;
    const isWhole = this.#kept.has(chunk) || chunkBytes <= TINY_BYTES || (sequential && chunkBytes > SMALL_CHUNK_BYTES);
    return isWhole ? (await this.#whole(extent)).subarray(from, to) : this.#chunks.read(chunk, chunkBytes, from, to);
  }

  async #copy(extent: ExtentRow, from: number, into: Uint8Array, sequential: boolean): Promise<void> {
    into.set(await this.#part(extent, from, from + into.length, sequential));
  }

  #whole(extent: ExtentRow): Promise<Uint8Array> {
    const { chunk, chunkBytes } = extent;
    const kept = this.#kept.get(chunk);
    if (kept !== undefined) {
      this.#kept.delete(chunk);
      this.#kept.set(chunk, kept);
      return kept;
    }
    const bytes = this.#chunks.read(chunk, chunkBytes, 0, chunkBytes);
    this.#kept.set(chunk, bytes);
    this.#sizes.set(chunk, chunkBytes);
    this.#keptBytes += chunkBytes;
    bytes.catch(() => this.#drop(chunk));
    for (const oldest of this.#kept.keys()) {
      if (this.#keptBytes <= KEPT_BYTES || oldest === chunk) break;
      this.#drop(oldest);
    }
    return bytes;
  }

  #drop(chunk: string): void {
    if (!this.#kept.delete(chunk)) return;
    this.#keptBytes -= this.#sizes.get(chunk) ?? 0;
    this.#sizes.delete(chunk);
  }

  /** Starts fetching the chunks from `position` on, if the file's extents are at hand. Its errors come up when it is really read. */
  #ahead(inode: Inode, position: number): void {
    if (inode.extents === undefined) return;
    for (const next of overlapping(inode.extents, position, position + AHEAD_BYTES))
      if (next.chunkBytes > SMALL_CHUNK_BYTES) this.#whole(next).catch(() => undefined);
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
