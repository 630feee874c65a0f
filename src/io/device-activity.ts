/** What the block device under a directory has finished so far, as the kernel counts it (`/sys/dev/block/…/stat`): asking never waits for the device. */
import { readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Activity } from './io-guard.js';

/** Fields of the line: reads, their sectors; writes; discards; flushes. Sectors of a write count when it has ended, like all of these. */
const FINISHED = [0, 2, 4, 6, 11, 15];

/** For a file system without a block device of its own (a network, several devices, memory): an activity that is always undefined. */
export async function deviceActivity(directory: string): Promise<Activity> {
  const { dev } = await stat(directory, { bigint: true });
  const path = `/sys/dev/block/${majorOf(dev)}:${minorOf(dev)}/stat`;
  return () => {
    try {
      const fields = readFileSync(path, 'utf8').trim().split(/\s+/);
      return FINISHED.map((field) => fields[field] ?? '').join(' ');
    } catch {
      return undefined;
    }
  };
}

/** As glibc's gnu_dev_major and gnu_dev_minor take a dev_t apart. */
function majorOf(dev: bigint): bigint {
  return ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
}

function minorOf(dev: bigint): bigint {
  return (dev & 0xffn) | ((dev >> 12n) & ~0xffn & 0xffffffffn);
}
