/** One large file from end to end in calls of 1 MiB, through the page cache: no fsync on either side. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { Content, MIB, readFileThrough, secondsOf } from './content.js';
import type { Load } from './load.js';

export const writeStream: Load = (directory, { streamBytes }) => {
  const content = new Content();
  return { bytesPerSecond: streamBytes / secondsOf(() => content.writeFile(join(directory, 'stream'), streamBytes)) };
};

export const readStream: Load = (directory, { streamBytes }) => {
  return { bytesPerSecond: streamBytes / secondsOf(() => readFileThrough(join(directory, 'stream'), streamBytes)) };
};

/** One byte of each page, through a mapping: node has none, python does. */
const TOUCH = `
import mmap, sys, time
with open(sys.argv[1], 'rb') as f:
    start = time.monotonic()
    m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
    m[::4096]
    print(len(m) / (time.monotonic() - start))
`;

export const readMapped: Load = (directory) => ({
  bytesPerSecond: Number(execFileSync('python3', ['-c', TOUCH, join(directory, 'stream')], { encoding: 'utf8' })),
});

/** Many files of 256 MiB. */
export const copyIn: Load = (directory, { copyBytes }) => {
  const content = new Content();
  const most = 256 * MIB;
  const seconds = secondsOf(() => {
    for (let at = 0; at < copyBytes; at += most) {
      content.writeFile(join(directory, `copy-${at / most}`), Math.min(most, copyBytes - at), at / MIB);
    }
  });
  return { bytesPerSecond: copyBytes / seconds };
};
