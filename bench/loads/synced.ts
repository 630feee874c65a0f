/** What a database does to its file: overwrite 4 KiB of a file of 16 MiB, fsync, and so on, one after the other. */
import { closeSync, fsyncSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { BLOCK, Content, MIB, randomNumbers, writeFully } from './content.js';
import type { Load } from './load.js';

const FILE_BYTES = 16 * MIB;

export const prepareSynced: Load = (directory) => {
  const path = join(directory, 'synced');
  new Content().writeFile(path, FILE_BYTES);
  const fd = openSync(path, 'r+');
  fsyncSync(fd);
  closeSync(fd);
  return {};
};

export const writeSynced: Load = (directory, { seconds }) => {
  const content = new Content();
  const random = randomNumbers(3);
  const fd = openSync(join(directory, 'synced'), 'r+');
  const start = performance.now();
  let operations = 0;
  while (performance.now() - start < seconds * 1000) {
    writeFully(fd, content.piece(operations, BLOCK), random(FILE_BYTES / BLOCK) * BLOCK);
    fsyncSync(fd);
    operations++;
  }
  const elapsed = (performance.now() - start) / 1000;
  closeSync(fd);
  return { operationsPerSecond: operations / elapsed, operations };
};
