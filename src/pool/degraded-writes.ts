/**
 * What has been written since the pool was opened with fewer shards than there should be, and whoever is to be told of it: what finds such chunks is built before what mends them.
 */
import type { DegradedChunks, Journal } from '../commit/journal.js';
import type { LossCensus } from '../forecast/loss-census.js';
import type { RepairJob } from '../repair/repair-job.js';
import type { RepairQueue } from '../repair/repair-queue.js';

const NONE = { commits: 0, chunks: 0, bytes: 0 };

export class DegradedWrites {
  /** What is found before they are there is in neither's books yet, and they begin with a count of their own. */
  repair: RepairJob | undefined;
  census: LossCensus | undefined;
  journal: Journal | undefined;
  #written = NONE;

  /** A commit was made with these. */
  committed({ chunks, bytes }: DegradedChunks): void {
    this.found(chunks);
    const { commits, ...before } = this.#written;
    this.#written = { commits: commits + 1, chunks: before.chunks + chunks.length, bytes: before.bytes + bytes };
  }

  found(chunks: readonly string[]): void {
    this.repair?.noteDegraded(chunks);
  }

  /** As the chunk store's `onShort`. */
  stored(chunk: string): void {
    this.census?.storedShort(chunk);
    this.journal?.noteShort();
  }

  /** As the chunk store's `onDegradedRead`. */
  read(chunk: string, disk: number | undefined): void {
    this.repair?.noteRead(chunk, disk);
  }

  /** Zeros as soon as all of it has been made whole: which of them have been already is not kept in mind. */
  report(queue: RepairQueue): typeof NONE {
    if (queue.degraded === 0 && !queue.isIncomplete) this.#written = NONE;
    return this.#written;
  }
}
