/**
 * Opening a pool, first step: what keeps bytes and commits. The disks and their map, the chunk store over them, the metadata store as recovery leaves it, and the journal, whose first commit
 * says that this daemon has the pool.
 */
import { PoolChunkStore } from '../chunks/pool-chunk-store.js';
import { Journal } from '../commit/journal.js';
import { type RecoveryReport, recover } from '../commit/recovery.js';
import { hasCode, messageOf } from '../errors/cairn-error.js';
import type { MetaStore } from '../meta/meta-store.js';
import { Damage } from './damage.js';
import { DegradedWrites } from './degraded-writes.js';
import { DiskWatch } from './disk-watch.js';
import { PoolDisks } from './open-disks.js';
import type { Opening } from './opening.js';
import { PoolMap } from './pool-map.js';

export interface OpenStore {
  readonly disks: PoolDisks;
  readonly map: PoolMap;
  readonly watch: DiskWatch;
  readonly chunks: PoolChunkStore;
  readonly meta: MetaStore;
  readonly recovery: RecoveryReport;
  readonly journal: Journal;
  readonly damage: Damage;
  readonly degraded: DegradedWrites;
  /** Why the metadata store does not take commits; undefined if it never refused one. */
  refusal(): unknown;
}

export async function openStore(opening: Opening): Promise<OpenStore> {
  const { machine, config, log, keep } = opening;
  const { clock } = machine;
  const disks = keep(await PoolDisks.open(machine, config, log));
  const map = await PoolMap.open(disks, log);
  const damage = new Damage(disks, log);
  const degraded = new DegradedWrites();
  const watch = keep(new DiskWatch(disks, clock, log));
  const chunks = keep(
    new PoolChunkStore({
      map: map.current,
      disks: disks.byNumber,
      pipeline: machine.makePipeline(),
      clock,
      onSlowDisk: (number) =>
        log.warn(
          { disk: disks.byNumber.get(number)?.directory },
          `disk ${number} answers far more slowly than the others: what it has is read from them for a while`,
        ),
      onDegradedRead: (chunk, disk) => {
        damage.note(chunk, disk);
        degraded.read(chunk, disk);
      },
      onShort: (chunk) => degraded.stored(chunk),
    }),
  );
  const { meta, recovery } = await recoverStore(opening, disks, chunks);
  for (const note of recovery.notes) log.info({}, note);
  const journal = new Journal(disks, meta, chunks, recovery, clock);
  degraded.journal = journal;
  journal.onDegraded = (written) => degraded.committed(written);
  let refusal: unknown;
  journal.onRefused = (error) => {
    const again = refusal !== undefined && messageOf(refusal) === messageOf(error);
    refusal = error;
    // It is offered again every two seconds.
    if (again) return;
    log.error(
      { error },
      'the metadata store did not take a commit that is safe on the disks: tried again until it does',
    );
    // What the store refuses for good is in the journal: made anew from it, the store takes it.
    if (hasCode(error, 'CORRUPT', 'CONFLICT')) machine.condemnMeta?.(config.metaDirectory, config.pool);
  };
  return { disks, map, watch, chunks, meta, recovery, journal, damage, degraded, refusal: () => refusal };
}

/** A store that turns out to be damaged only while it is used is made anew, once. */
async function recoverStore(
  { machine, config, log, keep }: Opening,
  disks: PoolDisks,
  chunks: PoolChunkStore,
): Promise<{ meta: MetaStore; recovery: RecoveryReport }> {
  const { random } = machine;
  for (let attempt = 0; ; attempt++) {
    const meta = await machine.openMeta(config.metaDirectory, config.pool, log);
    try {
      const { opened, tolerance, tooMany } = disks;
      const missing = disks.missing();
      const recovery = await recover({ disks: opened, meta, chunks, random, tolerance, missing, tooMany });
      return { meta: keep(meta), recovery };
    } catch (error) {
      await meta.close();
      if (meta.isDamaged !== true || attempt > 0) throw error;
      log.warn({ error }, 'the metadata store is damaged: it is rebuilt from the disks');
    }
  }
}
