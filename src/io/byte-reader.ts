/**
 * Reads what ByteWriter wrote, from bytes that may be anything. Every method throws CORRUPT rather than read past the end,
 * and accepts only the one spelling of a value that the writer would choose, so that what decodes encodes to the same bytes.
 */
import { CairnError } from '../errors/cairn-error.js';

export class ByteReader {
  readonly #buffer: Buffer;
  readonly #what: string;
  #position = 0;

  /** `what` names the bytes in error messages. */
  constructor(bytes: Uint8Array, what: string) {
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#what = what;
  }

  get remainingBytes(): number {
    return this.#buffer.length - this.#position;
  }

  corrupt(why: string): CairnError {
    return new CairnError('CORRUPT', `${this.#what} is damaged at byte ${this.#position}: ${why}`);
  }

  /** Advances over `count` bytes and returns where they start. */
  #take(count: number): number {
    if (count > this.remainingBytes) throw this.corrupt('it ends too early');
    const start = this.#position;
    this.#position += count;
    return start;
  }

  byte(): number {
    return this.#buffer[this.#take(1)]!;
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (value > Number.MAX_SAFE_INTEGER) throw this.corrupt('a number is too large');
      if (byte < 0x80) {
        if (byte === 0 && scale > 1) throw this.corrupt('a number has a needless byte');
        return value;
      }
      scale *= 128;
      if (scale > 2 ** 49) throw this.corrupt('a number is too long');
    }
  }

  u32(): number {
    return this.#buffer.readUInt32LE(this.#take(4));
  }

  binary(byteCount: number): string {
    const start = this.#take(byteCount);
    return this.#buffer.toString('latin1', start, start + byteCount);
  }

  hex(byteCount: number): string {
    const start = this.#take(byteCount);
    return this.#buffer.toString('hex', start, start + byteCount);
  }

  /** A copy, so that a small value does not keep a large record in memory. */
  bytes(byteCount: number): Uint8Array {
    const start = this.#take(byteCount);
    return new Uint8Array(this.#buffer.subarray(start, start + byteCount));
  }

  /** Fails if anything is left. */
  end(): void {
    if (this.remainingBytes > 0) throw this.corrupt(`${this.remainingBytes} bytes too many`);
  }
}
