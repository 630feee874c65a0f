/**
 * Takes publications to a round. Whoever publishes gives a function that looks at the tree and says what to change; it is called again if, by
 * the time of the cut, what it had looked at is not so any more. So a check and the change that it allows are one step, without locks.
 */

import { ChunkBuffers } from '../chunks/chunk-buffers.js';
import type { ChunkPolicy, ChunkStore, PreparedChunk } from '../chunks/chunk-store.js';
import type { Journal } from '../commit/journal.js';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { Clock, Time } from '../io/clock.js';
import type { ExtentRow, Ino, Name } from '../meta/rows.js';
import { type ContentObserver, ContentWriter, type StoredContent } from './content-writer.js';
import { refuseDangling } from './dangling-name.js';
import type { Entry, EntryTarget } from './directory.js';
import { Inode } from './inode.js';
import type { InodeTable } from './inode-table.js';
import { PERMISSIONS, S_IFMT, S_IFREG } from './mode.js';
import type { PoolReader } from './pool-reader.js';
import {
  isSourceAsRead,
  type LoadedChange,
  type MadeFile,
  Publication,
  type PublicationContext,
  type Taken,
} from './publication.js';
import type { StagedSet } from './staged-set.js';

/** Small chunks and rows of publications that one round takes. */
const ROUND_BYTES_MAX = 8 * 1024 * 1024;

/** A look that is not so the moment after, this often in a row, is wrong itself. */
const MISSES_MAX = 1000;

/** A file that a publication makes. */
export interface NewFile {
  /** st_mode; a type other than a regular file's gives an inode without content. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Where it is not the clock's time. */
  readonly mtime?: Time;
  readonly content: StoredContent;
  /** Files whose extents `content` consists of, as they were when these were read. */
  readonly sources?: readonly { readonly ino: Ino; readonly version: number; readonly ctime: Time }[];
  /** Extended attributes, which may name the content stage of the row. */
  attributes(contentStage: number): Map<string, Uint8Array>;
}

export interface NameChange {
  readonly parent: Ino;
  readonly name: Name;
  /** What stands there, as the caller has found it. */
  readonly expected: Ino | undefined;
  /** Given if the caller relied on attributes or content of it. */
  readonly expectedCtime?: Time;
  /** Nothing, a new file, or a file that another change takes from elsewhere. */
  readonly to: undefined | NewFile | Ino;
}

/** What of a round was published. */
export interface PublishedRound {
  readonly inodes: readonly Inode[];
  readonly contents: readonly { readonly inode: Inode; readonly extents: readonly ExtentRow[] }[];
  readonly stored: readonly string[];
  durable(): void;
  release(): void;
  /** Returns the inodes that are not to be. */
  failed(error: unknown): Set<Inode>;
  forget(): void;
}

export class Publisher {
  readonly #staged: StagedSet;
  readonly #table: InodeTable;
  readonly #journal: Journal;
  readonly #chunks: ChunkStore;
  readonly #reader: PoolReader;
  readonly #clock: Clock;
  readonly #buffers: ChunkBuffers;
  readonly #largestBytes: number;
  readonly #retire: (inode: Inode) => void;
  #queue: Publication[] = [];

  constructor(parts: {
    staged: StagedSet;
    table: InodeTable;
    journal: Journal;
    chunks: ChunkStore;
    reader: PoolReader;
    clock: Clock;
    chunkBytes: number;
    /** What the COMMIT record of one publication may take. */
    largestBytes: number;
    /** A file has lost its last name: what the cache has of it goes, unless it is open. */
    retire: (inode: Inode) => void;
  }) {
    this.#staged = parts.staged;
    this.#table = parts.table;
    this.#journal = parts.journal;
    this.#chunks = parts.chunks;
    this.#reader = parts.reader;
    this.#clock = parts.clock;
    this.#buffers = new ChunkBuffers(parts.chunkBytes, parts.clock);
    this.#largestBytes = parts.largestBytes;
    this.#retire = parts.retire;
    this.#staged.onPublish = (contentStage, small) => this.#take(contentStage, small);
  }

  /** For content that is to be published. */
  writer(expectedBytes?: number, observer?: ContentObserver, asked?: ChunkPolicy): ContentWriter {
    return new ContentWriter(this.#chunks, this.#buffers, expectedBytes, observer, asked);
  }

  /** Content that will not be published. */
  discard(content: StoredContent): void {
    this.#chunks.release(content.extents.map(({ chunk }) => chunk));
  }

  /**
   * Makes all changes that `prepare` answers with, in one commit; resolves after the pool promise with the inode numbers of what was made, in order
   * (undefined for changes that make no file). `prepare` may throw, and is called again when what it found has changed. `owned` is the content that
   * the changes bring: whatever happens, it is not the caller's any more. An empty list changes nothing. CONFLICT if a source is not as it was read;
   * CORRUPT if a name leads to no inode.
   */
  async publish(
    prepare: () => Promise<readonly NameChange[]>,
    owned: readonly StoredContent[] = [],
  ): Promise<(Ino | undefined)[]> {
    let publication: Publication | undefined;
    try {
      for (let misses = 0; ; ) {
        publication = undefined;
        const changes = await prepare();
        const loaded = changes.length === 0 ? [] : await this.#loadIfThere(changes);
        if (loaded === undefined) {
          await this.#missed(changes, ++misses);
          continue;
        }
        misses = 0;
        if (loaded.length === 0) {
          for (const content of owned) this.discard(content);
          return [];
        }
        publication = new Publication(loaded);
        if (publication.bytes - tails(loaded) > this.#largestBytes)
          throw new CairnError('TOO_BIG', 'the file has more pieces than one commit can carry');
        this.#queue.push(publication);
        this.#request(publication);
        if (await publication.outcome) return loaded.map(({ made, to }) => (made === undefined ? undefined : to?.ino));
      }
    } catch (error) {
      // What a round has taken, the round gives back.
      if (publication?.isTaken !== true) for (const content of owned) this.discard(content);
      throw error;
    }
  }

  #request(publication: Publication): void {
    this.#journal.request().catch((error: unknown) => {
      // Its round has told it already, unless there was none.
      const at = this.#queue.indexOf(publication);
      if (at < 0) return;
      this.#queue.splice(at, 1);
      publication.refuse(error);
    });
  }

  /** As `#load`; what has gone since it was looked at is not as expected either. */
  async #loadIfThere(changes: readonly NameChange[]): Promise<LoadedChange[] | undefined> {
    try {
      return await this.#load(changes);
    } catch (error) {
      if (hasCode(error, 'STALE')) return undefined;
      throw error;
    }
  }

  /** Resolves when it makes sense to look again. CORRUPT where the next look would find the same, CONFLICT where it has been tried too often. */
  async #missed(changes: readonly NameChange[], misses: number): Promise<void> {
    for (const { parent, name } of changes) {
      const dir = await this.#table.find(parent);
      if (dir !== undefined) await refuseDangling(this.#table, dir, name);
    }
    if (misses >= MISSES_MAX)
      throw new CairnError('CONFLICT', 'what a change of names is based on is never as it was found');
    // Looking may take no more than memory: whoever changes the tree has a turn as well.
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** Undefined if something is not as expected. */
  async #load(changes: readonly NameChange[]): Promise<LoadedChange[] | undefined> {
    const loaded: LoadedChange[] = [];
    for (const { parent, name, expected, expectedCtime, to } of changes) {
      const dir = await this.#table.get(parent);
      if (dir.directory === undefined) throw new CairnError('NOT_DIRECTORY', 'this is not a directory');
      if (dir.gone) return undefined;
      const entry = await dir.directory.entry(name);
      if (entry.held !== undefined) {
        await entry.held;
        return undefined;
      }
      const before = entry.target;
      if (before?.ino !== expected) return undefined;
      const old = before === undefined ? undefined : await this.#table.get(before.ino);
      if (old?.held !== undefined) {
        await old.held;
        return undefined;
      }
      if (old?.directory !== undefined) throw new CairnError('IS_DIRECTORY', 'a directory is not published over');
      if (old !== undefined && mustPin(old)) await this.#reader.pin(old);
      const made = to === undefined || typeof to === 'number' ? undefined : to;
      loaded.push({
        dir,
        entry,
        before,
        old,
        oldCtime: expectedCtime,
        to: typeof to === 'number' ? await this.#table.get(to) : made && this.#inodeFor(made),
        made: made && (await this.#made(made)),
      });
    }
    return loaded;
  }

  #inodeFor(file: NewFile): Inode {
    const now = this.#clock.now();
    const type = (file.mode & S_IFMT) === 0 ? S_IFREG : 0;
    const inode = new Inode(this.#staged.nextIno++, type | (file.mode & (S_IFMT | PERMISSIONS)), now);
    inode.uid = file.uid;
    inode.gid = file.gid;
    if (file.mtime !== undefined) inode.mtime = file.mtime;
    return inode;
  }

  async #made({ content, attributes, sources = [] }: NewFile): Promise<MadeFile> {
    const found: { inode: Inode; version: number; ctime: Time }[] = [];
    for (const { ino, version, ctime } of sources) found.push({ inode: await this.#table.get(ino), version, ctime });
    // Preparing again would bring the same extents.
    if (!found.every(isSourceAsRead))
      throw new CairnError('CONFLICT', 'a file that is copied from has changed since its extents were read');
    return { content, attributes, sources: found };
  }

  #take(contentStage: number, small: { bytes: Uint8Array; prepared: PreparedChunk }[]): PublishedRound | undefined {
    if (this.#queue.length === 0) return undefined;
    const context: PublicationContext = {
      chunks: this.#chunks,
      now: this.#clock.now(),
      contentStage,
      small,
      setEntry: (dir, entry, target) => this.#setEntry(dir, entry, target),
      adopt: (inode) => this.#table.adopt(inode),
      mustPin,
    };
    const done: Publication[] = [];
    const taken: Taken[] = [];
    const waiting = this.#queue;
    let count = 0;
    for (let bytes = 0; count < waiting.length && (count === 0 || bytes < ROUND_BYTES_MAX); count++) {
      const publication = waiting[count]!;
      bytes += publication.bytes;
      const one = publication.take(context);
      if (one === undefined) continue;
      done.push(publication);
      taken.push(one);
    }
    this.#queue = waiting.slice(count);
    for (const left of this.#queue) this.#request(left);
    return done.length === 0 ? undefined : this.#round(done, taken);
  }

  #round(done: readonly Publication[], taken: readonly Taken[]): PublishedRound {
    const withdrawn = new Set<Inode>();
    return {
      inodes: taken.flatMap(({ inodes }) => inodes),
      contents: taken.flatMap(({ contents }) => contents),
      stored: taken.flatMap(({ stored }) => stored),
      durable: () => {
        for (const publication of done) publication.durable(this.#retire);
      },
      release: () => {
        for (const publication of done) this.#chunks.release(publication.chunks);
      },
      failed: (error) => {
        // The later ones may build on the earlier ones.
        for (const publication of [...done].reverse()) {
          for (const inode of publication.undo(error, (dir, entry, target) => this.#setEntry(dir, entry, target)))
            withdrawn.add(inode);
        }
        return withdrawn;
      },
      forget: () => {
        for (const inode of withdrawn) this.#retire(inode);
      },
    };
  }

  #setEntry(dir: Inode, entry: Entry, target: EntryTarget | undefined): void {
    this.#staged.publishEntry(dir, entry, target);
  }
}

function tails(changes: readonly LoadedChange[]): number {
  let bytes = 0;
  for (const { made } of changes) bytes += made?.content.tail.length ?? 0;
  return bytes;
}

/** An open file whose rows will be deleted keeps its extents in memory. */
export function mustPin(inode: Inode): boolean {
  return (
    inode.nlink === 1 &&
    inode.opens > 0 &&
    inode.content !== undefined &&
    inode.version > 0 &&
    inode.extents === undefined
  );
}
