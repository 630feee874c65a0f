/**
 * k+m erasure code: the Cauchy bit matrix and the XOR kernel of @ronomon/reed-solomon, in blocks of 64 KiB per shard.
 *
 * Layout (scheme id `ec:k+m`, docs/format.md): shardBytes is chunkBytes / k rounded up to a multiple of 64. Shards are coded block by
 * block, a block being 64 KiB of each shard (the last one shorter), independent of all others. A block is `w` packets
 * of equal length one after the other (w = 2, 4 or 8: byte 0 of the library's context); packet a of a parity shard is the XOR of those data
 * packets that row a of its bit matrix names.
 *
 * Why not the library's own `encode`: its packet length depends on the whole shard's length and a cache budget, so that a
 * 4 KiB range could be rebuilt only from far larger ones, and it wants all shards side by side in one buffer and a thread-pool hop. Driven from
 * here the same kernel is as fast (measured, 4 MiB: 2+1 12 GB/s, 4+2 10 GB/s, 8+3 6 GB/s). The library aborts the process on a
 * zero-length buffer: every length is checked before it is called.
 */
import { createRequire } from 'node:module';
import { assert, CairnError } from '../errors/cairn-error.js';
import { type BitMatrix, generator, inverse, product, rowsOf } from './bit-matrix.js';
import { type Codec, type Scheme, schemeName } from './codec.js';

interface ReedSolomon {
  readonly MAX_K: number;
  readonly MAX_M: number;
  /** w, k, m as one byte each, then the bit matrix of the parity: m*w rows of k*w bytes. */
  create(k: number, m: number): Buffer;
  XOR(source: Uint8Array, sourceOffset: number, target: Uint8Array, targetOffset: number, length: number): void;
}

const library = createRequire(import.meta.url)('@ronomon/reed-solomon') as ReedSolomon;

const BLOCK_BYTES = 64 * 1024;
/** Keeps every packet a multiple of 8 bytes (w is at most 8): the XOR kernel works in 64-bit words. */
const SHARD_ALIGNMENT = 64;

/** XOR steps that make the targets of one block, five numbers each: target, its packet, source, its packet, 1 to copy or 0 to XOR. */
type Schedule = Int32Array;

export class ErasureCodec implements Codec {
  readonly scheme: Scheme;
  readonly shards: number;
  readonly needed: number;
  readonly blockBytes = BLOCK_BYTES;
  readonly #k: number;
  readonly #m: number;
  /** Packets per block. */
  readonly #w: number;
  readonly #generator: BitMatrix;
  readonly #encoding: Schedule;
  /** By the shards used and wanted: `0,2>1`. At most a few dozen per scheme. */
  readonly #decodings = new Map<string, Schedule>();

  /** CONFIG if the library has no code for k+m. */
  constructor(k: number, m: number) {
    if (!Number.isInteger(k) || !Number.isInteger(m) || k < 1 || m < 1 || k > library.MAX_K || m > library.MAX_M) {
      throw new CairnError('CONFIG', `no erasure code ${k}+${m}`, {
        hint: `choose k from 1 to ${library.MAX_K} and m from 1 to ${library.MAX_M}`,
      });
    }
    this.scheme = { kind: 'erasure', k, m };
    this.#k = k;
    this.#m = m;
    this.shards = k + m;
    this.needed = k;
    const context = library.create(k, m);
    this.#w = context[0]!;
    const parity = { columns: k * this.#w, bits: context.subarray(3) };
    this.#generator = generator(parity);
    this.#encoding = schedule(parity, this.#w);
  }

  shardBytes(chunkBytes: number): number {
    assert(Number.isInteger(chunkBytes) && chunkBytes > 0, 'a chunk has at least one byte');
    return Math.ceil(Math.ceil(chunkBytes / this.#k) / SHARD_ALIGNMENT) * SHARD_ALIGNMENT;
  }

  encode(chunk: Uint8Array, parity?: Uint8Array): Uint8Array[] {
    const shardBytes = this.shardBytes(chunk.length);
    const data: Uint8Array[] = [];
    for (let i = 0; i < this.#k; i++) {
      const view = chunk.subarray(Math.min(i * shardBytes, chunk.length), (i + 1) * shardBytes);
      data.push(view.length === shardBytes ? view : padded(view, shardBytes));
    }
    const space = parity ?? Buffer.allocUnsafeSlow(this.#m * shardBytes);
    assert(space.length >= this.#m * shardBytes, 'the parity space is large enough');
    const targets: Uint8Array[] = [];
    for (let i = 0; i < this.#m; i++) targets.push(space.subarray(i * shardBytes, (i + 1) * shardBytes));
    this.#run(this.#encoding, data, targets, shardBytes);
    return [...data, ...targets];
  }

  decode(shards: readonly (Uint8Array | undefined)[], chunkBytes: number): Uint8Array {
    const shardBytes = this.shardBytes(chunkBytes);
    this.#checkLengths(shards, shardBytes);
    const out = Buffer.allocUnsafeSlow(this.#k * shardBytes);
    const missing: number[] = [];
    for (let i = 0; i < this.#k; i++) {
      const shard = shards[i];
      if (shard) out.set(shard, i * shardBytes);
      else missing.push(i);
    }
    if (missing.length > 0) {
      const sources = this.#chooseSources(shards, -1);
      const targets = missing.map((i) => out.subarray(i * shardBytes, (i + 1) * shardBytes));
      this.#run(
        this.#decoding(sources, missing),
        sources.map((i) => shards[i]!),
        targets,
        shardBytes,
      );
    }
    return out.subarray(0, chunkBytes);
  }

  rebuild(ranges: readonly (Uint8Array | undefined)[], wanted: number, into?: Uint8Array): Uint8Array {
    assert(Number.isInteger(wanted) && wanted >= 0 && wanted < this.shards, 'the wanted shard exists');
    const sources = this.#chooseSources(ranges, wanted);
    const length = ranges[sources[0]!]!.length;
    if (length === 0 || length % SHARD_ALIGNMENT !== 0) {
      throw new CairnError('INVALID', `a range of ${length} bytes is no range of a shard`);
    }
    this.#checkLengths(ranges, length);
    const out = into ?? Buffer.allocUnsafeSlow(length);
    assert(out.length === length, 'the room is as long as the range');
    this.#run(
      this.#decoding(sources, [wanted]),
      sources.map((i) => ranges[i]!),
      [out],
      length,
    );
    return out;
  }

  /** The first k shards that are there: data shards first, which need the fewest XORs. */
  #chooseSources(shards: readonly (Uint8Array | undefined)[], wanted: number): number[] {
    const sources: number[] = [];
    for (let i = 0; i < this.shards && sources.length < this.#k; i++) if (shards[i] && i !== wanted) sources.push(i);
    if (sources.length < this.#k) {
      throw new CairnError(
        'UNREADABLE',
        `only ${sources.length} of the ${this.#k} shards that ${schemeName(this.scheme)} needs are there`,
      );
    }
    return sources;
  }

  #checkLengths(shards: readonly (Uint8Array | undefined)[], length: number): void {
    if (shards.length > this.shards)
      throw new CairnError('INVALID', `${shards.length} shards under ${schemeName(this.scheme)}`);
    for (const shard of shards) {
      if (shard && shard.length !== length) {
        throw new CairnError('INVALID', `a shard has ${shard.length} bytes instead of ${length}`);
      }
    }
  }

  #decoding(sources: readonly number[], wanted: readonly number[]): Schedule {
    const key = `${sources.join()}>${wanted.join()}`;
    let steps = this.#decodings.get(key);
    if (!steps) {
      const w = this.#w;
      // sources = rows × data, so data = rows⁻¹ × sources, and wanted = its own rows × data.
      const data = inverse(rowsOf(this.#generator, w, sources));
      steps = schedule(product(rowsOf(this.#generator, w, wanted), data), w);
      this.#decodings.set(key, steps);
    }
    return steps;
  }

  /** Block by block over all targets, so that a block's sources are read from memory once. */
  #run(steps: Schedule, sources: readonly Uint8Array[], targets: readonly Uint8Array[], length: number): void {
    const from = sources.map(asBuffer);
    const to = targets.map(asBuffer);
    for (let offset = 0; offset < length; offset += BLOCK_BYTES) {
      const packet = Math.min(BLOCK_BYTES, length - offset) / this.#w;
      for (let i = 0; i < steps.length; i += 5) {
        const target = to[steps[i]!]!;
        const targetOffset = offset + steps[i + 1]! * packet;
        const source = from[steps[i + 2]!]!;
        const sourceOffset = offset + steps[i + 3]! * packet;
        if (steps[i + 4] === 1) source.copy(target, targetOffset, sourceOffset, sourceOffset + packet);
        else library.XOR(source, sourceOffset, target, targetOffset, packet);
      }
    }
  }
}

function schedule(matrix: BitMatrix, w: number): Schedule {
  const steps: number[] = [];
  const rows = matrix.bits.length / matrix.columns;
  for (let row = 0; row < rows; row++) {
    let copy = 1;
    for (let column = 0; column < matrix.columns; column++) {
      if (matrix.bits[row * matrix.columns + column] === 0) continue;
      steps.push(Math.floor(row / w), row % w, Math.floor(column / w), column % w, copy);
      copy = 0;
    }
    assert(copy === 0, 'every packet depends on some packet');
  }
  return Int32Array.from(steps);
}

function padded(view: Uint8Array, length: number): Uint8Array {
  const whole = Buffer.alloc(length);
  whole.set(view);
  return whole;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
