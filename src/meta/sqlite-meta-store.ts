/**
 * The embedded metadata store: SQLite through better-sqlite3, which works on the calling thread. Its promises are settled
 * when they are returned; they exist so that a database across a network can take its place.
 *
 * - A commit is one IMMEDIATE transaction, with the position in it. It is not synced: the journal has it already, and a
 *   store that comes back older after power loss is replayed.
 * - A restore is one transaction too: whatever ends it early, the state from before it is there, at its own position.
 * - After an error of SQLite's the transaction is rolled back, and position and counts are what they were.
 */
import type Database from 'better-sqlite3';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import { type MetaCounts, noCounts } from './meta-counts.js';
import type { MetaNow, MetaPosition, MetaSnapshot, MetaStore } from './meta-store.js';
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
import { SqliteChanges } from './sqlite-changes.js';
import { fromSqlite, isDamage } from './sqlite-error.js';
import { PositionWriter, readPosition } from './sqlite-position.js';
import { SqliteReads } from './sqlite-reads.js';
import { markDamaged, openDatabase, TABLES } from './sqlite-schema.js';
import { SqliteSnapshot } from './sqlite-snapshot.js';

/**
 * Opens the store in the file `path`, making it if it is not there; SQLite keeps `-wal` and `-shm` files beside it.
 * CORRUPT if the file is damaged, of another format or of another program: the caller removes it (destroySqliteMetaStore)
 * and rebuilds it from the journal. ACCESS, IO, NO_SPACE and READ_ONLY as the file system says.
 */
export async function openSqliteMetaStore(path: string): Promise<MetaStore> {
  const database = openDatabase(path);
  try {
    return new SqliteMetaStore(database, path);
  } catch (error) {
    database.close();
    throw fromSqlite(error, path);
  }
}

class SqliteMetaStore implements MetaStore {
  readonly now: MetaNow = {
    getInode: (ino) => this.#do(() => this.#reads.inode(ino)),
    getDentry: (parent, name) => this.#do(() => this.#reads.dentry(parent, name)),
    listDentries: (parent, afterKey, limit) => this.#do(() => this.#reads.dentries(parent, afterKey, limit)),
  };
  readonly #database: Database.Database;
  readonly #path: string;
  readonly #reads: SqliteReads;
  readonly #changes: SqliteChanges;
  readonly #positionWriter: PositionWriter;
  readonly #begin: Database.Statement<[]>;
  readonly #end: Database.Statement<[]>;
  readonly #counts: MetaCounts;
  readonly #snapshots = new Set<SqliteSnapshot>();
  #position: MetaPosition;
  #isRestoring = false;
  #isDamaged = false;

  constructor(database: Database.Database, path: string) {
    this.#database = database;
    this.#path = path;
    const { position, counts } = readPosition(database);
    this.#position = position;
    this.#counts = counts;
    this.#reads = new SqliteReads(database);
    this.#changes = new SqliteChanges(database, counts);
    this.#positionWriter = new PositionWriter(database);
    this.#begin = database.prepare('BEGIN IMMEDIATE');
    this.#end = database.prepare('COMMIT');
  }

  get isDamaged(): boolean {
    return this.#isDamaged;
  }

  position(): MetaPosition {
    return this.#position;
  }

  async getInode(ino: Ino): Promise<InodeRow | undefined> {
    return this.now.getInode(ino);
  }

  async getDentry(parent: Ino, name: Name): Promise<DentryRow | undefined> {
    return this.now.getDentry(parent, name);
  }

  async listDentries(parent: Ino, afterKey: string, limit: number): Promise<DentryRow[]> {
    return this.now.listDentries(parent, afterKey, limit);
  }

  async listExtents(ino: Ino, from: number, to: number, limit: number): Promise<ExtentRow[]> {
    return this.#do(() => this.#reads.extents(ino, from, to, limit));
  }

  async allocatedBytes(ino: Ino): Promise<number> {
    return this.#do(() => this.#reads.allocatedBytes(ino));
  }

  async listXattrs(ino: Ino): Promise<XattrRow[]> {
    return this.#do(() => this.#reads.xattrs(ino));
  }

  async getChunk(chunk: ChunkId): Promise<ChunkRow | undefined> {
    return this.#do(() => this.#reads.chunk(chunk));
  }

  async listChunks(after: ChunkId | '', limit: number): Promise<ChunkRow[]> {
    return this.#do(() => this.#reads.chunks(after, limit));
  }

  async listUnreferenced(after: ChunkId | '', limit: number): Promise<ChunkRow[]> {
    return this.#do(() => this.#reads.unreferenced(after, limit));
  }

  async listNameless(after: Ino, limit: number): Promise<Ino[]> {
    return this.#do(() => this.#reads.nameless(after, limit));
  }

  async listChunkUsers(chunk: ChunkId, limit: number): Promise<Ino[]> {
    return this.#do(() => this.#reads.chunkUsers(chunk, limit));
  }

  async apply(commit: Commit): Promise<void> {
    const { sequence, epoch, stagedThrough, nextIno } = commit;
    const last = this.#position.sequence;
    this.#do(() => {
      if (sequence <= last) return;
      if (sequence !== last + 1) {
        throw new CairnError('CONFLICT', `commit ${sequence} cannot follow commit ${last} in the metadata store`);
      }
      const countsBefore = { ...this.#counts };
      const position = { sequence, epoch, stagedThrough, nextIno };
      try {
        this.#begin.run();
        this.#changes.apply(commit.changes);
        this.#positionWriter.write(position, this.#counts);
        this.#end.run();
      } catch (error) {
        this.#rollBack(countsBefore);
        throw error;
      }
      this.#position = position;
    });
  }

  async snapshot(): Promise<MetaSnapshot> {
    return this.#do(() => {
      const batches = new SqliteSnapshot(this.#path, (released) => this.#snapshots.delete(released));
      this.#snapshots.add(batches);
      return { position: batches.position, batches };
    });
  }

  /** Other calls fail with BUSY until it has ended. CORRUPT if the batches contradict each other. */
  async restore(position: MetaPosition, batches: AsyncIterable<readonly RowChange[]>): Promise<void> {
    this.#do(() => this.#begin.run());
    const countsBefore = { ...this.#counts };
    this.#isRestoring = true;
    try {
      for (const table of TABLES) this.#database.exec(`DELETE FROM ${table}`);
      Object.assign(this.#counts, noCounts());
      for await (const batch of batches) {
        if (!this.#database.open) throw closed();
        this.#changes.apply(batch);
      }
      if (!this.#database.open) throw closed();
      this.#positionWriter.write(position, this.#counts);
      this.#end.run();
    } catch (error) {
      this.#rollBack(countsBefore);
      if (!hasCode(error, 'CONFLICT')) throw this.#failed(error);
      throw new CairnError('CORRUPT', `a metadata snapshot contradicts itself: ${error.message}`, { cause: error });
    } finally {
      this.#isRestoring = false;
    }
    this.#position = position;
    // The whole store is in the write-ahead log now: give that space back, unless a snapshot would have to be waited for.
    if (this.#snapshots.size === 0) this.#do(() => this.#database.pragma('wal_checkpoint(TRUNCATE)'));
  }

  async statistics(): Promise<MetaCounts> {
    return { ...this.#counts };
  }

  async close(): Promise<void> {
    for (const snapshot of this.#snapshots) snapshot.cut();
    this.#database.close();
  }

  #do<Result>(task: () => Result): Result {
    if (!this.#database.open) throw closed();
    if (this.#isRestoring) throw new CairnError('BUSY', 'the metadata store is being restored');
    try {
      return task();
    } catch (error) {
      throw this.#failed(error);
    }
  }

  #failed(error: unknown): unknown {
    if (!this.#isDamaged && isDamage(error)) {
      this.#isDamaged = true;
      markDamaged(this.#path);
    }
    return fromSqlite(error, this.#path);
  }

  /** SQLite may have rolled back by itself, on a full disk for one. */
  #rollBack(countsBefore: MetaCounts): void {
    Object.assign(this.#counts, countsBefore);
    if (this.#database.open && this.#database.inTransaction) this.#database.exec('ROLLBACK');
  }
}

function closed(): CairnError {
  return new CairnError('CLOSED', 'the metadata store is closed');
}
