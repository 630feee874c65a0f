/** Runs what must be refused. */
import type { Test } from 'tap';
import { S3Error } from '../../../src/s3/s3-error.js';

/** The error's code is `code`; returns the error. */
export function expectCode(t: Test, code: string, run: () => unknown, name = code): S3Error {
  try {
    run();
  } catch (error) {
    if (!(error instanceof S3Error)) throw error;
    t.equal(error.code, code, `${name}: ${error.message}`);
    return error;
  }
  t.fail(`${name}: not refused`);
  throw new Error('not refused');
}

export function xml(text: string): Uint8Array {
  return Buffer.from(text, 'utf8');
}
