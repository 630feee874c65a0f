/**
 * The bytes of one simulated file. Immutable: a change gives another content that shares every block it did not touch, so that the
 * state of a whole machine is copied by copying references, once per crash point.
 */
const BLOCK_BYTES = 4096;

export class SimContent {
  static readonly EMPTY = new SimContent([], 0);
  /** A missing block reads as zeros. */
  readonly #blocks: readonly (Buffer | undefined)[];
  readonly length: number;

  private constructor(blocks: readonly (Buffer | undefined)[], length: number) {
    this.#blocks = blocks;
    this.length = length;
  }

  /** `bytes` must not change afterwards. */
  write(position: number, bytes: Buffer): SimContent {
    if (bytes.length === 0) return this;
    const blocks = this.#blocks.slice();
    const end = position + bytes.length;
    for (let at = position; at < end; ) {
      const index = Math.floor(at / BLOCK_BYTES);
      const start = index * BLOCK_BYTES;
      const to = Math.min(end, start + BLOCK_BYTES);
      const part = bytes.subarray(at - position, to - position);
      while (blocks.length <= index) blocks.push(undefined);
      blocks[index] = part.length === BLOCK_BYTES ? part : patched(blocks[index], part, at - start);
      at = to;
    }
    return new SimContent(blocks, Math.max(this.length, end));
  }

  resize(length: number): SimContent {
    if (length === this.length) return this;
    const blocks = this.#blocks.slice(0, Math.ceil(length / BLOCK_BYTES));
    const rest = length % BLOCK_BYTES;
    const last = blocks.length - 1;
    if (length < this.length && rest > 0 && last === Math.floor(length / BLOCK_BYTES) && blocks[last] !== undefined)
      blocks[last] = patched(blocks[last], Buffer.alloc(BLOCK_BYTES - rest), rest);
    return new SimContent(blocks, length);
  }

  /** Copies what there is from `position` on; returns how many bytes. */
  read(into: Uint8Array, position: number): number {
    const end = Math.min(position + into.length, this.length);
    for (let at = position; at < end; ) {
      const index = Math.floor(at / BLOCK_BYTES);
      const start = index * BLOCK_BYTES;
      const to = Math.min(end, start + BLOCK_BYTES);
      const block = this.#blocks[index];
      if (block === undefined) into.fill(0, at - position, to - position);
      else into.set(block.subarray(at - start, to - start), at - position);
      at = to;
    }
    return Math.max(0, end - position);
  }

  bytes(): Buffer {
    const bytes = Buffer.allocUnsafe(this.length);
    this.read(bytes, 0);
    return bytes;
  }
}

function patched(block: Buffer | undefined, part: Buffer, at: number): Buffer {
  const next = Buffer.allocUnsafe(BLOCK_BYTES);
  if (block === undefined) next.fill(0);
  else block.copy(next);
  part.copy(next, at);
  return next;
}
