/**
 * What a directory may say for everything below it, as extended attributes of the directory (`setfattr -n user.cairn.policy.mode -v strong DIR`):
 *
 *     user.cairn.policy.mode           default or strong: what fsync and close promise
 *     user.cairn.policy.scheme         auto (the pool's own), copies:N or ec:K+M: how chunks are kept that are committed from then on
 *     user.cairn.policy.compression    off or zstd: whether chunks are compressed that are committed from then on, where it pays
 *     user.cairn.policy.commit_delay   0s, 500ms, 5m, 1h, up to 1d: how long staged bytes may wait for their commit
 *
 * Each key stands alone: a directory that says nothing about it leaves it to the one above, the root's to the pool. They are ordinary attributes: they
 * are listed, copied and kept like others, so journal, snapshots, rescue and fsck need to know nothing of them. Only what they may hold is checked.
 */
import type { ChunkPolicy, ChunkScheme } from '../chunks/chunk-store.js';
import { CairnError } from '../errors/cairn-error.js';

/** Read-only, of any file: what holds for it. Not listed. */
export const EFFECTIVE_POLICY = 'user.cairn.policy';
const NAMESPACE = `${EFFECTIVE_POLICY}.`;
export const POLICY_KEYS = ['mode', 'scheme', 'compression', 'commit_delay'] as const;
export type PolicyKey = (typeof POLICY_KEYS)[number];

const DELAY_MAX_MS = 86_400_000;
const UNITS: readonly (readonly [unit: string, ms: number])[] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
  ['ms', 1],
];
const DELAY = /^(\d{1,9})(d|h|m|s|ms)$/;

/** What some directory says; a key that is not there is left to the directory above, and at last to the pool. */
export interface Policy {
  readonly mode?: 'default' | 'strong';
  /** `auto`: that of the group which the chunk goes to. */
  readonly scheme?: ChunkScheme | 'auto';
  readonly compression?: 'off' | 'zstd';
  readonly commitDelayMs?: number;
}

/** Texts by key, as they were set. */
export type PolicyTexts = { readonly [K in PolicyKey]?: string };

export const NO_POLICY: Policy = {};

/** What holds where no directory says anything else; the scheme is the map's business. */
export type PoolPolicy = Required<Pick<Policy, 'mode' | 'commitDelayMs'>>;

/** How chunks are asked to be kept; undefined: as the pool keeps everything. */
export function chunkPolicyOf({ scheme, compression }: Policy): ChunkPolicy | undefined {
  const isCompressed = compression === 'zstd';
  if (scheme === undefined || scheme === 'auto') return isCompressed ? { isCompressed } : undefined;
  return { scheme, isCompressed };
}

export function isPolicyAttribute(name: string): boolean {
  return name.startsWith(NAMESPACE);
}

export function policyAttribute(key: PolicyKey): string {
  return NAMESPACE + key;
}

/** INVALID for a name below `user.cairn.policy.` that is none of the four. */
export function policyKeyOf(name: string): PolicyKey {
  const word = name.slice(NAMESPACE.length);
  const key = POLICY_KEYS.find((each) => each === word);
  if (key !== undefined) return key;
  throw new CairnError('INVALID', `there is no policy ${JSON.stringify(word)}`, {
    hint: `a directory may have: ${POLICY_KEYS.join(', ')}`,
  });
}

/** The policy that one key and its text make. INVALID, with what is allowed. `parseScheme` throws INVALID for what is no scheme. */
export function parsePolicy(key: PolicyKey, text: string, parseScheme: (text: string) => ChunkScheme | 'auto'): Policy {
  switch (key) {
    case 'mode':
      if (text === 'default' || text === 'strong') return { mode: text };
      throw wrong(key, text, 'it is default or strong');
    case 'scheme':
      return { scheme: parseScheme(text) };
    case 'compression':
      if (text === 'off' || text === 'zstd') return { compression: text };
      throw wrong(key, text, 'it is off or zstd');
    case 'commit_delay':
      return { commitDelayMs: parseDelay(text) };
  }
}

/** Milliseconds. INVALID. */
function parseDelay(text: string): number {
  const [, figure, unit] = DELAY.exec(text) ?? [];
  const [, ms = Number.NaN] = UNITS.find(([name]) => name === unit) ?? [];
  const delayMs = Number(figure) * ms;
  if (delayMs <= DELAY_MAX_MS) return delayMs;
  throw wrong('commit_delay', text, 'write it like 0s, 500ms, 5m or 1h, and at most 1d');
}

/** The shortest text that `commit_delay` reads back. */
export function formatDelay(delayMs: number): string {
  if (delayMs === 0) return '0s';
  const [unit, ms] = UNITS.find(([, each]) => delayMs % each === 0)!;
  return `${delayMs / ms}${unit}`;
}

function wrong(key: PolicyKey, text: string, hint: string): CairnError {
  return new CairnError('INVALID', `${JSON.stringify(text.slice(0, 80))} is no ${key.replace('_', ' ')}`, { hint });
}
