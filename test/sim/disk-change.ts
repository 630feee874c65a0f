/**
 * Changes of the disks of a simulated pool: as steps of a history, and what is asked of a pool that was stopped in the middle of one. It must be possible to finish it:
 * the job goes on by itself, a change that had not got as far as a new diskmap is asked for again, and then everything is where it belongs.
 */
import { CairnError, hasCode } from '../../src/errors/cairn-error.js';
import type { Pool } from '../../src/pool/pool.js';
import { REBALANCE } from '../../src/rebalance/rebalance-job.js';
import type { DiskChangeRequest, JobReport } from '../../src/vfs/reports.js';
import type { Interference } from './sim-io.js';
import type { SimMachine } from './sim-machine.js';
import { DISK_BYTES, diskDirectory, SPARE_DIRECTORY } from './sim-pool.js';

/** `disk`: the number of the one that leaves. */
export type DiskChange = { readonly op: 'add' } | { readonly op: 'replace' | 'remove'; readonly disk: number };

const FULL_SPEED = { fullSpeed: true };

function requestOf(change: DiskChange): DiskChangeRequest {
  switch (change.op) {
    case 'add':
      return { action: 'add', directories: [SPARE_DIRECTORY], sizeBytes: DISK_BYTES };
    case 'replace':
      return { action: 'replace', disk: `${change.disk}`, directory: SPARE_DIRECTORY, sizeBytes: DISK_BYTES };
    case 'remove':
      return { action: 'remove', disk: `${change.disk}` };
  }
}

/** Begins the change; what moves, moves in the background. */
export async function beginChange(pool: Pool, change: DiskChange): Promise<void> {
  await pool.control.disks.change(requestOf(change), FULL_SPEED);
}

/** How the job that moves ended, when it has; undefined if there never was one. */
export async function whenMoved(pool: Pool): Promise<JobReport | undefined> {
  for (;;) {
    const job = pool.control.jobs.list().find(({ name }) => name === REBALANCE);
    if (job === undefined || job.state === 'idle') return undefined;
    if (job.state !== 'running' && job.state !== 'waiting') return job;
    await new Promise(setImmediate);
  }
}

/** The disk's device is empty from here on, and answers nothing. */
export function loseDisk(machine: SimMachine, disk: number): void {
  const root = diskDirectory(disk);
  machine.device(root).wipe();
  const dead: Interference = {
    before: ({ kind, path }) => {
      if (path !== root && !path.startsWith(`${root}/`)) return undefined;
      throw new CairnError(kind === 'look' ? 'NOT_FOUND' : 'IO', `${path}: the device is gone`);
    },
  };
  machine.io.interference = dead;
}

/** The recovered pool finishes the change, and its disks are those that there are after it. */
export async function finishChange(pool: Pool, change: DiskChange): Promise<void> {
  await ended(pool);
  const { parts } = pool;
  const { disks } = parts;
  const joins = change.op !== 'remove';
  const spare = (): number | undefined => disks.listed.find(({ directory }) => directory === SPARE_DIRECTORY)?.number;
  const buckets = (disk: number | undefined): number =>
    parts.map.disks.find((each) => each.disk === disk)?.buckets ?? 0;
  const isMade = joins ? buckets(spare()) > 0 : buckets(change.disk) === 0;
  if (!isMade) {
    await beginChange(pool, change);
    await ended(pool);
  }
  if (joins && buckets(spare()) === 0) throw new Error('the disk that joined has no part in the diskmap');
  if (change.op !== 'add' && disks.listed.some(({ number }) => number === change.disk))
    throw new Error(`disk ${change.disk} is still listed`);
  for (const disk of disks.data()) {
    const bytes = parts.chunks.strayBytes(disk);
    if (bytes !== 0) throw new Error(`${bytes} bytes are not where they belong on ${disk.directory}`);
  }
}

async function ended(pool: Pool): Promise<void> {
  const job = await whenMoved(pool);
  if (job !== undefined && job.state !== 'done') throw new Error(`the job is ${job.state}: ${job.line}`);
}

/** Refusals and failures that a change may meet where disks fail, or where it makes no sense. */
export function isRefusal(error: unknown): boolean {
  return hasCode(error, 'CONFIG', 'INVALID', 'NOT_FOUND', 'BUSY', 'DISK_FAILED', 'NO_SPACE', 'EXISTS', 'NOT_EMPTY');
}
