import { readSync } from 'node:fs';
import { CairnError } from '../errors/cairn-error.js';
import type { ReadPart } from './vfs.js';

/** The bytes of one part of a read. IO if the cache file ends before them: never zeros in the place of what was written. */
export function readPart(part: ReadPart): Uint8Array {
  if (part instanceof Uint8Array) return part;
  const bytes = Buffer.allocUnsafe(part.length);
  for (let done = 0; done < part.length; ) {
    const count = readSync(part.fd, bytes, done, part.length - done, part.position + done);
    if (count === 0) throw new CairnError('IO', 'a cache file is shorter than what was written to it');
    done += count;
  }
  return bytes;
}
