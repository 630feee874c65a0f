/** Blocks of 4 KiB at random aligned positions of a file that was written whole before: no fsync on either side. */
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { BLOCK, Content, MIB, randomNumbers, secondsOf, writeFully } from './content.js';
import type { Load } from './load.js';

export const prepareRandom: Load = (directory, { randomBytes }) => {
  new Content().writeFile(join(directory, 'random'), randomBytes);
  return {};
};

export const writeRandom: Load = (directory, { randomBytes, randomOperations }) => {
  const content = new Content();
  const random = randomNumbers(1);
  const fd = openSync(join(directory, 'random'), 'r+');
  const seconds = secondsOf(() => {
    for (let i = 0; i < randomOperations; i++) {
      writeFully(fd, content.piece(i, BLOCK), random(randomBytes / BLOCK) * BLOCK);
    }
  });
  closeSync(fd);
  return { operationsPerSecond: randomOperations / seconds };
};

export const readRandom: Load = (directory, { randomBytes, randomOperations }) => {
  const random = randomNumbers(2);
  const into = Buffer.allocUnsafe(BLOCK);
  const fd = openSync(join(directory, 'random'), 'r');
  const seconds = secondsOf(() => {
    for (let i = 0; i < randomOperations; i++) {
      const at = random(randomBytes / BLOCK) * BLOCK;
      if (readSync(fd, into, 0, BLOCK, at) !== BLOCK) throw new Error(`short read at ${at}`);
    }
  });
  closeSync(fd);
  return { operationsPerSecond: randomOperations / seconds };
};

/** All of it, front to back; what is in it only the one who has written at random places knows. */
export const readRandomFile: Load = (directory, { randomBytes }) => {
  const into = Buffer.allocUnsafe(MIB);
  const fd = openSync(join(directory, 'random'), 'r');
  for (let at = 0; at < randomBytes; at += MIB)
    if (readSync(fd, into, 0, MIB, at) !== MIB) throw new Error(`short read at ${at}`);
  closeSync(fd);
  return {};
};
