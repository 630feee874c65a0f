/**
 * Positions in a directory. A position is the number of an entry in a listing, one pass over the names, and is good for every handle of the
 * directory: the kernel keeps what one handle was given and goes on from there with another (FOPEN_CACHE_DIR), and an NFS server opens the
 * directory anew for every request.
 *
 * Invariants:
 * - A number stands for the same place, behind the same name, as long as its listing is kept. Whoever reads a part again and finds another name
 *   there gets numbers of a new listing from there on.
 * - What a handle reads from, and the newest listings, are kept as long as any handle of the directory is open; after that as long as there is room.
 */
import { assert, CairnError } from '../errors/cairn-error.js';
import type { Ino } from '../meta/rows.js';
import type { Directory } from './directory.js';

/** Numbers of a listing; a larger directory has several. Positions have 31 bits, which is all that a 32-bit program can take. */
const SPAN = 2 ** 20;
const GENERATIONS = 2 ** 11 - 1;
/** `.` and `..` have the first two numbers. */
const DOTS = 2;
/** Keys of entries already returned, so that a position can be gone back to. */
const KEYS_KEPT = 65_536;
const MARKER_EVERY = 256;
/** Keys that the listings of one open directory may have before those go that no handle reads from. */
const OPEN_KEYS_MAX = 4 * KEYS_KEPT;
const OPEN_LISTINGS_MAX = 64;
/** Keys of directories that nobody has open, all together. */
const IDLE_KEYS_MAX = 65_536;

export interface Place {
  /** Where to go on: behind this key ... */
  readonly key: string;
  /** ... and so many entries more. */
  readonly skip: number;
}

export class Listing {
  readonly generation: number;
  /** What `Directory.changes` was when it was begun. */
  readonly changes: number;
  /** What it gave as `..`. */
  readonly parent: Ino;
  /** Key of the last name before it; empty: it is of the whole directory. */
  readonly after: string;
  /** Handles that read from it. */
  users = 0;
  /** Keys of entries number `#first` and following, in the order in which they were returned. */
  #keys: string[] = [];
  #first = 0;
  /** Key of every 256th entry before those. */
  readonly #markers: string[] = [];

  constructor(generation: number, { changes }: Directory, parent: Ino, after: string) {
    this.generation = generation;
    this.changes = changes;
    this.parent = parent;
    this.after = after;
  }

  /** Whoever reads the whole directory now would be given the same. */
  isAsNow(directory: Directory, parent: Ino): boolean {
    return this.after === '' && this.changes === directory.changes && this.parent === parent;
  }

  get keyCount(): number {
    return this.#keys.length + this.#markers.length + 1;
  }

  /** The position behind `.` (0), `..` (1), and behind the entry of that index from 2 on. */
  cookie(index: number): number {
    return this.generation * SPAN + index + 1;
  }

  /** Where the entries behind the first `index` begin; undefined if so many were never returned. */
  place(index: number): Place | undefined {
    if (index === 0) return { key: this.after, skip: 0 };
    const last = index - 1;
    if (last >= this.#first) {
      const key = this.#keys[last - this.#first];
      return key === undefined ? undefined : { key, skip: 0 };
    }
    const marker = Math.floor(last / MARKER_EVERY);
    const key = this.#markers[marker];
    return key === undefined ? undefined : { key, skip: last - marker * MARKER_EVERY };
  }

  /** Whether entry number `index` is, or can become, the one of this key. */
  takes(index: number, key: string): boolean {
    const at = index - this.#first;
    if (at < 0 || index + DOTS + 1 >= SPAN) return false;
    return at === this.#keys.length || this.#keys[at] === key;
  }

  /** Entry number `index`, which it takes, was returned with this key. */
  returned(index: number, key: string): void {
    const at = index - this.#first;
    if (at < this.#keys.length) return;
    this.#keys.push(key);
    if (this.#keys.length < 2 * KEYS_KEPT) return;
    for (let i = 0; i < KEYS_KEPT; i++) {
      if ((this.#first + i) % MARKER_EVERY === 0) this.#markers[(this.#first + i) / MARKER_EVERY] = this.#keys[i]!;
    }
    this.#keys = this.#keys.slice(KEYS_KEPT);
    this.#first += KEYS_KEPT;
  }
}

/** The listings of one directory. */
class DirectoryListings {
  /** Oldest first. */
  readonly byGeneration = new Map<number, Listing>();
  handles = 0;
  /** The newest that came to its end, and nothing had changed meanwhile. */
  whole: Listing | undefined;

  get keyCount(): number {
    let keys = 1;
    for (const listing of this.byGeneration.values()) keys += listing.keyCount;
    return keys;
  }

  /** Gives up what no handle reads from, oldest first, while there is too much. */
  trim(): void {
    let keys = this.keyCount;
    for (const [generation, listing] of this.byGeneration) {
      if (this.byGeneration.size <= OPEN_LISTINGS_MAX && keys <= OPEN_KEYS_MAX) return;
      if (listing.users > 0 || listing === this.whole) continue;
      this.byGeneration.delete(generation);
      keys -= listing.keyCount;
    }
  }
}

export class Listings {
  readonly #open = new Map<Directory, DirectoryListings>();
  /** Of directories that nobody has open, least recently used first. */
  readonly #idle = new Map<Directory, { readonly listings: DirectoryListings; readonly keyCount: number }>();
  readonly #idleKeysMax: number;
  #idleKeys = 0;
  #next = 0;

  constructor(idleKeysMax = IDLE_KEYS_MAX) {
    this.#idleKeysMax = idleKeysMax;
  }

  opened(directory: Directory): void {
    const open = this.#open.get(directory) ?? this.#takeIdle(directory) ?? new DirectoryListings();
    open.handles += 1;
    this.#open.set(directory, open);
  }

  closed(directory: Directory): void {
    const open = this.#of(directory);
    open.handles -= 1;
    if (open.handles > 0) return;
    this.#open.delete(directory);
    const { keyCount } = open;
    this.#idle.set(directory, { listings: open, keyCount });
    this.#idleKeys += keyCount;
    for (const oldest of this.#idle.keys()) {
      if (this.#idleKeys <= this.#idleKeysMax) return;
      this.#takeIdle(oldest);
    }
  }

  /** Whether all that somebody was given in a pass over the open directory is still so, and its positions are known. */
  stands(directory: Directory, parent: Ino): boolean {
    return this.#of(directory).whole?.isAsNow(directory, parent) === true;
  }

  /** A pass over the whole open directory begins. */
  begin(directory: Directory, parent: Ino): Listing {
    // Where nothing has changed since another one began the same numbers will do.
    for (const listing of this.#of(directory).byGeneration.values())
      if (listing.isAsNow(directory, parent)) return listing;
    return this.beginAfter(directory, parent, '');
  }

  /** A listing of what comes behind `key`. */
  beginAfter(directory: Directory, parent: Ino, key: string): Listing {
    const { byGeneration } = this.#of(directory);
    let generation = this.#next++ % GENERATIONS;
    while (byGeneration.has(generation)) generation = this.#next++ % GENERATIONS;
    const listing = new Listing(generation, directory, parent, key);
    byGeneration.set(generation, listing);
    this.#of(directory).trim();
    return listing;
  }

  /** A pass came to the directory's end. */
  ended(directory: Directory, listing: Listing): void {
    if (listing.isAsNow(directory, listing.parent)) this.#of(directory).whole = listing;
  }

  /** The listing of a position, and how many of its numbers come before it. INVALID: it is of none that is kept. */
  find(directory: Directory, cookie: number): { readonly listing: Listing; readonly number: number } {
    const listing = this.#of(directory).byGeneration.get(Math.floor(cookie / SPAN));
    if (listing === undefined) throw unknownPosition();
    return { listing, number: cookie % SPAN };
  }

  #of(directory: Directory): DirectoryListings {
    const open = this.#open.get(directory);
    assert(open !== undefined, 'the directory is open');
    return open;
  }

  #takeIdle(directory: Directory): DirectoryListings | undefined {
    const idle = this.#idle.get(directory);
    if (idle === undefined) return undefined;
    this.#idle.delete(directory);
    this.#idleKeys -= idle.keyCount;
    return idle.listings;
  }
}

export function unknownPosition(): CairnError {
  return new CairnError('INVALID', 'this position was never returned for the directory');
}
