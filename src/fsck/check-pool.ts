/**
 * The whole check of an open pool, in the order in which one thing is needed for the next: disks, metadata, logs and indexes, journal, chunks,
 * garbage, cache. Repair mends after the first pass, in the order of FIX_ORDER, and a second pass tells what is left.
 *
 * Never removes or replaces anything that is not there elsewhere: damaged shards are written anew from the rest of their chunk, journal records
 * are copied, snapshots are made of a later commit than the damaged ones, metadata is rebuilt in one transaction, orphans go only if the
 * metadata is whole and all disks are there. Interrupted, it can be begun again.
 */
import type { Disk } from '../disks/disk.js';
import { CairnError, messageOf } from '../errors/cairn-error.js';
import type { FileIo } from '../io/file-io.js';
import type { CheckFinding, CheckReport } from '../vfs/reports.js';
import { checkCache } from './check-cache.js';
import { checkChunks, checkShards } from './check-chunks.js';
import { checkDisks } from './check-disks.js';
import { checkJournal, freshSnapshot } from './check-journal.js';
import { checkLog, type DamagedShard } from './check-log.js';
import { checkMetadata, takeCensus } from './check-metadata.js';
import { CheckRun, FIX_ORDER, type FindingInput, type Fix, PoolRun } from './check-run.js';
import type { CheckedPool, CheckOptions } from './checked-pool.js';
import { FileNames } from './file-names.js';
import { compareMetadata, rebuildMetadata } from './rebuilt-metadata.js';
import { counted } from './words.js';

/**
 * Checks the pool; with `repair`, mends what can be. `onFinding` is told of everything as it is found in the first pass. Rejects with ABORTED, and
 * with what the pool itself fails with, not with damage.
 */
export async function checkPool(
  pool: CheckedPool,
  options: CheckOptions = {},
  onFinding: (finding: CheckFinding) => void = () => {},
): Promise<CheckReport> {
  const first = new PoolRun(pool, options, onFinding);
  await pass(first);
  if (options.repair !== true || first.found.length === 0) return reportOf(first, []);
  const before = first.found.map(({ finding }) => finding);
  const failures = await mend(first);
  const second = new PoolRun(pool, options, () => {});
  await pass(second);
  for (const failure of failures) second.report(failure);
  return reportOf(second, before);
}

async function pass(run: PoolRun): Promise<void> {
  const { meta, disks } = run.pool;
  const rebuild = rebuildFix(run);
  await checkDisks(run);
  const census = await takeCensus(run, rebuild);
  const names = new FileNames(meta, (ino) => census?.inodes.get(ino)?.parent);
  if (census !== undefined) await checkMetadata(run, census, names, rebuild);
  const damaged: DamagedShard[] = [];
  for (const disk of disks.opened) if (disk.state !== 'offline') damaged.push(...(await checkLog(run, disk)));
  await checkJournal(run);
  await compare(run, names, rebuild);
  if (census !== undefined) await checkChunks(run, census, names, damaged);
  await checkShards(run, census);
  await checkCache(run);
}

/** What can be told of disks whose pool cannot be opened: every record of their logs, and their indexes. */
export async function checkDisksAlone(
  io: FileIo,
  disks: readonly Disk[],
  options: CheckOptions,
  onFinding: (finding: CheckFinding) => void,
): Promise<Pick<CheckReport, 'findings' | 'checked'>> {
  const run = new CheckRun(io, options, onFinding);
  const damaged: DamagedShard[] = [];
  for (const disk of disks) damaged.push(...(await checkLog(run, disk)));
  const chunks = new Set(damaged.map(({ entry }) => entry.chunk));
  if (damaged.length > 0) {
    run.report({
      severity: 'damage',
      code: 'shard-damaged',
      message: `${counted(damaged.length, 'shard')} of ${counted(chunks.size, 'chunk')} ${damaged.length === 1 ? 'is' : 'are'} damaged; of which files is known when the pool can be opened`,
    });
  }
  return { findings: run.found.map(({ finding }) => finding), checked: { ...run.counts } };
}

/** The store against the disks, where there is a spare one to rebuild it in. */
async function compare(run: PoolRun, names: FileNames, fix: Fix | undefined): Promise<void> {
  const { spare } = run.options;
  const { meta } = run.pool;
  if (spare === undefined || run.live) return;
  if (spare.position().sequence !== meta.position().sequence) {
    try {
      await rebuildMetadata(run, spare, meta.position());
    } catch (error) {
      if (!(error instanceof CairnError) || error.code === 'ABORTED') throw error;
      if (run.has('journal-gap')) return;
      run.report({
        severity: 'damage',
        code: 'metadata-only-copy',
        message: `the metadata cannot be made anew from the disks (${messageOf(error)}): its directory holds the only whole copy`,
        fix: freshSnapshot(run),
      });
      return;
    }
  }
  if (run.found.some((found) => found.fix !== undefined && found.fix === fix)) return;
  const { inos, rows } = await compareMetadata(run, meta, spare);
  if (rows === 0) return;
  run.report({
    severity: 'damage',
    code: 'metadata-differs',
    message: `the metadata store differs from what the disks say in ${counted(rows, 'row')}: what the mount shows of these files is not what was committed`,
    files: await names.of(inos),
    fix,
  });
}

/** Rebuilds the store from the spare one, all or nothing. Not while others use it. */
function rebuildFix(run: PoolRun): Fix | undefined {
  const { spare } = run.options;
  const { meta } = run.pool;
  if (spare === undefined || run.live) return undefined;
  return {
    order: FIX_ORDER.metadata,
    run: async () => {
      // What the disks cannot tell in full is not put in the place of what is there.
      if (spare.position().sequence !== meta.position().sequence) return;
      const { position, batches } = await spare.snapshot();
      await meta.restore(position, batches);
    },
  };
}

/** Returns what did not succeed: the second pass finds what it was to mend. */
async function mend(run: PoolRun): Promise<FindingInput[]> {
  const failures: FindingInput[] = [];
  const fixes = new Set(run.found.flatMap(({ fix }) => (fix === undefined ? [] : [fix])));
  for (const fix of [...fixes].sort((a, b) => a.order - b.order)) {
    run.begin('mending', 0, 'items');
    try {
      await fix.run();
    } catch (error) {
      if (!(error instanceof CairnError) || error.code === 'ABORTED') throw error;
      failures.push({
        severity: 'note',
        code: 'repair-failed',
        message: `a part of the repair did not succeed: ${messageOf(error)}`,
        ...(error.hint !== undefined && { advice: error.hint }),
      });
    }
  }
  return failures;
}

function reportOf(run: PoolRun, before: readonly CheckFinding[]): CheckReport {
  const findings = run.found.map(({ finding }) => finding);
  const left = new Set(findings.map(({ code, message }) => `${code} ${message}`));
  return {
    format: 1,
    clean: findings.every(({ severity }) => severity === 'note'),
    findings,
    repaired: before.filter(({ code, message }) => !left.has(`${code} ${message}`)),
    checked: { ...run.counts },
    elapsedMs: 0,
  };
}
