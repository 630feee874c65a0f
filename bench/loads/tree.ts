/**
 * A source tree as a program's user meets it: unpacked by tar, looked through by git, removed by rm. The archive lies beside the measured directory, on the
 * device below, and holds a repository whose objects are packed, so that nearly all of its files are the tree's own.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BLOCK, Content, secondsOf } from './content.js';
import type { Load } from './load.js';

const FILES_PER_DIRECTORY = 25;

function git(directory: string, ...args: readonly string[]): void {
  const config = ['-c', 'user.name=bench', '-c', 'user.email=bench@localhost', '-c', 'gc.auto=0'];
  execFileSync('git', ['-C', directory, ...config, ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
}

function archiveOf(directory: string): string {
  return join(directory, '..', 'tree.tar');
}

/** Makes the archive, once for a place. */
export const prepareTree: Load = (directory, { treeFiles }) => {
  const archive = archiveOf(directory);
  if (existsSync(archive)) return {};
  const source = join(directory, '..', 'tree-source');
  const content = new Content();
  for (let i = 0; i < treeFiles; i++) {
    const parent = join(source, `directory-${Math.floor(i / FILES_PER_DIRECTORY)}`);
    if (i % FILES_PER_DIRECTORY === 0) mkdirSync(parent, { recursive: true });
    const bytes = 64 + ((i * 1009) % (2 * BLOCK));
    writeFileSync(join(parent, `file-${i}.c`), content.mebibyte(i).subarray(0, bytes));
  }
  git(source, 'init', '-q');
  git(source, 'add', '.');
  git(source, 'commit', '-q', '-m', 'tree');
  git(source, 'repack', '-adq');
  execFileSync('tar', ['-cf', archive, '-C', source, '.']);
  rmSync(source, { recursive: true });
  return {};
};

export const unpackTree: Load = (directory, { treeFiles }) => {
  const tree = join(directory, 'tree');
  mkdirSync(tree);
  const seconds = secondsOf(() => execFileSync('tar', ['-xf', archiveOf(directory), '-C', tree]));
  // The index knows the files of the source: git looks at each of them anew, once.
  git(tree, 'status');
  return { filesPerSecond: treeFiles / seconds };
};

export const statusOfTree: Load = (directory, { treeFiles }) => ({
  filesPerSecond: treeFiles / secondsOf(() => git(join(directory, 'tree'), 'status')),
});

export const removeTree: Load = (directory, { treeFiles }) => ({
  filesPerSecond: treeFiles / secondsOf(() => execFileSync('rm', ['-rf', join(directory, 'tree')])),
});
