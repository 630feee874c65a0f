/**
 * Walks the headers of one segment file in physical order, through a bare descriptor. It never writes and never reads a large payload.
 *
 * The rules are those of docs/format.md, "The log": a header counts with its checksum, the generation of the file, the owner of the disk and a
 * log sequence above that of the record before it; what does not verify is passed over in steps of 64 bytes. Sectors that cannot be read count as
 * zeros. Payloads are not checked here: whoever reads one does.
 */
import { readSync } from 'node:fs';
import {
  type Crc32c,
  type DecodedRecord,
  decodeRecordHeader,
  FIXED_HEADER_BYTES,
  peekHeaderBytes,
  RECORD_ALIGNMENT,
} from '../disks/record-codec.js';

const WINDOW_BYTES = 256 * 1024;
const SECTOR_BYTES = 4096;

export interface WalkedRecord {
  readonly decoded: DecodedRecord;
  /** Byte offset of its header in the file. */
  readonly position: number;
}

export class SegmentWalk {
  readonly #fd: number;
  readonly #generation: number;
  readonly #endBytes: number;
  readonly #crc32c: Crc32c;
  #owner: string | undefined;
  readonly #space = Buffer.allocUnsafeSlow(WINDOW_BYTES);
  #window = Buffer.alloc(0);
  #windowAt = 0;
  #next = 0;
  #lastSequence = 0;
  /** Bytes that were passed over with good records behind them. */
  skippedBytes = 0;
  /** The last record's payload goes on behind the end of the file. */
  cut = false;
  /** Some sectors could not be read. */
  unreadable = false;

  /** `owner` undefined: that of the first good record. */
  constructor(fd: number, generation: number, endBytes: number, owner: string | undefined, crc32c: Crc32c) {
    this.#fd = fd;
    this.#generation = generation;
    this.#endBytes = endBytes;
    this.#owner = owner;
    this.#crc32c = crc32c;
  }

  get position(): number {
    return this.#next;
  }

  /** The next good record, wherever it is; undefined at the end. */
  next(): WalkedRecord | undefined {
    for (let at = this.#next; at + FIXED_HEADER_BYTES <= this.#endBytes; at += RECORD_ALIGNMENT) {
      const decoded = this.#recordAt(at);
      if (decoded === undefined) continue;
      this.skippedBytes += at - this.#next;
      this.#next = at + decoded.recordBytes;
      this.#lastSequence = decoded.logSequence;
      this.#owner ??= decoded.owner;
      if (at + decoded.headerBytes + decoded.payloadBytes <= this.#endBytes) return { decoded, position: at };
      // What is left of its payload may hold records of nobody's, so the search goes on right behind the header.
      this.cut = true;
      this.#next = at + RECORD_ALIGNMENT;
    }
    this.#next = this.#endBytes;
    return undefined;
  }

  #recordAt(position: number): DecodedRecord | undefined {
    if (this.#load(position, FIXED_HEADER_BYTES) < FIXED_HEADER_BYTES) return undefined;
    const length = peekHeaderBytes(this.#window, position - this.#windowAt);
    if (length === undefined || position + length > this.#endBytes) return undefined;
    if (this.#load(position, length) < length) return undefined;
    const decoded = decodeRecordHeader(this.#window, position - this.#windowAt, this.#crc32c);
    if (decoded === undefined || decoded.generation !== this.#generation) return undefined;
    if (this.#owner !== undefined && decoded.owner !== this.#owner) return undefined;
    return decoded.logSequence > this.#lastSequence ? decoded : undefined;
  }

  /** Makes `bytes` from `position` on present in the window; returns how many there are. */
  #load(position: number, bytes: number): number {
    if (position < this.#windowAt || position + bytes > this.#windowAt + this.#window.length) {
      const buffer = bytes <= WINDOW_BYTES ? this.#space : Buffer.allocUnsafeSlow(bytes);
      this.#window = buffer.subarray(0, this.#read(buffer, position));
      this.#windowAt = position;
    }
    return Math.min(bytes, this.#windowAt + this.#window.length - position);
  }

  #read(into: Buffer, position: number): number {
    const length = Math.min(into.length, this.#endBytes - position);
    try {
      return readFully(this.#fd, into.subarray(0, length), position);
    } catch {
      this.unreadable = true;
    }
    for (let at = 0; at < length; at += SECTOR_BYTES) {
      const sector = into.subarray(at, Math.min(length, at + SECTOR_BYTES));
      try {
        if (readFully(this.#fd, sector, position + at) < sector.length) return at;
      } catch {
        sector.fill(0);
      }
    }
    return length;
  }
}

/** Fewer bytes than asked for only at the end of the file. */
function readFully(fd: number, into: Buffer, position: number): number {
  let done = 0;
  while (done < into.length) {
    const got = readSync(fd, into, done, into.length - done, position + done);
    if (got === 0) break;
    done += got;
  }
  return done;
}
