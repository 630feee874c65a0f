/** How findings name disks and counts. */
import type { Disk } from '../disks/disk.js';

/** `disk 2 (/mnt/b/cairn)`; journal disks have no number. */
export function nameOf({ identity, directory }: Pick<Disk, 'identity' | 'directory'>): string {
  return identity.role === 'data' ? `disk ${identity.number} (${directory})` : `the journal disk ${directory}`;
}

export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** `a`, `a and b`, `a, b and c`. */
export function listed(items: readonly string[]): string {
  const last = items.at(-1) ?? '';
  return items.length < 2 ? last : `${items.slice(0, -1).join(', ')} and ${last}`;
}
