/**
 * The SQLite file of the metadata: its tables, how it is opened, and how an unusable one is told from a good one.
 *
 * - WAL mode with synchronous = NORMAL: after power loss the file is whole, though perhaps older; the journal is replayed.
 * - application_id says that it is Cairn's, user_version which format it has. The tables are compared with SCHEMA as text,
 *   so that a file from another hand is never taken for ours.
 * - Damage that opening does not see is met by some later statement: then the file is marked, and the next opening refuses it.
 * - Tables are made in one transaction with the position row: a file that has none was never finished.
 *
 * Binary strings (names, link targets) are TEXT: SQLite stores one as UTF-8, whose byte order is the order of the
 * characters, which is the order of the bytes they stand for. Blobs would compare alike, but cost a Buffer per row read.
 * Chunk ids are the 32 bytes, converted within SQL (unhex, hex) for the same reason.
 */
import { chmodSync, existsSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'better-sqlite3';
import { CairnError } from '../errors/cairn-error.js';
import { ROOT_INO } from './rows.js';
import { corrupt, fromSqlite } from './sqlite-error.js';

/** 'Carn' */
const APPLICATION_ID = 0x4361726e;
const FORMAT = 1;
const CACHE_KIB = 32 * 1024;
/** Pages in the WAL before they are moved into the database, which costs two syncs: 16 MiB. */
const CHECKPOINT_PAGES = 4096;
const LOG_KEEP_BYTES = 64 * 1024 * 1024;
/** An empty file of this name beside the database says that it is damaged. */
export const DAMAGED = '-damaged';
/** Nobody else should have the file open; whoever looks into it may delay the daemon only so long. */
const BUSY_TIMEOUT_MS = 1000;

/** Those that stores of an earlier version lack: opening makes them. */
const NAMELESS_INDEX = 'CREATE INDEX inode_nameless ON inode (ino) WHERE nlink = 0';
const DIRECTORY_INDEX = `CREATE INDEX dentry_directory ON dentry (ino) WHERE substr(sort_key, -1) = '/'`;

/** The dentry's sort key is the name, with `/` after a directory's. Times are seconds and nanoseconds. */
const SCHEMA = [
  `CREATE TABLE inode (
    ino INTEGER PRIMARY KEY, version INTEGER NOT NULL, mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,
    nlink INTEGER NOT NULL, rdev INTEGER NOT NULL, size_bytes INTEGER NOT NULL,
    atime_sec INTEGER NOT NULL, atime_nsec INTEGER NOT NULL, mtime_sec INTEGER NOT NULL, mtime_nsec INTEGER NOT NULL,
    ctime_sec INTEGER NOT NULL, ctime_nsec INTEGER NOT NULL, btime_sec INTEGER NOT NULL, btime_nsec INTEGER NOT NULL,
    target TEXT NOT NULL, content_stage INTEGER NOT NULL
  ) STRICT`,
  NAMELESS_INDEX,
  `CREATE TABLE dentry (
    parent INTEGER NOT NULL, sort_key TEXT NOT NULL, ino INTEGER NOT NULL, version INTEGER NOT NULL,
    PRIMARY KEY (parent, sort_key)
  ) STRICT, WITHOUT ROWID`,
  DIRECTORY_INDEX,
  `CREATE TABLE extent (
    ino INTEGER NOT NULL, file_offset INTEGER NOT NULL, length INTEGER NOT NULL CHECK (length > 0),
    chunk BLOB NOT NULL, chunk_offset INTEGER NOT NULL, chunk_bytes INTEGER NOT NULL,
    PRIMARY KEY (ino, file_offset)
  ) STRICT, WITHOUT ROWID`,
  'CREATE INDEX extent_chunk ON extent (chunk)',
  `CREATE TABLE xattr (
    ino INTEGER NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (ino, name)
  ) STRICT, WITHOUT ROWID`,
  `CREATE TABLE chunk (
    chunk BLOB PRIMARY KEY NOT NULL, chunk_bytes INTEGER NOT NULL, refs INTEGER NOT NULL CHECK (refs >= 0)
  ) STRICT, WITHOUT ROWID`,
  'CREATE INDEX chunk_unreferenced ON chunk (chunk) WHERE refs = 0',
  `CREATE TABLE position (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    sequence INTEGER NOT NULL, epoch INTEGER NOT NULL, staged_through INTEGER NOT NULL, next_ino INTEGER NOT NULL,
    inodes INTEGER NOT NULL, dentries INTEGER NOT NULL, extents INTEGER NOT NULL,
    chunks INTEGER NOT NULL, chunk_total_bytes INTEGER NOT NULL
  ) STRICT`,
];

/** Tables that hold rows of the state; `position` is beside them. */
export const TABLES = ['inode', 'dentry', 'extent', 'xattr', 'chunk'] as const;

/** Opens the file, making it if it is not there. CORRUPT if it is damaged, of a newer format or not Cairn's. */
export function openDatabase(path: string): Database.Database {
  if (!existsSync(dirname(path))) {
    throw new CairnError('NOT_FOUND', `the directory of the metadata store ${path} is not there`);
  }
  if (existsSync(path + DAMAGED)) throw corrupt(path, 'damage was found in it when it was used last');
  let database: Database.Database | undefined;
  try {
    database = new Database(path, { timeout: BUSY_TIMEOUT_MS });
    // The first statement to read the file: it finds out whether this is a database.
    database.pragma('journal_mode = WAL');
    // Everybody's names: for the owner alone. SQLite gives its other files the same mode.
    chmodSync(path, 0o600);
    database.pragma('synchronous = NORMAL');
    database.pragma(`cache_size = -${CACHE_KIB}`);
    database.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
    // What a long snapshot made the log grow to is given back.
    database.pragma(`journal_size_limit = ${LOG_KEEP_BYTES}`);
    database.pragma('temp_store = MEMORY');
    database.pragma('trusted_schema = OFF');
    if (isEmpty(database)) create(database);
    else check(database, path);
    return database;
  } catch (error) {
    database?.close();
    throw fromSqlite(error, path);
  }
}

/** A second connection, for reading one state while the first goes on writing. */
export function openReader(path: string): Database.Database {
  try {
    return new Database(path, { readonly: true, fileMustExist: true, timeout: BUSY_TIMEOUT_MS });
  } catch (error) {
    throw fromSqlite(error, path);
  }
}

/** Removes the files of a closed store. No error if there are none. */
export function destroySqliteMetaStore(path: string): void {
  // The WAL goes first: it must never be found beside another database file. The mark of damage goes when nothing damaged is left.
  for (const suffix of ['-wal', '-shm', '-journal', '', DAMAGED]) rmSync(path + suffix, { force: true });
}

/** A damaged page was met, or the store contradicts the journal: whoever opens the file next is told at once, not when he meets it too. */
export function markDamaged(path: string): void {
  try {
    writeFileSync(path + DAMAGED, '', { mode: 0o600 });
  } catch {
    // A directory that cannot be written: the damage is met again.
  }
}

function isEmpty(database: Database.Database): boolean {
  return (
    database.prepare('SELECT count(*) FROM sqlite_schema').pluck().get() === 0 &&
    database.pragma('user_version', { simple: true }) === 0
  );
}

function create(database: Database.Database): void {
  const make = database.transaction(() => {
    for (const statement of SCHEMA) database.exec(statement);
    database.prepare('INSERT INTO position VALUES (1, 0, 0, 0, :nextIno, 0, 0, 0, 0, 0)').run({ nextIno: ROOT_INO });
    database.pragma(`application_id = ${APPLICATION_ID}`);
    database.pragma(`user_version = ${FORMAT}`);
  });
  make.exclusive();
}

/** What the file says that it has. */
function found(database: Database.Database): unknown[] {
  return database.prepare('SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL').pluck().all();
}

function check(database: Database.Database, path: string): void {
  if (database.pragma('application_id', { simple: true }) !== APPLICATION_ID) {
    throw corrupt(path, 'it is a database of another program');
  }
  const format = database.pragma('user_version', { simple: true });
  if (format !== FORMAT) throw corrupt(path, `its format is ${format}, and this version knows format ${FORMAT}`);
  const before = found(database);
  for (const index of [NAMELESS_INDEX, DIRECTORY_INDEX]) if (!before.includes(index)) database.exec(index);
  const made = found(database);
  if (made.length !== SCHEMA.length || !SCHEMA.every((statement) => made.includes(statement))) {
    throw corrupt(path, 'its tables are not those of its format');
  }
  if (database.prepare('SELECT count(*) FROM position').pluck().get() !== 1) throw corrupt(path, 'it has no position');
}
