/**
 * One disk's log, segment by segment in the order in which it lies there: every record against its checksums, every shard that the index names
 * against the record that should be there. What is found is looked at once more after writes under way have settled, and through the disk's own
 * reading, before it counts.
 */
import { join } from 'node:path';
import { type Addon, loadAddon } from '../../native/addon.js';
import type { Disk } from '../disks/disk.js';
import type { ShardEntry } from '../disks/record.js';
import { hasCode } from '../errors/cairn-error.js';
import { compareSegment, entriesOf, withSegment } from '../fsck/segment-comparison.js';
import { type SegmentFile, segmentFiles } from '../fsck/segment-walk.js';
import type { FileIo } from '../io/file-io.js';
import { syncAll } from './sync-all.js';

export interface SegmentScrub {
  readonly records: number;
  readonly bytes: number;
  /** Shards that the index names and that cannot be read. */
  readonly damaged: readonly ShardEntry[];
  /** The file could not be read at all, or not all of it. */
  readonly isUnreadable: boolean;
}

export class DiskScrub {
  readonly #files: FileIo;
  readonly #disk: Disk;
  readonly #addon: Addon;

  constructor(files: FileIo, disk: Disk, addon: Addon = loadAddon()) {
    this.#files = files;
    this.#disk = disk;
    this.#addon = addon;
  }

  /** Segment files as they are there now: those of the journal, then those of the data. */
  async segments(): Promise<SegmentFile[]> {
    const log = join(this.#disk.directory, 'log');
    return [...(await segmentFiles(this.#files, log, 'journal')), ...(await segmentFiles(this.#files, log, 'data'))];
  }

  bytesOf({ stream }: SegmentFile): number {
    const { journalSegmentBytes, dataSegmentBytes } = this.#disk.identity;
    return stream === 'journal' ? journalSegmentBytes : dataSegmentBytes;
  }

  /** `pause` is called after each record and each read of the file, with the bytes of the records since the last call. Undefined if the segment has been given back meanwhile. */
  async scrub(segment: SegmentFile, pause: (bytes: number) => Promise<void>): Promise<SegmentScrub | undefined> {
    let records = 0;
    let bytes = 0;
    const expected = await entriesOf(this.#disk, segment.segment, () => pause(0));
    let suspects: readonly ShardEntry[];
    let isUnreadable = false;
    try {
      const { lost, wrong, end } = await withSegment(this.#files, this.#addon, this.#disk, segment, (target) =>
        compareSegment({ ...target, onRead: () => pause(0) }, expected, ({ decoded }) => {
          records += 1;
          bytes += decoded.recordBytes;
          return pause(decoded.recordBytes);
        }),
      );
      suspects = [...lost, ...wrong];
      isUnreadable = end.unreadable;
    } catch (error) {
      if (hasCode(error, 'NOT_FOUND')) return undefined;
      if (!hasCode(error, 'IO', 'ACCESS')) throw error;
      suspects = expected;
      isUnreadable = true;
    }
    return { records, bytes, damaged: await this.#damagedOf(suspects, pause), isUnreadable };
  }

  async #damagedOf(suspects: readonly ShardEntry[], pause: (bytes: number) => Promise<void>): Promise<ShardEntry[]> {
    if (suspects.length === 0) return [];
    await syncAll([this.#disk]);
    const damaged: ShardEntry[] = [];
    for (const entry of suspects) {
      const isStill = this.#disk
        .find(entry.bucket, entry.chunk)
        .some(
          ({ shard, segment, position }) =>
            shard === entry.shard && segment === entry.segment && position === entry.position,
        );
      if (isStill && !(await this.#holds(entry))) damaged.push(entry);
      await pause(0);
    }
    return damaged;
  }

  async #holds(entry: ShardEntry): Promise<boolean> {
    try {
      await this.#disk.readShard(entry, 0, entry.shardBytes);
      return true;
    } catch (error) {
      if (!hasCode(error, 'CORRUPT', 'IO')) throw error;
      return false;
    }
  }
}
