/**
 * Reads one request out of the buffer that the transport fills. There is one buffer and one Request per session: what
 * outlives the handler's return must have been taken out before, which numbers and strings are and views are not.
 *
 * Invariant: no accessor reads beyond the message's own length, whatever the buffer held before. A message that is
 * shorter than its opcode's body, or a name without its NUL, throws MalformedRequest, which the session answers with
 * an errno. Names are binary strings (latin1), so that any byte but `/` and NUL survives.
 */
import { CairnError } from '../errors/cairn-error.js';
import type { Time } from '../io/clock.js';
import type { Caller } from '../vfs/vfs.js';
import { Errno } from './errno.js';
import { IN_HEADER_BYTES, InHeader, NAME_MAX } from './protocol.js';

export class MalformedRequest extends Error {
  readonly errno: number;

  constructor(message: string, errno: number = Errno.EIO) {
    super(message);
    this.errno = errno;
  }
}

const TWO_32 = 0x1_0000_0000;

export class Request {
  opcode = 0;
  unique = 0n;
  nodeid = 0;
  readonly #buffer: Buffer;
  /** Where the arguments end: the message without its extensions. */
  #end = 0;
  /** Where the next name begins. */
  #at = 0;

  constructor(buffer: Uint8Array) {
    this.#buffer = Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  }

  /**
   * Takes the next message of `length` bytes. False if it has not even a header to answer to; throws MalformedRequest,
   * with `unique` set, if the header does not fit the message.
   */
  begin(length: number): boolean {
    const buffer = this.#buffer;
    if (length < IN_HEADER_BYTES || length > buffer.length) return false;
    this.opcode = buffer.readUInt32LE(InHeader.OPCODE);
    this.unique = buffer.readBigUInt64LE(InHeader.UNIQUE);
    this.nodeid = this.u64(InHeader.NODEID);
    if (buffer.readUInt32LE(InHeader.LENGTH) !== length) throw new MalformedRequest('length field and message differ');
    const end = length - buffer.readUInt16LE(InHeader.EXTENSIONS) * 8;
    if (end < IN_HEADER_BYTES) throw new MalformedRequest('extensions longer than the message');
    this.#end = end;
    this.#at = IN_HEADER_BYTES;
    return true;
  }

  /** `umask`: for what the caller makes. */
  caller(umask = 0): Caller {
    const buffer = this.#buffer;
    return { uid: buffer.readUInt32LE(InHeader.UID), gid: buffer.readUInt32LE(InHeader.GID), pid: this.pid, umask };
  }

  /** Of the thread that waits; 0 if none does, or none that this process could know. */
  get pid(): number {
    return this.#buffer.readUInt32LE(InHeader.PID);
  }

  /** Checks that the fixed body reaches to `bytes`, and sets where names begin. */
  body(bytes: number): void {
    if (this.#end < bytes) throw new MalformedRequest(`opcode ${this.opcode} with ${this.#end} of ${bytes} bytes`);
    this.#at = bytes;
  }

  has(bytes: number): boolean {
    return this.#end >= bytes;
  }

  u32(at: number): number {
    return this.#buffer.readUInt32LE(at);
  }

  /** Exact up to 2^53; beyond it only the magnitude counts, and no caller accepts it. */
  u64(at: number): number {
    return this.#buffer.readUInt32LE(at + 4) * TWO_32 + this.#buffer.readUInt32LE(at);
  }

  /** All 64 bits. */
  big64(at: number): bigint {
    return this.#buffer.readBigUInt64LE(at);
  }

  /** Seconds are signed: files from before 1970. */
  time(secAt: number, nsecAt: number): Time {
    const buffer = this.#buffer;
    const sec = buffer.readInt32LE(secAt + 4) * TWO_32 + buffer.readUInt32LE(secAt);
    const nsec = buffer.readUInt32LE(nsecAt);
    if (nsec > 999_999_999) throw new CairnError('INVALID', 'time out of range');
    return { sec: Math.max(TIME_SEC_MIN, Math.min(sec, TIME_SEC_MAX)), nsec };
  }

  /** The next NUL-terminated string. NAME_TOO_LONG beyond `max` bytes: the kernel lets programs ask for that. */
  text(max: number): string {
    const from = this.#at;
    const nul = this.#buffer.indexOf(0, from);
    if (nul < 0 || nul >= this.#end) throw new MalformedRequest('string without an end');
    if (nul - from > max) throw new CairnError('NAME_TOO_LONG', `a string of more than ${max} bytes`);
    this.#at = nul + 1;
    return this.#buffer.toString('latin1', from, nul);
  }

  /** The next string as a name of one directory entry. */
  name(): string {
    const name = this.text(NAME_MAX);
    if (name === '' || name.includes('/')) throw new MalformedRequest('not a name', Errno.EINVAL);
    return name;
  }

  /** A view of the next `length` bytes: valid only until the handler returns. */
  bytes(length: number): Uint8Array {
    const from = this.#at;
    if (length > this.#end - from) throw new MalformedRequest(`payload of ${length} bytes cut short`);
    this.#at = from + length;
    return this.#buffer.subarray(from, from + length);
  }
}
/** Seconds that a record can hold (meta/row-fields.ts). A time beyond is cut, as every file system does (inode_set_ctime, timestamp_truncate in the kernel). */
const TIME_SEC_MAX = 2 ** 52 - 1;
const TIME_SEC_MIN = -(2 ** 52);
