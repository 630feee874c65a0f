/**
 * A machine on which a pool can be opened without anything of it being changed: files are read through an overlay, metadata store and indexes are
 * copies in a temporary directory. What recovery would do at a mount happens, and is gone with the machine.
 *
 * SQLite cannot open a file in WAL mode without writing beside it, hence the copies: the temporary directory needs as much room as they take.
 */
import { copyFileSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InlinePipeline } from '../chunks/inline-pipeline.js';
import type { Pipeline } from '../chunks/pipeline.js';
import { openIndexDatabase } from '../disks/index-database.js';
import { hasCode } from '../errors/cairn-error.js';
import { type Clock, SystemClock } from '../io/clock.js';
import type { FileIo } from '../io/file-io.js';
import { NodeFileIo } from '../io/node-file-io.js';
import { OverlayFileIo } from '../io/overlay-file-io.js';
import { type Random, SystemRandom } from '../io/random.js';
import type { MetaStore } from '../meta/meta-store.js';
import { openSqliteMetaStore } from '../meta/sqlite-meta-store.js';
import { DAMAGED } from '../meta/sqlite-schema.js';
import { capacitiesOf } from './init-pool.js';
import { type Machine, metaPath } from './machine.js';

/** The mark of damage belongs to what a mount would see. */
const SQLITE_SUFFIXES = ['', '-wal', '-journal', DAMAGED];

export class LookingMachine implements Machine {
  readonly clock: Clock = new SystemClock();
  readonly random: Random = new SystemRandom();
  /** The files as they are. */
  readonly asFound: FileIo = new NodeFileIo();
  readonly io: FileIo = new OverlayFileIo(this.asFound);
  /** Why a disk's index cannot be used, by its directory. */
  readonly badIndexes = new Map<string, string>();
  /** Why the metadata store cannot be used, if it is there. */
  badMeta: string | undefined;
  readonly #withoutMeta: boolean;
  readonly #directory = mkdtempSync(join(tmpdir(), 'cairn-fsck-'));
  #copies = 0;
  #hasOpenedMeta = false;

  /** `withoutMeta`: as if the metadata store were not there. */
  constructor(withoutMeta = false) {
    this.#withoutMeta = withoutMeta;
  }

  /** Without threads: what is written goes to memory. */
  makePipeline(): Pipeline {
    return new InlinePipeline();
  }

  async openMeta(directory: string, pool: string): Promise<MetaStore> {
    const path = metaPath(directory, pool);
    if (this.#withoutMeta || !existsSync(path)) return openSqliteMetaStore(this.#fresh());
    if (this.#hasOpenedMeta) {
      // Recovery asks again where the first one turned out to be damaged.
      this.badMeta = 'it is damaged';
      return openSqliteMetaStore(this.#fresh());
    }
    this.#hasOpenedMeta = true;
    const copy = this.#copy(path);
    try {
      return await openSqliteMetaStore(copy);
    } catch (error) {
      if (!hasCode(error, 'CORRUPT')) throw error;
      // Nobody knows the copy by its name.
      this.badMeta = error.message.replaceAll(copy, path);
      return openSqliteMetaStore(this.#fresh());
    }
  }

  /** An empty store beside. */
  openSpare(): Promise<MetaStore> {
    return openSqliteMetaStore(this.#fresh());
  }

  capacities(directories: readonly string[]): Promise<ReadonlyMap<string, number>> {
    return capacitiesOf(this.asFound, directories);
  }

  indexPath(diskDirectory: string, uuid: string): string {
    const copy = this.#copy(join(diskDirectory, 'index.sqlite'));
    const { database, reason } = openIndexDatabase(copy, uuid);
    database.close();
    if (reason !== undefined && hasRecords(diskDirectory)) this.badIndexes.set(diskDirectory, reason);
    return copy;
  }

  destroy(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #fresh(): string {
    this.#copies += 1;
    return join(this.#directory, `${this.#copies}.sqlite`);
  }

  #copy(path: string): string {
    const copy = this.#fresh();
    for (const suffix of SQLITE_SUFFIXES) if (existsSync(path + suffix)) copyFileSync(path + suffix, copy + suffix);
    return copy;
  }
}

function hasRecords(diskDirectory: string): boolean {
  try {
    return readdirSync(join(diskDirectory, 'log')).some((name) => name.endsWith('.log'));
  } catch {
    // Opening the disk meets the same error, and tells it.
    return false;
  }
}
