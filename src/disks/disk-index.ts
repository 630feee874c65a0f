/** A disk's index as one thing: shards, slots and snapshots, and the flushing of both into the SQLite file off the hot path. */
import type Database from 'better-sqlite3';
import type { Clock, Timer } from '../io/clock.js';
import { type IndexNotes, openIndexDatabase, removeIndexFiles, writeNotes, writeOwed } from './index-database.js';
import type { Tombstone } from './journal-state.js';
import { type FlushedNames, NamedIndex } from './named-index.js';
import { ShardIndex } from './shard-index.js';

const FLUSH_DELAY_MS = 250;
/** Changes per transaction: a few milliseconds of the event loop. */
const FLUSH_SLICE = 200;

/** What the index asks the logs. */
export interface IndexSource {
  isDurable(segment: number, position: number): boolean;
  /** How far both logs are durable; everything before has been told to the index. */
  notes(): IndexNotes;
  /** Tombstones to be written, as they are now. */
  owed(): readonly Tombstone[];
  /** The device takes unusually long to answer. */
  isBehind(): boolean;
  /** Whether it answers at this moment; absent where that need not be asked. */
  answers?(): Promise<boolean>;
}

export class DiskIndex {
  readonly shards: ShardIndex;
  readonly named: NamedIndex;
  /** How far the index was complete when it was opened; undefined: rebuild it. */
  readonly notes: IndexNotes | undefined;
  readonly rebuildReason: string | undefined;
  /** Tombstones that were to be written when the file was last written. */
  readonly owed: readonly Tombstone[];
  readonly #path: string;
  readonly #database: Database.Database;
  readonly #clock: Clock;
  #source: IndexSource | undefined;
  #timer: Timer | undefined;
  #closed = false;
  /** As the file has it. */
  #owed: string;

  constructor(path: string, uuid: string, clock: Clock) {
    const { database, notes, owed, reason } = openIndexDatabase(path, uuid);
    this.#path = path;
    this.#database = database;
    this.#clock = clock;
    this.shards = new ShardIndex(database);
    this.named = new NamedIndex(database);
    this.notes = notes;
    this.rebuildReason = reason;
    this.owed = owed;
    this.#owed = JSON.stringify(owed);
  }

  /** From now on flushes happen by themselves. */
  attach(source: IndexSource): void {
    this.#source = source;
  }

  /** Something became durable: write it down before long. */
  touch(): void {
    if (this.#timer !== undefined || this.#closed || this.#source === undefined) return;
    if (this.shards.pendingCount === 0 && this.named.pendingCount === 0) return;
    this.#timer = this.#clock.after(FLUSH_DELAY_MS, () => this.#begin());
  }

  /** Whether its device answers; undefined where that need not be asked. */
  answers(): Promise<boolean> | undefined {
    return this.isLasting ? this.#source?.answers?.() : undefined;
  }

  /** What is written down outlives the process. */
  get isLasting(): boolean {
    return this.#path !== ':memory:';
  }

  /** Writes down all that is durable. */
  flush(): void {
    if (this.#source !== undefined) while (!this.#flushSome(this.#source, true));
  }

  /** While rebuilding: keeps memory small. Notes are not written, so an interrupted rebuild begins anew. */
  flushRebuilt(): void {
    const all: IndexSource = {
      isDurable: () => true,
      notes: () => ({}) as IndexNotes,
      owed: () => [],
      isBehind: () => false,
    };
    while (!this.#flushSome(all, false));
  }

  /** Folds the write-ahead log into the file: syncs, so only when a segment is sealed. */
  checkpoint(): void {
    if (!this.#closed) this.#database.pragma('wal_checkpoint(TRUNCATE)');
  }

  /** Gives back the pages of the file that are kept in memory. */
  releaseMemory(): void {
    if (!this.#closed) this.#database.pragma('shrink_memory');
  }

  /** The file contradicts itself or cannot be read: the next opening makes it anew. */
  condemn(): void {
    this.#timer?.cancel();
    this.#source = undefined;
    try {
      removeIndexFiles(this.#path);
    } catch {
      // On a device that fails it is found damaged again, and the index is kept in memory then.
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#timer?.cancel();
    try {
      this.checkpoint();
    } catch {
      // A full or failing file system: what the file lacks is replayed from the logs.
    } finally {
      this.#closed = true;
      this.#database.close();
    }
  }

  /** SQLite would wait for a device that has just begun to hang, on this thread. */
  #begin(): void {
    const asking = this.answers();
    if (asking === undefined) this.#slice();
    else void asking.then(() => this.#slice());
  }

  #slice(): void {
    this.#timer = undefined;
    if (this.#closed || this.#source === undefined) return;
    // SQLite would wait for it on this thread, and what is not written down is in the logs.
    if (this.#source.isBehind()) {
      this.touch();
      return;
    }
    try {
      if (!this.#flushSome(this.#source, true)) setImmediate(() => this.#slice());
    } catch {
      // A full or failing file system: the changes stay in memory, and what the file lacks is replayed from the logs.
    }
  }

  #flushSome(source: IndexSource, withNotes: boolean): boolean {
    let names: FlushedNames = { counts: new Map(), all: false };
    const owed = JSON.stringify(source.owed());
    const all = this.shards.flush(
      (segment, position) => source.isDurable(segment, position),
      FLUSH_SLICE,
      (complete) => {
        names = this.named.flush((segment, position) => source.isDurable(segment, position), FLUSH_SLICE);
        if (owed !== this.#owed) writeOwed(this.#database, owed);
        if (complete && names.all && withNotes) writeNotes(this.#database, source.notes());
      },
    );
    this.#owed = owed;
    this.named.flushed(names);
    return all && names.all;
  }
}
