/**
 * Opens a log: finds where it ends, cuts what a crash left half written, and hands over to AppendLog.
 *
 * Only the tail is checked: what lies behind `verifiedThrough`, else the last two segments that hold records, because no other can
 * hold unsynced writes (append-log.ts). Cutting makes sure that a half-written record never comes back: what lies behind the tail is
 * zeroed (or truncated), headers in front of damaged payloads are zeroed, and all is synced before anything is appended; that sync also makes
 * durable what a killed process had left in the page cache. A segment with unreadable sectors is never written again.
 */
import { dirname } from 'node:path';
import type { FileIo, IoFile } from '../io/file-io.js';
import { AppendLog, type LogState, type OpenSegment } from './append-log.js';
import type { LogOptions } from './log.js';
import { type LogContext, type LogPoint, logContext } from './log-context.js';
import { decodeRecordHeader, RECORD_ALIGNMENT, SEGMENT_START_BYTES } from './record-codec.js';
import { RecordReader } from './record-reader.js';
import { SegmentFiles } from './segment-files.js';
import { SegmentScan } from './segment-scan.js';

/** So many segments with records can hold unsynced writes. */
const UNSURE_SEGMENTS = 2;
const ZERO_CHUNK = Buffer.alloc(1024 * 1024);

interface CheckedSegment {
  readonly segment: number;
  readonly tail: number;
  readonly empty: boolean;
  /** Whole and readable: appends may go on in it. */
  readonly sound: boolean;
}

/**
 * Opens the log in `options.directory`, making the directory if needed; an empty one is an empty log: its first segment is made by the first append.
 * Errors are those of `io`; damage is reported, not thrown.
 */
export async function openLog(io: FileIo, options: LogOptions, given: Partial<LogContext> = {}): Promise<AppendLog> {
  const context = logContext(given);
  await io.makeDirectory(options.directory);
  // A directory that a power cut takes away would take every segment in it along, synced or not.
  await io.syncDirectory(dirname(options.directory));
  const files = new SegmentFiles(io, options, context);
  const state = await new LogOpening(options, context, files).run();
  return new AppendLog(
    options,
    context,
    files,
    new RecordReader(files, options.name, options.owner, context.crc32c),
    state,
  );
}

class LogOpening {
  readonly #options: LogOptions;
  readonly #context: LogContext;
  readonly #files: SegmentFiles;

  constructor(options: LogOptions, context: LogContext, files: SegmentFiles) {
    this.#options = options;
    this.#context = context;
    this.#files = files;
  }

  async run(): Promise<LogState> {
    const numbers = await this.#files.load();
    const checked: CheckedSegment[] = [];
    const sure = this.#context.verifiedThrough;
    let withRecords = 0;
    while (
      numbers.length > 0 &&
      (sure === undefined ? withRecords < UNSURE_SEGMENTS : (numbers.at(-1) ?? 0) >= sure.segment)
    ) {
      const segment = numbers.pop() ?? 0;
      const found = await this.#check(segment, sure?.segment === segment ? sure : undefined);
      if (found === undefined) continue;
      if (!found.empty) withRecords++;
      checked.unshift(found);
    }
    const sealed = numbers.map((segment) => ({ segment, usedBytes: this.#options.segmentBytes }));
    return this.#state(sealed, checked);
  }

  /** The last segment with records goes on; one empty segment behind it is the prepared one. */
  async #state(sealed: { segment: number; usedBytes: number }[], checked: CheckedSegment[]): Promise<LogState> {
    const last = checked.findLastIndex(({ empty }) => !empty);
    const empties = checked.slice(last + 1);
    for (const { segment, tail, empty } of checked.slice(0, Math.max(0, last))) {
      if (empty) await this.#files.retire(segment);
      else sealed.push({ segment, usedBytes: tail });
    }
    let current: OpenSegment | undefined;
    const newest = checked[last];
    if (newest?.sound) current = await this.#opened(newest);
    else if (newest !== undefined) sealed.push({ segment: newest.segment, usedBytes: newest.tail });
    const usable = empties.find(({ sound }) => sound);
    for (const empty of empties) if (empty !== usable) await this.#files.retire(empty.segment);
    return { sealed, current, prepared: usable && (await this.#opened(usable)) };
  }

  async #opened({ segment, tail }: CheckedSegment): Promise<OpenSegment> {
    return { segment, file: await this.#files.pin(segment), position: tail, aheadThrough: 0 };
  }

  /** undefined: it was being recycled, and is again. */
  async #check(segment: number, sure: LogPoint | undefined): Promise<CheckedSegment | undefined> {
    const { segmentBytes, owner, style } = this.#options;
    const { crc32c, numbers } = this.#context;
    const file = await this.#files.pin(segment);
    let recycled = false;
    try {
      recycled = await this.#hasOtherLife(file, segment);
      const size = await file.size();
      const target = { file, segment, endBytes: Math.min(size, segmentBytes), owner, crc32c, verify: true };
      const scan = new SegmentScan(target, sure?.position ?? 0);
      let records = sure === undefined || sure.position <= SEGMENT_START_BYTES ? 0 : 1;
      let started = sure !== undefined;
      for (let found = await scan.next(); found !== undefined; found = await scan.next()) {
        numbers.sawSequence(found.decoded.logSequence);
        if (found.decoded.record.kind === 'segment') started = true;
        else records++;
      }
      if (!recycled || records > 0) {
        this.#report(segment, scan, started);
        if (!scan.unreadable) {
          for (const position of scan.hollow) await file.write([ZERO_CHUNK.subarray(0, RECORD_ALIGNMENT)], position);
          if (scan.torn) await this.#cut(file, scan.tail);
          await this.#writeAgain(file, segment, scan.tail);
        }
        await file.datasync();
        // The padding of the last record need not be in the file.
        const expected = style === 'zeroed' ? segmentBytes : (sure?.position ?? 0) - RECORD_ALIGNMENT + 1;
        const whole = size >= expected;
        if (!whole)
          this.#context.report(`${this.#options.name} segment ${segment}: the file was truncated to ${size} bytes`);
        const sound = started && whole && !scan.unreadable;
        return { segment, tail: Math.max(scan.tail, SEGMENT_START_BYTES), empty: records === 0 && sound, sound };
      }
    } finally {
      this.#files.unpin(segment);
    }
    await this.#files.retire(segment);
    return undefined;
  }

  /** The file had been given to a newer number when the machine stopped; only its new name is missing. */
  async #hasOtherLife(file: IoFile, segment: number): Promise<boolean> {
    const bytes = Buffer.alloc(SEGMENT_START_BYTES);
    try {
      await file.read(bytes, 0);
    } catch {
      return false; // The scan meets the same error and deals with it.
    }
    const start = decodeRecordHeader(bytes, 0, this.#context.crc32c);
    return start?.record.kind === 'segment' && start.owner === this.#options.owner && start.generation > segment;
  }

  #report(segment: number, scan: SegmentScan, started: boolean): void {
    const what = `${this.#options.name} segment ${segment}`;
    if (!started) this.#context.report(`${what}: its first record is damaged`);
    for (const { from, to } of scan.gaps) this.#context.report(`${what}: skipped damaged bytes ${from} to ${to}`);
    if (scan.unreadable) this.#context.report(`${what}: some sectors could not be read; it is left as it is`);
    else if (scan.torn) this.#context.report(`${what}: cut a half-written record at ${scan.tail}`);
  }

  /** The same bytes: pages that a failed sync left clean become dirty, and the next sync tells the truth about them. */
  async #writeAgain(file: IoFile, segment: number, tail: number): Promise<void> {
    const from = this.#context.unsureFrom;
    if (from === undefined || segment < from.segment) return;
    const bytes = Buffer.alloc(ZERO_CHUNK.length);
    for (let at = segment === from.segment ? from.position : 0; at < tail; at += bytes.length) {
      const part = bytes.subarray(0, Math.min(bytes.length, tail - at));
      const length = await file.read(part, at);
      await file.write([part.subarray(0, length)], at);
    }
  }

  async #cut(file: IoFile, tail: number): Promise<void> {
    const { segmentBytes, style } = this.#options;
    if (style === 'allocated') {
      await file.truncate(tail);
      await file.allocate(0, segmentBytes);
    } else {
      for (let at = tail; at < segmentBytes; at += ZERO_CHUNK.length)
        await file.write([ZERO_CHUNK.subarray(0, segmentBytes - at)], at);
    }
  }
}
