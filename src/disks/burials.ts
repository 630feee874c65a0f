/**
 * Records of shards that others took the place of, until each has a durable tombstone of its own: only that keeps it dead where the index is made anew from the logs after the record that took
 * its place has gone, which an index that is told of the newer record alone does not know. So the index keeps the list, in the transaction that has the newer record (`owed`).
 *
 * Invariant: no tombstone is written before the record that took the place is durable, else a power cut could leave the tombstone and take the record.
 */
import { tombstoneOf } from './disk-replay.js';
import type { Tombstone } from './journal-state.js';
import type { LoggedRecord } from './log-context.js';
import type { RecordLocation } from './record.js';
import type { ReplacedShard } from './shard-index.js';

interface Burial {
  readonly tombstone: Tombstone;
  /** What took the place; undefined: nothing has to be waited for. */
  readonly by: RecordLocation | undefined;
  isBegun: boolean;
  /** Where the tombstone is. */
  at: RecordLocation | undefined;
}

export class Burials {
  readonly #append: (tombstones: readonly Tombstone[]) => Promise<readonly LoggedRecord[]>;
  readonly #isDurable: (segment: number, position: number) => boolean;
  #burials: Burial[] = [];

  constructor(
    append: (tombstones: readonly Tombstone[]) => Promise<readonly LoggedRecord[]>,
    isDurable: (segment: number, position: number) => boolean,
  ) {
    this.#append = append;
    this.#isDurable = isDurable;
  }

  add({ dead, by }: ReplacedShard): void {
    this.#add(tombstoneOf(dead), by);
  }

  /** What replaying the logs has found, and what the index says is owed. */
  addAll(tombstones: readonly Tombstone[]): void {
    for (const tombstone of tombstones) this.#add(tombstone, undefined);
  }

  #add(tombstone: Tombstone, by: RecordLocation | undefined): void {
    this.#burials.push({ tombstone, by, isBegun: false, at: undefined });
  }

  /** Something became durable: appends the tombstones that may be written. Never rejects. */
  async advance(): Promise<void> {
    if (this.#burials.length === 0) return;
    this.#burials = this.#burials.filter((burial) => !this.#isOver(burial));
    const ready = this.#burials.filter((burial) => !burial.isBegun && this.#mayBegin(burial));
    if (ready.length === 0) return;
    for (const burial of ready) burial.isBegun = true;
    try {
      const places = await this.#append(ready.map(({ tombstone }) => tombstone));
      for (const [i, burial] of ready.entries()) burial.at = places[i];
    } catch {
      // A failing log says so to everybody; and the next opening begins with what is owed.
    }
  }

  /** Tombstones that are not durable, of records whose place has been taken for good. */
  owed(): Tombstone[] {
    return this.#burials
      .filter((burial) => this.#mayBegin(burial) && !this.#isOver(burial))
      .map(({ tombstone }) => tombstone);
  }

  #isOver({ at }: Burial): boolean {
    return at !== undefined && this.#isDurable(at.segment, at.position);
  }

  #mayBegin({ by }: Burial): boolean {
    return by === undefined || this.#isDurable(by.segment, by.position);
  }
}
