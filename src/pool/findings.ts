/** Sentences for `status` of what is wrong with an open pool and does not go away by itself: what happened, what it means, what to do. */
import type { DamagedCommit } from '../commit/recovery.js';
import { type CairnError, hasCode, messageOf } from '../errors/cairn-error.js';
import { pathsOf } from '../forecast/tree-paths.js';
import type { JobRunner } from '../jobs/job-runner.js';
import type { RepairQueue } from '../repair/repair-queue.js';
import { readReport } from '../repair/scrub-report.js';
import type { Vfs } from '../vfs/vfs.js';

/** Files that one finding names. */
const NAMED_MAX = 20;

/** A sentence per commit, with the paths that its files have after recovery. */
export async function damageFindings(damage: readonly DamagedCommit[], vfs: Vfs): Promise<string[]> {
  if (damage.length === 0) return [];
  const paths = await pathsOf(vfs, new Set(damage.flatMap(({ files }) => files)));
  return damage.map(({ sequence, chunks, files }) => {
    const named = files.flatMap((ino) => paths.get(ino) ?? []).map((path) => JSON.stringify(path).slice(1, -1));
    const more = named.length > NAMED_MAX ? ` and ${named.length - NAMED_MAX} more` : '';
    const whose = named.length === 0 ? 'deleted files' : `${named.slice(0, NAMED_MAX).join(', ')}${more}`;
    return `commit ${sequence} counts, but data of it cannot be read from the disks that are here: ${chunks} chunks, of ${whose}`;
  });
}

export function cacheFinding(directory: string, failure: CairnError): string {
  return `the cache at ${directory} is suspect (${messageOf(failure.cause)}): fsync commits to the pool, or fails, instead of relying on it; check the device, then unmount and mount again`;
}

export function refusedFinding(refusal: unknown): string {
  const remedy = hasCode(refusal, 'CORRUPT', 'CONFLICT')
    ? 'unmount and mount again: it is made anew from the disks'
    : 'it is tried again until it works';
  return `the metadata store does not take commits (${messageOf(refusal)}): what is committed is safe on the disks, and nothing new is committed until it does; ${remedy}`;
}

/** Of the last scrub that came to its end. */
export function scrubFindings(jobs: JobRunner): string[] {
  const scrub = jobs.list().find(({ name }) => name === 'scrub');
  const report = scrub && readReport(scrub.report);
  if (report === undefined || report.lost.names.length === 0) return [];
  const count = report.lost.names.length + report.lost.more;
  return [
    `the last scrub found ${count === 1 ? 'a file' : `${count} files`} of which a part cannot be read: see \`cairn scrub --status\`, restore ${count === 1 ? 'it' : 'them'} from a copy, and scrub again`,
  ];
}

/** Of what waits for repair. `allOnline`: no disk is away, so what nothing can be done for lacks room. */
export function degradedFindings(
  { degraded: chunks, ready, isIncomplete }: Pick<RepairQueue, 'degraded' | 'ready' | 'isIncomplete'>,
  allOnline: boolean,
): string[] {
  if (chunks === 0) return [];
  const some = chunks === 1 ? 'a chunk was' : `${chunks}${isIncomplete ? ' or more' : ''} chunks were`;
  const [why, next] = allOnline
    ? ready > 0
      ? ['while a disk was failing, away or full', 'which is being done']
      : [
          'with fewer shards than there should be, for want of room on some disks',
          'which begins by itself within ten minutes when there is room: delete files or add a disk',
        ]
    : ['while a disk was failing, away or full', 'which begins by itself when all disks are there'];
  return [
    `${some} committed ${why}, and can lose fewer disks than the others until made whole, ${next}${isIncomplete ? '; for all of them run `cairn scrub`' : ''}`,
  ];
}
