/**
 * Writes varints, binary strings and hex digests into one growing buffer. Encoding is synchronous, so one buffer is kept
 * and reused by every writer that ends with `finish`: small payloads are copied out of it, and cost no allocation besides the
 * result. A writer that lives longer, used with `view` and `reset`, has a buffer of its own from the start.
 *
 * A varint is LEB128 of a whole number from 0 to 2^53 - 1: seven bits a byte, the lowest first, the high bit set on all but
 * the last. It is computed with divisions above 2^31, because JavaScript's shifts know only 32 bits.
 */
import { assert } from '../errors/cairn-error.js';

const SHARED_BYTES = 256 * 1024;
/** 2^53 takes eight groups of seven bits. */
const VARINT_MAX_BYTES = 8;

let shared: Buffer | undefined = Buffer.allocUnsafeSlow(SHARED_BYTES);

export class ByteWriter {
  #buffer: Buffer;
  #end = 0;
  #isShared = false;

  /** `ownBytes`: the first size of a buffer of its own; without, the shared one, for a writer that is filled and finished at once. */
  constructor(ownBytes?: number) {
    if (ownBytes !== undefined) {
      this.#buffer = Buffer.allocUnsafeSlow(ownBytes);
      return;
    }
    this.#buffer = shared ?? Buffer.allocUnsafeSlow(SHARED_BYTES);
    shared = undefined;
    this.#isShared = true;
  }

  /** Bytes written. */
  get length(): number {
    return this.#end;
  }

  /** What was written: valid until the next write or `reset`. */
  view(): Buffer {
    return this.#buffer.subarray(0, this.#end);
  }

  /** Forgets what was written behind the first `length` bytes. */
  reset(length = 0): void {
    this.#end = length;
  }

  /** Makes room for `count` more bytes. */
  #reserve(count: number): void {
    const needed = this.#end + count;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(larger, 0, 0, this.#end);
    this.#buffer = larger;
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#buffer[this.#end++] = value;
  }

  /** A whole number from 0 to 2^53 - 1. */
  varint(value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0, 'a varint is a whole number from 0 to 2^53 - 1');
    this.#reserve(VARINT_MAX_BYTES);
    const buffer = this.#buffer;
    let end = this.#end;
    let rest = value;
    while (rest > 0x7fffffff) {
      buffer[end++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    while (rest > 0x7f) {
      buffer[end++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    buffer[end++] = rest;
    this.#end = end;
  }

  u32(value: number): void {
    this.#reserve(4);
    this.#end = this.#buffer.writeUInt32LE(value, this.#end);
  }

  /** The bytes of a binary string, without a length. */
  binary(text: string): void {
    const { length } = text;
    this.#reserve(length);
    const buffer = this.#buffer;
    const start = this.#end;
    for (let index = 0; index < length; index++) {
      const code = text.charCodeAt(index);
      assert(code <= 0xff, 'a binary string has one character per byte');
      buffer[start + index] = code;
    }
    this.#end = start + length;
  }

  /** `byteCount` bytes given as lowercase hex digits. */
  hex(digits: string, byteCount: number): void {
    this.#reserve(byteCount);
    const written = digits.length === byteCount * 2 ? this.#buffer.write(digits, this.#end, byteCount, 'hex') : 0;
    assert(written === byteCount, `${byteCount * 2} hex digits`);
    this.#end += byteCount;
  }

  bytes(value: Uint8Array): void {
    this.#reserve(value.length);
    this.#buffer.set(value, this.#end);
    this.#end += value.length;
  }

  /** What was written. The writer must not be used after. */
  finish(): Uint8Array {
    const written = this.#buffer.subarray(0, this.#end);
    if (!this.#isShared || this.#buffer.length > SHARED_BYTES) return written;
    shared = this.#buffer;
    return Buffer.from(written);
  }
}
