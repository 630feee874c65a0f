/**
 * A program for tests: does the operations of a WorkLog in a directory and prints the number of each when it has been acknowledged.
 * Arguments: directory, salt. Ends when the file system is gone.
 */
import { writeSync } from 'node:fs';
import { WorkLog } from './work-log.js';

const [, , directory = '', salt = ''] = process.argv;
const log = new WorkLog(salt);

function step(i: number): void {
  try {
    log.do(directory, i);
  } catch (error) {
    writeSync(2, `operation ${i}: ${String(error)}\n`);
    process.exit(0);
  }
  // Before anything else: an acknowledgement that nobody hears is none.
  writeSync(1, `${i}\n`);
  setImmediate(step, i + 1);
}

step(0);
