/**
 * A program for tests: one of several that write into one SQLite database at the same time. Each transaction reads the whole count and adds
 * one row of its own; its number is printed when COMMIT has returned. Arguments: database, journal mode, writer's name, how many.
 */
import { writeSync } from 'node:fs';
import Database from 'better-sqlite3';

const [, , path = '', journal = '', writer = '', count = ''] = process.argv;
/** Writers wait for each other; on a busy machine for long. */
const BUSY_MS = 120_000;

const database = new Database(path, { timeout: BUSY_MS });
database.pragma(`journal_mode = ${journal}`);
database.pragma('synchronous = FULL');
database.exec(
  'CREATE TABLE IF NOT EXISTS shared (place INTEGER PRIMARY KEY, writer TEXT NOT NULL, number INTEGER NOT NULL)',
);
const places = database.prepare('SELECT count(*) FROM shared').pluck();
const insert = database.prepare('INSERT INTO shared VALUES (?, ?, ?)');
// Taken for writing at once: what it reads then is what it writes after.
const add = database.transaction((number: number) => insert.run(Number(places.get()) + 1, writer, number)).immediate;
for (let number = 1; number <= Number(count); number++) {
  add(number);
  writeSync(1, `${number}\n`);
}
database.close();
