/** Which failure domain a disk belongs to. Racks, rows and machines are counted within what holds them: rack 1 of row 2 is not rack 1 of row 3. */
import type { FailureDomain, MapDisk } from './types.js';

/** Every failure domain a map may name, in the order of their codes in the encoding. */
export const FAILURE_DOMAINS: readonly FailureDomain[] = ['disk', 'machine', 'rack', 'row', 'site'];

/** A number that two disks share if and only if they are in the same domain of that kind. */
export function domainKey(disk: MapDisk, domain: FailureDomain): number {
  switch (domain) {
    case 'disk':
      return disk.disk;
    case 'machine':
      return ((disk.site * 256 + disk.row) * 256 + disk.rack) * 256 + disk.machine;
    case 'rack':
      return (disk.site * 256 + disk.row) * 256 + disk.rack;
    case 'row':
      return disk.site * 256 + disk.row;
    case 'site':
      return disk.site;
  }
}

/** `1 disk`, `3 machines`. */
export function countDomains(count: number, domain: FailureDomain): string {
  return `${count} ${domain}${count === 1 ? '' : 's'}`;
}
