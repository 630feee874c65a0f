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

/**
 * The mode without set-user-id, and without set-group-id where the group may execute. Where it may not, that bit means mandatory locking, and stays if whoever changes the
 * file is of its group.
 */
export function withoutPrivileges(mode: number, isOfGroup: () => boolean): number {
  const cleared = mode & ~S_ISUID;
  if ((mode & S_ISGID) === 0) return cleared;
  return (mode & S_IXGRP) !== 0 || !isOfGroup() ? cleared & ~S_ISGID : cleared;
}
