/** SQLite transactions of one inserted row each, synchronous=FULL: each is durable when the next begins. */
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { Content } from './content.js';
import type { Load } from './load.js';

const ROW_BYTES = 200;

function transactions(journalMode: 'WAL' | 'DELETE'): Load {
  return (directory, { seconds }) => {
    const content = new Content();
    const db = new Database(join(directory, `database-${journalMode}`));
    const mode = db.pragma(`journal_mode = ${journalMode}`, { simple: true });
    if (mode !== journalMode.toLowerCase()) throw new Error(`SQLite refused ${journalMode} and uses ${mode}`);
    db.pragma('synchronous = FULL');
    db.exec('CREATE TABLE rows (id INTEGER PRIMARY KEY, value BLOB NOT NULL)');
    const insert = db.prepare('INSERT INTO rows (value) VALUES (?)');
    const start = performance.now();
    let operations = 0;
    while (performance.now() - start < seconds * 1000) insert.run(content.piece(operations++, ROW_BYTES));
    const elapsed = (performance.now() - start) / 1000;
    const rows = db.prepare('SELECT count(*) FROM rows').pluck().get();
    const check = db.pragma('integrity_check', { simple: true });
    db.close();
    if (rows !== operations || check !== 'ok')
      throw new Error(`the database has ${rows} rows of ${operations}: ${check}`);
    return { operationsPerSecond: operations / elapsed, operations };
  };
}

export const walTransactions = transactions('WAL');
export const deleteTransactions = transactions('DELETE');
