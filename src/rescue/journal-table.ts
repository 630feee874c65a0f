/**
 * The COMMIT records and metadata snapshots of all disks together, and what docs/format.md, "Recovery", makes of them: the watermark, the base,
 * the chain of commits after it.
 *
 * Where recovery would refuse to open the pool, rescue takes less: parts of one snapshot may come from several disks, an older base serves where
 * a newer one cannot be read, and the chain ends where a commit is missing. What that leaves out is for the caller to say.
 */
import type { DecodedRecord } from '../disks/record-codec.js';
import type { BareDisk } from './bare-disk.js';
import type { RecordPlace } from './record-reader.js';

export interface FoundCommit {
  readonly sequence: number;
  readonly epoch: number;
  readonly acknowledged: number;
  /** The same record on one or more disks. */
  readonly places: RecordPlace[];
}

export interface FoundSnapshot {
  readonly sequence: number;
  readonly epoch: number;
  /** By part: where it lies, the most trustworthy place first. */
  readonly parts: readonly (readonly RecordPlace[])[];
}

/** One writing of a snapshot on one disk. */
interface Try {
  readonly disk: BareDisk;
  readonly parts: Map<number, RecordPlace>;
  /** Undefined: the part marked last has not been met. */
  count: number | undefined;
}

export class JournalTable {
  readonly #commits = new Map<string, FoundCommit>();
  readonly #snapshots = new Map<string, { sequence: number; epoch: number; tries: Try[] }>();
  #acknowledged = 0;
  /** The highest sequence that any record speaks of. */
  highest = 0;

  get commitCount(): number {
    return this.#commits.size;
  }

  /** Tells of a record; those of one disk and stream in the order in which they lie there. */
  add({ record }: DecodedRecord, place: RecordPlace): void {
    if (record.kind === 'commit') {
      const { sequence, epoch, acknowledged } = record;
      this.#acknowledged = Math.max(this.#acknowledged, acknowledged);
      this.highest = Math.max(this.highest, sequence);
      const key = `${sequence}/${epoch}`;
      const known = this.#commits.get(key);
      if (known === undefined) this.#commits.set(key, { sequence, epoch, acknowledged, places: [place] });
      else known.places.push(place);
    } else if (record.kind === 'snapshot') {
      const { sequence, epoch, part, last } = record;
      this.highest = Math.max(this.highest, sequence);
      const key = `${sequence}/${epoch}`;
      const known = this.#snapshots.get(key) ?? { sequence, epoch, tries: [] };
      this.#snapshots.set(key, known);
      const { disk } = place.segment;
      let current = known.tries.findLast((one) => one.disk === disk);
      if (current === undefined || part === 0 || current.parts.has(part)) {
        current = { disk, parts: new Map(), count: undefined };
        known.tries.push(current);
      }
      current.parts.set(part, place);
      if (last) current.count = part + 1;
    }
  }

  /** The highest sequence known to have been promised. */
  get watermark(): number {
    return Math.max(this.#acknowledged, ...this.snapshots().map(({ sequence }) => sequence));
  }

  /** Snapshots all of whose parts are on some disk, newest first. */
  snapshots(): FoundSnapshot[] {
    const found: FoundSnapshot[] = [];
    for (const { sequence, epoch, tries } of this.#snapshots.values()) {
      const counts = new Set(tries.flatMap(({ count }) => (count === undefined ? [] : [count])));
      for (const count of counts) {
        const fitting = tries.filter((one) => one.count === undefined || one.count === count);
        // A try that is whole on its disk comes first, and of those the newest.
        const ordered = fitting.reverse().sort((a, b) => Number(isWhole(b)) - Number(isWhole(a)));
        const parts: RecordPlace[][] = [];
        for (let part = 0; part < count; part++) {
          const places = ordered.flatMap((one) => one.parts.get(part) ?? []);
          if (places.length === 0) break;
          parts.push(places);
        }
        if (parts.length === count) found.push({ sequence, epoch, parts });
      }
    }
    return found.sort((a, b) => b.sequence - a.sequence || b.epoch - a.epoch);
  }

  /** Snapshots of which some disk has a part, but no disk or number of disks all of them. */
  brokenSnapshots(): number[] {
    const whole = new Set(this.snapshots().map(({ sequence, epoch }) => `${sequence}/${epoch}`));
    return [...this.#snapshots].flatMap(([key, { sequence }]) => (whole.has(key) ? [] : [sequence]));
  }

  /**
   * The first commit of which the disks tell two histories, both promised: somebody wrote one with a higher epoch in the place of one that
   * had been acknowledged. With the directories of those that know the one of lower epoch.
   */
  contradiction(): { readonly sequence: number; readonly superseded: readonly string[] } | undefined {
    const points = [...this.#commits.values(), ...this.#snapshots.values()].sort((a, b) => a.sequence - b.sequence);
    const highestEpoch: number[] = [];
    for (const { epoch } of points) highestEpoch.push(Math.max(epoch, highestEpoch.at(-1) ?? 0));
    for (const { epoch, through, disks } of this.#witnesses()) {
      let low = 0;
      let high = points.length;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if (points[middle]!.sequence <= through) low = middle + 1;
        else high = middle;
      }
      if (low > 0 && highestEpoch[low - 1]! > epoch) {
        const rival = points.find((point) => point.epoch > epoch)!;
        return { sequence: rival.sequence, superseded: [...new Set(disks.map(({ directory }) => directory))] };
      }
    }
    return undefined;
  }

  /** What shows that commits up to `through` were promised by a daemon of `epoch` or before. */
  *#witnesses(): Generator<{ readonly epoch: number; readonly through: number; readonly disks: readonly BareDisk[] }> {
    for (const { epoch, acknowledged, places } of this.#commits.values())
      yield { epoch, through: acknowledged, disks: places.map(({ segment }) => segment.disk) };
    for (const { sequence, epoch, parts } of this.snapshots())
      yield { epoch, through: sequence, disks: (parts[0] ?? []).map(({ segment }) => segment.disk) };
  }

  /** Commits with this sequence, the highest epoch first. */
  commits(sequence: number): FoundCommit[] {
    return this.#bySequence.get(sequence) ?? [];
  }

  #sorted: Map<number, FoundCommit[]> | undefined;

  get #bySequence(): Map<number, FoundCommit[]> {
    if (this.#sorted === undefined) {
      this.#sorted = new Map();
      for (const commit of this.#commits.values()) {
        const list = this.#sorted.get(commit.sequence);
        if (list === undefined) this.#sorted.set(commit.sequence, [commit]);
        else list.push(commit);
      }
      for (const list of this.#sorted.values()) list.sort((a, b) => b.epoch - a.epoch);
    }
    return this.#sorted;
  }
}

function isWhole({ parts, count }: Try): boolean {
  return count !== undefined && parts.size === count;
}
