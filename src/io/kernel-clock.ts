/**
 * Time as the kernel gives it to files by itself. Where both the kernel and we set times of the same files (the writeback cache), one clock has to say what came first: the
 * kernel's is up to a tick behind the precise one, and ours does not follow when the system's is set.
 */
import { loadAddon } from '../../native/addon.js';
import { SystemClock, type Time } from './clock.js';

export class KernelClock extends SystemClock {
  readonly #fileTime = loadAddon().fileTime;
  readonly #nanoseconds = new Uint32Array(1);

  override now(): Time {
    const sec = this.#fileTime(this.#nanoseconds);
    return { sec, nsec: this.#nanoseconds[0]! };
  }
}
