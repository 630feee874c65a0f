/**
 * A snapshot of the store: the state at one commit, read page by page through a connection of its own, whose read
 * transaction keeps that state visible while later commits go on. Until it is released, SQLite's write-ahead log
 * cannot be reused and grows, so a snapshot must be exhausted or returned.
 *
 * It is an iterator object and not a generator, because returning a generator that was never started runs no clean-up.
 */
import { setImmediate } from 'node:timers/promises';
import type Database from 'better-sqlite3';
import { CairnError } from '../errors/cairn-error.js';
import type { MetaPosition } from './meta-store.js';
import type { ExtentRow, RowChange } from './rows.js';
import { fromSqlite } from './sqlite-error.js';
import { readPosition } from './sqlite-position.js';
import {
  CHUNK_COLUMNS,
  type ChunkColumns,
  DENTRY_COLUMNS,
  type DentryColumns,
  EXTENT_COLUMNS,
  type ExtentColumns,
  INODE_COLUMNS,
  type InodeColumns,
  toDentry,
  toExtent,
  toInode,
  toXattr,
  XATTR_COLUMNS,
  type XattrColumns,
} from './sqlite-rows.js';
import { openReader } from './sqlite-schema.js';

const BATCH_ROWS = 1000;
/** Values have up to 64 KiB, so a batch of them is bounded to 8 MiB. */
const XATTR_BATCH_ROWS = 128;

type Pages = Generator<RowChange[], void, void>;

export class SqliteSnapshot implements AsyncIterableIterator<readonly RowChange[]> {
  readonly position: MetaPosition;
  readonly #path: string;
  readonly #database: Database.Database;
  readonly #pages: Pages;
  readonly #onRelease: (snapshot: SqliteSnapshot) => void;
  /** Set when the store was closed before the snapshot had ended. */
  #isCut = false;

  /** Takes the snapshot now. `onRelease` is called once, when its connection is closed. */
  constructor(path: string, onRelease: (snapshot: SqliteSnapshot) => void) {
    this.#path = path;
    this.#onRelease = onRelease;
    this.#database = openReader(path);
    try {
      this.#database.exec('BEGIN');
      // The first read fixes the state that all later ones see.
      this.position = readPosition(this.#database).position;
      this.#pages = pages(this.#database);
    } catch (error) {
      this.#database.close();
      throw fromSqlite(error, path);
    }
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<readonly RowChange[], undefined>> {
    // Requests are answered between two batches.
    await setImmediate();
    if (this.#isCut) throw new CairnError('CLOSED', 'the metadata store was closed before its snapshot had ended');
    if (!this.#database.open) return { done: true, value: undefined };
    try {
      const { done, value } = this.#pages.next();
      if (done !== true) return { done: false, value };
    } catch (error) {
      this.#release();
      throw fromSqlite(error, this.#path);
    }
    this.#release();
    return { done: true, value: undefined };
  }

  async return(): Promise<IteratorResult<readonly RowChange[], undefined>> {
    this.#release();
    return { done: true, value: undefined };
  }

  /** Releases it because the store closes: whoever still reads gets CLOSED, not an end that looks complete. */
  cut(): void {
    this.#isCut = true;
    this.#release();
  }

  #release(): void {
    if (!this.#database.open) return;
    this.#database.close();
    this.#onRelease(this);
  }
}

function* pages(database: Database.Database): Pages {
  yield* inodePages(database);
  yield* dentryPages(database);
  yield* extentPages(database);
  yield* xattrPages(database);
  yield* chunkPages(database);
}

function* inodePages(database: Database.Database): Pages {
  const page = database
    .prepare<[number], InodeColumns>(
      `SELECT ${INODE_COLUMNS} FROM inode WHERE ino > ? ORDER BY ino LIMIT ${BATCH_ROWS}`,
    )
    .raw();
  for (let after = 0; ; ) {
    const rows = page.all(after);
    const last = rows.at(-1);
    if (last === undefined) return;
    yield rows.map((columns) => ({ kind: 'inode', before: 0, row: toInode(columns) }));
    after = last[0];
  }
}

function* dentryPages(database: Database.Database): Pages {
  const page = database
    .prepare<[number, string], DentryColumns>(
      `SELECT ${DENTRY_COLUMNS} FROM dentry WHERE (parent, sort_key) > (?, ?) ORDER BY parent, sort_key LIMIT ${BATCH_ROWS}`,
    )
    .raw();
  for (let after: [number, string] = [0, '']; ; ) {
    const rows = page.all(...after);
    const last = rows.at(-1);
    if (last === undefined) return;
    yield rows.map((columns) => ({ kind: 'dentry', before: 0, row: toDentry(columns) }));
    after = [last[0], last[1]];
  }
}

function* extentPages(database: Database.Database): Pages {
  const page = database
    .prepare<[number, number], [...ExtentColumns, ino: number]>(
      `SELECT ${EXTENT_COLUMNS}, ino FROM extent WHERE (ino, file_offset) > (?, ?) ORDER BY ino, file_offset LIMIT ${BATCH_ROWS}`,
    )
    .raw();
  for (let after: [number, number] = [0, -1]; ; ) {
    const rows = page.all(...after);
    const last = rows.at(-1);
    if (last === undefined) return;
    yield byFile(rows);
    after = [last[5], last[0]];
  }
}

/** One change for each run of rows of one file. */
function byFile(rows: readonly [...ExtentColumns, ino: number][]): RowChange[] {
  const changes: RowChange[] = [];
  let extents: ExtentRow[] = [];
  for (const [index, [offset, length, chunk, chunkOffset, chunkBytes, ino]] of rows.entries()) {
    extents.push(toExtent([offset, length, chunk, chunkOffset, chunkBytes]));
    if (rows[index + 1]?.[5] === ino) continue;
    changes.push({ kind: 'extents', ino, from: extents[0]!.offset, to: offset + length, extents });
    extents = [];
  }
  return changes;
}

function* xattrPages(database: Database.Database): Pages {
  const page = database
    .prepare<[number, string], XattrColumns>(
      `SELECT ${XATTR_COLUMNS} FROM xattr WHERE (ino, name) > (?, ?) ORDER BY ino, name LIMIT ${XATTR_BATCH_ROWS}`,
    )
    .raw();
  for (let after: [number, string] = [0, '']; ; ) {
    const rows = page.all(...after);
    const last = rows.at(-1);
    if (last === undefined) return;
    yield rows.map((columns) => ({ kind: 'xattr', row: toXattr(columns) }));
    after = [last[0], last[1]];
  }
}

/** The chunks without references: the others come back with the extents that name them. */
function* chunkPages(database: Database.Database): Pages {
  const page = database
    .prepare<[string], ChunkColumns>(
      `SELECT ${CHUNK_COLUMNS} FROM chunk WHERE refs = 0 AND chunk > unhex(?) ORDER BY chunk LIMIT ${BATCH_ROWS}`,
    )
    .raw();
  for (let after = ''; ; ) {
    const rows = page.all(after);
    const last = rows.at(-1);
    if (last === undefined) return;
    yield rows.map(([chunk, chunkBytes]) => ({ kind: 'chunk', chunk, chunkBytes }));
    after = last[0];
  }
}
