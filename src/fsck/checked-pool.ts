/**
 * What a check needs of an open pool, and how it is to go about it. `PoolParts` of src/pool has all of it, and so has a simulated pool: nothing
 * here depends on SQLite, on file descriptors or on a real clock.
 */
import type { DiskMap } from '../../diskmap/index.js';
import type { ChunkStore } from '../chunks/chunk-store.js';
import type { Disks } from '../chunks/shard-set.js';
import type { Collector } from '../commit/collector.js';
import type { Journal, JournalDisks } from '../commit/journal.js';
import type { Disk, DiskRole } from '../disks/disk.js';
import type { FileIo } from '../io/file-io.js';
import type { MetaStore } from '../meta/meta-store.js';
import type { InodeTable } from '../vfs/inode-table.js';
import type { CheckProgress, DiskReport } from '../vfs/reports.js';

export interface CheckedPool {
  readonly config: {
    readonly pool: string;
    readonly disks: readonly {
      readonly directory: string;
      readonly uuid: string;
      readonly role: DiskRole;
      readonly number: number;
    }[];
    readonly cache: { readonly directory: string };
  };
  readonly io: FileIo;
  readonly map: DiskMap;
  readonly disks: CheckedDisks;
  readonly meta: MetaStore;
  readonly chunks: ChunkStore;
  readonly journal: Pick<Journal, 'between' | 'sequence'>;
  readonly collector: Pick<Collector, 'run'>;
  readonly table: Pick<InodeTable, 'peek' | 'orphanChunks'>;
  /** Makes one more commit and writes a metadata snapshot of it to every data disk, which then give back the journal before it. */
  takeSnapshot(): Promise<void>;
}

interface CheckedDisks extends JournalDisks {
  /** All that could be opened. */
  readonly opened: readonly Disk[];
  readonly byNumber: Disks;
  /** As `PoolDisks.tooMany`. */
  readonly tooMany: string | undefined;
  reports(): readonly DiskReport[];
}

export interface CheckOptions {
  /** Decode every chunk, compare its hash with its name and each of its shards with what it should be. */
  readonly content?: boolean;
  /** Mend what can be derived, then check again. */
  readonly repair?: boolean;
  /** Others use the pool meanwhile: what looks wrong is looked at again in a quiet moment before it is a finding. */
  readonly live?: boolean;
  /** The files as they were before recovery, where `pool.io` shows them as it has left them. */
  readonly asFound?: FileIo | undefined;
  /** An empty store: the metadata is made anew in it from the disks, and compared. */
  readonly spare?: MetaStore | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: CheckProgress) => void) | undefined;
  /** Called after every slice of work (about a mebibyte, or a thousand rows); the check goes on when it resolves. */
  readonly pause?: (() => Promise<void>) | undefined;
}
