/** The pipeline on the calling thread: for simulated disks, whose writes must stay in one order, and for tests. */
import { type Addon, loadAddon } from '../../native/addon.js';
import type { Reservation } from '../disks/disk.js';
import type { ShardScheme } from '../disks/record.js';
import { assert } from '../errors/cairn-error.js';
import type { ChunkSource } from './chunk-store.js';
import { ChunkWork } from './chunk-work.js';
import type { ChunkJob, Pipeline } from './pipeline.js';
import { SlotQueue } from './slot-queue.js';

export class InlinePipeline implements Pipeline {
  readonly #slots: SlotQueue;
  readonly #work: ChunkWork[];

  constructor(slots = 2, addon: Addon = loadAddon()) {
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

  async write(scheme: ShardScheme, reservations: readonly Reservation[]): Promise<(Error | undefined)[]> {
    assert(!this.#ended, 'the job has not ended');
    const writes = reservations.map((reservation) => reservation.write(this.#work.record(scheme, reservation)));
    const results = await Promise.allSettled(writes);
    return results.map((result) => (result.status === 'fulfilled' ? undefined : (result.reason as Error)));
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#giveBack();
  }
}
