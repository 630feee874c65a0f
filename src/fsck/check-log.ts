/**
 * One disk: every record of its logs, and its index against them. Every segment is read from front to back once, in the order of the file, and
 * the index's entries of that segment are held against it on the way; so memory is that of one segment and of the tombstones.
 *
 * While others use the disk, a record may be written before the index knows it, and moved or removed between two looks. So what does not fit is
 * looked at again after the disk has settled (`sync` waits for writes under way), and only what still does not fit is told.
 */
import { join } from 'node:path';
import { type Addon, loadAddon } from '../../native/addon.js';
import type { Disk } from '../disks/disk.js';
import type { ShardEntry, ShardKey } from '../disks/record.js';
import type { DecodedRecord } from '../disks/record-codec.js';
import { hasCode } from '../errors/cairn-error.js';
import type { CheckRun } from './check-run.js';
import { compareSegment, entriesOf, withSegment } from './segment-comparison.js';
import { type Hole, recordAt, type SegmentFile, segmentFiles, type WalkTarget, walkSegment } from './segment-walk.js';
import { counted, nameOf } from './words.js';

/** A row or a header costs about as much as so many bytes. */
const ROW_WORK = 1024;

/** A shard that the index names and whose record does not hold. */
export interface DamagedShard {
  readonly disk: Disk;
  readonly entry: ShardEntry;
}

interface Suspect {
  readonly key: ShardKey;
  readonly segment: SegmentFile;
  readonly position: number;
  readonly logSequence: number;
}

/** Returns the shards that the index names and that cannot be read where it says. */
export async function checkLog(run: CheckRun, disk: Disk, addon: Addon = loadAddon()): Promise<DamagedShard[]> {
  return new LogCheck(run, disk, addon).run();
}

class LogCheck {
  readonly #run: CheckRun;
  readonly #disk: Disk;
  readonly #addon: Addon;
  readonly #tombstones = new Map<string, number>();
  readonly #damaged: DamagedShard[] = [];
  /** Holes in which nothing that counts had been. */
  readonly #scars: string[] = [];
  readonly #wrong: ShardEntry[] = [];
  readonly #unread: string[] = [];
  readonly #torn: string[] = [];
  /** Good records without an index entry and without a tombstone. */
  #suspects: Suspect[] = [];

  constructor(run: CheckRun, disk: Disk, addon: Addon) {
    this.#run = run;
    this.#disk = disk;
    this.#addon = addon;
  }

  async run(): Promise<DamagedShard[]> {
    const { journalSegmentBytes, dataSegmentBytes } = this.#disk.identity;
    const journal = await this.#files('journal');
    const data = await this.#files('data');
    const total = journal.length * journalSegmentBytes + data.length * dataSegmentBytes;
    this.#run.begin(`checking the log of ${nameOf(this.#disk)}`, total, 'bytes');
    for (const file of journal) await this.#readTombstones(file);
    for (const file of [...journal, ...data]) await this.#segment(file);
    await this.#settleSuspects();
    this.#report();
    this.#run.counts.disks++;
    return this.#damaged;
  }

  #files(stream: 'journal' | 'data'): Promise<SegmentFile[]> {
    return segmentFiles(this.#run.files, join(this.#disk.directory, 'log'), stream);
  }

  #bytesOf({ stream }: SegmentFile): number {
    const { journalSegmentBytes, dataSegmentBytes } = this.#disk.identity;
    return stream === 'journal' ? journalSegmentBytes : dataSegmentBytes;
  }

  /** Undefined if the segment has been given back meanwhile. */
  async #opened<T>(segment: SegmentFile, use: (target: WalkTarget) => Promise<T>): Promise<T | undefined> {
    try {
      return await withSegment(this.#run.files, this.#addon, this.#disk, segment, use);
    } catch (error) {
      if (hasCode(error, 'NOT_FOUND')) return undefined;
      if (!hasCode(error, 'IO', 'ACCESS')) throw error;
      this.#unread.push(`${segment.stream} segment ${segment.segment}`);
      return undefined;
    }
  }

  async #readTombstones(file: SegmentFile): Promise<void> {
    await this.#opened(file, (target) =>
      walkSegment(
        target,
        0,
        async ({ decoded: { record, recordBytes } }) => {
          if (record.kind !== 'tombstone') return this.#run.advance(0, recordBytes);
          const key = keyOf(record.key);
          this.#tombstones.set(key, Math.max(record.through, this.#tombstones.get(key) ?? 0));
          return this.#run.advance(0, recordBytes);
        },
        async () => {},
      ),
    );
  }

  async #segment(file: SegmentFile): Promise<void> {
    const expected = await entriesOf(this.#disk, file.segment, (rows) => this.#run.advance(0, rows * ROW_WORK));
    const found = await this.#opened(file, (target) =>
      compareSegment(target, expected, async ({ decoded, position, payload }, entry) => {
        if (entry === undefined && payload !== undefined) this.#unnamed(file, position, decoded);
        else if (payload === undefined && decoded.record.kind === 'slot') this.#scar(file, position);
        this.#run.counts.records++;
        this.#run.counts.logBytes += decoded.recordBytes;
        await this.#run.advance(decoded.recordBytes);
      }),
    );
    if (found === undefined) return;
    const { lost, wrong, holes, end, recordsEnd } = found;
    const before = this.#damaged.length;
    for (const entry of lost) await this.#lost(entry);
    for (const entry of wrong) if (await this.#isStill(entry)) this.#wrong.push(entry);
    const newlyDamaged = this.#damaged.slice(before);
    for (const hole of holes) {
      const explained = newlyDamaged.some(({ entry }) => entry.position >= hole.from && entry.position < hole.to);
      if (!explained && (await this.#isHole(file, hole))) this.#scar(file, hole.from);
    }
    if (end.unreadable) this.#unread.push(`${file.stream} segment ${file.segment}`);
    else if (end.torn && newlyDamaged.length === 0 && (await this.#isTorn(file, end.tail)))
      this.#torn.push(`${file.stream} segment ${file.segment} at ${end.tail}`);
    await this.#run.advance(Math.max(0, this.#bytesOf(file) - recordsEnd), 0);
  }

  /** A good shard record that the index did not name when the segment was begun. */
  #unnamed(segment: SegmentFile, position: number, { record, logSequence }: DecodedRecord): void {
    if (record.kind !== 'shard') return;
    const { bucket, chunk, shard } = record.info;
    const key = { bucket, chunk, shard };
    if (this.#indexed(key, segment.segment, position)) return;
    if ((this.#tombstones.get(keyOf(key)) ?? -1) >= logSequence) return;
    this.#suspects.push({ key, segment, position, logSequence });
  }

  #indexed({ bucket, chunk, shard }: ShardKey, segment: number, position: number): boolean {
    return this.#disk
      .find(bucket, chunk)
      .some((entry) => entry.shard === shard && entry.segment === segment && entry.position === position);
  }

  /** The index names it, and no good record is there. */
  async #lost(entry: ShardEntry): Promise<void> {
    if (!(await this.#isStill(entry))) return;
    if (this.#run.live) {
      try {
        await this.#disk.readShard(entry, 0, entry.shardBytes);
        return;
      } catch (error) {
        if (!hasCode(error, 'CORRUPT', 'IO')) throw error;
      }
    }
    this.#damaged.push({ disk: this.#disk, entry });
  }

  /** After what is under way has settled, the index still says so. */
  async #isStill(entry: ShardEntry): Promise<boolean> {
    await this.#settle();
    return this.#indexed(entry, entry.segment, entry.position);
  }

  async #settle(): Promise<void> {
    if (!this.#run.live || this.#disk.state !== 'online') return;
    await this.#disk.sync().catch((error: unknown) => {
      // A disk that fails says so itself.
      if (!hasCode(error, 'DISK_FAILED', 'CLOSED')) throw error;
    });
  }

  async #isHole(file: SegmentFile, hole: Hole): Promise<boolean> {
    if (!this.#run.live) return true;
    await this.#settle();
    const found = await this.#opened(file, async (target) => recordAt(target, hole.from));
    return found === undefined && (await this.#run.files.exists(file.path));
  }

  async #isTorn(file: SegmentFile, tail: number): Promise<boolean> {
    if (!this.#run.live) return true;
    await this.#settle();
    const found = await this.#opened(file, async (target) => recordAt(target, tail));
    // Where appends go on at this place, what is begun there is no damage.
    const last = (await this.#files(file.stream === 'data' ? 'data' : 'journal')).slice(-2);
    return found === undefined && !last.some(({ segment }) => segment === file.segment);
  }

  #scar(file: SegmentFile, position: number): void {
    this.#scars.push(`${file.stream} segment ${file.segment} at ${position}`);
  }

  /** Records that nothing names are dead for a reason: a tombstone written since, or a newer record of the same shard. */
  async #settleSuspects(): Promise<void> {
    if (this.#suspects.length === 0) return;
    await this.#settle();
    if (this.#run.live) for (const file of await this.#files('journal')) await this.#readTombstones(file);
    const files = new Map<number, SegmentFile>();
    for (const file of [...(await this.#files('journal')), ...(await this.#files('data'))])
      files.set(file.segment, file);
    const missing: Suspect[] = [];
    for (const suspect of this.#suspects) {
      const { key, segment, position, logSequence } = suspect;
      await this.#run.advance(0, ROW_WORK);
      if (!files.has(segment.segment) || this.#indexed(key, segment.segment, position)) continue;
      if ((this.#tombstones.get(keyOf(key)) ?? -1) >= logSequence) continue;
      const other = this.#disk.find(key.bucket, key.chunk).find(({ shard }) => shard === key.shard);
      const place = other && files.get(other.segment);
      const newer =
        other !== undefined &&
        place !== undefined &&
        (await this.#opened(place, (target) => recordAt(target, other.position)));
      if (newer && newer.logSequence > logSequence) continue;
      missing.push(suspect);
    }
    this.#suspects = missing;
  }

  #report(): void {
    const where = nameOf(this.#disk);
    const advice = 'unmount the pool and run `cairn fsck --repair`: the index is made anew from the logs';
    if (this.#suspects.length > 0) {
      this.#run.report({
        severity: 'damage',
        code: 'index-missing',
        message: `the index of ${where} lacks ${counted(this.#suspects.length, 'shard')} that the log has: they are not used`,
        advice,
      });
    }
    if (this.#wrong.length > 0) {
      this.#run.report({
        severity: 'damage',
        code: 'index-wrong',
        message: `the index of ${where} names ${counted(this.#wrong.length, 'shard')} at places where the log holds other records: they are read from the other disks`,
        advice,
      });
    }
    if (this.#unread.length > 0) {
      this.#run.report({
        severity: 'damage',
        code: 'log-unreadable',
        message: `${where} has sectors that cannot be read, in ${few(this.#unread)}: the disk is failing`,
        advice: 'replace the disk soon; what is lost on it is made whole from the others with `cairn fsck --repair`',
      });
    }
    if (this.#scars.length > 0) {
      this.#run.report({
        severity: 'note',
        code: 'log-scar',
        message: `the log of ${where} has ${counted(this.#scars.length, 'damaged place')} that holds nothing that counts (${few(this.#scars)})`,
        advice: 'check the disk if there are more each time; the place goes when its segment is given back',
      });
    }
    if (this.#torn.length > 0) {
      this.#run.report({
        severity: 'note',
        code: 'log-torn',
        message: `the log of ${where} ends in a half-written record (${few(this.#torn)}), as a crash leaves it: nobody was promised it, and it is cut off at the next mount`,
      });
    }
  }
}

function keyOf({ bucket, chunk, shard }: ShardKey): string {
  return `${bucket}/${chunk}/${shard}`;
}

function few(places: readonly string[]): string {
  return places.length > 3 ? `${places.slice(0, 3).join(', ')} and ${places.length - 3} more` : places.join(', ');
}
