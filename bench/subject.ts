/** One side of a comparison: a directory that the loads run in, and what has to happen around them. */

import { writeFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { run } from './child.js';

export interface Subject {
  /** `plain`, `cairn`, or a peer's name. */
  readonly side: string;
  readonly directory: string;
  /** Waits until nothing of earlier loads is left to be done: dirty pages written, staged bytes committed. */
  settle(): Promise<void>;
  /** After `settle`: sees to it that the next read comes from the disks. */
  makeCold(): Promise<void>;
  /** Removes what the loads have left. */
  clear(): Promise<void>;
}

/** A directory of the file system that is there anyway. */
export class PlainSubject implements Subject {
  readonly side = 'plain';

  constructor(readonly directory: string) {}

  async settle(): Promise<void> {
    await run('sync', ['-f', this.directory]);
  }

  async makeCold(): Promise<void> {
    await this.settle();
    dropPageCache();
  }

  async clear(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
    await mkdir(this.directory, { recursive: true });
  }
}

/** Only root may: without it there is no cold read to measure. */
export function canDropPageCache(): boolean {
  return process.getuid?.() === 0;
}

export function dropPageCache(): void {
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}
