/**
 * A fresh pool with three disks, mounted by the built command like a user mounts it. Disks, cache and metadata lie in one
 * directory, so on the device that the plain side uses too. Its `stop` and the cleanup that it registers leave nothing
 * mounted, running or lying around.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { findMount } from '../src/fuse/mount-table.js';
import { Pool } from '../src/pool/pool.js';
import { isInterrupted, run } from './child.js';
import type { Cleanup } from './cleanup.js';
import { FILES_PER_ROUND, publishEmptyFiles } from './published-files.js';
import { canDropPageCache, dropPageCache, type Subject } from './subject.js';

const COMMAND = fileURLToPath(new URL('../src/cli/cairn.cjs', import.meta.url));
const MOUNT_TIMEOUT_MS = 60_000;
const UNMOUNT_TIMEOUT_MS = 600_000;

export interface PoolOptions {
  readonly strong: boolean;
  /** Staged bytes wait for `cairn commit`, so that the commit can be timed alone. */
  readonly noTimer?: boolean;
  /** Directory for CPU profiles of the daemon. */
  readonly profileDirectory?: string | undefined;
}

export class MountSubject implements Subject {
  readonly side = 'cairn';
  readonly directory: string;
  readonly #base: string;
  readonly #options: PoolOptions;
  #daemonPid: number | undefined;
  #foreground: ChildProcess | undefined;
  #remove: () => Promise<void> = () => Promise.resolve();

  private constructor(base: string, options: PoolOptions) {
    this.#base = base;
    this.#options = options;
    this.directory = join(base, 'mnt');
  }

  /** Makes the pool in the new directory `base` and mounts it. */
  static async start(base: string, options: PoolOptions, cleanup: Cleanup): Promise<MountSubject> {
    const subject = new MountSubject(base, options);
    subject.#remove = cleanup.add(`remove ${base}`, async () => {
      await subject.#abandon();
      await rm(base, { recursive: true, force: true, maxRetries: 10 });
    });
    await mkdir(subject.directory, { recursive: true });
    const disks = ['a', 'b', 'c'].map((name) => join(base, 'disks', name));
    const cache = join(base, 'cache');
    for (const directory of [...disks, cache]) await mkdir(directory, { recursive: true });
    await run(process.execPath, [COMMAND, 'init', subject.#pool, '--disk', ...disks, '--cache', cache]);
    if (options.noTimer) subject.#stopTimer();
    await subject.#mount();
    return subject;
  }

  /** Unmounts and removes everything. */
  async stop(): Promise<void> {
    await this.#unmount();
    await this.#remove();
  }

  get pid(): number {
    if (this.#daemonPid === undefined) throw new Error('the pool is not mounted');
    return this.#daemonPid;
  }

  /** Commits everything; what the daemon reports of it. */
  async commit(): Promise<{ readonly bytesDone: number; readonly elapsedMs: number }> {
    const out = await run(process.execPath, [COMMAND, 'commit', '--wait', '--json', this.directory]);
    return JSON.parse(out) as { bytesDone: number; elapsedMs: number };
  }

  async settle(): Promise<void> {
    await this.commit();
    await run('sync', ['-f', this.#base]);
  }

  /** Mounts it again, so that nothing can be changed, and the kernel reads large files by itself, or never. Everything must be committed. */
  async mountReadOnly(passthrough: boolean): Promise<void> {
    await this.#mountOnce(`read_only = true\npassthrough = "${passthrough ? 'auto' : 'off'}"`);
  }

  /** Mounts it again, so that the kernel keeps what is written (its writeback cache). */
  async mountWriteback(): Promise<void> {
    await this.#mountOnce('writeback = true');
  }

  /** With these lines below `[mount]`; the next time without. */
  async #mountOnce(lines: string): Promise<void> {
    await this.#unmount();
    const path = join(this.#pool, 'cairn.toml');
    const text = readFileSync(path, 'utf8');
    const changed = text.replace(/^# \[mount\]\n(# .*\n)+/m, `[mount]\n${lines}\n`);
    if (changed === text) throw new Error(`${path} has no [mount] to change`);
    writeFileSync(path, changed);
    await this.#mount();
    writeFileSync(path, text);
  }

  /** Adds empty files, a thousand to a directory, by the library while the pool is not mounted: ten million through a mount would take hours. */
  async addFiles(count: number): Promise<void> {
    await this.#unmount();
    const pool = await Pool.open(this.#pool);
    try {
      const { objects } = pool;
      for (let first = 0; first < count && !isInterrupted(); first += FILES_PER_ROUND) {
        const { ino } = await objects.makeDirectory(objects.root, `many-${first}`, { uid: 0, gid: 0, mode: 0o755 });
        const names = Array.from({ length: Math.min(FILES_PER_ROUND, count - first) }, (_, i) => `${first + i}`);
        await publishEmptyFiles(objects, ino, names, () => new Map());
      }
      await pool.commit();
    } finally {
      await pool.close();
    }
    await this.#mount();
  }

  async mountAgain(): Promise<void> {
    await this.#unmount();
    await this.#mount();
  }

  /** Waits until the daemon has whole copies of so many bytes; an error if it never will, because all files are read through the daemon here. */
  async copied(bytes: number): Promise<void> {
    const log = readFileSync(join(this.#pool, 'daemon.log'), 'utf8');
    if (log.includes('no passthrough here')) throw new Error('this kernel, or this user, has no passthrough');
    const descriptors = `/proc/${this.pid}/fd`;
    // They have no names.
    for (let written = 0; written < bytes; await delay(500)) {
      const found = readdirSync(descriptors).map((name) => join(descriptors, name));
      written = 0;
      for (const path of found) if (linkOf(path).endsWith('/backing (deleted)')) written += statSync(path).blocks * 512;
    }
    await run('sync', ['-f', this.#base]);
  }

  /** The clean cache is dropped when the pool is mounted again; then the kernel's pages of the disks' logs. */
  async makeCold(): Promise<void> {
    await this.settle();
    await this.#mountCold();
  }

  /** As `makeCold`, and one of the disks is not there any more; returns what brings it back. */
  async takeDiskAway(): Promise<() => Promise<void>> {
    await this.settle();
    const disk = join(this.#base, 'disks', 'a');
    await this.#mountCold(() => rename(disk, `${disk}.away`));
    return () => this.#mountCold(() => rename(`${disk}.away`, disk));
  }

  /** Mounts it again with nothing in memory, after `meanwhile`. */
  async #mountCold(meanwhile?: () => Promise<void>): Promise<void> {
    await this.#unmount();
    await meanwhile?.();
    if (canDropPageCache()) dropPageCache();
    await this.#mount();
  }

  async clear(): Promise<void> {
    for (const name of await readdir(this.directory)) await rm(join(this.directory, name), { recursive: true });
  }

  get #pool(): string {
    return join(this.#base, 'pool');
  }

  #stopTimer(): void {
    const path = join(this.#pool, 'cairn.toml');
    const text = readFileSync(path, 'utf8');
    const changed = text.replace(/^delay_ms = .*$/m, 'delay_ms = 86400000');
    if (changed === text) throw new Error(`${path} has no delay_ms`);
    writeFileSync(path, changed);
  }

  async #mount(): Promise<void> {
    const { strong, profileDirectory } = this.#options;
    const args = [COMMAND, 'mount', this.#pool, this.directory, ...(strong ? ['--strong'] : [])];
    if (profileDirectory === undefined) {
      await run(process.execPath, args, MOUNT_TIMEOUT_MS);
    } else {
      const profile = ['--cpu-prof', `--cpu-prof-dir=${profileDirectory}`];
      this.#foreground = spawn(process.execPath, [...profile, ...args, '--foreground'], { stdio: 'ignore' });
      this.#daemonPid = this.#foreground.pid;
    }
    this.#daemonPid = await this.#pidOfDaemon();
  }

  async #pidOfDaemon(): Promise<number> {
    const deadline = Date.now() + MOUNT_TIMEOUT_MS;
    for (;;) {
      try {
        const out = await run(process.execPath, [COMMAND, 'status', '--json', this.#pool], MOUNT_TIMEOUT_MS);
        const status = JSON.parse(out) as
          | { running: false }
          | { running: true; pid: number; mountpoint: string | null };
        if (status.running && status.mountpoint !== null) return status.pid;
        throw new Error(`the pool ${this.#pool} is not mounted`);
      } catch (error) {
        if (isInterrupted()) throw error;
        // a daemon in the foreground does not say when it is ready
        const starting = this.#foreground !== undefined && this.#foreground.exitCode === null;
        if (!starting || Date.now() > deadline) throw error;
        await delay(100);
      }
    }
  }

  async #unmount(): Promise<void> {
    await run(process.execPath, [COMMAND, 'unmount', this.directory], UNMOUNT_TIMEOUT_MS);
    const foreground = this.#foreground;
    // it writes its profile as it ends
    while (foreground !== undefined && foreground.exitCode === null && foreground.signalCode === null) await delay(50);
    this.#foreground = undefined;
    this.#daemonPid = undefined;
  }

  /** The pool is to be removed: nothing in it is worth waiting for. */
  async #abandon(): Promise<void> {
    if (this.#daemonPid !== undefined) kill(this.#daemonPid);
    while ((await findMount(this.directory)) !== undefined) {
      if (process.getuid?.() === 0) await run('umount', ['-l', this.directory]);
      else await run('fusermount3', ['-u', '-z', this.directory]);
    }
  }
}

/** '' where it has been closed since it was listed. */
function linkOf(descriptor: string): string {
  try {
    return readlinkSync(descriptor);
  } catch {
    return '';
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it has ended by itself
  }
}
