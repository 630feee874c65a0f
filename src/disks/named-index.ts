/**
 * Slots and snapshot parts of a disk: few, so they are all in memory; their rows in the index file save reading the data stream at start.
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

/** How many changes of each name were written. */
export type FlushedNames = ReadonlyMap<string, number>;

type Named = NamedSlot | NamedSnapshotPart;

export class NamedIndex {
  readonly #database: Database.Database;
  readonly #records = new Map<string, Named>();
  /** What the file does not have, by name, oldest first; undefined: forgotten. */
  readonly #changed = new Map<string, (Named | undefined)[]>();

  constructor(database: Database.Database) {
    this.#database = database;
    for (const row of database.prepare<[], { name: string; record: string }>('SELECT * FROM named').all()) {
      this.#records.set(row.name, JSON.parse(row.record) as Named);
    }
  }

  putSlot(slot: NamedSlot): void {
    const name = slotName(slot.bucket, slot.path);
    const known = this.#records.get(name);
    if (known?.kind === 'slot') {
      const newer = slot.version - known.version || slot.logSequence - known.logSequence;
      if (newer <= 0) return;
    }
    this.#set(name, slot);
  }

  slot(bucket: BucketId, path: string): NamedSlot | undefined {
    const slot = this.#records.get(slotName(bucket, path));
    return slot?.kind === 'slot' ? slot : undefined;
  }

  putSnapshotPart(part: NamedSnapshotPart): void {
    const known = this.#records.get(snapshotName(part));
    if (known !== undefined && known.logSequence >= part.logSequence) return;
    if (part.part === 0) {
      for (const old of this.#parts()) {
        if (old.sequence === part.sequence && old.epoch === part.epoch && old.logSequence < part.logSequence)
          this.#delete(snapshotName(old));
      }
    }
    this.#set(snapshotName(part), part);
  }

  /** Ascending by (sequence, epoch). */
  snapshots(): SnapshotEntry[] {
    const found = new Map<string, NamedSnapshotPart[]>();
    for (const part of this.#parts()) {
      const name = `${part.sequence}/${part.epoch}`;
      const parts = found.get(name);
      if (parts === undefined) found.set(name, [part]);
      else parts.push(part);
    }
    return [...found.values()]
      .map((parts) => {
        const { sequence, epoch } = parts[0] as NamedSnapshotPart;
        const last = parts.find((part) => part.last);
        const complete = last !== undefined && parts.filter(({ part }) => part <= last.part).length === last.part + 1;
        return { sequence, epoch, parts: parts.length, complete };
      })
      .sort((a, b) => a.sequence - b.sequence || a.epoch - b.epoch);
  }

  /** The part of the snapshot of this sequence: of the newest epoch that is complete, else of the newest. */
  snapshotPart(sequence: number, part: number): NamedSnapshotPart | undefined {
    const epochs = this.snapshots().filter((snapshot) => snapshot.sequence === sequence);
    const chosen = epochs.findLast(({ complete }) => complete) ?? epochs.at(-1);
    return this.#parts().find((one) => one.sequence === sequence && one.epoch === chosen?.epoch && one.part === part);
  }

  dropSnapshots(belowSequence: number): void {
    for (const part of this.#parts()) if (part.sequence < belowSequence) this.#delete(snapshotName(part));
  }

  inSegment(segment: number): Named[] {
    return [...this.#records.values()].filter((record) => record.segment === segment);
  }

  segments(): number[] {
    return [...new Set([...this.#records.values()].map(({ segment }) => segment))];
  }

  get liveBytes(): number {
    let sum = 0;
    for (const { recordBytes } of this.#records.values()) sum += recordBytes;
    return sum;
  }

  /** Forgets what does not lie wholly before `endBytes` of the segment. Returns how many. */
  dropLost(segment: number, endBytes: number): number {
    const lost = this.inSegment(segment).filter(({ position, recordBytes }) => position + recordBytes >= endBytes + 64);
    for (const record of lost)
      this.#delete(record.kind === 'slot' ? slotName(record.bucket, record.path) : snapshotName(record));
    return lost.length;
  }

  get pendingCount(): number {
    return this.#changed.size;
  }

  /** Within the caller's transaction. Returns what was written: `flushed` takes it when it is committed. */
  flush(isDurable: (segment: number, position: number) => boolean): FlushedNames {
    const put = this.#database.prepare('INSERT OR REPLACE INTO named VALUES (?, ?)');
    const remove = this.#database.prepare('DELETE FROM named WHERE name = ?');
    const written = new Map<string, number>();
    for (const [name, changes] of this.#changed) {
      const at = changes.findLastIndex((record) => record === undefined || isDurable(record.segment, record.position));
      if (at < 0) continue;
      const record = changes[at];
      if (record === undefined) remove.run(name);
      else put.run(name, JSON.stringify(record));
      written.set(name, at + 1);
    }
    return written;
  }

  flushed(written: FlushedNames): void {
    for (const [name, count] of written) {
      const rest = this.#changed.get(name)?.slice(count) ?? [];
      if (rest.length === 0) this.#changed.delete(name);
      else this.#changed.set(name, rest);
    }
  }

  #parts(): NamedSnapshotPart[] {
    return [...this.#records.values()].filter((record) => record.kind === 'snapshot');
  }

  #set(name: string, record: Named): void {
    this.#records.set(name, record);
    this.#note(name, record);
  }

  #delete(name: string): void {
    this.#records.delete(name);
    this.#note(name, undefined);
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
