/**
 * Bugs of the kinds that the simulator is there to find, planted from outside: each makes the machine, or one method of a class, do what a
 * program with that bug would do. Nothing of this is in the product.
 */
import { LogDisk } from '../../src/disks/log-disk.js';
import type { Interference, Operation } from './sim-io.js';
import type { SimMachine } from './sim-machine.js';
import { diskDirectory } from './sim-pool.js';

export interface PlantedBug {
  readonly name: string;
  /** Into the machine that runs a history. */
  plant(machine: SimMachine): void;
}

/** Skips the operations that `which` picks. */
function skipping(which: (operation: Operation) => boolean): (machine: SimMachine) => void {
  return (machine) => {
    const interference: Interference = { before: (operation) => (which(operation) ? 'skip' : undefined) };
    machine.io.interference = interference;
  };
}

export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    name: 'acknowledging before the sync',
    plant: (machine) => {
      machine.io.interference = {
        before: ({ kind, path }) => {
          if (kind !== 'sync' || !path.includes('/log/journal-')) return undefined;
          // The sync comes, but a little later than the answer.
          const late = (turns: number): void => {
            if (turns > 0) setImmediate(() => late(turns - 1));
            else machine.syncLate(path);
          };
          late(6);
          return 'skip';
        },
      };
    },
  },
  {
    name: 'dropping one fdatasync',
    // That of the log in which the cache keeps its promises; its segments are still made with one.
    plant: skipping(({ kind, path }) => kind === 'sync' && path.includes('/stage/') && path.endsWith('.log')),
  },
  {
    name: 'publishing before the shards',
    plant: skipping(({ kind, path }) => kind === 'sync' && path.includes('/log/data-')),
  },
  { name: 'forgetting the directory sync', plant: skipping(({ kind }) => kind === 'syncDirectory') },
];

/** Recovery takes what one disk knows, where that is there, for all there is: undone by calling what it returns. */
export function trustOneDisk(number: number): () => void {
  const { commits, snapshots } = LogDisk.prototype;
  /** What the trusted disk knows; undefined where it is not there. Recovery asks all disks in one step, in their order. */
  let limit: number | undefined;
  const believe = <T extends { readonly sequence: number }>(disk: LogDisk, found: T[]): T[] => {
    if (disk.directory === diskDirectory(number)) {
      limit = Math.max(0, ...[...commits.call(disk, 0), ...snapshots.call(disk)].map(({ sequence }) => sequence));
      queueMicrotask(() => {
        limit = undefined;
      });
    }
    const known = limit;
    return known === undefined ? found : found.filter(({ sequence }) => sequence <= known);
  };
  LogDisk.prototype.commits = function (this: LogDisk, after: number) {
    return believe(this, commits.call(this, after));
  };
  LogDisk.prototype.snapshots = function (this: LogDisk) {
    return believe(this, snapshots.call(this));
  };
  return () => {
    LogDisk.prototype.commits = commits;
    LogDisk.prototype.snapshots = snapshots;
  };
}
