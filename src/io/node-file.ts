/**
 * An open file of the operating system.
 *
 * Invariant: the descriptor is closed only when no job of the thread pool uses it. A job that ran after the close could write
 * into whatever file got the number next, so `close` waits for what is under way and everything after it is refused.
 */
import { close, fdatasync, fstat, ftruncate, read, readSync } from 'node:fs';
import type { Addon } from '../../native/addon.js';
import { asError, assert, CairnError, systemCode } from '../errors/cairn-error.js';
import type { IoFile } from './file-io.js';
import { toCairnError } from './system-error.js';

const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
/** A read of 2 GiB or more is refused by node. */
const MAX_READ_BYTES = 1 << 30;
const ZEROS = Buffer.alloc(1 << 18);

type Done = (error: Error | null | undefined) => void;

export class NodeFile implements IoFile {
  readonly path: string;
  readonly #addon: Addon;
  #fd: number | undefined;
  #running = 0;
  #closing: Promise<void> | undefined;
  /** Set while `close` waits for the last job. */
  #idle: (() => void) | undefined;

  constructor(addon: Addon, fd: number, path: string) {
    this.#addon = addon;
    this.#fd = fd;
    this.path = path;
  }

  get fd(): number | undefined {
    return this.#fd;
  }

  read(into: Uint8Array, position: number): Promise<number> {
    checkOffset(position);
    const fd = this.#start();
    return new Promise((resolve, reject) => {
      let done = 0;
      const next = (): void => {
        const length = Math.min(into.length - done, MAX_READ_BYTES);
        read(fd, into, done, length, position + done, (error, got) => {
          done += got ?? 0;
          // A read may be short before the end of the file too, when a signal comes between.
          if (error === null && got > 0 && done < into.length) return next();
          this.#finish();
          if (error === null) resolve(done);
          else reject(toCairnError(error, 'read', this.path));
        });
      };
      next();
    });
  }

  async readSummed(
    head: Uint8Array,
    body: Uint8Array,
    position: number,
    sums: Uint32Array,
    blockBytes: number,
  ): Promise<number> {
    checkOffset(position);
    let bytes = 0;
    await this.#job('read', (fd, done) =>
      this.#addon.readSummed(fd, head, body, position, sums, blockBytes, (error, bytesRead) => {
        bytes = bytesRead ?? 0;
        done(error);
      }),
    );
    return bytes;
  }

  readAhead(position: number, length: number): Promise<void> {
    checkOffset(position);
    checkOffset(length);
    return this.#job('read ahead in', (fd, done) => this.#addon.readAhead(fd, position, length, done));
  }

  readNow(into: Uint8Array, position: number): number {
    checkOffset(position);
    const fd = this.#open();
    try {
      let done = 0;
      while (done < into.length) {
        const got = readSync(fd, into, done, Math.min(into.length - done, MAX_READ_BYTES), position + done);
        if (got === 0) break;
        done += got;
      }
      return done;
    } catch (error) {
      throw toCairnError(error, 'read', this.path);
    }
  }

  write(parts: readonly Uint8Array[], position: number): Promise<void> {
    checkOffset(position);
    return this.#job('write to', (fd, done) => this.#addon.writeAllAsync(fd, parts, position, false, done));
  }

  writeNow(parts: readonly Uint8Array[], position: number): void {
    checkOffset(position);
    const fd = this.#open();
    try {
      this.#addon.writeAll(fd, parts, position);
    } catch (error) {
      throw toCairnError(error, 'write to', this.path);
    }
  }

  async lend(use: (fd: number) => Promise<void>): Promise<void> {
    const fd = this.#start();
    try {
      await use(fd);
    } finally {
      this.#finish();
    }
  }

  writeAndDatasync(parts: readonly Uint8Array[], position: number): Promise<void> {
    checkOffset(position);
    return this.#job('write and sync', (fd, done) => this.#addon.writeAllAsync(fd, parts, position, true, done));
  }

  datasync(): Promise<void> {
    return this.#job('sync', (fd, done) => fdatasync(fd, done));
  }

  checkWriteback(): void {
    const fd = this.#open();
    try {
      this.#addon.checkWriteback(fd);
    } catch (error) {
      // A file system without the call tells with the next sync.
      if (!isUnsupported(error)) throw toCairnError(error, 'write back', this.path);
    }
  }

  isOpenElsewhere(): boolean {
    const fd = this.#open();
    try {
      return this.#addon.isOpenElsewhere(fd);
    } catch (error) {
      throw toCairnError(error, 'ask for the users of', this.path);
    }
  }

  async allocate(offset: number, length: number): Promise<void> {
    try {
      await this.#fallocate('reserve space for', FALLOC_FL_KEEP_SIZE, offset, length);
    } catch (error) {
      if (!isUnsupported(error)) throw error;
    }
  }

  async punch(offset: number, length: number): Promise<void> {
    try {
      await this.#fallocate('give back space of', FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
    } catch (error) {
      if (!isUnsupported(error)) throw error;
      await this.#writeZeros(offset, length);
    }
  }

  truncate(length: number): Promise<void> {
    checkOffset(length);
    return this.#job('truncate', (fd, done) => ftruncate(fd, length, done));
  }

  async size(): Promise<number> {
    let bytes = 0;
    await this.#job('examine', (fd, done) =>
      fstat(fd, (error, stats) => {
        bytes = stats?.size ?? 0;
        done(error);
      }),
    );
    return bytes;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const fd = this.#open();
    this.#fd = undefined;
    if (this.#running > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    }
    await new Promise<void>((resolve, reject) => {
      close(fd, (error) => {
        if (error) reject(toCairnError(error, 'close', this.path));
        else resolve();
      });
    });
  }

  async #fallocate(action: string, mode: number, offset: number, length: number): Promise<void> {
    checkOffset(offset);
    checkOffset(length);
    // The system call refuses an empty range.
    if (length > 0) await this.#job(action, (fd, done) => this.#addon.fallocate(fd, mode, offset, length, done));
  }

  /** What a hole reads as, where the file system has none. Like a hole it never makes the file longer. */
  async #writeZeros(offset: number, length: number): Promise<void> {
    const end = Math.min(offset + length, await this.size());
    for (let at = offset; at < end; at += ZEROS.length) {
      await this.write([ZEROS.subarray(0, Math.min(ZEROS.length, end - at))], at);
    }
  }

  #job(action: string, run: (fd: number, done: Done) => void): Promise<void> {
    const fd = this.#start();
    return new Promise((resolve, reject) => {
      const done: Done = (error) => {
        this.#finish();
        if (error) reject(toCairnError(error, action, this.path));
        else resolve();
      };
      try {
        run(fd, done);
      } catch (error) {
        // Refused before it became a job: no callback will come.
        done(asError(error));
      }
    });
  }

  #open(): number {
    assert(this.#fd !== undefined, `${this.path} is open`);
    return this.#fd;
  }

  #start(): number {
    const fd = this.#open();
    this.#running++;
    return fd;
  }

  #finish(): void {
    this.#running--;
    if (this.#running === 0) this.#idle?.();
  }
}

function checkOffset(value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, 'an offset or length is a non-negative integer');
}

function isUnsupported(error: unknown): boolean {
  // ENOTSUP and EOPNOTSUPP are one number on Linux; libuv calls it ENOTSUP. ENOSYS is what some FUSE file systems answer.
  const code = systemCode(error instanceof CairnError ? error.cause : error);
  return code === 'ENOTSUP' || code === 'EOPNOTSUPP' || code === 'ENOSYS';
}
