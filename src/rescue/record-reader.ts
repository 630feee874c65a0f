/**
 * Reads whole records of bare segments and verifies them: header, place, and every 64 KiB of payload. Keeps a few descriptors open, all of
 * them for reading only.
 */
import { close, read } from 'node:fs';
import {
  type Crc32c,
  type DecodedRecord,
  decodeRecordHeader,
  readChecksums,
  verifyBlocks,
} from '../disks/record-codec.js';
import { CairnError } from '../errors/cairn-error.js';
import { toCairnError } from '../io/system-error.js';
import { type BareSegment, openReadOnly } from './bare-disk.js';

const OPEN_FILES = 64;
/** Padding at the end of a file need not be there. */
const PADDING_BYTES = 63;

export interface RecordPlace {
  readonly segment: BareSegment;
  readonly position: number;
  readonly recordBytes: number;
}

export class RecordReader {
  readonly #crc32c: Crc32c;
  /** Least recently used first. */
  readonly #open = new Map<BareSegment, number>();
  #running = 0;

  constructor(crc32c: Crc32c) {
    this.#crc32c = crc32c;
  }

  /** CORRUPT, IO, ACCESS: the message names disk, segment and position. */
  async read(place: RecordPlace): Promise<{ decoded: DecodedRecord; payload: Buffer }> {
    const { segment, position, recordBytes } = place;
    const buffer = Buffer.allocUnsafe(recordBytes);
    const got = await this.#readFile(segment, buffer, position);
    if (got + PADDING_BYTES < recordBytes) throw corrupt(place, `the file ends at ${position + got}`);
    const bytes = buffer.subarray(0, got);
    const decoded = decodeRecordHeader(bytes, 0, this.#crc32c);
    if (decoded === undefined) throw corrupt(place, 'its header is damaged');
    const { headerBytes, payloadBytes, generation, owner } = decoded;
    if (generation !== segment.number || (segment.disk.owner !== undefined && owner !== segment.disk.owner))
      throw corrupt(place, 'another record is in its place');
    const payload = bytes.subarray(headerBytes, headerBytes + payloadBytes);
    if (payload.length < payloadBytes || !verifyBlocks(payload, readChecksums(bytes, 0, payloadBytes), 0, this.#crc32c))
      throw corrupt(place, 'its payload does not match its checksums');
    return { decoded, payload };
  }

  close(): void {
    for (const fd of this.#open.values()) close(fd, () => {});
    this.#open.clear();
  }

  async #readFile(segment: BareSegment, into: Buffer, position: number): Promise<number> {
    const fd = this.#descriptor(segment);
    this.#running++;
    try {
      let done = 0;
      while (done < into.length) {
        const got = await readOnce(fd, into, done, position + done);
        if (got === 0) break;
        done += got;
      }
      return done;
    } catch (error) {
      throw toCairnError(error, `read byte ${position} of`, segment.path);
    } finally {
      this.#running--;
    }
  }

  #descriptor(segment: BareSegment): number {
    const known = this.#open.get(segment);
    this.#open.delete(segment);
    const fd = known ?? openReadOnly(segment.path);
    this.#open.set(segment, fd);
    // While a read is under way, closing could hand its number to another file.
    if (this.#open.size > OPEN_FILES && this.#running === 0) {
      for (const [oldest, descriptor] of this.#open) {
        if (this.#open.size <= OPEN_FILES) break;
        this.#open.delete(oldest);
        close(descriptor, () => {});
      }
    }
    return fd;
  }
}

function readOnce(fd: number, into: Buffer, from: number, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, into, from, into.length - from, position, (error, got) => (error ? reject(error) : resolve(got)));
  });
}

function corrupt({ segment, position }: RecordPlace, what: string): CairnError {
  return new CairnError('CORRUPT', `${segment.path}, record at ${position}: ${what}`);
}
