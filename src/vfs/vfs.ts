/**
 * One set of semantics for every face (FUSE, S3, the library): names, handles, attributes, ranges. Implemented by
 * volume.ts. Methods answer on the calling thread when all they need is in memory, and with a promise otherwise: a hot
 * path pays for no promise it does not need. They throw (or reject with) CairnError.
 *
 * Permission checks are the kernel's on a mount (default_permissions); the vfs applies what needs the tree: set-group-id
 * inheritance, sticky rules of rename are the kernel's, link counts, timestamps.
 */
import type { Time } from '../io/clock.js';
import type { Ino, Name } from '../meta/rows.js';
import type { Interruption } from './interruption.js';

export type { Ino, Name };

export type Result<T> = T | Promise<T>;

export interface Caller {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** Permission bits that what it makes does not get, unless the directory has a default access list. */
  readonly umask?: number;
}

export interface Attr {
  readonly ino: Ino;
  /** st_mode: type and permissions. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: number;
  readonly sizeBytes: number;
  /** In units of 512 bytes. */
  readonly blocks: number;
  readonly atime: Time;
  readonly mtime: Time;
  readonly ctime: Time;
  readonly btime: Time;
}

/** Only what is given changes. `now` as a time means the clock's. */
export interface AttrChange {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly sizeBytes?: number;
  readonly atime?: Time | 'now';
  readonly mtime?: Time | 'now';
  readonly ctime?: Time;
  /** Clear set-user-id, set-group-id (unless the group may not execute, and the caller is of it) and security.capability: FUSE's KILL_SUIDGID. */
  readonly killPrivileges?: boolean;
}

export interface OpenMode {
  readonly read: boolean;
  readonly write: boolean;
  readonly append?: boolean;
  readonly truncate?: boolean;
  /** Reading does not count in the access time (O_NOATIME). */
  readonly noAccessTime?: boolean;
}

/** An open file or directory of one face; a number, so that it can travel through FUSE. */
export type Handle = number;

export interface CreateResult {
  readonly attr: Attr;
  readonly handle: Handle;
}

/**
 * What a read returns without copying: bytes, or a slice of a cache file that the face may copy from on its own. Both are to be used in the turn of the event loop in which they come: later the
 * memory, or the file's descriptor, may be another's.
 */
export type ReadPart = Uint8Array | { readonly fd: number; readonly position: number; readonly length: number };

/** A file with all of an inode's content, which the kernel may read by itself. It stays as it is, whatever becomes of the inode. */
export interface Backing {
  readonly fd: number;
  /** Once: nobody has it open any more. Mappings may outlive that. */
  release(): void;
}

export interface DirEntry {
  readonly name: Name;
  readonly ino: Ino;
  readonly mode: number;
  /** Position after this entry: pass it to `readdir` to go on from here, with any handle of the directory. Stable while one is open. */
  readonly cookie: number;
}

export interface BlockReport {
  readonly blockBytes: number;
  /** In units of blockBytes. */
  readonly totalBlocks: number;
  readonly freeBlocks: number;
}

export interface SpaceReport extends BlockReport {
  /** Inodes that are committed, and those that are free. */
  readonly files: number;
  readonly freeFiles: number;
}

export interface RenameOptions {
  readonly noReplace?: boolean;
  readonly exchange?: boolean;
  /** Leave a whiteout under the old name (a character device 0:0, for overlay file systems), which belongs to this caller. */
  readonly whiteout?: Caller;
}

/** fallocate(2) in the kernel's words. */
export interface AllocateMode {
  readonly keepSize: boolean;
  readonly punchHole: boolean;
  readonly zeroRange: boolean;
}

export interface Vfs {
  /** undefined: no such entry. `.` and `..` are the face's business, except that lookup(dir, '..') gives the parent. */
  lookup(parent: Ino, name: Name): Result<Attr | undefined>;
  getattr(ino: Ino): Result<Attr>;
  setattr(ino: Ino, change: AttrChange, caller: Caller): Result<Attr>;
  readlink(ino: Ino): Result<Name>;
  create(parent: Ino, name: Name, mode: number, open: OpenMode, caller: Caller): Result<CreateResult>;
  /** An open file without a name, of the directory's file system (O_TMPFILE). `link` gives it one; without, it goes with its last handle. */
  tmpfile(parent: Ino, mode: number, open: OpenMode, caller: Caller): Result<CreateResult>;
  mknod(parent: Ino, name: Name, mode: number, rdev: number, caller: Caller): Result<Attr>;
  mkdir(parent: Ino, name: Name, mode: number, caller: Caller): Result<Attr>;
  symlink(parent: Ino, name: Name, target: Name, caller: Caller): Result<Attr>;
  link(ino: Ino, parent: Ino, name: Name): Result<Attr>;
  unlink(parent: Ino, name: Name): Result<void>;
  rmdir(parent: Ino, name: Name): Result<void>;
  rename(parent: Ino, name: Name, newParent: Ino, newName: Name, options: RenameOptions): Result<void>;

  open(ino: Ino, mode: OpenMode): Result<Handle>;
  /** Ends early only at the end of the file. Waits for nothing where the bytes are in the cache. */
  read(handle: Handle, offset: number, length: number): Result<ReadPart[]>;
  /**
   * Takes all bytes or throws. If it returns a promise, it has taken its own copy of `bytes` before returning: the caller
   * reuses them at once (FUSE has one buffer for all requests). `offset` is ignored for append handles. `isLate`: the face has kept the bytes since they
   * were written, so times and capabilities are its business. `killer`: someone who writes and may not keep set-id bits.
   */
  write(
    handle: Handle,
    offset: number,
    bytes: Uint8Array,
    killer?: Caller,
    interruption?: Interruption,
    isLate?: boolean,
  ): Result<number>;
  /** close(2) of one descriptor: in strong mode waits for the pool promise if the file was written. */
  flush(handle: Handle): Result<void>;
  fsync(handle: Handle, dataOnly: boolean): Result<void>;
  /**
   * The handle's bytes or names may be read past the vfs, from pages that the face keeps: a directory, or a handle that is only for reading, counts as read. True
   * if that moved the access time.
   */
  accessed(handle: Handle): boolean;
  /**
   * For faces through which nothing is changed: what the kernel may read in the place of this handle; undefined where there is nothing such, perhaps not
   * yet. Absent where everything is read through `read`.
   */
  backing?(handle: Handle): Backing | undefined;
  /** The last descriptor is gone. */
  release(handle: Handle): Result<void>;
  fallocate(handle: Handle, mode: AllocateMode, offset: number, length: number): Result<void>;
  /**
   * Copies within the pool: committed bytes by naming the same chunks, without reading them. Returns how many bytes were copied, perhaps fewer than asked for; 0
   * only at the source's end. INVALID for a range onto itself.
   */
  copyRange(from: Handle, offset: number, to: Handle, toOffset: number, length: number): Result<number>;
  /** Next data or hole at or after `offset`; NO_EXTENT (ENXIO) beyond the end. */
  seek(handle: Handle, offset: number, whence: 'data' | 'hole'): Result<number>;

  opendir(ino: Ino): Result<Handle>;
  /**
   * A face that has listed the directory to its end, and keeps that with the positions, need not list it again for this handle: all of it is still so.
   */
  listingStands(handle: Handle): boolean;
  /** Entries after `cookie` (0: from the start) until `take` returns false (that entry is not consumed). Includes `.` and `..`. With `plus`, `take` also gets the entry's attributes (undefined for `.` and `..`). */
  readdir(
    handle: Handle,
    cookie: number,
    plus: boolean,
    take: (entry: DirEntry, attr: Attr | undefined) => boolean,
  ): Result<void>;
  fsyncdir(handle: Handle): Result<void>;
  releasedir(handle: Handle): Result<void>;

  /** NO_DATA if there is none. */
  getxattr(ino: Ino, name: string): Result<Uint8Array>;
  listxattr(ino: Ino): Result<string[]>;
  /** `killSetGroupId`: whoever sets an access list may not keep that bit. `caller`: for attributes that only the owner may set (undefined: the daemon itself). */
  setxattr(
    ino: Ino,
    name: string,
    value: Uint8Array,
    mode: 'set' | 'create' | 'replace',
    killSetGroupId?: boolean,
    caller?: Caller,
  ): Result<void>;
  removexattr(ino: Ino, name: string, caller?: Caller): Result<void>;
  statfs(): Result<SpaceReport>;

  /**
   * A face remembers a directory by its number: when it is removed, it goes on answering as a removed directory does until as many are given back
   * (a shell may stand in it).
   */
  hold(ino: Ino): void;
  unhold(ino: Ino, count: number): void;
}
