/** The metadata engine of a simulated machine: every state that it has had is kept, because a power cut may bring any of them back. */
import type { MetaPosition } from '../../src/meta/meta-store.js';
import type { Commit, RowChange } from '../../src/meta/rows.js';
import { MemoryMetaStore } from '../conformance/memory-meta-store.js';

export class SimMetaStore extends MemoryMetaStore {
  readonly #onChange: (store: SimMetaStore) => void;
  /** Thrown by the next `apply`. */
  failure: unknown;

  constructor(from: MemoryMetaStore | undefined, onChange: (store: SimMetaStore) => void) {
    super(from);
    this.#onChange = onChange;
  }

  override async apply(commit: Commit): Promise<void> {
    const { failure } = this;
    this.failure = undefined;
    if (failure !== undefined) throw failure;
    await super.apply(commit);
    this.#onChange(this);
  }

  override async restore(position: MetaPosition, batches: AsyncIterable<readonly RowChange[]>): Promise<void> {
    await super.restore(position, batches);
    this.#onChange(this);
  }
}
