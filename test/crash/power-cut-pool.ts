/**
 * A pool whose disks, cache and pool directory (metadata, cairn.toml) are file systems on loop devices, all of which lose power within
 * milliseconds. One cycle:
 *
 *   load → cut, in an order from the seed → kill the daemon → unmount → another boot id → copy the images
 *   → the copy, with an empty cache and no metadata: what the pool had promised is there
 *   → the images: all that was acknowledged is there, the pool is healthy and takes new files
 *
 * The images of a failed cycle stay as they were right after the cut.
 */
import { mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { ControlClient } from '../../src/http/control-client.js';
import { MountHarness } from '../integration/mount-harness.js';
import { Cleanup } from './cleanup.js';
import type { Mode } from './crash-options.js';
import { Dice } from './dice.js';
import { LoadedPool } from './loaded-pool.js';
import { acknowledgedBy, type LoadManifest, promisedByPool } from './mixed-load.js';
import { boot } from './own-namespace.js';
import { type FileSystem, PowerDevices } from './power-devices.js';

/** mkfs.xfs makes nothing smaller. */
const DEVICE_BYTES = 300 * 1024 * 1024;
/** Acknowledgements to one program before the cut. */
const LEAST = 3;
const MOST = 70;
const LINGER_MS = 150;
/** Commits come as often as possible to some pools, and late to others. */
const DELAYS_MS = [30, 300, 2000];

export interface CutReport {
  readonly problems: readonly string[];
  /** For people: what was cut, and when. */
  readonly line: string;
  readonly stagedFiles: number;
  readonly manifest: LoadManifest;
}

export class PowerCutPool {
  readonly #cleanup = new Cleanup();
  readonly #directory: string;
  readonly #seed: string;
  readonly #pool: LoadedPool;
  readonly #devices: PowerDevices;
  readonly #types: string;
  #isMounted = false;

  /** `directory`: of this namespace; it may hold one pool at a time. The seed decides about everything. */
  static async make(directory: string, mode: Mode, seed: string, generation: number): Promise<PowerCutPool> {
    const cleanup = new Cleanup();
    const harness = await MountHarness.create(cleanup, { parent: directory });
    const pool = new PowerCutPool(directory, harness, mode, seed, generation, cleanup);
    await pool.#init(new Dice(`${seed} pool ${generation}`));
    return pool;
  }

  private constructor(
    directory: string,
    harness: MountHarness,
    mode: Mode,
    seed: string,
    generation: number,
    cleanup: Cleanup,
  ) {
    this.#cleanup = cleanup;
    this.#directory = directory;
    this.#seed = seed;
    this.#pool = new LoadedPool(harness, mode, 'power cut', seed);
    const mountpoints = [...harness.disks, harness.cache, harness.pool];
    const types: readonly FileSystem[] = generation % 2 === 0 ? ['ext4', 'xfs'] : ['xfs', 'ext4'];
    const devices = mountpoints.map((mountpoint, index) => {
      return { name: basename(mountpoint), type: types[index % 2]!, mountpoint };
    });
    this.#types = devices.map(({ name, type }) => `${name} ${type}`).join(', ');
    this.#devices = new PowerDevices((program, ...args) => harness.must(program, ...args), devices);
  }

  /** What is on what. */
  get types(): string {
    return this.#types;
  }

  get checked(): number {
    return this.#pool.checked;
  }

  #images(which: 'images' | 'after the cut' | 'scratch'): string {
    return join(this.#directory, which);
  }

  get #log(): string {
    return join(this.#directory, 'daemon.log');
  }

  async #init(dice: Dice): Promise<void> {
    const { harness } = this.#pool;
    await boot(this.#directory);
    await this.#devices.make(this.#images('images'), DEVICE_BYTES);
    await this.#mountDevices('images');
    await harness.init();
    const delayMs = DELAYS_MS[dice.between(0, DELAYS_MS.length - 1)]!;
    await harness.configure((toml) => toml.replace(/^delay_ms = .*$/m, `delay_ms = ${delayMs}`));
    // The log is to survive what it tells of.
    await writeFile(this.#log, '');
    await symlink(this.#log, join(harness.pool, 'daemon.log'));
    await harness.must('sync', '-f', harness.pool);
    await this.#pool.mount();
  }

  async #mountDevices(which: 'images' | 'scratch'): Promise<void> {
    await this.#devices.mount(this.#images(which));
    this.#isMounted = true;
  }

  async #unmountDevices(): Promise<void> {
    await this.#pool.harness.detach();
    await this.#devices.unmount();
    this.#isMounted = false;
  }

  /** Begins and ends with a mounted pool. Throws if anything but the pool's promises fails. */
  async cycle(cycle: number): Promise<CutReport> {
    const pool = this.#pool;
    const { harness } = pool;
    const dice = new Dice(`${this.#seed} ${pool.mode} ${cycle}`);
    const control = new ControlClient(harness.pool);
    const load = await pool.start(cycle);
    if (dice.oneIn(2)) {
      await load.until(dice, LEAST, MOST);
      await load.commit(() => control.commit(['/'], () => undefined));
    }
    await load.until(dice, LEAST, MOST);
    const order = dice.shuffled(this.#devices.devices.map((_, index) => index));
    const linger = dice.oneIn(2) ? dice.between(0, LINGER_MS) : 0;
    const staged = await this.#somethingStaged(control);
    const span = await this.#devices.cut(order);
    // A daemon without its disks may promise nothing more.
    await new Promise((resolve) => setTimeout(resolve, linger));
    await harness.kill();
    const manifest = await pool.crashed(load);
    await this.#unmountDevices();
    await boot(this.#directory);
    await this.#devices.copy(this.#images('images'), this.#images('after the cut'));

    const fromDisks = await this.#checkFromDisks();
    await this.#mountDevices('images');
    await pool.mount();
    const problems = [
      ...fromDisks.map((problem) => `with an empty cache: ${problem}`),
      ...pool.check(false),
      ...(await pool.checkHealth()),
    ];
    if (problems.length === 0) await pool.commit();
    const names = order.map((index) => this.#devices.devices[index]!.name);
    return {
      problems,
      line:
        `${acknowledgedBy(manifest)} acknowledged (${promisedByPool(manifest)} by the pool), ${staged} files staged, ` +
        `cut in ${span.toFixed(1)} ms: ${names.join(', ')}`,
      stagedFiles: staged,
      manifest,
    };
  }

  /** How many files are staged; in default mode it waits until there are some, since a cut that finds none shows nothing. */
  async #somethingStaged(control: ControlClient): Promise<number> {
    for (;;) {
      const { dirtyFiles } = await control.status();
      if (dirtyFiles > 0 || this.#pool.mode === 'strong') return dirtyFiles;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** Of a copy of what the cut has left: no metadata, and a cache that has never seen the pool. */
  async #checkFromDisks(): Promise<string[]> {
    const { harness } = this.#pool;
    await this.#devices.copy(this.#images('after the cut'), this.#images('scratch'));
    await this.#mountDevices('scratch');
    await rm(harness.meta, { recursive: true, force: true });
    for (const name of await readdir(harness.cache)) await rm(join(harness.cache, name), { recursive: true });
    await harness.mount();
    const problems = this.#pool.check(true);
    const { health, findings } = await harness.status();
    if (health !== 'healthy') problems.push(`status says ${health}: ${findings.join('; ')}`);
    await harness.kill();
    await this.#unmountDevices();
    await rm(this.#images('scratch'), { recursive: true });
    return problems;
  }

  /** Moves the images that the last cut has left, the manifest and the daemon's log to a directory that stays. */
  async keepEvidence(to: string, problems: readonly string[]): Promise<void> {
    await mkdir(to, { recursive: true });
    const { harness, manifest } = this.#pool;
    for (const name of ['after the cut', 'daemon.log'])
      await harness.exec('cp', ['-a', '--sparse=always', join(this.#directory, name), to], '/');
    await writeFile(
      join(to, 'manifest.json'),
      JSON.stringify({ problems, types: this.#types, manifest }, undefined, 2),
    );
  }

  /** Ends the daemon in order, if that is still possible, and takes everything away. */
  async end(): Promise<void> {
    const { harness } = this.#pool;
    try {
      if (this.#isMounted) {
        await harness.run('unmount', harness.mountpoint);
        await harness.detach();
        await this.#devices.unmount();
      }
    } finally {
      await this.#cleanup.end();
      for (const which of ['images', 'after the cut', 'scratch'] as const)
        await rm(this.#images(which), { recursive: true, force: true });
    }
  }
}
