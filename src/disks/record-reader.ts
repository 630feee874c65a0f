/**
 * Reads records and parts of them from a log's segments, verifying what it returns. Checksum tables of big records are kept in a
 * small least-recently-used map, so that a reader who walks a shard in small steps reads each table once.
 */
import { assert, CairnError, hasCode } from '../errors/cairn-error.js';
import type { IoFile } from '../io/file-io.js';
import { CHECKSUM_BLOCK_BYTES, type RecordLocation } from './record.js';
import {
  type Crc32c,
  checksumCount,
  type DecodedRecord,
  decodeRecordHeader,
  headerBytes,
  RECORD_ALIGNMENT,
  readChecksums,
  verifyBlocks,
} from './record-codec.js';
import type { SegmentFiles } from './segment-files.js';

const CACHED_TABLES = 1024;
/** Bytes before the wanted ones that are cheaper to read along than to read the header apart. */
const READ_ALONG_BYTES = 256 * 1024;

export class RecordReader {
  readonly #files: SegmentFiles;
  readonly #name: string;
  readonly #owner: string;
  readonly #crc32c: Crc32c;
  readonly #tables = new Map<number, Uint32Array>();

  constructor(files: SegmentFiles, name: string, owner: string, crc32c: Crc32c) {
    this.#files = files;
    this.#name = name;
    this.#owner = owner;
    this.#crc32c = crc32c;
  }

  /** The whole record. CORRUPT, IO. */
  async read(at: RecordLocation): Promise<{ decoded: DecodedRecord; payload: Buffer }> {
    return this.#pinned(at, async (file) => {
      const bytes = await this.#exactly(file, at, 0, at.recordBytes);
      const decoded = this.#decode(bytes, at);
      const payload = bytes.subarray(decoded.headerBytes, decoded.headerBytes + decoded.payloadBytes);
      const table = readChecksums(bytes, 0, decoded.payloadBytes);
      if (payload.length < decoded.payloadBytes || !verifyBlocks(payload, table, 0, this.#crc32c)) {
        throw this.#corrupt(at, 'its payload does not match its checksums');
      }
      return { decoded, payload };
    });
  }

  /** Bytes [from, to) of the payload (of `payloadBytes`) of a record without a name. Reads and verifies only the 64 KiB blocks that it touches. CORRUPT, IO. */
  async readRange(at: RecordLocation, payloadBytes: number, from: number, to: number): Promise<Uint8Array> {
    if (from < 0 || to > payloadBytes || from > to) {
      throw new CairnError('INVALID', `bytes ${from} to ${to} of a payload of ${payloadBytes}`);
    }
    if (from === to) return new Uint8Array(0);
    const firstBlock = Math.floor(from / CHECKSUM_BLOCK_BYTES);
    const start = firstBlock * CHECKSUM_BLOCK_BYTES;
    const end = Math.min(payloadBytes, Math.ceil(to / CHECKSUM_BLOCK_BYTES) * CHECKSUM_BLOCK_BYTES);
    const front = headerBytes(payloadBytes);
    return this.#pinned(at, async (file) => {
      let table = this.#cachedTable(at);
      let blocks: Buffer;
      if (table !== undefined) {
        blocks = await this.#exactly(file, at, front + start, end - start);
      } else if (start <= READ_ALONG_BYTES) {
        const all = await this.#exactly(file, at, 0, front + end);
        table = this.#keepTable(all, at, payloadBytes);
        blocks = all.subarray(front + start);
      } else {
        const [head, body] = await Promise.all([
          this.#exactly(file, at, 0, front),
          this.#exactly(file, at, front + start, end - start),
        ]);
        table = this.#keepTable(head, at, payloadBytes);
        blocks = body;
      }
      if (blocks.length < end - start || !verifyBlocks(blocks, table, firstBlock, this.#crc32c)) {
        throw this.#corrupt(at, `bytes ${start} to ${end} of its payload do not match their checksums`);
      }
      return blocks.subarray(from - start, to - start);
    });
  }

  /**
   * The whole payload (of `payloadBytes`) of a record without a name, into `into`, which has as many bytes: nothing of it counts before this resolves. If it rejects because the
   * device hangs, `into` may be written to even later. CORRUPT, IO.
   */
  async readInto(at: RecordLocation, payloadBytes: number, into: Uint8Array): Promise<void> {
    assert(into.length === payloadBytes, 'the payload is as long as the room for it');
    await this.#pinned(at, async (file) => {
      const head = Buffer.allocUnsafe(headerBytes(payloadBytes));
      const table = await this.#readSummed(file, at, head, into);
      const right = this.#keepTable(head, at, payloadBytes);
      if (!table.every((sum, i) => sum === right[i]))
        throw this.#corrupt(at, 'its payload does not match its checksums');
    });
  }

  /** Reads both, and sums the body block by block. */
  async #readSummed(file: IoFile, at: RecordLocation, head: Buffer, body: Uint8Array): Promise<Uint32Array> {
    const sums = new Uint32Array(checksumCount(body.length));
    const length = head.length + body.length;
    let got: number;
    if (file.readSummed !== undefined) {
      got = await file.readSummed(head, body, at.position, sums, CHECKSUM_BLOCK_BYTES);
    } else {
      const all = Buffer.allocUnsafeSlow(length);
      got = await file.read(all, at.position);
      head.set(all.subarray(0, head.length));
      body.set(all.subarray(head.length));
      for (let block = 0, from = 0; block < sums.length; block++, from += CHECKSUM_BLOCK_BYTES)
        sums[block] = this.#crc32c(body, from, Math.min(body.length, from + CHECKSUM_BLOCK_BYTES), 0);
    }
    if (got < length) throw this.#corrupt(at, `the segment file ends at ${at.position + got}`);
    return sums;
  }

  async #pinned<T>(at: RecordLocation, read: (file: IoFile) => Promise<T>): Promise<T> {
    let file: IoFile;
    try {
      file = await this.#files.pin(at.segment);
    } catch (error) {
      if (hasCode(error, 'NOT_FOUND')) {
        throw new CairnError('CORRUPT', `${this.#name} segment ${at.segment} is missing`, { cause: error });
      }
      throw error;
    }
    try {
      return await read(file);
    } finally {
      this.#files.unpin(at.segment);
    }
  }

  /** Fewer bytes than asked for only at the end of the file, where a last record's padding may be missing. */
  async #exactly(file: IoFile, at: RecordLocation, offset: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafeSlow(length);
    const read = await file.read(buffer, at.position + offset);
    if (read + RECORD_ALIGNMENT <= length)
      throw this.#corrupt(at, `the segment file ends at ${at.position + offset + read}`);
    return buffer.subarray(0, read);
  }

  #decode(bytes: Buffer, at: RecordLocation): DecodedRecord {
    const decoded = decodeRecordHeader(bytes, 0, this.#crc32c);
    if (decoded === undefined) throw this.#corrupt(at, 'its header is damaged');
    if (decoded.generation !== at.segment || decoded.owner !== this.#owner) {
      throw this.#corrupt(at, 'another record is in its place');
    }
    return decoded;
  }

  #keepTable(bytes: Buffer, at: RecordLocation, payloadBytes: number): Uint32Array {
    const decoded = this.#decode(bytes, at);
    if (decoded.payloadBytes !== payloadBytes) throw this.#corrupt(at, 'another record is in its place');
    const table = readChecksums(bytes, 0, payloadBytes);
    this.#tables.set(tableKey(at), table);
    if (this.#tables.size > CACHED_TABLES) {
      for (const oldest of this.#tables.keys()) {
        this.#tables.delete(oldest);
        break;
      }
    }
    return table;
  }

  #cachedTable(at: RecordLocation): Uint32Array | undefined {
    const key = tableKey(at);
    const table = this.#tables.get(key);
    if (table !== undefined) {
      this.#tables.delete(key);
      this.#tables.set(key, table);
    }
    return table;
  }

  #corrupt(at: RecordLocation, what: string): CairnError {
    return new CairnError('CORRUPT', `${this.#name} segment ${at.segment}, record at ${at.position}: ${what}`);
  }
}

/** Segment numbers are never reused, so the key names one record for good. */
function tableKey(at: RecordLocation): number {
  return at.segment * 2 ** 26 + at.position / RECORD_ALIGNMENT;
}
