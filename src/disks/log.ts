/**
 * An append-only log in numbered segment files: `Disk` keeps two (streams `data` and `journal`), the cache keeps one of
 * STAGE records. See segment-log.ts for the implementation and docs/format.md for the bytes.
 */
import type { RecordInput, RecordKind, RecordLocation } from './record.js';

export interface LogOptions {
  readonly directory: string;
  /** File name prefix of the segments: `data`, `journal`, `stage`. */
  readonly name: string;
  readonly segmentBytes: number;
  /** `zeroed`: filled with zeros once and recycled (one flush per fdatasync). `allocated`: fallocated and deleted when free. */
  readonly style: 'zeroed' | 'allocated';
  /** 8 random bytes of the owner (hex), in every header: records of another log never pass for ours. */
  readonly owner: string;
}

/** A record met by a scan. `payload()` reads and verifies the payload. */
export interface ScannedRecord extends RecordLocation {
  readonly kind: RecordKind;
  /** Grows with every record, over all logs of a disk. */
  readonly logSequence: number;
  /** What the header says, without the payload. */
  readonly header: RecordInput;
  payload(): Promise<Buffer>;
}

export interface Log {
  /** Appends as one write (or two, at a segment's end); `sync` ends the same job with one fdatasync. Order of calls is order in the log. */
  append(records: readonly RecordInput[], options: { sync: boolean }): Promise<RecordLocation[]>;
  /**
   * As `append` without sync, done on the calling thread when it returns: survives kill -9, not power loss. Throws DISK_FAILED, and NO_SPACE also
   * where the segment is full and the next one is still being made: `append` waits for that, this cannot.
   */
  appendNow(records: readonly RecordInput[]): RecordLocation[];
  sync(): Promise<void>;
  readonly unsynced: boolean;
  /** Records from the oldest segment on, ascending by segment and position; a torn tail has been cut when the log was opened. */
  scan(from?: RecordLocation): AsyncIterable<ScannedRecord>;
  /** Segments that hold records, oldest first; the last is being written. */
  segments(): readonly { readonly segment: number; readonly usedBytes: number }[];
  /** Forgets the segment (never the one being written): recycled or deleted. */
  release(segment: number): Promise<void>;
  /** Starts a new segment, so that the current one can be released. */
  roll(): Promise<void>;
  close(): Promise<void>;
}
