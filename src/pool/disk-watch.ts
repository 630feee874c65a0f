/**
 * Looks after the disks while the pool is open: notices one that vanished while nobody used it, and takes disks in again that are back.
 *
 * Every WATCH_EVERY_MS each disk's identity is read, and its file opened for writing. The kernel answers that from memory, so a sleeping disk
 * goes on sleeping; a directory that is empty because a device was unmounted or pulled, another disk in its place, and a file system
 * that has become read-only are noticed. What only the device itself can tell is noticed by the next write or read that reaches it.
 *
 * A disk that is missing is looked for at every turn. One that failed is tried again after RETRY_FIRST_MS, then ever more rarely, up to
 * RETRY_MOST_MS: a device that fails again and again would cost more than it gives. A while without failure, and it starts from the first again.
 */
import type { Clock, Timer } from '../io/clock.js';
import type { PoolDisks } from './open-disks.js';
import type { PoolLog } from './pool-log.js';

const WATCH_EVERY_MS = 3_000;
const RETRY_FIRST_MS = 3_000;
const RETRY_MOST_MS = 300_000;

interface Retry {
  /** Until the next try. */
  delayMs: number;
  notBeforeMs: number;
}

export class DiskWatch {
  readonly #disks: PoolDisks;
  readonly #clock: Clock;
  readonly #log: PoolLog;
  readonly #retries = new Map<string, Retry>();
  /** Disks that are being opened again: one may wait long for its device to let go of it, without holding up the others. */
  readonly #reopening = new Map<string, Promise<void>>();
  #timer: Timer | undefined;
  #probing: Promise<void> | undefined;
  #closed = false;

  constructor(disks: PoolDisks, clock: Clock, log: PoolLog) {
    this.#disks = disks;
    this.#clock = clock;
    this.#log = log;
  }

  start(): void {
    if (this.#closed) return;
    this.#timer ??= this.#clock.after(WATCH_EVERY_MS, () => {
      this.#timer = undefined;
      void this.look().finally(() => this.start());
    });
  }

  /** One turn, without waiting for disks that are being opened again. */
  look(): Promise<void> {
    this.#probing ??= this.#look().finally(() => {
      this.#probing = undefined;
    });
    return this.#probing;
  }

  async #look(): Promise<void> {
    await this.#guarded(this.#disks.probe());
    const absent = this.#disks.absent;
    const now = this.#clock.monotonicMs();
    for (const [uuid, { notBeforeMs, delayMs }] of this.#retries)
      if (!absent.includes(uuid) && now > notBeforeMs + 2 * delayMs) this.#retries.delete(uuid);
    if (this.#closed) return;
    for (const uuid of absent) this.#tryAgain(uuid, now);
  }

  #tryAgain(uuid: string, now: number): void {
    if (this.#reopening.has(uuid)) return;
    const retry = this.#retries.get(uuid) ?? { delayMs: RETRY_FIRST_MS, notBeforeMs: now };
    if (now < retry.notBeforeMs) return;
    const trying = this.#guarded(
      this.#disks.reopen(uuid).then((isBack) => {
        // Only what comes back, to fail again, is tried more rarely.
        const delayMs = isBack ? Math.min(RETRY_MOST_MS, 2 * retry.delayMs) : retry.delayMs;
        this.#retries.set(uuid, { delayMs, notBeforeMs: this.#clock.monotonicMs() + retry.delayMs });
      }),
    ).finally(() => this.#reopening.delete(uuid));
    this.#reopening.set(uuid, trying);
  }

  async #guarded(work: Promise<unknown>): Promise<void> {
    await work.catch((error: unknown) => this.#log.error({ error }, 'looking after the disks failed'));
  }

  /** Ends what is under way, but for a disk whose device does not answer. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#probing;
  }
}
