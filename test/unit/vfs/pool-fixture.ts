/**
 * A small real pool in a temporary directory, in process: three data disks, a cache and a metadata directory, all inside the pool
 * directory. `kill` stands for kill -9: it copies the directories as they are at that instant, which is what a killed process
 * leaves (what it wrote is in the page cache), and opens the copy; the old pool is closed and its directory thrown away.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { NodeFileIo } from '../../../src/io/node-file-io.js';
import { SystemRandom } from '../../../src/io/random.js';
import { loadConfig, saveConfig } from '../../../src/pool/config.js';
import { initPool } from '../../../src/pool/init-pool.js';
import type { Machine } from '../../../src/pool/machine.js';
import { Pool } from '../../../src/pool/pool.js';
import { type AccessTimes, RELATIVE_ACCESS_TIMES } from '../../../src/vfs/access-times.js';
import type { Vfs } from '../../../src/vfs/vfs.js';

const MIB = 1024 * 1024;

export interface FixtureOptions {
  readonly chunkBytes?: number;
  readonly cacheBytes?: number;
  readonly commitDelayMs?: number;
  readonly whenDegraded?: 'allow' | 'refuse';
  readonly mode?: 'default' | 'strong';
  /** What the device is said to have free, for all directories together. */
  readonly deviceBytes?: number;
  readonly bucketBytes?: number;
  readonly accessTimes?: AccessTimes;
  /** What the pool stands on, at every opening. */
  readonly machine?: Machine;
}

class SmallIo extends NodeFileIo {
  constructor(readonly freeBytes: number) {
    super();
  }

  override async space(): Promise<{ totalBytes: number; freeBytes: number }> {
    return { totalBytes: this.freeBytes, freeBytes: this.freeBytes };
  }
}

export class PoolFixture {
  pool!: Pool;
  /** What the pool has logged since it was opened last. */
  readonly lines: string[] = [];
  #directory: string;
  readonly #options: FixtureOptions;

  static async create(t: Test, options: FixtureOptions = {}): Promise<PoolFixture> {
    const fixture = new PoolFixture(options);
    t.teardown(() => fixture.#destroy());
    await fixture.#init();
    await fixture.open();
    return fixture;
  }

  private constructor(options: FixtureOptions) {
    this.#options = options;
    this.#directory = mkdtempSync(join(tmpdir(), 'cairn-vfs-'));
  }

  get vfs(): Vfs {
    return this.pool.vfs;
  }

  get directory(): string {
    return this.#directory;
  }

  get strong(): boolean {
    return this.#options.mode === 'strong';
  }

  get disks(): string[] {
    return [1, 2, 3].map((number) => join(this.#directory, `disk${number}`));
  }

  async #init(): Promise<void> {
    const { chunkBytes = 128 * 1024, cacheBytes, commitDelayMs, deviceBytes = 1024 * MIB } = this.#options;
    const cache = join(this.#directory, 'cache');
    for (const directory of [...this.disks, cache]) await mkdir(directory);
    const io = new SmallIo(deviceBytes);
    await initPool(io, new SystemRandom(), this.#directory, {
      disks: this.disks,
      journals: [],
      cache,
      meta: join(this.#directory, 'meta'),
      scheme: 'auto',
      bucketBytes: this.#options.bucketBytes ?? 16 * MIB,
      chunkBytes,
    });
    const config = await loadConfig(io, this.#directory);
    await saveConfig(io, this.#directory, {
      ...config,
      commitDelayMs: commitDelayMs ?? config.commitDelayMs,
      whenDegraded: this.#options.whenDegraded ?? config.whenDegraded,
      cache: { ...config.cache, sizeBytes: cacheBytes },
    });
  }

  async open(): Promise<void> {
    this.lines.length = 0;
    const note = (_fields: object, message: string) => void this.lines.push(message);
    this.pool = await Pool.open(this.#directory, {
      mode: this.#options.mode ?? 'default',
      accessTimes: this.#options.accessTimes ?? RELATIVE_ACCESS_TIMES,
      ...(this.#options.machine && { machine: this.#options.machine }),
      log: { debug: () => {}, info: note, warn: note, error: note },
    });
  }

  async reopen(): Promise<void> {
    await this.pool.close();
    await this.open();
  }

  /** As kill -9, the loss of these directories, and a new start. */
  async kill(...names: readonly ('cache' | 'meta')[]): Promise<void> {
    const copy = mkdtempSync(join(tmpdir(), 'cairn-vfs-'));
    execFileSync('cp', ['-a', '--sparse=always', `${this.#directory}/.`, copy]);
    for (const name of names) rmSync(join(copy, name), { recursive: true });
    await this.#destroy();
    this.#directory = copy;
    await this.open();
  }

  /** Closes the pool, takes directories away and opens it again. */
  async reopenWithout(...names: readonly ('cache' | 'meta' | 'disk1' | 'disk2' | 'disk3')[]): Promise<void> {
    await this.pool.close();
    for (const name of names) rmSync(join(this.#directory, name), { recursive: true });
    await this.open();
  }

  async #destroy(): Promise<void> {
    await this.pool?.close().catch(() => undefined);
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
