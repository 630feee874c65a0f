/**
 * What a pool stands on: files, time, chance, and the three parts that leave the process's own interfaces (worker threads and SQLite
 * files). Everything below `vfs` reaches the world through it, so that a simulated machine can take its place unchanged.
 */
import { join } from 'node:path';
import { loadAddon } from '../../native/addon.js';
import type { Pipeline } from '../chunks/pipeline.js';
import { WorkerPipeline } from '../chunks/worker-pipeline.js';
import { hasCode } from '../errors/cairn-error.js';
import { type Clock, SystemClock } from '../io/clock.js';
import { deviceActivity } from '../io/device-activity.js';
import type { FileIo } from '../io/file-io.js';
import type { Activity } from '../io/io-guard.js';
import { NodeFileIo } from '../io/node-file-io.js';
import { type Random, SystemRandom } from '../io/random.js';
import type { MetaStore } from '../meta/meta-store.js';
import { openSqliteMetaStore } from '../meta/sqlite-meta-store.js';
import { destroySqliteMetaStore, markDamaged } from '../meta/sqlite-schema.js';
import { capacitiesOf } from './init-pool.js';
import type { PoolLog } from './pool-log.js';

export interface Machine {
  readonly io: FileIo;
  readonly clock: Clock;
  readonly random: Random;
  makePipeline(): Pipeline;
  /** The pool's metadata store in `directory`; an unusable one is made anew, for recovery to fill it from the disks. */
  openMeta(directory: string, pool: string, log: PoolLog): Promise<MetaStore>;
  /** The pool's metadata store in `directory` contradicts the journal, or itself: the next `openMeta` makes it anew. */
  condemnMeta?(directory: string, pool: string): void;
  /** Where the index file of the disk `uuid`, found in `diskDirectory`, is; undefined: in that directory. */
  indexPath(diskDirectory: string, uuid: string): string | undefined;
  /** How to see what the device under a directory finishes; absent where devices do not hang. */
  deviceActivity?(directory: string): Promise<Activity>;
  /** Threads of the process wait for a device that does not answer: its end must not wait for them. */
  leaveThreads?(): void;
  /** Bytes that a new disk in each directory may take. NOT_FOUND. */
  capacities(directories: readonly string[]): Promise<ReadonlyMap<string, number>>;
}

export function metaPath(directory: string, pool: string): string {
  return join(directory, `meta-${pool.slice(0, 16)}.sqlite`);
}

/** The machine that this process runs on. */
export class SystemMachine implements Machine {
  readonly io: FileIo = new NodeFileIo();
  readonly clock: Clock;
  readonly random: Random = new SystemRandom();

  /** `clock`: where the times of files are to be others than the system's to the microsecond. */
  constructor(clock: Clock = new SystemClock()) {
    this.clock = clock;
  }

  makePipeline(): Pipeline {
    return new WorkerPipeline();
  }

  async openMeta(directory: string, pool: string, log: PoolLog): Promise<MetaStore> {
    await this.io.makeDirectory(directory);
    const path = metaPath(directory, pool);
    try {
      return await openSqliteMetaStore(path);
    } catch (error) {
      if (!hasCode(error, 'CORRUPT')) throw error;
      log.warn({ path }, `${error.message}; it is rebuilt from the disks`);
      destroySqliteMetaStore(path);
      return openSqliteMetaStore(path);
    }
  }

  condemnMeta(directory: string, pool: string): void {
    markDamaged(metaPath(directory, pool));
  }

  indexPath(): undefined {
    return undefined;
  }

  deviceActivity(directory: string): Promise<Activity> {
    return deviceActivity(directory);
  }

  leaveThreads(): void {
    process.once('exit', (code) => loadAddon().exitNow(code));
  }

  capacities(directories: readonly string[]): Promise<ReadonlyMap<string, number>> {
    return capacitiesOf(this.io, directories);
  }
}
