/**
 * The part of storing and reading a chunk that costs time: reading the source, hashing, encoding, decoding, checksums, writing. It runs in worker threads
 * (worker-pipeline.ts) or on the calling thread (inline-pipeline.ts, for simulated disks); both do it with chunk-work.ts.
 * Between its two halves the store decides, on the main thread, whether and where the chunk is to be written.
 *
 * Memory is bounded: a job holds one of a fixed number of slots from `take` to `end`, and `take` waits for a free one.
 */
import type { Reservation } from '../disks/disk.js';
import type { ShardScheme } from '../disks/record.js';
import type { ChunkSpace, SpaceLayout } from './chunk-space.js';
import type { ChunkSource } from './chunk-store.js';

export interface Pipeline {
  /**
   * Reads the whole source and hashes it. `onRead` is called once its bytes may change again: bytes of a SharedArrayBuffer may not be copied, and then it
   * comes when the job has ended (or never, if the job fails). IO if it cannot be read whole, ABORTED,
   * CLOSED. The job must be ended.
   */
  take(source: ChunkSource, onRead: () => void, signal?: AbortSignal): Promise<ChunkJob>;
  /** Small chunks as they are stored compressed; undefined where that does not pay. IO if its thread ends, CLOSED, CONFIG. */
  compress(chunks: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]>;
  /**
   * Makes the shards of a space that its layout says are to be made, and hashes the chunk; one that is compressed is unpacked into the space `plain` for that: undefined if it cannot be.
   * INVALID if they do not fit, IO if its thread ends, CLOSED, CONFIG.
   */
  complete(space: ChunkSpace, layout: SpaceLayout, plain?: ChunkSpace): Promise<string | undefined>;
  /** Writes one shard of a completed space per reservation, as `ChunkJob.write`. A write that fails because its disk hangs may go on, and then reads from the space. */
  writeFrom(
    space: ChunkSpace,
    layout: SpaceLayout,
    reservations: readonly Reservation[],
  ): Promise<(Error | undefined)[]>;
  /** The space is used no more. */
  forget(space: ChunkSpace): void;
  /** Ends the worker threads; jobs under way fail with CLOSED. */
  close(): Promise<void>;
}

export interface ChunkJob {
  readonly chunk: string;
  readonly chunkBytes: number;
  /** Compresses the chunk: the length that it comes to; undefined if that does not pay. Then `write` writes shards of that where their reservations say so. IO, CLOSED, CONFIG. */
  compress(): Promise<number | undefined>;
  /** Encodes and writes one shard per reservation. One failed write does not stop the others: per reservation, undefined or what went wrong. May be called again. */
  write(scheme: ShardScheme, reservations: readonly Reservation[]): Promise<(Error | undefined)[]>;
  /** Gives the slot back. */
  end(): void;
}
