/** Ends what a script has begun, the last first, also when it fails. */
import type { Teardown } from '../integration/mount-harness.js';

export class Cleanup implements Teardown {
  readonly #ends: (() => Promise<void>)[] = [];

  /** Also when the script is interrupted, which ends it then. */
  endAtSignal(): void {
    const stop = () => {
      this.end().finally(() => process.exit(130));
    };
    process.once('SIGINT', stop).once('SIGTERM', stop);
    this.teardown(async () => {
      process.off('SIGINT', stop).off('SIGTERM', stop);
    });
  }

  teardown(end: () => Promise<void>): void {
    this.#ends.push(end);
  }

  /** All of them run; throws what the first failing one threw. */
  async end(): Promise<void> {
    const failures: unknown[] = [];
    for (const end of this.#ends.splice(0).reverse())
      await end().catch((error: unknown) => {
        failures.push(error);
      });
    if (failures.length > 0) throw failures[0];
  }
}
