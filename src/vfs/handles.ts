/** Open files and directories of all faces, by the numbers that the faces hold. */
import { assert, CairnError } from '../errors/cairn-error.js';
import type { Directory } from './directory.js';
import type { Inode } from './inode.js';
import { type Listing, Listings } from './listing.js';
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

export interface DirectoryHandle {
  readonly inode: Inode;
  readonly directory: Directory;
  /** What it read from last. */
  listing: Listing | undefined;
}

export class Handles {
  readonly #files = new Map<Handle, FileHandle>();
  readonly #directories = new Map<Handle, DirectoryHandle>();
  readonly listings = new Listings();
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
    const { directory } = inode;
    assert(directory !== undefined, 'the inode is a directory');
    const handle = this.#next++;
    this.#directories.set(handle, { inode, directory, listing: undefined });
    this.listings.opened(directory);
    inode.opens += 1;
    return handle;
  }

  isDirectory(handle: Handle): boolean {
    return this.#directories.has(handle);
  }

  directory(handle: Handle): DirectoryHandle {
    return this.#directories.get(handle) ?? bad(handle);
  }

  closeDirectory(handle: Handle): void {
    const open = this.directory(handle);
    this.#directories.delete(handle);
    this.reads(open, undefined);
    this.listings.closed(open.directory);
    open.inode.opens -= 1;
  }

  /** The handle goes on reading from this listing. */
  reads(handle: DirectoryHandle, listing: Listing | undefined): void {
    if (handle.listing !== undefined) handle.listing.users -= 1;
    if (listing !== undefined) listing.users += 1;
    handle.listing = listing;
  }
}

function bad(handle: Handle): never {
  throw new CairnError('BAD_HANDLE', `handle ${handle} is not open`);
}
