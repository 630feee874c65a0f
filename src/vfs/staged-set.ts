/**
 * Everything that is staged and not taken by a commit, and how it becomes the content of a round: one consistent cut, made on
 * the calling thread. Namespace and attributes are always taken whole; of contents, those whose chunks are stored (`ready`) and those that are
 * small enough to travel with the COMMIT record (`wanted`).
 */
import { CLEAN, DIRTY, type FileContent, UNSEALED } from '../cache/file-content.js';
import { END, RangeMap } from '../cache/range-map.js';
import { Seal } from '../cache/seal.js';
import type { StageLog } from '../cache/stage-log.js';
import { type ChunkPolicy, type ChunkStore, type PreparedChunk, SMALL_CHUNK_BYTES } from '../chunks/chunk-store.js';
import type { RoundContent, RoundSource } from '../commit/journal.js';
import { extentOf } from '../commit/seal-pipeline.js';
import type { Clock } from '../io/clock.js';
import type { DentryRow, ExtentRow, Ino, RowChange } from '../meta/rows.js';
import type { Directory, Entry, EntryTarget } from './directory.js';
import type { Inode } from './inode.js';
import type { PublishedRound } from './publisher.js';

/** About what a row takes in a COMMIT record, apart from its texts. */
const INODE_BYTES = 192;
const DENTRY_BYTES = 64;
/** An extent in a COMMIT record. */
const EXTENT_BYTES = 96;
/** With so many small extents a window is in pieces: it is written again as one chunk when nothing has come for QUIET_MS, */
const PIECES_MIN = 32;
export const QUIET_MS = 10_000;
/** and at once with so many. Fewer would write a window of 4 MiB for every few pages that a busy database changes in it. */
const PIECES_MAX = 256;
const REGROUPED = RangeMap.mask(CLEAN, DIRTY);

interface TakenContent {
  readonly inode: Inode;
  readonly seal: Seal;
  readonly extents: readonly ExtentRow[];
  /** The extents take the place of everything in this range, and their chunks are another file's. */
  readonly shared?: { readonly from: number; readonly to: number };
}

/** Committed extents of one file that another is to have as well. */
export interface SharedExtents {
  readonly source: Inode;
  /** The row with which they were read. */
  readonly version: number;
  readonly from: number;
  readonly target: Inode;
  readonly to: number;
  readonly length: number;
  /** At the target's positions. */
  readonly extents: readonly ExtentRow[];
}

interface TakenInode {
  readonly inode: Inode;
  /** The commit deletes the row. */
  readonly deleted: boolean;
}

interface TakenEntry {
  readonly directory: Directory;
  readonly entry: Entry;
  readonly row: DentryRow | undefined;
}

export class StagedSet implements RoundSource {
  /** Inodes whose attributes or xattrs are to be committed. */
  readonly inodes = new Set<Inode>();
  /** Directories with dirty entries. */
  readonly directories = new Set<Inode>();
  /** Files with staged content. */
  readonly contents = new Set<Inode>();
  /** Files with windows in pieces. */
  readonly fragmented = new Set<Inode>();
  /** Files with a seal under way. */
  readonly sealing = new Set<Inode>();
  /** Names and attributes up to this stage sequence have the pool promise. */
  #durableThrough: number;
  /** Files without a name whose removal is not durable yet: a crash may bring them back. In the order in which they lost it. */
  readonly departing = new Map<Inode, { readonly through: number; readonly removed: () => void }>();
  /** Sealed, and all chunks stored. */
  readonly #ready = new Map<Inode, { seal: Seal; extents: readonly ExtentRow[] }>();
  /** To be sealed and prepared while the round is assembled. */
  readonly #wanted = new Set<Inode>();
  /** To be taken by the next round, if they still hold then. */
  readonly #shares = new Map<SharedExtents, (seal: Seal | undefined) => void>();
  /** Chunks whose shards are gone: their rows go with the next commit. */
  readonly collected = new Set<string>();
  /** What a round should wait for before it takes everything. */
  onPending: (() => Promise<void> | undefined) | undefined;
  /** A round is about to take everything: the last moment to `want` a file. */
  onAssemble: (() => void) | undefined;
  /** Makes the publications of the round, in the step of its cut. */
  onPublish:
    | ((contentStage: number, small: { bytes: Uint8Array; prepared: PreparedChunk }[]) => PublishedRound | undefined)
    | undefined;
  /** How the file's chunks are to be kept, where not as the pool keeps everything. */
  chunkPolicyOf: ((inode: Inode) => ChunkPolicy | undefined) | undefined;
  /** After every round, successful or not. */
  onRound: (() => void) | undefined;
  /** A content's ranges have changed. */
  onContent: ((content: FileContent) => void) | undefined;
  /** The row of an inode that is gone has been deleted. */
  onDeleted: ((inode: Inode) => void) | undefined;
  nextIno: Ino;
  /** Files are cut into chunks at multiples of this. */
  readonly chunkBytes: number;
  readonly #chunks: ChunkStore;
  readonly #stage: StageLog;

  readonly #roundBytes: number;
  readonly #clock: Clock;

  constructor(parts: {
    chunks: ChunkStore;
    stage: StageLog;
    clock: Clock;
    chunkBytes: number;
    /** About as long as the COMMIT record of one file's extents may become. */
    roundBytes: number;
    nextIno: Ino;
    durableThrough: number;
  }) {
    this.chunkBytes = parts.chunkBytes;
    this.#durableThrough = parts.durableThrough;
    this.#chunks = parts.chunks;
    this.#stage = parts.stage;
    this.#clock = parts.clock;
    this.#roundBytes = parts.roundBytes;
    this.nextIno = parts.nextIno;
  }

  get durableThrough(): number {
    return this.#durableThrough;
  }

  /** Names and attributes up to this stage sequence have the pool promise from now on. */
  #durable(through: number): void {
    this.#durableThrough = Math.max(through, this.#durableThrough);
    for (const [inode, departing] of this.departing) {
      if (departing.through > this.#durableThrough) break;
      this.departing.delete(inode);
      departing.removed();
    }
  }

  /** Calls `removed` when the pool has the removal of the file, so that what was staged for it cannot be asked for again. */
  depart(inode: Inode, removed: () => void): void {
    this.noteImages();
    const departing = this.departing.get(inode);
    if (departing === undefined) removed();
    else this.departing.set(inode, { through: departing.through, removed });
  }

  /** About how many bytes the names and attributes staged will take in a COMMIT record. */
  get namespaceBytes(): number {
    return this.#namespaceBytes;
  }

  #namespaceBytes = 0;

  /** Attributes or xattrs have changed; `bytes` is what they carry beside the row. */
  touch(inode: Inode, bytes = 0): void {
    if (!inode.attrDirty) this.#namespaceBytes += INODE_BYTES + inode.target.length;
    this.#namespaceBytes += bytes;
    inode.attrDirty = true;
    this.inodes.add(inode);
    if (!inode.imagePending) {
      inode.imagePending = true;
      this.#images.push(inode);
      this.#stage.wake();
    }
  }

  /** The content has been changed; at most one operation on it has been noted since. */
  addContent(inode: Inode): void {
    if (!this.contents.has(inode) && !this.sealing.has(inode)) inode.content!.stagedFrom = this.#stage.sequence - 1;
    this.contents.add(inode);
  }

  /** Inodes whose image the stage log lacks. */
  #images: Inode[] = [];

  /** Gives the stage log the images of inodes changed since the last call. */
  noteImages(): void {
    if (this.#images.length === 0) return;
    const images = this.#images;
    this.#images = [];
    for (const inode of images) {
      inode.imagePending = false;
      if (inode.gone) {
        const through = this.#stage.note({ kind: 'inode-gone', ino: inode.ino });
        const { removed } = this.departing.get(inode) ?? { removed: () => undefined };
        this.departing.delete(inode);
        this.departing.set(inode, { through, removed });
      } else this.#stage.note({ kind: 'inode', inode });
    }
  }

  changeEntry(parent: Inode, entry: Entry, target: EntryTarget | undefined): void {
    const before = entry.target;
    if (before !== undefined && (target === undefined || target.isDirectory !== before.isDirectory))
      this.#stage.note({ kind: 'dentry-gone', parent: parent.ino, name: entry.name, isDirectory: before.isDirectory });
    if (target !== undefined)
      this.#stage.note({
        kind: 'dentry',
        parent: parent.ino,
        name: entry.name,
        isDirectory: target.isDirectory,
        ino: target.ino,
      });
    this.publishEntry(parent, entry, target);
  }

  /** As `changeEntry`, but the stage log hears nothing of it: only within a round. */
  publishEntry(parent: Inode, entry: Entry, target: EntryTarget | undefined): void {
    const directory = parent.directory!;
    if (!entry.dirty) this.#namespaceBytes += DENTRY_BYTES + entry.name.length;
    directory.change(entry, target);
    if (directory.dirtyCount > 0) this.directories.add(parent);
  }

  /** A round with publications is under way: until it is over, what a face has seen of it is not promised. */
  publishing: Promise<void> | undefined;

  /**
   * Seals the file for the pipeline: all of it, or what is staged below `limit`. Less if that were more extents than one round
   * should carry; then the seal has no contentStage.
   */
  seal(inode: Inode, limit: number = END): Seal {
    const content = inode.content!;
    this.#stage.drain();
    this.#regroup(inode);
    const below = Math.min(limit, this.#extentsLimit(content));
    const complete = below >= inode.sizeBytes;
    const seal = new Seal(
      content,
      complete ? END : below,
      this.chunkBytes,
      complete ? inode.sizeBytes : Math.max(below, inode.committedSize),
      complete ? this.#stage.sequence : undefined,
    );
    this.#sealed(inode, seal);
    return seal;
  }

  /** Where the staged ranges of the content become more than a round should carry; END if they do not. */
  #extentsLimit(content: FileContent): number {
    const most = Math.max(64, Math.floor(this.#roundBytes / EXTENT_BYTES));
    if (content.ranges.size + content.ranges.bytes(DIRTY) / this.chunkBytes <= most) return END;
    let count = 0;
    let limit = END;
    content.ranges.forEachOf(0, END, UNSEALED, (from, to, value) => {
      if (limit !== END) return;
      const chunks = value === DIRTY ? Math.ceil((to - from) / this.chunkBytes) : 1;
      if (count + chunks > most) limit = from + (most - count) * this.chunkBytes;
      count += chunks;
    });
    return limit;
  }

  #sealed(inode: Inode, seal: Seal): void {
    const { content } = seal;
    seal.asked = this.chunkPolicyOf?.(inode);
    inode.failure = undefined;
    this.sealing.add(inode);
    if (!content.unsealed) {
      this.contents.delete(inode);
      content.stagedSinceMs = undefined;
    }
  }

  /** The file's windows that should be written again as one chunk now. */
  piecedWindows(inode: Inode): { readonly window: number; readonly from: number; readonly to: number }[] {
    const content = inode.content!;
    const quietSince = this.#clock.monotonicMs() - QUIET_MS;
    const due: { window: number; from: number; to: number }[] = [];
    for (const [window, { count, lastMs }] of content.smallExtents) {
      if (count < PIECES_MAX && (count < PIECES_MIN || lastMs > quietSince)) continue;
      const from = window * this.chunkBytes;
      const to = Math.min(from + this.chunkBytes, inode.sizeBytes);
      if (from < to) due.push({ window, from, to });
      else content.forgetSmallExtents(window);
    }
    return due;
  }

  /** Some of them are in the cache. */
  canRegroup(inode: Inode): boolean {
    const { ranges } = inode.content!;
    return this.piecedWindows(inode).some(({ from, to }) => ranges.covers(from, to, REGROUPED));
  }

  /** Windows in pieces become dirty as a whole, if the cache holds them: their next chunk is one piece. */
  #regroup(inode: Inode): void {
    const content = inode.content!;
    for (const { window, from, to } of this.piecedWindows(inode)) {
      if (!content.ranges.covers(from, to, REGROUPED)) continue;
      content.forgetSmallExtents(window);
      content.ranges.replace(from, to, CLEAN, DIRTY);
    }
    for (const { count } of content.smallExtents.values()) if (count >= PIECES_MIN) return;
    this.fragmented.delete(inode);
  }

  /** The pipeline has stored all of the seal. */
  ready(inode: Inode, seal: Seal, extents: readonly ExtentRow[]): void {
    this.#ready.set(inode, { seal, extents });
  }

  /** The seal's bytes are staged as before; `error` is told to every handle unless a later commit makes it good (undefined: the commit was called off). */
  sealFailed(inode: Inode, seal: Seal, error: unknown): void {
    seal.failed(error);
    this.sealing.delete(inode);
    inode.failure = error;
    if (error !== undefined) inode.failed(error, true);
    if (!inode.gone) this.contents.add(inode);
    this.onContent?.(seal.content);
  }

  #shareFailed(inode: Inode, seal: Seal, error: unknown): void {
    seal.failed(error);
    this.sealing.delete(inode);
    if (seal.content.staged && !inode.gone) this.contents.add(inode);
  }

  /** The file's staged bytes are few: seal them when the round is assembled. */
  want(inode: Inode): void {
    this.#wanted.add(inode);
  }

  /**
   * Has the next round, which `request` asks for, give the target the extents. Resolves when that is durable, with the seal that ends when the metadata
   * store has it; undefined if it could not be: one of the files has been changed since the extents were read, or a commit has it. Rejects if
   * the round failed.
   */
  async share(shared: SharedExtents, request: () => Promise<unknown>): Promise<Seal | undefined> {
    let answer: { readonly seal: Seal | undefined } | undefined;
    this.#shares.set(shared, (seal) => {
      answer = { seal };
    });
    try {
      while (answer === undefined) await request();
      return answer.seal;
    } finally {
      this.#shares.delete(shared);
    }
  }

  pending(): Promise<void> | undefined {
    return this.onPending?.();
  }

  assemble(): RoundContent | undefined {
    this.#stage.drain();
    this.onAssemble?.();
    const stagedThrough = this.#stage.sequence;
    const small: { bytes: Uint8Array; prepared: ReturnType<ChunkStore['prepareSmall']> }[] = [];
    const published = this.onPublish?.(stagedThrough, small);
    for (const inode of published?.inodes ?? []) {
      inode.attrDirty = true;
      this.inodes.add(inode);
      if (inode.gone) this.contents.delete(inode);
    }
    const taken = this.#takeContents(small);
    this.#takeShares(taken);
    const collected = [...this.collected];
    const changes: RowChange[] = collected.map((chunk) => ({ kind: 'chunk-delete', chunk }));
    const inodes = this.#takeInodes(taken, changes);
    const xattrs = this.#takeXattrs(inodes, changes);
    for (const content of taken) addExtents(content, changes);
    for (const { inode, extents } of published?.contents ?? [])
      addExtents({ inode, seal: { holes: [] }, extents }, changes);
    const parents = [...this.directories];
    const entries = this.#takeEntries(parents, changes);
    const namespaceBytes = this.#namespaceBytes;
    this.#namespaceBytes = 0;
    if (changes.length === 0) {
      // What there was has come and gone between two rounds.
      this.#applied(inodes, xattrs, taken, entries, parents);
      this.#durable(stagedThrough);
      return undefined;
    }
    const release = (): void => {
      for (const { extents, shared } of taken)
        if (shared === undefined) this.#chunks.release(extents.map(({ chunk }) => chunk));
      published?.release();
    };
    let end!: () => void;
    this.#round = new Promise((resolve) => {
      end = resolve;
    });
    if (published !== undefined) this.publishing = this.#round;
    return {
      changes,
      stagedThrough,
      nextIno: this.nextIno,
      small,
      stored: [
        ...taken.flatMap(({ extents, shared }) => (shared === undefined ? extents.map(({ chunk }) => chunk) : [])),
        ...(published?.stored ?? []),
      ],
      onDurable: () => {
        this.publishing = undefined;
        this.#durable(stagedThrough);
        published?.durable();
        for (const { inode, seal } of taken) {
          if (seal.contentStage === undefined) continue;
          inode.durableStage = seal.contentStage;
          inode.failure = undefined;
          inode.errors?.withdraw();
        }
      },
      onApplied: () => {
        this.#round = undefined;
        for (const chunk of collected) this.collected.delete(chunk);
        this.#applied(inodes, xattrs, taken, entries, parents);
        release();
        end();
      },
      onFailed: (error) => {
        this.#round = undefined;
        this.publishing = undefined;
        const withdrawn = published?.failed(error);
        release();
        for (const { inode } of inodes) {
          inode.taken = false;
          if (withdrawn?.has(inode) === true) continue;
          this.touch(inode);
          if (inode.content?.staged === true && !inode.gone) this.contents.add(inode);
        }
        published?.forget();
        for (const { inode, seal, shared } of taken) {
          // Whoever asked for it is told; nothing of the file was staged.
          if (shared !== undefined) this.#shareFailed(inode, seal, error);
          else this.sealFailed(inode, seal, error);
        }
        for (const { directory, entry } of entries) directory.untaken(entry);
        for (const inode of parents) if (inode.directory!.dirtyCount > 0) this.directories.add(inode);
        this.#namespaceBytes += namespaceBytes;
        this.onRound?.();
        end();
      },
    };
  }

  #round: Promise<void> | undefined;

  /** Until the round under way is over, and the metadata store says what it committed; undefined if there is none. */
  get round(): Promise<void> | undefined {
    return this.#round;
  }

  /** Contents whose chunks are stored, and small ones that were wanted. What is gone is committed no more. */
  #takeContents(small: { bytes: Uint8Array; prepared: ReturnType<ChunkStore['prepareSmall']> }[]): TakenContent[] {
    const taken: TakenContent[] = [];
    for (const [inode, { seal, extents }] of this.#ready) {
      // Bytes that the kernel could not write back may have been read as they were before.
      const lost = inode.gone ? undefined : seal.content.writebackFailure();
      if (!inode.gone && lost === undefined) {
        taken.push({ inode, seal, extents });
        continue;
      }
      this.sealFailed(inode, seal, lost);
      this.#chunks.release(extents.map(({ chunk }) => chunk));
    }
    this.#ready.clear();
    for (const inode of this.#wanted) {
      const { content } = inode;
      if (inode.gone || content === undefined || content.seal !== undefined || !content.unsealed) continue;
      const one = this.#takeSmall(inode, small);
      if (one !== undefined) taken.push(one);
    }
    this.#wanted.clear();
    return taken;
  }

  /** Those that still hold: nothing of the source's range is staged, its row is the one that was read, and no commit has either file's content. */
  #takeShares(taken: TakenContent[]): void {
    for (const [{ source, version, from, target, to, length, extents }, tell] of this.#shares) {
      const content = target.content!;
      const staged = source.content!.nextStaged(from);
      const isUntouched = source.version === version && (staged === undefined || staged >= from + length);
      const isFree = content.seal === undefined && (source === target || source.content!.seal === undefined);
      const holds = isUntouched && isFree && !content.staged && !source.gone && !target.gone;
      if (!holds) {
        tell(undefined);
        continue;
      }
      const sizeBytes = Math.max(target.sizeBytes, to + length);
      const seal = new Seal(content, END, this.chunkBytes, sizeBytes, this.#stage.sequence);
      this.#sealed(target, seal);
      tell(seal);
      taken.push({ inode: target, seal, extents, shared: { from: to, to: to + length } });
    }
    this.#shares.clear();
  }

  /** Undefined if no disk can take its chunks: the inode's `failure` says why, and the others go on without it. */
  #takeSmall(
    inode: Inode,
    small: { bytes: Uint8Array; prepared: ReturnType<ChunkStore['prepareSmall']> }[],
  ): TakenContent | undefined {
    const content = inode.content!;
    const seal = new Seal(content, END, SMALL_CHUNK_BYTES, inode.sizeBytes, this.#stage.sequence);
    this.#sealed(inode, seal);
    const before = small.length;
    try {
      const extents = seal.pieces.map((piece) => {
        const bytes = seal.copy(piece);
        const prepared = this.#chunks.prepareSmall(bytes, undefined, seal.asked);
        small.push({ bytes, prepared });
        seal.markRead(piece);
        return extentOf(piece, prepared);
      });
      const lost = content.writebackFailure();
      if (lost !== undefined) throw lost;
      return { inode, seal, extents };
    } catch (error) {
      this.#chunks.release(small.splice(before).map(({ prepared }) => prepared.chunk));
      this.sealFailed(inode, seal, error);
      return undefined;
    }
  }

  #takeInodes(contents: readonly TakenContent[], changes: RowChange[]): TakenInode[] {
    const taken = new Set(this.inodes);
    this.inodes.clear();
    const sealOf = new Map<Inode, Seal>();
    for (const { inode, seal } of contents) {
      taken.add(inode);
      sealOf.set(inode, seal);
    }
    const inodes: TakenInode[] = [];
    for (const inode of taken) {
      inode.attrDirty = false;
      if (inode.gone && inode.version === 0) continue;
      inode.taken = true;
      inodes.push({ inode, deleted: inode.gone });
      if (inode.gone) {
        changes.push({ kind: 'inode-delete', before: inode.version, ino: inode.ino });
        continue;
      }
      const seal = sealOf.get(inode);
      const content =
        seal === undefined
          ? {
              sizeBytes: inode.content === undefined ? inode.sizeBytes : inode.committedSize,
              contentStage: inode.contentStage,
            }
          : { sizeBytes: seal.sizeBytes, contentStage: seal.contentStage ?? inode.contentStage };
      changes.push({ kind: 'inode', before: inode.version, row: inode.toRow(content) });
    }
    return inodes;
  }

  #takeXattrs(inodes: readonly TakenInode[], changes: RowChange[]): Map<Inode, Map<string, Uint8Array | null>> {
    const taken = new Map<Inode, Map<string, Uint8Array | null>>();
    for (const { inode } of inodes) {
      if (inode.stagedXattrs === undefined || inode.stagedXattrs.size === 0 || inode.gone) continue;
      taken.set(inode, new Map(inode.stagedXattrs));
      for (const [name, value] of inode.stagedXattrs) {
        if (value === null) changes.push({ kind: 'xattr-delete', ino: inode.ino, name });
        else changes.push({ kind: 'xattr', row: { ino: inode.ino, name, value } });
      }
    }
    return taken;
  }

  #takeEntries(parents: readonly Inode[], changes: RowChange[]): TakenEntry[] {
    const taken: TakenEntry[] = [];
    this.directories.clear();
    for (const parent of parents) {
      const directory = parent.directory!;
      for (const entry of directory.entries.values()) {
        if (!entry.dirty) continue;
        const { base, target, name } = entry;
        directory.taken(entry);
        if (base !== undefined && (target === undefined || target.isDirectory !== base.isDirectory))
          changes.push({
            kind: 'dentry-delete',
            before: base.version,
            parent: parent.ino,
            name,
            isDirectory: base.isDirectory,
          });
        let row: DentryRow | undefined;
        if (target !== undefined) {
          const before = base !== undefined && base.isDirectory === target.isDirectory ? base.version : 0;
          row = { parent: parent.ino, name, ino: target.ino, isDirectory: target.isDirectory, version: before + 1 };
          changes.push({ kind: 'dentry', before, row });
        }
        taken.push({ directory, entry, row });
      }
    }
    return taken;
  }

  #applied(
    inodes: readonly TakenInode[],
    xattrs: ReadonlyMap<Inode, Map<string, Uint8Array | null>>,
    contents: readonly TakenContent[],
    entries: readonly TakenEntry[],
    parents: readonly Inode[],
  ): void {
    for (const { inode, deleted } of inodes) {
      inode.taken = false;
      inode.version = deleted ? 0 : inode.version + 1;
    }
    for (const [inode, values] of xattrs) {
      for (const [name, value] of values) {
        if (inode.stagedXattrs?.get(name) === value) inode.stagedXattrs.delete(name);
        if (value === null) inode.committedXattrs?.delete(name);
        else inode.committedXattrs?.set(name, value);
      }
    }
    for (const content of contents) this.#contentApplied(content);
    for (const { directory, entry, row } of entries) directory.applied(entry, row);
    for (const parent of parents) {
      parent.directory!.fresh = false;
      if (parent.directory!.dirtyCount > 0) this.directories.add(parent);
      else parent.directory!.prune();
    }
    for (const { inode, deleted } of inodes) if (deleted) this.onDeleted?.(inode);
    this.onRound?.();
  }

  #contentApplied({ inode, seal, extents, shared }: TakenContent): void {
    seal.applied();
    this.sealing.delete(inode);
    const before = inode.committedSize;
    inode.allocate(seal, extents);
    if (shared !== undefined) {
      seal.content.dropCleanWithin(shared.from, shared.to);
      inode.allocatedBytes = undefined;
      // Unless it has been given another size meanwhile.
      if (inode.sizeBytes >= before) inode.sizeBytes = Math.max(inode.sizeBytes, seal.sizeBytes);
    }
    inode.committedSize = seal.sizeBytes;
    if (inode.gone) {
      // Its rows are about to be deleted: what is still read through open handles must be known without them.
      inode.extents = spliced(inode.extents ?? [], seal.holes, extents);
      this.onContent?.(seal.content);
      return;
    }
    inode.extents = undefined;
    inode.manyExtents = false;
    if (seal.contentStage !== undefined) {
      inode.contentStage = seal.contentStage;
      seal.content.stagedFrom = seal.contentStage;
    }
    const { content } = seal;
    for (const extent of extents) {
      const window = Math.floor(extent.offset / this.chunkBytes);
      if (extent.length > SMALL_CHUNK_BYTES) content.forgetSmallExtents(window);
      else if (inode.sizeBytes > SMALL_CHUNK_BYTES) {
        const count = content.addSmallExtent(window, this.#clock.monotonicMs());
        if (count >= PIECES_MIN) this.fragmented.add(inode);
      }
    }
    if (content.staged && !inode.gone) this.contents.add(inode);
    this.onContent?.(content);
  }
}

/** A file's extents after a commit of holes and pieces. */
function spliced(
  before: readonly ExtentRow[],
  holes: readonly { readonly from: number; readonly to: number }[],
  pieces: readonly ExtentRow[],
): readonly ExtentRow[] {
  let extents = [...before];
  const cut = (from: number, to: number): void => {
    extents = extents.flatMap((extent) => {
      const end = extent.offset + extent.length;
      if (end <= from || extent.offset >= to) return [extent];
      const parts: ExtentRow[] = [];
      if (extent.offset < from) parts.push({ ...extent, length: from - extent.offset });
      if (end > to)
        parts.push({ ...extent, offset: to, length: end - to, chunkOffset: extent.chunkOffset + to - extent.offset });
      return parts;
    });
  };
  for (const { from, to } of holes) cut(from, to);
  for (const { offset, length } of pieces) cut(offset, offset + length);
  return [...extents, ...pieces].sort((a, b) => a.offset - b.offset);
}

/** The extents of a sealed file: pieces and holes, and the end of the file where something may lie beyond. */
function addExtents(
  {
    inode,
    seal,
    extents,
    shared,
  }: Pick<TakenContent, 'inode' | 'extents' | 'shared'> & { readonly seal: Pick<Seal, 'holes'> },
  changes: RowChange[],
): void {
  if (shared !== undefined) {
    changes.push({ kind: 'extents', ino: inode.ino, from: shared.from, to: shared.to, extents });
    return;
  }
  let run: ExtentRow[] = [];
  const flush = (): void => {
    const first = run[0];
    const last = run.at(-1);
    if (first !== undefined && last !== undefined)
      changes.push({
        kind: 'extents',
        ino: inode.ino,
        from: first.offset,
        to: last.offset + last.length,
        extents: run,
      });
    run = [];
  };
  for (const { from, to } of seal.holes) changes.push({ kind: 'extents', ino: inode.ino, from, to, extents: [] });
  for (const extent of extents) {
    const last = run.at(-1);
    if (last !== undefined && last.offset + last.length !== extent.offset) flush();
    run.push(extent);
  }
  flush();
}
