/**
 * Brings chunks home: to where the present map wants their shards (`Placement`), from wherever an older map, or the loss of a disk, has left them.
 *
 * Nothing is remembered from one call to the next: what is to be done follows from the map and from what the disks hold. So a crash at any point, another change of
 * the map in the middle of one, a disk that comes or goes meanwhile: the next call just finds what is still to be done.
 *
 * Order, for every chunk: all that its home lacks is written; it is synced; only then what lies elsewhere is removed, and only what is at home a second time. So at every
 * moment a complete old or a complete new set of shards is on different disks, and the chunk can lose as many disks as ever. Where a home cannot be completed (a
 * disk of it is away), a shard's old place goes only if its new one shares its disk with no other shard that has no other place.
 *
 * A shard is moved by copying it, verified as it is read, where it can be read; else it is made from the others. A chunk whose group is no more, or has another
 * scheme, is read (and checked against its name) and stored whole in another group. Of a compressed chunk what it was compressed to is moved and stored, as it is.
 */
import type { Disk } from '../disks/disk.js';
import type { RecordInput, ShardEntry, ShardInfo } from '../disks/record.js';
import { assert, CairnError, hasCode } from '../errors/cairn-error.js';
import type { ChunkToSettle, SettleReport } from './chunk-store.js';
import { SMALL_CHUNK_BYTES } from './chunk-store.js';
import type { Home, Placement, Plan } from './placement.js';
import { type Disks, fits, type Holder, locate, type ShardSet } from './shard-set.js';

/** Chunks read or made at the same time, each with memory for one and its parity. */
const AT_ONCE = 6;
/** Payload that is gathered for one append. */
const APPEND_BYTES = 4 * 1024 * 1024;

export interface SettlerStore {
  readonly disks: Disks;
  placement(): Placement;
  read(chunk: string, chunkBytes: number): Promise<Uint8Array>;
  /**
   * Writes the shards of a plan from others of the set, in worker threads: moved as they are where they can be read, else made from as many as are needed, of a chunk that has its name then.
   * undefined, and nothing written, if they cannot (of a compressed chunk: UNREADABLE). Else as `write`.
   */
  writeFromSet(set: ShardSet, chunk: string, plan: Plan): Promise<number | undefined>;
  /** Writes the shards of a plan from the whole chunk. Returns the bytes written; fewer shards than planned may have been. */
  write(chunk: string, bytes: Uint8Array, plan: Plan): Promise<number>;
}

interface Tally {
  writtenBytes: number;
  removedShards: number;
  unfinished: number;
  unreadable: string[];
}

export class ChunkSettler {
  readonly #store: SettlerStore;

  constructor(store: SettlerStore) {
    this.#store = store;
  }

  /** The chunks are held, and written by nobody else, until it resolves. */
  async settle(chunks: readonly ChunkToSettle[]): Promise<SettleReport> {
    const tally: Tally = { writtenBytes: 0, removedShards: 0, unfinished: 0, unreadable: [] };
    const appends = new Appends(tally);
    const queue = [...chunks];
    const work = async (): Promise<void> => {
      for (let next = queue.pop(); next !== undefined; next = queue.pop()) await this.#bring(next, appends, tally);
    };
    const results = await Promise.allSettled(Array.from({ length: AT_ONCE }, work));
    await appends.flush();
    for (const result of results) if (result.status === 'rejected') throw result.reason;
    // What stands before the sync is durable after it, on the disks that are online then.
    const homes = chunks.map(({ chunk, chunkBytes }) => this.#home(this.#locate(chunk, chunkBytes)));
    const synced = await this.#sync(homes);
    const removals: Promise<void>[] = [];
    chunks.forEach(({ chunk, chunkBytes }, i) => {
      const home = homes[i];
      if (home?.isComplete !== true) tally.unfinished++;
      if (home === undefined) return;
      for (const { disk, entry } of obsolete(home, this.#locate(chunk, chunkBytes), synced))
        removals.push(remove(disk, entry, tally));
    });
    await Promise.all(removals);
    return tally;
  }

  isSettled(chunk: string, chunkBytes: number): boolean {
    const sets = this.#locate(chunk, chunkBytes);
    const home = this.#home(sets);
    if (home?.isComplete !== true || sets.length > 1) return false;
    return home.set.holders.every((holders) => holders.filter(({ disk }) => disk.state === 'online').length === 1);
  }

  /** Writes what the chunk's home lacks. */
  async #bring({ chunk, chunkBytes }: ChunkToSettle, appends: Appends, tally: Tally): Promise<void> {
    const sets = this.#locate(chunk, chunkBytes);
    const home = this.#home(sets);
    if (home?.isComplete === true) return;
    if (home === undefined && !sets.some(({ readable }) => readable)) {
      tally.unreadable.push(chunk);
      return;
    }
    const placement = this.#store.placement();
    const source = home?.set ?? sets.find(({ readable }) => readable)!;
    const plan = home === undefined ? this.#wholePlan(chunk, source, sets) : placement.completing(home);
    if (plan === undefined || plan.places.length === 0) return;
    let bytes: Uint8Array;
    try {
      const isSmallCopy = chunkBytes <= SMALL_CHUNK_BYTES && !source.scheme.erasure;
      if (home !== undefined && isSmallCopy && (await copySmall(source, chunk, plan, appends))) return;
      if ((home !== undefined && !isSmallCopy) || source.compression !== undefined) {
        const writtenBytes = await this.#store.writeFromSet(source, chunk, plan);
        tally.writtenBytes += writtenBytes ?? 0;
        if (writtenBytes !== undefined) return;
      }
      bytes = await this.#store.read(chunk, chunkBytes);
    } catch (error) {
      if (!hasCode(error, 'UNREADABLE')) throw error;
      tally.unreadable.push(chunk);
      return;
    }
    assert(plan.compression === undefined, 'what is compressed has been written from what it was compressed to');
    if (chunkBytes > SMALL_CHUNK_BYTES) {
      const writtenBytes = await this.#store.write(chunk, bytes, plan);
      tally.writtenBytes += writtenBytes;
      return;
    }
    for (const { shard, bucket, disk } of plan.places) {
      const { scheme, compression } = plan;
      const info: ShardInfo = { bucket, chunk, shard, scheme, chunkBytes, compression, shardBytes: chunkBytes };
      await appends.add(disk, info, bytes);
    }
  }

  #wholePlan(chunk: string, { chunkBytes, compression }: ShardSet, sets: readonly ShardSet[]): Plan | undefined {
    const buckets = sets.flatMap(({ holders }) => holders.flat().map(({ entry }) => entry.bucket));
    const placement = this.#store.placement();
    const asked = placement.askedOf(sets);
    const plan = asked && placement.whole(chunk, chunkBytes, buckets, { compression, asked });
    // Disks that cannot keep it so any more keep it as everything else.
    return plan ?? placement.whole(chunk, chunkBytes, buckets, { compression, asked: undefined });
  }

  /** Of the sets of shards that the disks hold, the one that is most at home. */
  #home(sets: readonly ShardSet[]): Home | undefined {
    const placement = this.#store.placement();
    let best: Home | undefined;
    for (const set of sets) {
      const home = placement.homeOf(set);
      // A few shards that a crash has left of a whole chunk do not make it readable: they serve only where the others are made from.
      if (home === undefined || (!set.readable && sets.some(({ readable }) => readable))) continue;
      if (best === undefined || rank(home) > rank(best)) best = home;
    }
    return best;
  }

  #locate(chunk: string, chunkBytes: number): ShardSet[] {
    return locate(this.#store.disks, chunk).filter((set) => set.chunkBytes === chunkBytes);
  }

  /** The disks of which all that was written is durable. */
  async #sync(homes: readonly (Home | undefined)[]): Promise<ReadonlySet<Disk>> {
    const disks = new Set(homes.flatMap((home) => [...(home?.standing.values() ?? [])].map(({ disk }) => disk)));
    const synced = new Set<Disk>();
    await Promise.all(
      [...disks].map(async (disk) => {
        try {
          await disk.sync();
          if (disk.state === 'online') synced.add(disk);
        } catch (error) {
          // The disk says so itself: nothing of it counts as standing.
          if (!(error instanceof CairnError)) throw error;
        }
      }),
    );
    return synced;
  }
}

/** Records on their way to the disks, gathered into appends of a few MiB. A disk that fails a write says so itself, and its chunks are found unfinished. */
class Appends {
  readonly #tally: Tally;
  readonly #waiting = new Map<Disk, { records: RecordInput[]; bytes: number }>();

  constructor(tally: Tally) {
    this.#tally = tally;
  }

  async add(disk: Disk, info: ShardInfo, payload: Uint8Array): Promise<void> {
    const waiting = this.#waiting.get(disk) ?? { records: [], bytes: 0 };
    this.#waiting.set(disk, waiting);
    waiting.records.push({ kind: 'shard', info, payload: [payload] });
    waiting.bytes += payload.length;
    if (waiting.bytes >= APPEND_BYTES) await this.#flush(disk);
  }

  async flush(): Promise<void> {
    await Promise.all([...this.#waiting.keys()].map((disk) => this.#flush(disk)));
  }

  async #flush(disk: Disk): Promise<void> {
    const waiting = this.#waiting.get(disk);
    if (waiting === undefined) return;
    this.#waiting.delete(disk);
    try {
      await disk.append('data', waiting.records, { sync: false });
      this.#tally.writtenBytes += waiting.bytes;
    } catch (error) {
      if (!hasCode(error, 'DISK_FAILED', 'NO_SPACE')) throw error;
    }
  }
}

/** Copies the plan's copies of a small chunk from where there are others; false if none can be read. */
async function copySmall(set: ShardSet, chunk: string, plan: Plan, appends: Appends): Promise<boolean> {
  const copies: { disk: Disk; info: ShardInfo; payload: Uint8Array }[] = [];
  for (const { shard, bucket, disk } of plan.places) {
    const payload = await readAny(set.holders.flat());
    if (payload === undefined) return false;
    const { scheme, compression, shardBytes } = plan;
    const { chunkBytes } = set;
    copies.push({ disk, info: { bucket, chunk, shard, scheme, chunkBytes, compression, shardBytes }, payload });
  }
  for (const { disk, info, payload } of copies) await appends.add(disk, info, payload);
  return true;
}

async function readAny(holders: readonly Holder[]): Promise<Uint8Array | undefined> {
  for (const { disk, entry } of holders) {
    try {
      return await disk.readShard(entry, 0, entry.shardBytes);
    } catch (error) {
      if (!(error instanceof CairnError)) throw error;
    }
  }
  return undefined;
}

/** What may go now: everything else of a chunk whose home is complete; of one whose home is not, shards that stand there as safely as they did. */
function obsolete(home: Home, sets: readonly ShardSet[], synced: ReadonlySet<Disk>): Holder[] {
  const { set, standing, isComplete } = home;
  const isDurable = (holder: Holder): boolean =>
    synced.has(holder.disk) &&
    holder.disk.state === 'online' &&
    holder.disk.find(holder.entry.bucket, holder.entry.chunk).some(({ shard }) => shard === holder.entry.shard);
  if (![...standing.values()].every(isDurable)) return [];
  const standsAt = new Set([...standing.values()].map(({ disk, entry }) => placeName(disk, entry)));
  const lonely = new Set<Disk>();
  set.holders.forEach((holders, shard) => {
    if (!standing.has(shard)) for (const { disk } of holders) lonely.add(disk);
  });
  return sets.flatMap((other) =>
    other.holders.flatMap((holders, shard) => {
      if (!isComplete) {
        const stands = fits(other, set) ? standing.get(shard) : undefined;
        if (stands === undefined || lonely.has(stands.disk)) return [];
      }
      return holders.filter(({ disk, entry }) => !standsAt.has(placeName(disk, entry)));
    }),
  );
}

/** The record is forgotten where the disk takes that; one that only reads keeps it, as it keeps everything. */
async function remove(disk: Disk, entry: ShardEntry, tally: Tally): Promise<void> {
  try {
    await disk.remove(entry);
    tally.removedShards++;
  } catch (error) {
    if (!hasCode(error, 'DISK_FAILED', 'NO_SPACE')) throw error;
  }
}

/** Of two complete ones the one that survives more: the other's shards go. */
function rank({ isComplete, standing, set }: Home): number {
  return (isComplete ? 2 + set.survives : 0) + standing.size / (set.codec.shards + 1);
}

function placeName(disk: Disk, { bucket, shard }: ShardEntry): string {
  return `${disk.identity.number}/${bucket}/${shard}`;
}
