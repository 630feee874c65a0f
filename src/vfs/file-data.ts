/**
 * Reading, writing and changing the size of file content: the cache first, the pool for the rest, staging for what changes.
 */
import type { CacheAccount } from '../cache/cache-account.js';
import type { CacheFiles } from '../cache/cache-files.js';
import { CACHED, type FileContent, INLINE_SYNC_BYTES } from '../cache/file-content.js';
import { END } from '../cache/range-map.js';
import type { StageLog } from '../cache/stage-log.js';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { Clock } from '../io/clock.js';
import type { Committer } from './committer.js';
import type { Inode } from './inode.js';
import type { Interruption } from './interruption.js';
import { type PoolReader, zeros } from './pool-reader.js';
import type { StagedSet } from './staged-set.js';
import type { ReadPart, Result } from './vfs.js';

/** Positions are exact JavaScript numbers up to 2^53 - 1. */
const FILE_BYTES_MAX = Number.MAX_SAFE_INTEGER - 1;

/** How often a write that the cache's full device refused is tried again, each time after something else has gone from it. */
const SPARE_TRIES = 8;

export interface WriteTarget {
  readonly offset: number;
  readonly append: boolean;
  readonly interruption: Interruption | undefined;
  /** Times stay: they are told apart. */
  readonly isLate: boolean;
}

export class FileData {
  readonly #files: CacheFiles;
  readonly #account: CacheAccount;
  readonly #stage: StageLog;
  readonly #staged: StagedSet;
  readonly #committer: Committer;
  readonly #reader: PoolReader;
  readonly #clock: Clock;
  /** Contents with a merged range that the stage log has not got yet. */
  readonly #noting = new Set<FileContent>();

  constructor(parts: {
    files: CacheFiles;
    account: CacheAccount;
    stage: StageLog;
    staged: StagedSet;
    committer: Committer;
    reader: PoolReader;
    clock: Clock;
  }) {
    this.#files = parts.files;
    this.#account = parts.account;
    this.#stage = parts.stage;
    this.#staged = parts.staged;
    this.#committer = parts.committer;
    this.#reader = parts.reader;
    this.#clock = parts.clock;
    this.#stage.onDrain = () => {
      this.#staged.noteImages();
      for (const content of this.#noting) this.#settle(content);
      this.#noting.clear();
    };
  }

  /** `run`: bytes that the reader has read in a row, with these; 0 if it reads here and there. */
  read(inode: Inode, offset: number, length: number, run: number): Result<ReadPart[]> {
    const content = contentOf(inode);
    const end = Math.min(offset + length, inode.sizeBytes);
    if (isCommitted(inode) && offset < end && content.isInPool(offset, end))
      return this.#reader.view(inode, offset, end, run);
    return this.readOwn(inode, offset, length, run);
  }

  /** As `read`; what has to be fetched from the pool is in memory of its own, which nobody uses again. */
  readOwn(inode: Inode, offset: number, length: number, run: number): Result<ReadPart[]> {
    const content = contentOf(inode);
    const end = Math.min(offset + length, inode.sizeBytes);
    if (offset >= end) return [];
    if (content.ranges.covers(offset, end, CACHED)) {
      this.#account.used(content);
      return [this.#cachedPart(content, offset, end)];
    }
    return this.#gather(inode, content, offset, end, run);
  }

  #cachedPart(content: FileContent, from: number, to: number): ReadPart {
    const view = content.memoryView(from, to);
    if (view !== undefined) return view;
    const fd = this.#files.file(content.ino, false)?.fd;
    if (fd !== undefined) return { fd, position: from, length: to - from };
    const bytes = Buffer.allocUnsafe(to - from);
    content.readInto(bytes, from);
    return bytes;
  }

  /** Cached parts are copied at once: by the time the pool has answered, the cache may have moved on. */
  #gather(inode: Inode, content: FileContent, offset: number, end: number, run: number): Result<ReadPart[]> {
    const parts: Uint8Array[] = [];
    const jobs: Promise<void>[] = [];
    content.forEach(offset, end, (from, to, source) => {
      if (source === 'zeros') {
        parts.push(...zeros(to - from));
        return;
      }
      const bytes = Buffer.allocUnsafe(to - from);
      parts.push(bytes);
      if (source === 'cache') content.readInto(bytes, from);
      else if (!isCommitted(inode)) bytes.fill(0);
      else jobs.push(this.#reader.read(inode, from, bytes, run));
    });
    if (jobs.length === 0) return parts;
    return Promise.all(jobs).then(() => parts);
  }

  /** Fills `into` with bytes that `read` has answered to be in the cache file. */
  copyCached(inode: Inode, into: Uint8Array, from: number): void {
    contentOf(inode).readInto(into, from);
  }

  /** Takes all bytes; if it must wait first, it has copied them when it returns. NO_SPACE, TOO_BIG. */
  write(inode: Inode, to: WriteTarget, bytes: Uint8Array): Result<number> {
    return this.#write(inode, to, bytes, SPARE_TRIES);
  }

  #write(inode: Inode, to: WriteTarget, bytes: Uint8Array, tries: number): Result<number> {
    const { offset, append } = to;
    const content = contentOf(inode);
    const from = append ? inode.sizeBytes : offset;
    if (from + bytes.length > FILE_BYTES_MAX)
      throw new CairnError('TOO_BIG', 'the file would be larger than Cairn allows (8 PiB)');
    const wait = this.#mustWait(content, from, from + bytes.length, bytes.length);
    if (wait !== undefined) return this.#writeLater(inode, to, bytes, wait, tries);
    if (bytes.length === 0) return 0;
    try {
      content.write(from, bytes);
    } catch (error) {
      const spare = tries > 0 && hasCode(error, 'NO_SPACE') ? this.#committer.spare(bytes.length) : undefined;
      if (spare === undefined) throw error;
      // A part may be there already, so it is too late for an interruption.
      return this.#writeLater(inode, { ...to, interruption: undefined }, bytes, spare, tries - 1);
    }
    this.#noteWrite(content, from, from + bytes.length);
    if (from + bytes.length > inode.sizeBytes) inode.sizeBytes = from + bytes.length;
    this.#changed(inode, content, to.isLate);
    const { waiting } = this.#stage;
    return waiting === undefined ? bytes.length : waiting.then(() => bytes.length);
  }

  #writeLater(inode: Inode, to: WriteTarget, bytes: Uint8Array, wait: Promise<void>, tries: number): Promise<number> {
    const copy = Buffer.from(bytes);
    const again = () => this.#write(inode, to, copy, tries);
    return to.interruption === undefined ? wait.then(again) : to.interruption.after(wait, again);
  }

  #mustWait(content: FileContent, from: number, to: number, bytes: number): Promise<void> | undefined {
    return content.busy ?? this.#committer.room(bytes) ?? content.seal?.protect(from, to);
  }

  /** Remembers [from, to) for the stage log, merged with what is contiguous. */
  #noteWrite(content: FileContent, from: number, to: number): void {
    const before = content.mergeNote(from, to);
    if (before !== undefined) this.#note(content, before.from, before.to);
    this.#noting.add(content);
    this.#stage.wake();
  }

  #note(content: FileContent, from: number, to: number): void {
    const length = to - from;
    if (content.inMemory) {
      this.#stage.note({ kind: 'write', ino: content.ino, offset: from, length, bytes: content.memoryView(from, to)! });
    } else {
      this.#stage.note({ kind: 'write', ino: content.ino, offset: from, length, bytes: undefined });
      content.addUnsynced(from, to);
    }
  }

  /** Gives the stage log what is merged of this content, so that the next operation comes after it. */
  #settle(content: FileContent): void {
    const note = content.takeNote();
    if (note !== undefined) this.#note(content, note.from, note.to);
  }

  #changed(inode: Inode, content: FileContent, keepsTimes = false): void {
    if (!keepsTimes) {
      const now = this.#clock.now();
      inode.mtime = now;
      inode.ctime = now;
    }
    content.stagedSinceMs ??= this.#clock.monotonicMs();
    this.#account.book(content);
    this.#account.used(content);
    this.#staged.touch(inode);
    if (!inode.gone) this.#staged.addContent(inode);
    this.#committer.staged(inode);
  }

  /** Sets the size; what is cut off is gone, what is added reads as zeros. */
  resize(inode: Inode, sizeBytes: number): void {
    const content = contentOf(inode);
    if (sizeBytes < 0) throw new CairnError('INVALID', 'a size cannot be negative');
    if (sizeBytes > FILE_BYTES_MAX) throw new CairnError('TOO_BIG', 'a file cannot have this size (at most 8 PiB)');
    this.#settle(content);
    if (sizeBytes < inode.sizeBytes || inode.committedSize > sizeBytes) content.punch(sizeBytes, END);
    else if (sizeBytes > inode.sizeBytes) content.punch(inode.sizeBytes, sizeBytes);
    inode.sizeBytes = sizeBytes;
    this.#stage.note({ kind: 'size', ino: inode.ino, sizeBytes });
    this.#changed(inode, content);
  }

  /** [from, to) reads as zeros; the size stays. */
  punch(inode: Inode, from: number, to: number): void {
    const content = contentOf(inode);
    const end = Math.min(to, inode.sizeBytes);
    if (from >= end) return;
    this.#settle(content);
    content.punch(from, end);
    this.#stage.note({ kind: 'punch', ino: inode.ino, from, to: end });
    this.#changed(inode, content);
  }

  /** The local promise for everything written to the file so far. If it rejects, the next call does not rely on what this one tried. */
  async syncLocal(inode: Inode): Promise<void> {
    const { content } = inode;
    while (content?.syncing !== undefined) await content.syncing;
    this.#stage.drain();
    if (content !== undefined) {
      const unsynced = content.takeUnsynced();
      if (unsynced === 'file') await this.#syncFile(content);
      else if (unsynced !== 'nothing') this.#noteInline(content, unsynced);
    }
    try {
      await this.#stage.sync();
    } catch (error) {
      content?.doubtUnsynced();
      throw error;
    }
  }

  /** Other syncs of the file wait: what this one covers is not listed as unsynced any more. */
  async #syncFile(content: FileContent): Promise<void> {
    const through = this.#stage.sequence;
    const job = this.#files.datasync(content.ino).then(
      () => {
        this.#stage.note({ kind: 'synced', ino: content.ino, through });
      },
      (error: unknown) => {
        content.doubtUnsynced();
        throw error;
      },
    );
    content.syncing = job
      .catch(() => undefined)
      .finally(() => {
        content.syncing = undefined;
      });
    await job;
  }

  /**
   * What was written to the cache file may not be there any more: every handle is told once, what was clean is read from the pool again, and
   * what is staged is committed as long as the kernel still has it in memory.
   */
  lost(inode: Inode, failure: CairnError): void {
    inode.failed(failure, false);
    const { content } = inode;
    if (content === undefined) return;
    for (const { from, to } of content.cleanRanges()) content.ranges.clear(from, to);
    content.doubtUnsynced();
    this.#account.book(content);
    this.#committer.hurry();
  }

  /** Few bytes: into the stage log itself, so that one flush is enough. If they cannot be read, they are still to be synced. */
  #noteInline(content: FileContent, ranges: readonly { from: number; to: number }[]): void {
    try {
      this.#noteBytes(content, ranges);
    } catch (error) {
      content.doubtUnsynced();
      throw error;
    }
  }

  #noteBytes(content: FileContent, ranges: readonly { from: number; to: number }[]): void {
    const buffer = Buffer.allocUnsafe(INLINE_SYNC_BYTES);
    for (const { from, to } of ranges) {
      content.ranges.forEach(from, to, (start, end, value) => {
        if ((CACHED & (1 << value)) === 0) return;
        const bytes = buffer.subarray(0, end - start);
        content.readInto(bytes, start);
        this.#stage.note({ kind: 'write', ino: content.ino, offset: start, length: end - start, bytes });
      });
    }
  }

  /** Next data or hole at or after `offset`. NO_EXTENT beyond the end. */
  seek(inode: Inode, offset: number, whence: 'data' | 'hole'): Result<number> {
    const content = contentOf(inode);
    const size = inode.sizeBytes;
    if (offset >= size || offset < 0) throw new CairnError('NO_EXTENT', 'the position is beyond the end of the file');
    if (content.ranges.covers(offset, size, CACHED)) return whence === 'data' ? offset : size;
    return this.#seekExtents(inode, content, offset, whence);
  }

  async #seekExtents(inode: Inode, content: FileContent, offset: number, whence: 'data' | 'hole'): Promise<number> {
    const size = inode.sizeBytes;
    const extents = await this.#reader.extents(inode, offset, size);
    const data: { from: number; to: number }[] = [];
    content.forEach(offset, size, (from, to, source) => {
      if (source === 'cache') data.push({ from, to });
      if (source !== 'pool') return;
      for (const extent of extents) {
        const start = Math.max(from, extent.offset);
        const end = Math.min(to, extent.offset + extent.length);
        if (start < end) data.push({ from: start, to: end });
      }
    });
    let position = offset;
    for (const { from, to } of data) {
      if (whence === 'data') return Math.max(from, offset);
      if (from > position) return position;
      position = to;
    }
    if (whence === 'data') throw new CairnError('NO_EXTENT', 'there is no data after this position');
    return Math.min(position, size);
  }

  /** The file is gone: nothing of it is kept, but its cache file until its removal cannot be undone by a crash. */
  discard(inode: Inode): void {
    const { content } = inode;
    if (content === undefined) return;
    this.#noting.delete(content);
    this.#staged.contents.delete(inode);
    this.#staged.fragmented.delete(inode);
    const drop = (): void => {
      content.ranges.clear(0, END);
      content.dropClean();
      this.#account.book(content);
      this.#staged.depart(inode, () => {
        void this.#files.remove(inode.ino).catch(() => undefined);
      });
    };
    if (content.seal === undefined) drop();
    else void content.seal.finished.then(drop);
  }
}

/** Something of it may be in the pool. */
function isCommitted({ version, extents }: Inode): boolean {
  return version !== 0 || extents !== undefined;
}

function contentOf(inode: Inode): FileContent {
  if (inode.content !== undefined) return inode.content;
  if (inode.directory !== undefined) throw new CairnError('IS_DIRECTORY', 'this is a directory');
  throw new CairnError('INVALID', 'this is not a regular file');
}
