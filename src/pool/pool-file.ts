/** An open file of the library: positions are bytes, contents are bytes. */
import { readPart } from '../vfs/read-part.js';
import type { CommitProgress } from '../vfs/reports.js';
import type { Attr, Handle, Ino, ReadPart, Vfs } from '../vfs/vfs.js';

const NO_BYTES = new Uint8Array(0);

export class PoolFile {
  /** As it was opened. */
  readonly path: string;
  readonly #vfs: Vfs;
  readonly #ino: Ino;
  readonly #handle: Handle;
  /** A handle that writes at the end; opened by the first `append`. */
  #appender: Promise<Handle> | undefined;
  readonly #commit: (onProgress?: (progress: CommitProgress) => void) => Promise<void>;

  constructor(parts: {
    path: string;
    vfs: Vfs;
    ino: Ino;
    handle: Handle;
    /** `handle` writes at the end anyway. */
    appends: boolean;
    commit: (onProgress?: (progress: CommitProgress) => void) => Promise<void>;
  }) {
    this.path = parts.path;
    this.#vfs = parts.vfs;
    this.#ino = parts.ino;
    this.#handle = parts.handle;
    this.#commit = parts.commit;
    if (parts.appends) this.#appender = Promise.resolve(parts.handle);
  }

  /** Attributes as they are now, the staged ones included: `sizeBytes`, times, mode. */
  async stat(): Promise<Attr> {
    return this.#vfs.getattr(this.#ino);
  }

  /** Up to `length` bytes from `offset`; fewer only at the end of the file. */
  async read(offset: number, length: number): Promise<Buffer> {
    const result = this.#vfs.read(this.#handle, offset, length);
    // A part that lies in a cache file is to be copied at once: a moment later its descriptor may be another file's.
    return join(result instanceof Promise ? await result : result);
  }

  /** Writes all bytes at `offset` (of a file opened with `a`: at its end); what lies between the end and `offset` reads as zeros. NO_SPACE, BAD_HANDLE (opened with `r`). */
  async write(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#vfs.write(this.#handle, offset, bytes);
  }

  /** Writes all bytes at the end of the file: also of several at once, none overwrites another. */
  async append(bytes: Uint8Array): Promise<void> {
    this.#appender ??= this.#openAppender();
    await this.#vfs.write(await this.#appender, 0, bytes);
  }

  async #openAppender(): Promise<Handle> {
    // Refused as this file's own writes are.
    await this.#vfs.write(this.#handle, 0, NO_BYTES);
    return this.#vfs.open(this.#ino, { read: false, write: true, append: true });
  }

  /** The promise of the pool's mode for everything written so far: local in default mode, pool in strong mode. */
  async flush(): Promise<void> {
    await this.#vfs.fsync(this.#handle, false);
  }

  /** The pool promise for everything written so far, in either mode. `onProgress` is called as chunks are stored. */
  async commit(onProgress?: (progress: CommitProgress) => void): Promise<void> {
    await this.#commit(onProgress);
  }

  /** As close(2): in strong mode what was written has the pool promise when it resolves. To be called once, also after errors. */
  async close(): Promise<void> {
    const handles = new Set([this.#handle]);
    const appender = await this.#appender?.catch(() => undefined);
    if (appender !== undefined) handles.add(appender);
    try {
      for (const handle of handles) await this.#vfs.flush(handle);
    } finally {
      for (const handle of handles) await this.#vfs.release(handle);
    }
  }
}

function join(parts: readonly ReadPart[]): Buffer {
  return Buffer.concat(parts.map(readPart));
}
