/**
 * Growing writer and bounds-checked reader of the little-endian field types that Cairn's own encodings use. Whole numbers up
 * to 2^53 are stored as IEEE doubles where they may exceed 32 bits: exact, and eight bytes without BigInt.
 */
import { CairnError } from '../errors/cairn-error.js';
import type { Time } from './clock.js';

export class ByteWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(initialBytes = 4096) {
    this.#buffer = Buffer.allocUnsafe(initialBytes);
  }

  get length(): number {
    return this.#length;
  }

  /** What has been written, as a view: valid until the next write or `reset`. */
  view(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** What has been written, as a copy. */
  copy(): Buffer {
    return Buffer.from(this.view());
  }

  reset(): void {
    this.#length = 0;
  }

  #room(count: number): number {
    const at = this.#length;
    const wanted = at + count;
    if (wanted > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(wanted, this.#buffer.length * 2));
      this.#buffer.copy(larger, 0, 0, at);
      this.#buffer = larger;
    }
    this.#length = wanted;
    return at;
  }

  u8(value: number): void {
    const at = this.#room(1);
    this.#buffer[at] = value;
  }

  u16(value: number): void {
    this.#buffer.writeUInt16LE(value, this.#room(2));
  }

  u32(value: number): void {
    const at = this.#room(4);
    this.#buffer.writeUInt32LE(value, at);
  }

  /** A whole number up to 2^53 - 1. */
  whole(value: number): void {
    const at = this.#room(8);
    this.#buffer.writeDoubleLE(value, at);
  }

  time(value: Time): void {
    this.whole(value.sec);
    this.u32(value.nsec);
  }

  /** A binary string of at most 65,535 bytes, with its length. */
  binary(value: string): void {
    this.u16(value.length);
    const at = this.#room(value.length);
    this.#buffer.write(value, at, 'latin1');
  }

  /** Bytes with their length. */
  bytes(value: Uint8Array): void {
    this.u32(value.length);
    const at = this.#room(value.length);
    this.#buffer.set(value, at);
  }
}

/** Every read beyond the end is CairnError CORRUPT. */
export class ByteReader {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get remaining(): number {
    return this.#buffer.length - this.#at;
  }

  #take(count: number): number {
    const at = this.#at;
    if (count > this.#buffer.length - at) throw new CairnError('CORRUPT', 'the record ends in the middle of a field');
    this.#at = at + count;
    return at;
  }

  u8(): number {
    return this.#buffer.readUInt8(this.#take(1));
  }

  u16(): number {
    return this.#buffer.readUInt16LE(this.#take(2));
  }

  u32(): number {
    return this.#buffer.readUInt32LE(this.#take(4));
  }

  whole(): number {
    const value = this.#buffer.readDoubleLE(this.#take(8));
    if (!Number.isSafeInteger(value)) throw new CairnError('CORRUPT', 'a number in the record is not a whole number');
    return value;
  }

  time(): Time {
    const sec = this.whole();
    const nsec = this.u32();
    if (nsec > 999_999_999) throw new CairnError('CORRUPT', 'a timestamp in the record has too many nanoseconds');
    return { sec, nsec };
  }

  binary(): string {
    const length = this.u16();
    const at = this.#take(length);
    return this.#buffer.toString('latin1', at, at + length);
  }

  bytes(): Buffer {
    const length = this.u32();
    const at = this.#take(length);
    return this.#buffer.subarray(at, at + length);
  }
}
