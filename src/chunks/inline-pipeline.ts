/** The pipeline on the calling thread: for simulated disks, whose writes must stay in one order, and for tests. */
import { type Addon, loadAddon } from '../../native/addon.js';
import type { Reservation } from '../disks/disk.js';
import type { ShardScheme } from '../disks/record.js';
import { assert } from '../errors/cairn-error.js';
import { type ChunkSpace, completeSpace, type SpaceLayout, shardIn } from './chunk-space.js';
import type { ChunkSource } from './chunk-store.js';
import { ChunkWork, shardRecord } from './chunk-work.js';
import { compressChunk } from './compressed-chunk.js';
import type { ChunkJob, Pipeline } from './pipeline.js';
import { SlotQueue } from './slot-queue.js';

export class InlinePipeline implements Pipeline {
  readonly #slots: SlotQueue;
  readonly #work: ChunkWork[];
  readonly #addon: Addon;

  constructor(slots = 2, addon: Addon = loadAddon()) {
    this.#addon = addon;
    this.#slots = new SlotQueue(slots);
    this.#work = Array.from({ length: slots }, () => new ChunkWork(addon));
  }

  async take(source: ChunkSource, onRead: () => void, signal?: AbortSignal): Promise<ChunkJob> {
    const slot = await this.#slots.take(signal);
    const work = this.#work[slot]!;
    try {
      if (source.kind === 'file') work.readFile(source.fd, source.position, source.length);
      else work.copy(source.bytes);
      onRead();
      const chunkBytes = source.kind === 'file' ? source.length : source.bytes.length;
      return new InlineJob(work, work.hash(), chunkBytes, () => this.#slots.give(slot));
    } catch (error) {
      this.#slots.give(slot);
      throw error;
    }
  }

  async compress(chunks: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    return chunks.map((chunk) => compressChunk(chunk));
  }

  async complete({ bytes }: ChunkSpace, layout: SpaceLayout, plain?: ChunkSpace): Promise<string | undefined> {
    return completeSpace(bytes, layout, plain?.bytes);
  }

  async writeFrom(
    { bytes }: ChunkSpace,
    layout: SpaceLayout,
    reservations: readonly Reservation[],
  ): Promise<(Error | undefined)[]> {
    const writes = reservations.map((reservation) =>
      reservation.write(shardRecord(shardIn(bytes, layout, reservation.info.shard), reservation, this.#addon)),
    );
    return errorsOf(await Promise.allSettled(writes));
  }

  forget(): void {}

  async close(): Promise<void> {
    this.#slots.close();
  }
}

class InlineJob implements ChunkJob {
  readonly #work: ChunkWork;
  readonly #giveBack: () => void;
  #ended = false;

  constructor(
    work: ChunkWork,
    readonly chunk: string,
    readonly chunkBytes: number,
    giveBack: () => void,
  ) {
    this.#work = work;
    this.#giveBack = giveBack;
  }

  async compress(): Promise<number | undefined> {
    assert(!this.#ended, 'the job has not ended');
    return this.#work.compress();
  }

  async write(scheme: ShardScheme, reservations: readonly Reservation[]): Promise<(Error | undefined)[]> {
    assert(!this.#ended, 'the job has not ended');
    const writes = reservations.map((reservation) => reservation.write(this.#work.record(scheme, reservation)));
    return errorsOf(await Promise.allSettled(writes));
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#giveBack();
  }
}

function errorsOf(results: readonly PromiseSettledResult<void>[]): (Error | undefined)[] {
  return results.map((result) => (result.status === 'fulfilled' ? undefined : (result.reason as Error)));
}
