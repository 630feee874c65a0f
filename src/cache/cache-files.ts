/**
 * The cached bytes of files: one sparse file per inode, `<directory>/<xx>/<inode, hex>`, where xx are the second-lowest
 * eight bits of the number, so that 256 inodes created one after the other share a directory. What of a file's bytes is
 * valid is not known here: that is the range map's business.
 *
 * Invariants: at most one descriptor per inode is open; one that is pinned stays open. A file's name is durable before the first
 * `datasync` of it resolves. After a failed sync, writeback or close a file is doubtful until it is removed: no `datasync` of it resolves any
 * more, because the kernel marks the pages clean that it could not write and a second sync would claim them. It can still be read: the
 * kernel keeps such pages until it needs the memory, so whoever is told (`onLoss`) saves at once what he needs of them.
 *
 * Why this way: the first write of a fresh file and every later one come from a FUSE request that wants its answer now,
 * so opening, reading and writing are synchronous and allocate nothing once the file is open. Removal drops the name at
 * once and leaves the freeing of the blocks to a close in the thread pool; so a file of the same inode can be created
 * right after, and never meets a removal that is still under way. Descriptors are recycled by second chance, which
 * costs the hot path one flag and no relinking; a look at a bounded number per opening keeps opening cheap also where
 * thousands are pinned, and lets the bound be exceeded for a while.
 *
 * A descriptor may be recycled while its file has unsynced writes: Linux reports a failed writeback to whoever opens and
 * syncs the file next (as long as the inode is in memory, which it is while it has dirty pages).
 */
import { dirname } from 'node:path';
import { assert, CairnError, hasCode } from '../errors/cairn-error.js';
import type { FileIo, IoFile } from '../io/file-io.js';
import { openFileLimit } from '../io/open-file-limit.js';
import type { Ino } from '../meta/rows.js';

/** A cache file that stays open until `release`; also beyond its removal. */
export interface PinnedFile {
  readonly file: IoFile;
  /** Once per pin. */
  release(): void;
}

export interface CacheFilesOptions {
  /** About how many descriptors are kept open. Pinned ones are kept beyond it. */
  readonly openFiles?: number;
}

const OPEN_FILES = Math.min(512, Math.floor(openFileLimit() / 4));
/** Descriptors that the recycler looks at for one opening. */
const LOOKS = 64;
const SHARDS = 256;
const NO_BYTES = new Uint8Array(0);

class Entry {
  pins = 0;
  /** Used since the recycler last passed. */
  recent = true;
  /** The file's name survives a power loss. False after every opening: a killed process may have left a name unsynced. */
  nameDurable = false;
  /** Not `found` by its inode any more: closed when the last pin goes. */
  state: 'found' | 'recycled' | 'removed' = 'found';

  constructor(
    readonly ino: Ino,
    readonly file: IoFile,
  ) {}
}

export class CacheFiles {
  readonly #io: FileIo;
  readonly #directory: string;
  readonly #openFiles: number;
  /** In the order in which the recycler looks at them. */
  readonly #entries = new Map<Ino, Entry>();
  readonly #doubtful = new Map<Ino, CairnError>();
  /** Per shard directory; one that was found at start may have been made by a process that was killed before its sync. */
  readonly #shards: ('absent' | 'present' | 'durable')[];
  readonly #closing = new Set<Promise<void>>();
  /** The argument of `IoFile.writeNow`, used again for every write. */
  readonly #part: Uint8Array[] = [NO_BYTES];
  #present: Ino[];
  #closed = false;
  /** What was written to the file of this inode may be lost. Called once per failure that the kernel reports. */
  onLoss: ((ino: Ino, failure: CairnError) => void) | undefined;
  /** The device failed an operation, apart from being full. */
  onFailure: ((failure: unknown) => void) | undefined;

  private constructor(
    io: FileIo,
    directory: string,
    openFiles: number,
    shards: ('absent' | 'present')[],
    present: Ino[],
  ) {
    this.#io = io;
    this.#directory = directory;
    this.#openFiles = openFiles;
    this.#shards = shards;
    this.#present = present;
  }

  /** Opens the files below `directory` (created if it is not there) and notes which there are. */
  static async open(io: FileIo, directory: string, options: CacheFilesOptions = {}): Promise<CacheFiles> {
    await io.makeDirectory(directory);
    await io.syncDirectory(dirname(directory));
    const names = new Set(await io.list(directory));
    const shards: ('absent' | 'present')[] = [];
    const present: Ino[] = [];
    for (let shard = 0; shard < SHARDS; shard++) {
      const name = shardName(shard);
      shards.push(names.has(name) ? 'present' : 'absent');
      if (!names.has(name)) continue;
      for (const file of await io.list(`${directory}/${name}`)) {
        const ino = inoOf(file);
        // what is not named like one of ours is left alone
        if (ino !== undefined && shardOf(ino) === shard) present.push(ino);
      }
    }
    return new CacheFiles(io, directory, options.openFiles ?? OPEN_FILES, shards, present);
  }

  /**
   * Inodes that had a file when this was opened, in no order. Recovery removes those that it does not claim. Answers
   * once: the list is not kept.
   */
  list(): Ino[] {
    const present = this.#present;
    this.#present = [];
    return present;
  }

  /**
   * The open file of an inode, on the calling thread; undefined if there is none and `create` is false. To be used at
   * once: the opening of another file may close it. Use `pin` for longer.
   */
  file(ino: Ino, create: true): IoFile;
  file(ino: Ino, create: boolean): IoFile | undefined;
  file(ino: Ino, create: boolean): IoFile | undefined {
    return this.#entry(ino, create)?.file;
  }

  /** As `file`, and keeps it open until it is released: for handles, seal jobs and everything asynchronous. */
  pin(ino: Ino, create: true): PinnedFile;
  pin(ino: Ino, create: boolean): PinnedFile | undefined;
  pin(ino: Ino, create: boolean): PinnedFile | undefined {
    const entry = this.#entry(ino, create);
    if (entry === undefined) return undefined;
    entry.pins++;
    let released = false;
    return {
      file: entry.file,
      release: () => {
        assert(!released, `a pin of inode ${ino} is released once`);
        released = true;
        this.#unpin(entry);
      },
    };
  }

  /** Writes into the page cache on the calling thread; creates the file if there is none. After an error a part may be written. */
  writeNow(ino: Ino, position: number, bytes: Uint8Array): void {
    const file = this.file(ino, true);
    this.#part[0] = bytes;
    try {
      file.writeNow(this.#part, position);
    } catch (error) {
      // Not the device's failure: it is full, or the position is one that its file system does not have (ext4: 16 TiB).
      if (!hasCode(error, 'NO_SPACE', 'TOO_BIG')) this.onFailure?.(error);
      throw error;
    } finally {
      this.#part[0] = NO_BYTES;
    }
  }

  /**
   * Reads up to `into.length` bytes on the calling thread and returns how many (fewer only at the end of the file). IO
   * if there is no file: whoever asks has it in a range map that the bytes are here.
   */
  readNow(ino: Ino, position: number, into: Uint8Array): number {
    const file = this.file(ino, false);
    if (file === undefined)
      throw new CairnError('IO', `the cache file of inode ${ino} is gone from ${this.#directory}`);
    try {
      return file.readNow(into, position);
    } catch (error) {
      this.onFailure?.(error);
      throw error;
    }
  }

  /** Whether the file is there and reaches up to `end`. Cache files never shrink: one that does not has lost what was written to it. */
  reaches(ino: Ino, end: number): boolean {
    if (end === 0) return true;
    const file = this.file(ino, false);
    return file !== undefined && file.readNow(new Uint8Array(1), end - 1) === 1;
  }

  /** True if what was written to the file may be lost: it stays so until the file is removed. */
  isDoubtful(ino: Ino): boolean {
    return this.#doubtful.size > 0 && this.#doubtful.has(ino);
  }

  /**
   * Asks the kernel whether it failed to write anything of the file back since this was last asked (or the file opened). If so, what has been read from it
   * may be older than what was written, and it is doubtful from now on. Syncs nothing.
   */
  writebackFailure(ino: Ino): CairnError | undefined {
    const entry = this.#entry(ino, false);
    try {
      entry?.file.checkWriteback?.();
      return undefined;
    } catch (error) {
      return this.#doubt(entry!, error);
    }
  }

  /** Makes what was written, and the file's name, durable. Nothing to do for an inode without a file. */
  async datasync(ino: Ino): Promise<void> {
    const entry = this.#entry(ino, false);
    if (entry === undefined) return;
    const doubt = this.#doubtful.get(ino);
    if (doubt !== undefined) throw doubt;
    entry.pins++;
    try {
      // both together: they wait for the same journal commit of the file system below
      if (entry.nameDurable) await entry.file.datasync();
      else await Promise.all([entry.file.datasync(), this.#syncName(entry)]);
    } catch (error) {
      throw this.#doubt(entry, error);
    } finally {
      this.#unpin(entry);
    }
  }

  /**
   * Gives the blocks of a range back; it then reads as zeros. Runs in the thread pool: the caller sees to it that nothing
   * is written into the range meanwhile. Nothing to do for an inode without a file.
   */
  async punch(ino: Ino, offset: number, length: number): Promise<void> {
    const entry = this.#entry(ino, false);
    if (entry === undefined) return;
    entry.pins++;
    try {
      await entry.file.punch(offset, length);
    } finally {
      this.#unpin(entry);
    }
  }

  /**
   * Removes the file, and with it any doubt about it. The name is gone when this returns its promise (not durably:
   * what comes back after a power loss is in `list`), the space when the promise resolves; that of a pinned file when
   * the last pin goes. No error if there is no file.
   */
  async remove(ino: Ino): Promise<void> {
    this.#doubtful.delete(ino);
    const entry = this.#entry(ino, false);
    if (entry === undefined) return;
    this.#io.removeNow(entry.file.path);
    this.#retire(entry, 'removed');
    await Promise.all(this.#closing);
  }

  /** Of the device that the files are on. */
  space(): Promise<{ totalBytes: number; freeBytes: number }> {
    return this.#io.space(this.#directory);
  }

  /** Closes all descriptors; syncs nothing. Nothing may be pinned any more. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const entry of this.#entries.values()) {
      assert(entry.pins === 0, `inode ${entry.ino} is not pinned when the cache closes`);
      this.#retire(entry, 'recycled');
    }
    await Promise.all(this.#closing);
  }

  #entry(ino: Ino, create: boolean): Entry | undefined {
    const entry = this.#entries.get(ino) ?? this.#open(ino, create);
    if (entry !== undefined) entry.recent = true;
    return entry;
  }

  #open(ino: Ino, create: boolean): Entry | undefined {
    assert(!this.#closed, 'the cache is open');
    const shard = shardOf(ino);
    const directory = `${this.#directory}/${shardName(shard)}`;
    if (this.#shards[shard] === 'absent') {
      if (!create) return undefined;
      this.#making(() => this.#io.makeDirectoryNow(directory));
      this.#shards[shard] = 'present';
    }
    let file: IoFile;
    try {
      file = this.#making(() => this.#io.openNow(`${directory}/${ino.toString(16)}`, { create }), create);
    } catch (error) {
      if (!create && hasCode(error, 'NOT_FOUND')) return undefined;
      throw error;
    }
    if (this.#entries.size >= this.#openFiles) this.#recycle();
    const entry = new Entry(ino, file);
    this.#entries.set(ino, entry);
    return entry;
  }

  /** What cannot be made because the directory for it is gone is IO: who writes a file must not hear that there is no such file. */
  #making<T>(make: () => T, isNew = true): T {
    try {
      return make();
    } catch (cause) {
      if (!isNew || !hasCode(cause, 'NOT_FOUND')) throw cause;
      const error = new CairnError(
        'IO',
        `the cache is gone from ${this.#directory}: somebody has deleted or unmounted it`,
        {
          hint: 'unmount the pool, which commits what can still be read, and mount it again',
          cause,
        },
      );
      this.onFailure?.(error);
      throw error;
    }
  }

  /** Closes descriptors not used since the last look at them, until there is room for one more or enough were looked at. */
  #recycle(): void {
    let looks = Math.min(LOOKS, 2 * this.#entries.size);
    for (const entry of this.#entries.values()) {
      if (this.#entries.size < this.#openFiles || looks-- === 0) return;
      if (entry.pins === 0 && !entry.recent) {
        this.#retire(entry, 'recycled');
      } else {
        // to the end of the order: the next look begins behind it
        entry.recent = false;
        this.#entries.delete(entry.ino);
        this.#entries.set(entry.ino, entry);
      }
    }
  }

  #retire(entry: Entry, state: 'recycled' | 'removed'): void {
    if (entry.state === 'found') this.#entries.delete(entry.ino);
    entry.state = state;
    if (entry.pins === 0) this.#closeFile(entry);
  }

  #unpin(entry: Entry): void {
    entry.pins--;
    if (entry.pins === 0 && entry.state !== 'found') this.#closeFile(entry);
  }

  #closeFile(entry: Entry): void {
    const closing = entry.file
      .close()
      .catch((error: unknown) => {
        this.#doubt(entry, error);
      })
      .finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }

  /** Syncs the directories that hold the entry's name. */
  async #syncName(entry: Entry): Promise<void> {
    const shard = shardOf(entry.ino);
    const directory = `${this.#directory}/${shardName(shard)}`;
    if (this.#shards[shard] === 'durable') {
      await this.#io.syncDirectory(directory);
    } else {
      await Promise.all([this.#io.syncDirectory(directory), this.#io.syncDirectory(this.#directory)]);
      this.#shards[shard] = 'durable';
    }
    entry.nameDurable = true;
  }

  /** From now on no sync of the file is believed. Returns the error that they throw. */
  #doubt(entry: Entry, cause: unknown): CairnError {
    const { ino } = entry;
    const failure = new CairnError('IO', `the cache file of inode ${ino} may have lost what was written to it`, {
      hint: `see what the kernel log says of the device of ${this.#directory}`,
      cause,
    });
    // Of a removed file nothing is lost, and its inode may have another file by now.
    if (entry.state === 'removed') return failure;
    this.#doubtful.set(ino, failure);
    this.onFailure?.(cause);
    this.onLoss?.(ino, failure);
    return failure;
  }
}

function shardOf(ino: Ino): number {
  return Math.floor(ino / 256) % SHARDS;
}

function shardName(shard: number): string {
  return shard.toString(16).padStart(2, '0');
}

/** The inode that a file is named after; undefined if it is not the name of a cache file. */
function inoOf(name: string): Ino | undefined {
  if (!/^[1-9a-f][0-9a-f]{0,13}$/.test(name)) return undefined;
  const ino = Number.parseInt(name, 16);
  return Number.isSafeInteger(ino) ? ino : undefined;
}
