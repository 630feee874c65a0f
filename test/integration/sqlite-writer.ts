/**
 * A program for tests: transactions of SQLite, one after the other, each number printed when COMMIT has returned.
 * Arguments: database, journal mode, first number, last number. Ends early when the file system is gone.
 */
import { writeSync } from 'node:fs';
import Database from 'better-sqlite3';

const [, , path = '', mode = '', first = '', last = ''] = process.argv;

try {
  const database = new Database(path);
  const journal = database.pragma(`journal_mode = ${mode}`, { simple: true });
  if (journal !== mode) throw new Error(`the journal mode is ${journal}`);
  database.pragma('synchronous = FULL');
  database.exec(
    'CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, body BLOB NOT NULL, other INTEGER NOT NULL)',
  );
  database.exec('CREATE INDEX IF NOT EXISTS entry_other ON entry (other)');
  const insert = database.prepare('INSERT INTO entry VALUES (?, zeroblob(?), ?)');
  const update = database.prepare('UPDATE entry SET other = other + 1 WHERE id = ?');
  const transact = database.transaction((id: number) => {
    insert.run(id, 50 + ((id * 37) % 3000), (id * 7919) % 1000);
    if (id > 10) update.run(id - 10);
  });
  for (let id = Number(first); id <= Number(last); id++) {
    transact(id);
    writeSync(1, `${id}\n`);
  }
  database.close();
} catch (error) {
  writeSync(2, `${String(error)}\n`);
}
