/**
 * Gives the space of deleted data back: chunks that no committed row names any more are removed from the disks, then mostly
 * dead segments are emptied.
 *
 * Deleting is last (invariant 5). A chunk goes only if it has been without references for a grace period, if no commit under way
 * may be about to name it (ChunkStore.isHeld), and if no file that is open without a name still reads it (`pinned`). That is
 * decided between two rounds of the journal, and a store of the same content waits until the removal is over. The row goes after
 * the shards, in the next commit: a crash in between leaves a row that is collected again, never a row without its shards.
 */
import type { ChunkStore } from '../chunks/chunk-store.js';
import type { Disk } from '../disks/disk.js';
import { hasCode } from '../errors/cairn-error.js';
import type { Clock, Timer } from '../io/clock.js';
import type { MetaStore } from '../meta/meta-store.js';
import type { Journal, JournalDisks } from './journal.js';

/** Chunks removed between two rounds: a few milliseconds. */
const BATCH = 256;
/** Candidates remembered with the time when they were first seen. */
const CANDIDATES = 16_384;
/** Chunks that a sweep may hand over before they are looked at. */
const SUSPECTS = 16_384;
/** Segments with less than this share of live bytes are emptied: each byte freed costs at most 1 byte copied, so of each byte written at most 2 reach the disk. */
const LIVE_SHARE = 0.5;
/** Where the pool is full and no segment is as empty as that: at most 4, then 19 bytes copied for each byte freed. */
const LIVE_SHARES_FULL = [0.8, 0.95];
/** Of one disk, freed at once where the pool is full: segments. */
const FULL_SEGMENTS = 2;

export interface CollectorOptions {
  readonly everyMs: number;
  readonly graceMs: number;
}

export class Collector {
  readonly #meta: MetaStore;
  readonly #chunks: ChunkStore;
  readonly #journal: Journal;
  readonly #disks: JournalDisks;
  readonly #clock: Clock;
  readonly #options: CollectorOptions;
  readonly #pinned: () => ReadonlySet<string>;
  /** The row may go with the next commit. */
  readonly #onRemoved: (chunk: string) => void;
  readonly #log: (message: string) => void;
  /** When each candidate was first seen without references. */
  readonly #seenMs = new Map<string, number>();
  /** Chunks that seem to have no row. */
  readonly #suspects = new Set<string>();
  /** Rests after work that took so long, behind users; at once if the signal says so. */
  readonly #rest: (workedMs: number, signal: AbortSignal) => Promise<void>;
  readonly #ending = new AbortController();
  #timer: Timer | undefined;
  #running: Promise<number> | undefined;
  #urgent: Promise<number> | undefined;
  /** An urgent pass that begins when the one under way is over. */
  #nextUrgent: Promise<number> | undefined;
  #emptying: Promise<void> | undefined;
  #closed = false;
  /** Segments of some disk were given back. */
  onFreed: (() => void) | undefined;

  constructor(parts: {
    meta: MetaStore;
    chunks: ChunkStore;
    journal: Journal;
    disks: JournalDisks;
    clock: Clock;
    options: CollectorOptions;
    pinned: () => ReadonlySet<string>;
    onRemoved: (chunk: string) => void;
    log: (message: string) => void;
    rest: (workedMs: number, signal: AbortSignal) => Promise<void>;
  }) {
    this.#rest = parts.rest;
    this.#meta = parts.meta;
    this.#chunks = parts.chunks;
    this.#journal = parts.journal;
    this.#disks = parts.disks;
    this.#clock = parts.clock;
    this.#options = parts.options;
    this.#pinned = parts.pinned;
    this.#onRemoved = parts.onRemoved;
    this.#log = parts.log;
  }

  start(): void {
    if (this.#closed) return;
    this.#timer ??= this.#clock.after(this.#options.everyMs, () => {
      this.#timer = undefined;
      void this.run().finally(() => this.start());
    });
  }

  /** Chunks of which shards were found and no row: removed with the next pass, if that is so then. False if there are too many already: nothing is taken. */
  suspect(chunks: readonly string[]): boolean {
    if (this.#suspects.size >= SUSPECTS) return false;
    for (const chunk of chunks) this.#suspects.add(chunk);
    return true;
  }

  /**
   * One pass over what is due. An urgent one grants no grace and empties segments at once; where the pool is full, also segments that are more
   * alive than pays otherwise, as many as make room for the moment. It has seen all that was committed before it was asked for. Returns the bytes freed so
   * far. Failures are logged: the next pass tries again.
   */
  run(isUrgent = false, isFull = false): Promise<number> {
    if (!isUrgent) {
      this.#running ??= this.#guarded(this.#pass(false)).finally(() => {
        this.#running = undefined;
      });
      // Whoever is urgent waits for the pass, and not for segments that are emptied at leisure.
      return this.#running.then(async (freed) => {
        await this.#emptying;
        return freed;
      });
    }
    if (this.#urgent !== undefined) {
      // It may have looked before something was deleted.
      this.#nextUrgent ??= this.#urgent.then(() => {
        this.#nextUrgent = undefined;
        return this.#closed ? 0 : this.run(true, isFull);
      });
      return this.#nextUrgent;
    }
    this.#urgent = (this.#running ?? Promise.resolve(0))
      .then(() =>
        this.#guarded(this.#pass(true).then((freed) => this.#reclaimNow(isFull).then((more) => freed + more))),
      )
      .finally(() => {
        this.#urgent = undefined;
      });
    return this.#urgent;
  }

  #guarded(pass: Promise<number>): Promise<number> {
    return pass.catch((error: unknown) => {
      this.#log(`giving space back failed and is tried again: ${String(error)}`);
      return 0;
    });
  }

  async #pass(isUrgent: boolean): Promise<number> {
    // What is unreferenced here may be named by commits that only the missing disks know.
    if (this.#disks.missing().length > this.#disks.tolerance) return 0;
    // What has been committed is in the store once the round is over.
    await this.#journal.between(async () => {});
    const outgrown = this.#chunks.takeOutgrown();
    if (outgrown.length > 0) await this.#chunks.settle(outgrown);
    const due = await this.#due(isUrgent ? 0 : this.#options.graceMs);
    const candidates = [...new Set([...due, ...this.#chunks.takeReleased(), ...this.#suspects])];
    this.#suspects.clear();
    let removed = 0;
    for (let at = 0; at < candidates.length && !this.#closed; at += BATCH) {
      await this.#journal.between(async () => {
        removed += await this.#remove(candidates.slice(at, at + BATCH), due);
      });
    }
    if (removed === 0) return 0;
    await this.#journal.request();
    if (!isUrgent)
      this.#emptying ??= this.#empty().finally(() => {
        this.#emptying = undefined;
      });
    return 0;
  }

  /** In the background, a segment at a time, with rests while users are there. */
  async #empty(): Promise<void> {
    for (const disk of this.#all()) {
      let freed = 1;
      while (freed > 0 && !this.#closed) {
        const startedMs = this.#clock.monotonicMs();
        freed = await this.#guarded(this.#reclaim(disk, LIVE_SHARE, 1));
        await this.#rest(this.#clock.monotonicMs() - startedMs, this.#ending.signal);
      }
    }
  }

  /** All that is mostly dead; and where that is nothing and the pool is full, what is less so. */
  async #reclaimNow(isFull: boolean): Promise<number> {
    let freed = 0;
    for (const disk of this.#all()) {
      let here = await this.#reclaim(disk, LIVE_SHARE);
      const enoughBytes = FULL_SEGMENTS * disk.identity.dataSegmentBytes;
      if (isFull)
        for (const share of LIVE_SHARES_FULL)
          if (here < enoughBytes) here += await this.#reclaim(disk, share, enoughBytes - here);
      freed += here;
    }
    return freed;
  }

  #all(): Disk[] {
    return [...this.#disks.data(), ...this.#disks.journal()];
  }

  async #reclaim(disk: Disk, liveShare: number, enoughBytes?: number): Promise<number> {
    if (this.#closed) return 0;
    try {
      const freed = await disk.reclaim(liveShare, enoughBytes);
      if (freed > 0) this.onFreed?.();
      return freed;
    } catch (error) {
      // A disk that fails says so itself; without room for copies there is nothing to gain here.
      if (hasCode(error, 'DISK_FAILED', 'NO_SPACE')) return 0;
      throw error;
    }
  }

  /** Chunks without references for the grace period. */
  async #due(graceMs: number): Promise<Set<string>> {
    const now = this.#clock.monotonicMs();
    const due = new Set<string>();
    const found = new Set<string>();
    for (let after = ''; found.size < CANDIDATES; ) {
      const rows = await this.#meta.listUnreferenced(after, BATCH);
      for (const { chunk } of rows) {
        found.add(chunk);
        const since = this.#seenMs.get(chunk);
        if (since === undefined) this.#seenMs.set(chunk, now);
        if (now - (since ?? now) >= graceMs) due.add(chunk);
      }
      const last = rows.at(-1);
      if (last === undefined || rows.length < BATCH) break;
      after = last.chunk;
    }
    for (const chunk of this.#seenMs.keys()) if (!found.has(chunk)) this.#seenMs.delete(chunk);
    return due;
  }

  /** Between two rounds: what the store says of references is all there is. Chunks without a row were stored for a commit that never came. */
  async #remove(candidates: readonly string[], due: ReadonlySet<string>): Promise<number> {
    const pinned = this.#pinned();
    const going: string[] = [];
    const withRow = new Set<string>();
    for (const chunk of candidates) {
      if (pinned.has(chunk)) continue;
      const row = await this.#meta.getChunk(chunk);
      if (row !== undefined && (row.references > 0 || !due.has(chunk))) continue;
      going.push(chunk);
      if (row !== undefined) withRow.add(chunk);
    }
    // The last question is asked and acted on without a pause: a store that finishes later waits for the removal.
    const removed = await this.#chunks.collect(going.filter((chunk) => !this.#chunks.isHeld(chunk)));
    for (const chunk of removed) {
      this.#seenMs.delete(chunk);
      if (withRow.has(chunk)) this.#onRemoved(chunk);
    }
    return removed.length;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    this.#ending.abort();
    await this.#running;
    await this.#urgent;
    await this.#nextUrgent;
    await this.#emptying;
  }
}
