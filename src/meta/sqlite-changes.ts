/**
 * Applies changes to the tables, one after the other: a `before` is compared with what the changes in front of it left.
 * Runs inside the caller's transaction, which the caller rolls back when a change is refused.
 */
import type Database from 'better-sqlite3';
import { CairnError } from '../errors/cairn-error.js';
import type { MetaCounts } from './meta-counts.js';
import { type DentryRow, type Ino, type InodeRow, type RowChange, sortKey } from './rows.js';
import { SqliteExtents } from './sqlite-extents.js';
import { INODE_COLUMNS, type InodeColumns } from './sqlite-rows.js';

export class SqliteChanges {
  readonly #counts: MetaCounts;
  readonly #extents: SqliteExtents;
  readonly #insertInode: Database.Statement<InodeColumns>;
  readonly #updateInode: Database.Statement<unknown[]>;
  readonly #deleteInode: Database.Statement<[Ino, before: number]>;
  readonly #hasInode: Database.Statement<[Ino], number>;
  readonly #insertDentry: Database.Statement<[Ino, string, Ino, version: number]>;
  readonly #updateDentry: Database.Statement<[Ino, version: number, parent: Ino, string, before: number]>;
  readonly #deleteDentry: Database.Statement<[Ino, string, before: number]>;
  readonly #hasDentry: Database.Statement<[Ino, string], number>;
  readonly #putXattr: Database.Statement<[Ino, string, Uint8Array]>;
  readonly #deleteXattr: Database.Statement<[Ino, string]>;
  readonly #deleteXattrs: Database.Statement<[Ino]>;

  /** `counts` is the caller's tally of the current transaction. */
  constructor(database: Database.Database, counts: MetaCounts) {
    this.#counts = counts;
    this.#extents = new SqliteExtents(database, counts);
    const columns = INODE_COLUMNS.split(', ');
    this.#insertInode = database.prepare(
      `INSERT INTO inode (${INODE_COLUMNS}) VALUES (${columns.map(() => '?').join(', ')}) ON CONFLICT DO NOTHING`,
    );
    this.#updateInode = database.prepare(
      `UPDATE inode SET ${columns.map((column) => `${column} = ?`).join(', ')} WHERE ino = ? AND version = ?`,
    );
    this.#deleteInode = database.prepare('DELETE FROM inode WHERE ino = ? AND version = ?');
    this.#hasInode = database.prepare<[Ino], number>('SELECT 1 FROM inode WHERE ino = ?').pluck();
    this.#insertDentry = database.prepare(
      'INSERT INTO dentry (parent, sort_key, ino, version) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING',
    );
    this.#updateDentry = database.prepare(
      'UPDATE dentry SET ino = ?, version = ? WHERE parent = ? AND sort_key = ? AND version = ?',
    );
    this.#deleteDentry = database.prepare('DELETE FROM dentry WHERE parent = ? AND sort_key = ? AND version = ?');
    this.#hasDentry = database
      .prepare<[Ino, string], number>('SELECT 1 FROM dentry WHERE parent = ? AND sort_key = ?')
      .pluck();
    this.#putXattr = database.prepare(
      'INSERT INTO xattr (ino, name, value) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value',
    );
    this.#deleteXattr = database.prepare('DELETE FROM xattr WHERE ino = ? AND name = ?');
    this.#deleteXattrs = database.prepare('DELETE FROM xattr WHERE ino = ?');
  }

  /** CONFLICT at the first change that does not fit; what came before it is then already in the transaction. */
  apply(changes: readonly RowChange[]): void {
    for (const change of changes) this.#applyOne(change);
  }

  #applyOne(change: RowChange): void {
    switch (change.kind) {
      case 'inode':
        this.#putInode(change.before, change.row);
        break;
      case 'inode-delete':
        this.#removeInode(change.before, change.ino);
        break;
      case 'dentry':
        this.#putDentry(change.before, change.row);
        break;
      case 'dentry-delete':
        this.#removeDentry(change.before, change.parent, sortKey(change.name, change.isDirectory));
        break;
      case 'extents':
        this.#extents.splice(change.ino, change.from, change.to, change.extents);
        break;
      case 'xattr':
        this.#putXattr.run(change.row.ino, change.row.name, change.row.value);
        break;
      case 'xattr-delete':
        this.#deleteXattr.run(change.ino, change.name);
        break;
      case 'chunk':
        this.#extents.addChunk(change.chunk, change.chunkBytes);
        break;
      case 'chunk-delete':
        this.#extents.deleteChunk(change.chunk);
        break;
    }
  }

  #putInode(before: number, row: InodeRow): void {
    const { ino, atime, mtime, ctime, btime } = row;
    const columns: InodeColumns = [
      ino,
      row.version,
      row.mode,
      row.uid,
      row.gid,
      row.nlink,
      row.rdev,
      row.sizeBytes,
      atime.sec,
      atime.nsec,
      mtime.sec,
      mtime.nsec,
      ctime.sec,
      ctime.nsec,
      btime.sec,
      btime.nsec,
      row.target,
      row.contentStage,
    ];
    const { changes } =
      before === 0 ? this.#insertInode.run(...columns) : this.#updateInode.run(...columns, ino, before);
    if (changes === 0) throw inodeConflict(ino, before);
    if (before === 0) this.#counts.inodes++;
  }

  #removeInode(before: number, ino: Ino): void {
    if (this.#deleteInode.run(ino, before).changes === 1) this.#counts.inodes--;
    else if (before !== 0 || this.#hasInode.get(ino) !== undefined) throw inodeConflict(ino, before);
    this.#extents.remove(ino);
    this.#deleteXattrs.run(ino);
  }

  #putDentry(before: number, { parent, name, isDirectory, ino, version }: DentryRow): void {
    const key = sortKey(name, isDirectory);
    const { changes } =
      before === 0
        ? this.#insertDentry.run(parent, key, ino, version)
        : this.#updateDentry.run(ino, version, parent, key, before);
    if (changes === 0) throw dentryConflict(parent, key, before);
    if (before === 0) this.#counts.dentries++;
  }

  #removeDentry(before: number, parent: Ino, key: string): void {
    if (this.#deleteDentry.run(parent, key, before).changes === 1) this.#counts.dentries--;
    else if (before !== 0 || this.#hasDentry.get(parent, key) !== undefined) throw dentryConflict(parent, key, before);
  }
}

function inodeConflict(ino: Ino, before: number): CairnError {
  return new CairnError('CONFLICT', `inode ${ino} is not at version ${before}`);
}

function dentryConflict(parent: Ino, key: string, before: number): CairnError {
  return new CairnError(
    'CONFLICT',
    `the entry ${JSON.stringify(key)} of directory ${parent} is not at version ${before}`,
  );
}
