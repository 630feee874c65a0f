/**
 * FileIo over the operating system's files. What it creates only its owner may read: the files of a disk hold everyone's data, past
 * the permissions that the mount enforces.
 */
import { close, constants, mkdirSync, open, openSync, readFileSync, unlinkSync } from 'node:fs';
import { mkdir, open as openHandle, readdir, readFile, rename, stat, statfs, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { type Addon, loadAddon } from '../../native/addon.js';
import { CairnError, systemCode } from '../errors/cairn-error.js';
import type { FileIo, IoFile, IoLock, OpenOptions } from './file-io.js';
import { NodeFile } from './node-file.js';
import { toCairnError } from './system-error.js';

const { O_CREAT, O_DIRECTORY, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC } = constants;
const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;
const BOOT_ID_PATH = '/proc/sys/kernel/random/boot_id';

// Bare descriptors rather than FileHandles: a FileHandle that is collected closes its descriptor under whoever still uses it.
const openDescriptor = promisify(open);
const closeDescriptor = promisify(close);

export class NodeFileIo implements FileIo {
  readonly #addon: Addon;
  /** The last replacement of each path under way: two at once would write the same temporary file. */
  readonly #replacing = new Map<string, Promise<void>>();
  #bootId: string | undefined;

  constructor(addon: Addon = loadAddon()) {
    this.#addon = addon;
  }

  async open(path: string, options: OpenOptions): Promise<IoFile> {
    return this.#open(path, flagsOf(options));
  }

  openNow(path: string, options: OpenOptions): IoFile {
    const fd = attemptNow('open', path, () => openSync(path, flagsOf(options), FILE_MODE));
    return new NodeFile(this.#addon, fd, path);
  }

  async makeDirectory(path: string): Promise<void> {
    await attempt('create the directory', path, () => mkdir(path, { recursive: true, mode: DIRECTORY_MODE }));
  }

  makeDirectoryNow(path: string): void {
    attemptNow('create the directory', path, () => mkdirSync(path, { recursive: true, mode: DIRECTORY_MODE }));
  }

  list(path: string): Promise<string[]> {
    return attempt('list', path, () => readdir(path));
  }

  async exists(path: string): Promise<boolean> {
    try {
      await stat(path);
      return true;
    } catch (error) {
      // Only these two say that it is not there; anything else is that nobody knows.
      if (['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) return false;
      throw toCairnError(error, 'look up', path);
    }
  }

  rename(from: string, to: string): Promise<void> {
    return attempt(`rename to ${to}`, from, () => rename(from, to));
  }

  remove(path: string): Promise<void> {
    return attempt('remove', path, () => unlink(path));
  }

  removeNow(path: string): void {
    attemptNow('remove', path, () => unlinkSync(path));
  }

  syncDirectory(path: string): Promise<void> {
    return attempt('sync the directory', path, async () => {
      const handle = await openHandle(path, O_RDONLY | O_DIRECTORY);
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    });
  }

  readFile(path: string): Promise<Buffer> {
    return attempt('read', path, () => readFile(path));
  }

  readWritable(path: string, into: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#addon.readWritable(path, into, (error, bytesRead = 0) => {
        if (error === null) resolve(bytesRead);
        else reject(toCairnError(error, 'read', path));
      });
    });
  }

  replaceFile(path: string, bytes: Uint8Array): Promise<void> {
    const before = this.#replacing.get(path) ?? Promise.resolve();
    const replacement = before.catch(() => undefined).then(() => this.#replaceFile(path, bytes));
    this.#replacing.set(path, replacement);
    const forget = (): void => {
      if (this.#replacing.get(path) === replacement) this.#replacing.delete(path);
    };
    replacement.then(forget, forget);
    return replacement;
  }

  async space(path: string): Promise<{ totalBytes: number; freeBytes: number }> {
    const found = await attempt('ask for the free space of', path, () => statfs(path));
    return { totalBytes: found.blocks * found.bsize, freeBytes: found.bavail * found.bsize };
  }

  async lock(path: string): Promise<IoLock> {
    return attempt('lock', path, async () => {
      const fd = await openDescriptor(path, O_RDWR | O_CREAT, FILE_MODE);
      try {
        if (!this.#addon.lock(fd)) throw new CairnError('LOCKED', `${path} is locked by another process`);
      } catch (error) {
        await closeDescriptor(fd);
        throw error;
      }
      return new NodeLock(fd);
    });
  }

  bootId(): string {
    try {
      this.#bootId ??= readFileSync(BOOT_ID_PATH, 'utf8').trim();
      return this.#bootId;
    } catch (error) {
      throw toCairnError(error, 'read', BOOT_ID_PATH);
    }
  }

  async #open(path: string, flags: number): Promise<NodeFile> {
    const fd = await attempt('open', path, () => openDescriptor(path, flags, FILE_MODE));
    return new NodeFile(this.#addon, fd, path);
  }

  async #replaceFile(path: string, bytes: Uint8Array): Promise<void> {
    const temporary = `${path}.tmp`;
    const file = await this.#open(temporary, O_RDWR | O_CREAT | O_TRUNC);
    try {
      try {
        await file.writeAndDatasync([bytes], 0);
      } finally {
        await file.close();
      }
      await this.rename(temporary, path);
    } catch (error) {
      // The old file is whole. What the temporary one holds is worth nothing, and removing it may fail for the same reason.
      await unlink(temporary).catch(() => undefined);
      throw error;
    }
    await this.syncDirectory(dirname(path));
  }
}

function flagsOf(options: OpenOptions): number {
  return (
    (options.readOnly ? O_RDONLY : O_RDWR) | (options.create ? O_CREAT : 0) | (options.exclusive ? O_CREAT | O_EXCL : 0)
  );
}

class NodeLock implements IoLock {
  #fd: number | undefined;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** The file stays: removing it would let two processes hold a lock on two files of one name. */
  async release(): Promise<void> {
    const fd = this.#fd;
    this.#fd = undefined;
    if (fd !== undefined) await closeDescriptor(fd);
  }
}

async function attempt<T>(action: string, path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw toCairnError(error, action, path);
  }
}

function attemptNow<T>(action: string, path: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw toCairnError(error, action, path);
  }
}
