/**
 * What others would give with the same disks: the rules by which they lay out data, without what they keep for themselves (labels, system partitions, metadata). So
 * these are upper limits. `README.md` derives the bound. All sizes are in bytes, one per disk (or per failure domain), in any order.
 */

/** Room for plain bytes under the same number of losses. */
export interface Comparison {
  /** The most that any system can give. */
  readonly boundBytes: number;
  /** One RAIDZ vdev (or RAID 5, 6) over all disks. */
  readonly raidzBytes: number;
  /** btrfs raid1, or raid1c3 for two losses. */
  readonly btrfsBytes: number;
  /** Synology SHR, or SHR-2. */
  readonly shrBytes: number;
}

/** For disks of these sizes, of which any `losses` (1 or 2) may be lost. A system that cannot do that with so few disks gives 0. */
export function compareSystems(diskBytes: readonly number[], losses: 1 | 2): Comparison {
  const sizes = diskBytes.filter((bytes) => bytes > 0).sort((a, b) => b - a);
  const boundBytes = usableBound(sizes, losses);
  return {
    boundBytes,
    // All members are as large as the smallest.
    raidzBytes: Math.max(0, sizes.length - losses) * (sizes.at(-1) ?? 0),
    btrfsBytes: copiesBound(sizes, losses + 1),
    // Layers over all disks that reach so high, each with `losses` disks' worth of parity: all but the largest. SHR-2 begins with four disks.
    shrBytes: losses === 2 && sizes.length < 4 ? 0 : boundBytes,
  };
}

/**
 * The theoretical maximum: all but the `losses` largest. Were these the disks that are lost, everything would have to be on the others, whatever the
 * code; so no placing holds more.
 */
export function usableBound(sizes: readonly number[], losses: number): number {
  return [...sizes]
    .sort((a, b) => b - a)
    .slice(losses)
    .reduce((sum, size) => sum + size, 0);
}

/** The most that so many copies of everything, each on another disk, can hold: however many of the largest disks have one, the rest must hold the others. */
function copiesBound(sizes: readonly number[], copies: number): number {
  let least = Number.POSITIVE_INFINITY;
  for (let count = 0; count < copies; count += 1) least = Math.min(least, usableBound(sizes, count) / (copies - count));
  return Math.floor(least);
}
