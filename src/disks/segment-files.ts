/**
 * The files of one log: `<name>-<number>.log` is a segment, `.spare` a written file waiting to be recycled, `.new` one being made.
 *
 * Invariants: a `.log` name appears (rename, directory synced) only after the file's own first record is durable, so a half-made file is
 * never taken for a segment. A number is never given twice; recycling renames the file to a new number, and records carry the
 * number as their generation, so what an earlier life left behind never passes for new. A file is closed only when nobody has it
 * pinned: a read on a closed descriptor could hit another file.
 */
import { join } from 'node:path';
import { assert, CairnError, hasCode, messageOf } from '../errors/cairn-error.js';
import type { FileIo, IoFile } from '../io/file-io.js';
import { openFileLimit } from '../io/open-file-limit.js';
import type { LogOptions } from './log.js';
import type { LogContext } from './log-context.js';
import { encodeRecordHeader, SEGMENT_START_BYTES } from './record-codec.js';

const OPEN_FILES = Math.min(64, Math.floor(openFileLimit() / 32));
/** More released files than this are deleted: their room is worth more than the time to zero a new one. */
const SPARES = 2;
const ZERO_CHUNK = Buffer.alloc(1024 * 1024);

interface Handle {
  opening: Promise<IoFile>;
  pins: number;
  drained: (() => void) | undefined;
}

export class SegmentFiles {
  readonly #io: FileIo;
  readonly #options: LogOptions;
  readonly #context: LogContext;
  readonly #handles = new Map<number, Handle>();
  readonly #spares: number[] = [];
  #count = 0;
  #closed = false;

  constructor(io: FileIo, options: LogOptions, context: LogContext) {
    this.#io = io;
    this.#options = options;
    this.#context = context;
  }

  /** Segment files, spares and what is being made. */
  get count(): number {
    return this.#count;
  }

  /** Numbers of the segments, ascending. Removes what was half made. */
  async load(): Promise<number[]> {
    const pattern = new RegExp(`^${this.#options.name}-(\\d{10})\\.(log|spare|new)$`);
    const segments: number[] = [];
    for (const entry of await this.#io.list(this.#options.directory)) {
      const match = pattern.exec(entry);
      if (match === null) continue;
      const segment = Number(match[1]);
      this.#context.numbers.sawSegment(segment);
      if (match[2] === 'new') {
        await this.#io.remove(join(this.#options.directory, entry));
        continue;
      }
      (match[2] === 'log' ? segments : this.#spares).push(segment);
      this.#count++;
    }
    return segments.sort((a, b) => a - b);
  }

  /** Makes the segment, durable when it resolves. NO_SPACE if the owner or the file system has no room. */
  async create(segment: number): Promise<void> {
    const spare = this.#spares.shift();
    if (spare !== undefined) return this.#recycle(spare, segment);
    const { directory, segmentBytes, name, style } = this.#options;
    if (!this.#context.mayGrow(segmentBytes)) {
      throw new CairnError('NO_SPACE', `no room for another ${name} segment of ${segmentBytes} bytes in ${directory}`);
    }
    this.#count++;
    const path = this.#path(segment, 'new');
    let named = false;
    try {
      const file = await this.#io.open(path, { create: true, exclusive: true });
      try {
        if (style === 'zeroed') await this.#fill(file);
        else await file.allocate(0, segmentBytes);
        await file.writeAndDatasync([this.#start(segment)], 0);
      } finally {
        await file.close();
      }
      await this.#io.rename(path, this.#path(segment, 'log'));
      named = true;
      await this.#syncNames();
    } catch (error) {
      // A segment that has its name is taken for an empty one at the next opening; until then it takes its room.
      if (named) throw error;
      this.#count--;
      // The name is ignored and removed at the next opening anyway.
      await this.#io.remove(path).catch(() => {});
      throw error;
    }
  }

  /** Never NO_SPACE: after a failed sync nobody knows which names are on the device, whatever the reason. */
  async #syncNames(): Promise<void> {
    const { directory, name } = this.#options;
    try {
      await this.#io.syncDirectory(directory);
    } catch (error) {
      const why = messageOf(error);
      throw new CairnError('IO', `the names of the ${name} log in ${directory} may not be durable: ${why}`, {
        cause: error,
      });
    }
  }

  /** The open file, kept open until `unpin`. NOT_FOUND if there is no such segment; CLOSED. */
  async pin(segment: number): Promise<IoFile> {
    if (this.#closed)
      throw new CairnError('CLOSED', `the ${this.#options.name} log in ${this.#options.directory} is closed`);
    let handle = this.#handles.get(segment);
    if (handle === undefined) {
      handle = { opening: this.#io.open(this.#path(segment, 'log'), {}), pins: 0, drained: undefined };
    } else {
      this.#handles.delete(segment);
    }
    this.#handles.set(segment, handle);
    handle.pins++;
    this.#closeIdle();
    try {
      return await handle.opening;
    } catch (error) {
      if (this.#handles.get(segment) === handle) this.#handles.delete(segment);
      throw error;
    }
  }

  unpin(segment: number): void {
    const handle = this.#handles.get(segment);
    assert(handle !== undefined && handle.pins > 0, `segment ${segment} is pinned`);
    handle.pins--;
    if (handle.pins === 0) handle.drained?.();
  }

  /** The segment is no more: recycled or deleted once nobody reads it. If it rejects, the segment may come back at the next opening. */
  async retire(segment: number): Promise<void> {
    await this.#close(segment);
    const path = this.#path(segment, 'log');
    if (this.#options.style === 'zeroed' && this.#spares.length < SPARES) {
      await this.#io.rename(path, this.#path(segment, 'spare'));
      this.#spares.push(segment);
    } else {
      await this.#io.remove(path);
      this.#count--;
    }
    await this.#syncNames();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#handles.keys()].map((segment) => this.#close(segment)));
  }

  async #recycle(spare: number, segment: number): Promise<void> {
    const path = this.#path(spare, 'spare');
    let named = false;
    try {
      const file = await this.#io.open(path, {});
      try {
        if ((await file.size()) !== this.#options.segmentBytes) await this.#fill(file);
        await file.writeAndDatasync([this.#start(segment)], 0);
      } finally {
        await file.close();
      }
      await this.#io.rename(path, this.#path(segment, 'log'));
      named = true;
      await this.#syncNames();
    } catch (error) {
      if (named) throw error;
      if (hasCode(error, 'NOT_FOUND')) this.#count--;
      else this.#spares.push(spare);
      throw error;
    }
  }

  async #fill(file: IoFile): Promise<void> {
    for (let at = 0; at < this.#options.segmentBytes; at += ZERO_CHUNK.length) {
      await file.write([ZERO_CHUNK.subarray(0, this.#options.segmentBytes - at)], at);
    }
  }

  #start(segment: number): Buffer {
    const { name, segmentBytes, owner } = this.#options;
    const bytes = Buffer.alloc(SEGMENT_START_BYTES);
    const stamp = { generation: segment, logSequence: this.#context.numbers.nextSequence(), owner };
    encodeRecordHeader({ kind: 'segment', name, segmentBytes }, stamp, this.#context.crc32c, bytes, 0);
    return bytes;
  }

  async #close(segment: number): Promise<void> {
    const handle = this.#handles.get(segment);
    if (handle === undefined) return;
    if (handle.pins > 0) {
      await new Promise<void>((resolve) => {
        handle.drained = resolve;
      });
    }
    if (this.#handles.get(segment) !== handle) return;
    this.#handles.delete(segment);
    await (await handle.opening).close();
  }

  #closeIdle(): void {
    if (this.#handles.size <= OPEN_FILES) return;
    for (const [segment, handle] of this.#handles) {
      if (handle.pins > 0) continue;
      this.#handles.delete(segment);
      // A failing close of a file that was only read loses nothing.
      handle.opening.then((file) => file.close()).catch(() => {});
      return;
    }
  }

  #path(segment: number, suffix: 'log' | 'spare' | 'new'): string {
    return join(this.#options.directory, `${this.#options.name}-${String(segment).padStart(10, '0')}.${suffix}`);
  }
}
