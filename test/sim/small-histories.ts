/** One short history for every kind of thing that a commit can be made of: of these every crash point is looked at, in every way to stop. */
import type { DiskChange } from './disk-change.js';
import type { PoolLayout } from './sim-pool.js';
import { USUAL_LAYOUT } from './sim-pool.js';
import type { Step } from './steps.js';

export interface SmallHistory {
  readonly name: string;
  readonly steps: readonly Step[];
  readonly layout?: Partial<PoolLayout>;
  /** What a pool that was stopped anywhere in it must be able to finish. */
  readonly change?: DiskChange;
}

const create = (path: string, slot: number): Step => ({ op: 'create', path, slot });
const append = (slot: number, length: number): Step => ({ op: 'write', slot, from: undefined, length });
const fsync = (slot: number): Step => ({ op: 'fsync', slot, wait: true });
const commit: Step = { op: 'commit', wait: true };

export const SMALL_HISTORIES: readonly SmallHistory[] = [
  { name: 'create and commit', steps: [create('/a', 0), append(0, 5000), commit] },
  { name: 'a large file', steps: [create('/a', 0), append(0, 200_000), commit, append(0, 100_000), commit] },
  {
    name: 'overwrite',
    steps: [
      create('/a', 0),
      append(0, 70_000),
      commit,
      { op: 'write', slot: 0, from: 1000, length: 9000 },
      fsync(0),
      { op: 'write', slot: 0, from: 0, length: 70_000 },
      commit,
    ],
  },
  {
    name: 'rename over',
    steps: [
      create('/a', 0),
      append(0, 6000),
      fsync(0),
      create('/b', 1),
      append(1, 7000),
      fsync(1),
      { op: 'rename', path: '/b', to: '/a' },
      { op: 'fsyncdir', wait: true },
      commit,
    ],
  },
  {
    name: 'unlink',
    steps: [
      create('/a', 0),
      append(0, 80_000),
      commit,
      { op: 'close', slot: 0 },
      { op: 'unlink', path: '/a' },
      { op: 'fsyncdir', wait: true },
      commit,
      { op: 'collect' },
    ],
  },
  {
    name: 'fsync again and again',
    steps: [
      create('/a', 0),
      append(0, 4096),
      fsync(0),
      append(0, 4096),
      fsync(0),
      { op: 'write', slot: 0, from: 0, length: 4096 },
      fsync(0),
    ],
  },
  {
    name: 'fsyncs that overlap',
    steps: [
      create('/a', 0),
      create('/b', 1),
      append(0, 4096),
      { op: 'fsync', slot: 0, wait: false },
      append(1, 300),
      { op: 'fsync', slot: 1, wait: false },
      append(0, 100),
      { op: 'fsync', slot: 0, wait: false },
      { op: 'settle' },
    ],
  },
  {
    name: 'compaction',
    steps: [
      create('/a', 0),
      append(0, 140_000),
      commit,
      create('/b', 1),
      append(1, 140_000),
      commit,
      { op: 'unlink', path: '/a' },
      { op: 'close', slot: 0 },
      commit,
      { op: 'collect' },
      append(1, 3000),
      commit,
      { op: 'collect' },
    ],
  },
  {
    name: 'snapshot',
    steps: [
      create('/a', 0),
      append(0, 3000),
      commit,
      { op: 'snapshot' },
      append(0, 3000),
      fsync(0),
      { op: 'snapshot' },
      commit,
    ],
  },
  { name: 'map change', steps: [create('/a', 0), append(0, 3000), commit, { op: 'map' }, append(0, 3000), commit] },
  {
    name: 'directories',
    steps: [
      { op: 'mkdir', path: '/d' },
      create('/d/a', 0),
      append(0, 500),
      { op: 'link', path: '/d/a', to: '/g' },
      { op: 'fsyncdir', wait: true },
      { op: 'unlink', path: '/d/a' },
      { op: 'rmdir', path: '/d' },
      commit,
    ],
  },
  {
    name: 'attributes',
    steps: [
      create('/a', 0),
      { op: 'chmod', path: '/a', mode: 0o600 },
      { op: 'setxattr', path: '/a', value: '1' },
      fsync(0),
      { op: 'chmod', path: '/a', mode: 0o755 },
      { op: 'setxattr', path: '/a', value: '2' },
      commit,
    ],
  },
  {
    name: 'truncate and punch',
    steps: [
      create('/a', 0),
      append(0, 150_000),
      commit,
      { op: 'truncate', slot: 0, size: 100_000 },
      { op: 'punch', slot: 0, from: 4096, length: 70_000 },
      fsync(0),
      append(0, 10),
      commit,
    ],
  },
  {
    name: 'a commit in the background',
    steps: [create('/a', 0), append(0, 300_000), { op: 'pass', ms: 6000 }, append(0, 5000), { op: 'pass', ms: 40_000 }],
  },
  {
    name: 'journal disks',
    layout: { journal: 2 },
    steps: [
      create('/a', 0),
      append(0, 5000),
      commit,
      append(0, 90_000),
      commit,
      { op: 'snapshot' },
      append(0, 100),
      commit,
    ],
  },
  {
    name: 'two disks',
    layout: { data: 2 },
    steps: [create('/a', 0), append(0, 5000), commit, append(0, 90_000), commit],
  },
  {
    name: 'a disk is added',
    layout: { spare: true },
    change: { op: 'add' },
    steps: [create('/a', 0), append(0, 140_000), commit, { op: 'add' }, append(0, 3000), fsync(0), { op: 'settle' }],
  },
  {
    name: 'a dead disk is replaced',
    layout: { spare: true },
    change: { op: 'replace', disk: 2 },
    steps: [
      create('/a', 0),
      append(0, 140_000),
      commit,
      { op: 'lose', disk: 2 },
      append(0, 3000),
      commit,
      { op: 'replace', disk: 2 },
      append(0, 3000),
      fsync(0),
      { op: 'settle' },
    ],
  },
  {
    name: 'a disk is removed',
    layout: { data: 4 },
    change: { op: 'remove', disk: 2 },
    steps: [
      create('/a', 0),
      append(0, 140_000),
      commit,
      { op: 'remove', disk: 2 },
      append(0, 3000),
      fsync(0),
      { op: 'settle' },
    ],
  },
  {
    name: 'compressed chunks',
    steps: [
      { op: 'compress' },
      create('/a', 0),
      append(0, 140_000),
      commit,
      { op: 'write', slot: 0, from: 1000, length: 9000 },
      create('/b', 1),
      append(1, 20_000),
      commit,
    ],
  },
];

export function layoutOf({ layout }: SmallHistory, mode: 'default' | 'strong'): PoolLayout {
  return { ...USUAL_LAYOUT, ...layout, mode };
}
