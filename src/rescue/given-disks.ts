/** From the directories that a person names to the disks of one pool: what is left out is said by name. */
import { resolve } from 'node:path';
import type { DiskMap } from '../../diskmap/types.js';
import type { Crc32c } from '../disks/record-codec.js';
import { CairnError } from '../errors/cairn-error.js';
import { type BareDisk, isOfPool, openBareDisk } from './bare-disk.js';

/** As many digits of a pool's id as records hold. */
const POOL_DIGITS = 12;

export interface GivenDisks {
  /** The pool's id, or its first 12 digits if no identity says more; '' if nothing does. */
  readonly pool: string;
  readonly disks: readonly BareDisk[];
  /** Numbers of data disks that the newest map names and nobody gave; undefined without a map. */
  readonly missing: readonly number[] | undefined;
  /** Those of them that the map gives no buckets: let go of long ago, or being emptied when it was made. It does not say which. */
  readonly emptied: readonly number[];
  /** How many disks every group of the pool survives the loss of; undefined without a map. */
  readonly tolerance: number | undefined;
  /** Disks that do not say their number: each is one of those that seem missing. */
  readonly nameless: number;
  readonly notes: readonly string[];
}

/**
 * `pool`: the first digits of the id of the one to restore; needed where the disks are of several. NOT_FOUND for a directory that is not there,
 * DISK_FOREIGN if the disks are of several pools or none is of the one asked for, DISK_MISSING if nothing in them is a disk.
 */
export function chooseDisks(directories: readonly string[], pool: string | undefined, crc32c: Crc32c): GivenDisks {
  const notes: string[] = [];
  const given: BareDisk[] = [];
  for (const directory of directories.map((path) => resolve(path))) {
    const disk = openBareDisk(directory, crc32c);
    const twin = given.find(({ place }) => place === disk.place);
    if (twin !== undefined) {
      notes.push(`${directory} is ${twin.directory} again: it is read once`);
      continue;
    }
    for (const note of disk.notes) notes.push(`${directory}: ${note}`);
    const copy = given.find(({ owner }) => owner !== undefined && owner === disk.owner);
    if (copy !== undefined) notes.push(`${directory} is a copy of the disk in ${copy.directory}: both are read`);
    if (disk.identity?.role === 'cache')
      notes.push(`${directory} is a cache: what was only staged there is not committed, and is not restored`);
    else given.push(disk);
  }
  const chosen = choosePool(given, pool, notes);
  const disks = given.filter((disk) => isOfPool(disk, chosen));
  if (disks.every(({ segments }) => segments.length === 0))
    throw new CairnError('DISK_MISSING', ['none of these directories has a log of Cairn', ...notes].join('; '), {
      hint: 'give the directories that were given to `cairn init --disk`: each has a directory log',
    });
  for (const disk of disks) {
    if (disk.pool === undefined && chosen !== '' && disk.segments.length > 0)
      notes.push(`${disk.directory}: nothing says which pool it is of; it is taken for one of this pool`);
  }
  return { pool: fullId(disks, chosen), disks, notes, ...mapOf(disks) };
}

function choosePool(disks: readonly BareDisk[], pool: string | undefined, notes: string[]): string {
  const byPool = new Map<string, string[]>();
  for (const disk of disks) {
    const id = disk.pool?.slice(0, POOL_DIGITS);
    if (id !== undefined) byPool.set(id, [...(byPool.get(id) ?? []), disk.directory]);
  }
  const known = [...byPool].map(([id, of]) => `${of.join(', ')}: pool ${fullId(disks, id)}`).join('; ');
  if (pool !== undefined) {
    const matching = [...byPool.keys()].filter((id) => id.startsWith(pool.slice(0, POOL_DIGITS)));
    if (matching.length !== 1)
      throw new CairnError(
        'DISK_FOREIGN',
        `${matching.length === 0 ? 'no disk' : 'more than one pool'} of these fits --pool ${pool}: ${known}`,
        { hint: 'give the id as it is written here' },
      );
    for (const [id, of] of byPool)
      if (id !== matching[0])
        for (const directory of of)
          notes.push(`${directory} is a disk of another pool, ${fullId(disks, id)}: left out`);
    return matching[0]!;
  }
  if (byPool.size > 1)
    throw new CairnError('DISK_FOREIGN', `these disks are of ${byPool.size} pools: ${known}`, {
      hint: 'choose one with --pool ID, or leave the disks of the other out',
    });
  return [...byPool.keys()][0] ?? '';
}

function fullId(disks: readonly BareDisk[], start: string): string {
  return disks.find(({ identity }) => identity?.pool.startsWith(start))?.identity?.pool ?? start;
}

function mapOf(disks: readonly BareDisk[]): Pick<GivenDisks, 'missing' | 'emptied' | 'tolerance' | 'nameless'> {
  let map: DiskMap | undefined;
  for (const disk of disks) if (disk.map !== undefined && disk.map.version > (map?.version ?? -1)) map = disk.map;
  const nameless = disks.filter(({ identity, segments }) => identity === undefined && segments.length > 0).length;
  if (map === undefined) return { missing: undefined, emptied: [], tolerance: undefined, nameless };
  const numbers = new Set(disks.map(({ identity }) => identity?.number));
  const away = map.disks.filter(({ disk }) => !numbers.has(disk));
  const missing = away.map(({ disk }) => disk);
  const emptied = away.flatMap(({ disk, buckets }) => (buckets === 0 ? [disk] : []));
  return { missing, emptied, tolerance: toleranceOf(map), nameless };
}

/** How many disks every group survives the loss of. */
function toleranceOf(map: DiskMap): number {
  const losses = map.groups.map(({ scheme }) => (scheme.kind === 'erasure' ? scheme.m : scheme.copies - 1));
  return losses.length === 0 ? 0 : losses.reduce((least, one) => Math.min(least, one));
}
