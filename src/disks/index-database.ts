/**
 * The SQLite file of a disk's index: opening, schema, and the notes that tell whether it fits the logs.
 *
 * It is never the truth: whatever is wrong with it, it is thrown away and rebuilt from the logs. It runs in WAL mode with synchronous NORMAL (a
 * power cut can lose its newest transactions, not its consistency), and is checkpointed only when a segment is sealed, because a
 * checkpoint syncs. Every transaction stores how far into both logs it is complete, and never runs ahead of what is synced there.
 */
import { chmodSync, rmSync } from 'node:fs';
import Database from 'better-sqlite3';
import { CairnError, messageOf } from '../errors/cairn-error.js';
import type { Tombstone } from './journal-state.js';
import type { LogPoint } from './log-context.js';

const FORMAT = 2;

const SCHEMA = `
CREATE TABLE notes (id INTEGER PRIMARY KEY CHECK (id = 1), uuid TEXT NOT NULL, notes TEXT NOT NULL, owed TEXT NOT NULL) STRICT;
CREATE TABLE buckets (id INTEGER PRIMARY KEY, bucket TEXT NOT NULL UNIQUE, live_bytes INTEGER NOT NULL) STRICT;
CREATE TABLE segments (segment INTEGER PRIMARY KEY, live_bytes INTEGER NOT NULL) STRICT;
CREATE TABLE shards (
  bucket INTEGER NOT NULL, chunk BLOB NOT NULL, shard INTEGER NOT NULL,
  segment INTEGER NOT NULL, position INTEGER NOT NULL, record_bytes INTEGER NOT NULL, log_sequence INTEGER NOT NULL,
  erasure INTEGER NOT NULL, k INTEGER NOT NULL, m INTEGER NOT NULL, chunk_bytes INTEGER NOT NULL, shard_bytes INTEGER NOT NULL,
  compression INTEGER NOT NULL, stored_bytes INTEGER NOT NULL,
  PRIMARY KEY (chunk, bucket, shard)
) STRICT, WITHOUT ROWID;
CREATE INDEX shards_by_place ON shards (segment, position);
CREATE TABLE named (
  name TEXT PRIMARY KEY, record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
`;

/** How far the index is complete, and numbers that must not be given out again. */
export interface IndexNotes {
  readonly data: LogPoint;
  readonly journal: LogPoint;
  readonly lastSegment: number;
  readonly lastSequence: number;
}

export interface OpenedIndex {
  readonly database: Database.Database;
  /** undefined: the index is empty and must be rebuilt. */
  readonly notes: IndexNotes | undefined;
  /** Tombstones that were to be written. */
  readonly owed: readonly Tombstone[];
  /** Why it must be rebuilt. */
  readonly reason: string | undefined;
}

/** `path` may be `:memory:`: that one is always made anew. */
export function openIndexDatabase(path: string, uuid: string): OpenedIndex {
  let reason = 'it is not there';
  if (path === ':memory:') return { database: createAnew(path, uuid), notes: undefined, owed: [], reason };
  try {
    const database = connect(path);
    try {
      const read = readNotes(database, uuid);
      if (typeof read === 'object') return { database, ...read, reason: undefined };
      reason = read;
    } catch (error) {
      reason = messageOf(error);
    }
    database.close();
  } catch (error) {
    reason = messageOf(error);
  }
  return { database: createAnew(path, uuid), notes: undefined, owed: [], reason };
}

/** True if the index file is to blame, not what is indexed. */
export function isIndexFailure(error: unknown): error is Error {
  return (
    error instanceof Database.SqliteError ||
    (error instanceof CairnError && error.cause instanceof Database.SqliteError)
  );
}

/** True if the index's file system has no room: it is not damaged. */
export function isFullIndex(error: Error): boolean {
  const sqlite = error instanceof CairnError ? error.cause : error;
  return sqlite instanceof Database.SqliteError && sqlite.code.startsWith('SQLITE_FULL');
}

/** The file is not to be used again: the next opening makes it anew from the logs. What has it open may go on until it is closed. */
export function removeIndexFiles(path: string): void {
  if (path === ':memory:') return;
  for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(path + suffix, { force: true });
}

export function writeNotes(database: Database.Database, notes: IndexNotes): void {
  database.prepare('UPDATE notes SET notes = ?').run(JSON.stringify(notes));
}

export function writeOwed(database: Database.Database, owed: string): void {
  database.prepare('UPDATE notes SET owed = ?').run(owed);
}

function connect(path: string): Database.Database {
  const database = new Database(path);
  database.pragma('locking_mode = EXCLUSIVE');
  database.pragma('journal_mode = WAL');
  // Names and places of everybody's data: for the owner alone, as the logs are. SQLite gives its other files the same mode.
  if (path !== ':memory:') chmodSync(path, 0o600);
  database.pragma('synchronous = NORMAL');
  database.pragma('wal_autocheckpoint = 0');
  database.pragma('cache_size = -16000');
  return database;
}

function createAnew(path: string, uuid: string): Database.Database {
  removeIndexFiles(path);
  try {
    const database = connect(path);
    database.exec(SCHEMA);
    database.prepare('INSERT INTO notes (id, uuid, notes, owed) VALUES (1, ?, ?, ?)').run(uuid, 'null', '[]');
    database.pragma(`user_version = ${FORMAT}`);
    return database;
  } catch (error) {
    throw new CairnError('IO', `the index ${path} cannot be made`, { cause: error });
  }
}

/** The notes, or why the file cannot be used. */
function readNotes(
  database: Database.Database,
  uuid: string,
): (Pick<OpenedIndex, 'owed'> & { notes: IndexNotes }) | string {
  const format = database.pragma('user_version', { simple: true });
  if (format === 0) return 'it is not there';
  if (format !== FORMAT) return `its format is ${String(format)}, not ${FORMAT}`;
  const row: unknown = database.prepare('SELECT uuid, notes, owed FROM notes').get();
  if (typeof row !== 'object' || row === null || !('uuid' in row && 'notes' in row && 'owed' in row))
    return 'it has no notes';
  if (row.uuid !== uuid) return 'it belongs to another disk';
  const notes: unknown = JSON.parse(String(row.notes));
  const owed: unknown = JSON.parse(String(row.owed));
  return isNotes(notes) && Array.isArray(owed) && owed.every(isTombstone) ? { notes, owed } : 'it was never completed';
}

function isTombstone(value: unknown): value is Tombstone {
  const { kind, key, targetSegment, through } = (value ?? {}) as Partial<Tombstone>;
  return (
    kind === 'tombstone' &&
    /^[0-9a-f]{32}$/.test(String(key?.bucket)) &&
    /^[0-9a-f]{64}$/.test(String(key?.chunk)) &&
    [key?.shard, targetSegment, through].every(Number.isSafeInteger)
  );
}

function isNotes(value: unknown): value is IndexNotes {
  return (
    typeof value === 'object' &&
    value !== null &&
    'data' in value &&
    'journal' in value &&
    'lastSegment' in value &&
    'lastSequence' in value &&
    isPoint(value.data) &&
    isPoint(value.journal) &&
    Number.isSafeInteger(value.lastSegment) &&
    Number.isSafeInteger(value.lastSequence)
  );
}

function isPoint(value: unknown): value is LogPoint {
  return (
    typeof value === 'object' &&
    value !== null &&
    'segment' in value &&
    'position' in value &&
    Number.isSafeInteger(value.segment) &&
    Number.isSafeInteger(value.position)
  );
}
