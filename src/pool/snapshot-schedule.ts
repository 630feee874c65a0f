/**
 * When metadata snapshots are taken: after so much journal, in the background, and at a clean end. How much that is grows with the metadata, so that of
 * what is written for a commit the share for snapshots does not: a pool of ten million files would else write gigabytes for every few thousand commits.
 */
import type { Journal } from '../commit/journal.js';
import type { Snapshotter } from '../commit/snapshotter.js';
import type { MetaStore } from '../meta/meta-store.js';
import type { PoolLog } from './pool-log.js';

/** A snapshot is due after at least so much journal, and as much as it takes itself, */
const JOURNAL_BYTES = 64 * 1024 * 1024;
/** or after at least so many commits, and one for each page that it takes. */
const COMMITS = 20_000;
const BYTES_PER_COMMIT = 4096;
/** At a clean end a short journal is left to be replayed: commits, and one more for each MiB of the snapshot. */
const COMMITS_AT_END = 64;
const BYTES_PER_COMMIT_AT_END = 1024 * 1024;
/** About what a row takes in a snapshot. */
const ROW_BYTES = 64;

export class SnapshotSchedule {
  readonly #snapshotter: Pick<Snapshotter, 'take'>;
  readonly #meta: Pick<MetaStore, 'statistics'>;
  readonly #log: PoolLog;
  readonly #abort = new AbortController();
  #bytes: number;
  #commits: number;
  #isAsking = false;
  #running: Promise<void> | undefined;

  /** `since`: the journal that earlier runs left beyond the newest snapshot; `isDue`: that one lies on too few disks. */
  constructor(
    snapshotter: Pick<Snapshotter, 'take'>,
    journal: Pick<Journal, 'onCommit'>,
    meta: Pick<MetaStore, 'statistics'>,
    log: PoolLog,
    since: { readonly commits: number; readonly bytes: number },
    isDue: boolean,
  ) {
    this.#snapshotter = snapshotter;
    this.#meta = meta;
    this.#log = log;
    this.#bytes = since.bytes;
    this.#commits = since.commits;
    journal.onCommit = (_sequence, recordBytes) => {
      this.#bytes += recordBytes;
      this.#commits += 1;
      if (this.#bytes >= JOURNAL_BYTES || this.#commits >= COMMITS) void this.#startIfDue();
    };
    if (isDue) this.#start();
  }

  async #startIfDue(): Promise<void> {
    if (this.#isAsking) return;
    this.#isAsking = true;
    const bytes = await this.#snapshotBytes();
    this.#isAsking = false;
    if (this.#bytes >= Math.max(JOURNAL_BYTES, bytes) || this.#commits >= Math.max(COMMITS, bytes / BYTES_PER_COMMIT))
      this.#start();
  }

  /** About what a snapshot would take now. A store that cannot say is asked again with the next commit. */
  async #snapshotBytes(): Promise<number> {
    try {
      const { inodes, dentries, extents, chunks } = await this.#meta.statistics();
      return ROW_BYTES * (inodes + dentries + extents + chunks);
    } catch {
      return Number.POSITIVE_INFINITY;
    }
  }

  #start(): void {
    if (this.#running !== undefined || this.#abort.signal.aborted) return;
    this.#bytes = 0;
    this.#commits = 0;
    this.#running = this.#snapshotter
      .take(this.#abort.signal)
      .then(
        (sequence) => this.#log.info({ sequence }, `took a metadata snapshot at commit ${sequence}`),
        (error: unknown) => {
          if (!this.#abort.signal.aborted)
            this.#log.warn({ error }, 'a metadata snapshot failed and is tried again later');
        },
      )
      .finally(() => {
        this.#running = undefined;
      });
  }

  /**
   * The pool is full, and on some disk the journal takes `journalBytes` more than it needs: true if a snapshot has taken its place since. False if that would not give
   * room, or has just been done.
   */
  async relieve(journalBytes: number): Promise<boolean> {
    await this.#running;
    if (this.#commits < COMMITS_AT_END || journalBytes <= (await this.#snapshotBytes())) return false;
    this.#start();
    await this.#running;
    return true;
  }

  /** The last snapshot of this run, if there is enough new since the one before. */
  async finish(): Promise<void> {
    await this.#running;
    if (this.#commits < COMMITS_AT_END + (await this.#snapshotBytes()) / BYTES_PER_COMMIT_AT_END) return;
    this.#start();
    await this.#running;
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#running;
  }
}
