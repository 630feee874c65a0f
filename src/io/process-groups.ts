/** What groups a process is of. */
import { readFileSync } from 'node:fs';

/** Whether a thread is of the group by its supplementary ones. False if it is not known here: it is in another namespace, or gone. */
export function hasSupplementaryGroup(pid: number, gid: number): boolean {
  let status: string;
  try {
    status = readFileSync(`/proc/${pid}/status`, 'latin1');
  } catch {
    return false;
  }
  const [, groups = ''] = /^Groups:\t([\d ]*)$/m.exec(status) ?? [];
  return groups.split(' ').includes(String(gid));
}
