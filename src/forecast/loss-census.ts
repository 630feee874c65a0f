/**
 * Keeps count of what is lost if a disk dies: for every disk the chunks that files name and that could not be read without it.
 *
 * Only such chunks are remembered, so a healthy pool costs nothing: each is entered under the set of disks of which it needs every single one, and the sets
 * have counters. They hold at every moment for what has been counted:
 * - A walk over all chunk rows, in the order of their names, in which also the disks' indexes lie, counts what is there. It starts with the pool, and
 *   anew when a disk goes or returns, which changes what hangs on the others.
 * - What changes meanwhile is looked at again: chunks whose shards came or went, chunks that a commit names.
 * - While all disks are online and nothing hangs on any of them, a chunk that is stored whole cannot change that, and is not looked at.
 *
 * Chunks that no file names any more do not count: their rows are few, since collection takes them, and are looked through before an answer.
 */
import type { Disks } from '../chunks/shard-set.js';
import type { Clock, Timer } from '../io/clock.js';
import type { MetaStore } from '../meta/meta-store.js';
import type { ChunkId, ChunkRow, RowChange } from '../meta/rows.js';
import { ChunkTable } from './chunk-table.js';
import { exposureOf } from './exposure.js';

/** Rows of one step: a few milliseconds. */
const SLICE = 128;
const PAUSE_MS = 20;
/** What has changed is looked at after so long without being asked; while nothing changes nobody is woken. */
const CATCH_UP_MS = 1_000;

export interface LossCount {
  readonly chunks: number;
  /** Plain bytes of these chunks. */
  readonly bytes: number;
}

interface DiskSet {
  /** None: the chunk cannot be read as it is. */
  readonly numbers: readonly number[];
  chunks: number;
  bytes: number;
}

export class LossCensus {
  readonly #meta: MetaStore;
  readonly #disks: Disks;
  readonly #allOnline: () => boolean;
  readonly #clock: Clock;
  readonly #log: (message: string) => void;
  /** What hangs on single disks: value is the number of the set, from 1. */
  readonly #table = new ChunkTable();
  readonly #sets: DiskSet[] = [];
  readonly #setNumbers = new Map<string, number>();
  /** To be looked at. */
  readonly #changed = new Set<ChunkId>();
  /** Stored with fewer shards than there should be, and perhaps not named by a commit yet. */
  readonly #short = new Set<ChunkId>();
  /** The walk has counted up to here; undefined: everything. */
  #after: ChunkId | '' | undefined = '';
  #walked = 0;
  #generation = 0;
  #timer: Timer | undefined;
  #step: Promise<void> | undefined;
  #started = false;
  #closed = false;

  constructor(parts: {
    meta: MetaStore;
    disks: Disks;
    allOnline: () => boolean;
    clock: Clock;
    log: (message: string) => void;
  }) {
    this.#meta = parts.meta;
    this.#disks = parts.disks;
    this.#allOnline = parts.allOnline;
    this.#clock = parts.clock;
    this.#log = parts.log;
  }

  start(): void {
    this.#started = true;
    this.#later(PAUSE_MS);
  }

  /** Disks have gone or returned: everything is counted anew. */
  restart(): void {
    this.#generation++;
    this.#table.clear();
    this.#sets.length = 0;
    this.#setNumbers.clear();
    this.#changed.clear();
    this.#after = '';
    this.#walked = 0;
    this.#later(CATCH_UP_MS);
  }

  /** A shard of the chunk was added on a disk (`put`), or is gone from one. */
  shardChanged(chunk: ChunkId, change: 'put' | 'gone'): void {
    // One more makes nothing worse.
    if (change === 'gone' || this.#table.has(chunk)) this.#note(chunk);
  }

  /** The chunk was stored, or is held, with fewer shards than there should be. */
  storedShort(chunk: ChunkId): void {
    this.#short.add(chunk);
  }

  /** The metadata store has applied a commit. */
  committed(changes: readonly RowChange[]): void {
    if (this.#short.size === 0 && this.#table.size === 0 && this.#allOnline()) return;
    for (const change of changes) {
      if (change.kind === 'extents') for (const { chunk } of change.extents) this.#look(chunk);
      else if (change.kind === 'chunk-delete') this.#look(change.chunk);
    }
    // Also of a commit that names no chunk: what it replaces may have been the last to name one that hangs on a single disk.
    if (this.#table.size > 0) this.#catchUpSoon();
  }

  #look(chunk: ChunkId): void {
    this.#short.delete(chunk);
    this.#note(chunk);
  }

  #note(chunk: ChunkId): void {
    this.#changed.add(chunk);
    this.#catchUpSoon();
  }

  /** A walk that is under way ends with it anyway. */
  #catchUpSoon(): void {
    if (this.#after === undefined) this.#later(CATCH_UP_MS);
  }

  /** Share of the chunks that has been counted, 0 to 1. */
  async counted(): Promise<number> {
    if (this.#after === undefined) return 1;
    const { chunks } = await this.#meta.statistics();
    return chunks === 0 ? 0 : Math.min(0.999, this.#walked / chunks);
  }

  /** What would be lost with each disk, of what has been counted, and what cannot be read as it is. */
  async losses(): Promise<{ byDisk: ReadonlyMap<number, LossCount>; unreadable: LossCount }> {
    await this.#alone(() => this.#catchUp());
    const byDisk = new Map<number, { chunks: number; bytes: number }>();
    const unreadable = { chunks: 0, bytes: 0 };
    for (const set of this.#sets) {
      const counts = set.numbers.map((number) => {
        const count = byDisk.get(number) ?? { chunks: 0, bytes: 0 };
        byDisk.set(number, count);
        return count;
      });
      for (const count of set.numbers.length === 0 ? [unreadable] : counts) {
        count.chunks += set.chunks;
        count.bytes += set.bytes;
      }
    }
    return { byDisk, unreadable };
  }

  /** Counts the rest now, without pauses. */
  async finish(signal?: AbortSignal): Promise<void> {
    while (this.#after !== undefined && !this.#closed) {
      signal?.throwIfAborted();
      await this.#alone(() => this.#slice());
      await new Promise(setImmediate);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#step;
  }

  #later(delayMs: number): void {
    if (this.#closed || !this.#started) return;
    this.#timer ??= this.#clock.after(delayMs, () => {
      this.#timer = undefined;
      void this.#turn();
    });
  }

  async #turn(): Promise<void> {
    const walking = this.#after !== undefined;
    try {
      await this.#alone(() => (walking ? this.#slice() : this.#catchUp()));
      if (this.#after !== undefined) this.#later(PAUSE_MS);
      else if (walking || this.#changed.size > 0) this.#later(CATCH_UP_MS);
    } catch (error) {
      if (!this.#closed) this.#log(`counting what hangs on single disks failed and is tried again: ${String(error)}`);
      this.#later(CATCH_UP_MS);
    }
  }

  /** One step after the other. */
  #alone(step: () => Promise<void>): Promise<void> {
    const turn = (this.#step ?? Promise.resolve()).then(step);
    this.#step = turn.catch(() => {});
    return turn;
  }

  async #slice(): Promise<void> {
    const after = this.#after;
    if (after === undefined || this.#closed) return;
    const generation = this.#generation;
    const rows = await this.#meta.listChunks(after, SLICE);
    if (generation !== this.#generation) return;
    for (const row of rows) this.#count(row);
    this.#walked += rows.length;
    this.#after = rows.length < SLICE ? undefined : rows.at(-1)?.chunk;
  }

  async #catchUp(): Promise<void> {
    const generation = this.#generation;
    for (const chunk of this.#changed) {
      if (this.#closed || generation !== this.#generation) return;
      this.#changed.delete(chunk);
      const row = await this.#meta.getChunk(chunk).catch((error: unknown) => {
        this.#changed.add(chunk);
        throw error;
      });
      if (row === undefined) this.#enter(chunk, undefined, 0);
      else this.#count(row);
    }
    await this.#dropUnreferenced();
  }

  /** References go with extents that a commit replaces, which it does not name. */
  async #dropUnreferenced(): Promise<void> {
    for (let after = ''; this.#table.size > 0 && !this.#closed; ) {
      const rows = await this.#meta.listUnreferenced(after, SLICE);
      for (const { chunk } of rows) {
        this.#dropNamed(chunk);
      }
      const last = rows.at(-1);
      if (last === undefined || rows.length < SLICE) return;
      after = last.chunk;
    }
  }

  /** A commit may name it again. */
  #dropNamed(chunk: ChunkId): void {
    if (!this.#table.has(chunk)) return;
    this.#short.add(chunk);
    this.#enter(chunk, undefined, 0);
  }

  #count({ chunk, chunkBytes, references }: ChunkRow): void {
    if (references === 0) {
      this.#dropNamed(chunk);
      return;
    }
    const { readable, critical } = exposureOf(this.#disks, chunk, chunkBytes);
    this.#enter(chunk, readable && critical.length === 0 ? undefined : critical, chunkBytes);
  }

  #enter(chunk: ChunkId, numbers: readonly number[] | undefined, bytes: number): void {
    const before = this.#table.get(chunk);
    if (before !== undefined) {
      const set = this.#sets[before.value - 1]!;
      set.chunks -= 1;
      set.bytes -= before.bytes;
      if (numbers === undefined) this.#table.delete(chunk);
    }
    if (numbers === undefined) return;
    const value = this.#setOf(numbers);
    const set = this.#sets[value - 1]!;
    set.chunks += 1;
    set.bytes += bytes;
    this.#table.set(chunk, { value, bytes });
  }

  #setOf(numbers: readonly number[]): number {
    const name = numbers.join();
    const there = this.#setNumbers.get(name);
    if (there !== undefined) return there;
    this.#sets.push({ numbers, chunks: 0, bytes: 0 });
    this.#setNumbers.set(name, this.#sets.length);
    return this.#sets.length;
  }
}
