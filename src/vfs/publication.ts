/**
 * A change of names that is made within a round or not at all: files that came from elsewhere get their names, together with content and
 * attributes, and others give theirs up. It is how an upload becomes an object (S3): one commit, and nobody ever sees half of it.
 *
 * Between the cut of the round and its end the files and names concerned are `held`: changes through other faces wait. The stage log hears
 * nothing of a publication, since the cache has nothing of it; so there must be nothing in the log that builds on a publication which
 * a crash then undoes. Reads do not wait. If the round fails, all is as before.
 */
import type { ChunkStore, PreparedChunk } from '../chunks/chunk-store.js';
import type { Time } from '../io/clock.js';
import type { ExtentRow, Ino, Name } from '../meta/rows.js';
import type { StoredContent } from './content-writer.js';
import type { Entry, EntryTarget } from './directory.js';
import type { Inode } from './inode.js';

/** One name, with everything loaded that the step needs. */
export interface LoadedChange {
  readonly dir: Inode;
  readonly entry: Entry;
  /** What the name stood for when it was loaded. */
  readonly before: EntryTarget | undefined;
  /** The inode of `before`. */
  readonly old: Inode | undefined;
  /** `old` must be as it was then, also in attributes and content. */
  readonly oldCtime: Time | undefined;
  readonly to: Inode | undefined;
  /** Given for a file that is made by this. */
  readonly made: MadeFile | undefined;
}

export interface MadeFile {
  readonly content: StoredContent;
  /** Extended attributes, given the content stage of the row. */
  attributes(contentStage: number): Map<string, Uint8Array>;
  /** Inodes whose chunks `content` names without holding them, with the version at which they were read: the round adds references while theirs stand. */
  readonly sources: readonly { readonly inode: Inode; readonly version: number; readonly ctime: Time }[];
}

/** What a round must know of it. */
export interface Taken {
  readonly inodes: readonly Inode[];
  readonly directories: readonly Inode[];
  readonly contents: readonly { readonly inode: Inode; readonly extents: readonly ExtentRow[] }[];
  /** Chunks that were stored for it and are held. */
  readonly stored: readonly string[];
}

export interface PublicationContext {
  readonly chunks: ChunkStore;
  readonly now: Time;
  readonly contentStage: number;
  readonly small: { bytes: Uint8Array; prepared: PreparedChunk }[];
  setEntry(dir: Inode, entry: Entry, target: EntryTarget | undefined): void;
  adopt(inode: Inode): void;
  mustPin(inode: Inode): boolean;
}

export class Publication {
  /** Resolves true when it has the pool promise, false if something it was based on has changed; rejects if its round failed. */
  readonly outcome: Promise<boolean>;
  /** About what it adds to a round's append. */
  readonly bytes: number;
  /** A round has it, and releases the chunks that it brings. */
  isTaken = false;
  readonly #changes: readonly LoadedChange[];
  #resolve!: (isDone: boolean) => void;
  #reject!: (error: unknown) => void;
  #release: (() => void) | undefined;
  #held: string[] = [];
  readonly #lost: { readonly inode: Inode; readonly nlink: number }[] = [];
  readonly #moved: { readonly inode: Inode; readonly parent: Ino; readonly name: Name; readonly ctime: Time }[] = [];

  constructor(changes: readonly LoadedChange[]) {
    this.#changes = changes;
    let bytes = 0;
    for (const { made, entry } of changes) {
      bytes += 256 + entry.name.length;
      if (made === undefined) continue;
      bytes += 512 + 64 * made.content.extents.length + made.content.tail.length;
      for (const value of made.attributes(0).values()) bytes += value.length;
    }
    this.bytes = bytes;
    this.outcome = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever gave up waiting must not crash for it.
    this.outcome.catch(() => undefined);
  }

  /** Makes the change, in the synchronous step of the round's cut. Undefined if it was not made: whoever waits has been told. */
  take(context: PublicationContext): Taken | undefined {
    if (!this.#stands(context)) {
      this.#resolve(false);
      return undefined;
    }
    try {
      this.#prepareTails(context);
    } catch (error) {
      this.#reject(error);
      return undefined;
    }
    this.isTaken = true;
    this.#hold();
    const inodes = new Set<Inode>();
    const contents: { inode: Inode; extents: readonly ExtentRow[] }[] = [];
    const kept = new Set<Inode>();
    for (const { to } of this.#changes) if (to !== undefined) kept.add(to);
    for (const { dir, entry, to, old, made } of this.#changes) {
      context.setEntry(dir, entry, to === undefined ? undefined : { ino: to.ino, isDirectory: false });
      dir.mtime = context.now;
      dir.ctime = context.now;
      inodes.add(dir);
      if (old !== undefined && !kept.has(old) && !inodes.has(old)) this.#loseName(old, context.now, inodes);
      if (to === undefined) continue;
      inodes.add(to);
      if (made === undefined) {
        this.#moved.push({ inode: to, parent: to.parent, name: to.name, ctime: to.ctime });
        to.ctime = context.now;
      } else {
        this.#fill(to, made, context);
        contents.push({ inode: to, extents: to.extents ?? [] });
      }
      to.seenIn(dir.ino, entry.name);
    }
    return { inodes: [...inodes], directories: this.#changes.map(({ dir }) => dir), contents, stored: this.#held };
  }

  #stands(context: PublicationContext): boolean {
    return this.#changes.every(({ dir, entry, before, old, oldCtime, to, made }) => {
      if (dir.gone || !dir.directory!.stands(entry) || entry.target !== before || entry.held !== undefined)
        return false;
      if (old !== undefined && (old.held !== undefined || context.mustPin(old))) return false;
      if (oldCtime !== undefined && (old === undefined || !isSame(old.ctime, oldCtime))) return false;
      if (made === undefined) return to === undefined || (!to.gone && to.held === undefined);
      return made.sources.every(isSourceAsRead);
    });
  }

  /** Hashes and places the small ends, which travel with the COMMIT record. */
  #prepareTails({ chunks, small }: PublicationContext): void {
    const before = small.length;
    this.#held = this.#changes.flatMap(({ made }) =>
      made === undefined || made.sources.length > 0 ? [] : made.content.extents.map(({ chunk }) => chunk),
    );
    const prepared: string[] = [];
    try {
      for (const { made, to } of this.#changes) {
        if (made === undefined || to === undefined) continue;
        const { extents, tail, sizeBytes } = made.content;
        const all = [...extents];
        if (tail.length > 0) {
          const one = chunks.prepareSmall(tail, undefined, made.content.asked);
          prepared.push(one.chunk);
          small.push({ bytes: tail, prepared: one });
          const { chunk, chunkBytes } = one;
          all.push({ offset: sizeBytes - tail.length, length: tail.length, chunk, chunkOffset: 0, chunkBytes });
        }
        to.extents = all;
      }
    } catch (error) {
      small.length = before;
      chunks.release(prepared);
      throw error;
    }
    this.#tails = prepared;
  }

  #tails: readonly string[] = [];

  #hold(): void {
    const held = new Promise<void>((resolve) => {
      this.#release = resolve;
    });
    for (const { entry, old, to } of this.#changes) {
      entry.held = held;
      if (old !== undefined) old.held = held;
      if (to !== undefined) to.held = held;
    }
  }

  #letGo(): void {
    for (const { entry, old, to } of this.#changes) {
      entry.held = undefined;
      if (old !== undefined) old.held = undefined;
      if (to !== undefined) to.held = undefined;
    }
    this.#release?.();
  }

  #loseName(inode: Inode, now: Time, inodes: Set<Inode>): void {
    this.#lost.push({ inode, nlink: inode.nlink });
    inode.nlink -= 1;
    inode.ctime = now;
    if (inode.nlink === 0) inode.gone = true;
    inodes.add(inode);
  }

  #fill(inode: Inode, made: MadeFile, context: PublicationContext): void {
    const { sizeBytes } = made.content;
    inode.sizeBytes = sizeBytes;
    inode.committedSize = sizeBytes;
    inode.allocatedBytes = sizeBytes;
    inode.contentStage = context.contentStage;
    inode.durableStage = context.contentStage;
    inode.committedXattrs = new Map();
    inode.stagedXattrs = made.attributes(context.contentStage);
    context.adopt(inode);
    if (inode.content !== undefined) inode.content.stagedFrom = context.contentStage;
  }

  /** The pool promise holds. `retire` forgets a file that has no name any more. */
  durable(retire: (inode: Inode) => void): void {
    this.#letGo();
    for (const { inode } of this.#lost) if (inode.gone) retire(inode);
    this.#resolve(true);
  }

  /** What is held for it. */
  get chunks(): readonly string[] {
    return [...this.#held, ...this.#tails];
  }

  /** Nothing of it counts: names and link counts are what they were. Returns the inodes that it had made. */
  undo(error: unknown, setEntry: (dir: Inode, entry: Entry, target: EntryTarget | undefined) => void): Set<Inode> {
    const withdrawn = new Set<Inode>();
    for (const { dir, entry, before } of this.#changes) setEntry(dir, entry, before);
    for (const { inode, nlink } of this.#lost) {
      inode.nlink = nlink;
      inode.gone = false;
    }
    for (const { inode, parent, name, ctime } of this.#moved) {
      inode.parent = parent;
      inode.name = name;
      inode.ctime = ctime;
    }
    for (const { to, made } of this.#changes) {
      if (made === undefined || to === undefined) continue;
      to.gone = true;
      to.nlink = 0;
      withdrawn.add(to);
    }
    this.#letGo();
    this.#reject(error);
    return withdrawn;
  }

  /** It never came to a round. */
  refuse(error: unknown): void {
    this.#reject(error);
  }
}

/** The extents that were read of it are its extents. */
export function isSourceAsRead({ inode, version, ctime }: MadeFile['sources'][number]): boolean {
  return !inode.gone && inode.version >= version && isSame(inode.ctime, ctime);
}

function isSame(a: Time, b: Time): boolean {
  return a.sec === b.sec && a.nsec === b.nsec;
}
