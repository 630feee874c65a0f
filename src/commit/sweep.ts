/**
 * Finds what collection cannot know of: shards of chunks without a row. A crash leaves such behind where the pipeline had stored chunks for
 * a commit that never came, where a commit was dropped, and on a disk that was away while its chunks were collected elsewhere.
 *
 * On the way it finds the chunks that lack a shard, as after commits while a disk was away, and tells them to whoever repairs.
 *
 * After opening, each disk's shards are walked once, in the order in which they lie, a slice at a time with pauses between; what has
 * no row is handed to the collector, which asks again between two rounds before it removes anything. Nothing is swept while a disk is
 * away: what looks unknown now could be named by what that disk knows, if more went wrong than may. One that is to be emptied has been given up: what it
 * alone knows is lost already, and shards that nothing names would keep it from being let go of.
 */
import type { ChunkStore } from '../chunks/chunk-store.js';
import type { Disk } from '../disks/disk.js';
import type { RecordLocation } from '../disks/record.js';
import type { Clock, Timer } from '../io/clock.js';
import type { MetaStore } from '../meta/meta-store.js';

/** Shards looked at in one step: a few milliseconds. */
const SLICE = 128;
const PAUSE_MS = 20;
/** Until it is looked again whether every disk is there, or whether the collector has taken what it was given. */
const WAIT_MS = 10_000;

export interface SweepCollector {
  /** False if it has enough for now. */
  suspect(chunks: readonly string[]): boolean;
}

export class Sweep {
  readonly #meta: MetaStore;
  readonly #chunks: ChunkStore;
  readonly #collector: SweepCollector;
  readonly #onDegraded: (chunks: readonly string[]) => void;
  readonly #clock: Clock;
  readonly #allOnline: () => boolean;
  readonly #log: (message: string) => void;
  /** Disks not walked to their end yet; the first is under way. */
  readonly #left: Disk[];
  #after: RecordLocation | undefined;
  #timer: Timer | undefined;
  #step: Promise<boolean> | undefined;
  #closed = false;

  constructor(parts: {
    meta: MetaStore;
    chunks: ChunkStore;
    collector: SweepCollector;
    onDegraded?: (chunks: readonly string[]) => void;
    clock: Clock;
    disks: readonly Disk[];
    allOnline: () => boolean;
    log: (message: string) => void;
  }) {
    this.#meta = parts.meta;
    this.#chunks = parts.chunks;
    this.#collector = parts.collector;
    this.#onDegraded = parts.onDegraded ?? (() => {});
    this.#clock = parts.clock;
    this.#left = [...parts.disks];
    this.#allOnline = parts.allOnline;
    this.#log = parts.log;
  }

  /** Walks on in the background until every disk has been walked. */
  start(): void {
    this.#later(PAUSE_MS);
  }

  /** Also this disk, which was away and may have what was collected meanwhile; from its begin, if it is on the list already. */
  add(disk: Disk): void {
    const isSame = (other: Disk): boolean => other.identity.uuid === disk.identity.uuid;
    if (this.#left[0] !== undefined && isSame(this.#left[0])) this.#after = undefined;
    const others = this.#left.filter((other) => !isSame(other));
    this.#left.splice(0, this.#left.length, ...others, disk);
    if (this.#step === undefined) this.#later(PAUSE_MS);
  }

  #later(delayMs: number): void {
    if (this.#closed || this.#left.length === 0) return;
    this.#timer ??= this.#clock.after(delayMs, () => {
      this.#timer = undefined;
      this.#next().then((goesOn) => this.#later(goesOn ? PAUSE_MS : WAIT_MS));
    });
  }

  /** Walks the rest now, without pauses, as far as the collector takes what is found: true if every disk has been walked. */
  async finish(): Promise<boolean> {
    while (!this.#closed && this.#left.length > 0) {
      if (!(await this.#next())) return false;
      await new Promise(setImmediate);
    }
    return this.#left.length === 0;
  }

  /** Not at its end, and every disk is there. */
  get canGoOn(): boolean {
    return !this.#closed && this.#left.length > 0 && this.#allOnline();
  }

  #next(): Promise<boolean> {
    this.#step ??= this.#slice().finally(() => {
      this.#step = undefined;
    });
    return this.#step;
  }

  /** One slice. False if nothing can be done now. */
  async #slice(): Promise<boolean> {
    const disk = this.#left[0];
    if (disk === undefined || this.#closed || !this.#allOnline()) return false;
    try {
      const entries = disk.walk(this.#after, SLICE);
      const unknown: string[] = [];
      const degraded: string[] = [];
      // Of as many as may be lost and one more at least one is there.
      const first = new Set(entries.flatMap(({ chunk, shard, scheme }) => (shard <= scheme.m ? [chunk] : [])));
      for (const chunk of new Set(entries.map((entry) => entry.chunk))) {
        if (this.#chunks.isHeld(chunk)) continue;
        const row = await this.#meta.getChunk(chunk);
        if (row === undefined) unknown.push(chunk);
        else if (row.references > 0 && first.has(chunk) && this.#chunks.health(chunk).health === 'degraded')
          degraded.push(chunk);
      }
      if (degraded.length > 0) this.#onDegraded(degraded);
      // The same slice again later: what has been removed by then is passed over.
      if (unknown.length > 0 && !this.#collector.suspect(unknown)) return false;
      const last = entries.at(-1);
      // It may have been replaced by its next life meanwhile.
      if (last !== undefined && this.#left[0] === disk) this.#after = last;
      if (entries.length < SLICE) this.#endDisk(disk);
    } catch (error) {
      if (this.#closed) return false;
      this.#log(`looking for unknown data on the disk at ${disk.directory} ended early: ${String(error)}`);
      this.#endDisk(disk);
    }
    return true;
  }

  #endDisk(disk: Disk): void {
    if (this.#left[0] !== disk) return;
    this.#left.shift();
    this.#after = undefined;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#step;
  }
}
