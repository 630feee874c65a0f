/**
 * The cache device's own log of staged changes: what makes the *local* promise true. Operations are encoded into a buffer as they
 * happen (`note`), reach the page cache with `flush` (then they survive kill -9) and the device with `sync` (then they survive power
 * loss). One flush is one record, and a record is valid as a whole or not at all: changes noted between two flushes belong together.
 *
 * Stage sequences grow by one with every operation and never restart, not even with a new cache: commits say up to which one
 * they include, and recovery replays what lies beyond.
 */

import type { Log } from '../disks/log.js';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import { ByteWriter } from '../io/byte-buffer.js';
import type { Clock, Timer } from '../io/clock.js';
import { encodeStageOp, type StageOp } from './stage-op.js';

/** A record is written at the latest when so much has been noted. */
const FLUSH_BYTES = 512 * 1024;
/** What has been noted reaches the page cache after so long at the latest. */
export const FLUSH_DELAY_MS = 10;

export class StageLog {
  /** Asked to note what its owner has collected (merged writes, inode images) before every flush. */
  onDrain: (() => void) | undefined;
  /** Told once, when the log takes no more. */
  onFailure: ((failure: CairnError) => void) | undefined;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #noted = new ByteWriter(64 * 1024);
  #sequence: number;
  /** The sequence of the first operation in `#noted`. */
  #first: number;
  #timer: Timer | undefined;
  #failure: CairnError | undefined;
  /** Last sequence in each segment, oldest first: what `trim` needs. */
  readonly #lastIn = new Map<number, number>();
  /** The log's next segment is being made. */
  #rolling: Promise<void> | undefined;
  #syncing: Promise<void> | undefined;
  #nextSync: Promise<void> | undefined;

  /** `lastSequence`: the highest stage sequence that the log or any commit knows. `lastIn`: per segment found in the log, the last sequence in it. */
  constructor(log: Log, clock: Clock, lastSequence: number, lastIn: ReadonlyMap<number, number>) {
    this.#log = log;
    this.#clock = clock;
    this.#sequence = lastSequence;
    this.#first = lastSequence + 1;
    for (const [segment, last] of lastIn) this.#lastIn.set(segment, last);
  }

  /** The last sequence given out. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Why the log takes no more, if it does not: then only a commit can make anything durable. */
  get failure(): CairnError | undefined {
    return this.#failure;
  }

  /** Adds an operation and gives its sequence. `op` is encoded at once; its bytes may change afterwards. */
  note(op: StageOp): number {
    encodeStageOp(op, this.#noted);
    this.#sequence += 1;
    this.wake();
    return this.#sequence;
  }

  /** Something will be noted when `onDrain` is called: flush soon. */
  wake(): void {
    this.#timer ??= this.#clock.after(FLUSH_DELAY_MS, () => {
      this.#timer = undefined;
      this.flush();
    });
  }

  /** Gives everything collected a sequence, without writing. */
  drain(): void {
    this.onDrain?.();
  }

  /** True if so much has been noted that the caller should flush at the end of its operation. */
  get full(): boolean {
    return this.#noted.length >= FLUSH_BYTES;
  }

  /**
   * Writes what has been noted into the page cache; a promise where that must wait for the log's next segment, which takes what is noted
   * meanwhile as well. Never throws, nor rejects: a failure is kept for `sync`.
   */
  flush(): Promise<void> | undefined {
    if (this.#rolling !== undefined) return this.#rolling;
    this.drain();
    if (this.#noted.length === 0) return undefined;
    if (this.#failure === undefined) {
      try {
        const record = { kind: 'stage', sequence: this.#first, payload: [this.#noted.view()] } as const;
        for (const location of this.#log.appendNow([record])) this.#lastIn.set(location.segment, this.#sequence);
      } catch (error) {
        if (hasCode(error, 'NO_SPACE')) return this.#roll();
        this.#fail(error);
      }
    }
    this.#noted.reset();
    this.#first = this.#sequence + 1;
    return undefined;
  }

  #roll(): Promise<void> {
    this.#rolling = this.#log
      .roll()
      .catch((error: unknown) => {
        this.#fail(error);
      })
      .then(() => {
        this.#rolling = undefined;
        return this.flush();
      });
    return this.#rolling;
  }

  /** Everything noted so far survives power loss when this resolves. Calls that arrive together share one flush. CairnError if the cache device failed. */
  sync(): Promise<void> {
    const flushing = this.flush();
    if (flushing !== undefined) return flushing.then(() => this.sync());
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#syncing === undefined) return this.#startSync();
    this.#nextSync ??= this.#syncing.then(
      () => this.#startSync(),
      () => this.#startSync(),
    );
    return this.#nextSync;
  }

  #startSync(): Promise<void> {
    this.#nextSync = undefined;
    const sync = this.#log.sync().then(
      () => {
        this.#syncing = undefined;
      },
      (error: unknown) => {
        this.#syncing = undefined;
        throw this.#fail(error);
      },
    );
    this.#syncing = sync;
    return sync;
  }

  #fail(error: unknown): CairnError {
    if (this.#failure === undefined) {
      this.#failure = new CairnError('DISK_FAILED', 'the cache device no longer takes staged changes', {
        hint: 'what is staged goes straight to the pool from now on; check the cache device and restart',
        cause: error,
      });
      this.onFailure?.(this.#failure);
    }
    return this.#failure;
  }

  /** Everything up to this sequence is in a durable commit: whole segments of it are given back. */
  async trim(through: number): Promise<void> {
    const current = this.#log.segments().at(-1)?.segment;
    for (const { segment } of [...this.#log.segments()]) {
      const last = this.#lastIn.get(segment) ?? 0;
      if (segment === current || last > through) break;
      this.#lastIn.delete(segment);
      await this.#log.release(segment);
    }
  }

  async close(): Promise<void> {
    await this.flush();
    this.#timer?.cancel();
    await this.#syncing?.catch(() => undefined);
    await this.#log.close();
  }
}
