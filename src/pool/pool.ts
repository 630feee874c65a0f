/**
 * An open pool: what faces need is `vfs`, `objects` and `control`; the file methods are the library. How it is put together is in pool-opening.ts; how it is taken down, here.
 */
import { join, resolve } from 'node:path';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { FileIo, IoLock } from '../io/file-io.js';
import type { Ino } from '../meta/rows.js';
import { type AccessTimes, RELATIVE_ACCESS_TIMES } from '../vfs/access-times.js';
import { S_IFDIR } from '../vfs/mode.js';
import type { ObjectTree } from '../vfs/object-tree.js';
import type { CommitProgress, CommitReport, PoolControl } from '../vfs/reports.js';
import { resolveParent, resolvePath, textOf } from '../vfs/tree-path.js';
import type { Attr, Caller, Handle, OpenMode, Vfs } from '../vfs/vfs.js';
import { loadConfig } from './config.js';
import { type InitOptions, type InitReport, initPool } from './init-pool.js';
import { LibraryVersions } from './library-versions.js';
import type { LiveSettings } from './live-settings.js';
import { type Machine, SystemMachine } from './machine.js';
import { collectAll } from './open-upkeep.js';
import { OpenPoolControl, type PoolParts } from './pool-control.js';
import { PoolFile } from './pool-file.js';
import { type PoolLog, silentLog } from './pool-log.js';
import { type OpenedPool, openParts } from './pool-opening.js';
import type { SnapshotSchedule } from './snapshot-schedule.js';
import type { Staging } from './staging.js';

export interface PoolOptions {
  /** Default: what cairn.toml says. */
  readonly mode?: 'default' | 'strong' | undefined;
  readonly log?: PoolLog;
  /** When reading moves access times; by default as relatime does. */
  readonly accessTimes?: AccessTimes;
  /** What the pool stands on; by default this machine. */
  readonly machine?: Machine;
  /** Opened to be looked at: nothing is committed or collected by itself, and a new pool stays empty. End it with `abandon`. */
  readonly isResting?: boolean;
}

/**
 * How `openFile` behaves: `r` reads a file that must exist; `r+` also writes it; `w` writes a new or emptied one; `a` writes a new one or
 * one as it is, always at its end. All may be read.
 */
export type FileMode = 'r' | 'r+' | 'w' | 'a';

/** What `Pool.init` must be told, and what it may be. */
export type NewPool = Pick<InitOptions, 'disks' | 'cache'> & Partial<InitOptions>;

export interface PoolEntry {
  readonly name: string;
  readonly kind: 'file' | 'directory' | 'other';
}

const WAYS: Readonly<Record<FileMode, OpenMode & { readonly create: boolean }>> = {
  r: { read: true, write: false, create: false },
  'r+': { read: true, write: true, create: false },
  w: { read: true, write: true, truncate: true, create: true },
  a: { read: true, write: true, append: true, create: true },
};

export class Pool {
  readonly vfs: Vfs;
  /** The tree for faces of objects. */
  readonly objects: ObjectTree;
  readonly control: PoolControl;
  /** @internal What the pool is made of, for checks of the whole and for the simulator. */
  readonly parts: PoolParts;
  readonly #versions: LibraryVersions;
  readonly #staging: Staging;
  readonly #snapshots: SnapshotSchedule;
  readonly #lock: IoLock;
  readonly #log: PoolLog;
  #closing: Promise<void> | undefined;

  private constructor({ parts, staging, snapshots }: OpenedPool, lock: IoLock, log: PoolLog) {
    this.#log = log;
    this.parts = parts;
    this.#staging = staging;
    this.#snapshots = snapshots;
    this.#lock = lock;
    this.vfs = parts.vfs;
    this.objects = parts.objects;
    this.#versions = new LibraryVersions(parts.vfs, parts.objects, parts.clock);
    this.control = new OpenPoolControl(parts);
  }

  /**
   * Makes a pool in `directory`, which is made if it is not there. The disks' and the cache's directories must exist and be empty. Left
   * out, the metadata lies in `directory`, and scheme and sizes are chosen by the disks. See `initPool` for errors.
   */
  static async init(directory: string, options: NewPool): Promise<InitReport> {
    const { io, random } = new SystemMachine();
    const place = resolve(directory);
    await io.makeDirectory(place);
    return initPool(io, random, place, {
      disks: options.disks.map((disk) => resolve(disk)),
      journals: (options.journals ?? []).map((journal) => resolve(journal)),
      cache: resolve(options.cache),
      meta: resolve(options.meta ?? join(place, 'meta')),
      scheme: options.scheme ?? 'auto',
      bucketBytes: options.bucketBytes,
      chunkBytes: options.chunkBytes,
      sizes: new Map([...(options.sizes ?? [])].map(([disk, bytes]) => [resolve(disk), bytes])),
    });
  }

  /** Opens a pool and recovers what the last run left. LOCKED if another process has it; UNREADABLE if too few disks are there. */
  static async open(directory: string, options: PoolOptions = {}): Promise<Pool> {
    const machine = options.machine ?? new SystemMachine();
    const place = resolve(directory);
    const config = await loadConfig(machine.io, place);
    const lock = await lockPool(machine.io, place);
    try {
      const log = options.log ?? silentLog;
      const opened = await openParts({
        machine,
        directory: place,
        config,
        mode: options.mode ?? config.mode,
        log,
        isResting: options.isResting === true,
        accessTimes: options.accessTimes ?? RELATIVE_ACCESS_TIMES,
      });
      return new Pool(opened, lock, log);
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /** Commits everything, takes a snapshot if one is due, and lets go of the disks, also if it rejects because something could not be committed: that stays staged in the cache. */
  close(onProgress?: (progress: CommitProgress) => void): Promise<void> {
    this.#closing ??= this.#close(onProgress);
    return this.#closing;
  }

  /** Lets go of everything as it is: what is staged stays in the cache. */
  abandon(): Promise<void> {
    this.#closing ??= this.#quiet().then(() => this.#release());
    return this.#closing;
  }

  async #close(onProgress: ((progress: CommitProgress) => void) | undefined): Promise<void> {
    await this.#quiet();
    try {
      await this.parts.committer.commit(() => true, 'asked', onProgress);
      await this.#snapshots.finish();
      await this.#forgetStaged();
    } finally {
      await this.#release();
    }
  }

  /** The cache says that nothing is staged in it: then it can be put back also after another one was used. */
  async #forgetStaged(): Promise<void> {
    const { staged, account } = this.parts;
    const { stage } = this.#staging;
    stage.drain();
    const isAllCommitted =
      staged.namespaceBytes === 0 && staged.contents.size + staged.sealing.size + staged.departing.size === 0;
    if (!isAllCommitted || account.dirtyBytes > 0 || stage.failure !== undefined) return;
    // Nothing hangs on it.
    await stage.forget().catch((error: unknown) => this.#log.warn({ error }, 'the cache was not closed cleanly'));
  }

  /** Nothing begins by itself any more, and what had begun is over. */
  async #quiet(): Promise<void> {
    const { committer, collector, sweep, watch, jobs, repair, scrubs, forecaster, backings } = this.parts;
    await backings.close();
    await watch.close();
    await forecaster.close();
    await scrubs.close();
    await jobs.close();
    await repair.close();
    await sweep.close();
    await collector.close();
    await committer.close();
  }

  async #release(): Promise<void> {
    const { disks, meta, chunks } = this.parts;
    // Each whatever becomes of the others: nothing may stay locked.
    const steps = [
      () => this.#snapshots.stop(),
      () => this.#staging.close(),
      () => chunks.close(),
      () => meta.close(),
      () => disks.close(),
      () => this.#lock.release(),
    ];
    const failures: unknown[] = [];
    for (const step of steps) await step().catch((error: unknown) => failures.push(error));
    if (failures.length > 0) this.#log.warn({ error: failures[0] }, 'the pool was not closed cleanly');
  }

  /** What of cairn.toml takes effect while the pool is open. */
  get settings(): LiveSettings {
    return this.parts.settings;
  }

  /** Gives the space of deleted data back now, without the grace period; the pool does so on its own after a while. */
  async collect(): Promise<void> {
    await collectAll(this.parts.sweep, this.parts.collector);
  }

  /** Gives back memory that is kept only to be quicker, database pages for the most: for a moment when nobody asks for anything. */
  releaseMemory(): void {
    this.parts.meta.releaseMemory?.();
    for (const disk of this.parts.disks.opened) disk.releaseMemory();
  }

  /**
   * Commits all that is staged in the pool: names, attributes and bytes. When it resolves they survive power loss, the loss of as many
   * disks as the scheme says, and the loss of cache and metadata.
   */
  commit(onProgress: (progress: CommitProgress) => void = () => {}): Promise<CommitReport> {
    return this.control.commit(['/'], onProgress);
  }

  /** Opens a file by its path in the pool (`/photos/a.jpg`); links are not followed. In a bucket that keeps versions, what is overwritten becomes an older one, as on a mount. NOT_FOUND, IS_DIRECTORY, INVALID (not a file). */
  async openFile(path: string, mode: FileMode = 'r'): Promise<PoolFile> {
    const { committer } = this.parts;
    const way = WAYS[mode];
    const vfs = way.write ? await this.#versions.vfsFor(path) : this.vfs;
    const { ino, handle } = await this.#openHandle(vfs, path, way);
    return new PoolFile({
      path,
      vfs,
      ino,
      handle,
      appends: mode === 'a',
      commit: (onProgress) => committer.commit((inode) => inode.ino === ino, 'asked', onProgress),
    });
  }

  async #openHandle(vfs: Vfs, path: string, way: (typeof WAYS)[FileMode]): Promise<{ ino: Ino; handle: Handle }> {
    for (;;) {
      try {
        const { ino } = await resolvePath(vfs, path);
        return { ino, handle: await vfs.open(ino, way) };
      } catch (error) {
        if (!way.create || !hasCode(error, 'NOT_FOUND')) throw error;
      }
      const { parent, name } = await resolveParent(vfs, path);
      try {
        const { attr, handle } = await vfs.create(parent, name, 0o644, way, own());
        return { ino: attr.ino, handle };
      } catch (error) {
        // Somebody else made it meanwhile.
        if (!hasCode(error, 'EXISTS')) throw error;
      }
    }
  }

  /** NOT_FOUND if its parent is not there, EXISTS. */
  async makeDirectory(path: string): Promise<void> {
    const { parent, name } = await resolveParent(this.vfs, path);
    await this.vfs.mkdir(parent, name, 0o755, own());
  }

  /** Removes a file or an empty directory. NOT_FOUND, NOT_EMPTY. */
  async remove(path: string): Promise<void> {
    const vfs = await this.#versions.vfsFor(path);
    const { parent, name } = await resolveParent(vfs, path);
    const attr = await resolvePath(vfs, path);
    if (kindOf(attr.mode) === 'directory') await vfs.rmdir(parent, name);
    else await vfs.unlink(parent, name);
  }

  /** Moves a file or directory, in the place of what is there: a file for a file, a directory for an empty one. NOT_FOUND, NOT_EMPTY, IS_DIRECTORY, NOT_DIRECTORY. */
  async rename(from: string, to: string): Promise<void> {
    const vfs = await this.#versions.vfsFor(from, to);
    const source = await resolveParent(vfs, from);
    const target = await resolveParent(vfs, to);
    await vfs.rename(source.parent, source.name, target.parent, target.name, {});
  }

  /** NOT_FOUND if there is nothing at the path. */
  stat(path: string): Promise<Attr> {
    return resolvePath(this.vfs, path);
  }

  /** The entries of a directory, in byte order of their names (directories as if they ended in `/`). */
  async list(path: string): Promise<PoolEntry[]> {
    const { ino } = await resolvePath(this.vfs, path);
    const handle = await this.vfs.opendir(ino);
    const entries: PoolEntry[] = [];
    try {
      await this.vfs.readdir(handle, 0, false, ({ name, mode }) => {
        if (name !== '.' && name !== '..') entries.push({ name: textOf(name), kind: kindOf(mode) });
        return true;
      });
    } finally {
      await this.vfs.releasedir(handle);
    }
    return entries;
  }
}

function own(): Caller {
  return { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, pid: process.pid };
}

function kindOf(mode: number): PoolEntry['kind'] {
  const type = mode & 0o170000;
  return type === S_IFDIR ? 'directory' : type === 0o100000 ? 'file' : 'other';
}

async function lockPool(io: FileIo, directory: string): Promise<IoLock> {
  try {
    return await io.lock(join(directory, 'lock'));
  } catch (error) {
    if (!hasCode(error, 'LOCKED')) throw error;
    throw new CairnError('LOCKED', `the pool in ${directory} is in use by another process`, {
      hint: `see \`cairn status ${directory}\``,
      cause: error,
    });
  }
}
