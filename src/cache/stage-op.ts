/**
 * What the stage log's records carry: changes since the last commits, in order, each with the stage sequence that its place
 * gives it (the record's sequence for the first, one more for each that follows). Namespace and attribute operations are
 * images after the change, so that replaying them twice changes nothing; content operations say which bytes changed and either
 * carry them or say that they are in the inode's cache file.
 *
 * Every record names the boot of the machine during which it was written: older records are released one segment at a time, so
 * none may depend on one before it. It also says up to which stage sequence the log was known to be durable when it was begun: a gap
 * beyond the highest of these is where a power cut broke the log off, and nothing behind it counts. Fields are those of row-codec.ts:
 *
 *   record payload   'S' format=1 | v boot length (at most 255) | boot | v durable through | operations to the end
 *   operation        u8 kind | body:
 *     1 inode          v ino | v mode | v uid | v gid | v nlink | v rdev | time atime | time mtime | time ctime | time btime
 *                      | v target length (0–4095) | target
 *     2 inode-gone     v ino
 *     3 dentry         v parent | name | u8 isDirectory (0, 1) | v ino
 *     4 dentry-gone    v parent | name | u8 isDirectory
 *     5 xattr          v ino | name | v value length (0–65536) | value
 *     6 xattr-gone     v ino | name
 *     7 write          v ino | v offset | v length                 the bytes are in the cache file
 *     8 write          v ino | v offset | v length | bytes
 *     9 size           v ino | v sizeBytes
 *    10 punch          v ino | v from | v to - from
 *    11 synced         v ino | v through
 *    12 evicted        v ino | v from | v to - from
 *    13 cut            v after                                 always the first of its record
 */
import { ByteReader } from '../io/byte-reader.js';
import type { ByteWriter } from '../io/byte-writer.js';
import type { Time } from '../io/clock.js';
import {
  readBoolean,
  readName,
  readTarget,
  readTime,
  readValue,
  writeName,
  writeTarget,
  writeTime,
  writeValue,
} from '../meta/row-fields.js';
import type { Ino, Name } from '../meta/rows.js';

/** Attributes after the change; size and content are the business of the content operations. */
export interface StagedInode {
  readonly ino: Ino;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly rdev: number;
  readonly atime: Time;
  readonly mtime: Time;
  readonly ctime: Time;
  readonly btime: Time;
  readonly target: string;
}

export type StageOp =
  | { readonly kind: 'inode'; readonly inode: StagedInode }
  | { readonly kind: 'inode-gone'; readonly ino: Ino }
  | {
      readonly kind: 'dentry';
      readonly parent: Ino;
      readonly name: Name;
      readonly isDirectory: boolean;
      readonly ino: Ino;
    }
  | { readonly kind: 'dentry-gone'; readonly parent: Ino; readonly name: Name; readonly isDirectory: boolean }
  | { readonly kind: 'xattr'; readonly ino: Ino; readonly name: string; readonly value: Uint8Array }
  | { readonly kind: 'xattr-gone'; readonly ino: Ino; readonly name: string }
  /** `bytes` undefined: they are in the cache file, which power loss may have taken unless a `synced` follows. */
  | {
      readonly kind: 'write';
      readonly ino: Ino;
      readonly offset: number;
      readonly length: number;
      readonly bytes: Uint8Array | undefined;
    }
  | { readonly kind: 'size'; readonly ino: Ino; readonly sizeBytes: number }
  | { readonly kind: 'punch'; readonly ino: Ino; readonly from: number; readonly to: number }
  /** The inode's cache file was synced: its writes up to stage sequence `through` survive power loss. */
  | { readonly kind: 'synced'; readonly ino: Ino; readonly through: number }
  /** A commit has the range, and the cache file no longer does: what was written to it before is not there to be replayed. */
  | { readonly kind: 'evicted'; readonly ino: Ino; readonly from: number; readonly to: number }
  /** A power cut broke the log off: operations after stage sequence `after` and before this one do not count. */
  | { readonly kind: 'cut'; readonly after: number };

const MARK = 0x53;
const FORMAT = 1;
const BOOT_BYTES_MAX = 255;

const INODE = 1;
const INODE_GONE = 2;
const DENTRY = 3;
const DENTRY_GONE = 4;
const XATTR = 5;
const XATTR_GONE = 6;
const WRITE_IN_FILE = 7;
const WRITE_INLINE = 8;
const SIZE = 9;
const PUNCH = 10;
const SYNCED = 11;
const EVICTED = 12;
const CUT = 13;

/** The beginning of a record's payload; operations follow. */
export function beginStageRecord(bootId: string, durableThrough: number, into: ByteWriter): void {
  into.byte(MARK);
  into.byte(FORMAT);
  into.varint(bootId.length);
  into.binary(bootId);
  into.varint(durableThrough);
}

export function encodeStageOp(op: StageOp, into: ByteWriter): void {
  switch (op.kind) {
    case 'inode':
      into.byte(INODE);
      encodeInode(op.inode, into);
      break;
    case 'inode-gone':
      into.byte(INODE_GONE);
      into.varint(op.ino);
      break;
    case 'dentry':
    case 'dentry-gone':
      into.byte(op.kind === 'dentry' ? DENTRY : DENTRY_GONE);
      into.varint(op.parent);
      writeName(into, op.name, true);
      into.byte(op.isDirectory ? 1 : 0);
      if (op.kind === 'dentry') into.varint(op.ino);
      break;
    case 'xattr':
      into.byte(XATTR);
      into.varint(op.ino);
      writeName(into, op.name, false);
      writeValue(into, op.value);
      break;
    case 'xattr-gone':
      into.byte(XATTR_GONE);
      into.varint(op.ino);
      writeName(into, op.name, false);
      break;
    case 'write':
      into.byte(op.bytes === undefined ? WRITE_IN_FILE : WRITE_INLINE);
      into.varint(op.ino);
      into.varint(op.offset);
      into.varint(op.length);
      if (op.bytes !== undefined) into.bytes(op.bytes);
      break;
    case 'size':
      into.byte(SIZE);
      into.varint(op.ino);
      into.varint(op.sizeBytes);
      break;
    case 'punch':
    case 'evicted':
      into.byte(op.kind === 'punch' ? PUNCH : EVICTED);
      into.varint(op.ino);
      into.varint(op.from);
      into.varint(op.to - op.from);
      break;
    case 'synced':
      into.byte(SYNCED);
      into.varint(op.ino);
      into.varint(op.through);
      break;
    case 'cut':
      into.byte(CUT);
      into.varint(op.after);
      break;
  }
}

function encodeInode(inode: StagedInode, into: ByteWriter): void {
  into.varint(inode.ino);
  into.varint(inode.mode);
  into.varint(inode.uid);
  into.varint(inode.gid);
  into.varint(inode.nlink);
  into.varint(inode.rdev);
  writeTime(into, inode.atime);
  writeTime(into, inode.mtime);
  writeTime(into, inode.ctime);
  writeTime(into, inode.btime);
  writeTarget(into, inode.target);
}

/** What one record carries. */
export interface StageRecord {
  readonly bootId: string;
  /** Operations up to this stage sequence were known to be durable when the record was begun. */
  readonly durableThrough: number;
  readonly ops: readonly StageOp[];
}

/** All of one record's payload. CORRUPT if it is malformed anywhere. Byte fields are copies. */
export function decodeStageRecord(payload: Uint8Array): StageRecord {
  const from = new ByteReader(payload, 'a record of the stage log');
  if (from.byte() !== MARK) throw from.corrupt('it is something else');
  const format = from.byte();
  if (format !== FORMAT) throw from.corrupt(`its format is ${format}, and this version reads format ${FORMAT}`);
  const bootLength = from.varint();
  if (bootLength > BOOT_BYTES_MAX) throw from.corrupt('the name of a boot is too long');
  const bootId = from.binary(bootLength);
  const durableThrough = from.varint();
  const ops: StageOp[] = [];
  while (from.remainingBytes > 0) ops.push(decodeStageOp(from));
  return { bootId, durableThrough, ops };
}

function decodeStageOp(from: ByteReader): StageOp {
  const kind = from.byte();
  switch (kind) {
    case INODE:
      return { kind: 'inode', inode: decodeInode(from) };
    case INODE_GONE:
      return { kind: 'inode-gone', ino: from.varint() };
    case DENTRY: {
      const parent = from.varint();
      const name = readName(from, true);
      const isDirectory = readBoolean(from);
      return { kind: 'dentry', parent, name, isDirectory, ino: from.varint() };
    }
    case DENTRY_GONE: {
      const parent = from.varint();
      const name = readName(from, true);
      return { kind: 'dentry-gone', parent, name, isDirectory: readBoolean(from) };
    }
    case XATTR: {
      const ino = from.varint();
      const name = readName(from, false);
      return { kind: 'xattr', ino, name, value: readValue(from) };
    }
    case XATTR_GONE:
      return { kind: 'xattr-gone', ino: from.varint(), name: readName(from, false) };
    case WRITE_IN_FILE:
    case WRITE_INLINE: {
      const ino = from.varint();
      const { from: offset, to } = decodeRange(from);
      const length = to - offset;
      return { kind: 'write', ino, offset, length, bytes: kind === WRITE_INLINE ? from.bytes(length) : undefined };
    }
    case SIZE:
      return { kind: 'size', ino: from.varint(), sizeBytes: from.varint() };
    case PUNCH:
      return { kind: 'punch', ino: from.varint(), ...decodeRange(from) };
    case SYNCED:
      return { kind: 'synced', ino: from.varint(), through: from.varint() };
    case EVICTED:
      return { kind: 'evicted', ino: from.varint(), ...decodeRange(from) };
    case CUT:
      return { kind: 'cut', after: from.varint() };
    default:
      throw from.corrupt(`there is no operation of kind ${kind}`);
  }
}

function decodeRange(reader: ByteReader): { from: number; to: number } {
  const from = reader.varint();
  const to = from + reader.varint();
  if (!Number.isSafeInteger(to)) throw reader.corrupt('a range of a file is too large');
  return { from, to };
}

function decodeInode(from: ByteReader): StagedInode {
  return {
    ino: from.varint(),
    mode: from.varint(),
    uid: from.varint(),
    gid: from.varint(),
    nlink: from.varint(),
    rdev: from.varint(),
    atime: readTime(from),
    mtime: readTime(from),
    ctime: readTime(from),
    btime: readTime(from),
    target: readTarget(from),
  };
}
