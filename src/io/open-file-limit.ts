/**
 * How many files this process may have open. Descriptors that are kept only to be quicker are kept in proportion to it, so that where little is
 * allowed some are left for what has to be opened.
 */
import { readFileSync } from 'node:fs';

/** node has raised the soft limit to the hard one already. Infinity where there is none, or none is known. */
export function openFileLimit(): number {
  try {
    const [, limit = ''] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? [];
    return limit === '' ? Number.POSITIVE_INFINITY : Number(limit);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
