/** Short ways to write metadata changes in tests. */
import type { MetaStore } from '../../src/meta/meta-store.js';
import type { ChunkId, Commit, DentryRow, Ino, InodeRow, RowChange } from '../../src/meta/rows.js';

type Of<Kind extends RowChange['kind']> = Extract<RowChange, { kind: Kind }>;

const TIME = { sec: 1_763_712_000, nsec: 123_456_789 };
/** All chunks of the tests claim this plain length. */
const CHUNK_BYTES = 1000;

/** A chunk id that begins with the number, so that ids sort as numbers do. */
export function chunkOf(number: number): ChunkId {
  return number.toString(16).padStart(8, '0') + 'c'.repeat(56);
}

export function inode(ino: Ino, fields: Partial<InodeRow> = {}, before = 0): Of<'inode'> {
  const times = { atime: TIME, mtime: TIME, ctime: TIME, btime: TIME };
  const plain = { version: 1, mode: 0o100644, uid: 0, gid: 0, nlink: 1, rdev: 0, sizeBytes: 0 };
  return { kind: 'inode', before, row: { ino, ...plain, ...times, target: '', contentStage: 0, ...fields } };
}

export function dentry(parent: Ino, name: string, ino: Ino, fields: Partial<DentryRow> = {}, before = 0): Of<'dentry'> {
  return { kind: 'dentry', before, row: { parent, name, ino, isDirectory: false, version: 1, ...fields } };
}

/** One extent over exactly its range, from the chunk's first byte. */
export function extent(ino: Ino, offset: number, length: number, number: number): Of<'extents'> {
  const row = { offset, length, chunk: chunkOf(number), chunkOffset: 0, chunkBytes: CHUNK_BYTES };
  return { kind: 'extents', ino, from: offset, to: offset + length, extents: [row] };
}

/** The commit that the store expects next. */
export function nextCommit(
  store: Pick<MetaStore, 'position'>,
  changes: readonly RowChange[],
  fields: Partial<Commit> = {},
): Commit {
  const { sequence, epoch, stagedThrough, nextIno } = store.position();
  return { sequence: sequence + 1, epoch, acknowledged: sequence, stagedThrough, nextIno, changes, ...fields };
}
