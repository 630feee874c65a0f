/**
 * The cache device's own log of staged changes: what makes the *local* promise true. Operations are encoded into a buffer as they
 * happen (`note`), reach the page cache with `flush` (then they survive kill -9) and the device with `sync` (then they survive power
 * loss). One flush is one record, and a record is valid as a whole or not at all: changes noted within one synchronous step belong
 * together, so nothing is flushed in the middle of one.
 *
 * Stage sequences grow by one with every operation and never restart, not even with a new cache: commits say up to which one
 * they include, and recovery replays what lies beyond.
 */

import type { Log } from '../disks/log.js';
import type { RecordInput, RecordLocation } from '../disks/record.js';
import { CairnError, hasCode, messageOf } from '../errors/cairn-error.js';
import { ByteWriter } from '../io/byte-writer.js';
import type { Clock, Timer } from '../io/clock.js';
import { beginStageRecord, encodeStageOp, type StageOp } from './stage-op.js';

/** A record is written at the latest when so much has been noted. */
const FLUSH_BYTES = 512 * 1024;
/** What has been noted reaches the page cache after so long at the latest. */
export const FLUSH_DELAY_MS = 10;

export interface StageLogStart {
  /** The machine's boot: what is noted from now on was written during it. */
  readonly bootId: string;
  /** The highest stage sequence that the log or any commit knows. */
  readonly lastSequence: number;
  /** Where a power cut broke the log off, if it did: what it holds beyond does not count, and never will. */
  readonly cutAfter?: number | undefined;
  /** Per segment found in the log, the last sequence in it. */
  readonly lastIn: ReadonlyMap<number, number>;
}

export class StageLog {
  /**
   * Asked to note what its owner has collected before every flush: first images of inodes, which belong to names already
   * noted, then merged writes, between which the record may end.
   */
  onDrain: (() => void) | undefined;
  /** Told once, when the cache device is not trusted any more. */
  onFailure: ((failure: CairnError) => void) | undefined;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #bootId: string;
  readonly #noted = new ByteWriter(64 * 1024);
  #sequence: number;
  /** The sequence of the first operation in `#noted`. */
  #first: number;
  /** Operations up to here are on the device. */
  #durableThrough: number;
  #draining = false;
  #flushing = false;
  #timer: Timer | undefined;
  #failure: CairnError | undefined;
  /** The log itself takes no more records. */
  #broken = false;
  /** Last sequence in each segment: what `trim` needs. */
  readonly #lastIn: Map<number, number>;
  /** Until the records that wait for the log's next segment are written, and how many they are. */
  #waiting: Promise<void> | undefined;
  #waitingCount = 0;
  #trimming: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(log: Log, clock: Clock, { bootId, lastSequence, lastIn, cutAfter }: StageLogStart) {
    this.#log = log;
    this.#clock = clock;
    this.#bootId = bootId;
    this.#sequence = lastSequence;
    this.#first = lastSequence + 1;
    this.#lastIn = new Map(lastIn);
    // Opening the log has synced what it found.
    this.#durableThrough = cutAfter ?? lastSequence;
    if (cutAfter !== undefined) this.note({ kind: 'cut', after: cutAfter });
  }

  /** The last sequence given out. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Why the cache device is not trusted any more, if so: then only a commit can make anything durable. */
  get failure(): CairnError | undefined {
    return this.#failure;
  }

  /** Adds an operation and gives its sequence. `op` is encoded at once; its bytes may change afterwards. */
  note(op: StageOp): number {
    const before = this.#noted.length;
    try {
      if (before === 0) beginStageRecord(this.#bootId, this.#durableThrough, this.#noted);
      encodeStageOp(op, this.#noted);
    } catch (error) {
      this.#noted.reset(before);
      throw error;
    }
    this.#sequence += 1;
    if (this.#noted.length < FLUSH_BYTES) this.wake();
    else if (!this.#draining) this.#flushSoon();
    else if (op.kind === 'write') this.#write();
    return this.#sequence;
  }

  /** Something will be noted when `onDrain` is called: flush soon. */
  wake(): void {
    if (this.#closed) return;
    this.#timer ??= this.#clock.after(FLUSH_DELAY_MS, () => {
      this.#timer = undefined;
      this.flush();
    });
  }

  /** After the synchronous step that is under way. */
  #flushSoon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      this.flush();
    });
  }

  /** Gives everything collected a sequence. */
  drain(): void {
    this.#draining = true;
    try {
      this.onDrain?.();
    } finally {
      this.#draining = false;
    }
  }

  /** Records wait for the log's next segment to be made: whoever stages much should wait for it too. Never rejects. */
  get waiting(): Promise<void> | undefined {
    return this.#waiting;
  }

  /** Writes what has been noted into the page cache; a promise where that must wait for the log's next segment. Never throws, nor rejects: a failure is kept for `sync`. */
  flush(): Promise<void> | undefined {
    this.drain();
    this.#write();
    return this.#waiting;
  }

  #write(): void {
    if (this.#noted.length === 0) return;
    const sequence = this.#first;
    const last = this.#sequence;
    this.#first = last + 1;
    if (!this.#broken && !this.#writeNow(sequence, last)) this.#writeLater(sequence, last);
    this.#noted.reset();
  }

  /** False if the log's next segment is not ready. */
  #writeNow(sequence: number, last: number): boolean {
    if (this.#waiting !== undefined) return false;
    try {
      this.#written(this.#log.appendNow([{ kind: 'stage', sequence, payload: [this.#noted.view()] }]), last);
    } catch (error) {
      if (hasCode(error, 'NO_SPACE')) return false;
      this.#fail(error);
    }
    return true;
  }

  /** Behind what waits already, so that the order in the log stays that of the sequences. */
  #writeLater(sequence: number, last: number): void {
    const record: RecordInput = { kind: 'stage', sequence, payload: [Buffer.from(this.#noted.view())] };
    const append = this.#log.append([record], { sync: false }).then(
      (locations) => this.#written(locations, last),
      (error: unknown) => {
        this.#fail(error);
      },
    );
    this.#waitingCount += 1;
    this.#waiting = Promise.all([this.#waiting, append]).then(() => {
      this.#waitingCount -= 1;
      if (this.#waitingCount === 0) this.#waiting = undefined;
    });
  }

  #written(locations: readonly RecordLocation[], last: number): void {
    for (const { segment } of locations) this.#lastIn.set(segment, Math.max(last, this.#lastIn.get(segment) ?? 0));
  }

  /** How many segments the log has records in. */
  get segmentCount(): number {
    return this.#lastIn.size;
  }

  /** Everything noted so far survives power loss when this resolves. Calls that arrive together share one flush. DISK_FAILED if the cache device failed. */
  async sync(): Promise<void> {
    const waiting = this.flush();
    const through = this.#sequence;
    if (waiting !== undefined) await waiting;
    if (this.#failure !== undefined) throw this.#failure;
    try {
      await this.#log.sync();
    } catch (error) {
      throw this.#fail(error);
    }
    this.#durableThrough = Math.max(through, this.#durableThrough);
  }

  /**
   * All that was noted has been committed: says so in the log, durably, so that nothing of it counts wherever and whenever the cache is found again. DISK_FAILED if the cache
   * device failed.
   */
  async forget(): Promise<void> {
    await this.flush();
    if (this.#lastIn.size === 0) return;
    // The first of its record.
    this.note({ kind: 'cut', after: 0 });
    await this.sync();
  }

  #fail(error: unknown): CairnError {
    this.#broken = true;
    return this.distrust(error);
  }

  /**
   * The device of the log failed: nothing that is on it is promised from now on, so `sync` rejects. What is noted is still written as long as the
   * log takes it: it survives a kill.
   */
  distrust(cause: unknown): CairnError {
    if (this.#failure === undefined) {
      const why = messageOf(cause);
      this.#failure = new CairnError('DISK_FAILED', `the cache device is not trusted any more: ${why}`, {
        hint: 'what is staged goes straight to the pool from now on; check the cache device, then unmount and mount again',
        cause,
      });
      this.onFailure?.(this.#failure);
    }
    return this.#failure;
  }

  /** Everything up to this sequence is in a durable commit: whole segments of it are given back. One at a time; never rejects. */
  trim(through: number): Promise<void> {
    this.#trimming = this.#trimming.then(() =>
      this.#trim(through).catch((error: unknown) => {
        this.#fail(error);
      }),
    );
    return this.#trimming;
  }

  async #trim(through: number): Promise<void> {
    const segments = this.#log.segments().map(({ segment }) => segment);
    for (const segment of segments.slice(0, -1)) {
      // Of a record that is still being written it is not known yet which segment it is in.
      if (this.#closed || this.#waiting !== undefined || (this.#lastIn.get(segment) ?? 0) > through) return;
      this.#lastIn.delete(segment);
      await this.#log.release(segment);
    }
  }

  async close(): Promise<void> {
    this.flush();
    this.#closed = true;
    this.#timer?.cancel();
    await this.#waiting;
    await this.#trimming;
    await this.#log.close();
  }
}
