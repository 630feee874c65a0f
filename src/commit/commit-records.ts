/**
 * The COMMIT records and snapshots that the disks hold, put together: which disk has which record, which records make one history, and
 * whether there is only one.
 *
 * A record says more than that its commit was written: it says that all commits up to its `acknowledged` had been answered, by its own daemon or
 * by those before. A snapshot says the same of the commit that it was taken at. Whoever wrote a commit with a higher epoch in the place of such
 * a one did not know of it: the disks were used apart from each other, and no rule can say which half is to be forgotten.
 */
import type { CommitEntry, Disk } from '../disks/disk.js';
import type { FoundSnapshot } from './restore-snapshot.js';

/** One commit and who holds it. */
export interface Link {
  readonly entry: CommitEntry;
  /** Every disk that is here and holds this record. */
  readonly holders: { readonly disk: Disk; readonly entry: CommitEntry }[];
}

/** A point of a history: `epoch` is that of the commit at `sequence`. */
export interface HistoryPoint {
  readonly sequence: number;
  readonly epoch: number;
}

/** What shows that commits up to `through` were promised by a daemon of `epoch` or before. */
interface Witness {
  readonly epoch: number;
  readonly through: number;
  readonly disks: readonly Disk[];
}

export class CommitRecords {
  /** Ascending by (sequence, epoch); the same record on several disks once. */
  readonly links: readonly Link[];
  /** The highest sequence that is known to have been promised. */
  readonly watermark: number;
  readonly #newest = new Map<number, Link>();
  readonly #snapshots: readonly FoundSnapshot[];

  /** `snapshots`: the complete ones. */
  constructor(disks: readonly Disk[], snapshots: readonly FoundSnapshot[]) {
    this.links = collect(disks);
    this.#snapshots = snapshots;
    for (const link of this.links) this.#newest.set(link.entry.sequence, link);
    let watermark = 0;
    for (const { through } of this.#witnesses()) watermark = Math.max(watermark, through);
    this.watermark = watermark;
  }

  get highestEpoch(): number {
    let epoch = 0;
    for (const { entry } of this.links) epoch = Math.max(epoch, entry.epoch);
    return epoch;
  }

  /** The commits after `base`, ascending, as far as there are no gaps and the epoch does not fall. Of several records with one sequence the highest epoch counts. */
  chain(base: HistoryPoint): Link[] {
    const chain: Link[] = [];
    let { epoch } = base;
    for (let sequence = base.sequence + 1; ; sequence++) {
      const link = this.#newest.get(sequence);
      if (link === undefined || link.entry.epoch < epoch) return chain;
      epoch = link.entry.epoch;
      chain.push(link);
    }
  }

  /** The commits up to `head`, ascending, from `after` on or as far back as the records reach without a gap. */
  ancestors(head: HistoryPoint, after: number): Link[] {
    const found: Link[] = [];
    let { epoch } = head;
    for (let { sequence } = head; sequence > after; sequence--) {
      const link = this.#newest.get(sequence);
      if (link === undefined || link.entry.epoch > epoch) break;
      epoch = link.entry.epoch;
      found.push(link);
    }
    return found.reverse();
  }

  /** Why the disks do not tell one history, as a sentence; undefined if they do. */
  contradiction(): string | undefined {
    const points: (HistoryPoint & { readonly disks: readonly Disk[] })[] = [
      ...this.links.map(({ entry, holders }) => ({ ...entry, disks: holders.map(({ disk }) => disk) })),
      ...this.#snapshots.map((snapshot) => ({ ...snapshot, disks: snapshot.holders })),
    ].sort((a, b) => a.sequence - b.sequence);
    // Of the points up to each one, that with the highest epoch.
    const highest: typeof points = [];
    for (const point of points) {
      const before = highest.at(-1);
      highest.push(before !== undefined && before.epoch >= point.epoch ? before : point);
    }
    for (const { entry, holders } of this.links) {
      const other = holders.find(
        ({ entry: copy }) => copy.acknowledged !== entry.acknowledged || copy.recordBytes !== entry.recordBytes,
      );
      if (other !== undefined) return differ(entry.sequence, [holders[0]!.disk], [other.disk]);
    }
    for (const { epoch, through, disks } of this.#witnesses()) {
      let low = 0;
      let high = points.length;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if (points[middle]!.sequence <= through) low = middle + 1;
        else high = middle;
      }
      const rival = highest[low - 1];
      if (rival !== undefined && rival.epoch > epoch) return differ(rival.sequence, disks, rival.disks);
    }
    return undefined;
  }

  *#witnesses(): Generator<Witness> {
    for (const { entry, holders } of this.links)
      for (const { disk, entry: copy } of holders)
        yield { epoch: entry.epoch, through: copy.acknowledged, disks: [disk] };
    for (const { epoch, sequence, holders } of this.#snapshots) yield { epoch, through: sequence, disks: holders };
  }
}

function collect(disks: readonly Disk[]): Link[] {
  const links = new Map<string, Link>();
  for (const disk of disks) {
    for (const entry of disk.commits(0)) {
      const key = `${entry.sequence}/${entry.epoch}`;
      const link = links.get(key);
      if (link === undefined) links.set(key, { entry, holders: [{ disk, entry }] });
      else link.holders.push({ disk, entry });
    }
  }
  return [...links.values()].sort((a, b) => a.entry.sequence - b.entry.sequence || a.entry.epoch - b.entry.epoch);
}

function differ(sequence: number, some: readonly Disk[], others: readonly Disk[]): string {
  const places = (disks: readonly Disk[]): string => disks.map(({ directory }) => directory).join(' and ');
  return `the disks at ${places(some)} and at ${places(others)} went on apart from each other: both have a commit ${sequence} that was promised, and they differ`;
}
