/**
 * One slot of a pipeline: the buffers of one chunk under way, and the work on them. Pure but for reading the source. Buffers are kept
 * from chunk to chunk: fresh memory costs as much as hashing it.
 */
import { readSync } from 'node:fs';
import type { Addon } from '../../native/addon.js';
import { isSameScheme, type ShardInfo, type ShardScheme } from '../disks/record.js';
import { shardRecordHeader } from '../disks/record-codec.js';
import { codecFor } from '../erasure/codec-for.js';
import { assert, CairnError } from '../errors/cairn-error.js';
import { MAX_CHUNK_BYTES } from './chunk-store.js';
import { compressChunk } from './compressed-chunk.js';
import { contentHash } from './content-hash.js';
import { codecScheme } from './shard-scheme.js';

/** What the record's header needs of a reservation; plain data, so that it can be posted to a thread. */
export interface RecordStub {
  readonly info: ShardInfo;
  readonly generation: number;
  readonly logSequence: number;
  readonly owner: string;
}

const NOTHING = Buffer.alloc(0);

export class ChunkWork {
  readonly #addon: Addon;
  #space = NOTHING;
  #parity = NOTHING;
  #chunk: Uint8Array = NOTHING;
  #compressed: Uint8Array | undefined;
  /** What `#shards` are made from. */
  #encoded: Uint8Array | undefined;
  #scheme: ShardScheme | undefined;
  #shards: Uint8Array[] = [];

  constructor(addon: Addon) {
    this.#addon = addon;
  }

  /** IO if the file cannot be read or ends early. */
  readFile(fd: number, position: number, length: number): void {
    const into = this.#reserve(length);
    let done = 0;
    while (done < length) {
      let count: number;
      try {
        count = readSync(fd, into, done, length - done, position + done);
      } catch (error) {
        throw new CairnError('IO', `the staged file cannot be read at ${position + done}`, { cause: error });
      }
      if (count === 0)
        throw new CairnError('IO', `the staged file ends at ${position + done} instead of ${position + length}`);
      done += count;
    }
    this.#hold(into);
  }

  /** Copies the bytes. */
  copy(bytes: Uint8Array): void {
    const into = this.#reserve(bytes.length);
    into.set(bytes);
    this.#hold(into);
  }

  /** Takes the bytes over: nobody else may change them. */
  adopt(bytes: Uint8Array): void {
    checkLength(bytes.length);
    this.#hold(bytes);
  }

  /** What has been given out stays as it is: the next chunk gets buffers of its own. */
  detach(): void {
    this.#space = NOTHING;
    this.#parity = NOTHING;
  }

  hash(): string {
    return contentHash(this.#chunk);
  }

  /** Length of what the chunk compresses to; undefined if that does not pay. CONFIG. */
  compress(): number | undefined {
    this.#compressed = compressChunk(this.#chunk);
    return this.#compressed?.length;
  }

  /**
   * Header and payload of the record of one shard: to be written one after the other. Encodes when first asked under a scheme: what `compress` has made, where the record
   * is to say so; else the bytes that it was given, which may be those of a chunk that was compressed before.
   */
  record(scheme: ShardScheme, stub: RecordStub): [header: Uint8Array, payload: Uint8Array] {
    const payload = (stub.info.compression && this.#compressed) ?? this.#chunk;
    return shardRecord(this.#shard(scheme, stub.info.shard, payload), stub, this.#addon);
  }

  #shard(scheme: ShardScheme, shard: number, payload: Uint8Array): Uint8Array {
    if (this.#encoded !== payload || !this.#scheme || !isSameScheme(this.#scheme, scheme)) {
      // Shards of the first scheme may still be on their way to a disk.
      if (this.#encoded) this.#parity = NOTHING;
      const codec = codecFor(codecScheme(scheme));
      const parityBytes = scheme.erasure ? (codec.shards - codec.needed) * codec.shardBytes(payload.length) : 0;
      if (this.#parity.length < parityBytes) this.#parity = Buffer.allocUnsafeSlow(parityBytes);
      this.#shards = codec.encode(payload, this.#parity);
      this.#scheme = scheme;
      this.#encoded = payload;
    }
    const bytes = this.#shards[shard];
    assert(bytes, 'the shard is one of the scheme');
    return bytes;
  }

  #reserve(length: number): Buffer {
    checkLength(length);
    if (this.#space.length < length)
      this.#space = Buffer.allocUnsafeSlow(length > MAX_CHUNK_BYTES / 4 ? MAX_CHUNK_BYTES : length);
    return this.#space.subarray(0, length);
  }

  #hold(chunk: Uint8Array): void {
    this.#chunk = chunk;
    this.#compressed = undefined;
    this.#encoded = undefined;
    this.#scheme = undefined;
    this.#shards = [];
  }
}

/** Header and payload of a shard's record. */
export function shardRecord(
  payload: Uint8Array,
  { info, generation, logSequence, owner }: RecordStub,
  addon: Addon,
): [header: Uint8Array, payload: Uint8Array] {
  return [shardRecordHeader(info, generation, logSequence, owner, payload, addon.crc32c), payload];
}

function checkLength(length: number): void {
  assert(Number.isInteger(length) && length > 0 && length <= MAX_CHUNK_BYTES, 'a chunk has 1 byte to 4 MiB');
}
