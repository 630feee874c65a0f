/**
 * What the stage log's records carry: changes since the last commits, in order, each with the stage sequence that its place
 * gives it (the record's sequence for the first, one more for each that follows). Namespace and attribute operations are
 * images after the change, so that replaying them twice changes nothing; content operations say which bytes changed and either
 * carry them or say that they are in the inode's cache file.
 *
 * Layout: kind u8, then the fields in the order of the type; see `encodeStageOp`. Numbers as in byte-buffer.ts.
 */
import { CairnError } from '../errors/cairn-error.js';
import { ByteReader, type ByteWriter } from '../io/byte-buffer.js';
import type { Time } from '../io/clock.js';
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
  /** The machine's boot: what follows was written during it. */
  | { readonly kind: 'boot'; readonly bootId: string }
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
  | { readonly kind: 'synced'; readonly ino: Ino; readonly through: number };

const CODES: readonly StageOp['kind'][] = [
  'boot',
  'inode',
  'inode-gone',
  'dentry',
  'dentry-gone',
  'xattr',
  'xattr-gone',
  'write',
  'size',
  'punch',
  'synced',
];

export function encodeStageOp(op: StageOp, into: ByteWriter): void {
  into.u8(CODES.indexOf(op.kind));
  switch (op.kind) {
    case 'boot':
      into.binary(op.bootId);
      break;
    case 'inode': {
      const { inode } = op;
      into.whole(inode.ino);
      into.u32(inode.mode);
      into.u32(inode.uid);
      into.u32(inode.gid);
      into.u32(inode.nlink);
      into.u32(inode.rdev);
      into.time(inode.atime);
      into.time(inode.mtime);
      into.time(inode.ctime);
      into.time(inode.btime);
      into.binary(inode.target);
      break;
    }
    case 'inode-gone':
      into.whole(op.ino);
      break;
    case 'synced':
      into.whole(op.ino);
      into.whole(op.through);
      break;
    case 'dentry':
      into.whole(op.parent);
      into.binary(op.name);
      into.u8(op.isDirectory ? 1 : 0);
      into.whole(op.ino);
      break;
    case 'dentry-gone':
      into.whole(op.parent);
      into.binary(op.name);
      into.u8(op.isDirectory ? 1 : 0);
      break;
    case 'xattr':
      into.whole(op.ino);
      into.binary(op.name);
      into.bytes(op.value);
      break;
    case 'xattr-gone':
      into.whole(op.ino);
      into.binary(op.name);
      break;
    case 'write':
      into.whole(op.ino);
      into.whole(op.offset);
      into.whole(op.length);
      into.u8(op.bytes === undefined ? 0 : 1);
      if (op.bytes !== undefined) into.bytes(op.bytes);
      break;
    case 'size':
      into.whole(op.ino);
      into.whole(op.sizeBytes);
      break;
    case 'punch':
      into.whole(op.ino);
      into.whole(op.from);
      into.whole(op.to);
      break;
  }
}

/** All operations of one record's payload. CORRUPT if it is malformed anywhere. Byte fields are views of `payload`. */
export function decodeStageOps(payload: Uint8Array): StageOp[] {
  const from = new ByteReader(payload);
  const ops: StageOp[] = [];
  while (from.remaining > 0) ops.push(decodeStageOp(from));
  return ops;
}

function decodeStageOp(from: ByteReader): StageOp {
  const kind = CODES[from.u8()];
  switch (kind) {
    case 'boot':
      return { kind, bootId: from.binary() };
    case 'inode':
      return { kind, inode: decodeInode(from) };
    case 'inode-gone':
      return { kind, ino: from.whole() };
    case 'synced':
      return { kind, ino: from.whole(), through: from.whole() };
    case 'dentry':
      return { kind, parent: from.whole(), name: from.binary(), isDirectory: from.u8() === 1, ino: from.whole() };
    case 'dentry-gone':
      return { kind, parent: from.whole(), name: from.binary(), isDirectory: from.u8() === 1 };
    case 'xattr':
      return { kind, ino: from.whole(), name: from.binary(), value: from.bytes() };
    case 'xattr-gone':
      return { kind, ino: from.whole(), name: from.binary() };
    case 'write': {
      const ino = from.whole();
      const offset = extent(from.whole());
      const length = extent(from.whole());
      const bytes = from.u8() === 1 ? from.bytes() : undefined;
      if (bytes !== undefined && bytes.length !== length)
        throw new CairnError('CORRUPT', 'a staged write carries another number of bytes than it says');
      return { kind, ino, offset, length, bytes };
    }
    case 'size':
      return { kind, ino: from.whole(), sizeBytes: extent(from.whole()) };
    case 'punch':
      return { kind, ino: from.whole(), from: extent(from.whole()), to: extent(from.whole()) };
    default:
      throw new CairnError('CORRUPT', 'a stage record holds an operation of an unknown kind');
  }
}

function decodeInode(from: ByteReader): StagedInode {
  return {
    ino: from.whole(),
    mode: from.u32(),
    uid: from.u32(),
    gid: from.u32(),
    nlink: from.u32(),
    rdev: from.u32(),
    atime: from.time(),
    mtime: from.time(),
    ctime: from.time(),
    btime: from.time(),
    target: from.binary(),
  };
}

function extent(value: number): number {
  if (value < 0) throw new CairnError('CORRUPT', 'a file position in a stage record is negative');
  return value;
}
