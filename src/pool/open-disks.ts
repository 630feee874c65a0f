/** Opens the disks of a pool by what is on them, and keeps the pool's view of which there are. */
import type { JournalDisks } from '../commit/journal.js';
import type { Disk } from '../disks/disk.js';
import { openDisk } from '../disks/open-disk.js';
import { CairnError } from '../errors/cairn-error.js';
import type { DiskReport } from '../vfs/reports.js';
import type { DiskConfig, PoolConfig } from './config.js';
import type { Machine } from './machine.js';
import type { PoolLog } from './pool-log.js';

interface Place {
  readonly config: DiskConfig;
  readonly disk: Disk | undefined;
  /** Why it could not be opened. */
  readonly failure: CairnError | undefined;
}

export class PoolDisks implements JournalDisks {
  /** Data disks by their number in the map. */
  readonly byNumber = new Map<number, Disk | undefined>();
  readonly #places: Place[] = [];
  /** How many data disks may be lost. */
  tolerance = 0;

  /** LOCKED if another process has one of them; other failures leave the disk out. */
  static async open(machine: Machine, config: PoolConfig, log: PoolLog): Promise<PoolDisks> {
    const disks = new PoolDisks();
    try {
      for (const place of config.disks) disks.#add(await openPlace(machine, config, place, log));
    } catch (error) {
      await disks.close();
      throw error;
    }
    return disks;
  }

  #add(place: Place): void {
    this.#places.push(place);
    if (place.config.role === 'data') this.byNumber.set(place.config.number, place.disk);
  }

  /** All that could be opened, whatever their role and state. */
  get opened(): Disk[] {
    return this.#places.flatMap(({ disk }) => (disk === undefined ? [] : [disk]));
  }

  data(): readonly Disk[] {
    return this.#online('data');
  }

  journal(): readonly Disk[] {
    return this.#online('journal');
  }

  #online(role: 'data' | 'journal'): Disk[] {
    const online: Disk[] = [];
    for (const { config, disk } of this.#places)
      if (disk?.state === 'online' && config.role === role) online.push(disk);
    return online;
  }

  missing(): readonly number[] {
    const missing: number[] = [];
    for (const [number, disk] of this.byNumber) if (disk?.state !== 'online') missing.push(number);
    return missing.sort((a, b) => a - b);
  }

  /** Every disk of the pool is here and takes writes. */
  get allOnline(): boolean {
    return this.#places.every(({ disk }) => disk?.state === 'online');
  }

  /** Which disks are missing, as a sentence, if they are so many that the others may not know every commit that was promised. */
  get tooMany(): string | undefined {
    const missing: string[] = [];
    for (const role of ['data', 'journal'] as const) {
      const places = this.#places.filter(({ config }) => config.role === role);
      // Fewer journal disks than that never hold the only copies of a commit.
      if (role === 'journal' && places.length <= this.tolerance) continue;
      const absent = places.filter(({ disk }) => disk?.state !== 'online');
      if (absent.length > this.tolerance)
        missing.push(
          ...absent.map(({ config, disk, failure }) => failure?.message ?? disk?.stateReason ?? config.directory),
        );
    }
    return missing.length === 0 ? undefined : missing.join('; ');
  }

  reports(): DiskReport[] {
    return this.#places.map(({ config, disk, failure }) => {
      const space = disk?.space();
      return {
        number: config.number,
        uuid: config.uuid,
        role: config.role,
        directory: config.directory,
        state: disk?.state ?? (failure?.code === 'DISK_FOREIGN' ? 'foreign' : 'missing'),
        reason: disk === undefined ? (failure?.message ?? '') : (disk.stateReason ?? ''),
        capacityBytes: space?.capacityBytes ?? 0,
        liveBytes: space?.liveBytes ?? 0,
        freeBytes: space?.freeBytes ?? 0,
      };
    });
  }

  async close(): Promise<void> {
    for (const disk of this.opened) disk.onStateChange = undefined;
    await Promise.allSettled(this.opened.map((disk) => disk.close()));
  }
}

async function openPlace(machine: Machine, config: PoolConfig, place: DiskConfig, log: PoolLog): Promise<Place> {
  const { io, clock } = machine;
  const expected = { pool: config.pool, uuid: place.uuid, role: place.role };
  const indexPath = machine.indexPath(place.directory);
  try {
    const disk = await openDisk(io, place.directory, expected, {
      clock,
      ...(indexPath !== undefined && { indexPath }),
    });
    for (const line of disk.openReport) log.warn({ disk: place.directory }, line);
    disk.onStateChange = (changed) =>
      log.error({ disk: place.directory, state: changed.state }, changed.stateReason ?? 'the disk is online');
    return { config: place, disk, failure: undefined };
  } catch (error) {
    if (!(error instanceof CairnError) || error.code === 'LOCKED') throw error;
    log.error({ disk: place.directory, code: error.code }, error.message);
    return { config: place, disk: undefined, failure: error };
  }
}
