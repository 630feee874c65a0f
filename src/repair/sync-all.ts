import type { Disk } from '../disks/disk.js';
import { hasCode } from '../errors/cairn-error.js';

/** Makes durable what was written on these disks. A disk that fails says so itself, and what it should have is found missing. */
export async function syncAll(disks: readonly Disk[]): Promise<void> {
  await Promise.all(
    disks.map(async (disk) => {
      if (!disk.unsynced) return;
      await disk.sync().catch((error: unknown) => {
        if (!hasCode(error, 'DISK_FAILED', 'IO', 'NO_SPACE', 'CLOSED')) throw error;
      });
    }),
  );
}
