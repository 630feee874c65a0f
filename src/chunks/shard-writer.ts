/**
 * Writes the shards of one plan, from whatever they can be made from, and publishes those that stand. A disk that fails is told so (abandon) and never
 * stops the others.
 */
import type { Disk, Reservation } from '../disks/disk.js';
import { isSameScheme, type ShardInfo, type ShardScheme } from '../disks/record.js';
import { assert } from '../errors/cairn-error.js';
import { copyShards, type FilledSpace, readStored, remakeShards } from './chunk-reader.js';
import type { ChunkSpaces } from './chunk-space.js';
import type { StoredChunk } from './chunk-store.js';
import type { ChunkJob, Pipeline } from './pipeline.js';
import type { Plan } from './placement.js';
import type { ReadPace } from './read-pace.js';
import type { ShardSet } from './shard-set.js';

/** A shard that has been written. */
export interface Written {
  readonly disk: Disk;
  readonly info: ShardInfo;
}

/** What became of a chunk's plans so far; writing adds to it. */
export class Outcome {
  readonly written: Written[] = [];
  /** Disks that failed. */
  readonly failed = new Set<Disk>();
  /** The error of one of them, the last. */
  cause: unknown;
}

interface Means {
  readonly spaces: ChunkSpaces;
  readonly pipeline: Pipeline;
  readonly pace: ReadPace;
}

export class ShardWriter {
  readonly #means: Means;
  readonly #onShort: (chunk: string) => void;

  /** `onShort`: the chunk has fewer shards than there should be. */
  constructor(means: Means, onShort: (chunk: string) => void) {
    this.#means = means;
    this.#onShort = onShort;
  }

  /** The plan's shards, as the job makes them. What fails on all disks alike is thrown. */
  async write(job: Pick<ChunkJob, 'chunk' | 'chunkBytes' | 'write'>, plan: Plan, outcome: Outcome): Promise<void> {
    const { chunk, chunkBytes } = job;
    const { scheme, compression, shardBytes } = plan;
    const failed = (disk: Disk, error: unknown): void => {
      outcome.cause = error;
      outcome.failed.add(disk);
    };
    const reserved: { disk: Disk; reservation: Reservation }[] = [];
    await Promise.all(
      plan.places.map(async ({ shard, bucket, disk }) => {
        try {
          const info: ShardInfo = { bucket, chunk, shard, scheme, chunkBytes, compression, shardBytes };
          reserved.push({ disk, reservation: await disk.reserve(info) });
        } catch (error) {
          failed(disk, error);
        }
      }),
    );
    if (reserved.length === 0) return;
    const reservations = reserved.map(({ reservation }) => reservation);
    let results: readonly (Error | undefined)[];
    try {
      results = await job.write(scheme, reservations);
    } catch (error) {
      // Nobody knows how much of the records is there.
      for (const { disk, reservation } of reserved) disk.abandon(reservation, error);
      throw error;
    }
    reserved.forEach(({ disk, reservation }, i) => {
      const error = results[i];
      if (error === undefined) {
        disk.publish(reservation);
        outcome.written.push({ disk, info: reservation.info });
        return;
      }
      disk.abandon(reservation, error);
      failed(disk, error);
    });
    if (outcome.failed.size > 0) this.#onShort(chunk);
  }

  /** From the job, or from what the disks have of a compressed chunk (then UNREADABLE). As `write`. */
  async writeFor(job: ChunkJob, plan: Plan, outcome: Outcome): Promise<void> {
    if (plan.source === undefined) await this.write(job, plan, outcome);
    else await this.writeFromSet(plan.source, job.chunk, plan, outcome);
  }

  /**
   * Shards of a plan from others of the set: moved where each of them lies somewhere, else made. False, and
   * nothing written, if what can be read soon does not suffice. Of a compressed chunk whatever is needed is read: UNREADABLE.
   */
  async writeFromSet(set: ShardSet, chunk: string, plan: Plan, outcome: Outcome): Promise<boolean> {
    const wanted = plan.places.map(({ shard }) => shard);
    const filled = isSameScheme(set.scheme, plan.scheme) ? await this.#fillFrom(set, chunk, wanted) : undefined;
    const { chunkBytes } = set;
    if (filled === undefined) {
      if (set.compression === undefined) return false;
      const stored = await readStored(set, chunk, this.#means);
      await this.writeStored(stored, { chunk, chunkBytes }, plan, outcome);
      return true;
    }
    const { space, layout } = filled;
    let isOver = false;
    try {
      const write = (_scheme: ShardScheme, reservations: readonly Reservation[]): Promise<(Error | undefined)[]> =>
        this.#means.pipeline.writeFrom(space, layout, reservations);
      await this.write({ chunk, chunkBytes, write }, plan, outcome);
      isOver = outcome.failed.size === 0;
    } finally {
      // A write that was given up because its disk hangs reads from it all the same.
      if (isOver) this.#means.spaces.give(space);
      else this.#means.spaces.drop(space);
    }
    return true;
  }

  async #fillFrom(set: ShardSet, chunk: string, wanted: readonly number[]): Promise<FilledSpace | undefined> {
    const liesSomewhere = wanted.every((shard) => set.holders[shard]!.length > 0);
    const copied = liesSomewhere ? await copyShards(set, wanted, this.#means) : undefined;
    return copied ?? remakeShards(set, chunk, wanted, this.#means);
  }

  /** Shards of a plan, from all that they are made from: the chunk, or what it was compressed to. As `write`. */
  async writeStored(
    stored: Uint8Array,
    { chunk, chunkBytes }: Pick<StoredChunk, 'chunk' | 'chunkBytes'>,
    plan: Plan,
    outcome: Outcome,
  ): Promise<void> {
    const job = await this.#means.pipeline.take({ kind: 'bytes', bytes: stored }, () => {});
    try {
      assert(plan.compression !== undefined || job.chunk === chunk, 'what was read has the hash that it was asked by');
      const write: ChunkJob['write'] = (scheme, reservations) => job.write(scheme, reservations);
      await this.write({ chunk, chunkBytes, write }, plan, outcome);
    } finally {
      job.end();
    }
  }
}
