/**
 * What a compressed chunk is stored as: zstd frames of 256 KiB of it each, behind a table of them, so that a read of a part unpacks what it touches. The whole is a zstd
 * stream that any zstd program unpacks: the table stands in a frame that these skip.
 *
 *   offset  size  field
 *        0     4  0x184D2A5C: a frame that is skipped
 *        4     4  8n: length of what follows in it
 *        8    8n  per block of the chunk, n = ceil(chunkBytes / 262144): u32 length of its frame · u32 CRC32C of its plain bytes
 *   8 + 8n        the n frames, one behind the other; each holds 262144 bytes of the chunk, the last one what is left
 *
 * The sums are of the plain bytes: a read of a part, which cannot be checked against the chunk's name, is checked behind the decompressor as well. Lengths are
 * believed only where they fit each other: nothing is unpacked that could be longer than its block.
 *
 * The same bytes may be compressed to others by another version of the library. So shards of a compressed chunk are only ever made from what its other shards hold,
 * never from the chunk compressed once more.
 */
import { loadAddon } from '../../native/addon.js';
import type { Compression } from '../disks/record.js';
import { recordBytes } from '../disks/record-codec.js';
import { assert, CairnError } from '../errors/cairn-error.js';
import { compressFrame, decompressFrame } from './zstd.js';

/** `Compression.method` of this layout. */
export const ZSTD_BLOCKS = 1;
/** Plain bytes of a block. Whole chunks compress two hundredths better, and cost a reader of 4 KiB more. */
export const BLOCK_BYTES = 256 * 1024;

const MAGIC = 0x184d2a5c;
const FRONT_BYTES = 8;
const ROW_BYTES = 8;
/** What it must come to at most, as a part of what it was: less saves no room worth the time of every reader. */
const PAYS = 7 / 8;
/** Of a longer chunk two samples are tried first: a film or an archive costs little then. */
const SAMPLED_FROM_BYTES = 2 * BLOCK_BYTES;
const SAMPLE_BYTES = 64 * 1024;
/** Less takes one or two units of the log in any case. */
const MIN_BYTES = 256;

export interface StoredBlock {
  /** Where its frame lies in the stored bytes. */
  readonly from: number;
  readonly to: number;
  readonly crc32c: number;
}

/** Whether shards of `stored` bytes save enough where `plain` ones would be written, each with all that a record takes. */
export function pays(stored: number, plain: number): boolean {
  return recordBytes(stored) <= recordBytes(plain) * PAYS;
}

/** The chunk as it is stored; undefined if that does not pay. CONFIG. */
export function compressChunk(chunk: Uint8Array): Uint8Array | undefined {
  if (chunk.length < MIN_BYTES || (chunk.length >= SAMPLED_FROM_BYTES && !isPromising(chunk))) return undefined;
  const { crc32c } = loadAddon();
  const count = Math.ceil(chunk.length / BLOCK_BYTES);
  const table = Buffer.allocUnsafe(tableBytes(chunk.length));
  table.writeUInt32LE(MAGIC, 0);
  table.writeUInt32LE(ROW_BYTES * count, 4);
  const parts: Uint8Array[] = [table];
  let length = table.length;
  for (let block = 0; block < count; block++) {
    const from = block * BLOCK_BYTES;
    const to = Math.min(from + BLOCK_BYTES, chunk.length);
    const frame = compressFrame(chunk.subarray(from, to));
    parts.push(frame);
    length += frame.length;
    if (length > chunk.length * PAYS) return undefined;
    table.writeUInt32LE(frame.length, FRONT_BYTES + block * ROW_BYTES);
    table.writeUInt32LE(crc32c(chunk, from, to, 0), FRONT_BYTES + block * ROW_BYTES + 4);
  }
  // Memory of its own, as it may travel to another thread.
  const stored = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for (const part of parts) {
    stored.set(part, at);
    at += part.length;
  }
  return stored;
}

/** Whether its beginning or its middle compresses well enough. */
function isPromising(chunk: Uint8Array): boolean {
  const middle = Math.floor(chunk.length / 2);
  return [0, middle].some((at) => compressFrame(chunk.subarray(at, at + SAMPLE_BYTES)).length <= SAMPLE_BYTES * PAYS);
}

/** Unpacks a whole chunk: `into` is as long as it. CORRUPT, CONFIG. */
export function decompressChunk(stored: Uint8Array, into: Uint8Array): void {
  const blocks = readTable(stored.subarray(0, tableBytes(into.length)), into.length, stored.length);
  for (const [block, place] of blocks.entries()) {
    const at = block * BLOCK_BYTES;
    decompressBlock(stored.subarray(place.from, place.to), place, into.subarray(at, at + BLOCK_BYTES));
  }
}

/** As `decompressChunk`, of one block, whose frame this is. */
export function decompressBlock(frame: Uint8Array, { crc32c }: StoredBlock, into: Uint8Array): void {
  decompressFrame(frame, into);
  if (loadAddon().crc32c(into, 0, into.length, 0) !== crc32c)
    throw new CairnError('CORRUPT', 'a block of a compressed chunk does not have its checksum');
}

/** Bytes in front of the frames. */
export function tableBytes(chunkBytes: number): number {
  return FRONT_BYTES + ROW_BYTES * Math.ceil(chunkBytes / BLOCK_BYTES);
}

/** Where the chunk's blocks lie, from the first `tableBytes` of what is stored. CORRUPT. */
export function readTable(bytes: Uint8Array, chunkBytes: number, storedBytes: number): StoredBlock[] {
  const length = tableBytes(chunkBytes);
  const table = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (table.length < length || table.readUInt32LE(0) !== MAGIC || table.readUInt32LE(4) !== length - FRONT_BYTES)
    throw new CairnError('CORRUPT', 'a compressed chunk does not begin with the table of its blocks');
  const blocks: StoredBlock[] = [];
  let from = length;
  for (let at = FRONT_BYTES; at < length; at += ROW_BYTES) {
    const to = from + table.readUInt32LE(at);
    blocks.push({ from, to, crc32c: table.readUInt32LE(at + 4) });
    from = to;
  }
  if (from !== storedBytes) throw new CairnError('CORRUPT', 'the blocks of a compressed chunk do not add up');
  return blocks;
}

export function isKnown(compression: Compression | undefined): boolean {
  return compression === undefined || compression.method === ZSTD_BLOCKS;
}

/** What a chunk's shards are made from, unpacked. As `decompressChunk`. */
export function plainOf(stored: Uint8Array, chunkBytes: number, compression: Compression | undefined): Uint8Array {
  if (compression === undefined) return stored;
  assert(isKnown(compression), 'what is not known is not read');
  const plain = Buffer.allocUnsafeSlow(chunkBytes);
  decompressChunk(stored, plain);
  return plain;
}
