/**
 * Transactions of SQLite that are known from their number: transaction `id` inserts row `id` and counts the row ten before it once more.
 * So after a crash the whole table is known from how many of them it holds.
 */
import { closeSync, fsyncSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'better-sqlite3';

const UPDATED_BEFORE = 10;

export interface TransactionOptions {
  readonly journal: string;
  /**
   * As SQLite's pragma, or `EXTRA+`: FULL, and the directory is synced before a transaction is acknowledged. In DELETE mode a transaction is
   * committed by removing the journal, which FULL does not make durable; EXTRA does, but says nothing where the directory cannot be opened.
   */
  readonly synchronous: string;
}

function bodyBytes(id: number): number {
  return 50 + ((id * 37) % 3000);
}

function otherOf(id: number): number {
  return (id * 7919) % 1000;
}

/** Runs transactions `first` to `last`, from the one after those that the table holds already on; `acknowledge` is called when COMMIT has returned. */
export function transact(
  path: string,
  { journal, synchronous }: TransactionOptions,
  first: number,
  last: number,
  acknowledge: (id: number) => void,
): void {
  const database = new Database(path);
  const mode = database.pragma(`journal_mode = ${journal}`, { simple: true });
  if (mode !== journal) throw new Error(`the journal mode is ${mode}`);
  const syncsDirectory = synchronous === 'EXTRA+';
  database.pragma(`synchronous = ${syncsDirectory ? 'FULL' : synchronous}`);
  database.exec(
    'CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, body BLOB NOT NULL, other INTEGER NOT NULL)',
  );
  database.exec('CREATE INDEX IF NOT EXISTS entry_other ON entry (other)');
  const insert = database.prepare('INSERT INTO entry VALUES (?, zeroblob(?), ?)');
  const update = database.prepare('UPDATE entry SET other = other + 1 WHERE id = ?');
  const one = database.transaction((id: number) => {
    insert.run(id, bodyBytes(id), otherOf(id));
    if (id > UPDATED_BEFORE) update.run(id - UPDATED_BEFORE);
  });
  const { held } = database.prepare('SELECT coalesce(max(id), 0) AS held FROM entry').get() as { held: number };
  for (let id = Math.max(first, held + 1); id <= last; id++) {
    one(id);
    if (syncsDirectory) syncDirectory(dirname(path));
    acknowledge(id);
  }
  database.close();
}

function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

interface TransactionsFound {
  readonly count: number;
  /** What is wrong apart from the count, a sentence each. */
  readonly problems: readonly string[];
}

/** Of a database at rest, on a mount that will not be killed while this runs. */
export function findTransactions(path: string): TransactionsFound {
  const database = new Database(path);
  try {
    const problems: string[] = [];
    const integrity = database.pragma('integrity_check', { simple: true });
    if (integrity !== 'ok') problems.push(`integrity_check: ${String(integrity)}`);
    if (database.prepare("SELECT 1 FROM sqlite_master WHERE name = 'entry'").get() === undefined)
      return { count: 0, problems };
    const rows = database.prepare('SELECT id, length(body) AS bytes, other FROM entry ORDER BY id').all() as {
      id: number;
      bytes: number;
      other: number;
    }[];
    for (const [index, { id, bytes, other }] of rows.entries()) {
      const updates = id + UPDATED_BEFORE <= rows.length ? 1 : 0;
      if (id === index + 1 && bytes === bodyBytes(id) && other === otherOf(id) + updates) continue;
      problems.push(`row ${index + 1} is not what its transaction has written (${id}, ${bytes} bytes, ${other})`);
      break;
    }
    return { count: rows.length, problems };
  } catch (error) {
    return { count: 0, problems: [String(error)] };
  } finally {
    database.close();
  }
}

/** What is wrong with a database of which these were acknowledged, a sentence each. The one after the last acknowledged may have been committed without anyone having heard of it. */
export function findLostTransactions(path: string, acknowledged: number): string[] {
  const { count, problems } = findTransactions(path);
  if (count === acknowledged || count === acknowledged + 1) return [...problems];
  return [...problems, `${count} transactions are there, ${acknowledged} were acknowledged`];
}
