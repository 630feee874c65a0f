/**
 * The embedded metadata store: SQLite through better-sqlite3, which works on the calling thread. Its promises are settled
 * when they are returned; they exist so that a database across a network can take its place.
 *
 * - Commits share a transaction until `flush`, with the position in it (sqlite-transaction.ts). It is not synced: the journal has it already, and a
 *   store that comes back older is replayed.
 * - A restore is one transaction too: whatever ends it early, the state from before it is there, at its own position.
 * - After an error of SQLite's a commit has changed nothing, and position and counts are what they were.
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
import { fromSqlite, isDamage } from './sqlite-error.js';
import { SqliteReads } from './sqlite-reads.js';
import { markDamaged, openDatabase, TABLES } from './sqlite-schema.js';
import { SqliteSnapshot } from './sqlite-snapshot.js';
import { SqliteTransaction } from './sqlite-transaction.js';

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
    listNodes: (parent, afterKey, limit, attribute) =>
      this.#do(() => this.#reads.nodes(parent, afterKey, limit, attribute)),
  };
  readonly #database: Database.Database;
  readonly #path: string;
  readonly #reads: SqliteReads;
  readonly #transaction: SqliteTransaction;
  readonly #snapshots = new Set<SqliteSnapshot>();
  #isRestoring = false;
  #isDamaged = false;

  constructor(database: Database.Database, path: string) {
    this.#database = database;
    this.#path = path;
    this.#reads = new SqliteReads(database);
    this.#transaction = new SqliteTransaction(database);
  }

  get isDamaged(): boolean {
    return this.#isDamaged;
  }

  position(): MetaPosition {
    return this.#transaction.position;
  }

  async getInode(ino: Ino): Promise<InodeRow | undefined> {
    return this.now.getInode(ino);
  }

  async getDentry(parent: Ino, name: Name): Promise<DentryRow | undefined> {
    return this.now.getDentry(parent, name);
  }

  async getDirectoryEntry(ino: Ino): Promise<DentryRow | undefined> {
    return this.#do(() => this.#reads.directoryEntry(ino));
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
    const { sequence } = commit;
    this.#do(() => {
      const last = this.#transaction.position.sequence;
      if (sequence <= last) return;
      if (sequence !== last + 1) {
        throw new CairnError('CONFLICT', `commit ${sequence} cannot follow commit ${last} in the metadata store`);
      }
      this.#transaction.apply(commit);
    });
  }

  async flush(): Promise<void> {
    this.#do(() => this.#transaction.flush());
  }

  async snapshot(): Promise<MetaSnapshot> {
    return this.#do(() => {
      // It reads through a connection of its own.
      this.#transaction.flush();
      const batches = new SqliteSnapshot(this.#path, (released) => this.#snapshots.delete(released));
      this.#snapshots.add(batches);
      return { position: batches.position, batches };
    });
  }

  /** Other calls fail with BUSY until it has ended. CORRUPT if the batches contradict each other. */
  async restore(position: MetaPosition, batches: AsyncIterable<readonly RowChange[]>): Promise<void> {
    this.#do(() => this.#transaction.flush());
    this.#isRestoring = true;
    try {
      await this.#transaction.replace(async (changes) => {
        for (const table of TABLES) this.#database.exec(`DELETE FROM ${table}`);
        Object.assign(this.#transaction.counts, noCounts());
        for await (const batch of batches) {
          if (!this.#database.open) throw closed();
          changes.apply(batch);
        }
        if (!this.#database.open) throw closed();
        return position;
      });
    } catch (error) {
      if (!hasCode(error, 'CONFLICT')) throw this.#failed(error);
      throw new CairnError('CORRUPT', `a metadata snapshot contradicts itself: ${error.message}`, { cause: error });
    } finally {
      this.#isRestoring = false;
    }
    // The whole store is in the write-ahead log now: give that space back, unless a snapshot would have to be waited for.
    if (this.#snapshots.size === 0) this.#do(() => this.#database.pragma('wal_checkpoint(TRUNCATE)'));
  }

  async statistics(): Promise<MetaCounts> {
    return this.#do(() => ({ ...this.#transaction.counts }));
  }

  releaseMemory(): void {
    if (this.#database.open) this.#database.pragma('shrink_memory');
  }

  async close(): Promise<void> {
    for (const snapshot of this.#snapshots) snapshot.cut();
    try {
      if (this.#database.open && !this.#isRestoring) this.#transaction.flush();
    } catch {
      // A full or failing file system: what the file lacks is replayed from the journal.
    }
    this.#database.close();
  }

  #do<Result>(task: () => Result): Result {
    if (!this.#database.open) throw closed();
    if (this.#isRestoring) throw new CairnError('BUSY', 'the metadata store is being restored');
    try {
      this.#transaction.ensure();
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
}

function closed(): CairnError {
  return new CairnError('CLOSED', 'the metadata store is closed');
}
