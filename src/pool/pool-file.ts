/** An open file of the library: positions are bytes, contents are bytes. */
import { readSync } from 'node:fs';
import { CairnError } from '../errors/cairn-error.js';
import type { CommitProgress } from '../vfs/reports.js';
import type { Handle, ReadPart, Vfs } from '../vfs/vfs.js';

export class PoolFile {
  readonly path: string;
  readonly #vfs: Vfs;
  readonly #handle: Handle;
  readonly #size: () => Promise<number>;
  readonly #commit: (onProgress?: (progress: CommitProgress) => void) => Promise<void>;

  constructor(parts: {
    path: string;
    vfs: Vfs;
    handle: Handle;
    size: () => Promise<number>;
    commit: (onProgress?: (progress: CommitProgress) => void) => Promise<void>;
  }) {
    this.path = parts.path;
    this.#vfs = parts.vfs;
    this.#handle = parts.handle;
    this.#size = parts.size;
    this.#commit = parts.commit;
  }

  /** Up to `length` bytes from `offset`; fewer only at the end of the file. */
  async read(offset: number, length: number): Promise<Buffer> {
    const result = this.#vfs.read(this.#handle, offset, length);
    // A part that lies in a cache file is to be copied at once: a moment later its descriptor may be another file's.
    return join(result instanceof Promise ? await result : result);
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#vfs.write(this.#handle, offset, bytes);
  }

  /** Writes at the end of the file. */
  async append(bytes: Uint8Array): Promise<void> {
    await this.write(await this.#size(), bytes);
  }

  /** The promise of the pool's mode: local in default mode, pool in strong mode. */
  async flush(): Promise<void> {
    await this.#vfs.fsync(this.#handle, false);
  }

  /** The pool promise, in either mode. */
  async commit(onProgress?: (progress: CommitProgress) => void): Promise<void> {
    await this.#commit(onProgress);
  }

  /** As close(2): in strong mode what was written has the pool promise when it resolves. */
  async close(): Promise<void> {
    try {
      await this.#vfs.flush(this.#handle);
    } finally {
      await this.#vfs.release(this.#handle);
    }
  }
}

function join(parts: readonly ReadPart[]): Buffer {
  return Buffer.concat(parts.map(bytesOf));
}

function bytesOf(part: ReadPart): Uint8Array {
  if (part instanceof Uint8Array) return part;
  const bytes = Buffer.allocUnsafe(part.length);
  let done = 0;
  while (done < bytes.length) {
    const read = readSync(part.fd, bytes, done, bytes.length - done, part.position + done);
    if (read === 0) throw new CairnError('IO', 'a cache file is shorter than what was written to it');
    done += read;
  }
  return bytes;
}
