/**
 * The metadata engine: committed state only (what is staged lives in `cache` and `vfs`). It is an index of the journal: it
 * can be cleared and rebuilt from a snapshot and the commits after it at any time.
 *
 * Properties an implementation must have, proved by test/conformance/meta-store.ts:
 * - `apply` is atomic, and is durable no later than the journal needs it (a store that comes back older is replayed);
 * - it applies a commit only at `position().sequence + 1` and ignores one at or below it, so replay is idempotent; a gap is CONFLICT;
 * - it checks every `before` and fails with CONFLICT, changing nothing, if one does not hold;
 * - it keeps chunk reference counts from the extent changes (a chunk row is made by the first extent that names it);
 * - reads see the last applied commit; lists are ascending, and cost what they return, not what the table holds;
 * - a snapshot is the state at one commit, while later commits go on being applied.
 * An engine that works on the calling thread also offers `now`.
 */
import type {
  ChunkId,
  ChunkRow,
  Commit,
  DentryRow,
  ExtentRow,
  Ino,
  InodeRow,
  Name,
  RowChange,
  XattrRow,
} from './rows.js';

export interface MetaPosition {
  /** The last applied commit; 0 in an empty store. */
  readonly sequence: number;
  readonly epoch: number;
  readonly stagedThrough: number;
  readonly nextIno: Ino;
}

/** An entry with what listings want of its inode. */
export interface NodeRow extends Pick<DentryRow, 'name' | 'ino' | 'isDirectory'> {
  /** Undefined if there is no such inode. */
  readonly node: Pick<InodeRow, 'mode' | 'sizeBytes' | 'mtime' | 'contentStage'> | undefined;
  /** Of the extended attribute that was asked for. */
  readonly value: Uint8Array | undefined;
}

/** What an engine in this process can say without a promise: the same answers as the methods of these names below, and the same errors, thrown; and what only pays there. */
export interface MetaNow {
  getInode(ino: Ino): InodeRow | undefined;
  getDentry(parent: Ino, name: Name): DentryRow | undefined;
  listDentries(parent: Ino, afterKey: string, limit: number): DentryRow[];
  /** As listDentries, each with its inode and its value of the extended attribute `attribute`: one query for what would be two more for each entry. */
  listNodes(parent: Ino, afterKey: string, limit: number, attribute: Name): NodeRow[];
}

export interface MetaStore {
  /** Optional: a look-up that answers within the request costs half of one that is waited for. */
  readonly now?: MetaNow;
  /** True once the engine has found its own file damaged: opened again, it is empty, to be filled from the disks. Not given by an engine that looks after itself. */
  readonly isDamaged?: boolean;
  /** The last applied commit's numbers; kept in memory, so it costs nothing. */
  position(): MetaPosition;
  getInode(ino: Ino): Promise<InodeRow | undefined>;
  /** The entry of that name, file or directory; where both exist (S3 only), the directory. */
  getDentry(parent: Ino, name: Name): Promise<DentryRow | undefined>;
  /** The one entry of a directory, by which its parent is known. Undefined for the root, and for what is no directory. */
  getDirectoryEntry(ino: Ino): Promise<DentryRow | undefined>;
  /** Entries in ascending order of their sort key, those after `afterKey` ('' from the start). */
  listDentries(parent: Ino, afterKey: string, limit: number): Promise<DentryRow[]>;
  /** Extents that overlap [from, to), ascending, at most `limit`. */
  listExtents(ino: Ino, from: number, to: number, limit: number): Promise<ExtentRow[]>;
  /** Bytes of the file that have an extent: what is not a hole. Costs a walk over its extents. */
  allocatedBytes(ino: Ino): Promise<number>;
  listXattrs(ino: Ino): Promise<XattrRow[]>;
  getChunk(chunk: ChunkId): Promise<ChunkRow | undefined>;
  /** Chunk rows, ascending by id. */
  listChunks(after: ChunkId | '', limit: number): Promise<ChunkRow[]>;
  /** Chunk rows without references, ascending by id. */
  listUnreferenced(after: ChunkId | '', limit: number): Promise<ChunkRow[]>;
  /** Inodes with no link, ascending, those after `after` (0: from the start): open without a name when the commit was made. Costs what it returns. */
  listNameless(after: Ino, limit: number): Promise<Ino[]>;
  /** Files that name the chunk (for reports): up to `limit` inode numbers. */
  listChunkUsers(chunk: ChunkId, limit: number): Promise<Ino[]>;
  apply(commit: Commit): Promise<void>;
  /** Not given by an engine whose file has every commit at once: writes down those that it has kept back, to be written together. What it keeps back, reads see all the same. */
  flush?(): Promise<void>;
  /** The whole state at one commit, as puts in batches (any order between tables), with that commit's position. The caller must exhaust or return() it. */
  snapshot(): Promise<MetaSnapshot>;
  /** Empties the store and fills it: the position is set when the batches have ended without an error. */
  restore(position: MetaPosition, batches: AsyncIterable<readonly RowChange[]>): Promise<void>;
  statistics(): Promise<{ inodes: number; dentries: number; extents: number; chunks: number; chunkBytes: number }>;
  /** Gives back memory that it keeps only to be quicker. Not given by an engine that keeps none in this process. */
  releaseMemory?(): void;
  close(): Promise<void>;
}

export interface MetaSnapshot {
  readonly position: MetaPosition;
  readonly batches: AsyncIterable<readonly RowChange[]>;
}
