/** What hangs on single disks for one chunk: which of them it would be gone with. From the disks' indexes alone; nothing is read. */
import { type Disks, locate } from '../chunks/shard-set.js';

export interface Exposure {
  /** Enough shards are on disks that can be read. */
  readonly readable: boolean;
  /** Numbers of the disks without any one of which it could not be read any more, ascending; none where it cannot be read as it is. */
  readonly critical: readonly number[];
}

const SAFE: Exposure = { readable: true, critical: [] };
const LOST: Exposure = { readable: false, critical: [] };

export function exposureOf(disks: Disks, chunk: string, chunkBytes: number): Exposure {
  const sets = locate(disks, chunk).filter((set) => set.chunkBytes === chunkBytes && set.readable);
  if (sets.length === 0) return LOST;
  const [only] = sets;
  if (sets.length === 1 && only?.healthy === true && only.codec.shards > only.codec.needed) return SAFE;
  const holding = new Set(sets.flatMap(({ holders }) => holders.flat().map(({ number }) => number)));
  const critical: number[] = [];
  for (const number of holding) {
    const survives = sets.some((set) => {
      const left = set.holders.filter((holders) => holders.some((holder) => holder.number !== number));
      return left.length >= set.codec.needed;
    });
    if (!survives) critical.push(number);
  }
  return critical.length === 0 ? SAFE : { readable: true, critical: critical.sort((a, b) => a - b) };
}
