/**
 * The only table from a CairnError's code to an errno. Numbers are Linux's (asm-generic), the same on every
 * architecture we build for; they go to the kernel negated in a reply's header.
 *
 * ENOSYS is not in the table: the kernel takes it as "never ask this opcode again", so only the dispatcher says it, of
 * opcodes that we do not have at all. An error that is not a CairnError is a defect or an unforeseen failure below us:
 * EIO, never something that reads as an answer.
 */
import { CairnError, type ErrorCode } from '../errors/cairn-error.js';

export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENOTTY: 25,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  EMLINK: 31,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ENODATA: 61,
  EPROTO: 71,
  EOPNOTSUPP: 95,
  ESTALE: 116,
} as const;

const TABLE: Readonly<Record<ErrorCode, number>> = {
  NOT_FOUND: Errno.ENOENT,
  EXISTS: Errno.EEXIST,
  NOT_DIRECTORY: Errno.ENOTDIR,
  IS_DIRECTORY: Errno.EISDIR,
  NOT_EMPTY: Errno.ENOTEMPTY,
  INVALID: Errno.EINVAL,
  NO_SPACE: Errno.ENOSPC,
  IO: Errno.EIO,
  READ_ONLY: Errno.EROFS,
  NOT_PERMITTED: Errno.EPERM,
  ACCESS: Errno.EACCES,
  NAME_TOO_LONG: Errno.ENAMETOOLONG,
  NO_DATA: Errno.ENODATA,
  RANGE: Errno.ERANGE,
  TOO_BIG: Errno.EFBIG,
  NOT_SUPPORTED: Errno.EOPNOTSUPP,
  BUSY: Errno.EBUSY,
  STALE: Errno.ESTALE,
  BAD_HANDLE: Errno.EBADF,
  TOO_MANY_LINKS: Errno.EMLINK,
  NO_EXTENT: Errno.ENXIO,
  CROSS_DEVICE: Errno.EXDEV,
  CORRUPT: Errno.EIO,
  UNREADABLE: Errno.EIO,
  DISK_FAILED: Errno.EIO,
  DISK_FOREIGN: Errno.EIO,
  DISK_MISSING: Errno.EIO,
  LOCKED: Errno.EBUSY,
  CONFIG: Errno.EIO,
  CONFLICT: Errno.EIO,
  CLOSED: Errno.EIO,
  ABORTED: Errno.EIO,
  MISSING_TOOL: Errno.EIO,
};

/** The positive errno for what a vfs method threw. */
export function errnoOf(error: unknown): number {
  return error instanceof CairnError ? TABLE[error.code] : Errno.EIO;
}

/** True if an application's own doing explains the error, so that it belongs in no log. */
export function isExpected(error: unknown): boolean {
  return error instanceof CairnError && TABLE[error.code] !== Errno.EIO;
}
