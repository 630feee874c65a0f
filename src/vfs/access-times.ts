/**
 * When reading moves a file's or directory's access time, by the mount options that say so. The kernel leaves access times to its FUSE servers.
 *
 * Reading counts where a face asks the vfs: for a file when it is opened for reading, and when bytes are asked for that no kernel keeps in its pages.
 */
import type { Time } from '../io/clock.js';

/** `relative`: where the file has changed since it was last read, or that was more than a day ago (relatime of mount(8)). */
export type AccessRule = 'never' | 'relative' | 'always';

export interface AccessTimes {
  readonly files: AccessRule;
  readonly directories: AccessRule;
}

export const RELATIVE_ACCESS_TIMES: AccessTimes = { files: 'relative', directories: 'relative' };
export const NO_ACCESS_TIMES: AccessTimes = { files: 'never', directories: 'never' };

/** Under `relative`, reading what was read later than it was changed counts again after so long. */
const ACCESS_AGE_SEC = 86_400;

/** Whether reading what has these times now moves its access time. */
export function readingCounts(
  rule: AccessRule,
  { atime, mtime, ctime }: { readonly atime: Time; readonly mtime: Time; readonly ctime: Time },
  now: Time,
): boolean {
  if (rule !== 'relative') return rule === 'always';
  return !isAfter(atime, mtime) || !isAfter(atime, ctime) || now.sec - atime.sec >= ACCESS_AGE_SEC;
}

function isAfter(a: Time, b: Time): boolean {
  return a.sec > b.sec || (a.sec === b.sec && a.nsec > b.nsec);
}
