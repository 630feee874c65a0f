/**
 * How much the cache holds, and room for more: clean bytes of the least recently used files go first, dirty bytes never. A
 * writer for whom there is no room waits for `changed`.
 *
 * What lies in memory has a limit of its own: beyond it clean memory files are forgotten, oldest first, and a dirty one moves to a
 * cache file.
 */
import { assert } from '../errors/cairn-error.js';
import type { FileContent } from './file-content.js';

export interface CacheLimits {
  /** Bytes that cache files and memory files may hold together. */
  readonly capacityBytes: number;
  /** Of which in memory, by small files. */
  readonly memoryBytes: number;
}

/** Gives the space of a content whose clean bytes have been forgotten back to the device, and resolves when it has. Neither rejects: what cannot be given back is only space. */
export interface CacheReclaimer {
  /** Nothing of the file is cached any more. */
  removeFile(content: FileContent): Promise<void>;
  /**
   * Only these clean ranges go: the file has dirty parts, or the stage log counts on it (`partlyCommitted`), which must be told first.
   * Writes to the content wait meanwhile.
   */
  punch(content: FileContent, ranges: readonly { readonly from: number; readonly to: number }[]): Promise<void>;
}

export class CacheAccount {
  readonly limits: CacheLimits;
  readonly #reclaimer: CacheReclaimer;
  #cachedBytes = 0;
  #dirtyBytes = 0;
  #memoryBytes = 0;
  /** Asked for so many bytes that others than contents hold, when forgetting contents has not been enough; what can go goes at once. */
  onPressure: ((bytes: number) => void) | undefined;
  /** Contents with clean bytes, least recently used first (a Set keeps insertion order). */
  readonly #evictable = new Set<FileContent>();
  /** Contents that lie in memory and are all clean, in the same order. */
  readonly #cleanInMemory = new Set<FileContent>();

  constructor(limits: CacheLimits, reclaimer: CacheReclaimer) {
    this.limits = limits;
    this.#reclaimer = reclaimer;
  }

  get cachedBytes(): number {
    return this.#cachedBytes;
  }

  get dirtyBytes(): number {
    return this.#dirtyBytes;
  }

  /** Of the cached bytes, those in memory. */
  get memoryBytes(): number {
    return this.#memoryBytes;
  }

  /** Books what the content holds now. Call it after every change of its ranges. */
  book(content: FileContent): void {
    this.#enter(content);
    if (content.bookedMemory > 0 && this.#memoryBytes > this.limits.memoryBytes) this.#relieveMemory(content);
  }

  /** As `book`, after a commit. A doubtful cache file of which nothing is needed any more goes, and its doubt with it. */
  settle(content: FileContent): void {
    this.book(content);
    if (content.doubtful && content.clean && content.cachedBytes === 0) void this.#reclaimer.removeFile(content);
  }

  #enter(content: FileContent): void {
    const dirty = content.dirtyBytes;
    const cached = content.cachedBytes;
    const memory = content.inMemory ? cached : 0;
    this.#dirtyBytes += dirty - content.bookedDirty;
    this.#cachedBytes += cached - content.bookedCached;
    this.#memoryBytes += memory - content.bookedMemory;
    content.bookedDirty = dirty;
    content.bookedCached = cached;
    content.bookedMemory = memory;
    if (cached > dirty) this.#evictable.add(content);
    else this.#evictable.delete(content);
    if (memory > 0 && dirty === 0) this.#cleanInMemory.add(content);
    else this.#cleanInMemory.delete(content);
  }

  #relieveMemory(newest: FileContent): void {
    for (const content of this.#cleanInMemory) {
      if (content.seal === undefined) this.#dropClean(content);
      if (this.#memoryBytes <= this.limits.memoryBytes) return;
    }
    if (newest.bookedDirty === 0) return;
    try {
      newest.leaveMemory();
    } catch {
      // It stays in memory; the write that needs the cache file next says what is wrong with it.
      return;
    }
    this.#enter(newest);
  }

  /** Nothing of the content stays cached. It must be `clean`. */
  forget(content: FileContent): void {
    assert(content.clean, 'only clean bytes are forgotten');
    if (content.bookedCached > 0) void this.#dropClean(content);
  }

  /** Moves the content to the end of the queue for eviction. */
  used(content: FileContent): void {
    if (this.#evictable.delete(content)) this.#evictable.add(content);
    if (this.#cleanInMemory.delete(content)) this.#cleanInMemory.add(content);
  }

  /** True if `bytes` more fit, after forgetting clean bytes if need be, and what else need not be there. */
  makeRoom(bytes: number): boolean {
    if (this.#forgetFor(bytes)) return true;
    this.onPressure?.(this.#cachedBytes + bytes - this.limits.capacityBytes);
    return this.#cachedBytes + bytes <= this.limits.capacityBytes;
  }

  /** Books bytes on the device that no content has, until `unreserve`. False if there is no room for them. */
  reserve(bytes: number): boolean {
    if (!this.#forgetFor(bytes)) return false;
    this.#cachedBytes += bytes;
    return true;
  }

  unreserve(bytes: number): void {
    this.#cachedBytes -= bytes;
  }

  #forgetFor(bytes: number): boolean {
    if (this.#cachedBytes + bytes <= this.limits.capacityBytes) return true;
    for (const content of this.#evictable) {
      // A seal may be reading clean bytes too: its pieces are widened to whole pages.
      if (content.seal !== undefined || content.busy !== undefined) continue;
      void this.#dropClean(content);
      if (this.#cachedBytes + bytes <= this.limits.capacityBytes) return true;
    }
    return false;
  }

  /**
   * The device has less room than the limit says, since others use it: forgets clean bytes of cache files until `bytes` or more are gone, and resolves when
   * the device has them back. Undefined if there are none.
   */
  giveBack(bytes: number): Promise<void> | undefined {
    const before = this.#cachedBytes;
    const going: Promise<void>[] = [];
    for (const content of this.#evictable) {
      if (content.inMemory || content.seal !== undefined || content.busy !== undefined) continue;
      going.push(this.#dropClean(content));
      if (before - this.#cachedBytes >= bytes) break;
    }
    return going.length === 0 ? undefined : Promise.all(going).then(() => undefined);
  }

  #dropClean(content: FileContent): Promise<void> {
    const { inMemory } = content;
    const ranges = content.cleanRanges();
    const empty = content.dropClean();
    let given = Promise.resolve();
    if (!inMemory) {
      if (empty && !content.partlyCommitted) given = this.#reclaimer.removeFile(content);
      else {
        given = this.#reclaimer.punch(content, ranges).finally(() => {
          content.busy = undefined;
        });
        content.busy = given;
      }
    }
    this.#enter(content);
    return given;
  }
}
