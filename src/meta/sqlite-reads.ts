/** The prepared queries of the store. Lists are bounded by their limit and walk an index from their marker. */
import type Database from 'better-sqlite3';
import type { NodeRow } from './meta-store.js';
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
  NODE_COLUMNS,
  type NodeColumns,
  toChunk,
  toDentry,
  toExtent,
  toInode,
  toNode,
  toXattr,
  XATTR_COLUMNS,
  type XattrColumns,
} from './sqlite-rows.js';

/**
 * Not `LIMIT ?`: SQLite looks at a bare parameter there while planning, and for that prepares the statement anew at every
 * use, which costs more than the query.
 */
const LIMIT = 'LIMIT ? + 0';

export class SqliteReads {
  readonly #inode: Database.Statement<[Ino], InodeColumns>;
  readonly #dentry: Database.Statement<[Ino, string, Ino, string], DentryColumns>;
  readonly #dentries: Database.Statement<[Ino, string, number], DentryColumns>;
  readonly #directory: Database.Statement<[Ino], DentryColumns>;
  readonly #nodes: Database.Statement<[Name, Ino, string, number], NodeColumns>;
  readonly #lastExtent: Database.Statement<[Ino, number], ExtentColumns>;
  readonly #allocated: Database.Statement<[Ino], number>;
  readonly #extents: Database.Statement<[Ino, number, number, number], ExtentColumns>;
  readonly #xattrs: Database.Statement<[Ino], XattrColumns>;
  readonly #chunk: Database.Statement<[ChunkId], ChunkColumns>;
  readonly #chunks: Database.Statement<[ChunkId, number], ChunkColumns>;
  readonly #unreferenced: Database.Statement<[ChunkId, number], ChunkColumns>;
  readonly #users: Database.Statement<[ChunkId, number], Ino>;
  readonly #nameless: Database.Statement<[Ino, number], Ino>;

  constructor(database: Database.Database) {
    this.#inode = database.prepare<[Ino], InodeColumns>(`SELECT ${INODE_COLUMNS} FROM inode WHERE ino = ?`).raw();
    // The directory is asked for first, and the limit ends the statement there if it is found.
    const byKey = `SELECT ${DENTRY_COLUMNS} FROM dentry WHERE parent = ? AND sort_key = ?`;
    this.#dentry = database
      .prepare<[Ino, string, Ino, string], DentryColumns>(`${byKey} UNION ALL ${byKey} LIMIT 1`)
      .raw();
    this.#dentries = database
      .prepare<[Ino, string, number], DentryColumns>(
        `SELECT ${DENTRY_COLUMNS} FROM dentry WHERE parent = ? AND sort_key > ? ORDER BY sort_key ${LIMIT}`,
      )
      .raw();
    this.#directory = database
      .prepare<[Ino], DentryColumns>(
        `SELECT ${DENTRY_COLUMNS} FROM dentry INDEXED BY dentry_directory WHERE ino = ? AND substr(sort_key, -1) = '/'`,
      )
      .raw();
    this.#nodes = database
      .prepare<[Name, Ino, string, number], NodeColumns>(
        `SELECT ${NODE_COLUMNS} FROM dentry d LEFT JOIN inode i ON i.ino = d.ino LEFT JOIN xattr x ON x.ino = d.ino AND x.name = ?
        WHERE d.parent = ? AND d.sort_key > ? ORDER BY d.sort_key ${LIMIT}`,
      )
      .raw();
    this.#lastExtent = database
      .prepare<[Ino, number], ExtentColumns>(
        `SELECT ${EXTENT_COLUMNS} FROM extent WHERE ino = ? AND file_offset < ? ORDER BY file_offset DESC LIMIT 1`,
      )
      .raw();
    this.#extents = database
      .prepare<[Ino, number, number, number], ExtentColumns>(
        `SELECT ${EXTENT_COLUMNS} FROM extent
        WHERE ino = ? AND file_offset >= ? AND file_offset < ? ORDER BY file_offset ${LIMIT}`,
      )
      .raw();
    this.#allocated = database
      .prepare<[Ino], number>('SELECT coalesce(sum(length), 0) FROM extent WHERE ino = ?')
      .pluck();
    this.#xattrs = database
      .prepare<[Ino], XattrColumns>(`SELECT ${XATTR_COLUMNS} FROM xattr WHERE ino = ? ORDER BY name`)
      .raw();
    this.#chunk = database
      .prepare<[ChunkId], ChunkColumns>(`SELECT ${CHUNK_COLUMNS} FROM chunk WHERE chunk = unhex(?)`)
      .raw();
    this.#chunks = database
      .prepare<[ChunkId, number], ChunkColumns>(
        `SELECT ${CHUNK_COLUMNS} FROM chunk WHERE chunk > unhex(?) ORDER BY chunk ${LIMIT}`,
      )
      .raw();
    this.#nameless = database
      .prepare<[Ino, number], Ino>(
        `SELECT ino FROM inode INDEXED BY inode_nameless WHERE nlink = 0 AND ino > ? ORDER BY ino ${LIMIT}`,
      )
      .pluck();
    this.#unreferenced = database
      .prepare<[ChunkId, number], ChunkColumns>(
        `SELECT ${CHUNK_COLUMNS} FROM chunk WHERE refs = 0 AND chunk > unhex(?) ORDER BY chunk ${LIMIT}`,
      )
      .raw();
    this.#users = database
      .prepare<[ChunkId, number], Ino>(`SELECT DISTINCT ino FROM extent WHERE chunk = unhex(?) ORDER BY ino ${LIMIT}`)
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

  directoryEntry(ino: Ino): DentryRow | undefined {
    const columns = this.#directory.get(ino);
    return columns && toDentry(columns);
  }

  dentries(parent: Ino, afterKey: string, limit: number): DentryRow[] {
    return this.#dentries.all(parent, afterKey, limit).map(toDentry);
  }

  nodes(parent: Ino, afterKey: string, limit: number, attribute: Name): NodeRow[] {
    return this.#nodes.all(attribute, parent, afterKey, limit).map(toNode);
  }

  extents(ino: Ino, from: number, to: number, limit: number): ExtentRow[] {
    // A small read mostly lies within one extent, and then it is the last one that starts before its end.
    const last = this.#lastExtent.get(ino, to);
    if (last === undefined || last[0] + last[1] <= from || limit === 0) return [];
    if (last[0] <= from) return [toExtent(last)];
    const first = this.#lastExtent.get(ino, from);
    const start = first !== undefined && first[0] + first[1] > from ? first[0] : from;
    return this.#extents.all(ino, start, to, limit).map(toExtent);
  }

  allocatedBytes(ino: Ino): number {
    return this.#allocated.get(ino) ?? 0;
  }

  xattrs(ino: Ino): XattrRow[] {
    return this.#xattrs.all(ino).map(toXattr);
  }

  chunk(chunk: ChunkId): ChunkRow | undefined {
    const columns = this.#chunk.get(chunk);
    return columns && toChunk(columns);
  }

  chunks(after: ChunkId | '', limit: number): ChunkRow[] {
    return this.#chunks.all(after, limit).map(toChunk);
  }

  nameless(after: Ino, limit: number): Ino[] {
    return this.#nameless.all(after, limit);
  }

  unreferenced(after: ChunkId | '', limit: number): ChunkRow[] {
    return this.#unreferenced.all(after, limit).map(toChunk);
  }

  chunkUsers(chunk: ChunkId, limit: number): Ino[] {
    return this.#users.all(chunk, limit);
  }
}
