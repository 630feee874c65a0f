/**
 * How much the cache holds, and room for more: clean bytes of the least recently used files go first, dirty bytes never. A
 * writer for whom there is no room waits for `changed`.
 */
import { assert } from '../errors/cairn-error.js';
import type { FileContent } from './file-content.js';

/** Memory files that are looked at for one write: those not committed yet are put at the end. */
const LOOKS = 64;

export interface CacheLimits {
  /** Bytes that cache files and memory files may hold together. */
  readonly capacityBytes: number;
  /** Of which in memory, by small files. */
  readonly memoryBytes: number;
}

/** Gives the space of a content whose clean bytes have been forgotten back to the device. */
export interface CacheReclaimer {
  /** Nothing of the file is cached any more. */
  removeFile(content: FileContent): void;
  /** The file has dirty parts: only these clean ranges go. Writes to the content wait meanwhile. */
  punch(content: FileContent, ranges: readonly { readonly from: number; readonly to: number }[]): Promise<void>;
}

export class CacheAccount {
  readonly limits: CacheLimits;
  readonly #reclaimer: CacheReclaimer;
  #cachedBytes = 0;
  #dirtyBytes = 0;
  #memoryBytes = 0;
  /** Contents that hold something, least recently used first (a Set keeps insertion order). */
  readonly #holders = new Set<FileContent>();
  readonly #memoryHolders = new Set<FileContent>();

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

  /** Books what the content holds now. Call it after every change of its ranges. */
  book(content: FileContent): void {
    const dirty = content.dirtyBytes;
    const cached = content.cachedBytes;
    this.#dirtyBytes += dirty - content.bookedDirty;
    this.#cachedBytes += cached - content.bookedCached;
    content.bookedDirty = dirty;
    content.bookedCached = cached;
    if (cached === 0) this.#holders.delete(content);
    else this.#holders.add(content);
    const memory = content.inMemory ? cached : 0;
    this.#memoryBytes += memory - content.bookedMemory;
    content.bookedMemory = memory;
    if (memory === 0) this.#memoryHolders.delete(content);
    else this.#memoryHolders.add(content);
  }

  /** False if small files should rather go to cache files, because what is not committed yet fills the memory meant for them. */
  makeMemory(): boolean {
    if (this.#memoryBytes < this.limits.memoryBytes) return true;
    let looks = LOOKS;
    for (const content of this.#memoryHolders) {
      if (looks-- === 0) break;
      if (content.clean) this.#dropClean(content);
      else if (this.#memoryHolders.delete(content)) this.#memoryHolders.add(content);
      if (this.#memoryBytes < this.limits.memoryBytes) return true;
    }
    return false;
  }

  /** Nothing of the content stays cached. It must be `clean`. */
  forget(content: FileContent): void {
    assert(content.clean, 'only clean bytes are forgotten');
    if (content.bookedCached > 0) this.#dropClean(content);
  }

  /** Moves the content to the end of the queue for eviction. */
  used(content: FileContent): void {
    if (this.#holders.delete(content)) this.#holders.add(content);
    if (this.#memoryHolders.delete(content)) this.#memoryHolders.add(content);
  }

  /** True if `bytes` more fit, after forgetting clean bytes if need be. */
  makeRoom(bytes: number): boolean {
    if (this.#cachedBytes + bytes <= this.limits.capacityBytes) return true;
    for (const content of this.#holders) {
      if (content.seal !== undefined || content.busy !== undefined || content.partlySealed) continue;
      if (content.bookedCached === content.bookedDirty) continue;
      this.#dropClean(content);
      if (this.#cachedBytes + bytes <= this.limits.capacityBytes) return true;
    }
    return false;
  }

  #dropClean(content: FileContent): void {
    const ranges = content.cleanRanges();
    if (content.dropClean()) this.#reclaimer.removeFile(content);
    else if (!content.inMemory) {
      content.busy = this.#reclaimer.punch(content, ranges).finally(() => {
        content.busy = undefined;
      });
    }
    this.book(content);
  }
}
