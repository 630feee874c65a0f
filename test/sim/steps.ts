/**
 * The steps of a history, as plain data: they are drawn from a seed, printed, and left out one by one when a failing history is made
 * shorter. A step that has nothing to act on does nothing, so any part of a history is a history.
 */
import type { DiskChange } from './disk-change.js';
import type { SeededRandom } from './seeded-random.js';

export type Step =
  | { readonly op: 'create'; readonly path: string; readonly slot: number }
  | { readonly op: 'open'; readonly path: string; readonly slot: number }
  | { readonly op: 'close'; readonly slot: number }
  /** `from` undefined: at the end. */
  | { readonly op: 'write'; readonly slot: number; readonly from: number | undefined; readonly length: number }
  | { readonly op: 'truncate'; readonly slot: number; readonly size: number }
  | { readonly op: 'punch'; readonly slot: number; readonly from: number; readonly length: number }
  /** `wait` false: it goes on while the next steps run. */
  | { readonly op: 'fsync'; readonly slot: number; readonly wait: boolean }
  | { readonly op: 'fsyncdir'; readonly wait: boolean }
  | { readonly op: 'commit'; readonly wait: boolean }
  | { readonly op: 'mkdir' | 'rmdir' | 'unlink'; readonly path: string }
  | { readonly op: 'rename' | 'link'; readonly path: string; readonly to: string }
  | { readonly op: 'chmod'; readonly path: string; readonly mode: number }
  | { readonly op: 'setxattr'; readonly path: string; readonly value: string }
  | { readonly op: 'pass'; readonly ms: number }
  /** Chunks are compressed from then on. */
  | { readonly op: 'compress' }
  | { readonly op: 'collect' | 'snapshot' | 'settle' | 'map' | 'reopen' }
  | { readonly op: 'clock'; readonly ms: number }
  /** What moves, moves while the next steps run; `settle` waits for it. */
  | DiskChange
  /** The disk is dead. */
  | { readonly op: 'lose'; readonly disk: number };

const DIRECTORIES = ['/d', '/e'];
const FILES = ['/a', '/b', '/c', '/d/a', '/d/b', '/e/c'];
const SLOTS = 4;
const LENGTHS = [1, 300, 4096, 5000, 40_000, 70_000, 140_000, 300_000];
const MODES = [0o600, 0o644, 0o755];

/** `scale` is about how many bytes a write has at most. */
export function drawSteps(random: SeededRandom, count: number, scale = 300_000): Step[] {
  return Array.from({ length: count }, (_, i) => opening(random, i) ?? drawStep(random, scale));
}

/** Half of all histories begin with it. */
export function compressing(seed: number): Step[] {
  return seed % 2 === 0 ? [{ op: 'compress' }] : [];
}

/** A history begins with something to act on, most of the time. */
function opening(random: SeededRandom, index: number): Step | undefined {
  if (index > 4 || random.chance(0.3)) return undefined;
  if (index === 1) return { op: 'mkdir', path: random.pick(DIRECTORIES) };
  return { op: 'create', path: random.pick(FILES), slot: index % SLOTS };
}

function drawStep(random: SeededRandom, scale: number): Step {
  const slot = random.below(SLOTS);
  const path = random.pick(FILES);
  const length = (): number => Math.min(scale, 1 + random.below(random.pick(LENGTHS)));
  const offset = (): number => random.pick([0, 0, 512, 4096, 65_536, 131_072, random.below(200_000)]);
  const wait = random.chance(0.5);
  const draw = random.below(100);
  if (draw < 14) return { op: 'create', path, slot };
  if (draw < 19) return { op: 'open', path, slot };
  if (draw < 24) return { op: 'close', slot };
  if (draw < 46) return { op: 'write', slot, from: random.chance(0.6) ? undefined : offset(), length: length() };
  if (draw < 49) return { op: 'truncate', slot, size: random.pick([0, 100, 4096, 100_000]) };
  if (draw < 51) return { op: 'punch', slot, from: offset(), length: length() };
  if (draw < 62) return { op: 'fsync', slot, wait };
  if (draw < 64) return { op: 'fsyncdir', wait };
  if (draw < 70) return { op: 'commit', wait };
  if (draw < 73) return { op: 'mkdir', path: random.pick(DIRECTORIES) };
  if (draw < 74) return { op: 'rmdir', path: random.pick(DIRECTORIES) };
  if (draw < 79) return { op: 'unlink', path };
  if (draw < 85) return { op: 'rename', path, to: random.pick([...FILES, '/f']) };
  if (draw < 87) return { op: 'link', path, to: random.pick([...FILES, '/g']) };
  if (draw < 88) return { op: 'chmod', path, mode: random.pick(MODES) };
  if (draw < 89) return { op: 'setxattr', path, value: String(random.below(1000)) };
  if (draw < 94) return { op: 'pass', ms: random.pick([5, 20, 300, 6000, 6000, 40_000]) };
  if (draw < 96) return { op: 'collect' };
  if (draw < 97) return { op: 'snapshot' };
  if (draw < 98) return { op: 'map' };
  if (draw < 99) return { op: 'settle' };
  return { op: 'clock', ms: random.pick([-86_400_000, -1000, 3_600_000]) };
}
