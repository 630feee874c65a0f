/** Open files and directories of all faces, by the numbers that the faces hold. */
import { CairnError } from '../errors/cairn-error.js';
import type { Inode } from './inode.js';
import type { Handle, OpenMode } from './vfs.js';

export interface FileHandle {
  readonly inode: Inode;
  readonly mode: OpenMode;
  /** Written since the last flush: what a strong close has to commit. */
  written: boolean;
  /** Where the last read ended, and how often in a row the next one began there. */
  readEnd: number;
  sequentialReads: number;
  /** Bytes of these reads. */
  readRun: number;
  /** Up to here the errors of the inode have been told to this handle (ErrorSequence). */
  toldErrors: number;
}

/** Keys of entries already returned, so that a position can be gone back to. */
const KEYS_KEPT = 65_536;
const MARKER_EVERY = 256;

export class DirectoryHandle {
  readonly inode: Inode;
  /** Keys of entries number `#first` and following, in the order in which they were returned. */
  #keys: string[] = [];
  #first = 0;
  /** Key of every 256th entry before those. */
  readonly #markers: string[] = [];

  constructor(inode: Inode) {
    this.inode = inode;
  }

  rewind(): void {
    this.#keys = [];
    this.#first = 0;
    this.#markers.length = 0;
  }

  /** The key of the entry that was returned as number `index` (from 0), and how many entries after that key to skip; undefined if it was never returned. */
  after(index: number): { key: string; skip: number } | undefined {
    if (index >= this.#first) {
      const key = this.#keys[index - this.#first];
      return key === undefined ? undefined : { key, skip: 0 };
    }
    const marker = Math.floor(index / MARKER_EVERY);
    const key = this.#markers[marker];
    return key === undefined ? undefined : { key, skip: index - marker * MARKER_EVERY };
  }

  /** Entry number `index` was returned with this key. */
  returned(index: number, key: string): void {
    const at = index - this.#first;
    if (at < 0) return;
    this.#keys[at] = key;
    this.#keys.length = at + 1;
    if (this.#keys.length < 2 * KEYS_KEPT) return;
    for (let i = 0; i < KEYS_KEPT; i++) {
      if ((this.#first + i) % MARKER_EVERY === 0) this.#markers[(this.#first + i) / MARKER_EVERY] = this.#keys[i]!;
    }
    this.#keys = this.#keys.slice(KEYS_KEPT);
    this.#first += KEYS_KEPT;
  }
}

export class Handles {
  readonly #files = new Map<Handle, FileHandle>();
  readonly #directories = new Map<Handle, DirectoryHandle>();
  #next = 1;

  open(inode: Inode, mode: OpenMode): Handle {
    const handle = this.#next++;
    this.#files.set(handle, {
      inode,
      mode,
      written: false,
      readEnd: 0,
      sequentialReads: 0,
      readRun: 0,
      toldErrors: inode.errors?.sample() ?? 0,
    });
    inode.opens += 1;
    if (mode.write) inode.writers += 1;
    return handle;
  }

  /** BAD_HANDLE if it is not open. */
  file(handle: Handle): FileHandle {
    return this.#files.get(handle) ?? bad(handle);
  }

  close(handle: Handle): FileHandle {
    const file = this.file(handle);
    this.#files.delete(handle);
    file.inode.opens -= 1;
    if (file.mode.write) file.inode.writers -= 1;
    return file;
  }

  /** The error that this handle has not been told of, which counts as told from now on; undefined if there is none. */
  takeError(file: FileHandle): unknown {
    const found = file.inode.errors?.check(file.toldErrors);
    if (found === undefined) return undefined;
    file.toldErrors = found.number;
    return found.error;
  }

  openDirectory(inode: Inode): Handle {
    const handle = this.#next++;
    this.#directories.set(handle, new DirectoryHandle(inode));
    inode.opens += 1;
    return handle;
  }

  directory(handle: Handle): DirectoryHandle {
    return this.#directories.get(handle) ?? bad(handle);
  }

  closeDirectory(handle: Handle): void {
    this.directory(handle).inode.opens -= 1;
    this.#directories.delete(handle);
  }
}

function bad(handle: Handle): never {
  throw new CairnError('BAD_HANDLE', `handle ${handle} is not open`);
}
