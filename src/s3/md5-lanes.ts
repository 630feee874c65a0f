/**
 * MD5 off the event loop. One stream cannot be hashed faster than about 0.7 GB/s, but eight at once take hardly longer than one (native/src/md5.c): whatever
 * streams have bytes waiting share one native job, and the next job begins when it ends. S3's ETag is an MD5, so every upload passes here.
 */
import { type Addon, loadAddon } from '../../native/addon.js';
import { assert } from '../errors/cairn-error.js';

const BLOCK_BYTES = 64;
const STATE_BYTES = 16;
const INITIAL = Buffer.from('0123456789abcdeffedcba9876543210', 'hex');
/** What one job takes of a stream: others that come meanwhile join the next job, so it must not last long. */
const JOB_BYTES = 1024 * 1024;
const JOB_STREAMS = 16;
/** So little is hashed at once: a hop to another thread and back costs as much. */
const AT_ONCE_BYTES = 16 * 1024;

export class Md5Lanes {
  #addon: Addon | undefined;
  /** Streams with whole blocks that no job has. */
  #waiting: Md5Stream[] = [];
  #isBusy = false;

  stream(): Md5Stream {
    return new Md5Stream(this);
  }

  get addon(): Addon {
    this.#addon ??= loadAddon();
    return this.#addon;
  }

  /** For a stream that has something to be hashed and is in no job. */
  enqueue(stream: Md5Stream): void {
    this.#waiting.push(stream);
    if (this.#isBusy) return;
    this.#isBusy = true;
    // What other uploads bring in this turn of the event loop joins.
    setImmediate(() => this.#run());
  }

  #run(): void {
    const streams = this.#waiting.slice(0, JOB_STREAMS);
    this.#waiting = this.#waiting.slice(JOB_STREAMS);
    this.#isBusy = streams.length > 0;
    if (!this.#isBusy) return;
    const parts = streams.map((stream) => stream.next(JOB_BYTES));
    const states = Buffer.concat(streams.map(({ state }) => state));
    this.addon.md5BlocksAsync(states, parts, () => {
      for (const [i, stream] of streams.entries()) {
        states.copy(stream.state, 0, i * STATE_BYTES);
        if (stream.taken(parts[i]!.length)) this.#waiting.push(stream);
      }
      this.#run();
    });
  }
}

interface Piece {
  readonly bytes: Uint8Array;
  at: number;
  readonly done: () => void;
}

export class Md5Stream {
  readonly state = Buffer.from(INITIAL);
  readonly #lanes: Md5Lanes;
  readonly #pieces: Piece[] = [];
  #length = 0;
  /** The bytes behind the last whole block. */
  #rest: Uint8Array = new Uint8Array(0);
  #emptied: (() => void) | undefined;

  constructor(lanes: Md5Lanes) {
    this.#lanes = lanes;
  }

  /** Takes bytes, which must stay as they are until `done` is called (perhaps at once). All but the last must be a multiple of 64. */
  update(bytes: Uint8Array, done: () => void = () => {}): void {
    assert(this.#rest.length === 0, 'only the last piece has a length that is no multiple of a block');
    this.#length += bytes.length;
    const whole = bytes.length - (bytes.length % BLOCK_BYTES);
    this.#rest = Buffer.from(bytes.subarray(whole));
    const blocks = bytes.subarray(0, whole);
    if (whole <= AT_ONCE_BYTES && this.#pieces.length === 0) {
      if (whole > 0) this.#lanes.addon.md5Blocks(this.state, [blocks]);
      done();
      return;
    }
    this.#pieces.push({ bytes: blocks, at: 0, done });
    if (this.#pieces.length === 1) this.#lanes.enqueue(this);
  }

  /** What a job is to take. */
  next(bytesMax: number): Uint8Array {
    const { bytes, at } = this.#pieces[0]!;
    return bytes.subarray(at, at + bytesMax);
  }

  /** A job has taken so many bytes. True if there are more. */
  taken(bytes: number): boolean {
    const piece = this.#pieces[0]!;
    piece.at += bytes;
    if (piece.at < piece.bytes.length) return true;
    this.#pieces.shift();
    piece.done();
    if (this.#pieces.length > 0) return true;
    this.#emptied?.();
    return false;
  }

  /** After the last piece. */
  async digest(): Promise<Buffer> {
    if (this.#pieces.length > 0)
      await new Promise<void>((resolve) => {
        this.#emptied = resolve;
      });
    const end = Buffer.alloc(this.#rest.length < BLOCK_BYTES - 8 ? BLOCK_BYTES : 2 * BLOCK_BYTES);
    end.set(this.#rest);
    end[this.#rest.length] = 0x80;
    end.writeBigUInt64LE(BigInt(this.#length) * 8n, end.length - 8);
    this.#lanes.addon.md5Blocks(this.state, [end]);
    return this.state;
  }
}
