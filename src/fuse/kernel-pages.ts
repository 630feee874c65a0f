/**
 * What programs have written and the kernel still keeps in its pages: all writes where its writeback cache was agreed on at INIT, otherwise only those through shared
 * mappings. Pages with such bytes belong to files that are open for writing: the kernel sends them before it tells us that the last such handle is gone (RELEASE).
 *
 * `handOver` makes the kernel send them (syncfs of the mount, in a thread: the event loop has to serve what it sends). Whether syncfs waits for our answers differs between
 * kernels, so its end proves nothing; but the kernel queues background requests first come, first served, and RELEASEDIR of the directory by which syncfs was asked
 * is one of them. When it comes, all WRITEs have come.
 *
 * Invariant: with the writeback cache, pages are handed over about every second while a file is open for writing, so a killed daemon loses no more than that of what
 * no fsync or close had answered for. The kernel by itself takes up to half a minute.
 */
import { existsSync } from 'node:fs';
import { CairnError, messageOf } from '../errors/cairn-error.js';
import type { Clock, Timer } from '../io/clock.js';
import type { Handle, Ino, Result } from '../vfs/vfs.js';

/** From the end of one handing over to the beginning of the next. */
const HAND_OVER_MS = 1000;

export interface KernelPagesOptions {
  /** Ask for the writeback cache. */
  readonly writeback: boolean;
  readonly clock: Clock;
  /** syncfs of the mount, by a directory that is opened for it, in a thread of this process. */
  readonly sync: (callback: (error: Error | null) => void) => void;
}

export class KernelPages {
  /** The kernel has its writeback cache: sizes and times of files are its own, and WRITE comes later than write(2), by any writable handle. */
  isWriteback = false;
  readonly #options: KernelPagesOptions | undefined;
  readonly #log: (message: string, error: unknown) => void;
  readonly #writers = new Map<Ino, number>();
  readonly #handles = new Map<Handle, Ino>();
  /** WRITEs that wait for something. */
  readonly #taking = new Set<Promise<unknown>>();
  #isAsking = false;
  /** The syncfs that has been asked for. */
  #asked: Promise<Error | null> | undefined;
  #isHeld = false;
  /** The directory by which syncfs is being asked, and who waits for its RELEASEDIR. */
  #directory: Handle | undefined;
  #passed: (() => void) | undefined;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #timer: Timer | undefined;
  #isClosed = false;
  #lostBytes = 0;
  #why = '';

  constructor(options: KernelPagesOptions | undefined, log: (message: string, error: unknown) => void) {
    this.#options = options;
    this.#log = log;
  }

  opened(ino: Ino, handle: Handle): void {
    if (!this.isWriteback) return;
    this.#writers.set(ino, (this.#writers.get(ino) ?? 0) + 1);
    this.#handles.set(handle, ino);
    this.#arm();
  }

  released(handle: Handle): void {
    const ino = this.#handles.get(handle);
    if (ino === undefined) return;
    this.#handles.delete(handle);
    const others = this.#writers.get(ino)! - 1;
    if (others > 0) this.#writers.set(ino, others);
    else this.#writers.delete(ino);
  }

  /** The kernel may have bytes of it that have never been sent, also beyond the end that the vfs knows. */
  mayHave(ino: Ino): boolean {
    return this.#writers.has(ino);
  }

  /** Runs a WRITE of pages. Whoever wrote them has been told that they are written, so a failure is counted: the kernel tells fsync or close, and we whoever looks after the pool. */
  take(length: number, write: () => Result<number>): Result<number> {
    let written: Result<number>;
    try {
      written = write();
    } catch (error) {
      this.#lost(length, error);
      throw error;
    }
    if (!(written instanceof Promise)) return written;
    const taking = written.finally(() => this.#taking.delete(taking));
    this.#taking.add(taking);
    taking.catch((error: unknown) => this.#lost(length, error));
    return taking;
  }

  #lost(bytes: number, error: unknown): void {
    this.#lostBytes += bytes;
    this.#why = messageOf(error);
    this.#log('bytes that programs had written could not be stored: fsync or close tells them', error);
  }

  /** A sentence for `cairn status`; undefined if nothing was lost. */
  get finding(): string | undefined {
    if (this.#lostBytes === 0) return undefined;
    const kib = Math.ceil(this.#lostBytes / 1024);
    return `${kib} KiB that programs had written could not be stored (${this.#why}): fsync or close has told them, or will; writing them again is theirs to do`;
  }

  /**
   * Resolves when everything that programs had written before this call has come to the vfs, or has failed. IO if the kernel could not be asked. Several calls share one syncfs,
   * which begins after each of them.
   */
  handOver(): Promise<void> {
    if (this.#options === undefined || this.#isClosed || this.#isHeld) return Promise.resolve();
    if (this.#running === undefined) {
      this.#running = this.#handOver(this.#options).finally(() => {
        this.#running = undefined;
      });
      return this.#running;
    }
    this.#next ??= this.#running
      .catch(() => undefined)
      .then(() => {
        this.#next = undefined;
        return this.handOver();
      });
    return this.#next;
  }

  async #handOver({ sync }: KernelPagesOptions): Promise<void> {
    const passed = new Promise<void>((resolve) => {
      this.#passed = resolve;
    });
    this.#isAsking = true;
    this.#asked = new Promise((resolve) => sync(resolve));
    const error = await this.#asked;
    this.#isAsking = false;
    // What failed of the pages themselves is for whoever wrote them. Without the writeback cache there is little to have: what was stored through mappings.
    if (error !== null && this.#directory === undefined && !this.#isClosed && this.isWriteback)
      throw new CairnError('IO', `the kernel could not be asked for what programs have written: ${messageOf(error)}`, {
        hint: 'look at the mount with `cairn doctor`, and try again',
        cause: error,
      });
    if (this.#directory !== undefined && !this.#isClosed) await passed;
    this.#directory = undefined;
    this.#passed = undefined;
    await Promise.allSettled(this.#taking);
  }

  /**
   * Runs an unmount, which is refused as long as a directory is open here, and sees to what the kernel has by itself: nothing is handed over meanwhile.
   */
  async holding(unmount: () => Promise<void>): Promise<void> {
    this.#isHeld = true;
    try {
      await this.#asked;
      await unmount();
    } finally {
      this.#isHeld = false;
    }
  }

  /** Whether a directory that the thread `pid` opens is the one of a handing over. Nothing else in this process touches its own mount. */
  isAsking(pid: number): boolean {
    return this.#isAsking && existsSync(`/proc/self/task/${pid}`);
  }

  askedBy(directory: Handle): void {
    this.#directory = directory;
  }

  releasedDirectory(directory: Handle): void {
    if (directory === this.#directory) this.#passed?.();
  }

  #arm(): void {
    if (this.#options === undefined || this.#timer !== undefined || this.#isClosed) return;
    this.#timer = this.#options.clock.after(HAND_OVER_MS, () => {
      const again = () => {
        this.#timer = undefined;
        if (this.#writers.size > 0) this.#arm();
      };
      if (this.#writers.size === 0) again();
      else
        this.handOver()
          .catch((error: unknown) => this.#log(messageOf(error), error))
          .then(again);
    });
  }

  /** The mount is gone: nothing more comes. */
  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#passed?.();
  }
}
