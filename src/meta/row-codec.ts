/**
 * The bytes of metadata changes: the payload of a COMMIT record and of a part of a metadata snapshot.
 *
 * The record around the payload carries its checksums; this codec proves structure and ranges. What it encodes it decodes,
 * and what it decodes encodes to the same bytes: the encoder asserts every limit that the decoder checks, because a commit
 * that was acknowledged and cannot be read back is lost. A released format byte is never given a new meaning.
 *
 * `v` is a varint (io/byte-writer.ts), `u8` and `u32` are fixed and little-endian, `name` is u8 length (1–255) and bytes.
 *
 *   commit payload    'C' format=1 | v sequence | v epoch | v acknowledged | v stagedThrough | v nextIno
 *                      | v count of disks away | count × v number - number before (the first: itself) | changes
 *   snapshot part     'P' format=1 | changes
 *   changes           v count | count × change
 *   change            u8 kind | body:
 *     1 inode          v before | v ino | v version | v mode | v uid | v gid | v nlink | v rdev | v sizeBytes
 *                      | time atime | time mtime | time ctime | time btime | v target length (0–4095) | target | v contentStage
 *     2 inode-delete   v before | v ino
 *     3 dentry         v before | v parent | name | v ino | u8 isDirectory (0, 1) | v version
 *     4 dentry-delete  v before | v parent | name | u8 isDirectory
 *     5 extents        v ino | v from | v to - from | v count | count × (v gap | v length | 32 bytes chunk | v chunkOffset | v chunkBytes)
 *                      the gap counts from the end of the extent before (the first: from `from`), so extents cannot overlap
 *     6 xattr          v ino | name | v value length (0–65536) | value
 *     7 xattr-delete   v ino | name
 *     8 chunk          32 bytes chunk | v chunkBytes
 *     9 chunk-delete   32 bytes chunk
 *   time              v zigzag seconds (2s, or -2s - 1 where s < 0) | u32 nanoseconds (below 10^9)
 */
import { assert } from '../errors/cairn-error.js';
import { ByteReader } from '../io/byte-reader.js';
import { ByteWriter } from '../io/byte-writer.js';
import {
  CHUNK_ID_BYTES,
  readBoolean,
  readExtents,
  readInode,
  readName,
  readValue,
  writeExtents,
  writeInode,
  writeName,
  writeValue,
} from './row-fields.js';
import type { Commit, RowChange } from './rows.js';

const FORMAT = 1;
const COMMIT_MARK = 0x43;
const PART_MARK = 0x50;

const INODE = 1;
const INODE_DELETE = 2;
const DENTRY = 3;
const DENTRY_DELETE = 4;
const EXTENTS = 5;
const XATTR = 6;
const XATTR_DELETE = 7;
const CHUNK = 8;
const CHUNK_DELETE = 9;

const DISK_NUMBER_MAX = 65_535;

/** The payload of a COMMIT record. The result may be a view of a larger buffer that nothing else uses. */
export function encodeCommit(commit: Commit): Uint8Array {
  const writer = new ByteWriter();
  writer.byte(COMMIT_MARK);
  writer.byte(FORMAT);
  writer.varint(commit.sequence);
  writer.varint(commit.epoch);
  writer.varint(commit.acknowledged);
  writer.varint(commit.stagedThrough);
  writer.varint(commit.nextIno);
  writeAway(writer, commit.away ?? []);
  writeChanges(writer, commit.changes);
  return writer.finish();
}

/** CORRUPT unless `bytes` are exactly one commit payload. */
export function decodeCommit(bytes: Uint8Array): Commit {
  const reader = new ByteReader(bytes, 'a commit');
  readMark(reader, COMMIT_MARK);
  const sequence = reader.varint();
  const epoch = reader.varint();
  const acknowledged = reader.varint();
  const stagedThrough = reader.varint();
  const nextIno = reader.varint();
  const away = readAway(reader);
  const changes = readChanges(reader);
  return {
    sequence,
    epoch,
    acknowledged,
    ...(away.length > 0 && { away }),
    stagedThrough,
    nextIno,
    changes,
  };
}

/** Disk numbers ascend, so each is written as its distance from the one before: never 0. */
function writeAway(writer: ByteWriter, away: readonly number[]): void {
  writer.varint(away.length);
  let before = 0;
  for (const number of away) {
    assert(number > before && number <= DISK_NUMBER_MAX, 'disk numbers ascend from 1 to 65535');
    writer.varint(number - before);
    before = number;
  }
}

function readAway(reader: ByteReader): number[] {
  const away: number[] = [];
  for (let left = reader.varint(), before = 0; left > 0; left--) {
    const step = reader.varint();
    if (step === 0 || step > DISK_NUMBER_MAX - before) throw reader.corrupt('the numbers of its disks make no sense');
    before += step;
    away.push(before);
  }
  return away;
}

/** A part of a metadata snapshot. */
export function encodeChanges(changes: readonly RowChange[]): Uint8Array {
  const writer = new ByteWriter();
  writer.byte(PART_MARK);
  writer.byte(FORMAT);
  writeChanges(writer, changes);
  return writer.finish();
}

/** CORRUPT unless `bytes` are exactly one snapshot part. */
export function decodeChanges(bytes: Uint8Array): RowChange[] {
  const reader = new ByteReader(bytes, 'a part of a metadata snapshot');
  readMark(reader, PART_MARK);
  return readChanges(reader);
}

function readMark(reader: ByteReader, mark: number): void {
  if (reader.byte() !== mark) throw reader.corrupt('it is something else');
  const format = reader.byte();
  if (format !== FORMAT) throw reader.corrupt(`its format is ${format}, and this version reads format ${FORMAT}`);
}

function writeChanges(writer: ByteWriter, changes: readonly RowChange[]): void {
  writer.varint(changes.length);
  for (const change of changes) writeChange(writer, change);
}

function readChanges(reader: ByteReader): RowChange[] {
  const count = reader.varint();
  const changes: RowChange[] = [];
  for (let index = 0; index < count; index++) changes.push(readChange(reader));
  reader.end();
  return changes;
}

function writeChange(writer: ByteWriter, change: RowChange): void {
  switch (change.kind) {
    case 'inode':
      writer.byte(INODE);
      writer.varint(change.before);
      writeInode(writer, change.row);
      break;
    case 'inode-delete':
      writer.byte(INODE_DELETE);
      writer.varint(change.before);
      writer.varint(change.ino);
      break;
    case 'dentry':
      writer.byte(DENTRY);
      writer.varint(change.before);
      writer.varint(change.row.parent);
      writeName(writer, change.row.name, true);
      writer.varint(change.row.ino);
      writer.byte(change.row.isDirectory ? 1 : 0);
      writer.varint(change.row.version);
      break;
    case 'dentry-delete':
      writer.byte(DENTRY_DELETE);
      writer.varint(change.before);
      writer.varint(change.parent);
      writeName(writer, change.name, true);
      writer.byte(change.isDirectory ? 1 : 0);
      break;
    case 'extents':
      writer.byte(EXTENTS);
      writer.varint(change.ino);
      writeExtents(writer, change.from, change.to, change.extents);
      break;
    case 'xattr':
      writer.byte(XATTR);
      writer.varint(change.row.ino);
      writeName(writer, change.row.name, false);
      writeValue(writer, change.row.value);
      break;
    case 'xattr-delete':
      writer.byte(XATTR_DELETE);
      writer.varint(change.ino);
      writeName(writer, change.name, false);
      break;
    case 'chunk':
      writer.byte(CHUNK);
      writer.hex(change.chunk, CHUNK_ID_BYTES);
      writer.varint(change.chunkBytes);
      break;
    case 'chunk-delete':
      writer.byte(CHUNK_DELETE);
      writer.hex(change.chunk, CHUNK_ID_BYTES);
  }
}

function readChange(reader: ByteReader): RowChange {
  const kind = reader.byte();
  switch (kind) {
    case INODE:
      return { kind: 'inode', before: reader.varint(), row: readInode(reader) };
    case INODE_DELETE:
      return { kind: 'inode-delete', before: reader.varint(), ino: reader.varint() };
    case DENTRY: {
      const before = reader.varint();
      const parent = reader.varint();
      const name = readName(reader, true);
      const ino = reader.varint();
      const isDirectory = readBoolean(reader);
      return { kind: 'dentry', before, row: { parent, name, ino, isDirectory, version: reader.varint() } };
    }
    case DENTRY_DELETE: {
      const before = reader.varint();
      const parent = reader.varint();
      const name = readName(reader, true);
      return { kind: 'dentry-delete', before, parent, name, isDirectory: readBoolean(reader) };
    }
    case EXTENTS:
      return readExtents(reader);
    case XATTR: {
      const ino = reader.varint();
      const name = readName(reader, false);
      return { kind: 'xattr', row: { ino, name, value: readValue(reader) } };
    }
    case XATTR_DELETE:
      return { kind: 'xattr-delete', ino: reader.varint(), name: readName(reader, false) };
    case CHUNK:
      return { kind: 'chunk', chunk: reader.hex(CHUNK_ID_BYTES), chunkBytes: reader.varint() };
    case CHUNK_DELETE:
      return { kind: 'chunk-delete', chunk: reader.hex(CHUNK_ID_BYTES) };
    default:
      throw reader.corrupt(`there is no change of kind ${kind}`);
  }
}
