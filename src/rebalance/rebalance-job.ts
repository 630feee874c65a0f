/**
 * The job that makes the disks hold what the diskmap says: after a disk was added, replaced or removed, and when a change that a crash interrupted goes on.
 *
 * It walks each disk once in the order in which its shards lie, and brings home the chunks that are not (`chunks/chunk-settler.ts`). That a disk is to be
 * emptied, rebuilt or filled makes no difference to it. The cursor only saves looking again at what has been looked at: what is to be done follows
 * from the map and the disks. A pass ends with another one while there is something left and the last one got anywhere: shards may be written to an old place by a
 * commit that was under way when the map changed, and room may come free only as others move.
 *
 * While a disk that is to be emptied is away, every chunk is looked at, not only those in the wrong places: what that disk had is made from the others.
 */
import type { ChunkStore, ChunkToSettle, SettleReport } from '../chunks/chunk-store.js';
import type { Disk } from '../disks/disk.js';
import type { RecordLocation, ShardEntry } from '../disks/record.js';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { JobContext, JobKind, Json } from '../jobs/job.js';

export const REBALANCE = 'rebalance';

/** Behind repair: what is at risk comes first. */
const RANK = 20;
/** Index rows looked at in one step. */
const SLICE = 128;
/** Chunk bytes and chunks settled in one step, with one sync of each disk at its end. */
const BATCH_BYTES = 64 * 1024 * 1024;
const BATCH_CHUNKS = 1024;
/** Segments with less live than this are emptied at the end of a disk's walk; then, while the disk has less than ROOM_SHARE of its capacity free, also those with more. */
const LIVE_SHARE = 0.5;
const TIGHT_SHARES = [0.65, 0.8, 0.95];
const ROOM_SHARE = 0.05;
/** What moves leaves dead records behind. A disk with less free than this, and as much dead, is tidied in between, so that users find room too. */
const TIDY_SHARE = 0.15;

export interface RebalancePool {
  readonly chunks: ChunkStore;
  /** Data disks that can be read, by number. */
  readable(): readonly Disk[];
  /** Numbers of disks that are to be emptied. */
  leaving(): readonly number[];
  /** Whether all that is left in the pool's map can be read and written: no disk is away but those that leave. */
  isWhole(): boolean;
  /** Bytes of shards that the disks lack, as far as it can be told without looking at each chunk. */
  lackingBytes(): number;
  /** Gives back what no file names, also shards that an interrupted commit has left of a chunk, which cannot be moved and need not be. */
  collect(): Promise<void>;
  /** Everything is where it belongs: the others are made to know all commits, and these disks, of which nothing is needed any more, are let go of. */
  finish(gone: readonly number[]): Promise<void>;
}

interface Cursor {
  readonly disk: number;
  readonly after: RecordLocation;
}

interface Tally {
  moved: number;
  removed: number;
  unfinished: number;
  unreadable: Set<string>;
}

export class RebalanceJob implements JobKind {
  readonly name = REBALANCE;
  readonly rank = RANK;
  readonly #pool: RebalancePool;

  constructor(pool: RebalancePool) {
    this.#pool = pool;
  }

  /** Whether there is anything to do. */
  get isDue(): boolean {
    return this.#pool.leaving().length > 0 || this.#strayBytes() > 0;
  }

  async run(context: JobContext): Promise<Json> {
    const all = { writtenBytes: 0, removedShards: 0 };
    let cursor = cursorOf(context.cursor);
    let wasStuck = false;
    for (;;) {
      const rebuild = this.#isRebuild();
      context.total(all.writtenBytes + Math.max(this.#strayBytes(), rebuild ? this.#pool.lackingBytes() : 0));
      const tally = await this.#pass(context, cursor, rebuild);
      all.writtenBytes += tally.moved;
      all.removedShards += tally.removed;
      const isComplete = cursor === undefined;
      cursor = undefined;
      const left = this.#strayBytes();
      if (left === 0 && tally.unfinished === 0 && isComplete && !(this.#isRebuild() && !rebuild)) break;
      const isStuck = isComplete && tally.moved === 0 && tally.removed === 0 && (left > 0 || tally.unfinished > 0);
      if (isStuck && wasStuck) throw this.#stuck(left, tally);
      if (isStuck) {
        context.say('giving back what no file needs');
        await this.#pool.collect();
        await context.turn(0);
      }
      wasStuck = isStuck;
    }
    const gone = this.#pool.leaving();
    if (gone.length > 0) context.say(`letting go of disk ${gone.join(', ')}`);
    await this.#pool.finish(gone);
    return { ...all, retired: gone };
  }

  /** Over all disks, from the cursor on. */
  async #pass(context: JobContext, cursor: Cursor | undefined, rebuild: boolean): Promise<Tally> {
    const tally: Tally = { moved: 0, removed: 0, unfinished: 0, unreadable: new Set() };
    const disks = [...this.#pool.readable()].sort((a, b) => a.identity.number - b.identity.number);
    for (const disk of disks) {
      const { number } = disk.identity;
      if (cursor !== undefined && number < cursor.disk) continue;
      if (!rebuild && this.#pool.chunks.strayBytes(disk) === 0) continue;
      context.say(rebuild ? `rebuilding what is missing, from disk ${number}` : `moving what is on disk ${number}`);
      await this.#walk(context, disk, cursor?.disk === number ? cursor.after : undefined, rebuild, tally);
      await this.#reclaim([LIVE_SHARE]);
      await this.#reclaim(TIGHT_SHARES, ROOM_SHARE);
    }
    return tally;
  }

  async #walk(
    context: JobContext,
    disk: Disk,
    from: RecordLocation | undefined,
    rebuild: boolean,
    tally: Tally,
  ): Promise<void> {
    const { chunks } = this.#pool;
    const { number } = disk.identity;
    let after = from;
    let batch = new Map<string, ChunkToSettle>();
    let bytes = 0;
    const settle = async (): Promise<void> => {
      const report = await this.#settle([...batch.values()], tally);
      batch = new Map();
      bytes = 0;
      await context.turn(report.writtenBytes, after && { disk: number, after: placeOf(after) });
    };
    while (disk.state !== 'offline') {
      const entries = disk.walk(after, SLICE);
      for (const entry of entries) {
        if (isDue(chunks, entry, rebuild) && !batch.has(entry.chunk)) {
          batch.set(entry.chunk, { chunk: entry.chunk, chunkBytes: entry.chunkBytes });
          bytes += entry.chunkBytes;
        }
        after = entry;
        if (bytes >= BATCH_BYTES || batch.size >= BATCH_CHUNKS) await settle();
      }
      if (entries.length < SLICE) break;
      // What is to be settled still lies before the place.
      await context.turn(0, batch.size === 0 && after ? { disk: number, after: placeOf(after) } : undefined);
    }
    await settle();
  }

  /** Where something found no room, the room of what has been moved is given back, and it is tried once more. */
  async #settle(batch: readonly ChunkToSettle[], tally: Tally): Promise<SettleReport> {
    const { chunks } = this.#pool;
    let report = await chunks.settle(batch);
    if (report.unfinished > report.unreadable.length && this.#pool.isWhole()) {
      await this.#reclaim([LIVE_SHARE, ...TIGHT_SHARES]);
      const again = await chunks.settle(batch);
      report = {
        ...again,
        writtenBytes: report.writtenBytes + again.writtenBytes,
        removedShards: report.removedShards + again.removedShards,
      };
    }
    await this.#tidy();
    tally.moved += report.writtenBytes;
    tally.removed += report.removedShards;
    tally.unfinished += report.unfinished;
    for (const chunk of report.unreadable) tally.unreadable.add(chunk);
    return report;
  }

  async #tidy(): Promise<void> {
    const isUntidy = this.#pool.readable().some((disk) => {
      const { freeBytes, capacityBytes, segmentBytes, liveBytes } = disk.space();
      const least = TIDY_SHARE * capacityBytes;
      return disk.state === 'online' && freeBytes < least && segmentBytes - liveBytes > least;
    });
    if (isUntidy) await this.#reclaim([LIVE_SHARE, ...TIGHT_SHARES], TIDY_SHARE);
  }

  /** On disks with less than `roomShare` free, with ever fuller segments until that much is. */
  async #reclaim(liveShares: readonly number[], roomShare = 1): Promise<void> {
    for (const disk of this.#pool.readable()) {
      for (const share of liveShares) {
        const { freeBytes, capacityBytes } = disk.space();
        if (disk.state !== 'online' || freeBytes >= roomShare * capacityBytes) break;
        try {
          await disk.reclaim(share);
        } catch (error) {
          // A disk that fails says so itself; without room for copies there is nothing to gain here.
          if (!hasCode(error, 'DISK_FAILED', 'NO_SPACE')) throw error;
        }
      }
    }
  }

  #strayBytes(): number {
    let bytes = 0;
    for (const disk of this.#pool.readable()) if (disk.state === 'online') bytes += this.#pool.chunks.strayBytes(disk);
    return bytes;
  }

  /** Whether some disk that is to be emptied cannot be asked what it has. */
  #isRebuild(): boolean {
    const readable = new Set(this.#pool.readable().map(({ identity }) => identity.number));
    return this.#pool.leaving().some((number) => !readable.has(number));
  }

  #stuck(leftBytes: number, { unfinished, unreadable }: Tally): CairnError {
    const left = leftBytes > 0 ? `${leftBytes} bytes are not where they belong` : `${unfinished} chunks are not whole`;
    if (!this.#pool.isWhole())
      return new CairnError('DISK_FAILED', `${left}, and a disk that is needed for it is away`, {
        hint: 'bring the disk back, or replace it; it goes on by itself then',
      });
    if (unreadable.size > 0)
      return new CairnError('UNREADABLE', `${unreadable.size} chunks cannot be read, so they cannot be moved`, {
        hint: 'see `cairn fsck` for their files; bring back the disk that has them, or delete the files',
      });
    return new CairnError('NO_SPACE', `${left}, and the other disks have no room`, {
      hint: 'delete files or add a disk, then `cairn job resume POOL rebalance`',
    });
  }
}

function isDue(chunks: ChunkStore, entry: ShardEntry, rebuild: boolean): boolean {
  return !chunks.isHome(entry) || (rebuild && !chunks.isSettled(entry.chunk, entry.chunkBytes));
}

function placeOf({ segment, position, recordBytes }: RecordLocation): { [key: string]: number } {
  return { segment, position, recordBytes };
}

/** Whatever else a kept cursor says: from the start. */
function cursorOf(kept: Json | undefined): Cursor | undefined {
  if (typeof kept !== 'object' || kept === null || Array.isArray(kept)) return undefined;
  const { disk, after } = kept as Record<string, Json>;
  if (typeof disk !== 'number' || typeof after !== 'object' || after === null) return undefined;
  const { segment, position, recordBytes } = after as Record<string, Json>;
  if (typeof segment !== 'number' || typeof position !== 'number' || typeof recordBytes !== 'number') return undefined;
  return { disk, after: { segment, position, recordBytes } };
}
