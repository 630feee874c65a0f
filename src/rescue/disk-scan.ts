/** One walk over the headers of all disks, in physical order: what there is of chunks, commits and snapshots, and where. */
import { setImmediate } from 'node:timers/promises';
import type { Crc32c } from '../disks/record-codec.js';
import { messageOf } from '../errors/cairn-error.js';
import { type BareDisk, type BareSegment, openWalk } from './bare-disk.js';
import { JournalTable } from './journal-table.js';
import { ShardTable } from './shard-table.js';

/** Records walked before other work of the process has its turn. */
const SLICE_RECORDS = 2000;

export interface ScanProgress {
  readonly bytesDone: number;
  readonly bytesTotal: number;
  readonly filesDone: number;
  readonly filesTotal: number;
}

export interface DiskContent {
  readonly shards: ShardTable;
  readonly journal: JournalTable;
  /** Damage that was met, one sentence each. */
  readonly notes: readonly string[];
}

/** Never fails because of what is on a disk: what cannot be read is noted. Throws what `signal` was aborted with. */
export async function scanDisks(
  disks: readonly BareDisk[],
  crc32c: Crc32c,
  signal: AbortSignal,
  onProgress: (progress: ScanProgress) => void,
): Promise<DiskContent> {
  const content = { shards: new ShardTable(), journal: new JournalTable(), notes: [] as string[] };
  const segments = disks.flatMap((disk) => disk.segments);
  const bytesTotal = segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  let bytesDone = 0;
  let filesDone = 0;
  const report = (position: number): void =>
    onProgress({ bytesDone: bytesDone + position, bytesTotal, filesDone, filesTotal: segments.length });
  report(0);
  for (const segment of segments) {
    try {
      for (const position of scanSegment(segment, crc32c, content)) {
        report(position);
        await setImmediate();
        signal.throwIfAborted();
      }
    } catch (error) {
      signal.throwIfAborted();
      content.notes.push(messageOf(error));
    }
    bytesDone += segment.sizeBytes;
    filesDone++;
    report(0);
    await setImmediate();
    signal.throwIfAborted();
  }
  return content;
}

/** Yields its position after every slice. */
function* scanSegment(
  segment: BareSegment,
  crc32c: Crc32c,
  { shards, journal, notes }: DiskContent & { readonly notes: string[] },
): Generator<number> {
  const { walk, done } = openWalk(segment, crc32c);
  try {
    let count = 0;
    for (let found = walk.next(); found !== undefined; found = walk.next()) {
      const { decoded, position } = found;
      const { record, recordBytes } = decoded;
      if (record.kind === 'shard') shards.add(segment, position, recordBytes, record.info);
      else journal.add(decoded, { segment, position, recordBytes });
      if (++count % SLICE_RECORDS === 0) yield position;
    }
  } finally {
    done();
  }
  if (walk.skippedBytes > 0) notes.push(`${segment.path}: ${walk.skippedBytes} damaged bytes were passed over`);
  if (walk.cut) notes.push(`${segment.path} ends within a record: it was truncated or damaged`);
  if (walk.unreadable) notes.push(`${segment.path}: some sectors could not be read`);
}
