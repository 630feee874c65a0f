/**
 * The fields within a metadata change, written and read in pairs: the layout table is in row-codec.ts. Each pair holds the
 * limit once for both sides, so that whatever is written can be read.
 */
import { assert } from '../errors/cairn-error.js';
import type { ByteReader } from '../io/byte-reader.js';
import type { ByteWriter } from '../io/byte-writer.js';
import type { Time } from '../io/clock.js';
import type { ExtentRow, InodeRow, RowChange } from './rows.js';

export const CHUNK_ID_BYTES = 32;
const NAME_MAX_BYTES = 255;
const TARGET_MAX_BYTES = 4095;
const VALUE_MAX_BYTES = 64 * 1024;
const NSEC_PER_SEC = 1_000_000_000;

export function writeInode(writer: ByteWriter, row: InodeRow): void {
  writer.varint(row.ino);
  writer.varint(row.version);
  writer.varint(row.mode);
  writer.varint(row.uid);
  writer.varint(row.gid);
  writer.varint(row.nlink);
  writer.varint(row.rdev);
  writer.varint(row.sizeBytes);
  writeTime(writer, row.atime);
  writeTime(writer, row.mtime);
  writeTime(writer, row.ctime);
  writeTime(writer, row.btime);
  writeTarget(writer, row.target);
  writer.varint(row.contentStage);
}

export function readInode(reader: ByteReader): InodeRow {
  const ino = reader.varint();
  const version = reader.varint();
  const mode = reader.varint();
  const uid = reader.varint();
  const gid = reader.varint();
  const nlink = reader.varint();
  const rdev = reader.varint();
  const sizeBytes = reader.varint();
  const atime = readTime(reader);
  const mtime = readTime(reader);
  const ctime = readTime(reader);
  const btime = readTime(reader);
  const target = readTarget(reader);
  const contentStage = reader.varint();
  return {
    ino,
    version,
    mode,
    uid,
    gid,
    nlink,
    rdev,
    sizeBytes,
    atime,
    mtime,
    ctime,
    btime,
    target,
    contentStage,
  };
}

/** The target of a symbolic link; '' for other inodes. */
export function writeTarget(writer: ByteWriter, target: string): void {
  assert(isTarget(target), 'a link target has at most 4095 bytes, none of them NUL');
  writer.varint(target.length);
  writer.binary(target);
}

export function readTarget(reader: ByteReader): string {
  const target = reader.binary(reader.varint());
  if (!isTarget(target)) throw reader.corrupt('a link target is not one');
  return target;
}

function isTarget(target: string): boolean {
  return target.length <= TARGET_MAX_BYTES && !target.includes('\0');
}

export function writeExtents(writer: ByteWriter, from: number, to: number, extents: readonly ExtentRow[]): void {
  writer.varint(from);
  writer.varint(to - from);
  writer.varint(extents.length);
  let position = from;
  for (const extent of extents) {
    writer.varint(extent.offset - position);
    writer.varint(extent.length);
    writer.hex(extent.chunk, CHUNK_ID_BYTES);
    writer.varint(extent.chunkOffset);
    writer.varint(extent.chunkBytes);
    position = extent.offset + extent.length;
    assert(isExtent(extent) && position <= to, 'an extent lies within its chunk and within the range');
  }
}

export function readExtents(reader: ByteReader): RowChange {
  const ino = reader.varint();
  const from = reader.varint();
  const to = from + reader.varint();
  if (!Number.isSafeInteger(to)) throw reader.corrupt('a range of extents is too large');
  const count = reader.varint();
  const extents: ExtentRow[] = [];
  let position = from;
  for (let index = 0; index < count; index++) {
    const offset = position + reader.varint();
    const length = reader.varint();
    const chunk = reader.hex(CHUNK_ID_BYTES);
    const chunkOffset = reader.varint();
    const extent = { offset, length, chunk, chunkOffset, chunkBytes: reader.varint() };
    position = offset + length;
    if (!isExtent(extent) || position > to) throw reader.corrupt('an extent is out of range');
    extents.push(extent);
  }
  return { kind: 'extents', ino, from, to, extents };
}

function isExtent(extent: ExtentRow): boolean {
  return extent.length > 0 && extent.chunkOffset + extent.length <= extent.chunkBytes;
}

export function writeName(writer: ByteWriter, name: string, isPathPart: boolean): void {
  assert(isName(name, isPathPart), 'a name has 1 to 255 bytes, none of them NUL, nor / in a directory');
  writer.byte(name.length);
  writer.binary(name);
}

export function readName(reader: ByteReader, isPathPart: boolean): string {
  const name = reader.binary(reader.byte());
  if (!isName(name, isPathPart)) throw reader.corrupt('a name is not one');
  return name;
}

/** Names of extended attributes may contain `/`. */
function isName(name: string, isPathPart: boolean): boolean {
  const { length } = name;
  return length > 0 && length <= NAME_MAX_BYTES && !name.includes('\0') && !(isPathPart && name.includes('/'));
}

/** The value of an extended attribute. */
export function writeValue(writer: ByteWriter, value: Uint8Array): void {
  assert(value.length <= VALUE_MAX_BYTES, 'an extended attribute has at most 64 KiB');
  writer.varint(value.length);
  writer.bytes(value);
}

export function readValue(reader: ByteReader): Uint8Array {
  const length = reader.varint();
  if (length > VALUE_MAX_BYTES) throw reader.corrupt('an extended attribute is too long');
  return reader.bytes(length);
}

export function readBoolean(reader: ByteReader): boolean {
  const value = reader.byte();
  if (value > 1) throw reader.corrupt('a flag is neither 0 nor 1');
  return value === 1;
}

export function writeTime(writer: ByteWriter, { sec, nsec }: Time): void {
  assert(nsec >= 0 && nsec < NSEC_PER_SEC && Number.isInteger(nsec), 'nanoseconds are below a second');
  writer.varint(sec < 0 ? -2 * sec - 1 : 2 * sec);
  writer.u32(nsec);
}

export function readTime(reader: ByteReader): Time {
  const zigzag = reader.varint();
  const nsec = reader.u32();
  if (nsec >= NSEC_PER_SEC) throw reader.corrupt('a time has too many nanoseconds');
  return { sec: zigzag % 2 === 1 ? -(zigzag + 1) / 2 : zigzag / 2, nsec };
}
