/**
 * The append-only log in segment files, once it is open (promises: log.ts; opening: segment-log.ts; bytes: record-codec.ts; files: segment-files.ts).
 *
 * Invariants:
 * - Positions are given out when `append` is called, so the order of calls is the order in the log; writes themselves run in parallel.
 * - A record is acknowledged as durable only when every record below it is (durability.ts).
 * - At most the current and the one segment before it hold unsynced records: a segment is left for the next one only when the one before is durable.
 *
 * The usual synced append is one job in the thread pool (pwritev + fdatasync) and one promise. Records wait in a queue only
 * while the next segment is being made.
 */
import { assert, CairnError, hasCode } from '../errors/cairn-error.js';
import type { IoFile } from '../io/file-io.js';
import { Durability } from './durability.js';
import type { Log, LogOptions, ScannedRecord } from './log.js';
import type { LogContext, LoggedRecord, LogPoint } from './log-context.js';
import { scanLog } from './log-scan.js';
import type { RecordInput, RecordLocation } from './record.js';
import { encodeBatch } from './record-batch.js';
import { nameLength, payloadLength, recordBytes, SEGMENT_START_BYTES } from './record-codec.js';
import type { RecordReader } from './record-reader.js';
import type { SegmentFiles } from './segment-files.js';
import type { OrderedWrite } from './write-order.js';

/** The next segment is made when this share of the current one is full. */
const PREPARE_AT = 0.25;
/**
 * A zeroed segment's pages are read into memory so far in front of the log's end, half of it at a time. Its blocks have been written, so a record that ends within a page that is not cached
 * is first a read of that page: one for every few kilobytes of log, on the thread that appends. Pages that are cached cost nothing.
 */
const AHEAD_BYTES = 1024 * 1024;

/** A segment that takes appends; its file is pinned. */
export interface OpenSegment {
  readonly segment: number;
  readonly file: IoFile;
  position: number;
  /** Pages have been asked for up to here. */
  aheadThrough: number;
}

/** Room given out for a record that somebody else writes. Ends with exactly one `settle`. */
export interface ReservedRoom extends LoggedRecord {
  readonly file: IoFile;
  settle(failure: unknown): void;
}

interface Job {
  /** Infinity: go to a new segment. */
  readonly bytes: number;
  run(): void;
  reject(error: unknown): void;
}

export interface LogState {
  readonly sealed: { segment: number; usedBytes: number }[];
  readonly current: OpenSegment | undefined;
  readonly prepared: OpenSegment | undefined;
}

export class AppendLog implements Log {
  readonly options: LogOptions;
  readonly reader: RecordReader;
  readonly #files: SegmentFiles;
  readonly #context: LogContext;
  readonly #durability: Durability;
  readonly #sealed: { segment: number; usedBytes: number }[];
  readonly #jobs: Job[] = [];
  readonly #numbers: Set<number>;
  #current: OpenSegment | undefined;
  #prepared: OpenSegment | undefined;
  #preparing: Promise<void> | undefined;
  #sealing: Promise<void> | undefined;
  #pumping: Promise<void> | undefined;
  #closed = false;

  constructor(options: LogOptions, context: LogContext, files: SegmentFiles, reader: RecordReader, state: LogState) {
    this.options = options;
    this.reader = reader;
    this.#context = context;
    this.#files = files;
    this.#sealed = state.sealed;
    this.#current = state.current;
    this.#prepared = state.prepared;
    this.#numbers = new Set(this.segments().map(({ segment }) => segment));
    this.#durability = new Durability(`the ${options.name} log in ${options.directory}`, context, () => this.#end());
    if (state.current !== undefined) this.#readAhead(state.current);
  }

  /** Whether the segment is one of this log's. */
  has(segment: number): boolean {
    return this.#numbers.has(segment);
  }

  get unsynced(): boolean {
    return this.#durability.unsynced;
  }

  /** Everything before this point is durable and was completely written. */
  get syncedThrough(): LogPoint {
    return this.#durability.syncedThrough;
  }

  /** Segment files of any state. */
  get fileCount(): number {
    return this.#files.count;
  }

  /** Bytes that the current and the prepared segment still take. */
  get room(): number {
    const left = (open: OpenSegment | undefined): number =>
      open === undefined ? 0 : this.options.segmentBytes - open.position;
    return left(this.#current) + left(this.#prepared);
  }

  append(records: readonly RecordInput[], { sync }: { sync: boolean }): Promise<LoggedRecord[]> {
    try {
      this.#check();
      if (records.length === 0) return sync ? this.sync().then(() => []) : Promise.resolve([]);
      const sizes = records.map((record) => this.#sizeOf(record));
      const bytes = sizes.reduce((sum, size) => sum + size, 0);
      if (bytes > this.options.segmentBytes - SEGMENT_START_BYTES) return this.#appendSplit(records, sizes, sync);
      if (this.#jobs.length === 0 && this.#fits(bytes)) return this.#write(records, sizes, bytes, sync);
      return this.#enqueue(bytes, () => this.#write(records, sizes, bytes, sync));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  appendNow(records: readonly RecordInput[]): LoggedRecord[] {
    this.#check();
    const sizes = records.map((record) => this.#sizeOf(record));
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    if (bytes > this.options.segmentBytes - SEGMENT_START_BYTES) {
      throw new CairnError('INVALID', `${bytes} bytes at once do not fit a ${this.options.name} segment`);
    }
    if (this.#jobs.length > 0 || !this.#fits(bytes)) {
      this.#prepareAhead();
      throw new CairnError('NO_SPACE', `the next ${this.options.name} segment is not ready`);
    }
    const { current, position, parts, places } = this.#place(records, sizes, bytes);
    const write = this.#durability.begin(current);
    try {
      current.file.writeNow(parts, position);
    } catch (error) {
      this.#durability.failed(write, error);
    }
    return this.#written(write, records, places);
  }

  /** Gives out room for one record of a payload, at the log's end. NO_SPACE, INVALID, DISK_FAILED. */
  reserve(payloadBytes: number): Promise<ReservedRoom> {
    try {
      this.#check();
      const bytes = recordBytes(payloadBytes);
      this.#checkSize(bytes);
      if (this.#jobs.length === 0 && this.#fits(bytes)) return Promise.resolve(this.#reserveNow(bytes));
      return this.#enqueue(bytes, () => Promise.resolve(this.#reserveNow(bytes)));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  sync(): Promise<void> {
    return this.#durability.sync();
  }

  async *scan(from?: RecordLocation): AsyncGenerator<ScannedRecord, void> {
    const segments = this.segments().map(({ segment, usedBytes }) => ({ segment, usedBytes }));
    await this.#durability.ended();
    yield* scanLog(segments, from, this.#files, this.reader, this.options, this.#context);
  }

  segments(): readonly { readonly segment: number; readonly usedBytes: number }[] {
    if (this.#current === undefined) return this.#sealed;
    return [...this.#sealed, { segment: this.#current.segment, usedBytes: this.#current.position }];
  }

  /** Bytes of the segment's file. Not for the one being written. */
  async fileBytes(segment: number): Promise<number> {
    const file = await this.#files.pin(segment);
    try {
      return await file.size();
    } finally {
      this.#files.unpin(segment);
    }
  }

  async release(segment: number): Promise<void> {
    const at = this.#sealed.findIndex((sealed) => sealed.segment === segment);
    assert(at >= 0, `segment ${segment} is sealed`);
    // Its last sync may still be under way.
    await this.#sealing?.catch(() => {});
    this.#sealed.splice(at, 1);
    this.#numbers.delete(segment);
    try {
      await this.#files.retire(segment);
    } catch (error) {
      // It may come back at the next opening. Until then nothing may be written that counts on its being gone: a tombstone that is dropped, say.
      throw this.#durability.fail(error);
    }
  }

  roll(): Promise<void> {
    if (this.#durability.hasFailed) return Promise.reject(this.#durability.refusal());
    return this.#enqueue(Number.POSITIVE_INFINITY, () => Promise.resolve());
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#pumping;
    await this.#preparing?.catch(() => {});
    await this.#durability.ended();
    try {
      await this.sync();
    } catch (error) {
      if (!this.#durability.hasFailed) throw error;
    } finally {
      await this.#sealing?.catch(() => {});
      if (this.#current !== undefined) this.#files.unpin(this.#current.segment);
      if (this.#prepared !== undefined) this.#files.unpin(this.#prepared.segment);
      await this.#files.close();
    }
  }

  #check(): void {
    if (this.#closed)
      throw new CairnError('CLOSED', `the ${this.options.name} log in ${this.options.directory} is closed`);
    this.#durability.check();
  }

  #sizeOf(record: RecordInput): number {
    const bytes = recordBytes(payloadLength(record), nameLength(record));
    this.#checkSize(bytes);
    return bytes;
  }

  #checkSize(bytes: number): void {
    const most = this.options.segmentBytes - SEGMENT_START_BYTES;
    if (bytes > most) {
      throw new CairnError(
        'INVALID',
        `a record of ${bytes} bytes does not fit a ${this.options.name} segment (${most} bytes)`,
      );
    }
  }

  /** More than a segment takes: as many writes as needed, then one sync. */
  async #appendSplit(
    records: readonly RecordInput[],
    sizes: readonly number[],
    sync: boolean,
  ): Promise<LoggedRecord[]> {
    const writes: Promise<LoggedRecord[]>[] = [];
    for (let from = 0; from < records.length; ) {
      let to = from;
      let bytes = 0;
      while (to < records.length && bytes + (sizes[to] ?? 0) <= this.options.segmentBytes - SEGMENT_START_BYTES)
        bytes += sizes[to++] ?? 0;
      writes.push(this.append(records.slice(from, to), { sync: false }));
      from = to;
    }
    const places = (await Promise.all(writes)).flat();
    if (sync) await this.sync();
    return places;
  }

  /** True if the current segment has room, going on to the prepared one if that is possible at once. */
  #fits(bytes: number): boolean {
    const current = this.#current;
    if (current !== undefined && current.position + bytes <= this.options.segmentBytes) return true;
    if (bytes === Number.POSITIVE_INFINITY && current?.position === SEGMENT_START_BYTES) return true;
    if (this.#prepared === undefined || this.#sealing !== undefined) return false;
    this.#current = this.#prepared;
    this.#numbers.add(this.#prepared.segment);
    this.#readAhead(this.#prepared);
    this.#prepared = undefined;
    if (current !== undefined) this.#seal(current);
    return true;
  }

  #seal(old: OpenSegment): void {
    this.#sealed.push({ segment: old.segment, usedBytes: old.position });
    this.#context.onSealed(old.segment);
    const ended = this.#durability.ended();
    this.#sealing = (async () => {
      try {
        await this.sync();
      } catch {
        // Sticky: the next append says so.
      }
      await ended;
      this.#files.unpin(old.segment);
      this.#sealing = undefined;
    })();
  }

  #enqueue<T>(bytes: number, run: () => Promise<T>): Promise<T> {
    const result = new Promise<T>((resolve, reject) => {
      this.#jobs.push({ bytes, run: () => run().then(resolve, reject), reject });
    });
    this.#pumping ??= this.#pump().finally(() => {
      this.#pumping = undefined;
    });
    return result;
  }

  async #pump(): Promise<void> {
    for (let job = this.#jobs[0]; job !== undefined; job = this.#jobs[0]) {
      try {
        while (true) {
          this.#durability.check();
          if (this.#fits(job.bytes)) break;
          if (this.#sealing !== undefined) await this.#sealing;
          else await this.#prepare();
        }
        this.#jobs.shift();
        job.run();
      } catch (error) {
        if (this.#jobs[0] === job) this.#jobs.shift();
        job.reject(error);
      }
    }
  }

  #prepareAhead(): void {
    // Whoever needs the segment and finds none asks again and gets the error.
    if (this.#prepared === undefined) this.#prepare().catch(() => {});
  }

  #prepare(): Promise<void> {
    this.#preparing ??= this.#makeNext().finally(() => {
      this.#preparing = undefined;
    });
    return this.#preparing;
  }

  async #makeNext(): Promise<void> {
    const segment = this.#context.numbers.nextSegment();
    try {
      await this.#files.create(segment);
      const file = await this.#files.pin(segment);
      this.#prepared = { segment, file, position: SEGMENT_START_BYTES, aheadThrough: 0 };
    } catch (error) {
      throw hasCode(error, 'NO_SPACE') ? error : this.#durability.fail(error);
    }
  }

  /** Encodes the records at the log's end and moves it on. */
  #place(records: readonly RecordInput[], sizes: readonly number[], bytes: number) {
    const current = this.#current;
    assert(current !== undefined, 'a segment is open');
    const position = current.position;
    const { parts, places } = encodeBatch(records, sizes, current, this.options.owner, this.#context);
    this.#moveOn(current, bytes);
    return { current, position, parts, places };
  }

  #moveOn(current: OpenSegment, bytes: number): void {
    current.position += bytes;
    this.#readAhead(current);
    if (current.position > PREPARE_AT * this.options.segmentBytes) this.#prepareAhead();
  }

  #readAhead(open: OpenSegment): void {
    const { segmentBytes, style } = this.options;
    const { position, aheadThrough, file } = open;
    if (style !== 'zeroed' || aheadThrough >= Math.min(position + AHEAD_BYTES / 2, segmentBytes)) return;
    const from = Math.max(position, aheadThrough);
    open.aheadThrough = Math.min(position + AHEAD_BYTES, segmentBytes);
    // A device that cannot read them tells whoever writes there.
    file.readAhead?.(from, open.aheadThrough - from).catch(() => {});
  }

  #write(
    records: readonly RecordInput[],
    sizes: readonly number[],
    bytes: number,
    sync: boolean,
  ): Promise<LoggedRecord[]> {
    const { current, position, parts, places } = this.#place(records, sizes, bytes);
    const alone = sync && this.#durability.canSyncAlone(current);
    const write = this.#durability.begin(current);
    if (alone) {
      const end = { segment: current.segment, position: current.position };
      return this.#durability.alone(
        current.file.writeAndDatasync(parts, position).then(
          () => {
            this.#written(write, records, places);
            this.#durability.synced(write.ticket, end);
            return places;
          },
          (error: unknown) => this.#durability.failed(write, error),
        ),
      );
    }
    const written = current.file.write(parts, position).then(
      () => this.#written(write, records, places),
      (error: unknown) => this.#durability.failed(write, error),
    );
    return sync ? written.then(() => this.sync()).then(() => places) : written;
  }

  #written(write: OrderedWrite, records: readonly RecordInput[], places: LoggedRecord[]): LoggedRecord[] {
    try {
      this.#context.onAppended(records, places);
    } catch (error) {
      this.#durability.failed(write, error);
    }
    this.#durability.finish(write);
    return places;
  }

  #reserveNow(bytes: number): ReservedRoom {
    const current = this.#current;
    assert(current !== undefined, 'a segment is open');
    const position = current.position;
    this.#moveOn(current, bytes);
    const write = this.#durability.begin(current);
    return {
      segment: current.segment,
      position,
      recordBytes: bytes,
      file: current.file,
      logSequence: this.#context.numbers.nextSequence(),
      settle: (failure) => {
        if (failure !== undefined) this.#durability.fail(failure);
        this.#durability.finish(write);
      },
    };
  }

  #end(): LogPoint {
    if (this.#current !== undefined) return { segment: this.#current.segment, position: this.#current.position };
    const last = this.#sealed.at(-1);
    return last === undefined ? { segment: 0, position: 0 } : { segment: last.segment, position: last.usedBytes };
  }
}
