/** Arbitrary stage operations for fast-check: every kind, every field over its whole range, within the codec's limits. */
import fc from 'fast-check';
import type { StagedInode, StageOp } from '../../../src/cache/stage-op.js';
import { beginStageRecord, encodeStageOp } from '../../../src/cache/stage-op.js';
import { ByteWriter } from '../../../src/io/byte-writer.js';
import { attributeName, name, record, target, time, whole } from '../meta/arbitrary-rows.js';

const inode: fc.Arbitrary<StagedInode> = record({
  ino: whole,
  mode: whole,
  uid: whole,
  gid: whole,
  nlink: whole,
  rdev: whole,
  atime: time,
  mtime: time,
  ctime: time,
  btime: time,
  target,
});

const value = fc.uint8Array({ maxLength: 300 }).map((bytes) => Uint8Array.from(bytes));
const range = fc.tuple(whole, whole).map(([a, b]) => ({ from: Math.min(a, b), to: Math.max(a, b) }));

export const arbitraryOp: fc.Arbitrary<StageOp> = fc.oneof(
  inode.map((image) => ({ kind: 'inode', inode: image }) as const),
  whole.map((ino) => ({ kind: 'inode-gone', ino }) as const),
  record({ kind: fc.constant('dentry' as const), parent: whole, name, isDirectory: fc.boolean(), ino: whole }),
  record({ kind: fc.constant('dentry-gone' as const), parent: whole, name, isDirectory: fc.boolean() }),
  record({ kind: fc.constant('xattr' as const), ino: whole, name: attributeName, value }),
  record({ kind: fc.constant('xattr-gone' as const), ino: whole, name: attributeName }),
  fc.tuple(whole, range).map(([ino, { from, to }]) => {
    return { kind: 'write', ino, offset: from, length: to - from, bytes: undefined } as const;
  }),
  fc
    .tuple(whole, fc.nat(2 ** 40), value)
    .map(([ino, offset, bytes]) => ({ kind: 'write', ino, offset, length: bytes.length, bytes }) as const),
  record({ kind: fc.constant('size' as const), ino: whole, sizeBytes: whole }),
  fc.tuple(whole, range).map(([ino, { from, to }]) => ({ kind: 'punch', ino, from, to }) as const),
  record({ kind: fc.constant('synced' as const), ino: whole, through: whole }),
  fc.tuple(whole, range).map(([ino, { from, to }]) => ({ kind: 'evicted', ino, from, to }) as const),
  whole.map((after) => ({ kind: 'cut', after }) as const),
);

export function encodeRecord(bootId: string, ops: readonly StageOp[], durableThrough = 0): Buffer {
  const writer = new ByteWriter(16);
  beginStageRecord(bootId, durableThrough, writer);
  for (const op of ops) encodeStageOp(op, writer);
  return writer.view();
}
