/** Opens the cache directory: its identity and lock, the stage log of the last run, the cache files. */
import { dirname, join } from 'node:path';
import { CacheAccount, type CacheReclaimer } from '../cache/cache-account.js';
import { CacheFiles } from '../cache/cache-files.js';
import { StageLog } from '../cache/stage-log.js';
import { readStageLog, type StagedReplay } from '../cache/staged-replay.js';
import { createDisk, readIdentity } from '../disks/disk-identity.js';
import { openLog } from '../disks/segment-log.js';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { Clock } from '../io/clock.js';
import type { FileIo, IoLock } from '../io/file-io.js';
import type { Random } from '../io/random.js';
import { beginSession, checkSession } from './cache-session.js';
import type { PoolConfig } from './config.js';
import { cacheIdentity } from './init-pool.js';
import type { PoolLog } from './pool-log.js';

/** A stage log's segment takes at least the longest record, twice. */
const STAGE_SEGMENT_BYTES_MIN = 1024 * 1024;
/** Small files in memory, clean or staged. */
const MEMORY_BYTES = 48 * 1024 * 1024;
/** Of what the cache's device has free, what the cache takes: the rest is for the stage log, and for others on the device. */
const CAPACITY_SHARE = 0.5;

export interface Staging {
  readonly files: CacheFiles;
  readonly account: CacheAccount;
  readonly stage: StageLog;
  readonly replay: StagedReplay;
  close(): Promise<void>;
}

/**
 * `committedThrough`: the highest stage sequence that any commit knows; `committedEpoch`: that of the newest commit; `epoch`: this daemon's. DISK_FOREIGN if
 * the directory is another pool's cache, or an older one of this; LOCKED if another process has it.
 */
export async function openStaging(parts: {
  io: FileIo;
  random: Random;
  clock: Clock;
  config: PoolConfig;
  committedThrough: number;
  committedEpoch: number;
  epoch: number;
  log: PoolLog;
  /** Of the stage log's segments. */
  segmentBytes?: number;
}): Promise<Staging> {
  const { io, config, clock, log } = parts;
  const { directory, sizeBytes } = config.cache;
  const identity = await identify(parts);
  const opened: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    const failures: unknown[] = [];
    for (const end of opened.splice(0).reverse())
      await end().catch((error: unknown) => {
        failures.push(error);
      });
    if (failures.length > 0) throw failures[0];
  };
  try {
    const lock = await lockCache(io, directory);
    opened.push(() => lock.release());
    const segments = await openLog(
      io,
      {
        directory: join(directory, 'stage'),
        name: 'stage',
        segmentBytes: parts.segmentBytes ?? Math.max(STAGE_SEGMENT_BYTES_MIN, 2 * identity.journalSegmentBytes),
        style: 'zeroed',
        owner: identity.uuid.slice(0, 16),
      },
      { report: (line) => log.warn({ directory }, line) },
    );
    opened.push(() => segments.close());
    const bootId = io.bootId();
    const replay = await readStageLog(segments, bootId, parts.committedThrough);
    // Where nothing is staged, it does not matter by whom.
    if (!isEmpty(replay)) await checkSession(io, directory, parts.committedEpoch);
    const known = Math.max(replay.lastSequence, parts.committedThrough);
    const session = { epoch: parts.epoch, before: parts.committedEpoch, known };
    const lastSequence = await beginSession(io, directory, session);
    // Sequences between the runs stay unused, and what a power cut left beyond a gap does not count from here on.
    const cutAfter = replay.lastSequence > 0 ? (replay.cutAfter ?? replay.lastSequence) : undefined;
    const stage = new StageLog(segments, clock, { bootId, lastSequence, lastIn: replay.lastIn, cutAfter });
    stage.onFailure = (failure) => log.error({ directory, error: failure.cause }, failure.message);
    const files = await CacheFiles.open(io, join(directory, 'files'));
    opened.push(() => files.close());
    opened.push(() => stage.close());
    const capacityBytes = sizeBytes ?? Math.floor((await io.space(directory)).freeBytes * CAPACITY_SHARE);
    const account = new CacheAccount(
      { capacityBytes, memoryBytes: MEMORY_BYTES },
      reclaimerOf(files, stage, (error) => log.warn({ error }, 'space in the cache could not be given back')),
    );
    return { files, account, stage, replay, close };
  } catch (error) {
    await close().catch(() => undefined);
    throw error;
  }
}

/** Nothing in the log counts, and nothing was lost of it. */
function isEmpty({ names, contents, brokenOffWrites, notes }: StagedReplay): boolean {
  return names.length === 0 && contents.size === 0 && brokenOffWrites === 0 && notes.length === 0;
}

/**
 * What the stage log says is in the cache file must be there when it is replayed: so that a commit has it instead is
 * durable in the log before the bytes go.
 */
function reclaimerOf(files: CacheFiles, stage: StageLog, onFailure: (error: unknown) => void): CacheReclaimer {
  return {
    removeFile: ({ ino }) => files.remove(ino).catch(onFailure),
    punch: async ({ ino, partlyCommitted }, ranges) => {
      try {
        if (partlyCommitted) {
          for (const { from, to } of ranges) stage.note({ kind: 'evicted', ino, from, to });
          await stage.sync();
        }
        for (const { from, to } of ranges) await files.punch(ino, from, to - from);
      } catch (error) {
        onFailure(error);
      }
    },
  };
}

async function identify({ io, random, config, log }: { io: FileIo; random: Random; config: PoolConfig; log: PoolLog }) {
  const { directory } = config.cache;
  try {
    const identity = await readIdentity(io, directory);
    if (identity.pool !== config.pool || identity.role !== 'cache')
      throw new CairnError('DISK_FOREIGN', `${directory} is not the cache of this pool`, {
        hint: 'mount the right device there, or correct cairn.toml',
      });
    return identity;
  } catch (error) {
    if (!hasCode(error, 'DISK_MISSING', 'CORRUPT')) throw error;
    if (await io.exists(join(directory, 'stage'))) throw error;
    log.warn({ directory }, 'the cache is empty: what had been staged there and not committed is not here');
    await io.makeDirectory(dirname(directory));
    await io.makeDirectory(directory);
    await createDisk(io, directory, cacheIdentity(config, random, (await io.space(directory)).freeBytes));
    return readIdentity(io, directory);
  }
}

async function lockCache(io: FileIo, directory: string): Promise<IoLock> {
  try {
    return await io.lock(join(directory, 'lock'));
  } catch (error) {
    if (hasCode(error, 'LOCKED'))
      throw new CairnError('LOCKED', `another process has the cache in ${directory}`, {
        hint: 'unmount the pool that uses it; two pools cannot share one cache directory',
        cause: error,
      });
    throw error;
  }
}
