/** st_mode: file types and permission bits (inode(7)). */
export const S_IFMT = 0o170000;
export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;
export const S_IFCHR = 0o020000;
const S_ISUID = 0o4000;
export const S_ISGID = 0o2000;
const S_IXGRP = 0o0010;
export const PERMISSIONS = 0o7777;

export function isDirectory(mode: number): boolean {
  return (mode & S_IFMT) === S_IFDIR;
}

export function isFile(mode: number): boolean {
  return (mode & S_IFMT) === S_IFREG;
}

export function isSymlink(mode: number): boolean {
  return (mode & S_IFMT) === S_IFLNK;
}

/** The mode without set-user-id, and without set-group-id where the group may execute (otherwise that bit means mandatory locking). */
export function withoutPrivileges(mode: number): number {
  const cleared = mode & ~S_ISUID;
  return (mode & S_IXGRP) !== 0 ? cleared & ~S_ISGID : cleared;
}
