/**
 * The tree as a face for objects sees it: files by inode, directories as ordered pages of sort keys, attributes that the mount does not show, and
 * changes by publication. What it answers is committed or about to be: content that is staged is committed before it is told of.
 */
import type { ChunkPolicy } from '../chunks/chunk-store.js';
import { CairnError } from '../errors/cairn-error.js';
import type { Clock, Time } from '../io/clock.js';
import { type ExtentRow, type Ino, type Name, ROOT_INO } from '../meta/rows.js';
import type { Committer } from './committer.js';
import type { ContentObserver, ContentWriter, StoredContent } from './content-writer.js';
import { refuseDangling } from './dangling-name.js';
import type { ListedEntry } from './directory.js';
import type { Inode } from './inode.js';
import type { InodeTable, Step } from './inode-table.js';
import { chunkPolicyOf } from './policy.js';
import type { PolicyTree } from './policy-tree.js';
import type { PoolReader } from './pool-reader.js';
import type { NameChange, Publisher } from './publisher.js';
import { chain } from './result.js';
import { SMALL_CONTENT_BYTES, SmallContents } from './small-contents.js';
import type { StagedSet } from './staged-set.js';
import type { Result } from './vfs.js';
import type { Volume } from './volume.js';
import type { Xattrs } from './xattrs.js';

/** A file or directory as it is now. */
export interface TreeNode {
  readonly ino: Ino;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly isDirectory: boolean;
  readonly sizeBytes: number;
  readonly mtime: Time;
  readonly ctime: Time;
  readonly version: number;
  /** Grows with every committed change of content. */
  readonly contentStage: number;
}

/** What a listing tells of a file or directory. */
export type WalkedNode = Pick<TreeNode, 'ino' | 'mode' | 'isDirectory' | 'sizeBytes' | 'mtime' | 'contentStage'>;

/** An entry of a directory, with what is known of it at once. */
export interface ListedNode extends ListedEntry {
  /** As `settled` tells it; undefined where that has to be asked. */
  readonly node: WalkedNode | undefined;
  /** Of the attribute that was asked for, where `node` is given. */
  readonly value: Uint8Array | undefined;
}

/** What another face should be told of. */
export interface TreeWatcher {
  /** The name appeared, changed or went, in a directory that a face may remember. */
  entryChanged(parent: Ino, name: Name): void;
  /** Attributes, and content if `content`. */
  nodeChanged(ino: Ino, content: boolean): void;
  /** Resolves when all that came before has reached the face; undefined if it has. Never rejects. */
  readonly told?: (() => Promise<void> | undefined) | undefined;
  /** Resolves when what programs have written to a face that keeps it for a while is staged. IO. Undefined where none keeps anything. */
  readonly handOver?: (() => Promise<void>) | undefined;
}

const OWN = { pid: 0 };
/** Extents that are copied in one go. */
const EXTENTS_MAX = 1_000_000;
/** What another face has to let go of may be in use there for as long as a disk hangs. */
const TOLD_WITHIN_MS = 5000;

export class ObjectTree {
  /** Set by whoever keeps names and pages of its own: the mount. */
  watcher: TreeWatcher | undefined;
  readonly #volume: Volume;
  readonly #table: InodeTable;
  readonly #committer: Committer;
  readonly #reader: PoolReader;
  readonly #xattrs: Xattrs;
  readonly #policies: PolicyTree;
  readonly #staged: StagedSet;
  readonly #publisher: Publisher;
  readonly #clock: Clock;
  readonly #small = new SmallContents();
  #isLate = false;

  constructor(parts: {
    volume: Volume;
    table: InodeTable;
    committer: Committer;
    reader: PoolReader;
    xattrs: Xattrs;
    policies: PolicyTree;
    staged: StagedSet;
    publisher: Publisher;
    clock: Clock;
  }) {
    this.#volume = parts.volume;
    this.#table = parts.table;
    this.#committer = parts.committer;
    this.#reader = parts.reader;
    this.#xattrs = parts.xattrs;
    this.#policies = parts.policies;
    this.#staged = parts.staged;
    this.#publisher = parts.publisher;
    this.#clock = parts.clock;
  }

  /** A message to the kernel costs as much as a lookup: none is sent about directories that it has not been told of. */
  #entryChanged(parent: Ino, name: Name): void {
    if (this.#table.mayBeHeld(parent)) this.watcher?.entryChanged(parent, name);
  }

  get root(): Ino {
    return ROOT_INO;
  }

  /**
   * The names on the way from the root to the inode, each with what it stood for when it was seen last. Undefined where memory has forgotten one:
   * inodes that nobody uses are.
   */
  pathOf(ino: Ino): readonly Step[] | undefined {
    return this.#table.pathOf(ino);
  }

  /** Somebody has the file open and may write to it. */
  hasWriters(ino: Ino): boolean {
    return (this.#table.peek(ino)?.writers ?? 0) > 0;
  }

  /** Undefined if no face keeps writes to the file; else resolves when they are staged. IO. Not within a publication: a write may have to wait for one. */
  handOver(ino: Ino): Promise<void> | undefined {
    return this.hasWriters(ino) ? this.watcher?.handOver?.() : undefined;
  }

  /**
   * Resolves when the other faces know of all changes so far: who is told that a change is made may look at it through them. After a few seconds whether they do or not;
   * undefined if there is nothing to wait for, or they were late before and still are. Never rejects. Not within a publication, which they may be waiting for.
   */
  told(): Promise<void> | undefined {
    const told = this.watcher?.told?.();
    if (told === undefined || this.#isLate) return undefined;
    return new Promise((resolve) => {
      const timer = this.#clock.after(TOLD_WITHIN_MS, () => {
        this.#isLate = true;
        resolve();
      });
      void told.then(() => {
        this.#isLate = false;
        timer.cancel();
        resolve();
      });
    });
  }

  /** Undefined if there is no such name, or `parent` is no directory (any more). */
  child(parent: Ino, name: Name): Result<TreeNode | undefined> {
    return chain(this.#find(parent), (dir) => {
      if (dir?.directory === undefined || dir.gone) return undefined;
      // A publication of the name is under way: what it brings cannot be read yet, and may come to nothing.
      const held = dir.directory.entries.get(name)?.held;
      if (held !== undefined) return held.then(() => this.child(parent, name));
      return chain(dir.directory.lookup(name), (target) =>
        target === undefined
          ? undefined
          : chain(this.#find(target.ino), (inode) => {
              if (inode === undefined || inode.gone) return undefined;
              // Seen last under this name, which messages about what is in it tell.
              if (inode.directory !== undefined) inode.seenIn(parent, name);
              return nodeOf(inode);
            }),
      );
    });
  }

  node(ino: Ino): Result<TreeNode | undefined> {
    return chain(this.#find(ino), (inode) => (inode === undefined || inode.gone ? undefined : nodeOf(inode)));
  }

  #find(ino: Ino): Result<Inode | undefined> {
    return this.#table.peek(ino) ?? this.#table.find(ino);
  }

  /** As `node`, after what is staged of its content has been committed. */
  settled(ino: Ino): Result<TreeNode | undefined> {
    return chain(this.#find(ino), (inode) => {
      if (inode === undefined || inode.gone) return undefined;
      return inode.content?.staged === true ? this.#settle(inode) : nodeOf(inode);
    });
  }

  async #settle(inode: Inode): Promise<TreeNode | undefined> {
    await this.#committer.commitFile(inode);
    // The promise comes before the metadata store is told, and content stages change with that.
    await this.#staged.round;
    return this.settled(inode.ino);
  }

  /** The content stage of a file, or -1 while something of it is staged: tells whether its bytes are still those that were found. */
  contentOf(ino: Ino): number {
    const inode = this.#table.peek(ino);
    if (inode === undefined || inode.content?.staged === true) return -1;
    return inode.contentStage;
  }

  /** Entries after `afterKey` in the order of their sort keys, fewer than `limit` only at the end. Empty if it is no directory. */
  async list(parent: Ino, afterKey: string, limit: number): Promise<readonly ListedEntry[]> {
    const dir = await this.#find(parent);
    if (dir?.directory === undefined || dir.gone) return [];
    return dir.directory.list(afterKey, limit);
  }

  /** As `list`; of most entries it also says what they are, with the value of one extended attribute. */
  async listNodes(parent: Ino, afterKey: string, limit: number, attribute: Name): Promise<readonly ListedNode[]> {
    const dir = await this.#find(parent);
    if (dir?.directory === undefined || dir.gone) return [];
    const entries = await dir.directory.list(afterKey, limit, attribute);
    return entries.map((entry) => this.#listed(entry, attribute));
  }

  /** An inode in memory knows better than the store; what the store has of another is all there is. */
  #listed(entry: ListedEntry, attribute: Name): ListedNode {
    const { name, key, ino, isDirectory, stored } = entry;
    const inode = this.#table.peek(ino);
    if (inode === undefined) {
      const found = stored?.node;
      const node = found && { ino, isDirectory, ...found };
      return { name, key, ino, isDirectory, node, value: stored?.value };
    }
    const staged = inode.stagedXattrs?.get(attribute);
    const isKnown = staged !== undefined || inode.committedXattrs !== undefined || stored !== undefined;
    if (!isKnown || inode.gone || inode.content?.staged === true)
      return { name, key, ino, isDirectory, node: undefined, value: undefined };
    const committed = inode.committedXattrs === undefined ? stored?.value : inode.committedXattrs.get(attribute);
    const value = staged === undefined ? committed : (staged ?? undefined);
    return { name, key, ino, isDirectory, node: nodeOf(inode), value };
  }

  /** All extended attributes, hidden ones included. Empty if there is no such inode. */
  attributes(ino: Ino): Result<ReadonlyMap<string, Uint8Array>> {
    return chain(this.#find(ino), (inode) => (inode === undefined ? new Map() : this.#xattrs.all(inode)));
  }

  /** Sets (or with null removes) attributes in one step; resolves after the pool promise. NOT_FOUND if the inode is gone. */
  async setAttributes(ino: Ino, values: ReadonlyMap<string, Uint8Array | null>): Promise<void> {
    await this.stageAttributes(ino, values);
    this.watcher?.nodeChanged(ino, false);
    await this.#committer.commitNames();
  }

  /** As `setAttributes`, without the promise: they are committed before whatever is staged after them. No other face is told. */
  async stageAttributes(ino: Ino, values: ReadonlyMap<string, Uint8Array | null>): Promise<void> {
    for (;;) {
      const inode = await this.#find(ino);
      if (inode === undefined || inode.gone) throw new CairnError('NOT_FOUND', 'it is not there any more');
      await this.#xattrs.all(inode);
      if (inode.held !== undefined) await inode.held;
      else if (!inode.gone) {
        this.#volume.putAttributes(inode, values);
        return;
      }
    }
  }

  writer(expectedBytes?: number, observer?: ContentObserver, asked?: ChunkPolicy): ContentWriter {
    return this.#publisher.writer(expectedBytes, observer, asked);
  }

  /** How the policy of a directory asks for chunks to be kept; undefined: as the pool keeps everything. `directory` is only asked for where the pool has policies. */
  async chunkPolicy(directory: () => Promise<Ino>): Promise<ChunkPolicy | undefined> {
    if (!this.#policies.isUsed) return undefined;
    const inode = await this.#find(await directory());
    return inode === undefined ? undefined : chunkPolicyOf(await this.#policies.of(inode));
  }

  discard(content: StoredContent): void {
    this.#publisher.discard(content);
  }

  /** See Publisher.publish. */
  async publish(
    prepare: () => Promise<readonly NameChange[]>,
    owned: readonly StoredContent[] = [],
  ): Promise<(Ino | undefined)[]> {
    let last: readonly NameChange[] = [];
    const inos = await this.#publisher.publish(async () => {
      last = await prepare();
      return last;
    }, owned);
    for (const { parent, name } of last) this.#entryChanged(parent, name);
    return inos;
  }

  /** A new directory; the one that is there if there is one. NOT_DIRECTORY if a file is, CORRUPT if a name without an inode is. Not promised before something else is committed. */
  async makeDirectory(
    parent: Ino,
    name: Name,
    owner: { readonly uid: number; readonly gid: number; readonly mode: number },
    attributes: ReadonlyMap<string, Uint8Array> = new Map(),
  ): Promise<{ readonly ino: Ino; readonly isNew: boolean }> {
    for (;;) {
      const there = await this.child(parent, name);
      if (there !== undefined) {
        if (!there.isDirectory) throw new CairnError('NOT_DIRECTORY', 'a file has the name');
        return { ino: there.ino, isNew: false };
      }
      try {
        const caller = { ...OWN, uid: owner.uid, gid: owner.gid };
        const made = await this.#volume.makeDirectory(parent, name, owner.mode, caller, attributes);
        this.#entryChanged(parent, name);
        return { ino: made.ino, isNew: true };
      } catch (error) {
        if (!(error instanceof CairnError) || error.code !== 'EXISTS') throw error;
        await refuseDangling(this.#table, await this.#table.get(parent), name);
      }
    }
  }

  /** False if it is not empty. Not promised before something else is committed. */
  async removeDirectory(parent: Ino, name: Name): Promise<boolean> {
    try {
      await this.#volume.rmdir(parent, name);
    } catch (error) {
      if (error instanceof CairnError && (error.code === 'NOT_EMPTY' || error.code === 'NOT_FOUND')) return false;
      throw error;
    }
    this.#entryChanged(parent, name);
    return true;
  }

  /** The pool promise for all names and attributes as they are. */
  commitNames(): Promise<void> {
    return this.#committer.commitNames();
  }

  /** What the file consists of; its content is settled. TOO_BIG where that is too much to copy at once. */
  async extents(ino: Ino): Promise<readonly ExtentRow[]> {
    const inode = await this.#table.get(ino);
    const extents = await this.#reader.extents(inode, 0, inode.sizeBytes);
    if (extents.length > EXTENTS_MAX)
      throw new CairnError('TOO_BIG', 'the file has too many pieces to be copied at once');
    return extents;
  }

  /**
   * All bytes of a small file, as it was found, which nobody changes; undefined for a larger one, and for one whose content is not that any more. STALE and what
   * reading fails with.
   */
  small({ ino, sizeBytes, contentStage }: TreeNode): Result<Uint8Array | undefined> {
    if (sizeBytes > SMALL_CONTENT_BYTES || this.contentOf(ino) !== contentStage) return undefined;
    const bytes = this.#small.get(ino, contentStage, this.#clock.monotonicMs());
    if (bytes === undefined) return this.#readSmall(ino, sizeBytes, contentStage);
    this.#volume.noteRead(bytes.length);
    return bytes;
  }

  async #readSmall(ino: Ino, sizeBytes: number, contentStage: number): Promise<Uint8Array | undefined> {
    const parts = await this.reading(ino, (read) => read(0, sizeBytes));
    // Of its own: kept bytes must not hold a larger piece of memory.
    const bytes = Buffer.allocUnsafeSlow(sizeBytes);
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.length;
    }
    if (at !== sizeBytes || this.contentOf(ino) !== contentStage) return undefined;
    this.#small.put(ino, contentStage, bytes, this.#clock.monotonicMs());
    return bytes;
  }

  /** Bytes of a settled file as it was found: they stay readable while `use` runs, whatever becomes of the name. STALE. */
  async reading<T>(
    ino: Ino,
    use: (read: (from: number, to: number) => Promise<Uint8Array[]>) => Promise<T>,
  ): Promise<T> {
    const handle = await this.#volume.open(ino, { read: true, write: false });
    try {
      return await use((from, to) => this.#volume.readBytes(handle, from, to));
    } finally {
      await this.#volume.release(handle);
    }
  }
}

function nodeOf(inode: Inode): TreeNode {
  const { ino, mode, uid, gid, sizeBytes, mtime, ctime, version, contentStage } = inode;
  const isDirectory = inode.directory !== undefined;
  return { ino, mode, uid, gid, isDirectory, sizeBytes, mtime, ctime, version, contentStage };
}
