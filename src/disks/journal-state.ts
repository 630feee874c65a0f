/**
 * What only the journal stream holds, kept in memory because the journal is scanned as a whole at every start: where the commits lie,
 * and which tombstones are in which segment.
 */
import type { CommitEntry } from './disk.js';
import type { LoggedRecord } from './log-context.js';
import type { RecordInput } from './record.js';
import { TombstoneList } from './tombstone-list.js';

export type Tombstone = Extract<RecordInput, { kind: 'tombstone' }>;

export class JournalState {
  /** Ascending by (sequence, epoch). */
  #commits: CommitEntry[] = [];
  readonly #tombstones = new Map<number, TombstoneList>();
  #commitBytes = 0;

  /** Bytes of all commit records. */
  get commitBytes(): number {
    return this.#commitBytes;
  }

  addCommit(record: Extract<RecordInput, { kind: 'commit' }>, { segment, position, recordBytes }: LoggedRecord): void {
    const { sequence, epoch, acknowledged } = record;
    const entry: CommitEntry = { sequence, epoch, acknowledged, segment, position, recordBytes };
    let at = this.#commits.length;
    while (at > 0 && compare(this.#commits[at - 1] as CommitEntry, entry) > 0) at--;
    this.#commits.splice(at, 0, entry);
    this.#commitBytes += recordBytes;
  }

  addTombstone(record: Tombstone, { segment }: LoggedRecord): void {
    const list = this.#tombstones.get(segment) ?? new TombstoneList();
    this.#tombstones.set(segment, list);
    list.add(record);
  }

  commits(afterSequence: number): CommitEntry[] {
    let low = 0;
    let high = this.#commits.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#commits[middle]?.sequence ?? 0) > afterSequence) high = middle;
      else low = middle + 1;
    }
    return this.#commits.slice(low);
  }

  /** Highest commit sequence per segment; a segment without commits is not in it. */
  newestBySegment(): Map<number, number> {
    const newest = new Map<number, number>();
    for (const { segment, sequence } of this.#commits)
      newest.set(segment, Math.max(sequence, newest.get(segment) ?? 0));
    return newest;
  }

  tombstones(segment: number): readonly Tombstone[] {
    return this.#tombstones.get(segment)?.all() ?? [];
  }

  /** The segment is no more. */
  drop(segment: number): void {
    this.#tombstones.delete(segment);
    this.#commits = this.#commits.filter((commit) => commit.segment !== segment);
    this.#commitBytes = this.#commits.reduce((sum, { recordBytes }) => sum + recordBytes, 0);
  }
}

function compare(a: CommitEntry, b: CommitEntry): number {
  return a.sequence - b.sequence || a.epoch - b.epoch;
}
