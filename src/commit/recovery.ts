/**
 * What a pool does with its journal when it is opened. The rules, their numbers and why each can be repeated are in docs/format.md,
 * "Recovery"; in short:
 *
 * 1. One history: if the disks tell two, of which both were promised, nothing is opened.
 * 2. The base is the metadata store, unless the disks contradict it or hold a snapshot beyond it; then the newest snapshot that can be read.
 * 3. From the base on, of several COMMIT records with one sequence the highest epoch counts, and the epoch never falls.
 * 4. Up to the watermark commits were promised: applied whatever the state of their chunks; if one is missing the pool is not opened.
 * 5. Beyond it, a commit is dropped if that it is not readable proves that it was never acknowledged; otherwise it is kept.
 * 6. What is kept counts as promised from then on: it is made whole and copied to every disk before the store is told.
 * 7. Promised commits that too few disks hold are copied to the others.
 * 8. With more disks missing than may be lost, nothing is dropped and nothing rebuilt.
 */
import { type ChunkStore, SMALL_CHUNK_BYTES } from '../chunks/chunk-store.js';
import type { Disk } from '../disks/disk.js';
import { CairnError, hasCode, messageOf } from '../errors/cairn-error.js';
import type { Random } from '../io/random.js';
import type { MetaPosition, MetaStore } from '../meta/meta-store.js';
import { decodeCommit } from '../meta/row-codec.js';
import type { Commit, Ino, RowChange } from '../meta/rows.js';
import { CommitRecords, type Link } from './commit-records.js';
import { nextEpoch } from './epoch.js';
import { completeSnapshots, type FoundSnapshot, restoreSnapshot } from './restore-snapshot.js';

export interface DamagedCommit {
  readonly sequence: number;
  readonly chunks: number;
  readonly files: readonly Ino[];
}

export interface RecoveryReport {
  readonly sequence: number;
  /** The epoch for this daemon: higher than any found, and no other daemon's. */
  readonly epoch: number;
  /** Commits applied to the metadata store. */
  readonly replayed: number;
  readonly dropped: number;
  /** The sequence of the snapshot that the metadata was rebuilt from, 0 without one; undefined if it was not rebuilt. */
  readonly rebuiltFrom: number | undefined;
  /** The journal beyond the newest snapshot. */
  readonly journal: { readonly commits: number; readonly bytes: number };
  /** The newest snapshot lies on so few disks that losing as many as may be lost could take it: another is due. */
  readonly snapshotDue: boolean;
  /** One sentence per thing a user should know. */
  readonly notes: readonly string[];
  /** Commits with chunks that cannot be read. */
  readonly damage: readonly DamagedCommit[];
}

interface ReadCommit {
  readonly commit: Commit;
  readonly payload: Buffer;
}

interface RecoveryParts {
  readonly disks: readonly Disk[];
  readonly meta: MetaStore;
  readonly chunks: ChunkStore;
  readonly random: Random;
  /** How many disks may be lost: m. */
  readonly tolerance: number;
  /** Numbers of the data disks that are not here. */
  readonly missing: readonly number[];
  /** Which disks are missing, as a sentence, if they are more than may be lost. */
  readonly tooMany: string | undefined;
}

/**
 * Brings `meta` to the last commit that counts. UNREADABLE if the disks that are there cannot tell it. Where `meta.isDamaged` afterwards,
 * the store is to blame: made anew, it can be recovered.
 */
export function recover(parts: RecoveryParts): Promise<RecoveryReport> {
  return new Recovery(parts).run();
}

class Recovery {
  readonly #parts: RecoveryParts;
  readonly #meta: MetaStore;
  readonly #chunks: ChunkStore;
  readonly #snapshots: readonly FoundSnapshot[];
  readonly #records: CommitRecords;
  readonly #notes: string[] = [];
  readonly #damage: { readonly commit: Commit; readonly lost: readonly string[] }[] = [];
  /** Disks whose copy of a commit turned out to be damaged. */
  readonly #damagedOn = new Map<Link, Set<Disk>>();

  constructor(parts: RecoveryParts) {
    this.#parts = parts;
    this.#meta = parts.meta;
    this.#chunks = parts.chunks;
    this.#snapshots = completeSnapshots(parts.disks);
    this.#records = new CommitRecords(parts.disks, this.#snapshots);
  }

  async run(): Promise<RecoveryReport> {
    const contradiction = this.#records.contradiction();
    if (contradiction !== undefined)
      throw new CairnError('UNREADABLE', contradiction, {
        hint: 'disconnect the disks whose commits you can do without, and open the pool again',
      });
    let rebuiltFrom = this.#isBase(this.#meta.position()) ? undefined : await this.#rebuild();
    let base = this.#meta.position();
    if (base.sequence === 0) this.#mustBeWhole('the metadata cannot be rebuilt');
    await this.#keepApplied(base.sequence);
    let outcome: { replayed: number; dropped: number };
    try {
      outcome = await this.#replay(base);
    } catch (error) {
      // The journal is the truth: a store that does not take it is not what the earlier commits made.
      if (!hasCode(error, 'CONFLICT') || rebuiltFrom !== undefined) throw explained(error);
      this.#notes.push(`the metadata store contradicts the journal: ${error.message}`);
      this.#damage.length = 0;
      rebuiltFrom = await this.#rebuild();
      base = this.#meta.position();
      outcome = await this.#replay(base).catch((again: unknown) => {
        throw explained(again);
      });
    }
    const { replayed, dropped } = outcome;
    const position = this.#meta.position();
    if (replayed > 0)
      this.#notes.push(`replayed ${count(replayed)} from the journal, ${base.sequence + 1} to ${position.sequence}`);
    if (dropped > 0) this.#notes.push(`dropped ${count(dropped)} that had not been acknowledged`);
    await this.#spread(position);
    const covered = this.#snapshots[0]?.sequence ?? 0;
    const journal = this.#records.links.filter(({ entry }) => entry.sequence > covered);
    return {
      sequence: position.sequence,
      epoch: this.#newEpoch(),
      replayed,
      dropped,
      rebuiltFrom,
      journal: { commits: journal.length, bytes: journal.reduce((sum, { entry }) => sum + entry.recordBytes, 0) },
      snapshotDue: this.#snapshots.length > 0 && this.#isShort(this.#snapshots[0]!.holders, ['data']),
      notes: this.#notes,
      damage: await this.#damaged(),
    };
  }

  /** Rule 2. */
  #isBase({ sequence, epoch }: MetaPosition): boolean {
    const points = [...this.#records.links.map(({ entry }) => entry), ...this.#snapshots];
    if (points.some((known) => known.sequence <= sequence && known.epoch > epoch)) return false;
    if (this.#snapshots.some((snapshot) => snapshot.sequence > sequence)) return false;
    if (sequence === 0 || points.some((known) => known.sequence >= sequence && known.epoch >= epoch)) return true;
    const last = points.reduce((most, known) => Math.max(most, known.sequence), 0);
    throw new CairnError(
      'UNREADABLE',
      `the metadata stands at commit ${sequence}, but the disks that are here know only commits up to ${last}`,
      {
        hint: 'connect the missing disks and open the pool again; if all are here, remove the metadata directory to go back to what they know',
      },
    );
  }

  /**
   * From the newest snapshot that can be read; from nothing if the journal reaches back to its beginning. The store is touched only once it
   * is known that all that was promised follows. Returns the snapshot's sequence.
   */
  async #rebuild(): Promise<number> {
    this.#mustBeWhole('the metadata cannot be rebuilt');
    let failure: unknown;
    for (const snapshot of this.#snapshots) {
      try {
        this.#mustReach(snapshot);
        await restoreSnapshot(this.#meta, snapshot);
        this.#notes.push(`the metadata was rebuilt from the snapshot at commit ${snapshot.sequence}`);
        return snapshot.sequence;
      } catch (error) {
        if (!(error instanceof CairnError) || this.#meta.isDamaged) throw error;
        this.#notes.push(`the metadata snapshot at commit ${snapshot.sequence} is of no use: ${error.message}`);
        failure ??= error;
      }
    }
    const nothing = { sequence: 0, epoch: 0 };
    if (this.#records.links[0]?.entry.sequence !== 1 && failure !== undefined) throw failure;
    this.#mustReach(nothing);
    await this.#meta.restore({ ...nothing, stagedThrough: 0, nextIno: 2 }, noRows());
    this.#notes.push('the metadata was rebuilt from the journal');
    return 0;
  }

  /** Rule 4: the records after the base lead to the watermark. */
  #mustReach(base: { readonly sequence: number; readonly epoch: number }): Link[] {
    const chain = this.#records.chain(base);
    const { watermark } = this.#records;
    const last = chain.at(-1)?.entry.sequence ?? base.sequence;
    if (last < watermark) throw gap(last + 1, watermark);
    return chain;
  }

  /** Rules 3 to 6. */
  async #replay(base: MetaPosition): Promise<{ replayed: number; dropped: number }> {
    const chain = this.#mustReach(base);
    for (const [i, link] of chain.entries()) {
      const { sequence } = link.entry;
      const promised = sequence <= this.#records.watermark;
      const found = await this.#read(link);
      if (found === undefined && promised) throw gap(sequence, this.#records.watermark);
      const lost = found === undefined ? [] : await this.#lostChunks(found.commit);
      if (found === undefined || (!promised && lost.length > 0 && this.#neverAcknowledged(found.commit))) {
        this.#mustBeWhole(`commit ${sequence} cannot be read`);
        return { replayed: i, dropped: chain.length - i };
      }
      if (!promised) await this.#keep(link, found);
      await this.#meta.apply(found.commit);
      if (lost.length > 0) this.#damage.push({ commit: found.commit, lost });
    }
    return { replayed: chain.length, dropped: 0 };
  }

  /** Rule 8. */
  #mustBeWhole(problem: string): void {
    const { tooMany } = this.#parts;
    if (tooMany === undefined) return;
    throw new CairnError('UNREADABLE', `${problem} while more disks are missing than may be lost: ${tooMany}`, {
      hint: 'connect the missing disks and open the pool again',
    });
  }

  /**
   * Rule 5, for a commit with chunks that cannot be read. Had it been acknowledged, every disk that was there when it was written would have its
   * part, and losing as many as may be lost would leave it readable. With more gone than that, nothing is proved.
   */
  #neverAcknowledged({ away = [] }: Commit): boolean {
    const { missing, tolerance, tooMany } = this.#parts;
    return tooMany !== undefined || new Set([...missing, ...away]).size <= tolerance;
  }

  /** Chunks of the commit that cannot be read and that no commit before it named: of such the earlier ones would lack them just as well. */
  async #lostChunks(commit: Commit): Promise<string[]> {
    const lost: string[] = [];
    for (const chunk of chunksOf(commit).keys()) {
      if (this.#chunks.health(chunk).health !== 'lost') continue;
      const row = await this.#meta.getChunk(chunk);
      if (row === undefined || row.references === 0) lost.push(chunk);
    }
    return lost;
  }

  /** Of what could not be read when it was replayed, what something still names: the rest has been deleted since, and collected. */
  async #damaged(): Promise<DamagedCommit[]> {
    const damaged: DamagedCommit[] = [];
    for (const { commit, lost } of this.#damage) {
      const gone = new Set<string>();
      for (const chunk of lost) if (((await this.#meta.getChunk(chunk))?.references ?? 0) > 0) gone.add(chunk);
      if (gone.size === 0) continue;
      const files = new Set<number>();
      for (const change of commit.changes)
        if (change.kind === 'extents' && change.extents.some(({ chunk }) => gone.has(chunk))) files.add(change.ino);
      damaged.push({ sequence: commit.sequence, chunks: gone.size, files: [...files] });
    }
    return damaged;
  }

  /** Commits beyond the watermark that the store has already: the crash may have come before all disks had them. */
  async #keepApplied(through: number): Promise<void> {
    const newest = new Map<number, Link>();
    for (const link of this.#records.links) {
      const { sequence } = link.entry;
      if (sequence > this.#records.watermark && sequence <= through) newest.set(sequence, link);
    }
    for (const link of newest.values()) {
      const found = await this.#read(link);
      if (found !== undefined) await this.#keep(link, found);
    }
  }

  /** Rule 6. A disk that does not take its part is left out, as in any round. */
  async #keep(link: Link, { commit, payload }: ReadCommit): Promise<void> {
    await this.#makeWhole(commit);
    await this.#copy(link, payload);
  }

  async #makeWhole(commit: Commit): Promise<void> {
    for (const [chunk, chunkBytes] of chunksOf(commit)) {
      if (this.#chunks.health(chunk).health !== 'degraded') continue;
      try {
        const bytes = await this.#chunks.read(chunk, chunkBytes, 0, chunkBytes);
        if (chunkBytes <= SMALL_CHUNK_BYTES) await this.#chunks.storeSmall([bytes]);
        else await this.#chunks.store({ kind: 'bytes', bytes }, () => undefined);
        // The commit that names it counts: nothing else has to keep it from collection.
        this.#chunks.release([chunk]);
      } catch (error) {
        if (!(error instanceof CairnError)) throw error;
        this.#notes.push(`a chunk of commit ${commit.sequence} could not be made whole: ${error.message}`);
      }
    }
    await this.#syncAll();
  }

  async #syncAll(): Promise<void> {
    for (const disk of this.#parts.disks) {
      if (disk.state !== 'online' || !disk.unsynced) continue;
      await disk.sync().catch((error: unknown) => {
        this.#notes.push(`the disk at ${disk.directory} could not be synced: ${messageOf(error)}`);
      });
    }
  }

  /** Rule 7: what lies beyond the newest safe snapshot, as far as the records reach. */
  async #spread(position: MetaPosition): Promise<void> {
    const safe = this.#snapshots.find(({ holders }) => !this.#isShort(holders, ['data']));
    let copied = 0;
    for (const link of this.#records.ancestors(position, safe?.sequence ?? 0)) {
      if (link.entry.sequence > this.#records.watermark) break; // Rule 6 has seen to it.
      const damaged = this.#damagedOn.get(link);
      const sound = link.holders.map(({ disk }) => disk).filter((disk) => !damaged?.has(disk));
      if (!this.#isShort(sound, ['data', 'journal'])) continue;
      const found = await this.#read(link);
      if (found === undefined) continue;
      await this.#copy(link, found.payload, false);
      copied += 1;
    }
    if (copied === 0) return;
    await this.#syncAll();
    this.#notes.push(`copied ${count(copied)} to disks that had been away`);
  }

  /** Losing as many disks as may be lost could take all of these, though there are others. */
  #isShort(holders: readonly Disk[], roles: readonly string[]): boolean {
    const online = (disk: Disk): boolean => disk.state === 'online';
    const others = this.#parts.disks.filter((disk) => online(disk) && roles.includes(disk.identity.role));
    return new Set(holders.filter(online)).size < Math.min(this.#parts.tolerance + 1, others.length);
  }

  #lacking(link: Link): Disk[] {
    const damaged = this.#damagedOn.get(link);
    const has = (disk: Disk): boolean => link.holders.some((holder) => holder.disk === disk) && !damaged?.has(disk);
    return this.#parts.disks.filter((disk) => disk.state === 'online' && !has(disk));
  }

  async #copy(link: Link, payload: Uint8Array, sync = true): Promise<void> {
    const { sequence, epoch, acknowledged } = link.entry;
    const record = { kind: 'commit', sequence, epoch, acknowledged, payload: [payload] } as const;
    await Promise.all(
      this.#lacking(link).map((disk) =>
        disk.append('journal', [record], { sync }).catch((error: unknown) => {
          this.#notes.push(
            `commit ${sequence} could not be copied to the disk at ${disk.directory}: ${messageOf(error)}`,
          );
        }),
      ),
    );
  }

  /** The commit from the first disk where it verifies; undefined if none does. */
  async #read(link: Link): Promise<ReadCommit | undefined> {
    for (const { disk, entry } of link.holders) {
      try {
        const payload = await disk.readCommit(entry);
        const commit = decodeCommit(payload);
        if (commit.sequence !== entry.sequence || commit.epoch !== entry.epoch)
          throw new CairnError('CORRUPT', `its payload is that of commit ${commit.sequence}`);
        return { commit, payload };
      } catch (error) {
        if (!(error instanceof CairnError)) throw error;
        const damaged = this.#damagedOn.get(link) ?? new Set();
        this.#damagedOn.set(link, damaged.add(disk));
        this.#notes.push(`commit ${entry.sequence} is damaged on the disk at ${disk.directory}: ${error.message}`);
      }
    }
    return undefined;
  }

  #newEpoch(): number {
    const found = this.#parts.disks.flatMap((disk) => disk.snapshots().map(({ epoch }) => epoch));
    const known = [this.#meta.position().epoch, this.#records.highestEpoch, ...found];
    return nextEpoch(
      known.reduce((most, epoch) => Math.max(most, epoch), 0),
      this.#parts.random,
    );
  }
}

function chunksOf({ changes }: { readonly changes: readonly RowChange[] }): Map<string, number> {
  const chunks = new Map<string, number>();
  for (const change of changes)
    if (change.kind === 'extents') for (const { chunk, chunkBytes } of change.extents) chunks.set(chunk, chunkBytes);
  return chunks;
}

async function* noRows(): AsyncIterable<never> {}

function gap(wanted: number, known: number): CairnError {
  return new CairnError(
    'UNREADABLE',
    `commit ${wanted} was promised but no disk that is here can give it (commits up to ${known} are known of)`,
    { hint: 'connect the missing disks and open the pool again' },
  );
}

/** A journal that contradicts itself: nothing is guessed. */
function explained(error: unknown): unknown {
  if (!hasCode(error, 'CONFLICT')) return error;
  return new CairnError('UNREADABLE', `the journal contradicts itself and cannot be replayed: ${error.message}`, {
    hint: 'nothing was changed on the disks: `cairn rescue` reads the files from them; please report this',
    cause: error,
  });
}

function count(commits: number): string {
  return commits === 1 ? 'one commit' : `${commits} commits`;
}
