/** Sixteen processes that create, write, close and remove files of their own in one directory, all at once. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { Content, writeFully } from './content.js';
import type { Load, LoadSize } from './load.js';

const PROCESSES = 16;

type Member = ChildProcessByStdio<Writable, Readable, null>;

/** One of them: says that it is there, waits for the word, and does its part. */
export const memberOfMany: Load = (directory, { smallFiles, smallFileBytes }) => {
  const content = new Content();
  process.stdout.write('\n');
  readSync(0, Buffer.alloc(1));
  for (let i = 0; i < smallFiles; i++) {
    const path = join(directory, `${process.pid}-${i}`);
    const fd = openSync(path, 'wx');
    writeFully(fd, content.piece(i, smallFileBytes), 0);
    closeSync(fd);
    unlinkSync(path);
  }
  return {};
};

export const sharedDirectory = async (directory: string, size: LoadSize): Promise<{ filesPerSecond: number }> => {
  const shared = join(directory, 'shared');
  mkdirSync(shared);
  const each: LoadSize = { ...size, smallFiles: Math.ceil(size.smallFiles / PROCESSES) };
  const args = [process.argv[1] ?? '', 'memberOfMany', shared, JSON.stringify(each)];
  const members = Array.from(
    { length: PROCESSES },
    (): Member => spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] }),
  );
  const ends = members.map((member) => once(member, 'exit'));
  await Promise.all(members.map((member) => once(member.stdout, 'data')));
  const start = performance.now();
  for (const member of members) member.stdin.end('!');
  for (const [code] of await Promise.all(ends)) if (code !== 0) throw new Error(`one of ${PROCESSES} processes failed`);
  return { filesPerSecond: (each.smallFiles * PROCESSES) / ((performance.now() - start) / 1000) };
};
