/**
 * The bytes of one log record. Little endian; every record starts at a multiple of 64.
 *
 *   offset  size  field
 *        0     4  magic "CRNR"
 *        4     1  version: 2 of a shard of a compressed chunk, which a reader of version 1 would misread; else 1
 *        5     1  kind: 1 segment, 2 shard, 3 commit, 4 slot, 5 stage, 6 tombstone, 7 snapshot
 *        6     2  nameBytes: length of the slot's path; else 0
 *        8     4  payloadBytes
 *       12     4  CRC32C of the header without this field: [0, 12), [16, 112), the table and the name
 *       16     8  log sequence: grows by one per record of a disk, over both streams
 *       24     4  generation: the segment's number, which is never given twice; old records of a recycled file carry another
 *       28     4  zero
 *       32     8  owner: random, one per disk or cache
 *       40    72  fields of the kind, the rest zero:
 *                   segment    40 log name (16, zero padded) · 56 segmentBytes u32
 *                   shard      40 bucket (16) · 56 chunk (32) · 88 shard u8 · 89 erasure u8 · 90 k u8 · 91 m u8 · 92 chunkBytes u32
 *                              version 2: 96 storedBytes u32 · 100 compression u8 (1: src/chunks/compressed-chunk.ts; never 0)
 *                   commit     40 sequence u64 · 48 epoch u64 · 56 acknowledged u64
 *                   slot       40 bucket (16) · 56 version u64
 *                   stage      40 sequence u64
 *                   tombstone  40 bucket (16) · 56 chunk (32) · 88 shard u8 · 92 targetSegment u32 · 96 through u64
 *                   snapshot   40 sequence u64 · 48 epoch u64 · 56 part u32 · 60 last u8
 *      112    4n  table: CRC32C of each 64 KiB of payload, n = ceil(payloadBytes / 65536)
 *   112+4n     p  name (UTF-8), p = nameBytes
 *        …        payload, then padding of any bytes up to a multiple of 64
 *
 * The table lies before the payload so that a partial read needs the front and the blocks it touches, nothing else. Records carry their whole
 * meaning in the header so that indexes are rebuilt without reading payloads. A version that has been released is never edited: a change is another one.
 */
import { assert, CairnError } from '../errors/cairn-error.js';
import { CHECKSUM_BLOCK_BYTES, type Compression, type RecordInput, type ShardInfo, type ShardKey } from './record.js';

/** CRC32C of buffer[from, to), continuing from `seed` (0 at the start). */
export type Crc32c = (buffer: Uint8Array, from: number, to: number, seed: number) => number;

/** The first record of every segment file. */
interface SegmentStart {
  readonly kind: 'segment';
  readonly name: string;
  readonly segmentBytes: number;
}

export type LogRecord = RecordInput | SegmentStart;

export const RECORD_ALIGNMENT = 64;
export const FIXED_HEADER_BYTES = 112;
/** As many bytes as a slot's path may have. */
const MAX_NAME_BYTES = 4096;

const MAGIC = 0x524e5243;
const VERSION = 1;
/** Of shards of compressed chunks. */
const COMPRESSED_VERSION = 2;
const KINDS = ['segment', 'shard', 'commit', 'slot', 'stage', 'tombstone', 'snapshot'] as const;
const AT_VERSION = 4;
const AT_KIND = 5;
const AT_NAME_BYTES = 6;
const AT_PAYLOAD_BYTES = 8;
const AT_CHECKSUM = 12;
const AT_SEQUENCE = 16;
const AT_GENERATION = 24;
const AT_OWNER = 32;
const AT_FIELDS = 40;
const AT_CHUNK = 56;
const AT_SHARD = 88;
const AT_CHUNK_BYTES = 92;
const AT_STORED_BYTES = 96;
const AT_COMPRESSION = 100;
const AT_TARGET_SEGMENT = 92;
const AT_THROUGH = 96;
const BUCKET_BYTES = 16;
const CHUNK_BYTES = 32;
const OWNER_BYTES = 8;
const LOG_NAME_BYTES = 16;
const NO_PARTS: readonly Uint8Array[] = [];

export interface RecordStamp {
  readonly generation: number;
  readonly logSequence: number;
  /** 16 hex digits. */
  readonly owner: string;
}

export interface DecodedRecord extends RecordStamp {
  /** What the header says; the payload parts are empty. */
  readonly record: LogRecord;
  readonly payloadBytes: number;
  /** Fixed header, table and name: the payload starts here. */
  readonly headerBytes: number;
  readonly recordBytes: number;
}

export function checksumCount(payloadBytes: number): number {
  return Math.ceil(payloadBytes / CHECKSUM_BLOCK_BYTES);
}

/** Bytes that a record with these takes in the log, padding included. */
export function recordBytes(payloadBytes: number, nameBytes = 0): number {
  const raw = headerBytes(payloadBytes, nameBytes) + payloadBytes;
  return Math.ceil(raw / RECORD_ALIGNMENT) * RECORD_ALIGNMENT;
}

/** Where the payload starts in its record. */
export function headerBytes(payloadBytes: number, nameBytes = 0): number {
  return FIXED_HEADER_BYTES + 4 * checksumCount(payloadBytes) + nameBytes;
}

/** Bytes of a segment that its own first record takes. */
export const SEGMENT_START_BYTES = recordBytes(0);

/** The largest payload (of a record without a name) that a segment of this size takes. */
export function maxPayloadBytes(segmentBytes: number): number {
  const room = segmentBytes - SEGMENT_START_BYTES - FIXED_HEADER_BYTES - RECORD_ALIGNMENT;
  return Math.max(0, room - 4 * (checksumCount(room) + 1));
}

export function payloadParts(record: LogRecord): readonly Uint8Array[] {
  return record.kind === 'tombstone' || record.kind === 'segment' ? NO_PARTS : record.payload;
}

export function payloadLength(record: LogRecord): number {
  let length = 0;
  for (const part of payloadParts(record)) length += part.length;
  return length;
}

/** Length of the name in the header. INVALID if a slot's path is too long. */
export function nameLength(record: LogRecord): number {
  if (record.kind !== 'slot') return 0;
  const length = Buffer.byteLength(record.path);
  if (length > MAX_NAME_BYTES)
    throw new CairnError('INVALID', `a slot's path has ${length} bytes, more than ${MAX_NAME_BYTES}`);
  return length;
}

/** Writes header, table and name at `into[at…]` and returns how many bytes that were. The payload is only read, for its checksums. */
export function encodeRecordHeader(
  record: LogRecord,
  stamp: RecordStamp,
  crc32c: Crc32c,
  into: Buffer,
  at: number,
): number {
  const parts = payloadParts(record);
  const payload = payloadLength(record);
  const name = nameLength(record);
  const end = at + headerBytes(payload, name);
  assert(end <= into.length, 'the header fits its buffer');
  into.fill(0, at, at + FIXED_HEADER_BYTES);
  into.writeUInt32LE(MAGIC, at);
  into[at + AT_VERSION] = versionOf(record);
  into[at + AT_KIND] = KINDS.indexOf(record.kind) + 1;
  into.writeUInt16LE(name, at + AT_NAME_BYTES);
  into.writeUInt32LE(payload, at + AT_PAYLOAD_BYTES);
  writeU64(into, stamp.logSequence, at + AT_SEQUENCE);
  into.writeUInt32LE(stamp.generation, at + AT_GENERATION);
  writeHex(into, stamp.owner, at + AT_OWNER, OWNER_BYTES);
  writeFields(record, into, at);
  writeTable(parts, crc32c, into, at + FIXED_HEADER_BYTES);
  if (record.kind === 'slot') into.write(record.path, end - name, name, 'utf8');
  into.writeUInt32LE(headerChecksum(into, at, end, crc32c), at + AT_CHECKSUM);
  return end - at;
}

/**
 * Header and table of a shard's record, to be written in front of its payload by whoever reserved the room: a worker thread, with
 * `generation`, `logSequence` and `owner` of the reservation. Pure.
 */
export function shardRecordHeader(
  info: ShardInfo,
  generation: number,
  logSequence: number,
  owner: string,
  payload: Uint8Array,
  crc32c: Crc32c,
): Uint8Array {
  assert(payload.length === info.shardBytes, 'the payload is as long as the reservation says');
  const into = Buffer.allocUnsafe(headerBytes(payload.length));
  encodeRecordHeader({ kind: 'shard', info, payload: [payload] }, { generation, logSequence, owner }, crc32c, into, 0);
  return into;
}

/** Length of the whole header of what may be a record at `at`; undefined if fewer than 112 bytes are there or they cannot be one. */
export function peekHeaderBytes(buffer: Buffer, at: number): number | undefined {
  if (at < 0 || at + FIXED_HEADER_BYTES > buffer.length || buffer.readUInt32LE(at) !== MAGIC) return undefined;
  const kind = buffer[at + AT_KIND] ?? 0;
  if (kind < 1 || kind > KINDS.length) return undefined;
  const version = buffer[at + AT_VERSION];
  if (version !== VERSION && (version !== COMPRESSED_VERSION || KINDS[kind - 1] !== 'shard')) return undefined;
  const name = buffer.readUInt16LE(at + AT_NAME_BYTES);
  if (name > MAX_NAME_BYTES) return undefined;
  return headerBytes(buffer.readUInt32LE(at + AT_PAYLOAD_BYTES), name);
}

/** The record whose header starts at `at`; undefined if it is cut short, damaged, or none. Never throws on any bytes. */
export function decodeRecordHeader(buffer: Buffer, at: number, crc32c: Crc32c): DecodedRecord | undefined {
  const length = peekHeaderBytes(buffer, at);
  if (length === undefined || at + length > buffer.length) return undefined;
  if (buffer.readUInt32LE(at + AT_CHECKSUM) !== headerChecksum(buffer, at, at + length, crc32c)) return undefined;
  const payloadBytes = buffer.readUInt32LE(at + AT_PAYLOAD_BYTES);
  const name = buffer.readUInt16LE(at + AT_NAME_BYTES);
  const record = readFields(buffer, at, payloadBytes, buffer.toString('utf8', at + length - name, at + length));
  const logSequence = readU64(buffer, at + AT_SEQUENCE);
  if (record === undefined || logSequence === undefined) return undefined;
  return {
    record,
    payloadBytes,
    headerBytes: length,
    recordBytes: recordBytes(payloadBytes, name),
    logSequence,
    generation: buffer.readUInt32LE(at + AT_GENERATION),
    owner: buffer.toString('hex', at + AT_OWNER, at + AT_OWNER + OWNER_BYTES),
  };
}

/** The table of a decoded record whose header starts at `at`. */
export function readChecksums(buffer: Buffer, at: number, payloadBytes: number): Uint32Array {
  const table = new Uint32Array(checksumCount(payloadBytes));
  for (let i = 0; i < table.length; i++) table[i] = buffer.readUInt32LE(at + FIXED_HEADER_BYTES + 4 * i);
  return table;
}

/** True if `bytes`, which start at the block `firstBlock` of the payload, hold what the table says. All but the payload's last block are whole. */
export function verifyBlocks(bytes: Uint8Array, table: Uint32Array, firstBlock: number, crc32c: Crc32c): boolean {
  for (let from = 0, block = firstBlock; from < bytes.length; from += CHECKSUM_BLOCK_BYTES, block++) {
    const to = Math.min(bytes.length, from + CHECKSUM_BLOCK_BYTES);
    if (crc32c(bytes, from, to, 0) !== table[block]) return false;
  }
  return true;
}

function headerChecksum(buffer: Buffer, at: number, end: number, crc32c: Crc32c): number {
  return crc32c(buffer, at + AT_CHECKSUM + 4, end, crc32c(buffer, at, at + AT_CHECKSUM, 0));
}

/** Blocks run over the borders of the parts: a part's rest goes on in the next one. */
function writeTable(parts: readonly Uint8Array[], crc32c: Crc32c, into: Buffer, tableAt: number): void {
  let at = tableAt;
  let filled = 0;
  let checksum = 0;
  for (const part of parts) {
    for (let from = 0; from < part.length; ) {
      const to = Math.min(part.length, from + CHECKSUM_BLOCK_BYTES - filled);
      checksum = crc32c(part, from, to, checksum);
      filled += to - from;
      from = to;
      if (filled < CHECKSUM_BLOCK_BYTES) continue;
      into.writeUInt32LE(checksum, at);
      at += 4;
      filled = 0;
      checksum = 0;
    }
  }
  if (filled > 0) into.writeUInt32LE(checksum, at);
}

function writeFields(record: LogRecord, into: Buffer, at: number): void {
  const fields = at + AT_FIELDS;
  switch (record.kind) {
    case 'segment':
      assert(Buffer.byteLength(record.name) <= LOG_NAME_BYTES, 'a log name has at most 16 bytes');
      into.write(record.name, fields, LOG_NAME_BYTES, 'utf8');
      into.writeUInt32LE(record.segmentBytes, fields + LOG_NAME_BYTES);
      return;
    case 'shard':
      writeKey(record.info, into, at);
      into[at + AT_SHARD + 1] = record.info.scheme.erasure ? 1 : 0;
      into.writeUInt8(record.info.scheme.k, at + AT_SHARD + 2);
      into.writeUInt8(record.info.scheme.m, at + AT_SHARD + 3);
      into.writeUInt32LE(record.info.chunkBytes, at + AT_CHUNK_BYTES);
      if (record.info.compression !== undefined) {
        into.writeUInt32LE(record.info.compression.storedBytes, at + AT_STORED_BYTES);
        into.writeUInt8(record.info.compression.method, at + AT_COMPRESSION);
      }
      return;
    case 'commit':
      writeU64(into, record.sequence, fields);
      writeU64(into, record.epoch, fields + 8);
      writeU64(into, record.acknowledged, fields + 16);
      return;
    case 'slot':
      writeHex(into, record.bucket, fields, BUCKET_BYTES);
      writeU64(into, record.version, fields + BUCKET_BYTES);
      return;
    case 'stage':
      writeU64(into, record.sequence, fields);
      return;
    case 'tombstone':
      writeKey(record.key, into, at);
      into.writeUInt32LE(record.targetSegment, at + AT_TARGET_SEGMENT);
      writeU64(into, record.through, at + AT_THROUGH);
      return;
    case 'snapshot':
      writeU64(into, record.sequence, fields);
      writeU64(into, record.epoch, fields + 8);
      into.writeUInt32LE(record.part, fields + 16);
      into[fields + 20] = record.last ? 1 : 0;
  }
}

function versionOf(record: LogRecord): number {
  return record.kind === 'shard' && record.info.compression !== undefined ? COMPRESSED_VERSION : VERSION;
}

function readCompression(buffer: Buffer, at: number): Compression {
  return { method: buffer.readUInt8(at + AT_COMPRESSION), storedBytes: buffer.readUInt32LE(at + AT_STORED_BYTES) };
}

function writeKey(key: ShardKey, into: Buffer, at: number): void {
  writeHex(into, key.bucket, at + AT_FIELDS, BUCKET_BYTES);
  writeHex(into, key.chunk, at + AT_CHUNK, CHUNK_BYTES);
  into.writeUInt8(key.shard, at + AT_SHARD);
}

function readKey(buffer: Buffer, at: number): ShardKey {
  return {
    bucket: buffer.toString('hex', at + AT_FIELDS, at + AT_FIELDS + BUCKET_BYTES),
    chunk: buffer.toString('hex', at + AT_CHUNK, at + AT_CHUNK + CHUNK_BYTES),
    shard: buffer.readUInt8(at + AT_SHARD),
  };
}

function readFields(buffer: Buffer, at: number, payloadBytes: number, name: string): LogRecord | undefined {
  const fields = at + AT_FIELDS;
  const first = (): number | undefined => readU64(buffer, fields);
  const second = (): number | undefined => readU64(buffer, fields + 8);
  const payload = NO_PARTS;
  const kind = KINDS[(buffer[at + AT_KIND] ?? 0) - 1];
  switch (kind) {
    case 'segment': {
      const text = buffer.toString('utf8', fields, fields + LOG_NAME_BYTES).replace(/\0+$/, '');
      return { kind, name: text, segmentBytes: buffer.readUInt32LE(fields + LOG_NAME_BYTES) };
    }
    case 'shard': {
      const scheme = {
        erasure: buffer[at + AT_SHARD + 1] === 1,
        k: buffer.readUInt8(at + AT_SHARD + 2),
        m: buffer.readUInt8(at + AT_SHARD + 3),
      };
      const key = readKey(buffer, at);
      if (scheme.k < 1 || key.shard >= scheme.k + scheme.m) return undefined;
      const compression = buffer[at + AT_VERSION] === COMPRESSED_VERSION ? readCompression(buffer, at) : undefined;
      if (compression?.method === 0) return undefined;
      const chunkBytes = buffer.readUInt32LE(at + AT_CHUNK_BYTES);
      return { kind, info: { ...key, scheme, chunkBytes, compression, shardBytes: payloadBytes }, payload };
    }
    case 'commit': {
      const [sequence, epoch, acknowledged] = [first(), second(), readU64(buffer, fields + 16)];
      if (sequence === undefined || epoch === undefined || acknowledged === undefined) return undefined;
      return { kind, sequence, epoch, acknowledged, payload };
    }
    case 'slot': {
      const version = readU64(buffer, fields + BUCKET_BYTES);
      if (version === undefined) return undefined;
      return { kind, bucket: buffer.toString('hex', fields, fields + BUCKET_BYTES), path: name, version, payload };
    }
    case 'stage': {
      const sequence = first();
      return sequence === undefined ? undefined : { kind, sequence, payload };
    }
    case 'tombstone': {
      const through = readU64(buffer, at + AT_THROUGH);
      if (through === undefined || payloadBytes > 0) return undefined;
      return { kind, key: readKey(buffer, at), targetSegment: buffer.readUInt32LE(at + AT_TARGET_SEGMENT), through };
    }
    case 'snapshot': {
      const [sequence, epoch] = [first(), second()];
      if (sequence === undefined || epoch === undefined) return undefined;
      return {
        kind,
        sequence,
        epoch,
        part: buffer.readUInt32LE(fields + 16),
        last: buffer[fields + 20] === 1,
        payload,
      };
    }
    default:
      return undefined;
  }
}

function writeHex(into: Buffer, hex: string, at: number, bytes: number): void {
  assert(hex.length === 2 * bytes && into.write(hex, at, bytes, 'hex') === bytes, `'${hex}' is ${bytes} bytes in hex`);
}

function writeU64(into: Buffer, value: number, at: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, 'a 64-bit field holds a whole number');
  into.writeUInt32LE(value % 0x1_0000_0000, at);
  into.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4);
}

function readU64(buffer: Buffer, at: number): number | undefined {
  const value = buffer.readUInt32LE(at + 4) * 0x1_0000_0000 + buffer.readUInt32LE(at);
  return Number.isSafeInteger(value) ? value : undefined;
}
