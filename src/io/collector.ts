/**
 * V8's collector of the calling thread's heap. V8 gives it only to contexts that are made while a flag is set; the flag is the whole process's and
 * stays set, since two threads that set and unset it would take it from each other.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** What it returns collects all garbage at once, and stops the thread as long. */
export function findCollector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}
