/**
 * What the cache knows of one file's bytes: which ranges it holds, which of them the pool does not have yet, and the bytes
 * themselves, in memory for a small fresh file and in a sparse cache file otherwise.
 *
 * Ranges (RangeMap) and their life:
 *
 *     write → DIRTY ──seal──▶ SEALED ──commit applied──▶ CLEAN ──evict──▶ (gap: read from the pool)
 *     truncate, punch → HOLE ──seal──▶ SEALED_HOLE ──commit applied──▶ (gap)
 *
 * A write or truncation while a seal is under way simply gives the range its new tag; the seal's outcome then changes only what
 * still carries the sealed tag. The bytes of a sealed piece that has not been read yet must stay: `protect` sees to it.
 */
import { CairnError } from '../errors/cairn-error.js';
import type { Ino } from '../meta/rows.js';
import { END, GAP, RangeMap } from './range-map.js';
import type { Seal } from './seal.js';

export const CLEAN = 1;
export const DIRTY = 2;
export const HOLE = 3;
export const SEALED = 4;
export const SEALED_HOLE = 5;

/** Ranges whose bytes are in the cache. */
export const CACHED = RangeMap.mask(CLEAN, DIRTY, SEALED);
/** Ranges that no commit has taken yet. */
export const UNSEALED = RangeMap.mask(DIRTY, HOLE);
/** Ranges that a commit has taken. */
export const TAKEN = RangeMap.mask(SEALED, SEALED_HOLE);
const SEALED_HOLES = RangeMap.mask(SEALED_HOLE);
const STAGED = RangeMap.mask(DIRTY, HOLE, SEALED, SEALED_HOLE);
const KNOWN = CACHED | STAGED;

/** A fresh file up to this size lives in memory and in the stage log instead of a file of its own. */
export const MEMORY_FILE_BYTES = 64 * 1024;
/** Extents begin and end at these boundaries where the cache holds the bytes around. */
const PAGE_BYTES = 4096;
/** A sync of at most so many bytes writes them into the stage log (one flush) instead of syncing the cache file as well. */
export const INLINE_SYNC_BYTES = 64 * 1024;
const INLINE_SYNC_RANGES = 32;

/** The cache files that contents need; see CacheFiles. */
export interface ContentFiles {
  writeNow(ino: Ino, offset: number, bytes: Uint8Array): void;
  /** Bytes read: fewer than `into` has only at the end of the cache file. */
  readNow(ino: Ino, offset: number, into: Uint8Array): number;
  /** True if what was written to the file may not be there any more. */
  isDoubtful(ino: Ino): boolean;
  /** Why what was written to the file, and read back until now, may not be what was written: the kernel failed to write it back since this was last asked. Undefined if all is well. */
  writebackFailure(ino: Ino): CairnError | undefined;
}

/** Gaps of the cache that are being fetched from the pool. */
export interface Filling {
  /** `isTouched`: what the pool has of it may be old by now. */
  readonly gaps: readonly { readonly from: number; readonly to: number; isTouched: boolean }[];
}

/** How many small extents commits have put into a window since it was last written whole, and when the last (monotonic milliseconds). */
interface SmallExtents {
  readonly count: number;
  readonly lastMs: number;
}

// What an empty list or map takes is much beside the rest of a file that is only looked at.
const ALL_SYNCED: { from: number; to: number }[] = [];
const NO_EXTENTS: ReadonlyMap<number, SmallExtents> = new Map();

export class FileContent {
  readonly ino: Ino;
  readonly ranges = new RangeMap();
  /** The seal under way, if one is: at most one per file. */
  seal: Seal | undefined;
  /** When the oldest staged change was made (monotonic milliseconds); undefined if nothing is staged. */
  stagedSinceMs: number | undefined;
  /** Changes up to this stage sequence are in the pool, or were never made. */
  stagedFrom = 0;
  /** Per window of MAX_CHUNK_BYTES; most files have none. */
  #smallExtents: Map<number, SmallExtents> | undefined;
  /** What is being fetched from the pool, if something is. */
  #filling: Filling | undefined;
  /** Bytes that the owner's account of the cache has booked for this file. */
  bookedCached = 0;
  bookedDirty = 0;
  bookedMemory = 0;
  /** The last commit took only a beginning of what was staged: the stage log still counts writes that it included. */
  partlyCommitted = false;
  /** A sync of the cache file is under way: another one waits for it, since what it covers is not listed as unsynced any more. */
  syncing: Promise<void> | undefined;
  /** A punch of the cache file is under way: writes wait for it. */
  busy: Promise<void> | undefined;
  readonly #files: ContentFiles;
  #memory: Buffer | undefined;
  /** Written since the last stage record, merged while contiguous. */
  #noteFrom = 0;
  #noteTo = 0;
  /** Ranges in the cache file that neither the stage log carries nor a sync of the file covers; undefined when they are too many to list. */
  #unsynced: { from: number; to: number }[] | undefined = ALL_SYNCED;

  /** `inMemory`: nothing of the file is committed, so that it may start in memory. */
  constructor(ino: Ino, files: ContentFiles, inMemory: boolean) {
    this.ino = ino;
    this.#files = files;
    if (inMemory) this.#memory = Buffer.alloc(0);
  }

  get inMemory(): boolean {
    return this.#memory !== undefined;
  }

  /** The cache file may have lost what was written to it: what of it is committed is read from the pool. */
  get doubtful(): boolean {
    return this.#memory === undefined && this.#files.isDoubtful(this.ino);
  }

  /** See ContentFiles; asked after a commit has read its bytes. */
  writebackFailure(): CairnError | undefined {
    return this.#memory === undefined ? this.#files.writebackFailure(this.ino) : undefined;
  }

  /** By window. */
  get smallExtents(): ReadonlyMap<number, SmallExtents> {
    return this.#smallExtents ?? NO_EXTENTS;
  }

  /** One more has come to the window; returns how many it has. */
  addSmallExtent(window: number, nowMs: number): number {
    this.#smallExtents ??= new Map();
    const count = (this.#smallExtents.get(window)?.count ?? 0) + 1;
    this.#smallExtents.set(window, { count, lastMs: nowMs });
    return count;
  }

  /** The window is whole, or is not to be made so. */
  forgetSmallExtents(window: number): void {
    this.#smallExtents?.delete(window);
  }

  /** Nothing of [from, to) is in the cache, nor staged to be zeros. */
  isInPool(from: number, to: number): boolean {
    const next = this.ranges.firstAtOrAfter(from, KNOWN);
    return next === undefined || next.from >= to;
  }

  /** Anything staged, sealed or not. */
  get staged(): boolean {
    return this.ranges.firstAtOrAfter(0, STAGED) !== undefined;
  }

  /** Where the next staged byte at or after `position` is, sealed or not; undefined if there is none. */
  nextStaged(position: number): number | undefined {
    return this.ranges.firstAtOrAfter(position, STAGED)?.from;
  }

  /** Anything that a commit under way has not taken. */
  get unsealed(): boolean {
    return this.ranges.firstAtOrAfter(0, UNSEALED) !== undefined;
  }

  /** Everything that is cached may be forgotten. */
  get clean(): boolean {
    return this.seal === undefined && this.busy === undefined && !this.partlyCommitted && !this.staged;
  }

  get dirtyBytes(): number {
    return this.ranges.bytes(DIRTY) + this.ranges.bytes(SEALED);
  }

  /** Of the dirty bytes, those that a commit has under way. */
  get sealedBytes(): number {
    return this.ranges.bytes(SEALED);
  }

  get cachedBytes(): number {
    return this.dirtyBytes + this.ranges.bytes(CLEAN);
  }

  /** Takes the bytes; the caller has made room and called `protect`. */
  write(offset: number, bytes: Uint8Array): void {
    const end = offset + bytes.length;
    this.#touch(offset, end);
    if (this.#memory !== undefined && end > MEMORY_FILE_BYTES) this.#spill();
    if (this.#memory !== undefined) this.#writeMemory(this.#memory, offset, bytes, end);
    else this.#writeFile(offset, bytes, end);
    this.ranges.set(offset, end, DIRTY);
  }

  #writeFile(offset: number, bytes: Uint8Array, end: number): void {
    try {
      this.#files.writeNow(this.ino, offset, bytes);
    } catch (error) {
      // A part may have been written: what was clean is not what the pool has any more.
      for (const { from, to } of this.#cleanWithin(offset, end)) this.ranges.clear(from, to);
      throw error;
    }
  }

  #writeMemory(memory: Buffer, offset: number, bytes: Uint8Array, end: number): void {
    let target = memory;
    if (end > target.length) {
      // Exactly what a small file needs the first time, doubled when it goes on growing.
      target = Buffer.alloc(Math.min(MEMORY_FILE_BYTES, target.length === 0 ? end : Math.max(end, target.length * 2)));
      memory.copy(target);
      this.#memory = target;
    }
    target.set(bytes, offset);
  }

  /** What is cached goes to the cache file, now and from now on. Errors of the cache file leave it in memory. */
  leaveMemory(): void {
    this.#spill();
  }

  /** Until all of it is in the file the bytes stay in memory: a failure loses nothing. */
  #spill(): void {
    const memory = this.#memory;
    if (memory === undefined) return;
    this.ranges.forEach(0, memory.length, (from, to, value) => {
      if ((CACHED & (1 << value)) !== 0) this.#files.writeNow(this.ino, from, memory.subarray(from, to));
    });
    this.#memory = undefined;
  }

  /** The bytes are gone from [from, to): they read as zeros. `to` may be END. */
  punch(from: number, to: number): void {
    if (from >= to) return;
    this.#touch(from, to);
    this.ranges.set(from, to, HOLE);
  }

  /** What the cache lacks of [from, to) is going to be fetched from the pool. One at a time: the one before is dropped. */
  beginFilling(from: number, to: number): Filling {
    const gaps: Filling['gaps'][number][] = [];
    this.ranges.forEach(
      from,
      to,
      (start, end, value) => {
        if (value === GAP) gaps.push({ from: start, to: end, isTouched: false });
      },
      true,
    );
    this.#filling = { gaps };
    return this.#filling;
  }

  /** Takes the bytes of the gaps as clean ones, except where something has come between. Errors of the cache file. */
  endFilling(filling: Filling, bytes: readonly Uint8Array[]): void {
    if (this.#filling !== filling || this.#memory !== undefined) return;
    for (const [index, { from, to, isTouched }] of filling.gaps.entries()) {
      if (isTouched) continue;
      this.#files.writeNow(this.ino, from, bytes[index]!);
      this.ranges.set(from, to, CLEAN);
    }
  }

  dropFilling(filling: Filling): void {
    if (this.#filling === filling) this.#filling = undefined;
  }

  #touch(from: number, to: number): void {
    if (this.#filling === undefined) return;
    for (const gap of this.#filling.gaps) if (gap.from < to && gap.to > from) gap.isTouched = true;
  }

  /** Copies cached bytes; every byte of the range must be cached. */
  readInto(into: Uint8Array, from: number): void {
    if (this.#memory !== undefined) into.set(this.#memory.subarray(from, from + into.length));
    else {
      const read = this.#files.readNow(this.ino, from, into);
      if (read < into.length)
        throw new CairnError('IO', `the cache file of inode ${this.ino} is shorter than what was written to it`);
    }
  }

  /** The cached bytes of a memory file as a view that the next write may change; undefined for a cache file. */
  memoryView(from: number, to: number): Uint8Array | undefined {
    return this.#memory?.subarray(from, to);
  }

  /** Remembers that [from, to) wants a `write` operation in the stage log. Returns a range that must be noted first, if it cannot be merged. */
  mergeNote(from: number, to: number): { from: number; to: number } | undefined {
    if (this.#noteTo === this.#noteFrom) {
      this.#noteFrom = from;
      this.#noteTo = to;
      return undefined;
    }
    if (from <= this.#noteTo && to >= this.#noteFrom) {
      this.#noteFrom = Math.min(from, this.#noteFrom);
      this.#noteTo = Math.max(to, this.#noteTo);
      return undefined;
    }
    const before = { from: this.#noteFrom, to: this.#noteTo };
    this.#noteFrom = from;
    this.#noteTo = to;
    return before;
  }

  /** The range merged so far, which is forgotten. */
  takeNote(): { from: number; to: number } | undefined {
    if (this.#noteTo === this.#noteFrom) return undefined;
    const note = { from: this.#noteFrom, to: this.#noteTo };
    this.#noteTo = this.#noteFrom;
    return note;
  }

  /** [from, to) of the cache file was noted without its bytes. */
  addUnsynced(from: number, to: number): void {
    if (this.#unsynced === undefined) return;
    const last = this.#unsynced.at(-1);
    if (last !== undefined && from <= last.to && to >= last.from) {
      last.from = Math.min(from, last.from);
      last.to = Math.max(to, last.to);
    } else if (last === undefined) this.#unsynced = [{ from, to }];
    else this.#unsynced.push({ from, to });
    if (this.#unsynced.length > INLINE_SYNC_RANGES) this.#unsynced = undefined;
  }

  /** What a sync must make durable: nothing, a few ranges to write into the stage log, or the whole cache file. Forgotten by the call. */
  takeUnsynced(): 'nothing' | 'file' | readonly { from: number; to: number }[] {
    const unsynced = this.#unsynced;
    this.#unsynced = ALL_SYNCED;
    if (unsynced === undefined) return 'file';
    if (unsynced.length === 0) return 'nothing';
    let bytes = 0;
    for (const { from, to } of unsynced) bytes += to - from;
    return bytes > INLINE_SYNC_BYTES ? 'file' : unsynced;
  }

  /** The sync failed: everything is in doubt until the next one. */
  doubtUnsynced(): void {
    this.#unsynced = undefined;
  }

  /** [from, to) widened to page boundaries as far as the cache holds the bytes; never beyond `sizeBytes`. */
  widen(from: number, to: number, sizeBytes: number): { from: number; to: number } {
    const lower = from - (from % PAGE_BYTES);
    const upper = Math.min(Math.ceil(to / PAGE_BYTES) * PAGE_BYTES, Math.max(sizeBytes, to));
    return {
      from: lower < from && this.ranges.covers(lower, from, CACHED) ? lower : from,
      to: upper > to && this.ranges.covers(to, upper, CACHED) ? upper : to,
    };
  }

  /** Takes everything staged below `limit` for a commit. */
  markSealed(limit: number): void {
    this.ranges.replace(0, limit, DIRTY, SEALED);
    this.ranges.replace(0, limit, HOLE, SEALED_HOLE);
  }

  /** The commit is applied: what it took and nobody changed since is clean. */
  sealApplied(): void {
    this.ranges.replaceAll(SEALED, CLEAN);
    if (this.doubtful) for (const { from, to } of this.cleanRanges()) this.ranges.clear(from, to);
    const holes: { from: number; to: number }[] = [];
    this.ranges.forEachOf(0, END, SEALED_HOLES, (from, to) => holes.push({ from, to }));
    for (const { from, to } of holes) this.ranges.clear(from, to);
  }

  /** The commit failed: staged again. */
  sealFailed(): void {
    this.ranges.replaceAll(SEALED, DIRTY);
    this.ranges.replaceAll(SEALED_HOLE, HOLE);
  }

  /** A commit has put something else in the place of [from, to): what was cached of it, and has not been changed since, goes. */
  dropCleanWithin(from: number, to: number): void {
    this.#touch(from, to);
    for (const range of this.#cleanWithin(from, to)) this.ranges.clear(range.from, range.to);
  }

  cleanRanges(): { from: number; to: number }[] {
    return this.#cleanWithin(0, END);
  }

  #cleanWithin(from: number, to: number): { from: number; to: number }[] {
    const clean: { from: number; to: number }[] = [];
    this.ranges.forEach(from, to, (start, end, value) => {
      if (value === CLEAN) clean.push({ from: start, to: end });
    });
    return clean;
  }

  /** Forgets clean ranges; returns true if nothing cached is left. */
  dropClean(): boolean {
    for (const { from, to } of this.cleanRanges()) this.ranges.clear(from, to);
    if (this.ranges.firstAtOrAfter(0, CACHED) !== undefined) return false;
    // Whatever comes next is no longer a fresh file: it goes to a cache file.
    this.#memory = undefined;
    return true;
  }

  /** Calls `visit` for the parts of [from, to): cached, zeros, or to be read from the pool (GAP). */
  forEach(
    from: number,
    to: number,
    visit: (from: number, to: number, source: 'cache' | 'zeros' | 'pool') => void,
  ): void {
    this.ranges.forEach(
      from,
      to,
      (start, end, value) => {
        if (value === GAP) visit(start, end, 'pool');
        else visit(start, end, value === HOLE || value === SEALED_HOLE ? 'zeros' : 'cache');
      },
      true,
    );
  }
}
