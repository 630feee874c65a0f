/** Writes COMMIT records onto the disks of a stopped machine, as each case of recovery's decision table needs them. */
import type { MetaStore } from '../../../src/meta/meta-store.js';
import type { ExtentRow } from '../../../src/meta/rows.js';
import { MemoryMetaStore } from '../../conformance/memory-meta-store.js';
import { type Machine, putCommit, Run } from './simulated-pool.js';

/** An extent of a chunk that no disk has. */
const lost: ExtentRow = { offset: 0, length: 5, chunk: 'ee'.repeat(32), chunkOffset: 0, chunkBytes: 5 };

export interface Put {
  readonly sequence: number;
  readonly epoch: number;
  /** One less than the sequence by default. */
  readonly acknowledged?: number;
  /** Names the file: the commit of sequence s and epoch e makes file 1000 e + s. */
  readonly readable?: boolean;
  readonly away?: readonly number[];
  readonly on: readonly number[];
}

export const inoOf = (sequence: number, epoch: number): number => 1000 * epoch + sequence;

/** Writes COMMIT records onto the disks of a stopped machine, with their chunks unless they are to be unreadable. */
export async function put(machine: Machine, puts: readonly Put[]): Promise<void> {
  const run = new Run(machine, await machine.disks(), new MemoryMetaStore());
  for (const { sequence, epoch, acknowledged = sequence - 1, readable = true, away, on } of puts) {
    let extent = lost;
    if (readable) {
      const [stored] = await run.chunks.storeSmall([Buffer.from(`${sequence}/${epoch}`)]);
      extent = { offset: 0, length: stored!.chunkBytes, chunkOffset: 0, ...stored! };
    }
    for (const number of on)
      await putCommit(run.disk(number), { sequence, epoch, acknowledged, ino: inoOf(sequence, epoch), extent, away });
  }
  for (const disk of run.disks) await disk.sync();
  await run.stop();
}

/** The files that the metadata has, as [sequence, epoch] of the commits that made them. */
export async function filesOf({ meta }: { meta: MetaStore }): Promise<[number, number][]> {
  const found: [number, number][] = [];
  for (let epoch = 1; epoch < 6; epoch++)
    for (let sequence = 1; sequence < 20; sequence++)
      if ((await meta.getInode(inoOf(sequence, epoch))) !== undefined) found.push([sequence, epoch]);
  return found;
}

/** An empty store that says it stands there. */
export async function storeAt(sequence: number, epoch: number): Promise<MetaStore> {
  const meta = new MemoryMetaStore();
  async function* nothing(): AsyncIterable<never> {}
  await meta.restore({ sequence, epoch, stagedThrough: 0, nextIno: 2 }, nothing());
  return meta;
}

/** Commits of these tests are made by files below; those that a run makes itself come after. */
export const OWN_INO = 50_000;
export const ALL = [1, 2, 3];
export const none = (from: number, to: number, epoch = 1): Put[] =>
  Array.from({ length: to - from + 1 }, (_, i) => ({ sequence: from + i, epoch, on: ALL }));
