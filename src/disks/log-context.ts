/** What a log is given by its owner: checksum, numbers shared between the logs of one disk, and whom to ask and tell. */
import { loadAddon } from '../../native/addon.js';
import type { RecordInput, RecordLocation } from './record.js';
import type { Crc32c } from './record-codec.js';

export interface LoggedRecord extends RecordLocation {
  readonly logSequence: number;
}

/** A point in a log between two records: everything before it is known durable and whole. */
export interface LogPoint {
  readonly segment: number;
  readonly position: number;
}

/**
 * Counters that only grow, shared by both logs of a disk: a segment number names one life of one file, a log sequence
 * orders records over both streams.
 */
export class LogNumbers {
  #segment = 0;
  #sequence = 0;

  nextSegment(): number {
    return ++this.#segment;
  }

  nextSequence(): number {
    return ++this.#sequence;
  }

  sawSegment(segment: number): void {
    if (segment > this.#segment) this.#segment = segment;
  }

  sawSequence(sequence: number): void {
    if (sequence > this.#sequence) this.#sequence = sequence;
  }

  get lastSegment(): number {
    return this.#segment;
  }

  get lastSequence(): number {
    return this.#sequence;
  }
}

export interface LogContext {
  readonly crc32c: Crc32c;
  readonly numbers: LogNumbers;
  /** Before it, opening checks nothing. Without it the last two segments that hold records are checked. */
  readonly verifiedThrough: LogPoint | undefined;
  /**
   * What lies behind it in the page cache may not be on the device: a sync of it failed, after which the kernel takes such pages for clean. It is
   * written again, so that the sync at the end of opening speaks of it. Undefined: no sync has failed since the files were first opened.
   */
  readonly unsureFrom: LogPoint | undefined;
  /** Whether another segment file of this size may be made. */
  mayGrow(bytes: number): boolean;
  /** One line per thing found and mended. */
  report(line: string): void;
  /** The records are written (not yet synced). Called in whatever order writes end, and always before a sync covers them. */
  onAppended(records: readonly RecordInput[], places: readonly LoggedRecord[]): void;
  /** A write or sync failed: the log takes nothing more. Called once. */
  onFailure(cause: unknown): void;
  /** Appends went on to a new segment. */
  onSealed(segment: number): void;
  /** `syncedThrough` moved on. */
  onSynced(): void;
}

/** A context for a log that stands alone. */
export function logContext(given: Partial<LogContext>): LogContext {
  return {
    crc32c: given.crc32c ?? loadAddon().crc32c,
    numbers: given.numbers ?? new LogNumbers(),
    verifiedThrough: given.verifiedThrough,
    unsureFrom: given.unsureFrom,
    mayGrow: given.mayGrow ?? (() => true),
    report: given.report ?? (() => {}),
    onAppended: given.onAppended ?? (() => {}),
    onFailure: given.onFailure ?? (() => {}),
    onSealed: given.onSealed ?? (() => {}),
    onSynced: given.onSynced ?? (() => {}),
  };
}
