/**
 * Gets space back: copies live records out of segments and frees these. Runs one operation at a time.
 *
 * Order, so that a crash at any point loses nothing: copies are appended and synced; only then is the old segment released.
 * A copy carries a newer log sequence, so it wins over the original wherever both are found. A tombstone is kept as long as the
 * segment with the record that it killed is there. Snapshot parts are never copied: a newer snapshot makes their segment free.
 */
import { hasCode } from '../errors/cairn-error.js';
import type { AppendLog } from './append-log.js';
import type { DiskIndex } from './disk-index.js';
import { tombstoneOf } from './disk-replay.js';
import type { JournalState } from './journal-state.js';
import type { RecordInput, ShardKey } from './record.js';
import type { IndexedShard } from './shard-index.js';

/** Payload bytes that are copied in one append; less where segments are small, since what does not fit the rest of one leaves it empty. */
const COPY_BATCH_BYTES = 4 * 1024 * 1024;
const COPY_BATCH_SHARE = 1 / 32;

export interface UpkeepDisk {
  readonly data: AppendLog;
  readonly journal: AppendLog;
  readonly index: DiskIndex;
  readonly journalState: JournalState;
  sync(): Promise<void>;
  remove(key: ShardKey): Promise<void>;
  /** Runs an operation whose appends may use the room that is kept back from shards. */
  essential<T>(operation: () => Promise<T>): Promise<T>;
  report(line: string): void;
}

export class DiskUpkeep {
  readonly #disk: UpkeepDisk;
  #running: Promise<unknown> = Promise.resolve();
  readonly #copying = new Set<string>();
  #copied: Promise<unknown> = Promise.resolve();
  readonly #removing = new Set<string>();

  constructor(disk: UpkeepDisk) {
    this.#disk = disk;
  }

  /**
   * Runs a removal. A tombstone covers only the record that it was made for, so a key is never copied while it is being
   * removed nor removed while it is being copied: the copy would bring it back.
   */
  async removing(key: ShardKey, removal: () => Promise<void>): Promise<void> {
    const name = keyName(key);
    while (this.#copying.has(name)) await this.#copied;
    this.#removing.add(name);
    try {
      await removal();
    } finally {
      this.#removing.delete(name);
    }
  }

  /** The record of this key that is being written is a copy, and its original about to go. */
  isCopying(key: ShardKey): boolean {
    return this.#copying.has(keyName(key));
  }

  releaseCommits(throughSequence: number): Promise<void> {
    return this.#inTurn(() => this.#releaseCommits(throughSequence));
  }

  reclaim(liveShare: number, enoughBytes: number): Promise<number> {
    return this.#inTurn(() => this.#reclaim(liveShare, enoughBytes));
  }

  async idle(): Promise<void> {
    await this.#running;
  }

  #inTurn<T>(operation: () => Promise<T>): Promise<T> {
    const turn = this.#running.then(() => this.#disk.essential(operation));
    this.#running = turn.catch(() => {});
    return turn;
  }

  async #releaseCommits(throughSequence: number): Promise<void> {
    const { journal, journalState } = this.#disk;
    const last = journal.segments().at(-1)?.segment ?? 0;
    const newestInLast = journalState.newestBySegment().get(last);
    if (newestInLast !== undefined && newestInLast <= throughSequence) await this.#rollIfHalfFull(journal);
    const sealed = await this.#settledSegments(journal);
    const newest = journalState.newestBySegment();
    for (const { segment } of sealed) {
      if ((newest.get(segment) ?? 0) <= throughSequence) await this.#free(journal, segment);
    }
  }

  async #reclaim(liveShare: number, enoughBytes: number): Promise<number> {
    const { data, journal, journalState } = this.#disk;
    let freed = 0;
    const sealedJournal = await this.#settledSegments(journal);
    const withCommits = journalState.newestBySegment();
    for (const { segment } of sealedJournal) {
      if (withCommits.has(segment) || this.#liveBytes(segment) > 0) continue;
      await this.#free(journal, segment);
      freed += journal.options.segmentBytes;
    }
    const last = data.segments().at(-1);
    if (last !== undefined && this.#liveBytes(last.segment) < liveShare * last.usedBytes)
      await this.#rollIfHalfFull(data);
    const candidates = (await this.#settledSegments(data))
      .map(({ segment }) => ({ segment, live: this.#liveBytes(segment) }))
      // Of the file, not of what was written into it: the end that a segment was left with is dead too.
      .filter(({ live }) => live === 0 || live < liveShare * data.options.segmentBytes)
      .sort((a, b) => a.live - b.live);
    for (const { segment, live } of candidates) {
      if (freed >= enoughBytes) break;
      if (this.#disk.index.named.inSegment(segment).some(({ kind }) => kind === 'snapshot')) continue;
      try {
        await this.#free(data, segment);
      } catch (error) {
        // No room for more copies: what was freed so far may have made some for the next time.
        if (hasCode(error, 'NO_SPACE')) break;
        throw error;
      }
      freed += data.options.segmentBytes - live;
    }
    return freed;
  }

  /** The segments that take no more records, of which all writes have ended and are known to the index. */
  async #settledSegments(log: AppendLog): Promise<readonly { segment: number; usedBytes: number }[]> {
    const sealed = log.segments().slice(0, -1);
    await this.#disk.sync();
    return sealed;
  }

  #liveBytes(segment: number): number {
    const { shards, named } = this.#disk.index;
    return shards.segmentBytes(segment) + named.segmentBytes(segment);
  }

  async #rollIfHalfFull(log: AppendLog): Promise<void> {
    const { usedBytes } = log.segments().at(-1) ?? { usedBytes: 0 };
    if (usedBytes < log.options.segmentBytes / 2) return;
    try {
      await log.roll();
    } catch (error) {
      if (!hasCode(error, 'NO_SPACE')) throw error;
    }
  }

  async #free(log: AppendLog, segment: number): Promise<void> {
    const { index, journalState } = this.#disk;
    const copied = await this.#copyShards(log, segment);
    await this.#copySlots(log, segment);
    await this.#copyTombstones(segment);
    // What replaced the segment's records has to be durable before they go; and the index should not speak of a segment that is gone.
    await this.#disk.sync();
    index.flush();
    if (this.#liveBytes(segment) > 0) {
      // A record in it was being removed. The originals of the copies lie there for now.
      if (copied.length > 0) await this.#disk.journal.append(copied.map(tombstoneOf), { sync: false });
      return;
    }
    await log.release(segment);
    journalState.drop(segment);
  }

  /** Returns the originals of what was copied. */
  async #copyShards(log: AppendLog, segment: number): Promise<IndexedShard[]> {
    const { index } = this.#disk;
    let batch: { shard: IndexedShard; payload: Uint8Array }[] = [];
    let bytes = 0;
    const copied: IndexedShard[] = [];
    for (const shard of index.shards.inSegment(segment)) {
      try {
        const { payload } = await log.reader.read(shard);
        batch.push({ shard, payload });
        bytes += payload.length;
      } catch (error) {
        if (!hasCode(error, 'CORRUPT')) throw error;
        this.#disk.report(`shard ${shard.shard} of chunk ${shard.chunk} is lost here: ${error.message}`);
        // Unless it has been written anew meanwhile.
        if (index.shards.get(shard)?.logSequence === shard.logSequence) await this.#disk.remove(shard);
      }
      if (bytes < Math.min(COPY_BATCH_BYTES, COPY_BATCH_SHARE * log.options.segmentBytes)) continue;
      copied.push(...(await this.#append(batch)));
      batch = [];
      bytes = 0;
    }
    copied.push(...(await this.#append(batch)));
    return copied;
  }

  async #append(batch: readonly { shard: IndexedShard; payload: Uint8Array }[]): Promise<IndexedShard[]> {
    const { index, data } = this.#disk;
    const live = batch.filter(
      ({ shard }) => !this.#removing.has(keyName(shard)) && index.shards.get(shard)?.logSequence === shard.logSequence,
    );
    for (const { shard } of live) this.#copying.add(keyName(shard));
    const copied = data.append(
      live.map(({ shard, payload }): RecordInput => {
        const { bucket, chunk, shard: number, scheme, chunkBytes, compression, shardBytes } = shard;
        return {
          kind: 'shard',
          info: { bucket, chunk, shard: number, scheme, chunkBytes, compression, shardBytes },
          payload: [payload],
        };
      }),
      { sync: false },
    );
    const done = (): void => this.#copying.clear();
    this.#copied = copied.then(done, done);
    await copied;
    await this.#copied;
    return live.map(({ shard }) => shard);
  }

  async #copySlots(log: AppendLog, segment: number): Promise<void> {
    const { index, data } = this.#disk;
    for (const record of index.named.inSegment(segment)) {
      if (record.kind !== 'slot') continue;
      const { payload } = await log.reader.read(record);
      const { kind, bucket, path, version } = record;
      await data.append([{ kind, bucket, path, version, payload: [payload] }], { sync: false });
    }
  }

  async #copyTombstones(segment: number): Promise<void> {
    const { data, journal, journalState } = this.#disk;
    const needed = journalState
      .tombstones(segment)
      .filter(
        ({ targetSegment }) => targetSegment !== segment && (data.has(targetSegment) || journal.has(targetSegment)),
      );
    if (needed.length > 0) await journal.append(needed, { sync: false });
  }
}

function keyName({ bucket, chunk, shard }: ShardKey): string {
  return `${bucket}/${chunk}/${shard}`;
}
