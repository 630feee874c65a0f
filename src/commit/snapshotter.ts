/**
 * Full metadata snapshots on every data disk. They bound the replay: after one is durable, the journal before it is recycled.
 * Part 0 of a snapshot is its position, each further part a batch of rows as puts.
 */
import type { ChunkStore } from '../chunks/chunk-store.js';
import type { Disk } from '../disks/disk.js';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import { ByteWriter } from '../io/byte-writer.js';
import type { MetaStore } from '../meta/meta-store.js';
import { encodeChanges } from '../meta/row-codec.js';
import { encodeSnapshotPosition } from '../meta/snapshot-position.js';
import type { JournalDisks } from './journal.js';

/**
 * The slot that names the newest snapshot: the pool's root, found from bare disks by the hash of this path. Its version is the sequence;
 * its bytes are 'R' format=1 | v sequence | v epoch | v parts.
 */
export const SNAPSHOT_SLOT = '/cairn/snapshot';
const ROOT_MARK = 0x52;
const ROOT_FORMAT = 1;

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
    const root = new ByteWriter();
    root.byte(ROOT_MARK);
    root.byte(ROOT_FORMAT);
    root.varint(sequence);
    root.varint(epoch);
    root.varint(part + 1);
    try {
      await this.#chunks.putSlot(SNAPSHOT_SLOT, sequence, root.finish());
    } catch (error) {
      // Recovery finds the snapshot by its records. Where the pool is full, the journal that it replaces is what gives room.
      if (!hasCode(error, 'NO_SPACE')) throw error;
    }
    await this.#release(targets, sequence);
    return sequence;
  }

  /**
   * Gives back the journal that the snapshot covers. A data disk lets go of its own where it holds the snapshot instead. Commits on the
   * journal disks may have no other copy: they go when so many disks hold the snapshot that losing as many as may be lost leaves one. A disk that
   * is away loses nothing: what it holds is older, and recovery takes no commit from it that others have replaced.
   */
  async #release(holders: readonly Disk[], sequence: number): Promise<void> {
    const released = holders.length > this.#disks.tolerance ? [...holders, ...this.#disks.journal()] : holders;
    const results = await Promise.allSettled(
      released.map(async (disk) => {
        // A journal segment may hold the only copies of small chunks: the disk moves them first.
        await disk.releaseCommits(sequence);
        await disk.dropSnapshots(sequence);
      }),
    );
    const failure = results.find((result) => result.status === 'rejected');
    if (failure !== undefined) throw failure.reason;
  }
}
