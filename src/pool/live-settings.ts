/**
 * What of cairn.toml takes effect while the pool is open. What does not, because data is laid out or mounted by it, waits for the next mount and is named
 * meanwhile.
 */
import { isDeepStrictEqual } from 'node:util';
import type { ScrubSchedule } from '../repair/scrub-schedule.js';
import type { Committer } from '../vfs/committer.js';
import type { StrongRule } from '../vfs/strong-rule.js';
import type { PoolConfig } from './config.js';
import type { PoolDisks } from './open-disks.js';

/** Every setting, as the file calls it. */
const KEYS: { readonly [K in keyof PoolConfig]-?: string } = {
  format: 'format',
  pool: 'pool',
  scheme: 'scheme',
  bucketBytes: 'bucket_bytes',
  chunkBytes: 'chunk_bytes',
  mode: 'mode',
  whenDegraded: 'strong.when_degraded',
  mount: 'mount',
  metaDirectory: 'meta.directory',
  cache: 'cache',
  commitDelayMs: 'commit.delay_ms',
  scrubDays: 'scrub.every_days',
  s3: 's3',
  web: 'web',
  notify: 'notify',
  disks: 'disk',
};

/** In which settings two files differ, as the file calls them. */
export function changedKeys(before: PoolConfig, after: PoolConfig): string[] {
  return (Object.keys(KEYS) as (keyof PoolConfig)[])
    .filter((key) => !isDeepStrictEqual(before[key], after[key]))
    .map((key) => KEYS[key]);
}

export class LiveSettings {
  readonly #disks: PoolDisks;
  readonly #committer: Committer;
  readonly #scrubs: ScrubSchedule;
  readonly #rule: StrongRule;

  constructor(parts: { disks: PoolDisks; committer: Committer; scrubs: ScrubSchedule; rule: StrongRule }) {
    this.#disks = parts.disks;
    this.#committer = parts.committer;
    this.#scrubs = parts.scrubs;
    this.#rule = parts.rule;
  }

  /** What the pool works with. */
  get current(): PoolConfig {
    return this.#disks.config;
  }

  /** Takes over what can be taken over. Everything else of `wanted` stays as it was. */
  apply({ commitDelayMs, scrubDays, whenDegraded }: PoolConfig): void {
    this.#disks.configure({ commitDelayMs, scrubDays, whenDegraded });
    this.#committer.setDelay(commitDelayMs);
    this.#scrubs.setEvery(scrubDays);
    this.#rule.whenDegraded = whenDegraded;
  }
}
