/**
 * The numbers of the kernel's FUSE protocol 7.x: opcodes, flags and struct offsets. Source: include/uapi/linux/fuse.h;
 * names are that file's, without the prefix. Byte order is the host's, and every host we support is little-endian.
 *
 * Offsets of request bodies count from the start of the message (the 40-byte fuse_in_header included), offsets of
 * reply bodies from the start of the body, because an entry or attr is placed at several places of a reply.
 */

/** We speak up to 7.40 (max_stack_depth in INIT) and need 7.31 (2020): older kernels lay out some structs differently. */
export const KERNEL_MAJOR = 7;
export const NEWEST_MINOR = 40;
export const OLDEST_MINOR = 31;

/** What one READ or WRITE carries at most: max_pages 256 pages of 4 KiB. */
export const MAX_WRITE_BYTES = 1024 * 1024;
export const MAX_PAGES = 256;
/** The request buffer must hold a whole WRITE with its headers; the kernel refuses smaller ones with EIO. */
export const REQUEST_BUFFER_BYTES = MAX_WRITE_BYTES + 4096;
export const NAME_MAX = 255;

export const Opcode = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  IOCTL: 39,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  TMPFILE: 51,
  STATX: 52,
} as const;

/** fuse_init_in.flags and flags2 (bits 32 and up, here shifted down). */
export const InitFlag = {
  ASYNC_READ: 1 << 0,
  ATOMIC_O_TRUNC: 1 << 3,
  EXPORT_SUPPORT: 1 << 4,
  DONT_MASK: 1 << 6,
  BIG_WRITES: 1 << 5,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  ASYNC_DIO: 1 << 15,
  WRITEBACK_CACHE: 1 << 16,
  PARALLEL_DIROPS: 1 << 18,
  POSIX_ACL: 1 << 20,
  MAX_PAGES: 1 << 22,
  CACHE_SYMLINKS: 1 << 23,
  EXPLICIT_INVAL_DATA: 1 << 25,
  HANDLE_KILLPRIV_V2: 1 << 28,
  SETXATTR_EXT: 1 << 29,
  INIT_EXT: 1 << 30,
} as const;

/** Bits 32 and up of the INIT flags. */
export const InitFlag2 = { DIRECT_IO_ALLOW_MMAP: 1 << 4, PASSTHROUGH: 1 << 5 } as const;

export const SetattrValid = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  HANDLE: 1 << 6,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
  CTIME: 1 << 10,
  KILL_SUIDGID: 1 << 11,
} as const;

export const OpenReply = {
  DIRECT_IO: 1 << 0,
  KEEP_CACHE: 1 << 1,
  CACHE_DIR: 1 << 3,
  NOFLUSH: 1 << 5,
  PASSTHROUGH: 1 << 7,
} as const;
export const OPEN_KILL_SUIDGID = 1 << 0;
/** WRITE_CACHE: the kernel writes back pages, mapped ones or those of its writeback cache, and picked any writable handle of the inode. */
export const WriteFlag = { CACHE: 1 << 0, KILL_SUIDGID: 1 << 2 } as const;
export const FSYNC_FDATASYNC = 1 << 0;

/** open(2) flags; the same on x86-64 and arm64. */
export const OpenFlag = {
  ACCMODE: 3,
  WRONLY: 1,
  RDWR: 2,
  EXCL: 0o200,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  DSYNC: 0o10000,
  NOATIME: 0o1000000,
} as const;
/** O_DIRECT differs between architectures. */
export const O_DIRECT = process.arch === 'arm64' ? 0o200000 : 0o40000;
export const RenameFlag = { NOREPLACE: 1, EXCHANGE: 2, WHITEOUT: 4 } as const;
export const XattrFlag = { CREATE: 1, REPLACE: 2 } as const;
export const SETXATTR_ACL_KILL_SGID = 1 << 0;
export const FallocateFlag = { KEEP_SIZE: 1, PUNCH_HOLE: 2, ZERO_RANGE: 0x10 } as const;
export const Whence = { DATA: 3, HOLE: 4 } as const;
export const FileType = { MASK: 0o170000, REGULAR: 0o100000, DIRECTORY: 0o040000 } as const;
export const PERMISSION_BITS = 0o7777;
export const SET_ID_BITS = 0o6000;

export const NotifyCode = { INVAL_INODE: 2, INVAL_ENTRY: 3, DELETE: 6 } as const;

/** fuse_in_header, and where the body follows. */
export const InHeader = {
  LENGTH: 0,
  OPCODE: 4,
  UNIQUE: 8,
  NODEID: 16,
  UID: 24,
  GID: 28,
  PID: 32,
  EXTENSIONS: 36,
} as const;
export const IN_HEADER_BYTES = 40;
const BODY = IN_HEADER_BYTES;

/** Request bodies: field offsets within the message, BYTES is where the variable part (or the end) is. */
export const In = {
  INIT: {
    MAJOR: BODY,
    MINOR: BODY + 4,
    MAX_READAHEAD: BODY + 8,
    FLAGS: BODY + 12,
    FLAGS2: BODY + 16,
    BYTES: BODY + 16,
  },
  SETATTR: {
    VALID: BODY,
    SIZE: BODY + 16,
    ATIME: BODY + 32,
    MTIME: BODY + 40,
    CTIME: BODY + 48,
    ATIMENSEC: BODY + 56,
    MTIMENSEC: BODY + 60,
    CTIMENSEC: BODY + 64,
    MODE: BODY + 68,
    UID: BODY + 76,
    GID: BODY + 80,
    BYTES: BODY + 88,
  },
  MKNOD: { MODE: BODY, RDEV: BODY + 4, UMASK: BODY + 8, BYTES: BODY + 16 },
  MKDIR: { MODE: BODY, UMASK: BODY + 4, BYTES: BODY + 8 },
  RENAME: { NEWDIR: BODY, BYTES: BODY + 8 },
  RENAME2: { NEWDIR: BODY, FLAGS: BODY + 8, BYTES: BODY + 16 },
  LINK: { OLDNODEID: BODY, BYTES: BODY + 8 },
  OPEN: { FLAGS: BODY, OPEN_FLAGS: BODY + 4, BYTES: BODY + 8 },
  /** And TMPFILE, whose name is only `/`. */
  CREATE: { FLAGS: BODY, MODE: BODY + 4, UMASK: BODY + 8, OPEN_FLAGS: BODY + 12, BYTES: BODY + 16 },
  /** RELEASE, RELEASEDIR and FLUSH begin alike. */
  RELEASE: { FH: BODY, BYTES: BODY + 24 },
  /** READ, READDIR and READDIRPLUS. */
  READ: { FH: BODY, OFFSET: BODY + 8, SIZE: BODY + 16, BYTES: BODY + 40 },
  WRITE: { FH: BODY, OFFSET: BODY + 8, SIZE: BODY + 16, WRITE_FLAGS: BODY + 20, FLAGS: BODY + 32, BYTES: BODY + 40 },
  FSYNC: { FH: BODY, FSYNC_FLAGS: BODY + 8, BYTES: BODY + 16 },
  SETXATTR: { SIZE: BODY, FLAGS: BODY + 4, BYTES: BODY + 8 },
  /** Where SETXATTR_EXT was agreed (5.12 and later). */
  SETXATTR_EXT: { SETXATTR_FLAGS: BODY + 8, BYTES: BODY + 16 },
  FORGET: { COUNT: BODY, BYTES: BODY + 8 },
  /** Then so many pairs of node id and count. */
  BATCH_FORGET: { COUNT: BODY, BYTES: BODY + 8 },
  GETXATTR: { SIZE: BODY, BYTES: BODY + 8 },
  FALLOCATE: { FH: BODY, OFFSET: BODY + 8, LENGTH: BODY + 16, MODE: BODY + 24, BYTES: BODY + 32 },
  COPY_FILE_RANGE: {
    FH_IN: BODY,
    OFF_IN: BODY + 8,
    NODEID_OUT: BODY + 16,
    FH_OUT: BODY + 24,
    OFF_OUT: BODY + 32,
    LENGTH: BODY + 40,
    FLAGS: BODY + 48,
    BYTES: BODY + 56,
  },
  INTERRUPT: { UNIQUE: BODY, BYTES: BODY + 8 },
  LSEEK: { FH: BODY, OFFSET: BODY + 8, WHENCE: BODY + 16, BYTES: BODY + 24 },
} as const;

/** fuse_out_header, also of a notification (`error` is then the notify code, `unique` 0). */
export const OutHeader = { LENGTH: 0, ERROR: 4, UNIQUE: 8 } as const;
export const OUT_HEADER_BYTES = 16;

/** fuse_attr. */
export const AttrOut = {
  INO: 0,
  SIZE: 8,
  BLOCKS: 16,
  ATIME: 24,
  MTIME: 32,
  CTIME: 40,
  ATIMENSEC: 48,
  MTIMENSEC: 52,
  CTIMENSEC: 56,
  MODE: 60,
  NLINK: 64,
  UID: 68,
  GID: 72,
  RDEV: 76,
  BLKSIZE: 80,
  FLAGS: 84,
  BYTES: 88,
} as const;

/** fuse_entry_out. */
export const EntryOut = {
  NODEID: 0,
  GENERATION: 8,
  ENTRY_VALID: 16,
  ATTR_VALID: 24,
  ENTRY_VALID_NSEC: 32,
  ATTR_VALID_NSEC: 36,
  ATTR: 40,
  BYTES: 40 + AttrOut.BYTES,
} as const;

/** fuse_attr_out. */
export const AttrReply = { ATTR_VALID: 0, ATTR_VALID_NSEC: 8, ATTR: 16, BYTES: 16 + AttrOut.BYTES } as const;
/** BACKING_ID counts only with PASSTHROUGH. */
export const OpenOut = { FH: 0, OPEN_FLAGS: 8, BACKING_ID: 12, BYTES: 16 } as const;
/** fuse_dirent; fuse_direntplus is an entry_out before it. The name follows, padded to 8 bytes. */
export const Dirent = { INO: 0, OFF: 8, NAMELEN: 16, TYPE: 20, NAME: 24 } as const;
/** fuse_kstatfs. */
export const StatfsOut = {
  BLOCKS: 0,
  BFREE: 8,
  BAVAIL: 16,
  FILES: 24,
  FFREE: 32,
  BSIZE: 40,
  NAMELEN: 44,
  FRSIZE: 48,
  BYTES: 80,
} as const;
/** fuse_statx_out: the timeout, then fuse_statx at offset 32. */
export const StatxOut = {
  ATTR_VALID: 0,
  MASK: 32,
  BLKSIZE: 36,
  NLINK: 48,
  UID: 52,
  GID: 56,
  MODE: 60,
  INO: 64,
  SIZE: 72,
  BLOCKS: 80,
  ATIME: 96,
  BTIME: 112,
  CTIME: 128,
  MTIME: 144,
  RDEV_MAJOR: 160,
  RDEV_MINOR: 164,
  BYTES: 288,
} as const;
/** STATX_BASIC_STATS and STATX_BTIME: what we fill in, whatever was asked. */
export const STATX_MASK = 0x7ff | 0x800;
/** fuse_init_out of 7.36 and later; earlier kernels know the same bytes as unused. */
export const InitOut = {
  MAJOR: 0,
  MINOR: 4,
  MAX_READAHEAD: 8,
  FLAGS: 12,
  MAX_BACKGROUND: 16,
  CONGESTION_THRESHOLD: 18,
  MAX_WRITE: 20,
  TIME_GRAN: 24,
  MAX_PAGES: 28,
  FLAGS2: 32,
  MAX_STACK_DEPTH: 36,
  BYTES: 64,
} as const;
