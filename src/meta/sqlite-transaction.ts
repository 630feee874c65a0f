/**
 * The transaction that commits go into. Several share one, so that a page that each of them changes is written once, and what a transaction costs is paid
 * once. Whoever reads through the same connection sees what has been applied; the file has it after `flush`.
 *
 * - What the file lacks when the process ends, the journal has: the store comes back older, and is replayed.
 * - A commit is applied whole or not at all: each has a savepoint.
 * - SQLite may end the transaction by itself, on a full disk for one. What had been applied is then applied again, from memory, before anybody reads;
 *   and no further commit is taken until a `flush` has worked.
 */
import type Database from 'better-sqlite3';
import type { MetaCounts } from './meta-counts.js';
import type { MetaPosition } from './meta-store.js';
import type { Commit } from './rows.js';
import { SqliteChanges } from './sqlite-changes.js';
import { PositionWriter, readPosition } from './sqlite-position.js';

/** More than this is not kept back: what a kill leaves to be replayed, and the memory for it. */
const COMMITS_MAX = 512;
const CHANGES_MAX = 8192;

export class SqliteTransaction {
  /** Of what has been applied. */
  readonly counts: MetaCounts;
  readonly #database: Database.Database;
  readonly #changes: SqliteChanges;
  readonly #positionWriter: PositionWriter;
  readonly #begin: Database.Statement<[]>;
  readonly #end: Database.Statement<[]>;
  readonly #mark: Database.Statement<[]>;
  readonly #unmark: Database.Statement<[]>;
  #position: MetaPosition;
  /** What the file has. */
  #flushedCounts: MetaCounts;
  /** Applied, and not in the file. */
  #commits: Commit[] = [];
  #changeCount = 0;
  /** SQLite has ended the transaction: `#commits` are to be applied again. */
  #isLost = false;
  /** The last flush failed. */
  #isOverdue = false;

  constructor(database: Database.Database) {
    this.#database = database;
    const { position, counts } = readPosition(database);
    this.#position = position;
    this.counts = counts;
    this.#flushedCounts = { ...counts };
    this.#changes = new SqliteChanges(database, counts);
    this.#positionWriter = new PositionWriter(database);
    this.#begin = database.prepare('BEGIN IMMEDIATE');
    this.#end = database.prepare('COMMIT');
    this.#mark = database.prepare('SAVEPOINT one_commit');
    this.#unmark = database.prepare('RELEASE one_commit');
  }

  /** Of the last commit applied. */
  get position(): MetaPosition {
    return this.#position;
  }

  /** Applies the commit, the next one. What SQLite or a `before` that does not hold fails it with; then it has changed nothing. */
  apply(commit: Commit): void {
    if (this.#isOverdue) this.flush();
    this.ensure();
    if (!this.#database.inTransaction) this.#begin.run();
    const countsBefore = { ...this.counts };
    try {
      this.#mark.run();
      this.#changes.apply(commit.changes);
      this.#unmark.run();
    } catch (error) {
      Object.assign(this.counts, countsBefore);
      this.#undoOne();
      throw error;
    }
    const { sequence, epoch, stagedThrough, nextIno } = commit;
    this.#position = { sequence, epoch, stagedThrough, nextIno };
    this.#commits.push(commit);
    this.#changeCount += commit.changes.length;
    if (this.#commits.length < COMMITS_MAX && this.#changeCount < CHANGES_MAX) return;
    try {
      this.flush();
    } catch {
      // This commit is applied. The next one finds the flush overdue, and tells.
    }
  }

  /** Writes what has been applied into the file. What SQLite fails it with; nothing that was applied is lost. */
  flush(): void {
    if (this.#commits.length === 0) return;
    this.#isOverdue = true;
    this.ensure();
    try {
      this.#positionWriter.write(this.#position, this.counts);
      this.#end.run();
    } catch (error) {
      this.#noticeLoss();
      throw error;
    }
    this.#isOverdue = false;
    this.#commits = [];
    this.#changeCount = 0;
    this.#flushedCounts = { ...this.counts };
  }

  /** Before anything is read: applies again what SQLite has taken back. */
  ensure(): void {
    if (!this.#isLost) return;
    Object.assign(this.counts, this.#flushedCounts);
    this.#begin.run();
    try {
      for (const { changes } of this.#commits) this.#changes.apply(changes);
    } catch (error) {
      if (this.#database.inTransaction) this.#database.exec('ROLLBACK');
      throw error;
    }
    this.#isLost = false;
  }

  /** A transaction of its own, in which the whole state is replaced; everything before it has been flushed. `fill` returns the position. */
  async replace(fill: (changes: SqliteChanges) => Promise<MetaPosition>): Promise<void> {
    this.#begin.run();
    try {
      const position = await fill(this.#changes);
      this.#positionWriter.write(position, this.counts);
      this.#end.run();
      this.#position = position;
      this.#flushedCounts = { ...this.counts };
    } catch (error) {
      Object.assign(this.counts, this.#flushedCounts);
      if (this.#database.open && this.#database.inTransaction) this.#database.exec('ROLLBACK');
      throw error;
    }
  }

  /** What one commit has done so far is taken back; without others before it there is no transaction to keep. */
  #undoOne(): void {
    this.#noticeLoss();
    if (!this.#database.open || !this.#database.inTransaction) return;
    this.#database.exec(this.#commits.length === 0 ? 'ROLLBACK' : 'ROLLBACK TO one_commit; RELEASE one_commit');
  }

  #noticeLoss(): void {
    if (this.#commits.length > 0 && !this.#database.inTransaction) this.#isLost = true;
  }
}
