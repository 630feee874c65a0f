/**
 * Repairs chunks one by one: those of which reads have met bad shards, and those that were stored while a disk was failing or away. A disk that is
 * away now is no damage: its shards come back with it, or it is replaced, which is another decision; what was stored without it is
 * completed when it is back, chunk by chunk, and nothing else is moved.
 */
import type { ChunkStore } from '../chunks/chunk-store.js';
import type { Disk } from '../disks/disk.js';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { CheckedPool } from '../fsck/checked-pool.js';
import type { Clock, Timer } from '../io/clock.js';
import type { JobContext, JobKind, Json } from '../jobs/job.js';
import type { JobRunner } from '../jobs/job-runner.js';
import type { MetaStore } from '../meta/meta-store.js';
import { repairJournal } from './journal-repair.js';
import type { RepairQueue } from './repair-queue.js';
import { syncAll } from './sync-all.js';

/** Before scrubs and moves: what it mends is at risk now. */
const RANK = 10;
/** What comes together is done together. */
const WAKE_DELAY_MS = 200;
/** Between two looks whether something came while a run was ending. */
const AGAIN_MS = 1_000;
/** What could not be mended for want of room, or of something that nobody tells, is tried again. */
const RETRY_MS = 600_000;
/** After room has come back: by then as much of it as comes at once. */
const ROOM_RETRY_MS = 30_000;

interface RepairDisks {
  readonly allOnline: boolean;
  /** Those that are online. */
  data(): readonly Disk[];
  readonly byNumber: ReadonlyMap<number, Disk | undefined>;
}

export interface RepairParts {
  readonly queue: RepairQueue;
  readonly jobs: JobRunner;
  readonly chunks: ChunkStore;
  readonly meta: Pick<MetaStore, 'getChunk'>;
  readonly disks: RepairDisks;
  readonly clock: Clock;
  /** The chunk is as it should be. */
  readonly onWhole: (chunk: string) => void;
}

export class RepairJob implements JobKind {
  readonly name = 'repair';
  readonly rank = RANK;
  readonly #parts: RepairParts;
  #wake: Timer | undefined;
  #retry: Timer | undefined;
  /** `#retry` is on account of room that came back. */
  #isRetrySoon = false;
  #pool: CheckedPool | undefined;
  /** A disk came back: it may lack COMMIT records. */
  #isJournalDue = false;
  #isClosed = false;

  constructor(parts: RepairParts) {
    this.#parts = parts;
  }

  /** As the chunk store's `onDegradedRead`. */
  noteRead(chunk: string, number: number | undefined): void {
    const { disks, queue } = this.#parts;
    const isHere = number === undefined ? disks.allOnline : disks.byNumber.get(number)?.state === 'online';
    if (!isHere) return;
    queue.add(chunk, 'damaged');
    this.#later(WAKE_DELAY_MS);
  }

  /** As the journal's `onDegraded`, and for whoever finds such. */
  noteDegraded(chunks: Iterable<string>): void {
    const { queue, disks } = this.#parts;
    for (const chunk of chunks) {
      queue.add(chunk, 'degraded');
      // The store has just tried to place all of it.
      if (!disks.allOnline) queue.wait(chunk);
    }
    this.#later(WAKE_DELAY_MS);
  }

  /** A disk that was away is here again: what waited for it is done. */
  diskReturned(): void {
    this.#isJournalDue = true;
    this.retry();
  }

  /** What waited is tried again. */
  retry(): void {
    this.#parts.queue.retry();
    this.#later(WAKE_DELAY_MS);
  }

  /** Some disk takes more than before: what waits for room need not wait long. */
  roomCame(): void {
    if (this.#retry === undefined || this.#isRetrySoon) return;
    this.#retry.cancel();
    this.#retryAfter(ROOM_RETRY_MS);
    this.#isRetrySoon = true;
  }

  /** Takes up what earlier runs left. */
  async open(pool: CheckedPool): Promise<void> {
    const { queue } = this.#parts;
    await queue.load();
    this.#pool = pool;
    if (queue.ready > 0) this.#isJournalDue = true;
    this.#later(WAKE_DELAY_MS);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#wake?.cancel();
    this.#retry?.cancel();
    if (this.#pool !== undefined) await this.#parts.queue.close();
  }

  settle(): Promise<void> {
    return syncAll(this.#parts.disks.data());
  }

  async run({ total, turn, say }: JobContext): Promise<Json> {
    const { queue, disks, meta, chunks, onWhole } = this.#parts;
    const report = { chunks: 0, shards: 0, bytes: 0, waiting: 0, journal: [] as readonly string[] };
    if (this.#isJournalDue && this.#pool !== undefined) {
      this.#isJournalDue = false;
      say('copying COMMIT records to disks that lack them');
      report.journal = (await repairJournal(this.#pool, () => turn(0))).mended;
    }
    let seen = 0;
    let doneBytes = 0;
    for (let item = queue.next(); item !== undefined; item = queue.next()) {
      const { chunk, reason } = item;
      say(`${queue.ready} chunks to repair`);
      const row = await meta.getChunk(chunk);
      // A commit that has named it just now may not be applied yet.
      if (row === undefined && chunks.isHeld(chunk)) queue.wait(chunk);
      // Placed elsewhere, all of it would be written once more: that is for who decides that a disk does not return.
      else if (reason === 'degraded' && !disks.allOnline) queue.wait(chunk);
      else if (row === undefined) {
        // Nothing names it any more.
        queue.done(chunk);
        onWhole(chunk);
      } else {
        try {
          const mended = await chunks.mend(chunk, row.chunkBytes, { verify: reason === 'damaged' });
          report.shards += mended.shardsWritten;
          report.bytes += mended.bytesWritten;
          if (mended.shardsWritten > 0) report.chunks += 1;
        } catch (error) {
          if (!hasCode(error, 'UNREADABLE', 'NO_SPACE', 'DISK_FAILED')) throw error;
        }
        if (chunks.health(chunk).health === 'healthy') {
          queue.done(chunk);
          onWhole(chunk);
        } else queue.wait(chunk);
      }
      seen += 1;
      doneBytes += row?.chunkBytes ?? 0;
      total(doneBytes + (doneBytes / seen) * queue.ready);
      await turn(row?.chunkBytes ?? 0);
    }
    await syncAll(disks.data());
    report.waiting = queue.waiting;
    if (queue.waiting > 0 && this.#retry === undefined && !this.#isClosed) this.#retryAfter(RETRY_MS);
    return report;
  }

  #retryAfter(delayMs: number): void {
    this.#retry = this.#parts.clock.after(delayMs, () => {
      this.#retry = undefined;
      this.#isRetrySoon = false;
      this.retry();
    });
  }

  #later(delayMs: number): void {
    if (this.#isClosed || this.#pool === undefined || !this.#isDue) return;
    this.#wake ??= this.#parts.clock.after(delayMs, () => {
      this.#wake = undefined;
      void this.#begin();
    });
  }

  get #isDue(): boolean {
    return this.#parts.queue.ready > 0 || this.#isJournalDue;
  }

  async #begin(): Promise<void> {
    const { jobs } = this.#parts;
    const state = jobs.list().find(({ name }) => name === this.name)?.state;
    // Whoever paused it resumes it.
    if (state === 'paused' || this.#isClosed || !this.#isDue) return;
    try {
      await jobs.start(this.name);
    } catch (error) {
      if (!(error instanceof CairnError)) throw error;
    }
    // What comes while a run is ending belongs to the next one.
    this.#later(AGAIN_MS);
  }
}
