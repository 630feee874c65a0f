/**
 * One segment file of a disk that is open, against what the disk's index says of it: every record is read once, in the order of the file, and the
 * index's entries are met on the way.
 */
import type { Addon } from '../../native/addon.js';
import type { Disk } from '../disks/disk.js';
import { isSameCompression, isSameScheme, type ShardEntry } from '../disks/record.js';
import type { DecodedRecord } from '../disks/record-codec.js';
import type { FileIo } from '../io/file-io.js';
import {
  type Hole,
  type SegmentEnd,
  type SegmentFile,
  type WalkedRecord,
  type WalkTarget,
  walkSegment,
} from './segment-walk.js';

/** Index entries taken at one time: about half a millisecond. */
const PAGE = 128;

export interface SegmentComparison {
  /** Entries where no record lies that verifies. */
  readonly lost: readonly ShardEntry[];
  /** Entries where another record lies. */
  readonly wrong: readonly ShardEntry[];
  readonly holes: readonly Hole[];
  readonly end: SegmentEnd;
  /** Where the last record ends. */
  readonly recordsEnd: number;
}

/** The index's entries of the segment, by position. `onPage` gets the number of each page's rows. */
export async function entriesOf(
  disk: Disk,
  segment: number,
  onPage: (rows: number) => Promise<void>,
): Promise<ShardEntry[]> {
  const entries: ShardEntry[] = [];
  for (let after = { segment, position: -1, recordBytes: 0 }; ; ) {
    const page = disk.walk(after, PAGE);
    for (const entry of page) {
      if (entry.segment !== segment) return entries;
      entries.push(entry);
    }
    const last = page.at(-1);
    if (last === undefined) return entries;
    after = last;
    await onPage(page.length);
  }
}

/** Opens the file for `use`. NOT_FOUND if the segment has been given back; IO. */
export async function withSegment<T>(
  files: FileIo,
  { crc32c }: Addon,
  { identity }: Disk,
  { path, stream, segment }: SegmentFile,
  use: (target: WalkTarget) => Promise<T>,
): Promise<T> {
  const file = await files.open(path, { readOnly: true });
  try {
    // Not the file's size: a stat between a write and its sync would cost the daemon a second flush.
    const endBytes = stream === 'journal' ? identity.journalSegmentBytes : identity.dataSegmentBytes;
    return await use({ file, segment, endBytes, owner: identity.uuid.slice(0, 16), crc32c });
  } finally {
    await file.close();
  }
}

/** `onRecord` is called of every record, with the entry that names it. */
export async function compareSegment(
  target: WalkTarget,
  expected: readonly ShardEntry[],
  onRecord: (record: WalkedRecord, entry: ShardEntry | undefined) => Promise<void>,
): Promise<SegmentComparison> {
  let next = 0;
  let recordsEnd = 0;
  const holes: Hole[] = [];
  const lost: ShardEntry[] = [];
  const wrong: ShardEntry[] = [];
  /** The index's entries before `end`, none of which is the record that was met. */
  const passOver = (end: number, missing: ShardEntry[]): void => {
    for (let entry = expected[next]; entry !== undefined && entry.position < end; entry = expected[next]) {
      next++;
      missing.push(entry);
    }
  };
  const end = await walkSegment(
    target,
    0,
    async (record) => {
      const { decoded, position, payload } = record;
      passOver(position, lost);
      const entry = expected[next]?.position === position ? expected[next++] : undefined;
      if (entry !== undefined && !isRecordOf(entry, decoded)) wrong.push(entry);
      else if (entry !== undefined && payload === undefined) lost.push(entry);
      passOver(position + decoded.recordBytes, wrong);
      recordsEnd = position + decoded.recordBytes;
      await onRecord(record, entry);
    },
    async (hole) => {
      holes.push(hole);
    },
  );
  passOver(Number.POSITIVE_INFINITY, lost);
  return { lost, wrong, holes, end, recordsEnd };
}

function isRecordOf(entry: ShardEntry, { record, recordBytes }: DecodedRecord): boolean {
  if (record.kind !== 'shard' || recordBytes !== entry.recordBytes) return false;
  const { bucket, chunk, shard, scheme, chunkBytes, compression, shardBytes } = record.info;
  return (
    bucket === entry.bucket &&
    chunk === entry.chunk &&
    shard === entry.shard &&
    chunkBytes === entry.chunkBytes &&
    isSameCompression(compression, entry.compression) &&
    shardBytes === entry.shardBytes &&
    isSameScheme(scheme, entry.scheme)
  );
}
