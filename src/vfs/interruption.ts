/** Lets go of an operation that waits before it has changed anything: whoever asked for it does not want it any more. */
import { CairnError } from '../errors/cairn-error.js';

export class Interruption {
  #isWaiting: boolean;
  #isInterrupted = false;

  /** `always`: the operation changes nothing that its end would tell of, so it may be let go of at any time. */
  constructor(always = false) {
    this.#isWaiting = always;
  }

  /** What is to be done after `wait`, unless it has been interrupted by then: ABORTED. */
  async after<T>(wait: Promise<unknown>, next: () => T | Promise<T>): Promise<T> {
    this.#isWaiting = true;
    await wait;
    if (this.#isInterrupted) throw new CairnError('ABORTED', 'the operation was interrupted while it waited');
    this.#isWaiting = false;
    return next();
  }

  /** False if it is too late: the operation runs to its end. */
  interrupt(): boolean {
    if (this.#isWaiting) this.#isInterrupted = true;
    return this.#isWaiting;
  }
}
