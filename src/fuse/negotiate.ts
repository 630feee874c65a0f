/**
 * INIT: what we and the kernel agree on. Why some abilities are refused:
 * - WRITEBACK_CACHE, unless the mount was asked to have it: a choice for each mount (docs/performance.md, kernel-pages.ts). It excludes PASSTHROUGH, which is asked
 *   for where nothing is written (passthrough.ts).
 * - POSIX_LOCKS, FLOCK_LOCKS: locks then stay in the kernel, which is right and fastest on one host.
 * - NO_OPEN(DIR)_SUPPORT: the vfs needs handles, so that an unlinked file lives until its last close.
 * And why some are taken: HANDLE_KILLPRIV_V2 keeps the kernel from asking for security.capability before every write; with POSIX_ACL it
 * enforces access control lists, and leaves the umask to us (DONT_MASK), because a default list takes its place.
 */

import { MalformedRequest, type Request } from './decode-request.js';
import { putHeader } from './encode-reply.js';
import { Errno } from './errno.js';
import {
  In,
  InitFlag,
  InitFlag2,
  InitOut,
  KERNEL_MAJOR,
  MAX_PAGES,
  MAX_WRITE_BYTES,
  NEWEST_MINOR,
  OLDEST_MINOR,
  OUT_HEADER_BYTES,
} from './protocol.js';

const WANTED =
  InitFlag.ASYNC_READ |
  InitFlag.ATOMIC_O_TRUNC |
  InitFlag.EXPORT_SUPPORT |
  InitFlag.DONT_MASK |
  InitFlag.BIG_WRITES |
  InitFlag.DO_READDIRPLUS |
  InitFlag.READDIRPLUS_AUTO |
  InitFlag.ASYNC_DIO |
  InitFlag.PARALLEL_DIROPS |
  InitFlag.POSIX_ACL |
  InitFlag.MAX_PAGES |
  InitFlag.CACHE_SYMLINKS |
  InitFlag.EXPLICIT_INVAL_DATA |
  InitFlag.HANDLE_KILLPRIV_V2 |
  InitFlag.SETXATTR_EXT |
  InitFlag.INIT_EXT;

/** Asynchronous requests (read-ahead, write-back of mappings, direct I/O) that the kernel may have under way at once. */
const MAX_BACKGROUND = 64;
const CONGESTION_THRESHOLD = 48;
const TIME_GRANULARITY_NS = 1;
/** How deep file systems may stand on each other below us: files that the kernel reads by itself lie on a file system that stands on a device. Less is no passthrough. */
const MAX_STACK_DEPTH = 1;

export interface Wanted {
  /** The kernel reads by itself what it is given files of. */
  readonly passthrough?: boolean;
  /** The kernel keeps what is written, and sends it later. */
  readonly writeback?: boolean;
}

export interface Negotiated {
  readonly minor: number;
  /** The flags that both sides have. */
  readonly flags: number;
  readonly flags2: number;
}

/**
 * Writes the reply to INIT into `out` and returns its length, and what was agreed: undefined if the kernel must first
 * come down to our major version (it sends another INIT). `wanted`: what is asked for beyond what every mount has. Throws MalformedRequest with EPROTO if it is too old.
 */
export function negotiate(
  request: Request,
  out: Buffer,
  { passthrough = false, writeback = false }: Wanted = {},
): { length: number; agreed: Negotiated | undefined } {
  request.body(In.INIT.BYTES);
  const major = request.u32(In.INIT.MAJOR);
  const kernelMinor = request.u32(In.INIT.MINOR);
  const length = OUT_HEADER_BYTES + InitOut.BYTES;
  out.fill(0, 0, length);
  putHeader(out, request.unique, 0, length);
  out.writeUInt32LE(KERNEL_MAJOR, OUT_HEADER_BYTES + InitOut.MAJOR);
  if (major > KERNEL_MAJOR) return { length, agreed: undefined };
  if (major < KERNEL_MAJOR || kernelMinor < OLDEST_MINOR) {
    throw new MalformedRequest(
      `the kernel speaks FUSE ${major}.${kernelMinor}; cairn needs ${KERNEL_MAJOR}.${OLDEST_MINOR} (Linux 5.4) or later`,
      Errno.EPROTO,
    );
  }
  const minor = Math.min(kernelMinor, NEWEST_MINOR);
  const flags = request.u32(In.INIT.FLAGS) & (writeback ? WANTED | InitFlag.WRITEBACK_CACHE : WANTED);
  const put32 = (value: number, at: number) => out.writeUInt32LE(value >>> 0, OUT_HEADER_BYTES + at);
  put32(minor, InitOut.MINOR);
  // The kernel takes the smaller of this and the mount's own read-ahead, which mount.ts has raised if it was allowed to.
  put32(MAX_WRITE_BYTES, InitOut.MAX_READAHEAD);
  put32(flags, InitOut.FLAGS);
  put32(MAX_WRITE_BYTES, InitOut.MAX_WRITE);
  put32(TIME_GRANULARITY_NS, InitOut.TIME_GRAN);
  const wanted2 = InitFlag2.DIRECT_IO_ALLOW_MMAP | (passthrough ? InitFlag2.PASSTHROUGH : 0);
  const flags2 = (flags & InitFlag.INIT_EXT) === 0 ? 0 : request.u32(In.INIT.FLAGS2) & wanted2;
  put32(flags2, InitOut.FLAGS2);
  if ((flags2 & InitFlag2.PASSTHROUGH) !== 0) put32(MAX_STACK_DEPTH, InitOut.MAX_STACK_DEPTH);
  out.writeUInt16LE(MAX_BACKGROUND, OUT_HEADER_BYTES + InitOut.MAX_BACKGROUND);
  out.writeUInt16LE(CONGESTION_THRESHOLD, OUT_HEADER_BYTES + InitOut.CONGESTION_THRESHOLD);
  out.writeUInt16LE(MAX_PAGES, OUT_HEADER_BYTES + InitOut.MAX_PAGES);
  return { length, agreed: { minor, flags: flags >>> 0, flags2 } };
}
