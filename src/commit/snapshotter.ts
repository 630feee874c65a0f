/**
 * Full metadata snapshots on every data disk. They bound the replay: after one is durable, the journal before it is recycled.
 * Part 0 of a snapshot is its position, each further part a batch of rows as puts.
 */
import type { ChunkStore } from '../chunks/chunk-store.js';
import type { Disk } from '../disks/disk.js';
import { CairnError } from '../errors/cairn-error.js';
import { ByteWriter } from '../io/byte-buffer.js';
import type { MetaStore } from '../meta/meta-store.js';
import { encodeChanges } from '../meta/row-codec.js';
import { encodeSnapshotPosition } from '../meta/snapshot-position.js';
import type { JournalDisks } from './journal.js';

/** The slot that names the newest snapshot: the pool's root, found from bare disks by the hash of this path. */
export const SNAPSHOT_SLOT = '/cairn/snapshot';

export class Snapshotter {
  readonly #disks: JournalDisks;
  readonly #meta: MetaStore;
  readonly #chunks: ChunkStore;
  #running: Promise<number> | undefined;

  constructor(disks: JournalDisks, meta: MetaStore, chunks: ChunkStore) {
    this.#disks = disks;
    this.#meta = meta;
    this.#chunks = chunks;
  }

  /** Writes a snapshot of the last applied commit to every data disk that is online; returns its sequence. One at a time. */
  take(signal?: AbortSignal): Promise<number> {
    this.#running ??= this.#take(signal).finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #take(signal: AbortSignal | undefined): Promise<number> {
    const { position, batches } = await this.#meta.snapshot();
    const { sequence, epoch } = position;
    let targets: Disk[] = [...this.#disks.data()];
    let failure: unknown;
    const append = async (part: number, last: boolean, payload: Uint8Array): Promise<void> => {
      const results = await Promise.allSettled(
        targets.map((disk) =>
          disk.append('data', [{ kind: 'snapshot', sequence, epoch, part, last, payload: [payload] }], { sync: false }),
        ),
      );
      targets = targets.filter((_, i) => results[i]!.status === 'fulfilled');
      failure ??= results.find((result) => result.status === 'rejected')?.reason;
      if (targets.length === 0)
        throw new CairnError('DISK_FAILED', 'no disk took the metadata snapshot', { cause: failure });
    };
    let part = 0;
    let waiting: Uint8Array = encodeSnapshotPosition(position);
    for await (const batch of batches) {
      signal?.throwIfAborted();
      await append(part, false, waiting);
      part += 1;
      waiting = encodeChanges(batch);
    }
    await append(part, true, waiting);
    const synced = await Promise.allSettled(targets.map((disk) => disk.sync()));
    targets = targets.filter((_, i) => synced[i]!.status === 'fulfilled');
    if (targets.length === 0) throw new CairnError('DISK_FAILED', 'no disk could sync the metadata snapshot');
    const root = new ByteWriter(32);
    root.whole(sequence);
    root.whole(epoch);
    root.u32(part + 1);
    await this.#chunks.putSlot(SNAPSHOT_SLOT, sequence, root.copy());
    await this.#release(targets, sequence);
    return sequence;
  }

  /** Gives back what the snapshot covers: only where the snapshot itself is durable, or on journal disks once it is durable anywhere. */
  async #release(holders: readonly Disk[], sequence: number): Promise<void> {
    // A journal segment may hold the only copies of small chunks: the disk moves them first.
    for (const disk of [...holders, ...this.#disks.journal()]) {
      await disk.releaseCommits(sequence);
      await disk.dropSnapshots(sequence);
    }
  }
}
