/**
 * Walks the records of one segment file. A record that does not verify is skipped by searching for the next good header at steps of 64
 * bytes; where none follows, the log ends.
 *
 * A good header must carry the segment's generation, the log's owner, and a log sequence above the one before: a payload may hold a copy of this
 * very log (somebody backs up a disk into the pool), and such a copy must not pass when the search runs through it.
 */
import { hasCode } from '../errors/cairn-error.js';
import type { IoFile } from '../io/file-io.js';
import { CHECKSUM_BLOCK_BYTES } from './record.js';
import {
  type Crc32c,
  type DecodedRecord,
  decodeRecordHeader,
  FIXED_HEADER_BYTES,
  peekHeaderBytes,
  RECORD_ALIGNMENT,
  readChecksums,
  verifyBlocks,
} from './record-codec.js';

const WINDOW_BYTES = 256 * 1024;
const SECTOR_BYTES = 4096;
const ZEROS = Buffer.alloc(WINDOW_BYTES);

export interface ScanTarget {
  readonly file: IoFile;
  readonly segment: number;
  /** Records end at or before this. */
  readonly endBytes: number;
  readonly owner: string;
  readonly crc32c: Crc32c;
  /** Check payloads too: where unsynced writes may have been lost. */
  readonly verify: boolean;
  /** After each window that was read. */
  readonly onRead?: (() => Promise<void>) | undefined;
}

export interface FoundRecord {
  readonly decoded: DecodedRecord;
  readonly position: number;
  /** The verified payload, if it lies in what was just read; undefined: read it from the file. */
  nearPayload(): Buffer | undefined;
}

export interface Gap {
  readonly from: number;
  readonly to: number;
}

export class SegmentScan {
  readonly #target: ScanTarget;
  #window = Buffer.alloc(0);
  #windowAt = 0;
  #next: number;
  #lastSequence = 0;
  /** What was passed over because it did not verify, with good records behind it. */
  readonly gaps: Gap[] = [];
  /** Positions of good headers whose payload does not hold. */
  readonly hollow: number[] = [];
  /** Where the last good record ends. */
  tail: number;
  /** Something of this life of the file lies at the tail or behind it that does not verify: a write that was cut. */
  torn = false;
  /** Some sectors could not be read: nothing may be concluded, or overwritten. */
  unreadable = false;

  constructor(target: ScanTarget, from: number) {
    this.#target = target;
    this.#next = from;
    this.tail = from;
  }

  /** The next good record; undefined at the end, when `tail` and `torn` hold. */
  async next(): Promise<FoundRecord | undefined> {
    const here = await this.#recordAt(this.#next);
    if (typeof here !== 'number') return this.#accept(here);
    const found = await this.#search(here);
    if (found === undefined) {
      if (await this.#startedAt(this.tail)) this.torn = true;
      return undefined;
    }
    this.gaps.push({ from: this.#next, to: found.position });
    this.torn = false;
    return this.#accept(found);
  }

  #accept(found: FoundRecord): FoundRecord {
    this.#lastSequence = found.decoded.logSequence;
    this.#next = found.position + found.decoded.recordBytes;
    this.tail = this.#next;
    return found;
  }

  /** The good record at the position, else where to look next: behind it, if at least its header holds. */
  async #recordAt(position: number): Promise<FoundRecord | number> {
    const { endBytes, segment, owner, crc32c, verify } = this.#target;
    const step = position + RECORD_ALIGNMENT;
    if (position + FIXED_HEADER_BYTES > endBytes) return step;
    await this.#load(position, FIXED_HEADER_BYTES);
    const length = peekHeaderBytes(this.#window, position - this.#windowAt);
    if (length === undefined || position + length > endBytes) return step;
    await this.#load(position, length);
    const decoded = decodeRecordHeader(this.#window, position - this.#windowAt, crc32c);
    if (decoded === undefined || decoded.generation !== segment || decoded.owner !== owner) return step;
    if (decoded.logSequence <= this.#lastSequence) return step;
    // Padding at the end of a file need not be there.
    const end = position + decoded.headerBytes + decoded.payloadBytes;
    if (end > endBytes || (verify && !(await this.#payloadHolds(position, decoded)))) {
      this.torn = true;
      this.hollow.push(position);
      return Math.min(position + decoded.recordBytes, endBytes);
    }
    return { decoded, position, nearPayload: () => this.#nearPayload(position, decoded) };
  }

  async #search(from: number): Promise<FoundRecord | undefined> {
    let at = from;
    while (at + FIXED_HEADER_BYTES <= this.#target.endBytes) {
      if ((await this.#load(at, FIXED_HEADER_BYTES)) < FIXED_HEADER_BYTES) return undefined;
      const last = this.#windowAt + this.#window.length - FIXED_HEADER_BYTES;
      // What was never written is zeros, and most of a fresh segment is: no header begins there.
      const rest = this.#window.subarray(at - this.#windowAt);
      if (rest.equals(ZEROS.subarray(0, rest.length)))
        at += Math.ceil(rest.length / RECORD_ALIGNMENT) * RECORD_ALIGNMENT;
      while (at <= last && peekHeaderBytes(this.#window, at - this.#windowAt) === undefined) at += RECORD_ALIGNMENT;
      if (at > last) continue;
      const found = await this.#recordAt(at);
      if (typeof found !== 'number') return found;
      at = found;
    }
    return undefined;
  }

  /** Whether a header of this life was begun at `position` though it does not hold. Old bytes of a recycled file do not count. */
  async #startedAt(position: number): Promise<boolean> {
    if (position + FIXED_HEADER_BYTES > this.#target.endBytes) return false;
    if ((await this.#load(position, FIXED_HEADER_BYTES)) < FIXED_HEADER_BYTES)
      return this.#window.length > 0 && this.#has(position);
    const at = position - this.#windowAt;
    return (
      peekHeaderBytes(this.#window, at) !== undefined && this.#window.readUInt32LE(at + 24) === this.#target.segment
    );
  }

  #has(position: number): boolean {
    return position >= this.#windowAt && position < this.#windowAt + this.#window.length;
  }

  async #payloadHolds(position: number, decoded: DecodedRecord): Promise<boolean> {
    const table = readChecksums(this.#window, position - this.#windowAt, decoded.payloadBytes);
    const start = position + decoded.headerBytes;
    for (let from = 0, block = 0; from < decoded.payloadBytes; from += CHECKSUM_BLOCK_BYTES, block++) {
      const length = Math.min(CHECKSUM_BLOCK_BYTES, decoded.payloadBytes - from);
      if ((await this.#load(start + from, length)) < length) return false;
      const at = start + from - this.#windowAt;
      if (
        !verifyBlocks(this.#window.subarray(at, at + length), table.subarray(block, block + 1), 0, this.#target.crc32c)
      ) {
        return false;
      }
    }
    return true;
  }

  #nearPayload(position: number, decoded: DecodedRecord): Buffer | undefined {
    const at = position - this.#windowAt;
    const start = at + decoded.headerBytes;
    if (at < 0 || start + decoded.payloadBytes > this.#window.length) return undefined;
    const payload = this.#window.subarray(start, start + decoded.payloadBytes);
    const table = readChecksums(this.#window, at, decoded.payloadBytes);
    return verifyBlocks(payload, table, 0, this.#target.crc32c) ? Buffer.from(payload) : undefined;
  }

  /** Makes `bytes` from `position` on present in the window; returns how many there are, fewer only at the end of the file. */
  async #load(position: number, bytes: number): Promise<number> {
    const windowEnd = this.#windowAt + this.#window.length;
    if (position < this.#windowAt || position + bytes > windowEnd) {
      const wanted = Math.max(bytes, WINDOW_BYTES);
      const buffer = Buffer.allocUnsafe(wanted);
      this.#window = buffer.subarray(0, await this.#read(buffer, position));
      this.#windowAt = position;
      await this.#target.onRead?.();
    }
    return Math.min(bytes, this.#windowAt + this.#window.length - position);
  }

  /** Sectors that cannot be read count as zeros, and are remembered. */
  async #read(into: Buffer, position: number): Promise<number> {
    try {
      return await this.#target.file.read(into, position);
    } catch (error) {
      if (!hasCode(error, 'IO')) throw error;
    }
    for (let at = 0; at < into.length; at += SECTOR_BYTES) {
      const sector = into.subarray(at, at + SECTOR_BYTES);
      try {
        const length = await this.#target.file.read(sector, position + at);
        if (length < sector.length) return at + length;
      } catch (error) {
        if (!hasCode(error, 'IO')) throw error;
        this.unreadable = true;
        sector.fill(0);
      }
    }
    return into.length;
  }
}
