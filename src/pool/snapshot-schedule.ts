/** When metadata snapshots are taken: after so many bytes of journal, in the background, and at a clean end. */
import type { Journal } from '../commit/journal.js';
import type { Snapshotter } from '../commit/snapshotter.js';
import type { PoolLog } from './pool-log.js';

const JOURNAL_BYTES = 64 * 1024 * 1024;
const COMMITS = 20_000;
/** At a clean end a short journal is left to be replayed. */
const COMMITS_AT_END = 64;

export class SnapshotSchedule {
  readonly #snapshotter: Snapshotter;
  readonly #log: PoolLog;
  readonly #abort = new AbortController();
  #bytes: number;
  #commits: number;
  #running: Promise<void> | undefined;

  /** `since`: the journal that earlier runs left beyond the newest snapshot; `isDue`: that one lies on too few disks. */
  constructor(
    snapshotter: Snapshotter,
    journal: Journal,
    log: PoolLog,
    since: { readonly commits: number; readonly bytes: number },
    isDue: boolean,
  ) {
    this.#snapshotter = snapshotter;
    this.#log = log;
    this.#bytes = since.bytes;
    this.#commits = since.commits;
    journal.onCommit = (_sequence, recordBytes) => {
      this.#bytes += recordBytes;
      this.#commits += 1;
      if (this.#bytes >= JOURNAL_BYTES || this.#commits >= COMMITS) this.#start();
    };
    if (isDue) this.#start();
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

  /** The last snapshot of this run, if there is enough new since the one before. */
  async finish(): Promise<void> {
    await this.#running;
    if (this.#commits < COMMITS_AT_END) return;
    this.#start();
    await this.#running;
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#running;
  }
}
