/**
 * Brings index and journal state up to the logs when a disk is opened. The journal is scanned as a whole (commits and tombstones live only
 * there), the data stream from where the index is complete, or from the start if the index must be rebuilt. Records of both
 * streams are applied in the order of their log sequence, in which they were written.
 */
import type { AppendLog } from './append-log.js';
import type { DiskIndex } from './disk-index.js';
import type { JournalState, Tombstone } from './journal-state.js';
import type { LoggedRecord, LogNumbers, LogPoint } from './log-context.js';
import type { RecordInput } from './record.js';
import type { IndexedShard, ReplacedShard } from './shard-index.js';

const REBUILD_SLICE = 5000;

interface ReplayedRecord extends LoggedRecord {
  readonly header: RecordInput;
}

/** Tells index and journal state of one record. Returns the shard record that is dead because of it and has no tombstone of its own. */
export function learn(
  index: DiskIndex,
  journal: JournalState,
  record: RecordInput,
  at: LoggedRecord,
): ReplacedShard | undefined {
  const { segment, position, recordBytes, logSequence } = at;
  const place = { segment, position, recordBytes, logSequence };
  switch (record.kind) {
    case 'shard': {
      // Field by field: of every shard that is written, and spreading costs as much as the rest.
      const { bucket, chunk, shard, scheme, chunkBytes, compression, shardBytes } = record.info;
      return index.shards.put({
        bucket,
        chunk,
        shard,
        scheme,
        chunkBytes,
        compression,
        shardBytes,
        segment,
        position,
        recordBytes,
        logSequence,
      });
    }
    case 'tombstone':
      journal.addTombstone(record, at);
      index.shards.remove(record.key, record.through, at);
      return undefined;
    case 'commit':
      journal.addCommit(record, at);
      return undefined;
    case 'slot': {
      const { kind, bucket, path, version } = record;
      index.named.putSlot({ kind, bucket, path, version, ...place });
      return undefined;
    }
    case 'snapshot': {
      const { kind, sequence, epoch, part, last } = record;
      index.named.putSnapshotPart({ kind, sequence, epoch, part, last, ...place });
      return undefined;
    }
    case 'stage':
      return undefined; // Only in the cache's own log.
  }
}

/** A tombstone for exactly this record: it stays dead also where the index is rebuilt after the record that replaced it is gone. */
export function tombstoneOf({ bucket, chunk, shard, segment, logSequence }: IndexedShard): Tombstone {
  return { kind: 'tombstone', key: { bucket, chunk, shard }, targetSegment: segment, through: logSequence };
}

/** Returns tombstones that have to be appended: for records that others replaced. */
export async function replayLogs(
  data: AppendLog,
  journalLog: AppendLog,
  index: DiskIndex,
  journal: JournalState,
  numbers: LogNumbers,
): Promise<Tombstone[]> {
  const notes = index.notes;
  const waiting: ReplayedRecord[] = [];
  for await (const record of journalLog.scan()) {
    numbers.sawSequence(record.logSequence);
    const told = notes !== undefined && isBefore(record, notes.journal);
    if (!told || record.kind === 'commit' || record.kind === 'tombstone') waiting.push(record);
  }
  const tombstones: Tombstone[] = [];
  let applied = 0;
  let next = 0;
  const apply = (record: ReplayedRecord): void => {
    const replaced = learn(index, journal, record.header, record);
    if (replaced !== undefined) tombstones.push(tombstoneOf(replaced.dead));
    if (notes === undefined && ++applied % REBUILD_SLICE === 0) index.flushRebuilt();
  };
  const from = notes && { ...notes.data, recordBytes: 0 };
  for await (const record of data.scan(from)) {
    numbers.sawSequence(record.logSequence);
    for (
      let other = waiting[next];
      other !== undefined && other.logSequence < record.logSequence;
      other = waiting[next]
    ) {
      apply(other);
      next++;
    }
    apply(record);
  }
  for (const record of waiting.slice(next)) apply(record);
  return tombstones;
}

/** Forgets index entries whose segment is gone or ends before them, and says so: better known missing than believed there. */
export async function dropLostEntries(
  data: AppendLog,
  journal: AppendLog,
  index: DiskIndex,
  report: (line: string) => void,
): Promise<void> {
  const segments = new Set([...index.shards.segments(), ...index.named.segments()]);
  for (const segment of segments) {
    const log = [journal, data].find((one) => one.has(segment));
    const endBytes = log === undefined ? 0 : await log.fileBytes(segment);
    const lost = index.shards.dropLost(segment, endBytes) + index.named.dropLost(segment, endBytes);
    if (lost === 0) continue;
    const what = log === undefined ? 'is missing' : `was truncated to ${endBytes} bytes`;
    report(`segment ${segment} ${what}: ${lost} of its records are lost here and have to come from the other disks`);
  }
}

function isBefore(record: LoggedRecord, point: LogPoint): boolean {
  return record.segment < point.segment || (record.segment === point.segment && record.position < point.position);
}
