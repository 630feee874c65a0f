/**
 * A program for tests: does the operations of work-log.ts in a directory, from number `first` on, and prints the number of each
 * when it has been acknowledged. Ends when the file system is gone.
 */
import { writeSync } from 'node:fs';
import { doOperation } from './work-log.js';

const [, , directory = '', first = '0'] = process.argv;

function step(i: number): void {
  try {
    doOperation(directory, i);
  } catch (error) {
    writeSync(2, `${String(error)}\n`);
    process.exit(0);
  }
  // Before anything else: an acknowledgement that nobody hears is none.
  writeSync(1, `${i}\n`);
  setImmediate(step, i + 1);
}

step(Number(first));
