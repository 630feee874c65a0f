/**
 * The newest state of the pool that the disks can tell, in a metadata store: which snapshot it begins with, which commits follow, and what is
 * known to be newer than that. docs/format.md, "Recovery", has the rules; these are the differences, since rescue must take what there is:
 *
 * - A promised commit that no disk can give ends the chain instead of ending the rescue.
 * - Of several records beyond the watermark with one sequence, the highest epoch *that can be read* counts: recovery would have cut the torn one
 *   when it opened its disk.
 * - A commit beyond the watermark whose chunks are not there was never acknowledged, and is left out, only if no more disks are missing than
 *   may be lost, those counted that the commit says were away when it was written. Otherwise, or where no map tells, it may have been
 *   promised: it is taken, and its unreadable files are listed.
 * - Where the disks tell two histories, the one with the higher epochs is taken, and that is said.
 */
import { setImmediate } from 'node:timers/promises';
import { CairnError, messageOf } from '../errors/cairn-error.js';
import type { MetaStore } from '../meta/meta-store.js';
import { decodeChanges, decodeCommit } from '../meta/row-codec.js';
import type { Commit, RowChange } from '../meta/rows.js';
import { decodeSnapshotPosition } from '../meta/snapshot-position.js';
import type { ChunkReader } from './chunk-reader.js';
import type { GivenDisks } from './given-disks.js';
import type { FoundCommit, FoundSnapshot, JournalTable } from './journal-table.js';
import type { RecordPlace, RecordReader } from './record-reader.js';

export interface PoolState {
  /** The commit that the restored state is of; 0 and no files if there is none. */
  readonly sequence: number;
  readonly epoch: number;
  /** The snapshot that it begins with; 0: none, from the first commit on. */
  readonly snapshot: number;
  /** Every commit up to this one is known to have been promised. */
  readonly promised: number;
  /** The highest commit that any record speaks of. */
  readonly known: number;
  /** What a user should know of how it was found, and of what may be newer: one sentence each. */
  readonly notes: readonly string[];
}

interface Parts {
  readonly meta: MetaStore;
  readonly journal: JournalTable;
  readonly records: RecordReader;
  readonly chunks: ChunkReader;
  readonly disks: Pick<GivenDisks, 'missing' | 'tolerance' | 'nameless'>;
  readonly signal: AbortSignal;
}

/** Fills the empty store. UNREADABLE if the disks have neither a snapshot that can be read nor the first commit. */
export async function rebuildState(parts: Parts): Promise<PoolState> {
  return new StateBuilder(parts).run();
}

class StateBuilder {
  readonly #parts: Parts;
  readonly #notes: string[] = [];
  readonly #watermark: number;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#watermark = parts.journal.watermark;
  }

  async run(): Promise<PoolState> {
    const { meta, journal } = this.#parts;
    const split = journal.contradiction();
    if (split !== undefined)
      this.#notes.push(
        `the disks went on apart from each other from commit ${split.sequence} on: what ${split.superseded.join(', ')} alone had promised is left out; given without the others, it is restored instead`,
      );
    const snapshot = await this.#restoreBase();
    const left = await this.#replay();
    const { sequence, epoch } = meta.position();
    const { highest } = journal;
    if (sequence < this.#watermark)
      this.#notes.push(
        `commits ${sequence + 1} to ${this.#watermark} were promised, but these disks cannot give commit ${sequence + 1}: what they changed is missing`,
      );
    if (left !== undefined) this.#notes.push(left);
    else if (highest > Math.max(sequence, this.#watermark))
      this.#notes.push(
        `records up to commit ${highest} were found that were never known to be acknowledged: they are left out`,
      );
    return { sequence, epoch, snapshot, promised: this.#watermark, known: highest, notes: this.#notes };
  }

  /** The newest snapshot that can be read; the empty store if the first commit is there. Returns the snapshot's sequence. */
  async #restoreBase(): Promise<number> {
    const { meta, journal, signal } = this.#parts;
    for (const broken of journal.brokenSnapshots())
      this.#notes.push(`the metadata snapshot at commit ${broken} is incomplete and of no use`);
    for (const snapshot of journal.snapshots()) {
      try {
        await this.#restore(snapshot);
        return snapshot.sequence;
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof CairnError)) throw error;
        // The temporary store itself has failed: no other snapshot would do better.
        if (error.code !== 'CORRUPT' && error.code !== 'UNREADABLE') throw error;
        this.#notes.push(`the metadata snapshot at commit ${snapshot.sequence} is of no use: ${error.message}`);
      }
    }
    if (journal.commits(1).length > 0) {
      await meta.restore({ sequence: 0, epoch: 0, stagedThrough: 0, nextIno: 2 }, nothing());
      return 0;
    }
    throw new CairnError(
      'UNREADABLE',
      ['no metadata snapshot can be read from these disks, nor the first commit', ...this.#notes].join('; '),
      { hint: 'give more disks of the pool, its journal disks too' },
    );
  }

  async #restore(snapshot: FoundSnapshot): Promise<void> {
    const position = decodeSnapshotPosition(await this.#readPart(snapshot, 0));
    if (position.sequence !== snapshot.sequence || position.epoch !== snapshot.epoch)
      throw new CairnError('CORRUPT', `it says that it is at commit ${position.sequence}`);
    await this.#parts.meta.restore(position, this.#rows(snapshot));
  }

  async *#rows(snapshot: FoundSnapshot): AsyncIterable<readonly RowChange[]> {
    for (let part = 1; part < snapshot.parts.length; part++) {
      this.#parts.signal.throwIfAborted();
      yield decodeChanges(await this.#readPart(snapshot, part));
    }
  }

  async #readPart({ parts }: FoundSnapshot, part: number): Promise<Buffer> {
    const troubles: string[] = [];
    for (const place of parts[part] ?? []) {
      const payload = await this.#readPayload(place, troubles);
      if (payload !== undefined) return payload;
    }
    throw new CairnError('UNREADABLE', `part ${part} cannot be read: ${troubles.join('; ')}`);
  }

  /** Applies what follows the base. Returns why it stopped before the end of what is known, if that is worth a sentence. */
  async #replay(): Promise<string | undefined> {
    const { meta, signal } = this.#parts;
    for (;;) {
      const { sequence: last, epoch } = meta.position();
      const found = await this.#next(last + 1, epoch);
      if (typeof found === 'string') return found;
      if (found === undefined) return undefined;
      if (last + 1 > this.#watermark && this.#neverAcknowledged(found) && !(await this.#isThere(found)))
        return `commit ${found.sequence} was never known to be acknowledged and some of its chunks are on no disk: it is left out, with all after it`;
      try {
        await meta.apply(found);
      } catch (error) {
        if (!(error instanceof CairnError) || error.code !== 'CONFLICT') throw error;
        return `commit ${found.sequence} contradicts what is before it (${error.message}): it is left out, with all after it`;
      }
      await setImmediate();
      signal.throwIfAborted();
    }
  }

  /** The commit with this sequence that counts; a sentence if there are records, but none that can be used; undefined if there are none. */
  async #next(sequence: number, epoch: number): Promise<Commit | string | undefined> {
    const found = this.#parts.journal.commits(sequence);
    const candidates = sequence <= this.#watermark ? found.slice(0, 1) : found;
    const troubles: string[] = [];
    for (const candidate of candidates) {
      if (candidate.epoch < epoch) {
        troubles.push(`its epoch ${candidate.epoch} is older than that of the commit before it`);
        break;
      }
      const commit = await this.#read(candidate, troubles);
      if (commit !== undefined) return commit;
    }
    return troubles.length === 0 ? undefined : `commit ${sequence} cannot be used: ${troubles.join('; ')}`;
  }

  /** From the first disk where it verifies. */
  async #read({ places, sequence, epoch }: FoundCommit, troubles: string[]): Promise<Commit | undefined> {
    for (const place of places) {
      const payload = await this.#readPayload(place, troubles);
      if (payload === undefined) continue;
      try {
        const commit = decodeCommit(payload);
        if (commit.sequence === sequence && commit.epoch === epoch) return commit;
        troubles.push(`${place.segment.path}: a record of commit ${sequence} holds commit ${commit.sequence}`);
      } catch (error) {
        troubles.push(messageOf(error));
      }
    }
    return undefined;
  }

  async #readPayload(place: RecordPlace, troubles: string[]): Promise<Buffer | undefined> {
    try {
      return (await this.#parts.records.read(place)).payload;
    } catch (error) {
      if (!(error instanceof CairnError)) throw error;
      troubles.push(error.message);
      return undefined;
    }
  }

  /** Provided that its chunks are not here: had it been acknowledged, losing as many disks as may be lost would leave them. */
  #neverAcknowledged({ away = [] }: Commit): boolean {
    const { missing, tolerance, nameless } = this.#parts.disks;
    if (missing === undefined || tolerance === undefined) return false;
    const gone = new Set([...missing, ...away]).size;
    return gone - Math.min(nameless, missing.length) <= tolerance;
  }

  /** Apart from chunks that earlier commits name: without this one they would be missing just as well. */
  async #isThere(commit: Commit): Promise<boolean> {
    const { meta, chunks } = this.#parts;
    for (const change of commit.changes) {
      if (change.kind !== 'extents') continue;
      for (const { chunk } of change.extents)
        if (!chunks.isThere(chunk) && ((await meta.getChunk(chunk))?.references ?? 0) === 0) return false;
    }
    return true;
  }
}

async function* nothing(): AsyncIterable<never> {}
