/**
 * A scrub: reads every record of every disk, in the order in which the disks have them, and looks at every file for chunks that lack shards. What is damaged
 * is written anew from the rest; what cannot be is named. Three parts, each of which goes on after a crash from the segment, or the directory, where it
 * was: the disks, the journal's copies, the files. The last one also tells to which files the damage of the first belongs.
 */
import * as v from 'valibot';
import type { Disk } from '../disks/disk.js';
import type { ShardEntry } from '../disks/record.js';
import { hasCode } from '../errors/cairn-error.js';
import type { CheckedPool } from '../fsck/checked-pool.js';
import { nameOf } from '../fsck/words.js';
import type { JobContext, JobKind, Json } from '../jobs/job.js';
import { DiskScrub } from './disk-scrub.js';
import { FileWalk } from './file-walk.js';
import { repairJournal } from './journal-repair.js';
import { addFile, addNote, emptyReport, readReport, type ScrubReport } from './scrub-report.js';
import { syncAll } from './sync-all.js';

/** After repair, before nothing: whatever else there is to do goes first. */
const RANK = 90;
/** Damaged chunks whose files are looked for. */
const AFFECTED_MAX = 10_000;

const Cursor = v.strictObject({
  part: v.picklist(['disks', 'journal', 'files']),
  /** The next segment, of this disk; segment numbers are unique on a disk, and `order` is the place in the walk: journal before data. */
  uuid: v.string(),
  stream: v.string(),
  segment: v.number(),
  walk: v.custom<Json>((value) => value !== undefined),
  /** Chunks that were damaged: repaired, or not. */
  affected: v.array(v.tuple([v.string(), v.boolean()])),
  report: v.custom<Json>((value) => value !== undefined),
});

interface ScrubEvents {
  /** The chunk is as it should be. */
  readonly onWhole: (chunk: string) => void;
  /** Every chunk of the pool has been looked at. */
  readonly onComplete: () => void;
}

export class ScrubJob implements JobKind {
  readonly name = 'scrub';
  readonly rank = RANK;
  readonly #pool: () => CheckedPool;
  readonly #events: ScrubEvents;

  constructor(pool: () => CheckedPool, events: ScrubEvents) {
    this.#pool = pool;
    this.#events = events;
  }

  settle(): Promise<void> {
    return syncAll(this.#pool().disks.data());
  }

  run(context: JobContext): Promise<Json> {
    return new Scrub(this.#pool(), this.#events, context).run();
  }
}

class Scrub {
  readonly #pool: CheckedPool;
  readonly #events: ScrubEvents;
  readonly #context: JobContext;
  readonly #report: ScrubReport;
  readonly #affected: Map<string, boolean>;
  /** The same, as it stands in the cursor. */
  readonly #affectedList: [string, boolean][];
  readonly #start: v.InferOutput<typeof Cursor> | undefined;
  #at: { part: 'disks' | 'journal' | 'files'; uuid: string; stream: string; segment: number; walk: Json };

  constructor(pool: CheckedPool, events: ScrubEvents, context: JobContext) {
    this.#pool = pool;
    this.#events = events;
    this.#context = context;
    const cursor = v.safeParse(Cursor, context.cursor);
    const report = cursor.success ? readReport(cursor.output.report) : undefined;
    // Without the report of what went before, it would tell of a part as if it were the whole.
    this.#start = cursor.success && report !== undefined ? cursor.output : undefined;
    this.#report = report ?? emptyReport();
    this.#affectedList = this.#start?.affected ?? [];
    this.#affected = new Map(this.#affectedList);
    this.#at = this.#start ?? { part: 'disks', uuid: '', stream: '', segment: 0, walk: null };
  }

  async run(): Promise<Json> {
    if (this.#at.part === 'disks') {
      await this.#disks();
      this.#at = { ...this.#at, part: 'journal' };
    }
    if (this.#at.part === 'journal') {
      await this.#journal();
      this.#at = { ...this.#at, part: 'files', walk: null };
    }
    await this.#files();
    await syncAll(this.#pool.disks.data());
    this.#events.onComplete();
    return this.#report;
  }

  #turn(doneBytes: number): Promise<void> {
    const { uuid, stream, segment, part, walk } = this.#at;
    const affected = this.#affectedList;
    return this.#context.turn(doneBytes, { part, uuid, stream, segment, walk, affected, report: this.#report });
  }

  async #disks(): Promise<void> {
    const disks = this.#pool.disks.opened.filter(({ state }) => state !== 'offline');
    const walks: { disk: Disk; scrub: DiskScrub; segments: Awaited<ReturnType<DiskScrub['segments']>> }[] = [];
    let totalBytes = 0;
    for (const disk of disks) {
      const scrub = new DiskScrub(this.#pool.io, disk);
      const segments = await scrub.segments();
      walks.push({ disk, scrub, segments });
      for (const segment of segments) totalBytes += scrub.bytesOf(segment);
    }
    this.#context.total(totalBytes);
    const { uuid, stream, segment: from } = this.#at;
    let first = uuid === '' ? 0 : walks.findIndex(({ disk }) => disk.identity.uuid === uuid);
    // The disk where it was is not there any more: nothing is passed over.
    if (first < 0) first = 0;
    for (const [i, { disk, scrub, segments }] of walks.entries()) {
      if (i < first) continue;
      const isResumed = disk.identity.uuid === uuid;
      for (const segment of segments) {
        const isBefore =
          isResumed &&
          (stream === segment.stream ? segment.segment < from : stream === 'data' && segment.stream === 'journal');
        if (isBefore) continue;
        this.#at = { ...this.#at, uuid: disk.identity.uuid, stream: segment.stream, segment: segment.segment };
        this.#context.say(`reading ${nameOf(disk)}, ${segment.stream} segment ${segment.segment}`);
        await this.#segment(disk, scrub, segment);
      }
      this.#report.disks += 1;
    }
  }

  async #segment(disk: Disk, scrub: DiskScrub, segment: Parameters<DiskScrub['scrub']>[0]): Promise<void> {
    let read = 0;
    const found = await scrub.scrub(segment, (bytes) => {
      read += bytes;
      return this.#turn(bytes);
    });
    if (found !== undefined) {
      this.#report.records += found.records;
      this.#report.bytes += found.bytes;
      if (found.isUnreadable)
        addNote(this.#report, `${nameOf(disk)} has sectors that cannot be read: the disk is failing, replace it soon`);
      for (const entry of found.damaged) await this.#damaged(entry);
      // What was repaired should be told, whatever comes.
      if (found.damaged.length > 0) await this.#context.keep();
    }
    // What is behind the last record counts as done, so that the whole adds up; the next segment is where a resumed scrub begins.
    this.#at = { ...this.#at, segment: segment.segment + 1 };
    await this.#turn(Math.max(0, scrub.bytesOf(segment) - read));
  }

  async #damaged({ chunk }: ShardEntry): Promise<void> {
    const row = await this.#pool.meta.getChunk(chunk);
    // What no file needs any more goes with the next collection.
    if (row === undefined) return;
    const isWhole = await this.#mend(chunk, row.chunkBytes, true);
    if (this.#affected.size < AFFECTED_MAX || this.#affected.has(chunk)) {
      this.#affected.set(chunk, isWhole);
      // What stands later in the list counts.
      this.#affectedList.push([chunk, isWhole]);
    }
    await this.#turn(0);
  }

  /** True if every shard of the chunk is there and what it should be. */
  async #mend(chunk: string, chunkBytes: number, verify: boolean): Promise<boolean> {
    const { chunks } = this.#pool;
    try {
      const mended = await chunks.mend(chunk, chunkBytes, { verify });
      this.#report.damagedShards += mended.shardsWrong;
      this.#report.shardsWritten += mended.shardsWritten;
      this.#report.bytesWritten += mended.bytesWritten;
      if (mended.shardsWritten < mended.shardsWrong) return false;
    } catch (error) {
      if (!hasCode(error, 'UNREADABLE', 'NO_SPACE', 'DISK_FAILED')) throw error;
      if (verify) this.#report.damagedShards += 1;
      return false;
    }
    if (chunks.health(chunk).health !== 'healthy') return false;
    this.#events.onWhole(chunk);
    return true;
  }

  async #journal(): Promise<void> {
    this.#context.say("checking the journal's copies");
    const { mended, left } = await repairJournal(this.#pool, () => this.#turn(0));
    for (const line of mended) addNote(this.#report, `repaired: ${line}`);
    for (const line of left) addNote(this.#report, `not repaired: ${line}`);
  }

  async #files(): Promise<void> {
    const walk = new FileWalk(this.#pool.meta, this.#at.walk);
    for (let page = await walk.next(); page !== undefined; page = await walk.next()) {
      for (const { ino, path } of page) {
        this.#report.files += 1;
        for await (const { chunk, chunkBytes } of walk.chunksOf(ino)) {
          await this.#chunk(chunk, chunkBytes, path);
          await this.#turn(0);
        }
        await this.#turn(0);
      }
      this.#at = { ...this.#at, walk: walk.cursor };
      this.#context.say(`looking at files: ${this.#report.files} so far`);
      await this.#turn(0);
    }
  }

  async #chunk(chunk: string, chunkBytes: number, path: string): Promise<void> {
    const { chunks } = this.#pool;
    const affected = this.#affected.get(chunk);
    const before = chunks.health(chunk).health;
    if (affected === undefined && before === 'healthy') return;
    // What only lacks the shards of a disk that is away has them again when that is back.
    const mayMend = before === 'degraded' && this.#pool.disks.missing().length === 0;
    if (affected === true || (mayMend && (await this.#mend(chunk, chunkBytes, false)))) {
      addFile(this.#report, 'repaired', path);
      return;
    }
    const isLost = before === 'lost' || (affected === false && !(await this.#isReadable(chunk, chunkBytes)));
    addFile(this.#report, isLost ? 'lost' : 'degraded', path);
  }

  async #isReadable(chunk: string, chunkBytes: number): Promise<boolean> {
    try {
      await this.#pool.chunks.read(chunk, chunkBytes, 0, chunkBytes);
      return true;
    } catch (error) {
      if (!hasCode(error, 'UNREADABLE')) throw error;
      return false;
    }
  }
}
