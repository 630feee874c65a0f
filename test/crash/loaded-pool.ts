/**
 * A pool that is written to, crashes, and must have kept what it promised, again and again. What happens in a crash is the business of
 * its owners (power-cut-pool.ts, kill-cycles.ts); this keeps the manifest over all cycles and checks it.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { contentOf } from '../integration/content.js';
import type { MountHarness } from '../integration/mount-harness.js';
import type { Mode } from './crash-options.js';
import { acknowledgedBy, type Crash, committed, findLoadLoss, type LoadManifest, MixedLoad } from './mixed-load.js';

/** Loads that stay in the pool; older ones are removed while a new one runs. */
const LOADS_KEPT = 2;

export class LoadedPool {
  readonly harness: MountHarness;
  readonly mode: Mode;
  readonly #crash: Crash;
  readonly #seed: string;
  #loads: LoadManifest[] = [];
  /** Loads that are being removed: nothing is known of them until that is done. */
  #condemned: string[] = [];
  #checked = 0;

  constructor(harness: MountHarness, mode: Mode, crash: Crash, seed: string) {
    this.harness = harness;
    this.mode = mode;
    this.#crash = crash;
    this.#seed = seed;
  }

  get manifest(): readonly LoadManifest[] {
    return this.#loads;
  }

  /** Acknowledgements that have been checked, in all cycles. */
  get checked(): number {
    return this.#checked;
  }

  async mount(): Promise<void> {
    await this.harness.mount(...(this.mode === 'strong' ? ['--strong'] : []));
  }

  /** Starts writing, while an old load is removed. */
  async start(cycle: number): Promise<MixedLoad> {
    const { harness, mode } = this;
    this.#condemned.push(
      ...this.#loads.splice(0, Math.max(0, this.#loads.length - LOADS_KEPT)).map(({ name }) => name),
    );
    const how = { strong: mode === 'strong', crash: this.#crash };
    const load = new MixedLoad(harness, `load ${cycle}`, `${this.#seed} ${mode} ${cycle}`, how);
    await load.begun();
    if (this.#condemned.length > 0)
      harness.start('rm', '-rf', ...this.#condemned.map((name) => join(harness.mountpoint, name)));
    return load;
  }

  /** After the crash: the programs have ended, and what they were told is noted. */
  async crashed(load: MixedLoad): Promise<LoadManifest> {
    await load.ended();
    const manifest = load.manifest();
    this.#loads.push(manifest);
    this.#checked += acknowledgedBy(manifest);
    return manifest;
  }

  /** What is missing or wrong, a sentence each. `cacheLost`: with an empty cache. */
  check(cacheLost: boolean): string[] {
    const closed = this.#crash === 'kill' || this.mode === 'strong';
    return this.#loads.flatMap((load) => findLoadLoss(this.harness.mountpoint, load, { closed, cacheLost }));
  }

  /** The pool is healthy and takes new files. */
  async checkHealth(): Promise<string[]> {
    const { harness } = this;
    const problems: string[] = [];
    const status = await harness.status();
    if (status.health !== 'healthy' || status.findings.length > 0)
      problems.push(`status says ${status.health}: ${status.findings.join('; ')}`);
    const fsck = await harness.fsck();
    if (fsck !== undefined) problems.push(`fsck: ${fsck}`);
    const path = join(harness.mountpoint, 'probe');
    try {
      await rm(path, { recursive: true, force: true });
      await mkdir(path);
      for (const size of [100, 100_000, 1_500_000]) {
        const bytes = contentOf(`probe ${size}`, size);
        await writeFile(join(path, `${size}`), bytes);
        if (!(await readFile(join(path, `${size}`))).equals(bytes))
          problems.push(`a new file of ${size} bytes is wrong`);
      }
    } catch (error) {
      problems.push(`the pool takes no new files: ${String(error)}`);
    }
    return problems;
  }

  /** The pool has everything that is staged. */
  async commit(): Promise<void> {
    await this.harness.commit();
    this.#loads = this.#loads.map(committed);
  }
}
