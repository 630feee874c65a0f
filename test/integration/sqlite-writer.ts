/**
 * A program for tests: transactions of SQLite, one after the other, each number printed when COMMIT has returned.
 * Arguments: database, journal mode, first number, last number, `synchronous` (FULL). Ends early when the file system is gone.
 */
import { writeSync } from 'node:fs';
import { transact } from './transactions.js';

const [, , path = '', journal = '', first = '', last = '', synchronous = 'FULL'] = process.argv;

try {
  transact(path, { journal, synchronous }, Number(first), Number(last), (id) => writeSync(1, `${id}\n`));
} catch (error) {
  writeSync(2, `${String(error)}\n`);
}
