/**
 * One directory's entries: the committed ones in the metadata store, overlaid with what has been staged since. An entry
 * record is made by whoever wants to change a name; it stays until a commit has taken the change.
 */

import { CairnError } from '../errors/cairn-error.js';
import type { MetaStore, NodeRow } from '../meta/meta-store.js';
import { type DentryRow, type Ino, type Name, sortKey } from '../meta/rows.js';
import type { KnownNames } from './known-names.js';
import { chain } from './result.js';
import type { Result } from './vfs.js';

const NAME_BYTES_MAX = 255;
const PAGE = 512;
/** Names that a directory remembers not to be in the store. */
const ABSENT_MAX = 32;

/** What a name stands for. Immutable: a change gives the entry another object, by which a commit sees that it has been overtaken. */
export interface EntryTarget {
  readonly ino: Ino;
  readonly isDirectory: boolean;
}

/** One name under change. */
export interface Entry {
  readonly name: Name;
  /** The committed row. */
  base: DentryRow | undefined;
  target: EntryTarget | undefined;
  /** `target` is not what the store or a commit under way says. */
  dirty: boolean;
  /** A commit under way has it: the store may say something else than `base` any moment. */
  taken: boolean;
  /** A publication of the name is under way: changes wait for it. */
  held?: Promise<void> | undefined;
}

export interface ListedEntry extends EntryTarget {
  readonly name: Name;
  readonly key: string;
  /** What the store has of it, where that was asked for and the entry came from there. */
  readonly stored?: NodeRow | undefined;
}

export class Directory {
  readonly ino: Ino;
  /** No committed entries: what is not in `entries` does not exist. */
  fresh: boolean;
  readonly entries = new Map<Name, Entry>();
  /** Grows with every change of an entry: tells whether what was found while waiting still holds. */
  changes = 0;
  /**
   * Names that were looked up and are not in the store: what is about to be made is looked up first. Only a record can bring one there, and making a
   * record takes it from here.
   */
  readonly #absent = new Set<Name>();
  #dirtyCount = 0;
  readonly #meta: MetaStore;
  /** As `#absent`, of names that are in the store. */
  readonly #known: KnownNames;
  /** Names of `entries` by sort key; undefined when names have been added since. */
  #sorted: { key: string; name: Name }[] | undefined;

  constructor(ino: Ino, meta: MetaStore, known: KnownNames, fresh: boolean) {
    this.ino = ino;
    this.#meta = meta;
    this.#known = known;
    this.fresh = fresh;
  }

  get forgettable(): boolean {
    return this.#dirtyCount === 0 && this.entries.size === 0;
  }

  /** Entries that differ from the store and that no commit under way has. */
  get dirtyCount(): number {
    return this.#dirtyCount;
  }

  lookup(name: Name): Result<EntryTarget | undefined> {
    const entry = this.entries.get(name);
    if (entry !== undefined) return entry.target;
    if (this.fresh || this.#absent.has(name)) return undefined;
    const known = this.#known.get(this.ino, name);
    if (known !== undefined) return known;
    const { changes } = this;
    return chain<DentryRow | undefined, EntryTarget | undefined>(this.#row(name), (row) => {
      // While the row was being read, somebody may have changed the name.
      const since = this.entries.get(name);
      if (since !== undefined) return since.target;
      if (this.changes !== changes) return row;
      if (row === undefined) this.#missed(name);
      else this.#known.put(row);
      return row;
    });
  }

  #row(name: Name): Result<DentryRow | undefined> {
    return (this.#meta.now ?? this.#meta).getDentry(this.ino, name);
  }

  /** The record of a name that is about to change. NAME_TOO_LONG, INVALID. */
  entry(name: Name): Result<Entry> {
    const entry = this.entries.get(name);
    if (entry !== undefined) return entry;
    if (name.length > NAME_BYTES_MAX)
      throw new CairnError('NAME_TOO_LONG', `a name may have at most ${NAME_BYTES_MAX} bytes`);
    if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0'))
      throw new CairnError('INVALID', 'this is not a name that an entry can have');
    if (this.fresh || this.#absent.has(name)) return this.#add(name, undefined);
    const known = this.#known.get(this.ino, name);
    if (known !== undefined) return this.#add(name, known);
    return chain(this.#row(name), (row) => this.entries.get(name) ?? this.#add(name, row));
  }

  #missed(name: Name): void {
    if (this.#absent.size >= ABSENT_MAX) this.#absent.clear();
    this.#absent.add(name);
  }

  #add(name: Name, base: DentryRow | undefined): Entry {
    const entry: Entry = { name, base, target: base, dirty: false, taken: false };
    this.entries.set(name, entry);
    this.#absent.delete(name);
    this.#known.forget(this.ino, name);
    this.#sorted = undefined;
    return entry;
  }

  change(entry: Entry, target: EntryTarget | undefined): void {
    entry.target = target;
    this.changes += 1;
    if (target === undefined && entry.base === undefined && !entry.taken) {
      // Neither the store nor a commit knows the name.
      if (entry.dirty) this.#dirtyCount -= 1;
      this.entries.delete(entry.name);
      return;
    }
    if (!entry.dirty) {
      entry.dirty = true;
      this.#dirtyCount += 1;
    }
  }

  /** A commit under way has the entry as it is. */
  taken(entry: Entry): void {
    if (entry.dirty) this.#dirtyCount -= 1;
    entry.dirty = false;
    entry.taken = true;
  }

  /** The commit that took `entry` failed. */
  untaken(entry: Entry): void {
    entry.taken = false;
    if (!entry.dirty) this.#dirtyCount += 1;
    entry.dirty = true;
  }

  /** The store says `row` of this name now. */
  applied(entry: Entry, row: DentryRow | undefined): void {
    entry.base = row;
    entry.taken = false;
    if (!entry.dirty) this.#putAway(entry);
  }

  /** The record says what the store says. */
  #putAway(entry: Entry): void {
    this.entries.delete(entry.name);
    if (entry.base !== undefined) this.#known.put(entry.base);
  }

  /** False if the record has been put away since it was asked for: it must be asked for again. */
  stands(entry: Entry): boolean {
    return this.entries.get(entry.name) === entry;
  }

  /** Forgets records that say what the store says: made for changes that did not happen. */
  prune(): void {
    for (const entry of this.entries.values()) if (!entry.dirty && entry.target === entry.base) this.#putAway(entry);
  }

  async isEmpty(): Promise<boolean> {
    return (await this.list('', 1)).length === 0;
  }

  /**
   * Entries after `afterKey` in sort-key order, at least one page if there are so many; fewer than `limit` means the end. With `attribute` the store is also asked
   * for their inodes and the values of that extended attribute, if it can say that in one go.
   */
  async list(afterKey: string, limit: number, attribute?: Name): Promise<ListedEntry[]> {
    const listed: ListedEntry[] = [];
    let key = afterKey;
    // No more than whoever asks can take; whole pages where staged changes have taken the place of what was found.
    for (let page = Math.min(limit, PAGE); ; page = PAGE) {
      const found = this.fresh ? [] : this.#rows(key, page, attribute);
      const rows = found instanceof Promise ? await found : found;
      const last = rows.length < page ? undefined : sortKey(rows.at(-1)!.name, rows.at(-1)!.isDirectory);
      this.#merge(rows, key, last, limit, listed);
      if (listed.length >= limit || last === undefined) return listed;
      key = last;
    }
  }

  #rows(afterKey: string, limit: number, attribute: Name | undefined): Result<readonly (DentryRow | NodeRow)[]> {
    const { now } = this.#meta;
    return attribute === undefined || now === undefined
      ? (now ?? this.#meta).listDentries(this.ino, afterKey, limit)
      : now.listNodes(this.ino, afterKey, limit, attribute);
  }

  /** Adds committed and staged entries with afterKey < key ≤ through (undefined: to the end), up to `limit` in all. */
  #merge(
    rows: readonly (DentryRow | NodeRow)[],
    afterKey: string,
    through: string | undefined,
    limit: number,
    into: ListedEntry[],
  ): void {
    const staged = this.#order();
    let s = firstAfter(staged, afterKey);
    let r = 0;
    while (into.length < limit) {
      const row = rows[r];
      const own = staged[s];
      const ownKey = own !== undefined && (through === undefined || own.key <= through) ? own.key : undefined;
      if (row === undefined && ownKey === undefined) return;
      const rowKey = row === undefined ? undefined : sortKey(row.name, row.isDirectory);
      if (rowKey !== undefined && (ownKey === undefined || rowKey <= ownKey)) {
        r += 1;
        // A name with a record is listed from the record, under the key that it has now.
        if (!this.entries.has(row!.name))
          into.push({
            name: row!.name,
            key: rowKey,
            ino: row!.ino,
            isDirectory: row!.isDirectory,
            stored: withNode(row!),
          });
        continue;
      }
      s += 1;
      const target = this.entries.get(own!.name)?.target;
      if (target !== undefined && sortKey(own!.name, target.isDirectory) === own!.key)
        into.push({ name: own!.name, key: own!.key, ino: target.ino, isDirectory: target.isDirectory });
    }
  }

  /** A name may have become a directory or a file since it was sorted: both keys are listed, and the wrong one skipped. */
  #order(): { key: string; name: Name }[] {
    if (this.#sorted === undefined) {
      const order: { key: string; name: Name }[] = [];
      for (const name of this.entries.keys()) order.push({ key: name, name }, { key: `${name}/`, name });
      order.sort((a, b) => (a.key < b.key ? -1 : 1));
      this.#sorted = order;
    }
    return this.#sorted;
  }
}

function withNode(row: DentryRow | NodeRow): NodeRow | undefined {
  return 'node' in row ? row : undefined;
}

function firstAfter(sorted: readonly { key: string }[], key: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]!.key > key) high = middle;
    else low = middle + 1;
  }
  return low;
}
