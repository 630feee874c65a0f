/** Taking in again a disk that was away while the pool was open. */
import { type DiskMap, decodeMap, encodeMap } from '../../diskmap/index.js';
import { isOfRun } from '../commit/epoch.js';
import type { Journal } from '../commit/journal.js';
import type { Disk } from '../disks/disk.js';
import { CairnError } from '../errors/cairn-error.js';

/**
 * A disk that was away is taken in again with the pool's diskmap. DISK_FOREIGN if another daemon, or a newer map, has been at work on it meanwhile:
 * which of the two histories counts is decided when the pool is opened, with all of its disks.
 */
export async function admitDisk(disk: Disk, map: DiskMap, journal: Journal, firstEpoch: number): Promise<void> {
  const foreign = (what: string): CairnError =>
    new CairnError('DISK_FOREIGN', `the disk at ${disk.directory} ${what} while it was away`, {
      hint: 'unmount and mount the pool: what counts is decided then',
    });
  for (const { epoch, sequence } of disk.commits(0)) {
    if (epoch < firstEpoch || (isOfRun(epoch, firstEpoch) && sequence <= journal.sequence + 1)) continue;
    throw foreign('was written by another daemon');
  }
  if (disk.identity.role !== 'data') return;
  const bytes = await disk.readMap();
  const version = bytes === undefined ? 0 : decodeMap(bytes).version;
  if (version > map.version) throw foreign('got a newer diskmap');
  if (version < map.version) await disk.writeMap(encodeMap(map));
}
