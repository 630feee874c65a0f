/**
 * Which disk lies in which directory. cairn.toml lists directories and ids; that a device is mounted where it is listed is nobody's promise, so
 * only the identity files decide. Nothing is written here: an empty directory, a foreign disk and a copy of a disk are named and left alone.
 *
 * A disk of which two directories hold the identity is refused in both: which of them is the copy cannot be told from what they say.
 */
import type { DiskIdentity } from '../disks/disk.js';
import { readIdentity } from '../disks/disk-identity.js';
import { CairnError } from '../errors/cairn-error.js';
import type { FileIo } from '../io/file-io.js';
import type { DiskConfig, PoolConfig } from './config.js';

interface Surveyed {
  readonly directory: string;
  readonly identity: DiskIdentity | undefined;
  /** Why there is no identity to go by. */
  readonly failure: CairnError | undefined;
}

export class DiskSurvey {
  readonly #config: PoolConfig;
  readonly #surveyed: readonly Surveyed[];

  private constructor(config: PoolConfig, surveyed: readonly Surveyed[]) {
    this.#config = config;
    this.#surveyed = surveyed;
  }

  /** Looks into every directory that cairn.toml lists, with the file access that `ioOf` gives for it. */
  static async take(ioOf: (directory: string) => FileIo, config: PoolConfig): Promise<DiskSurvey> {
    const listed = new Set([...config.disks.map(({ directory }) => directory), config.cache.directory]);
    const surveyed = [...listed].map(async (directory): Promise<Surveyed> => {
      try {
        return { directory, identity: await readIdentity(ioOf(directory), directory), failure: undefined };
      } catch (error) {
        if (!(error instanceof CairnError)) throw error;
        return { directory, identity: undefined, failure: error };
      }
    });
    return new DiskSurvey(config, await Promise.all(surveyed));
  }

  /** The directory that holds the disk. Throws why there is none: DISK_MISSING, DISK_FOREIGN (another disk in its place, or two copies of it), CORRUPT, IO. */
  directoryOf(disk: DiskConfig): string {
    const [first, second] = this.#surveyed.filter(
      ({ identity }) => identity?.pool === this.#config.pool && identity.uuid === disk.uuid,
    );
    if (first !== undefined && second !== undefined)
      throw new CairnError(
        'DISK_FOREIGN',
        `${first.directory} and ${second.directory} are copies of one disk: neither is used, and neither is changed`,
        { hint: 'take the copy away, and put the other disk in its place' },
      );
    return first?.directory ?? this.#absent(disk);
  }

  /** Where the cache of this pool lies: where it is listed, unless it is found in the place of a disk. */
  get cacheDirectory(): string {
    const { cache, pool } = this.#config;
    const caches = this.#surveyed.filter(({ identity }) => identity?.pool === pool && identity.role === 'cache');
    if (caches.length !== 1) return cache.directory;
    return caches[0]?.directory ?? cache.directory;
  }

  #absent({ directory, role }: DiskConfig): never {
    const place = this.#surveyed.find((one) => one.directory === directory);
    const { identity } = place ?? {};
    if (identity === undefined) throw place?.failure ?? new CairnError('DISK_MISSING', `${directory} is not there`);
    const what =
      identity.pool !== this.#config.pool
        ? `${directory} is a disk of another pool, ${identity.pool}`
        : `${directory} is another disk of this pool, ${describe(identity)}, instead of the ${role} disk that belongs there`;
    throw new CairnError('DISK_FOREIGN', `${what}: it is not used, and not changed`, {
      hint: 'mount the right disk there, or correct cairn.toml',
    });
  }
}

function describe({ role, number }: DiskIdentity): string {
  return role === 'data' ? `number ${number}` : `the ${role} disk`;
}
