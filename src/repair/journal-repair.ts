/**
 * The journal's copies, checked and mended as `cairn fsck --repair` does it: COMMIT records that a disk lacks or has damaged are copied from another,
 * and what no copy can cure is covered by a new metadata snapshot.
 */

import { CairnError } from '../errors/cairn-error.js';
import { checkJournal } from '../fsck/check-journal.js';
import { PoolRun } from '../fsck/check-run.js';
import type { CheckedPool } from '../fsck/checked-pool.js';

/** Copies that are missing where enough others are there: no damage, and a disk that was away should have them all the same. */
const ALSO = 'commit-copies';

export interface JournalRepair {
  /** Sentences: what was wrong. */
  readonly mended: readonly string[];
  /** And what of it is still wrong. */
  readonly left: readonly string[];
}

/** `pause` is called between two slices of work; what it rejects with is passed on. */
export async function repairJournal(pool: CheckedPool, pause: () => Promise<void>): Promise<JournalRepair> {
  const look = async (): Promise<PoolRun> => {
    const run = new PoolRun(pool, { live: true, pause }, () => {});
    await checkJournal(run);
    return run;
  };
  const first = await look();
  const wrong = first.found.filter(({ finding }) => finding.severity !== 'note' || finding.code === ALSO);
  if (wrong.length === 0) return { mended: [], left: [] };
  const failures: string[] = [];
  const fixes = new Set(wrong.flatMap(({ fix }) => (fix === undefined ? [] : [fix])));
  for (const fix of [...fixes].sort((a, b) => a.order - b.order)) {
    try {
      await fix.run();
    } catch (error) {
      if (!(error instanceof CairnError) || error.code === 'ABORTED') throw error;
      failures.push(error.message);
    }
    await pause();
  }
  const left = new Set((await look()).found.map(({ finding }) => finding.message));
  const messages = wrong.map(({ finding }) => finding.message);
  return {
    mended: messages.filter((message) => !left.has(message)),
    left: [...messages.filter((message) => left.has(message)), ...failures],
  };
}
