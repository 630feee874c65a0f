/** Small files in one directory: create, write and close; stat; list; unlink. No fsync on either side. */
import { closeSync, lstatSync, mkdirSync, openSync, readdirSync, rmdirSync, statSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { Content, secondsOf, writeFully } from './content.js';
import type { Load } from './load.js';

export const smallFiles: Load = (directory, { smallFiles, smallFileBytes }) => {
  const content = new Content();
  const parent = join(directory, 'small-files');
  mkdirSync(parent);
  const paths = Array.from({ length: smallFiles }, (_, index) => join(parent, `file-${index}`));
  const create = secondsOf(() => {
    paths.forEach((path, index) => {
      const fd = openSync(path, 'wx');
      writeFully(fd, content.piece(index, smallFileBytes), 0);
      closeSync(fd);
    });
  });
  const stat = secondsOf(() => {
    for (const path of paths) {
      if (statSync(path).size !== smallFileBytes) throw new Error(`${path} has the wrong size`);
    }
  });
  const unlink = secondsOf(() => {
    for (const path of paths) unlinkSync(path);
  });
  rmdirSync(parent);
  return { create: smallFiles / create, stat: smallFiles / stat, unlink: smallFiles / unlink };
};

export const makeListed: Load = (directory, { smallFiles }) => {
  const parent = join(directory, 'listed');
  mkdirSync(parent);
  for (let i = 0; i < smallFiles; i++) closeSync(openSync(join(parent, `file-${i}`), 'wx'));
  return {};
};

/** As `ls -l` does: names, and the attributes of each. */
export const listWithAttributes: Load = (directory, { smallFiles }) => {
  const parent = join(directory, 'listed');
  let files = 0;
  const seconds = secondsOf(() => {
    for (const name of readdirSync(parent)) files += Number(lstatSync(join(parent, name)).isFile());
  });
  if (files !== smallFiles) throw new Error(`${files} of ${smallFiles} files are listed`);
  return { filesPerSecond: files / seconds };
};
