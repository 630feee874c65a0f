/** A fixed number of slots, given out first come, first served. */
import { assert, CairnError } from '../errors/cairn-error.js';

export class SlotQueue {
  readonly #free: number[];
  readonly #waiting: ((slot: number | CairnError) => void)[] = [];
  #closed = false;

  constructor(slots: number) {
    assert(slots > 0, 'there is at least one slot');
    this.#free = Array.from({ length: slots }, (_, i) => slots - 1 - i);
  }

  /** The number of a free slot. CLOSED, ABORTED. */
  async take(signal: AbortSignal | undefined): Promise<number> {
    if (this.#closed) throw closed();
    if (signal?.aborted) throw aborted(signal);
    const slot = this.#free.pop();
    if (slot !== undefined) return slot;
    return new Promise((resolve, reject) => {
      const settle = (result: number | CairnError): void => {
        signal?.removeEventListener('abort', onAbort);
        if (typeof result === 'number') resolve(result);
        else reject(result);
      };
      const onAbort = (): void => {
        const place = this.#waiting.indexOf(settle);
        if (place >= 0) this.#waiting.splice(place, 1);
        settle(aborted(signal));
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiting.push(settle);
    });
  }

  give(slot: number): void {
    const next = this.#waiting.shift();
    if (next) next(slot);
    else this.#free.push(slot);
  }

  /** Everyone who waits gets CLOSED. */
  close(): void {
    this.#closed = true;
    for (const settle of this.#waiting.splice(0)) settle(closed());
  }
}

export function aborted(signal: AbortSignal | undefined): CairnError {
  return new CairnError('ABORTED', 'storing was cancelled', { cause: signal?.reason });
}

function closed(): CairnError {
  return new CairnError('CLOSED', 'the chunk store is closed');
}
