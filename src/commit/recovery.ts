/**
 * What a pool does with its journal when it is opened. The rules (docs/format.md, "Recovery"):
 *
 * 1. The metadata store is the base if it stands on a commit that counts: some disk knows that commit or a later one of its epoch
 *    or a higher, no record and no snapshot of a higher epoch stands at or below it, and no complete snapshot beyond it. Otherwise
 *    the newest complete snapshot that can be read is the base, else the empty store. A store beyond everything that the disks know is
 *    not rebuilt but refused: it proves that disks are missing.
 * 2. From the base on, of several COMMIT records with one sequence the highest epoch is the true one, and the epoch never falls;
 *    where it would, the chain ends: those records belong to a daemon that was superseded.
 * 3. Commits up to the watermark (the highest `acknowledged` of any record, the highest sequence of any complete snapshot) were promised:
 *    they are applied whatever the state of their chunks (a damaged chunk then damages one file), and if one is missing
 *    the pool is not opened. Beyond the watermark a commit whose chunks are not readable was never acknowledged and is dropped, with
 *    all that follows it.
 * 4. Commits beyond the watermark that are kept count as promised from then on: chunks that the crash left with fewer copies than they
 *    should have are made whole, and the record is copied to every disk that lacks it, before the store is told.
 * 5. With more disks missing than may be lost, nothing is dropped and nothing rebuilt: what was promised may be on those.
 *
 * Every step can be repeated: a crash during recovery changes nothing for the next one.
 */
import { type ChunkStore, SMALL_CHUNK_BYTES } from '../chunks/chunk-store.js';
import type { CommitEntry, Disk } from '../disks/disk.js';
import { CairnError } from '../errors/cairn-error.js';
import type { MetaPosition, MetaStore } from '../meta/meta-store.js';
import { decodeCommit } from '../meta/row-codec.js';
import type { Commit } from '../meta/rows.js';
import { completeSnapshots, type FoundSnapshot, restoreSnapshot } from './restore-snapshot.js';

export interface RecoveryReport {
  readonly sequence: number;
  /** The epoch for this daemon: higher than any found. */
  readonly epoch: number;
  /** Commits applied to the metadata store. */
  readonly replayed: number;
  readonly dropped: number;
  /** The sequence of the snapshot that the metadata was rebuilt from, 0 without one; undefined if it was not rebuilt. */
  readonly rebuiltFrom: number | undefined;
  /** The journal beyond the newest snapshot. */
  readonly journal: { readonly commits: number; readonly bytes: number };
  /** One sentence per thing a user should know. */
  readonly notes: readonly string[];
}

interface Link {
  readonly entry: CommitEntry;
  /** Every online disk that holds this record. */
  readonly holders: { readonly disk: Disk; readonly entry: CommitEntry }[];
}

interface ReadCommit {
  readonly commit: Commit;
  readonly payload: Buffer;
}

/** Brings `meta` to the last commit that counts. Throws UNREADABLE if the disks that are there cannot tell it. */
export function recover(parts: {
  readonly disks: readonly Disk[];
  readonly meta: MetaStore;
  readonly chunks: ChunkStore;
  /** Which disks are missing, as a sentence, if they are more than may be lost. */
  readonly tooMany: string | undefined;
}): Promise<RecoveryReport> {
  return new Recovery(parts).run();
}

class Recovery {
  readonly #disks: readonly Disk[];
  readonly #meta: MetaStore;
  readonly #chunks: ChunkStore;
  readonly #tooMany: string | undefined;
  readonly #records: readonly Link[];
  readonly #snapshots: readonly FoundSnapshot[];
  readonly #watermark: number;
  readonly #notes: string[] = [];

  constructor(parts: {
    readonly disks: readonly Disk[];
    readonly meta: MetaStore;
    readonly chunks: ChunkStore;
    readonly tooMany: string | undefined;
  }) {
    this.#disks = parts.disks;
    this.#meta = parts.meta;
    this.#chunks = parts.chunks;
    this.#tooMany = parts.tooMany;
    this.#records = collect(parts.disks);
    this.#snapshots = completeSnapshots(parts.disks);
    this.#watermark = Math.max(
      highest(this.#records.flatMap(({ holders }) => holders.map(({ entry }) => entry.acknowledged))),
      highest(this.#snapshots.map(({ sequence }) => sequence)),
    );
  }

  async run(): Promise<RecoveryReport> {
    const rebuiltFrom = this.#isBase(this.#meta.position()) ? undefined : await this.#rebuild();
    const base = this.#meta.position();
    if (base.sequence === 0) this.#mustBeWhole('the metadata cannot be rebuilt');
    await this.#keepApplied(base.sequence);
    const { replayed, dropped } = await this.#replay(this.#chain(base));
    const position = this.#meta.position();
    if (position.sequence < this.#watermark) throw gap(position.sequence + 1, this.#watermark);
    if (replayed > 0)
      this.#notes.push(`replayed ${count(replayed)} from the journal, ${base.sequence + 1} to ${position.sequence}`);
    if (dropped > 0) this.#notes.push(`dropped ${count(dropped)} that had not been acknowledged`);
    const covered = highest(this.#snapshots.map(({ sequence }) => sequence));
    const journal = this.#records.filter(({ entry }) => entry.sequence > covered);
    return {
      sequence: position.sequence,
      epoch: this.#newEpoch(),
      replayed,
      dropped,
      rebuiltFrom,
      journal: { commits: journal.length, bytes: journal.reduce((sum, { entry }) => sum + entry.recordBytes, 0) },
      notes: this.#notes,
    };
  }

  /** Rule 1. */
  #isBase({ sequence, epoch }: MetaPosition): boolean {
    const witnesses = [...this.#records.map(({ entry }) => entry), ...this.#snapshots];
    if (witnesses.some((known) => known.sequence <= sequence && known.epoch > epoch)) return false;
    if (this.#snapshots.some((snapshot) => snapshot.sequence > sequence)) return false;
    if (sequence === 0 || witnesses.some((known) => known.sequence >= sequence && known.epoch >= epoch)) return true;
    const last = highest(witnesses.map((known) => known.sequence));
    throw new CairnError(
      'UNREADABLE',
      `the metadata stands at commit ${sequence}, but the disks that are here know only commits up to ${last}`,
      { hint: 'connect the missing disks and open the pool again' },
    );
  }

  /** From the newest snapshot that can be read; from nothing if the journal reaches back to its beginning. Returns the snapshot's sequence. */
  async #rebuild(): Promise<number> {
    this.#mustBeWhole('the metadata cannot be rebuilt');
    let failure: unknown;
    for (const snapshot of this.#snapshots) {
      try {
        await restoreSnapshot(this.#meta, snapshot);
        this.#notes.push(`the metadata was rebuilt from the snapshot at commit ${snapshot.sequence}`);
        return snapshot.sequence;
      } catch (error) {
        if (!(error instanceof CairnError)) throw error;
        this.#notes.push(`the metadata snapshot at commit ${snapshot.sequence} is of no use: ${error.message}`);
        failure = error;
      }
    }
    const first = this.#records[0]?.entry.sequence;
    if (first !== 1) throw failure ?? gap(1, first ?? this.#watermark);
    await this.#meta.restore({ sequence: 0, epoch: 0, stagedThrough: 0, nextIno: 2 }, nothing());
    this.#notes.push('the metadata was rebuilt from the journal');
    return 0;
  }

  /** Rule 2. Ascending from the commit after the base, as far as there are no gaps. */
  #chain(base: MetaPosition): Link[] {
    const newest = new Map<number, Link>();
    for (const link of this.#records) newest.set(link.entry.sequence, link);
    const chain: Link[] = [];
    let { epoch } = base;
    for (let sequence = base.sequence + 1; ; sequence++) {
      const link = newest.get(sequence);
      if (link === undefined || link.entry.epoch < epoch) return chain;
      epoch = link.entry.epoch;
      chain.push(link);
    }
  }

  /** Rules 3 and 4. */
  async #replay(chain: readonly Link[]): Promise<{ replayed: number; dropped: number }> {
    for (const [i, link] of chain.entries()) {
      const { sequence } = link.entry;
      const promised = sequence <= this.#watermark;
      const found = await this.#read(link);
      if (found === undefined && promised) throw gap(sequence, sequence);
      if (found === undefined || (!promised && !this.#isReadable(found.commit))) {
        this.#mustBeWhole(`commit ${sequence} cannot be read`);
        return { replayed: i, dropped: chain.length - i };
      }
      if (!promised) await this.#keep(link, found);
      await this.#meta.apply(found.commit);
    }
    return { replayed: chain.length, dropped: 0 };
  }

  /** Rule 5. */
  #mustBeWhole(problem: string): void {
    if (this.#tooMany === undefined) return;
    throw new CairnError('UNREADABLE', `${problem} while more disks are missing than may be lost: ${this.#tooMany}`, {
      hint: 'connect the missing disks and open the pool again',
    });
  }

  /** Commits beyond the watermark that the store has already: the crash may have come before all disks had them. */
  async #keepApplied(through: number): Promise<void> {
    const newest = new Map<number, Link>();
    for (const link of this.#records) {
      const { sequence } = link.entry;
      if (sequence > this.#watermark && sequence <= through) newest.set(sequence, link);
    }
    for (const link of newest.values()) {
      const found = await this.#read(link);
      if (found !== undefined) await this.#keep(link, found);
    }
  }

  /** Rule 4. A disk that does not take its part is left out, as in any round. */
  async #keep(link: Link, { commit, payload }: ReadCommit): Promise<void> {
    await this.#makeWhole(commit);
    await this.#copy(link, payload);
  }

  async #makeWhole(commit: Commit): Promise<void> {
    const chunks = new Map<string, number>();
    for (const change of commit.changes)
      if (change.kind === 'extents') for (const { chunk, chunkBytes } of change.extents) chunks.set(chunk, chunkBytes);
    for (const [chunk, chunkBytes] of chunks) {
      if (this.#chunks.health(chunk).health !== 'degraded') continue;
      try {
        const bytes = await this.#chunks.read(chunk, chunkBytes, 0, chunkBytes);
        if (chunkBytes <= SMALL_CHUNK_BYTES) await this.#chunks.storeSmall([bytes]);
        else await this.#chunks.store({ kind: 'bytes', bytes }, () => undefined);
      } catch (error) {
        if (!(error instanceof CairnError)) throw error;
        this.#notes.push(`a chunk of commit ${commit.sequence} could not be made whole: ${error.message}`);
      }
    }
    for (const disk of this.#disks) {
      if (disk.state !== 'online' || !disk.unsynced) continue;
      await disk.sync().catch((error: unknown) => {
        this.#notes.push(`the disk at ${disk.directory} could not be synced: ${text(error)}`);
      });
    }
  }

  #lacking({ holders }: Link): Disk[] {
    return this.#disks.filter((disk) => disk.state === 'online' && !holders.some((holder) => holder.disk === disk));
  }

  async #copy(link: Link, payload: Uint8Array): Promise<void> {
    const { sequence, epoch, acknowledged } = link.entry;
    const record = { kind: 'commit', sequence, epoch, acknowledged, payload: [payload] } as const;
    await Promise.all(
      this.#lacking(link).map((disk) =>
        disk.append('journal', [record], { sync: true }).catch((error: unknown) => {
          this.#notes.push(`commit ${sequence} could not be copied to the disk at ${disk.directory}: ${text(error)}`);
        }),
      ),
    );
  }

  /** The commit from the first disk where it verifies; undefined if none does. */
  async #read({ holders }: Link): Promise<ReadCommit | undefined> {
    for (const { disk, entry } of holders) {
      try {
        const payload = await disk.readCommit(entry);
        return { commit: decodeCommit(payload), payload };
      } catch (error) {
        if (!(error instanceof CairnError)) throw error;
        this.#notes.push(`commit ${entry.sequence} is damaged on the disk at ${disk.directory}: ${error.message}`);
      }
    }
    return undefined;
  }

  #isReadable(commit: Commit): boolean {
    for (const change of commit.changes) {
      if (change.kind !== 'extents') continue;
      for (const { chunk } of change.extents) if (this.#chunks.health(chunk).health === 'lost') return false;
    }
    return true;
  }

  #newEpoch(): number {
    const found = this.#disks.flatMap((disk) => disk.snapshots().map(({ epoch }) => epoch));
    return (
      Math.max(this.#meta.position().epoch, highest(this.#records.map(({ entry }) => entry.epoch)), highest(found)) + 1
    );
  }
}

/** All records, ascending by sequence, then epoch; the same record on several disks once. */
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

async function* nothing(): AsyncIterable<never> {}

function gap(wanted: number, known: number): CairnError {
  return new CairnError(
    'UNREADABLE',
    `commit ${wanted} was promised but no disk that is here can give it (commits up to ${known} are known of)`,
    { hint: 'connect the missing disks and open the pool again' },
  );
}

function count(commits: number): string {
  return commits === 1 ? 'one commit' : `${commits} commits`;
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function highest(numbers: readonly number[]): number {
  let result = 0;
  for (const number of numbers) if (number > result) result = number;
  return result;
}
