/**
 * Adding, replacing and removing disks of an open pool.
 *
 * The order, each step durable before the next: a new disk gets its identity; cairn.toml lists it; the new diskmap is on the disks and in use; what must move, moves in the
 * background; a disk that is empty goes from cairn.toml. So a crash leaves one of these:
 *  - a directory with an identity that is listed nowhere: given again, it is taken as it is;
 *  - a disk that is listed and has no part in the map: it takes commits and no chunks, and a second `add` or `replace` with the same directory goes on;
 *  - a map in use: the job goes on when the pool is opened.
 */
import { resolve } from 'node:path';
import { type DiskMap, diskOfBucket } from '../../diskmap/index.js';
import type { Disk, DiskIdentity } from '../disks/disk.js';
import { checkNewDisk, createDisk, defaultSegmentBytes, readIdentity } from '../disks/disk-identity.js';
import { formatBytes } from '../errors/byte-figures.js';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { FileIo } from '../io/file-io.js';
import type { Random } from '../io/random.js';
import type { JobControl, JobPace } from '../jobs/job.js';
import { REBALANCE, RebalanceJob, type RebalancePool } from '../rebalance/rebalance-job.js';
import type { DiskChangePlan, DiskChangeRequest, DiskControl, DiskReport } from '../vfs/reports.js';
import type { DiskConfig, PoolConfig } from './config.js';
import { saveDisks } from './config-edit.js';
import { type Joining, type PlannedChange, planChange } from './disk-change-plan.js';
import type { PoolDisks } from './open-disks.js';
import type { PoolLog } from './pool-log.js';
import type { PoolMap } from './pool-map.js';

export interface DiskChangesParts {
  readonly io: FileIo;
  readonly random: Random;
  readonly directory: string;
  readonly disks: PoolDisks;
  readonly map: PoolMap;
  readonly chunks: RebalancePool['chunks'];
  readonly jobs: JobControl;
  readonly log: PoolLog;
  /** Plain bytes that the pool holds, staged ones too. */
  usedBytes(): number;
  /** What each directory may take. */
  capacities(directories: readonly string[]): Promise<ReadonlyMap<string, number>>;
  /** Makes one more commit, and a metadata snapshot of it on every data disk. */
  takeSnapshot(): Promise<void>;
  /** Gives back at once what no file names. */
  collect(): Promise<void>;
  /** A disk joined or left for good: what waited for a disk need not wait. */
  onSettled(): void;
}

/** A disk to be: with an identity already where an earlier try has left one. */
interface Candidate extends Joining {
  readonly identity: DiskIdentity | undefined;
  readonly isListed: boolean;
}

export class DiskChanges implements DiskControl {
  readonly job: RebalanceJob;
  readonly #parts: DiskChangesParts;
  #isChanging = false;

  constructor(parts: DiskChangesParts) {
    this.#parts = parts;
    const { disks, map, chunks } = parts;
    this.job = new RebalanceJob({
      chunks,
      readable: () =>
        [...disks.byNumber.values()].filter((disk) => disk !== undefined && disk.state !== 'offline') as Disk[],
      leaving: () => map.leaving,
      isWhole: () => {
        const leaving = new Set(map.leaving);
        return disks.missing().every((number) => leaving.has(number));
      },
      lackingBytes: () => lackingBytes(map.current, disks),
      collect: () => parts.collect(),
      finish: (gone) => this.#finish(gone),
    });
  }

  async plan(request: DiskChangeRequest): Promise<DiskChangePlan> {
    return (await this.#planned(request)).planned.plan;
  }

  async change(request: DiskChangeRequest, pace?: JobPace): Promise<DiskChangePlan> {
    if (this.#isChanging)
      throw new CairnError('BUSY', 'another change of the disks is being made', { hint: 'try again in a moment' });
    this.#isChanging = true;
    try {
      const { planned, candidates } = await this.#planned(request);
      const [refusal] = planned.plan.refusals;
      if (refusal !== undefined || planned.next === undefined)
        throw new CairnError('CONFIG', refusal?.reason ?? 'the planner sees no way', {
          ...(refusal !== undefined && { hint: refusal.remedy }),
        });
      for (const candidate of candidates) await this.#join(candidate);
      await this.#parts.map.change(planned.next);
      this.#parts.log.info(
        { action: request.action, version: planned.next.version },
        `diskmap ${planned.next.version} is in use: ${request.action}`,
      );
      await this.start(pace);
      return planned.plan;
    } finally {
      this.#isChanging = false;
    }
  }

  /** When the pool is opened, and when a disk has come back: what was not finished goes on, unless somebody has paused it. */
  async goOn(): Promise<void> {
    const { state } = this.#parts.jobs.list().find(({ name }) => name === REBALANCE) ?? {};
    if (state === 'running' || state === 'waiting' || state === 'paused') return;
    await this.start();
  }

  /** Begins to move what is not where it belongs, if there is anything; what was under way goes on by the newest map. */
  async start(pace?: JobPace): Promise<void> {
    if (!this.job.isDue) return;
    const { jobs, map } = this.#parts;
    const running = jobs.list().find(({ name }) => name === REBALANCE);
    const isActive = running?.state === 'running' || running?.state === 'waiting';
    const options = { mapVersion: map.current.version };
    // From the start: a cursor of another map is of no use.
    if (isActive || running?.state === 'paused') await jobs.cancel(REBALANCE).catch(ignoreBusy);
    await jobs.start(REBALANCE, options, pace ?? { fullSpeed: running?.fullSpeed === true && isActive });
  }

  async #planned(request: DiskChangeRequest): Promise<{ planned: PlannedChange; candidates: readonly Candidate[] }> {
    const { disks, map, usedBytes } = this.#parts;
    const directories =
      request.action === 'add' ? request.directories : request.action === 'replace' ? [request.directory] : [];
    const candidates = await this.#candidates(directories, 'sizeBytes' in request ? request.sizeBytes : undefined);
    const leaving = request.action === 'add' ? undefined : this.#find(request.disk);
    const pool = { map: map.current, byNumber: disks.byNumber, reports: disks.reports(), usedBytes: usedBytes() };
    return { planned: planChange(pool, request.action, candidates, leaving), candidates };
  }

  /** The disk that is meant. NOT_FOUND, INVALID if there are several, or it is no data disk in use. */
  #find(named: string): DiskReport {
    const { disks, map } = this.#parts;
    const path = resolve(named);
    const found = disks
      .reports()
      .filter(
        ({ number, uuid, directory, role }) =>
          (role === 'data' && String(number) === named) ||
          directory === path ||
          (named.length >= 4 && uuid.startsWith(named)),
      );
    const [disk] = found;
    const hint = 'name it by its number, its directory or its id: see `cairn disk list`';
    if (disk === undefined) throw new CairnError('NOT_FOUND', `there is no disk ${named} in this pool`, { hint });
    if (found.length > 1) throw new CairnError('INVALID', `${named} may mean several disks`, { hint });
    if (disk.role !== 'data')
      throw new CairnError('INVALID', `${disk.directory} is a ${disk.role} disk, which holds no files`, {
        hint: 'take it out of cairn.toml while the pool is not mounted; commits then go to the data disks',
      });
    if (map.leaving.includes(disk.number))
      throw new CairnError('INVALID', `disk ${disk.number} is being emptied already`, {
        hint: 'see `cairn job list POOL`',
      });
    if (map.spares.includes(disk.number))
      throw new CairnError('INVALID', `disk ${disk.number} is not in use`, {
        hint: 'take it out of cairn.toml while the pool is not mounted',
      });
    return disk;
  }

  async #candidates(directories: readonly string[], sizeBytes: number | undefined): Promise<Candidate[]> {
    const { disks, map } = this.#parts;
    const places = directories.map((directory) => resolve(directory));
    if (new Set(places).size < places.length) throw new CairnError('INVALID', 'a directory is given twice');
    const capacities = await this.#parts.capacities(places);
    let number = Math.max(0, ...map.current.disks.map(({ disk }) => disk), ...disks.listed.map((disk) => disk.number));
    const candidates: Candidate[] = [];
    for (const directory of places) {
      const known = await this.#leftBehind(directory);
      if (known !== undefined) {
        const isListed = disks.listed.some(({ uuid }) => uuid === known.uuid);
        candidates.push({ ...known, directory, identity: known, isListed });
        continue;
      }
      number += 1;
      const mayTake = Math.min(capacities.get(directory)!, sizeBytes ?? Number.POSITIVE_INFINITY);
      const buckets = Math.min(65_536, Math.floor(mayTake / map.current.bucketBytes));
      if (buckets === 0)
        throw new CairnError('CONFIG', `the disk at ${directory} is smaller than a bucket of this pool`, {
          hint: `it needs ${formatBytes(map.current.bucketBytes)} or more`,
        });
      const candidate: Candidate = {
        number,
        directory,
        capacityBytes: buckets * map.current.bucketBytes,
        identity: undefined,
        isListed: false,
      };
      await checkNewDisk(this.#parts.io, directory, this.#identityOf(candidate));
      candidates.push(candidate);
    }
    return candidates;
  }

  /** The identity in the directory, if it is one that an interrupted change has left there: nothing is on such a disk. */
  async #leftBehind(directory: string): Promise<DiskIdentity | undefined> {
    const { io, disks, map } = this.#parts;
    const identity = await readIdentity(io, directory).catch((error: unknown) => {
      if (hasCode(error, 'DISK_MISSING')) return undefined;
      throw error;
    });
    if (identity?.pool !== disks.config.pool || identity.role !== 'data') return undefined;
    const listed = disks.listed.find(({ uuid }) => uuid === identity.uuid);
    if (listed === undefined && (await io.exists(`${directory}/log`))) return undefined;
    if (listed !== undefined && listed.directory !== directory) return undefined;
    return map.current.disks.some(({ disk }) => disk === identity.number) ? undefined : identity;
  }

  #identityOf({ number, capacityBytes }: Candidate): DiskIdentity {
    const { random, disks } = this.#parts;
    const segments = defaultSegmentBytes(capacityBytes);
    // One COMMIT record must fit on every disk, so no journal has smaller segments than the others.
    const least = Math.min(...disks.opened.map(({ identity }) => identity.journalSegmentBytes));
    const journalSegmentBytes = Math.max(segments.journalSegmentBytes, Number.isFinite(least) ? least : 0);
    return {
      format: 1,
      pool: disks.config.pool,
      uuid: random.bytes(16).toString('hex'),
      number,
      role: 'data',
      capacityBytes,
      ...segments,
      journalSegmentBytes,
    };
  }

  async #join(candidate: Candidate): Promise<void> {
    if (candidate.isListed) return;
    const { io, directory, disks } = this.#parts;
    const identity = candidate.identity ?? this.#identityOf(candidate);
    if (candidate.identity === undefined) await createDisk(io, candidate.directory, identity);
    const disk: DiskConfig = {
      directory: candidate.directory,
      uuid: identity.uuid,
      role: 'data',
      number: identity.number,
    };
    const config: PoolConfig = { ...disks.config, disks: [...disks.config.disks, disk] };
    await saveDisks(io, directory, config);
    await disks.join(config, disk);
  }

  /** After a snapshot every disk knows the whole pool, also one that joined after the commits before it: those that leave are not needed for that either. */
  async #finish(numbers: readonly number[]): Promise<void> {
    const { io, directory, disks, log } = this.#parts;
    await this.#parts.takeSnapshot().catch((error: unknown) => {
      // Where nobody leaves, the next one that is due does as well.
      if (numbers.length > 0 || !hasCode(error, 'NO_SPACE', 'DISK_FAILED')) throw error;
      log.warn({ error }, 'a disk that joined does not have all commits yet: no metadata snapshot could be taken');
    });
    for (const number of numbers) {
      const gone = disks.listed.find((disk) => disk.number === number);
      if (gone === undefined) continue;
      const config = { ...disks.config, disks: disks.config.disks.filter(({ uuid }) => uuid !== gone.uuid) };
      await saveDisks(io, directory, config);
      await disks.part(config, gone.uuid);
      log.info({ disk: gone.directory }, `disk ${number} at ${gone.directory} is no part of the pool any more`);
    }
    this.#parts.onSettled();
  }
}

/** By how much each bucket holds less than the fullest of its group. */
function lackingBytes(map: DiskMap, disks: PoolDisks): number {
  let bytes = 0;
  for (const { buckets } of map.groups) {
    const held = buckets.map((bucket) => disks.byNumber.get(diskOfBucket(bucket))?.bucketBytes(bucket) ?? 0);
    const most = Math.max(...held);
    for (const each of held) bytes += most - each;
  }
  return bytes;
}

function ignoreBusy(error: unknown): void {
  if (!hasCode(error, 'BUSY')) throw error;
}
