/**
 * Writes replies into one preallocated buffer: the transport has copied it to the kernel before the next one begins.
 * Layouts are protocol.ts's. Every method that makes a whole reply returns its length in bytes, header included.
 *
 * Timeouts are long, since one daemon owns the tree: the kernel itself drops what its own requests change, and the
 * notifier drops what other faces change.
 */
import type { Time } from '../io/clock.js';
import type { Attr, DirEntry, Handle, SpaceReport } from '../vfs/vfs.js';
import {
  AttrOut,
  AttrReply,
  Dirent,
  EntryOut,
  NAME_MAX,
  OpenOut,
  OUT_HEADER_BYTES,
  OutHeader,
  STATX_MASK,
  StatfsOut,
  StatxOut,
} from './protocol.js';

/** Seconds that the kernel may keep names (also of what is not there) and attributes. */
const CACHE_SEC = 3600;
/** st_blksize: what cp and others use as buffer; a whole request. */
const PREFERRED_IO_BYTES = 1024 * 1024;
const BODY = OUT_HEADER_BYTES;
const SMALL_REPLY_BYTES = 4096;
const TWO_32 = 0x1_0000_0000;

/** Also right for negative numbers: two's complement. */
function put64(buffer: Buffer, value: number, at: number): void {
  buffer.writeUInt32LE(value >>> 0, at);
  buffer.writeInt32LE(Math.floor(value / TWO_32) | 0, at + 4);
}

export function putHeader(buffer: Buffer, unique: bigint, error: number, length: number): void {
  buffer.writeUInt32LE(length, OutHeader.LENGTH);
  buffer.writeInt32LE(error, OutHeader.ERROR);
  buffer.writeBigUInt64LE(unique, OutHeader.UNIQUE);
}

function putAttr(buffer: Buffer, attr: Attr, at: number): void {
  put64(buffer, attr.ino, at + AttrOut.INO);
  put64(buffer, attr.sizeBytes, at + AttrOut.SIZE);
  put64(buffer, attr.blocks, at + AttrOut.BLOCKS);
  put64(buffer, attr.atime.sec, at + AttrOut.ATIME);
  put64(buffer, attr.mtime.sec, at + AttrOut.MTIME);
  put64(buffer, attr.ctime.sec, at + AttrOut.CTIME);
  buffer.writeUInt32LE(attr.atime.nsec, at + AttrOut.ATIMENSEC);
  buffer.writeUInt32LE(attr.mtime.nsec, at + AttrOut.MTIMENSEC);
  buffer.writeUInt32LE(attr.ctime.nsec, at + AttrOut.CTIMENSEC);
  buffer.writeUInt32LE(attr.mode, at + AttrOut.MODE);
  buffer.writeUInt32LE(attr.nlink, at + AttrOut.NLINK);
  buffer.writeUInt32LE(attr.uid, at + AttrOut.UID);
  buffer.writeUInt32LE(attr.gid, at + AttrOut.GID);
  buffer.writeUInt32LE(attr.rdev, at + AttrOut.RDEV);
  buffer.writeUInt32LE(PREFERRED_IO_BYTES, at + AttrOut.BLKSIZE);
  buffer.writeUInt32LE(0, at + AttrOut.FLAGS);
}

function putEntry(buffer: Buffer, attr: Attr, at: number): void {
  put64(buffer, attr.ino, at + EntryOut.NODEID);
  put64(buffer, 0, at + EntryOut.GENERATION);
  put64(buffer, CACHE_SEC, at + EntryOut.ENTRY_VALID);
  put64(buffer, CACHE_SEC, at + EntryOut.ATTR_VALID);
  put64(buffer, 0, at + EntryOut.ENTRY_VALID_NSEC);
  putAttr(buffer, attr, at + EntryOut.ATTR);
}

function putStatxTime(buffer: Buffer, time: Time, at: number): void {
  put64(buffer, time.sec, at);
  put64(buffer, time.nsec, at + 8);
}

/** Linux's packed dev_t of the protocol (new_encode_dev): 12 bits major between 8 and 12 bits of minor. */
function deviceMajor(rdev: number): number {
  return (rdev >>> 8) & 0xfff;
}

function deviceMinor(rdev: number): number {
  return (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
}

export class ReplyEncoder {
  readonly buffer = Buffer.alloc(SMALL_REPLY_BYTES);
  readonly #header = this.buffer.subarray(0, BODY);

  /** The header of a reply whose body is `parts`, to be sent together with them. */
  header(unique: bigint, parts: readonly Uint8Array[]): Uint8Array {
    let length = BODY;
    for (const part of parts) length += part.length;
    putHeader(this.#header, unique, 0, length);
    return this.#header;
  }

  /** A reply without a body: success (0) or the positive errno. */
  status(unique: bigint, errno: number): number {
    putHeader(this.buffer, unique, errno === 0 ? 0 : -errno, BODY);
    return BODY;
  }

  /** undefined: a negative entry, which the kernel remembers like a positive one. */
  entry(unique: bigint, attr: Attr | undefined): number {
    const length = BODY + EntryOut.BYTES;
    putHeader(this.buffer, unique, 0, length);
    if (attr === undefined) {
      this.buffer.fill(0, BODY, length);
      put64(this.buffer, CACHE_SEC, BODY + EntryOut.ENTRY_VALID);
    } else {
      putEntry(this.buffer, attr, BODY);
    }
    return length;
  }

  attr(unique: bigint, attr: Attr): number {
    const length = BODY + AttrReply.BYTES;
    putHeader(this.buffer, unique, 0, length);
    put64(this.buffer, CACHE_SEC, BODY + AttrReply.ATTR_VALID);
    put64(this.buffer, 0, BODY + AttrReply.ATTR_VALID_NSEC);
    putAttr(this.buffer, attr, BODY + AttrReply.ATTR);
    return length;
  }

  /** `backingId`: which file the kernel is to read by itself; 0 without PASSTHROUGH. */
  open(unique: bigint, handle: Handle, flags: number, backingId = 0): number {
    this.#open(BODY, handle, flags, backingId);
    putHeader(this.buffer, unique, 0, BODY + OpenOut.BYTES);
    return BODY + OpenOut.BYTES;
  }

  /** The reply to CREATE: entry_out, then open_out. */
  created(unique: bigint, attr: Attr, handle: Handle, flags: number): number {
    const length = BODY + EntryOut.BYTES + OpenOut.BYTES;
    putHeader(this.buffer, unique, 0, length);
    putEntry(this.buffer, attr, BODY);
    this.#open(BODY + EntryOut.BYTES, handle, flags, 0);
    return length;
  }

  #open(at: number, handle: Handle, flags: number, backingId: number): void {
    put64(this.buffer, handle, at + OpenOut.FH);
    this.buffer.writeUInt32LE(flags, at + OpenOut.OPEN_FLAGS);
    this.buffer.writeInt32LE(backingId, at + OpenOut.BACKING_ID);
  }

  /** fuse_write_out and fuse_getxattr_out, a size padded to 8 bytes; fuse_lseek_out, an offset. */
  size(unique: bigint, size: number): number {
    putHeader(this.buffer, unique, 0, BODY + 8);
    put64(this.buffer, size, BODY);
    return BODY + 8;
  }

  statfs(unique: bigint, space: SpaceReport): number {
    const { buffer } = this;
    const length = BODY + StatfsOut.BYTES;
    putHeader(buffer, unique, 0, length);
    buffer.fill(0, BODY, length);
    put64(buffer, space.totalBlocks, BODY + StatfsOut.BLOCKS);
    put64(buffer, space.freeBlocks, BODY + StatfsOut.BFREE);
    put64(buffer, space.freeBlocks, BODY + StatfsOut.BAVAIL);
    put64(buffer, space.files, BODY + StatfsOut.FILES);
    put64(buffer, space.freeFiles, BODY + StatfsOut.FFREE);
    buffer.writeUInt32LE(space.blockBytes, BODY + StatfsOut.BSIZE);
    buffer.writeUInt32LE(NAME_MAX, BODY + StatfsOut.NAMELEN);
    buffer.writeUInt32LE(space.blockBytes, BODY + StatfsOut.FRSIZE);
    return length;
  }

  statx(unique: bigint, attr: Attr): number {
    const { buffer } = this;
    const length = BODY + StatxOut.BYTES;
    putHeader(buffer, unique, 0, length);
    buffer.fill(0, BODY, length);
    put64(buffer, CACHE_SEC, BODY + StatxOut.ATTR_VALID);
    buffer.writeUInt32LE(STATX_MASK, BODY + StatxOut.MASK);
    buffer.writeUInt32LE(PREFERRED_IO_BYTES, BODY + StatxOut.BLKSIZE);
    buffer.writeUInt32LE(attr.nlink, BODY + StatxOut.NLINK);
    buffer.writeUInt32LE(attr.uid, BODY + StatxOut.UID);
    buffer.writeUInt32LE(attr.gid, BODY + StatxOut.GID);
    buffer.writeUInt16LE(attr.mode, BODY + StatxOut.MODE);
    put64(buffer, attr.ino, BODY + StatxOut.INO);
    put64(buffer, attr.sizeBytes, BODY + StatxOut.SIZE);
    put64(buffer, attr.blocks, BODY + StatxOut.BLOCKS);
    putStatxTime(buffer, attr.atime, BODY + StatxOut.ATIME);
    putStatxTime(buffer, attr.btime, BODY + StatxOut.BTIME);
    putStatxTime(buffer, attr.ctime, BODY + StatxOut.CTIME);
    putStatxTime(buffer, attr.mtime, BODY + StatxOut.MTIME);
    buffer.writeUInt32LE(deviceMajor(attr.rdev), BODY + StatxOut.RDEV_MAJOR);
    buffer.writeUInt32LE(deviceMinor(attr.rdev), BODY + StatxOut.RDEV_MINOR);
    return length;
  }
}

/**
 * Collects directory entries into the reply of one READDIR or READDIRPLUS. It has a buffer of its own, because the vfs
 * may fill it over several turns of the event loop while other replies go out.
 */
export class DirentEncoder {
  readonly buffer: Buffer;
  length = BODY;
  #limit = BODY;

  constructor(capacityBytes: number) {
    this.buffer = Buffer.alloc(BODY + capacityBytes);
  }

  /** Starts a reply of at most `sizeBytes` of entries; a larger buffer of the kernel's is not filled. */
  begin(sizeBytes: number): void {
    this.length = BODY;
    this.#limit = BODY + Math.min(sizeBytes, this.buffer.length - BODY);
  }

  /** False, and nothing written, if it has no room. */
  add(entry: DirEntry): boolean {
    return this.#dirent(entry, this.length);
  }

  /** With attributes the kernel learns the name as from a LOOKUP; without (`.` and `..`) only the name. */
  addPlus(entry: DirEntry, attr: Attr | undefined): boolean {
    const at = this.length;
    if (!this.#dirent(entry, at + EntryOut.BYTES)) return false;
    if (attr === undefined) this.buffer.fill(0, at, at + EntryOut.BYTES);
    else putEntry(this.buffer, attr, at);
    return true;
  }

  get isEmpty(): boolean {
    return this.length === BODY;
  }

  finish(unique: bigint): number {
    putHeader(this.buffer, unique, 0, this.length);
    return this.length;
  }

  #dirent(entry: DirEntry, at: number): boolean {
    const { buffer } = this;
    const { name } = entry;
    const end = at + ((Dirent.NAME + name.length + 7) & ~7);
    if (end > this.#limit) return false;
    put64(buffer, entry.ino, at + Dirent.INO);
    put64(buffer, entry.cookie, at + Dirent.OFF);
    buffer.writeUInt32LE(name.length, at + Dirent.NAMELEN);
    buffer.writeUInt32LE((entry.mode >>> 12) & 0xf, at + Dirent.TYPE);
    buffer.write(name, at + Dirent.NAME, 'latin1');
    buffer.fill(0, at + Dirent.NAME + name.length, end);
    this.length = end;
    return true;
  }
}
