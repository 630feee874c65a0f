/**
 * Slots and snapshot parts of a disk: few, so they are all in memory (a part for a thousand rows of metadata, some 100 bytes each); their rows in the index file save
 * reading the data stream at start. What is asked for with every chunk that is placed, the bytes, is kept as a sum.
 * Of several records the highest version (then log sequence) is the slot; part 0 of a snapshot begins it anew, forgetting
 * parts of an earlier try. Rows follow the rule of shard-index.ts: only what is durable is written.
 */
import type Database from 'better-sqlite3';
import type { BucketId } from '../../diskmap/types.js';
import type { SnapshotEntry } from './disk.js';
import type { LoggedRecord } from './log-context.js';

export interface NamedSlot extends LoggedRecord {
  readonly kind: 'slot';
  readonly bucket: BucketId;
  readonly path: string;
  readonly version: number;
}

export interface NamedSnapshotPart extends LoggedRecord {
  readonly kind: 'snapshot';
  readonly sequence: number;
  readonly epoch: number;
  readonly part: number;
  readonly last: boolean;
}

export interface FlushedNames {
  /** How many changes of each name were written. */
  readonly counts: ReadonlyMap<string, number>;
  /** Nothing durable is left. */
  readonly all: boolean;
}

type Named = NamedSlot | NamedSnapshotPart;

/** The parts that are known of one snapshot. */
interface KnownSnapshot {
  readonly sequence: number;
  readonly epoch: number;
  /** By number. */
  readonly parts: Map<number, NamedSnapshotPart>;
  /** Undefined since a part has come or gone. */
  entry: SnapshotEntry | undefined;
}

export class NamedIndex {
  readonly #database: Database.Database;
  readonly #slots = new Map<string, NamedSlot>();
  readonly #snapshots = new Map<string, KnownSnapshot>();
  readonly #segmentBytes = new Map<number, number>();
  #liveBytes = 0;
  /** What the file does not have, by name, oldest first; undefined: forgotten. */
  readonly #changed = new Map<string, (Named | undefined)[]>();

  constructor(database: Database.Database) {
    this.#database = database;
    for (const row of database.prepare<[], { name: string; record: string }>('SELECT * FROM named').all()) {
      this.#add(row.name, JSON.parse(row.record) as Named);
    }
  }

  putSlot(slot: NamedSlot): void {
    const name = slotName(slot.bucket, slot.path);
    const known = this.#slots.get(name);
    if (known !== undefined) {
      const newer = slot.version - known.version || slot.logSequence - known.logSequence;
      if (newer <= 0) return;
    }
    this.#set(name, slot);
  }

  slot(bucket: BucketId, path: string): NamedSlot | undefined {
    return this.#slots.get(slotName(bucket, path));
  }

  putSnapshotPart(part: NamedSnapshotPart): void {
    const snapshot = this.#snapshots.get(snapshotKey(part));
    const known = snapshot?.parts.get(part.part);
    if (known !== undefined && known.logSequence >= part.logSequence) return;
    if (part.part === 0 && snapshot !== undefined) {
      for (const old of [...snapshot.parts.values()]) if (old.logSequence < part.logSequence) this.#delete(old);
    }
    this.#set(snapshotName(part), part);
  }

  /** Ascending by (sequence, epoch). */
  snapshots(): SnapshotEntry[] {
    const entries = [...this.#snapshots.values()].map((snapshot) => (snapshot.entry ??= entryOf(snapshot)));
    return entries.sort((a, b) => a.sequence - b.sequence || a.epoch - b.epoch);
  }

  /** The part of the snapshot of this sequence: of the newest epoch that is complete, else of the newest. */
  snapshotPart(sequence: number, part: number): NamedSnapshotPart | undefined {
    const epochs = this.snapshots().filter((snapshot) => snapshot.sequence === sequence);
    const chosen = epochs.findLast(({ complete }) => complete) ?? epochs.at(-1);
    return chosen && this.#snapshots.get(snapshotKey(chosen))?.parts.get(part);
  }

  dropSnapshots(belowSequence: number): void {
    for (const { sequence, parts } of [...this.#snapshots.values()])
      if (sequence < belowSequence) for (const part of [...parts.values()]) this.#delete(part);
  }

  inSegment(segment: number): Named[] {
    return this.#segmentBytes.has(segment) ? this.#all().filter((record) => record.segment === segment) : [];
  }

  segmentBytes(segment: number): number {
    return this.#segmentBytes.get(segment) ?? 0;
  }

  segments(): number[] {
    return [...this.#segmentBytes.keys()];
  }

  get liveBytes(): number {
    return this.#liveBytes;
  }

  /** Forgets what does not lie wholly before `endBytes` of the segment. Returns how many. */
  dropLost(segment: number, endBytes: number): number {
    const lost = this.inSegment(segment).filter(({ position, recordBytes }) => position + recordBytes >= endBytes + 64);
    for (const record of lost) this.#delete(record);
    return lost.length;
  }

  get pendingCount(): number {
    return this.#changed.size;
  }

  /** Within the caller's transaction, at most `limit` names. Returns what was written: `flushed` takes it when it is committed. */
  flush(isDurable: (segment: number, position: number) => boolean, limit: number): FlushedNames {
    const put = this.#database.prepare('INSERT OR REPLACE INTO named VALUES (?, ?)');
    const remove = this.#database.prepare('DELETE FROM named WHERE name = ?');
    const counts = new Map<string, number>();
    for (const [name, changes] of this.#changed) {
      const at = changes.findLastIndex((record) => record === undefined || isDurable(record.segment, record.position));
      if (at < 0) continue;
      if (counts.size === limit) return { counts, all: false };
      const record = changes[at];
      if (record === undefined) remove.run(name);
      else put.run(name, JSON.stringify(record));
      counts.set(name, at + 1);
    }
    return { counts, all: true };
  }

  flushed({ counts }: FlushedNames): void {
    for (const [name, count] of counts) {
      const rest = this.#changed.get(name)?.slice(count) ?? [];
      if (rest.length === 0) this.#changed.delete(name);
      else this.#changed.set(name, rest);
    }
  }

  #all(): Named[] {
    return [...this.#slots.values(), ...[...this.#snapshots.values()].flatMap(({ parts }) => [...parts.values()])];
  }

  #set(name: string, record: Named): void {
    this.#add(name, record);
    this.#note(name, record);
  }

  #add(name: string, record: Named): void {
    if (record.kind === 'slot') {
      this.#recount(this.#slots.get(name), record);
      this.#slots.set(name, record);
      return;
    }
    const key = snapshotKey(record);
    const { sequence, epoch, part } = record;
    const snapshot = this.#snapshots.get(key) ?? { sequence, epoch, parts: new Map(), entry: undefined };
    this.#snapshots.set(key, snapshot);
    this.#recount(snapshot.parts.get(part), record);
    snapshot.parts.set(part, record);
    snapshot.entry = undefined;
  }

  #recount(before: Named | undefined, record: Named): void {
    if (before !== undefined) this.#count(before, -1);
    this.#count(record, 1);
  }

  #delete(record: Named): void {
    this.#count(record, -1);
    if (record.kind === 'slot') {
      const name = slotName(record.bucket, record.path);
      this.#slots.delete(name);
      this.#note(name, undefined);
      return;
    }
    const key = snapshotKey(record);
    const snapshot = this.#snapshots.get(key);
    if (snapshot !== undefined) {
      snapshot.parts.delete(record.part);
      snapshot.entry = undefined;
      if (snapshot.parts.size === 0) this.#snapshots.delete(key);
    }
    this.#note(snapshotName(record), undefined);
  }

  #count({ segment, recordBytes }: Named, sign: number): void {
    this.#liveBytes += sign * recordBytes;
    const bytes = this.segmentBytes(segment) + sign * recordBytes;
    if (bytes === 0) this.#segmentBytes.delete(segment);
    else this.#segmentBytes.set(segment, bytes);
  }

  #note(name: string, record: Named | undefined): void {
    const changes = this.#changed.get(name);
    if (changes === undefined) this.#changed.set(name, [record]);
    else changes.push(record);
  }
}

function slotName(bucket: BucketId, path: string): string {
  return `slot ${bucket} ${path}`;
}

function snapshotName({ sequence, epoch, part }: NamedSnapshotPart): string {
  return `snapshot ${sequence} ${epoch} ${part}`;
}

function snapshotKey({ sequence, epoch }: { readonly sequence: number; readonly epoch: number }): string {
  return `${sequence}/${epoch}`;
}

function entryOf({ sequence, epoch, parts }: KnownSnapshot): SnapshotEntry {
  const numbers = [...parts.keys()];
  const last = numbers.find((number) => parts.get(number)?.last === true);
  const complete = last !== undefined && numbers.filter((number) => number <= last).length === last + 1;
  return { sequence, epoch, parts: parts.size, complete };
}
