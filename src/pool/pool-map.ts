/**
 * The diskmap in use, and the way from one version to the next.
 *
 * A map decides where chunks go, never where they are found: each disk is asked for a chunk by its name. So an old map, a new one, and chunks placed by both live side
 * by side, and a crash in the middle of a change loses nothing. What must not be is that a map is used and forgotten: then disks that it emptied would count as
 * full of groups again. So a new version is durable on so many disks that some one of them is there whenever the pool can be opened for writing (all but as many as
 * may be lost), before anything is placed by it; and whoever opens the pool takes the newest that any disk has and copies it to the others.
 *
 * A version that a crash left on few disks may be found later or not. Both are right: nothing was placed by it. If other changes were made meanwhile without the
 * disks that have it, it is older than these, or it has the same number as one of them and fewer disks that hold it: the other counts. A map that gives buckets to a disk
 * that cairn.toml does not list is of no use and left out: disks are listed before they are mapped.
 */
import { type DiskMap, decodeMap, encodeMap } from '../../diskmap/index.js';
import type { Disk } from '../disks/disk.js';
import { CairnError } from '../errors/cairn-error.js';
import type { PoolDisks } from './open-disks.js';
import type { PoolLog } from './pool-log.js';

interface Found {
  readonly map: DiskMap;
  readonly bytes: Buffer;
  readonly holders: Set<Disk>;
}

export class PoolMap {
  readonly #disks: PoolDisks;
  readonly #listeners: ((map: DiskMap) => void)[] = [];
  #current: DiskMap;

  private constructor(disks: PoolDisks, current: DiskMap) {
    this.#disks = disks;
    this.#current = current;
    disks.tolerance = toleranceOf(current);
  }

  /** The newest map that any disk holds. A data disk that lacks it, as after a crash between two of them or an absence, is given it. DISK_MISSING if no disk has one. */
  static async open(disks: PoolDisks, log: PoolLog): Promise<PoolMap> {
    const found = new Map<string, Found>();
    let failure: unknown;
    for (const disk of disks.opened) {
      try {
        const bytes = await disk.readMap();
        if (bytes === undefined) continue;
        const key = bytes.toString('base64');
        const same = found.get(key) ?? { map: decodeMap(bytes), bytes, holders: new Set() };
        same.holders.add(disk);
        found.set(key, same);
      } catch (error) {
        failure = error;
      }
    }
    const listed = new Set(disks.listed.map(({ number }) => number));
    const unlisted = ({ map }: Found): number | undefined =>
      map.disks.find(({ disk, buckets }) => buckets > 0 && !listed.has(disk))?.disk;
    const newestFirst = [...found.values()].sort(
      (a, b) => b.map.version - a.map.version || b.holders.size - a.holders.size || Buffer.compare(a.bytes, b.bytes),
    );
    const newest = newestFirst.find((each) => unlisted(each) === undefined) ?? newestFirst[0];
    if (newest === undefined) throw noMap(disks, failure);
    for (const each of newestFirst.slice(0, newestFirst.indexOf(newest)))
      log.warn(
        { version: each.map.version },
        `a diskmap of version ${each.map.version} is left out: it has disk ${unlisted(each)}, which cairn.toml does not list`,
      );
    const pool = new PoolMap(disks, newest.map);
    for (const disk of disks.data()) {
      if (newest.holders.has(disk)) continue;
      await disk
        .writeMap(newest.bytes)
        .catch((error: unknown) =>
          log.warn(
            { disk: disk.directory, error },
            'the diskmap could not be copied to a disk that lacks the newest one',
          ),
        );
    }
    return pool;
  }

  get current(): DiskMap {
    return this.#current;
  }

  /** Called with every map that comes into use, before anything is placed by it; the listener is quick and does not fail. */
  whenChanged(listener: (map: DiskMap) => void): void {
    this.#listeners.push(listener);
  }

  /**
   * Makes the next version durable, then uses it. DISK_FAILED if too few disks take it: it is not used then, but may be when the pool is opened
   * again. INVALID if it is not the next one.
   */
  async change(next: DiskMap): Promise<void> {
    if (next.pool !== this.#current.pool || next.version <= this.#current.version)
      throw new CairnError('INVALID', `diskmap ${next.version} does not follow ${this.#current.version}`);
    const bytes = encodeMap(next);
    let taken = 0;
    let cause: unknown;
    await Promise.all(
      this.#disks.data().map(async (disk) => {
        try {
          await disk.writeMap(bytes);
          taken += 1;
        } catch (error) {
          cause = error;
        }
      }),
    );
    const needed = Math.max(1, this.#disks.byNumber.size - Math.max(this.#disks.tolerance, toleranceOf(next)));
    if (taken < needed)
      throw new CairnError('DISK_FAILED', `only ${taken} disks took the new diskmap, and ${needed} must have it`, {
        hint: 'see `cairn status`, and connect the missing disks; nothing has moved',
        cause,
      });
    this.#current = next;
    this.#disks.tolerance = toleranceOf(next);
    for (const listener of this.#listeners) listener(next);
  }

  /** Data disks whose buckets have all been taken away, by number: what is on them moves to the others. */
  get leaving(): number[] {
    const emptied = new Set(this.#current.disks.flatMap(({ disk, buckets }) => (buckets === 0 ? [disk] : [])));
    return this.#disks.listed.flatMap(({ number }) => (emptied.has(number) ? [number] : []));
  }

  /** Data disks that the map does not know: listed, and without a part in it. */
  get spares(): number[] {
    const known = new Set(this.#current.disks.map(({ disk }) => disk));
    return this.#disks.listed.flatMap(({ number }) => (known.has(number) ? [] : [number]));
  }
}

/** How many disks every group of the map can lose. */
function toleranceOf(map: DiskMap): number {
  let tolerance = Number.POSITIVE_INFINITY;
  for (const { scheme } of map.groups)
    tolerance = Math.min(tolerance, scheme.kind === 'erasure' ? scheme.m : scheme.copies - 1);
  return Number.isFinite(tolerance) ? tolerance : 0;
}

function noMap(disks: PoolDisks, cause: unknown): CairnError {
  const reasons = disks
    .reports()
    .filter(({ reason }) => reason !== '')
    .map(({ reason }) => reason);
  return new CairnError('DISK_MISSING', `no disk of the pool could be opened: ${reasons.join('; ')}`, {
    hint: 'connect the disks, or correct cairn.toml',
    cause,
  });
}
