/**
 * Which writes of a log are on their way, in the order of their positions. A record may be acknowledged as durable only when every
 * write below it is done too: else a hole would lie below it after a crash, and the scan that looks for the torn tail
 * could stop there.
 */
import { assert } from '../errors/cairn-error.js';

export interface OrderedWrite {
  readonly ticket: number;
  done: boolean;
  waiters: (() => void)[] | undefined;
}

export class WriteOrder {
  readonly #writes: OrderedWrite[] = [];
  #issued = 0;

  /** Ticket of the newest write. */
  get issued(): number {
    return this.#issued;
  }

  /** No write is on its way. */
  get idle(): boolean {
    return this.#writes.length === 0;
  }

  begin(): OrderedWrite {
    const write: OrderedWrite = { ticket: ++this.#issued, done: false, waiters: undefined };
    this.#writes.push(write);
    return write;
  }

  /** The write has ended, well or not; whoever waits looks at the log's failure himself. */
  finish(write: OrderedWrite): void {
    assert(!write.done, 'a write ends once');
    write.done = true;
    let ended = 0;
    while (this.#writes[ended]?.done) ended++;
    if (ended === 0) return;
    for (const { waiters } of this.#writes.splice(0, ended)) for (const wake of waiters ?? []) wake();
  }

  /** Resolves when every write up to `ticket` has ended. */
  ended(ticket: number): Promise<void> {
    const last = this.#writes.findLast((write) => write.ticket <= ticket);
    if (last === undefined) return Promise.resolve();
    return new Promise((resolve) => {
      last.waiters ??= [];
      last.waiters.push(resolve);
    });
  }
}
