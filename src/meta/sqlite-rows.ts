/** Rows as SQLite returns them (arrays in column order, see the SELECT lists) and as the rest of Cairn knows them. */
import type { Time } from '../io/clock.js';
import type { NodeRow } from './meta-store.js';
import type { ChunkRow, DentryRow, ExtentRow, Ino, InodeRow, XattrRow } from './rows.js';

export const INODE_COLUMNS =
  'ino, version, mode, uid, gid, nlink, rdev, size_bytes, atime_sec, atime_nsec, mtime_sec, mtime_nsec, ctime_sec, ctime_nsec, btime_sec, btime_nsec, target, content_stage';

/** In the order of INODE_COLUMNS. */
export type InodeColumns = [
  ino: number,
  version: number,
  mode: number,
  uid: number,
  gid: number,
  nlink: number,
  rdev: number,
  sizeBytes: number,
  atimeSec: number,
  atimeNsec: number,
  mtimeSec: number,
  mtimeNsec: number,
  ctimeSec: number,
  ctimeNsec: number,
  btimeSec: number,
  btimeNsec: number,
  target: string,
  contentStage: number,
];

export function toInode(columns: InodeColumns): InodeRow {
  // Of what was made and left alone all times are one: then they are one object.
  const atime = { sec: columns[8], nsec: columns[9] };
  const time = (sec: number, nsec: number, like: Time): Time =>
    sec === like.sec && nsec === like.nsec ? like : { sec, nsec };
  const mtime = time(columns[10], columns[11], atime);
  const ctime = time(columns[12], columns[13], mtime);
  return {
    ino: columns[0],
    version: columns[1],
    mode: columns[2],
    uid: columns[3],
    gid: columns[4],
    nlink: columns[5],
    rdev: columns[6],
    sizeBytes: columns[7],
    atime,
    mtime,
    ctime,
    btime: time(columns[14], columns[15], mtime),
    target: columns[16],
    contentStage: columns[17],
  };
}

export const DENTRY_COLUMNS = 'parent, sort_key, ino, version';
export type DentryColumns = [parent: Ino, sortKey: string, ino: Ino, version: number];

export function toDentry([parent, sortKey, ino, version]: DentryColumns): DentryRow {
  const isDirectory = sortKey.endsWith('/');
  return { parent, name: isDirectory ? sortKey.slice(0, -1) : sortKey, ino, isDirectory, version };
}

/** Of `dentry d` joined with `inode i` and `xattr x`. */
export const NODE_COLUMNS =
  'd.sort_key, d.ino, i.mode, i.size_bytes, i.mtime_sec, i.mtime_nsec, i.content_stage, x.value';

/** In the order of NODE_COLUMNS; what there is no row for is null. */
export type NodeColumns = [
  sortKey: string,
  ino: Ino,
  mode: number | null,
  sizeBytes: number,
  mtimeSec: number,
  mtimeNsec: number,
  contentStage: number,
  value: Buffer | null,
];

export function toNode([sortKey, ino, mode, sizeBytes, sec, nsec, contentStage, value]: NodeColumns): NodeRow {
  const isDirectory = sortKey.endsWith('/');
  return {
    name: isDirectory ? sortKey.slice(0, -1) : sortKey,
    ino,
    isDirectory,
    node: mode === null ? undefined : { mode, sizeBytes, mtime: { sec, nsec }, contentStage },
    value: value ?? undefined,
  };
}

export const EXTENT_COLUMNS = 'file_offset, length, lower(hex(chunk)), chunk_offset, chunk_bytes';
export type ExtentColumns = [offset: number, length: number, chunk: string, chunkOffset: number, chunkBytes: number];

export function toExtent([offset, length, chunk, chunkOffset, chunkBytes]: ExtentColumns): ExtentRow {
  return { offset, length, chunk, chunkOffset, chunkBytes };
}

export const XATTR_COLUMNS = 'ino, name, value';
export type XattrColumns = [ino: Ino, name: string, value: Buffer];

export function toXattr([ino, name, value]: XattrColumns): XattrRow {
  return { ino, name, value };
}

export const CHUNK_COLUMNS = 'lower(hex(chunk)), chunk_bytes, refs';
export type ChunkColumns = [chunk: string, chunkBytes: number, references: number];

export function toChunk([chunk, chunkBytes, references]: ChunkColumns): ChunkRow {
  return { chunk, chunkBytes, references };
}
