/**
 * What a strong fsync or close answers while the pool is degraded. `allow`: success when the commit stands with what redundancy is left, enough
 * to read everything; that is how a RAID does it, and a box with one dead disk goes on working. `refuse`: an error unless the commit has all the
 * redundancy that the pool promises. The bytes are committed all the same, as well as can be: an error takes nothing back, it promises nothing.
 */
import { CairnError } from '../errors/cairn-error.js';

export type WhenDegraded = 'allow' | 'refuse';

export interface RedundancyView {
  /** The last durable commit. */
  readonly sequence: number;
  /** The last commit of which some chunk has fewer shards than it should; 0: none. */
  readonly degradedSequence: number;
}

export class StrongRule {
  whenDegraded: WhenDegraded;
  readonly #journal: RedundancyView;
  readonly #missing: () => readonly number[];

  /** `missing`: numbers of the data disks that are not online. */
  constructor(whenDegraded: WhenDegraded, journal: RedundancyView, missing: () => readonly number[]) {
    this.whenDegraded = whenDegraded;
    this.#journal = journal;
    this.#missing = missing;
  }

  /** Commits; then DISK_FAILED if the rule says that this is no promise. */
  async promise(commit: () => Promise<void>): Promise<void> {
    const before = this.#journal.sequence;
    await commit();
    if (this.whenDegraded === 'allow') return;
    const missing = this.#missing();
    if (missing.length === 0 && this.#journal.degradedSequence <= before) return;
    const why = missing.length === 0 ? 'a disk failed or was full' : `disk ${missing.join(', ')} is away`;
    throw new CairnError('DISK_FAILED', `committed with less redundancy than promised: ${why}`, {
      hint: 'bring the disk back or replace it, or set when_degraded = "allow" below [strong] in cairn.toml',
    });
  }
}
