/**
 * Whole copies of committed files on the cache's device, which the kernel reads by itself for whoever opens the file (FUSE passthrough): no request, and no page of
 * ours beside the file system's.
 *
 * Only for faces through which nothing is changed (a read-only mount). There a file's content never changes in place: another face that puts something else under
 * its name makes another inode. So a copy is made once and never written again; it is no part of the cache that commits, evicts and punches. It has no name from the
 * moment that it is made, so nobody can reach it by another way, and nothing is left of it after a kill.
 *
 * Invariants:
 * - What the kernel is given is complete, is what the pool verified while it was read, and is on the device: a copy that could not be written back would be
 *   zeros once its pages are gone, and a short one an end of the file where there is none.
 * - A copy that somebody uses, or has mapped (a mapping outlives its handle), is not given up to make room for another. One that is given up all the same, because
 *   its file is gone, keeps its bytes as long as it is mapped.
 * - Copies take at most half of the cache. One is made only of a file that is opened again, and takes the place only of such as nobody has opened
 *   since this one was opened before: who reads more than there is room for, again and again, keeps what is there instead of replacing all of it each time.
 */
import type { CacheAccount } from '../cache/cache-account.js';
import { MEMORY_FILE_BYTES } from '../cache/file-content.js';
import { hasCode } from '../errors/cairn-error.js';
import type { Clock } from '../io/clock.js';
import type { FileIo, IoFile } from '../io/file-io.js';
import type { Throttle } from '../jobs/throttle.js';
import type { Ino } from '../meta/rows.js';
import { BoundedMap } from './bounded-map.js';
import type { Inode } from './inode.js';
import type { PoolReader } from './pool-reader.js';
import type { Backing } from './vfs.js';

/** Of a smaller file the kernel keeps the pages, and there is little to gain. */
const BACKED_BYTES_MIN = MEMORY_FILE_BYTES;
/** Of the cache's capacity. */
const CAPACITY_SHARE = 0.5;
/** Each has a descriptor. */
const COPIES_MAX = 1024;
/** Files whose last opening is remembered. */
const OPENINGS_MAX = 8192;
const QUEUE_MAX = 256;
/** Read and written in one go. */
const STEP_BYTES = 4 * 1024 * 1024;

interface Copy {
  readonly ino: Ino;
  readonly file: IoFile;
  readonly sizeBytes: number;
  readonly contentStage: number;
  isWhole: boolean;
  users: number;
  /** When it was asked for last, in openings. */
  usedAt: number;
}

/** A file to be copied, and when it was opened the time before the last. */
interface Wish {
  readonly inode: Inode;
  readonly before: number;
}

export class Backings {
  /** Keeps the file's chunks, though it should lose its last name; what it returns ends that. */
  hold: ((inode: Inode) => () => void) | undefined;
  readonly #io: FileIo;
  readonly #path: string;
  readonly #account: CacheAccount;
  readonly #reader: PoolReader;
  readonly #throttle: Throttle;
  readonly #clock: Clock;
  readonly #onFailure: (error: unknown) => void;
  /** Least recently used first. */
  readonly #copies = new Map<Ino, Copy>();
  /** Number of the last opening of a file, the oldest first. */
  readonly #openings = new BoundedMap<Ino, number>(OPENINGS_MAX);
  readonly #queue: Wish[] = [];
  readonly #ending = new AbortController();
  #bytes = 0;
  #opening = 0;
  #working: Promise<void> | undefined;

  /** `path`: where a copy has a name until it is open. `onFailure`: the cache's device failed, apart from being full. */
  constructor(parts: {
    io: FileIo;
    path: string;
    account: CacheAccount;
    reader: PoolReader;
    throttle: Throttle;
    clock: Clock;
    onFailure: (error: unknown) => void;
  }) {
    this.#io = parts.io;
    this.#path = parts.path;
    this.#account = parts.account;
    this.#reader = parts.reader;
    this.#throttle = parts.throttle;
    this.#clock = parts.clock;
    this.#onFailure = parts.onFailure;
    this.#account.onPressure = (bytes) => this.#relieve(bytes);
  }

  /**
   * The copy of the file, kept until it is released. Undefined if there is none: to ask for it counts as an opening of the file, and the second one has a
   * copy made in the background.
   */
  take(inode: Inode): Backing | undefined {
    const opening = ++this.#opening;
    const before = this.#openings.get(inode.ino);
    this.#openings.delete(inode.ino);
    this.#openings.set(inode.ino, opening);
    const copy = this.#copies.get(inode.ino);
    if (copy === undefined) {
      if (before !== undefined) this.#wish({ inode, before });
      return undefined;
    }
    if (!isAsCopied(copy, inode)) {
      if (copy.isWhole && copy.users === 0) this.#drop(copy);
      return undefined;
    }
    const { fd } = copy.file;
    if (!copy.isWhole || fd === undefined) return undefined;
    this.#copies.delete(copy.ino);
    this.#copies.set(copy.ino, copy);
    copy.usedAt = opening;
    copy.users += 1;
    return {
      fd,
      release: () => {
        copy.users -= 1;
      },
    };
  }

  /** The file is gone. Whoever has its copy mapped keeps the bytes. */
  forget(ino: Ino): void {
    this.#openings.delete(ino);
    const copy = this.#copies.get(ino);
    if (copy?.isWhole === true && copy.users === 0) this.#drop(copy);
  }

  /** Resolves when nothing is being copied. */
  idle(): Promise<void> {
    return this.#working ?? Promise.resolve();
  }

  /** Ends what is being copied, and gives up all copies. */
  async close(): Promise<void> {
    this.#ending.abort();
    this.#queue.length = 0;
    await this.idle();
    for (const copy of [...this.#copies.values()]) this.#drop(copy);
  }

  #wish(wish: Wish): void {
    const { inode } = wish;
    if (this.#ending.signal.aborted || !isWorthIt(inode) || this.#queue.length >= QUEUE_MAX) return;
    if (this.#queue.some((queued) => queued.inode.ino === inode.ino)) return;
    this.#queue.push(wish);
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
    });
  }

  async #work(): Promise<void> {
    for (let wish = this.#queue.shift(); wish !== undefined; wish = this.#queue.shift()) {
      const { inode, before } = wish;
      if (!isWorthIt(inode) || this.#copies.has(inode.ino) || !this.#makeRoom(inode.sizeBytes, before)) continue;
      const letGo = this.hold?.(inode);
      try {
        await this.#copy(inode);
      } finally {
        letGo?.();
      }
    }
  }

  /** Never rejects: a file that cannot be copied is read as before, and whoever reads it is told what is wrong with it. */
  async #copy(inode: Inode): Promise<void> {
    const { ino, sizeBytes, contentStage } = inode;
    let file: IoFile;
    try {
      file = this.#io.openNow(this.#path, { create: true });
      this.#io.removeNow(this.#path);
    } catch (error) {
      this.#failed(error);
      return;
    }
    const copy: Copy = { ino, file, sizeBytes, contentStage, isWhole: false, users: 0, usedAt: this.#opening };
    this.#copies.set(ino, copy);
    this.#bytes += sizeBytes;
    try {
      copy.isWhole = (await this.#fill(copy, inode)) && isAsCopied(copy, inode) && !inode.gone;
    } catch {
      // As said above.
    }
    if (!copy.isWhole) this.#drop(copy);
  }

  /** False if the pool is being closed. */
  async #fill(copy: Copy, inode: Inode): Promise<boolean> {
    const { file, sizeBytes } = copy;
    const { signal } = this.#ending;
    const buffer = Buffer.allocUnsafeSlow(Math.min(STEP_BYTES, sizeBytes));
    await this.#writing(file.truncate(sizeBytes));
    for (let from = 0; from < sizeBytes; from += STEP_BYTES) {
      const startMs = this.#clock.monotonicMs();
      const to = Math.min(sizeBytes, from + STEP_BYTES);
      // Holes stay holes.
      for (const extent of await this.#reader.extents(inode, from, to)) {
        const start = Math.max(from, extent.offset);
        const end = Math.min(to, extent.offset + extent.length);
        const bytes = buffer.subarray(0, end - start);
        await this.#reader.read(inode, start, bytes, end);
        await this.#writing(file.write([bytes], start));
      }
      if (signal.aborted) return false;
      await this.#throttle.rest(this.#clock.monotonicMs() - startMs, signal);
    }
    await this.#writing(file.datasync());
    return !signal.aborted;
  }

  async #writing(job: Promise<void>): Promise<void> {
    try {
      await job;
    } catch (error) {
      this.#failed(error);
      throw error;
    }
  }

  #failed(error: unknown): void {
    if (!hasCode(error, 'NO_SPACE', 'TOO_BIG')) this.#onFailure(error);
  }

  /** Books the bytes for a file that was opened before at `before`. False if what is there has a better right to the place. */
  #makeRoom(bytes: number, before: number): boolean {
    const most = this.#account.limits.capacityBytes * CAPACITY_SHARE;
    if (bytes > most) return false;
    const isFull = () => this.#bytes + bytes > most || this.#copies.size >= COPIES_MAX;
    for (const copy of [...this.#copies.values()]) {
      if (!isFull()) break;
      if (copy.usedAt < before && isIdle(copy)) this.#drop(copy);
    }
    return !isFull() && this.#account.reserve(bytes);
  }

  /** A writer needs the place. */
  #relieve(bytes: number): void {
    let left = bytes;
    for (const copy of [...this.#copies.values()]) {
      if (left <= 0) return;
      if (!isIdle(copy)) continue;
      left -= copy.sizeBytes;
      this.#drop(copy);
    }
  }

  #drop(copy: Copy): void {
    this.#copies.delete(copy.ino);
    this.#bytes -= copy.sizeBytes;
    this.#account.unreserve(copy.sizeBytes);
    // Its bytes are nobody's any more.
    copy.file.close().catch(this.#onFailure);
  }
}

/** All of it is committed, nobody writes to it, and it has a size that pays. */
function isWorthIt(inode: Inode): boolean {
  const { content } = inode;
  return (
    !inode.gone &&
    inode.held === undefined &&
    inode.version > 0 &&
    inode.writers === 0 &&
    inode.sizeBytes > BACKED_BYTES_MIN &&
    content !== undefined &&
    !content.staged
  );
}

function isAsCopied({ sizeBytes, contentStage }: Copy, inode: Inode): boolean {
  return inode.sizeBytes === sizeBytes && inode.contentStage === contentStage && inode.content?.staged === false;
}

/** Nobody has it open, nor mapped since; where that cannot be told, it is as if. */
function isIdle({ isWhole, users, file }: Copy): boolean {
  if (!isWhole || users > 0) return false;
  try {
    return file.isOpenElsewhere?.() !== true;
  } catch {
    return true;
  }
}
