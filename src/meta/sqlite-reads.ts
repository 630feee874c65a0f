/** The prepared queries of the store. Lists are bounded by their limit and walk an index from their marker. */
import type Database from 'better-sqlite3';
import type { ChunkId, ChunkRow, DentryRow, ExtentRow, Ino, InodeRow, Name, XattrRow } from './rows.js';
import {
  CHUNK_COLUMNS,
  type ChunkColumns,
  DENTRY_COLUMNS,
  type DentryColumns,
  EXTENT_COLUMNS,
  type ExtentColumns,
  INODE_COLUMNS,
  type InodeColumns,
  toChunk,
  toDentry,
  toExtent,
  toInode,
  toXattr,
  XATTR_COLUMNS,
  type XattrColumns,
} from './sqlite-rows.js';

export class SqliteReads {
  readonly #inode: Database.Statement<[Ino], InodeColumns>;
  readonly #dentry: Database.Statement<[Ino, string, Ino, string], DentryColumns>;
  readonly #dentries: Database.Statement<[Ino, string, number], DentryColumns>;
  readonly #extents: Database.Statement<[{ ino: Ino; from: number; to: number; limit: number }], ExtentColumns>;
  readonly #xattrs: Database.Statement<[Ino], XattrColumns>;
  readonly #chunk: Database.Statement<[ChunkId], ChunkColumns>;
  readonly #unreferenced: Database.Statement<[ChunkId, number], ChunkColumns>;
  readonly #users: Database.Statement<[ChunkId, number], Ino>;

  constructor(database: Database.Database) {
    this.#inode = database.prepare<[Ino], InodeColumns>(`SELECT ${INODE_COLUMNS} FROM inode WHERE ino = ?`).raw();
    // The directory is asked for first, and the limit ends the statement there if it is found.
    const byKey = `SELECT ${DENTRY_COLUMNS} FROM dentry WHERE parent = ? AND sort_key = ?`;
    this.#dentry = database
      .prepare<[Ino, string, Ino, string], DentryColumns>(`${byKey} UNION ALL ${byKey} LIMIT 1`)
      .raw();
    this.#dentries = database
      .prepare<[Ino, string, number], DentryColumns>(
        `SELECT ${DENTRY_COLUMNS} FROM dentry WHERE parent = ? AND sort_key > ? ORDER BY sort_key LIMIT ?`,
      )
      .raw();
    // The extent that reaches over `from` is the last one that starts at or before it.
    this.#extents = database
      .prepare<[{ ino: Ino; from: number; to: number; limit: number }], ExtentColumns>(
        `SELECT ${EXTENT_COLUMNS} FROM extent
        WHERE ino = :ino AND file_offset < :to AND file_offset + length > :from AND file_offset >= coalesce(
          (SELECT file_offset FROM extent WHERE ino = :ino AND file_offset <= :from ORDER BY file_offset DESC LIMIT 1), 0)
        ORDER BY file_offset LIMIT :limit`,
      )
      .raw();
    this.#xattrs = database
      .prepare<[Ino], XattrColumns>(`SELECT ${XATTR_COLUMNS} FROM xattr WHERE ino = ? ORDER BY name`)
      .raw();
    this.#chunk = database
      .prepare<[ChunkId], ChunkColumns>(`SELECT ${CHUNK_COLUMNS} FROM chunk WHERE chunk = unhex(?)`)
      .raw();
    this.#unreferenced = database
      .prepare<[ChunkId, number], ChunkColumns>(
        `SELECT ${CHUNK_COLUMNS} FROM chunk WHERE refs = 0 AND chunk > unhex(?) ORDER BY chunk LIMIT ?`,
      )
      .raw();
    this.#users = database
      .prepare<[ChunkId, number], Ino>('SELECT DISTINCT ino FROM extent WHERE chunk = unhex(?) ORDER BY ino LIMIT ?')
      .pluck();
  }

  inode(ino: Ino): InodeRow | undefined {
    const columns = this.#inode.get(ino);
    return columns && toInode(columns);
  }

  dentry(parent: Ino, name: Name): DentryRow | undefined {
    const columns = this.#dentry.get(parent, `${name}/`, parent, name);
    return columns && toDentry(columns);
  }

  dentries(parent: Ino, afterKey: string, limit: number): DentryRow[] {
    return this.#dentries.all(parent, afterKey, limit).map(toDentry);
  }

  extents(ino: Ino, from: number, to: number, limit: number): ExtentRow[] {
    return this.#extents.all({ ino, from, to, limit }).map(toExtent);
  }

  xattrs(ino: Ino): XattrRow[] {
    return this.#xattrs.all(ino).map(toXattr);
  }

  chunk(chunk: ChunkId): ChunkRow | undefined {
    const columns = this.#chunk.get(chunk);
    return columns && toChunk(columns);
  }

  unreferenced(after: ChunkId | '', limit: number): ChunkRow[] {
    return this.#unreferenced.all(after, limit).map(toChunk);
  }

  chunkUsers(chunk: ChunkId, limit: number): Ino[] {
    return this.#users.all(chunk, limit);
  }
}
