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
    plant: (machine) => {
      let syncs = 0;
      // Of the log in which the cache keeps its promises; any later sync makes up for it.
      skipping(({ kind, path }) => kind === 'sync' && path.includes('/stage/') && ++syncs === 2)(machine);
    },
  },
  {
    name: 'publishing before the shards',
    plant: skipping(({ kind, path }) => kind === 'sync' && path.includes('/log/data-')),
  },
  { name: 'forgetting the directory sync', plant: skipping(({ kind }) => kind === 'syncDirectory') },
];

/** Recovery believes one disk alone, whatever the others say: undone by calling what it returns. */
export function trustOneDisk(number: number): () => void {
  const { commits, snapshots } = LogDisk.prototype;
  LogDisk.prototype.commits = function (this: LogDisk, after: number) {
    return this.directory === diskDirectory(number) ? commits.call(this, after) : [];
  };
  LogDisk.prototype.snapshots = function (this: LogDisk) {
    return this.directory === diskDirectory(number) ? snapshots.call(this) : [];
  };
  return () => {
    LogDisk.prototype.commits = commits;
    LogDisk.prototype.snapshots = snapshots;
  };
}
