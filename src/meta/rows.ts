/**
 * The rows of the metadata, and the changes to them. A commit is a list of RowChange: the same list is what the journal
 * stores (row-codec.ts), what a MetaStore applies and what a snapshot consists of (puts from empty).
 *
 * Names are *binary strings*: one character (0–255) per byte of the name, so that comparing strings compares bytes and any
 * POSIX name is representable. `Buffer.from(name, 'latin1')` gives the bytes.
 */
import type { Time } from '../io/clock.js';

/** Inode number; the root directory is 1. Never reused. */
export type Ino = number;
export const ROOT_INO: Ino = 1;

/** Binary string of a name's bytes, 1–255 long, without `/` and NUL. */
export type Name = string;

/** 64 lowercase hex digits: the BLAKE3-256 of the chunk's plain bytes. */
export type ChunkId = string;

export interface InodeRow {
  readonly ino: Ino;
  /** Grows by one with every committed change of this row or of what hangs on it (extents, xattrs). 1 at first commit. */
  readonly version: number;
  /** st_mode: file type and permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly rdev: number;
  readonly sizeBytes: number;
  readonly atime: Time;
  readonly mtime: Time;
  readonly ctime: Time;
  readonly btime: Time;
  /** Target of a symbolic link as a binary string; '' for everything else. */
  readonly target: string;
  /** The highest stage sequence whose *content* changes this row includes: recovery replays staged content only beyond it. */
  readonly contentStage: number;
}

export interface DentryRow {
  readonly parent: Ino;
  readonly name: Name;
  readonly ino: Ino;
  readonly isDirectory: boolean;
  /** Grows by one with every committed change of this key; 1 when it is made. */
  readonly version: number;
}

/** `length` bytes of the file at `offset` are the bytes at `chunkOffset` of the chunk. Extents of one file never overlap; a gap reads as zeros. */
export interface ExtentRow {
  readonly offset: number;
  readonly length: number;
  readonly chunk: ChunkId;
  readonly chunkOffset: number;
  /** Plain length of the whole chunk. */
  readonly chunkBytes: number;
}

export interface XattrRow {
  readonly ino: Ino;
  /** Binary string, 1–255 bytes. */
  readonly name: string;
  readonly value: Uint8Array;
}

export interface ChunkRow {
  readonly chunk: ChunkId;
  readonly chunkBytes: number;
  /** How many extent rows name it. Rows with 0 stay until collection takes them. */
  readonly references: number;
}

/** `before` is the version that the change expects to find (0: no row): compare-and-write. */
export type RowChange =
  | { readonly kind: 'inode'; readonly before: number; readonly row: InodeRow }
  | { readonly kind: 'inode-delete'; readonly before: number; readonly ino: Ino }
  | { readonly kind: 'dentry'; readonly before: number; readonly row: DentryRow }
  | {
      readonly kind: 'dentry-delete';
      readonly before: number;
      readonly parent: Ino;
      readonly name: Name;
      readonly isDirectory: boolean;
    }
  /** Everything in [from, to) of the file's extents is replaced by `extents` (ascending, within the range); extents that straddle an end are trimmed. */
  | {
      readonly kind: 'extents';
      readonly ino: Ino;
      readonly from: number;
      readonly to: number;
      readonly extents: readonly ExtentRow[];
    }
  | { readonly kind: 'xattr'; readonly row: XattrRow }
  | { readonly kind: 'xattr-delete'; readonly ino: Ino; readonly name: string }
  /** The chunk has a row, also if no extent names it: how a snapshot carries chunks that wait for collection. An existing row stays as it is. */
  | { readonly kind: 'chunk'; readonly chunk: ChunkId; readonly chunkBytes: number }
  /** Collection has removed the chunk: the row goes, if its references are 0 (else CONFLICT). */
  | { readonly kind: 'chunk-delete'; readonly chunk: ChunkId };

export interface Commit {
  /** Grows by one with every commit. */
  readonly sequence: number;
  /** Grows with every daemon start and every failed round, and no two daemons share one: of two commits with one sequence, the higher epoch is the true one. */
  readonly epoch: number;
  /** The highest sequence that had been acknowledged when this commit was written. */
  readonly acknowledged: number;
  /** Numbers of the data disks that were not there when it was written, ascending; not given where all were. */
  readonly away?: readonly number[];
  /** Staged namespace and attribute changes up to this stage sequence are included. */
  readonly stagedThrough: number;
  /** The next inode number that has never been used. */
  readonly nextIno: Ino;
  readonly changes: readonly RowChange[];
}

/** The dentry's key within its directory: the name, plus `/` for a directory, so that a depth-first walk gives S3's byte order. */
export function sortKey(name: Name, isDirectory: boolean): string {
  return isDirectory ? `${name}/` : name;
}
