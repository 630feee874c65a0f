/**
 * The ChunkStore over the disks of one pool. Invariants: a chunk is answered as stored only when at least as many shards as reading needs
 * have been written; two stores of the same content at once write it once, and neither answers before it is written; a disk that fails is
 * told so (abandon) and never stops the others.
 */
import { createRanking, type DiskMap, schemeSurvives } from '../../diskmap/index.js';
import type { Disk } from '../disks/disk.js';
import type { Compression, ShardInfo } from '../disks/record.js';
import { assert, CairnError, hasCode } from '../errors/cairn-error.js';
import { type Clock, SystemClock } from '../io/clock.js';
import { BlockCache } from './block-cache.js';
import { readRange, readStored, readWhole } from './chunk-reader.js';
import { ChunkSettler } from './chunk-settler.js';
import { ChunkSpaces } from './chunk-space.js';
import {
  type ChunkHealth,
  type ChunkPolicy,
  type ChunkScheme,
  type ChunkSource,
  type ChunkStore,
  type ChunkToSettle,
  MAX_CHUNK_BYTES,
  type Mended,
  type MendOptions,
  type PreparedChunk,
  type SettleReport,
  SMALL_CHUNK_BYTES,
  type StoredChunk,
  type WholeChunk,
} from './chunk-store.js';
import { pays } from './compressed-chunk.js';
import { compressionFor, compressionOf, orPlain, payloadFor } from './compressing.js';
import { contentHash } from './content-hash.js';
import { HeldChunks } from './held-chunks.js';
import type { ChunkJob, Pipeline } from './pipeline.js';
import { Placement, type Plan } from './placement.js';
import { PoolSlots } from './pool-slots.js';
import { ReadPace } from './read-pace.js';
import { type Disks, type Holder, isOfLaterVersion, locate, type ShardSet } from './shard-set.js';
import { Outcome, ShardWriter } from './shard-writer.js';
import { aborted } from './slot-queue.js';
import { type SmallChunk, sliceBytes, slices, writeSlice } from './small-writer.js';
import { rewriteShard, type WrongShard, wrongShards } from './wrong-shards.js';

interface PoolChunkStoreOptions {
  readonly map: DiskMap;
  readonly disks: Disks;
  /** Closed with the store. */
  readonly pipeline: Pipeline;
  /** The chunk is stored, or was found stored, with fewer shards than there should be; perhaps it is completed at once. */
  readonly onShort?: (chunk: string) => void;
  /** Default: that of the system. */
  readonly clock?: Clock;
  /** The disk answers so slowly that readers ask the others. */
  readonly onSlowDisk?: (disk: number) => void;
  /** A read had to do without a shard of this chunk, for a later repair. `disk`: whose shard could not be read; undefined if no disk that is there has it. */
  readonly onDegradedRead?: (chunk: string, disk: number | undefined) => void;
}

interface PlanOptions {
  /** Disks that just failed. */
  readonly avoid?: ReadonlySet<Disk>;
  /** The scheme that is asked for. */
  readonly scheme?: ChunkScheme | undefined;
  /** What the chunk has been compressed to. */
  readonly compression?: Compression | undefined;
  /** What the disks have of it does not count. */
  readonly isAnew?: boolean;
}

const NONE: ReadonlySet<Disk> = new Set();
/** Of a compressed chunk a read of more is unpacked in a worker thread. */
const UNPACKED_HERE_BYTES = 512 * 1024;
/** Chunks that are kept in mind as unreadable. */
const UNREADABLE_MAX = 16_384;
/** Of more, what is outgrown stays until the chunk goes or the disks change. */
const OUTGROWN_MAX = 65_536;

export class PoolChunkStore implements ChunkStore {
  readonly #disks: Disks;
  readonly #pipeline: Pipeline;
  readonly #settler: ChunkSettler;
  #placement: Placement;
  #slots: PoolSlots;
  readonly #pace: ReadPace;
  readonly #writer: ShardWriter;
  readonly #spaces: ChunkSpaces;
  readonly #blocks: BlockCache;
  readonly #onDegradedRead: (chunk: string, disk: number | undefined) => void;
  readonly #onShort: (chunk: string) => void;
  /** Chunks being written now. */
  readonly #writing = new Map<string, Promise<void>>();
  readonly #held = new HeldChunks();
  /** Chunks being removed now. */
  readonly #collecting = new Set<string>();
  #collected: Promise<unknown> = Promise.resolve();
  /** Chunks that could not be read, though enough shards seemed to be there: the same content is written anew, and never answered as held. */
  readonly #unreadable = new Set<string>();
  #map: DiskMap;
  #asked: readonly ChunkScheme[] = [];
  /** Chunk → its length. */
  readonly #outgrown = new Map<string, number>();
  #takenBytes = 0;
  #closed = false;

  constructor(options: PoolChunkStoreOptions) {
    this.#disks = options.disks;
    this.#pipeline = options.pipeline;
    this.#map = options.map;
    this.#placement = new Placement(options.map, createRanking(options.map), options.disks);
    this.#slots = new PoolSlots(this.#placement);
    const clock = options.clock ?? new SystemClock();
    this.#pace = new ReadPace(clock, options.onSlowDisk);
    this.#spaces = new ChunkSpaces(clock, (space) => this.#pipeline.forget(space));
    this.#blocks = new BlockCache(clock);
    this.#settler = new ChunkSettler({
      disks: this.#disks,
      placement: () => this.#placement,
      read: (chunk, chunkBytes) => this.read(chunk, chunkBytes, 0, chunkBytes),
      write: async (chunk, bytes, plan) => {
        const outcome = new Outcome();
        await this.#writer.writeStored(bytes, { chunk, chunkBytes: bytes.length }, plan, outcome);
        return outcome.written.length * plan.shardBytes;
      },
      writeFromSet: async (set, chunk, plan) => {
        const outcome = new Outcome();
        const isDone = await this.#writer.writeFromSet(set, chunk, plan, outcome);
        return isDone ? outcome.written.length * plan.shardBytes : undefined;
      },
    });
    this.#onDegradedRead = options.onDegradedRead ?? (() => {});
    this.#onShort = options.onShort ?? (() => {});
    this.#writer = new ShardWriter(this.#means, this.#onShort);
  }

  get takenBytes(): number {
    return this.#takenBytes;
  }

  async store(
    source: ChunkSource,
    onRead: () => void,
    signal?: AbortSignal,
    asked?: ChunkPolicy,
  ): Promise<StoredChunk> {
    this.#refuseIfClosed();
    const job = await this.#pipeline.take(source, onRead, signal);
    const { chunk, chunkBytes } = job;
    try {
      // From here on nothing is cancelled: others may be waiting for this chunk.
      if (signal?.aborted) throw aborted(signal);
      while (this.#collecting.has(chunk)) await this.#collected;
      if (asked?.scheme !== undefined) await this.#unwritten([chunk]);
      this.#refuseIfClosed();
      this.#held.hold(chunk);
      const deduplicated = await this.#once(chunk, () => this.#write(job, asked)).catch((error: unknown) => {
        this.release([chunk]);
        throw error;
      });
      this.#takenBytes += chunkBytes;
      return { chunk, chunkBytes, deduplicated };
    } finally {
      job.end();
    }
  }

  /** Whoever writes one of them now may write it under a scheme that survives less than is asked for. */
  async #unwritten(chunks: readonly string[]): Promise<void> {
    for (let busy = chunks.find((chunk) => this.#writing.has(chunk)); busy !== undefined; ) {
      // He has his own answer.
      await this.#writing.get(busy)?.catch(() => {});
      busy = chunks.find((chunk) => this.#writing.has(chunk));
    }
  }

  prepareSmall(bytes: Uint8Array, avoid: ReadonlySet<Disk> = NONE, asked?: ChunkPolicy): PreparedChunk {
    assert(bytes.length > 0 && bytes.length <= SMALL_CHUNK_BYTES, 'a small chunk has 1 byte to 64 KiB');
    const chunk = contentHash(bytes);
    assert(!this.#collecting.has(chunk), 'nothing is prepared while chunks are collected');
    const prepared = this.#prepare({ chunk, bytes, asked }, avoid);
    this.#held.hold(chunk);
    this.#takenBytes += bytes.length;
    return prepared;
  }

  #prepare({ chunk, bytes, compressed, asked }: SmallChunk, avoid: ReadonlySet<Disk>): PreparedChunk {
    const chunkBytes = bytes.length;
    const plan = this.#plan(chunk, chunkBytes, {
      avoid,
      scheme: asked?.scheme,
      compression: compressed && compressionOf(compressed.length),
    });
    const payload = plan && payloadFor(plan.compression, bytes, compressed);
    if (!plan || !payload) {
      // Copies of other bytes stand than this version compresses it to: repair makes more of these.
      if (plan) this.#onShort(chunk);
      return { chunk, chunkBytes, deduplicated: true, records: [], asked };
    }
    const { scheme, compression, shardBytes } = plan;
    const records = plan.places.map(({ shard, bucket, disk }) => {
      const info: ShardInfo = { bucket, chunk, shard, scheme, chunkBytes, compression, shardBytes };
      return { disk, record: { kind: 'shard', info, payload: [payload] } as const };
    });
    return { chunk, chunkBytes, deduplicated: false, records, asked };
  }

  async storeSmall(
    sources: readonly Uint8Array[],
    signal?: AbortSignal,
    asked: readonly (ChunkPolicy | undefined)[] = [],
  ): Promise<StoredChunk[]> {
    const stored: StoredChunk[] = [];
    for (const [from, to] of slices(sources, this.#sliceBytes)) {
      if (from > 0) await new Promise(setImmediate);
      if (signal?.aborted) throw aborted(signal);
      this.#refuseIfClosed();
      try {
        stored.push(...(await this.#storeSlice(sources.slice(from, to), asked.slice(from, to))));
        for (const bytes of sources.slice(from, to)) this.#takenBytes += bytes.length;
      } catch (error) {
        this.release(stored.map(({ chunk }) => chunk));
        throw error;
      }
    }
    return stored;
  }

  read(chunk: string, chunkBytes: number, from: number, to: number): Promise<Uint8Array> {
    return this.#read(chunk, chunkBytes, from, to, this.#onDegradedRead);
  }

  async #read(
    chunk: string,
    chunkBytes: number,
    from: number,
    to: number,
    onDegraded: (chunk: string, disk: number | undefined) => void,
  ): Promise<Uint8Array> {
    assert(0 <= from && from <= to && to <= chunkBytes, 'the range lies in the chunk');
    if (from === to) return Buffer.alloc(0);
    // Who reads all of it wants to know what the disks have.
    const unpacked = to - from < chunkBytes ? this.#blocks.find(chunk, from, to) : undefined;
    if (unpacked !== undefined) return unpacked;
    const onMissing = (_shard: number, disk: number | undefined): void => onDegraded(chunk, disk);
    return this.#readFrom(chunk, chunkBytes, async (set) => {
      if (set.compression !== undefined && to - from > UNPACKED_HERE_BYTES) {
        const whole = await readWhole(set, chunk, this.#means, onMissing);
        this.#unreadable.delete(chunk);
        const bytes = new Uint8Array(whole.bytes.subarray(from, to));
        whole.release();
        return bytes;
      }
      const bytes = await readRange(set, chunk, from, to, onMissing, { pace: this.#pace, blocks: this.#blocks });
      if (bytes.length === chunkBytes) this.#unreadable.delete(chunk);
      return bytes;
    });
  }

  readWhole(chunk: string, chunkBytes: number): Promise<WholeChunk> {
    const onMissing = (_shard: number, disk: number | undefined): void => this.#onDegradedRead(chunk, disk);
    return this.#readFrom(chunk, chunkBytes, async (set) => {
      const whole = await readWhole(set, chunk, this.#means, onMissing);
      this.#unreadable.delete(chunk);
      return whole;
    });
  }

  /** Reads from what the disks hold of the chunk, the best first. UNREADABLE if none of it will do. */
  async #readFrom<T>(chunk: string, chunkBytes: number, read: (set: ShardSet) => Promise<T>): Promise<T> {
    assert(chunkBytes <= MAX_CHUNK_BYTES, 'a chunk has at most 4 MiB');
    let trouble: CairnError | undefined;
    // Twice: between the look-up and the read, a shard may have moved to another segment or another disk.
    for (let attempt = 0; attempt < 2; attempt++) {
      for (const set of this.#locate(chunk, chunkBytes)) {
        if (!set.readable) continue;
        try {
          return await read(set);
        } catch (error) {
          if (!hasCode(error, 'UNREADABLE')) throw error;
          trouble = error;
        }
      }
    }
    if (trouble !== undefined && this.#unreadable.size < UNREADABLE_MAX) this.#unreadable.add(chunk);
    throw this.#explain(chunk, chunkBytes, trouble);
  }

  async mend(chunk: string, chunkBytes: number, { verify = false }: MendOptions = {}): Promise<Mended> {
    while (this.#collecting.has(chunk)) await this.#collected;
    this.#held.hold(chunk);
    try {
      const done = { shardsWritten: 0, bytesWritten: 0, shardsWrong: 0 };
      let bytes: Uint8Array | undefined;
      // Whoever mends knows of the damage: it is not told once more.
      const read = async (): Promise<Uint8Array> => {
        bytes ??= await this.#read(chunk, chunkBytes, 0, chunkBytes, () => undefined);
        return bytes;
      };
      if (verify) {
        for (const wrong of await this.#wrongShards(chunk, await read())) {
          done.shardsWrong += 1;
          if (!(await rewriteShard(wrong))) continue;
          done.shardsWritten += 1;
          done.bytesWritten += wrong.right.length;
        }
      }
      const plan = this.#plan(chunk, chunkBytes);
      if (plan === undefined || plan.places.length === 0) return done;
      const { source } = plan;
      if (source !== undefined) {
        await this.#once(chunk, async () => {
          const outcome = new Outcome();
          await this.#writer.writeFromSet(source, chunk, plan, outcome);
          const { written } = outcome;
          if (written.length === 0)
            throw notTaken(new CairnError('DISK_FAILED', 'no disk could take the chunk'), outcome.cause);
          done.shardsWritten += written.length;
          done.bytesWritten += written.length * plan.shardBytes;
          return false;
        });
        return done;
      }
      const [stored] =
        chunkBytes <= SMALL_CHUNK_BYTES
          ? await this.storeSmall([await read()])
          : [await this.store({ kind: 'bytes', bytes: await read() }, () => undefined)];
      this.release([chunk]);
      if (stored?.deduplicated === false) {
        done.shardsWritten += plan.places.length;
        done.bytesWritten += plan.places.length * plan.shardBytes;
      }
      return done;
    } finally {
      this.release([chunk]);
    }
  }

  async wrongShards(chunk: string, bytes: Uint8Array): Promise<Holder[]> {
    return (await this.#wrongShards(chunk, bytes)).map(({ holder }) => holder);
  }

  #wrongShards(chunk: string, bytes: Uint8Array): Promise<WrongShard[]> {
    const sets = this.#locate(chunk, bytes.length);
    return wrongShards(sets, bytes, (set) => readStored(set, chunk, this.#means));
  }

  health(chunk: string): ChunkHealth {
    const set = locate(this.#disks, chunk)[0];
    if (!set) return { health: 'lost', scheme: '', shardsPresent: 0, shardsNeeded: 0, disks: [] };
    const numbers = new Set(set.holders.flat().map(({ number }) => number));
    return {
      health: set.healthy ? 'healthy' : set.readable ? 'degraded' : 'lost',
      scheme: set.name,
      shardsPresent: set.present,
      shardsNeeded: set.codec.needed,
      disks: [...numbers].sort((a, b) => a - b),
      compressed: set.compression && { chunkBytes: set.chunkBytes, storedBytes: set.storedBytes },
    };
  }

  useSchemes(asked: readonly ChunkScheme[]): void {
    this.#asked = asked;
    this.useMap(this.#map);
  }

  takeOutgrown(): ChunkToSettle[] {
    const outgrown = [...this.#outgrown].map(([chunk, chunkBytes]) => ({ chunk, chunkBytes }));
    this.#outgrown.clear();
    return outgrown;
  }

  useMap(map: DiskMap): void {
    this.#map = map;
    this.#placement = new Placement(map, createRanking(map), this.#disks, this.#asked);
    this.#slots = new PoolSlots(this.#placement);
  }

  isHome(shard: ShardInfo): boolean {
    return this.#placement.isHome(shard);
  }

  isSettled(chunk: string, chunkBytes: number): boolean {
    return this.#settler.isSettled(chunk, chunkBytes);
  }

  strayBytes(disk: Disk): number {
    let bytes = 0;
    for (const { bucket, liveBytes } of disk.buckets()) if (!this.#placement.knows(bucket)) bytes += liveBytes;
    return bytes;
  }

  async settle(chunks: readonly ChunkToSettle[]): Promise<SettleReport> {
    this.#refuseIfClosed();
    const isBusy = ({ chunk }: ChunkToSettle): boolean => this.#collecting.has(chunk) || this.#writing.has(chunk);
    for (let busy = chunks.find(isBusy); busy !== undefined; busy = chunks.find(isBusy)) {
      // Whoever writes it has its own answer.
      await (this.#writing.get(busy.chunk) ?? this.#collected).catch(() => {});
    }
    this.#refuseIfClosed();
    for (const { chunk } of chunks) this.#held.hold(chunk);
    const settling = this.#settler.settle(chunks);
    const done = settling.then(() => {});
    done.catch(() => {});
    for (const { chunk } of chunks) this.#writing.set(chunk, done);
    try {
      return await settling;
    } finally {
      for (const { chunk } of chunks) this.#writing.delete(chunk);
      this.release(chunks.map(({ chunk }) => chunk));
    }
  }

  get #sliceBytes(): number {
    const segments = [...this.#disks.values()].map((disk) => disk?.identity.dataSegmentBytes);
    return sliceBytes(Math.min(...segments.filter((bytes) => bytes !== undefined)));
  }

  get #means() {
    return { spaces: this.#spaces, pipeline: this.#pipeline, pace: this.#pace };
  }

  release(chunks: Iterable<string>): void {
    this.#held.release(chunks);
  }

  takeReleased(): string[] {
    return this.#held.takeReleased();
  }

  isHeld(chunk: string): boolean {
    return this.#held.has(chunk);
  }

  async collect(chunks: readonly string[]): Promise<string[]> {
    for (const chunk of chunks) {
      assert(!this.#held.has(chunk), 'a held chunk is not collected');
      this.#collecting.add(chunk);
    }
    const removals = Promise.all(chunks.map((chunk) => this.#remove(chunk)));
    this.#collected = removals;
    try {
      const removed = await removals;
      return chunks.filter((_, i) => removed[i]);
    } finally {
      for (const chunk of chunks) this.#collecting.delete(chunk);
    }
  }

  /** False if some shard may still be there. */
  async #remove(chunk: string): Promise<boolean> {
    const holders = locate(this.#disks, chunk).flatMap((set) => set.holders.flat());
    const results = await Promise.allSettled(holders.map(({ disk, entry }) => disk.remove(entry)));
    return results.every(({ status }) => status === 'fulfilled');
  }

  async putSlot(path: string, version: number, bytes: Uint8Array): Promise<void> {
    await this.#slots.put(path, version, bytes);
  }

  async getSlot(path: string): Promise<{ version: number; bytes: Buffer } | undefined> {
    return this.#slots.get(path);
  }

  /** Waits for what is being written: a write that is cut off would cost its disk the trust in its log. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#writing.values());
    this.#spaces.clear();
    this.#blocks.clear();
    await this.#pipeline.close();
  }

  #refuseIfClosed(): void {
    if (this.#closed) throw new CairnError('CLOSED', 'the chunk store is closed');
  }

  /** Runs `write` unless the chunk is being written: then waits for that. True if it was there already, or has been written by another. */
  async #once(chunk: string, write: () => Promise<boolean>): Promise<boolean> {
    const running = this.#writing.get(chunk);
    if (running) {
      await running;
      return true;
    }
    const writing = write();
    // Whoever waits gets the same error; where nobody does, it is not unhandled.
    const done = writing.then(() => {});
    done.catch(() => {});
    this.#writing.set(chunk, done);
    try {
      return await writing;
    } finally {
      this.#writing.delete(chunk);
    }
  }

  /** What is to be written; undefined if the chunk is held already, as well as can be. Throws as `Placement.place`. */
  #plan(
    chunk: string,
    chunkBytes: number,
    { avoid = NONE, scheme: wanted, compression, isAnew = false }: PlanOptions = {},
  ): Plan | undefined {
    const sets = isAnew || this.#unreadable.has(chunk) ? [] : this.#locate(chunk, chunkBytes, avoid);
    // What has been kept under a scheme that was asked for stays so, whoever completes it.
    const asked = wanted ?? this.#placement.askedOf(sets);
    const least = asked === undefined ? 0 : schemeSurvives(asked);
    let existing = sets.find((set) => set.survives >= least);
    if (existing?.healthy) return undefined;
    if (asked !== undefined && existing === undefined && sets.length > 0) {
      const plan = this.#placement.placeAsked(chunk, chunkBytes, { avoid, compression, asked, sets });
      if (plan !== undefined) {
        if (this.#outgrown.size < OUTGROWN_MAX) this.#outgrown.set(chunk, chunkBytes);
        return plan;
      }
      existing = sets[0];
      if (existing?.healthy) return undefined;
    }
    const options = { avoid, existing, compression };
    const place = (): Plan =>
      (asked === undefined ? undefined : this.#placement.placeAsked(chunk, chunkBytes, { ...options, asked, sets })) ??
      this.#placement.place(chunk, chunkBytes, options);
    if (existing !== undefined || avoid.size > 0) this.#onShort(chunk);
    if (!existing?.readable) {
      const plan = place();
      if (!plan.full) this.#onShort(chunk);
      return plan;
    }
    const home = this.#placement.homeOf(existing);
    if (home !== undefined) {
      const plan = this.#placement.completing(home, avoid);
      if (plan.full && plan.places.length > 0) return plan;
    }
    try {
      const plan = place();
      // What is degraded is written again only where that makes it healthy or adds to what stands.
      return plan.full || (plan.standing > 0 && plan.places.length > 0) ? plan : undefined;
    } catch (error) {
      if (hasCode(error, 'NO_SPACE', 'DISK_FAILED')) return undefined;
      throw error;
    }
  }

  /** True if nothing had to be written. */
  async #write(job: ChunkJob, { scheme, isCompressed = false }: ChunkPolicy = {}): Promise<boolean> {
    const outcome = new Outcome();
    const { written, failed } = outcome;
    let compression: Compression | undefined;
    let isTried = !isCompressed;
    let isAnew = false;
    // Every round without full success takes at least one disk out of the next.
    for (let round = 0; ; ) {
      let plan: Plan | undefined;
      try {
        plan = this.#plan(job.chunk, job.chunkBytes, { avoid: failed, scheme, compression, isAnew });
      } catch (error) {
        // Too few shards to be of use: they would only take room.
        await Promise.allSettled(written.map(({ disk, info }) => disk.remove(info)));
        throw outcome.cause === undefined ? error : notTaken(error, outcome.cause);
      }
      if (!plan || plan.places.length === 0) return round === 0;
      if (!isTried && plan.source === undefined && plan.standing === 0) {
        isTried = true;
        compression = await compressionFor(job, plan);
        // Meanwhile the disks may have come to something else.
        if (compression !== undefined) continue;
      }
      try {
        await this.#writer.writeFor(job, plan, outcome);
      } catch (error) {
        if (!hasCode(error, 'UNREADABLE')) throw error;
        // What there is of it turns out to be of no use.
        isAnew = true;
        continue;
      }
      round++;
      // What stands is of use, and what lacks is to be added to it: else another disk that fails would have it all written again and again.
      if (written.length >= plan.codec.needed) {
        isAnew = false;
        this.#unreadable.delete(job.chunk);
      }
      const least = scheme === undefined ? 0 : schemeSurvives(scheme);
      const isWhole = ({ healthy, survives }: ShardSet): boolean => healthy && survives >= least;
      if (failed.size > 0 && !this.#locate(job.chunk, job.chunkBytes).some(isWhole)) continue;
      return false;
    }
  }

  async #storeSlice(
    sources: readonly Uint8Array[],
    asked: readonly (ChunkPolicy | undefined)[],
  ): Promise<StoredChunk[]> {
    // The same content twice in one slice is one chunk; content that someone else is writing now is waited for.
    const chunks = sources.map((bytes) => contentHash(bytes));
    while (chunks.some((chunk) => this.#collecting.has(chunk))) await this.#collected;
    await this.#unwritten(chunks.filter((_, i) => asked[i]?.scheme !== undefined));
    for (const chunk of chunks) this.#held.hold(chunk);
    try {
      const compressed = await this.#compressSmall(sources, chunks, asked);
      return await this.#storeHeld(sources, chunks, asked, compressed);
    } catch (error) {
      this.release(chunks);
      throw error;
    }
  }

  async #storeHeld(
    sources: readonly Uint8Array[],
    chunks: readonly string[],
    asked: readonly (ChunkPolicy | undefined)[],
    compressed: ReadonlyMap<string, Uint8Array>,
  ): Promise<StoredChunk[]> {
    const mine = new Map<string, SmallChunk>();
    const theirs: Promise<void>[] = [];
    chunks.forEach((chunk, i) => {
      const running = this.#writing.get(chunk);
      if (running) theirs.push(running);
      else {
        const policy = more(mine.get(chunk)?.asked, asked[i]);
        mine.set(chunk, { chunk, bytes: sources[i]!, compressed: compressed.get(chunk), asked: policy });
      }
    });
    const writing = writeSlice([...mine.values()], (small, avoid) => this.#prepare(small, avoid));
    const done = writing.then(() => {});
    done.catch(() => {});
    for (const chunk of mine.keys()) this.#writing.set(chunk, done);
    let written: Map<string, PreparedChunk>;
    try {
      written = new Map((await writing).map((prepared) => [prepared.chunk, prepared]));
    } finally {
      for (const chunk of mine.keys()) this.#writing.delete(chunk);
    }
    await Promise.all(theirs);
    const first = new Set<string>();
    return chunks.map((chunk, i) => {
      const deduplicated = first.has(chunk) || (written.get(chunk)?.deduplicated ?? true);
      first.add(chunk);
      return { chunk, chunkBytes: sources[i]!.length, deduplicated };
    });
  }

  /** Those that are to be compressed, are not there yet, and are worth it: as they are stored. */
  async #compressSmall(
    sources: readonly Uint8Array[],
    chunks: readonly string[],
    asked: readonly (ChunkPolicy | undefined)[],
  ): Promise<ReadonlyMap<string, Uint8Array>> {
    const wanted = new Map<string, Uint8Array>();
    chunks.forEach((chunk, i) => {
      if (asked[i]?.isCompressed !== true || this.#locate(chunk, sources[i]!.length)[0]?.healthy) return;
      wanted.set(chunk, sources[i]!);
    });
    const compressed = new Map<string, Uint8Array>();
    if (wanted.size === 0) return compressed;
    const payloads = await orPlain(this.#pipeline.compress([...wanted.values()]));
    [...wanted].forEach(([chunk, { length }], i) => {
      const payload = payloads?.[i];
      if (payload !== undefined && pays(payload.length, length)) compressed.set(chunk, payload);
    });
    return compressed;
  }

  #locate(chunk: string, chunkBytes: number, avoid?: ReadonlySet<Disk>): ShardSet[] {
    return locate(this.#disks, chunk, avoid).filter((set) => set.chunkBytes === chunkBytes);
  }

  #explain(chunk: string, chunkBytes: number, trouble: CairnError | undefined): CairnError {
    const set = this.#locate(chunk, chunkBytes)[0];
    if (set === undefined && isOfLaterVersion(this.#disks, chunk)) {
      const how = 'it was compressed by a newer version of cairn, in a way that this one does not know';
      return new CairnError('UNREADABLE', `chunk ${chunk.slice(0, 16)}… cannot be read: ${how}`, {
        hint: 'install that version',
      });
    }
    const found = trouble
      ? trouble.message
      : set
        ? `${set.present} of ${set.codec.shards} shards are there and ${set.codec.needed} are needed`
        : 'no disk that is there has a shard of it';
    return new CairnError(
      'UNREADABLE',
      `chunk ${chunk.slice(0, 16)}… cannot be read: ${found}; ${this.#placement.describeDisks()}`,
      {
        hint: 'reconnect the missing disk',
        cause: trouble,
      },
    );
  }
}

/** Of two policies that the same content is asked for under, the one whose scheme survives more. */
function more(a: ChunkPolicy | undefined, b: ChunkPolicy | undefined): ChunkPolicy | undefined {
  if (a?.scheme === undefined || b?.scheme === undefined) return a?.scheme === undefined ? (b ?? a) : a;
  return schemeSurvives(b.scheme) > schemeSurvives(a.scheme) ? b : a;
}

/** The disks that failed explain why too few are left. */
function notTaken(error: unknown, cause: unknown): unknown {
  if (!hasCode(error, 'DISK_FAILED', 'NO_SPACE')) return error;
  if (hasCode(cause, 'NO_SPACE')) return cause;
  return new CairnError('DISK_FAILED', error.message, { hint: error.hint ?? 'check the disks', cause });
}
