/** The cache: is what is staged readable, and which cache files belong to no file any more. */
import { join } from 'node:path';
import { loadAddon } from '../../native/addon.js';
import { decodeStageRecord } from '../cache/stage-op.js';
import { readIdentity } from '../disks/disk-identity.js';
import { CairnError, hasCode, messageOf } from '../errors/cairn-error.js';
import type { Ino } from '../meta/rows.js';
import type { PoolRun } from './check-run.js';
import { segmentFiles, walkSegment } from './segment-walk.js';
import { counted } from './words.js';

/** No stage segment is larger. */
const SEGMENT_BYTES_MAX = 64 * 1024 * 1024;

export async function checkCache(run: PoolRun): Promise<void> {
  const { directory } = run.pool.config.cache;
  run.begin('checking the cache', 0, 'items');
  if (!(await run.files.exists(directory))) return;
  await checkStageLog(run, directory);
  // In use, the files of what was removed stay until the removal is durable: only at rest nothing names what no inode does.
  if (!run.live) await checkFiles(run, join(directory, 'files'));
}

/**
 * After a power cut records that no sync had covered are missing between others: nobody was promised them. So a place that cannot be read is told
 * only where the record next to it was written since the machine was started.
 */
async function checkStageLog(run: PoolRun, directory: string): Promise<void> {
  const { crc32c } = loadAddon();
  let owner: string;
  try {
    owner = (await readIdentity(run.files, directory)).uuid.slice(0, 16);
  } catch (error) {
    if (!(error instanceof CairnError)) throw error;
    run.report({
      severity: 'damage',
      code: 'cache-identity',
      message: `the cache cannot be trusted: ${messageOf(error)}; what is staged in it and not committed may be lost, what is committed is not touched by it`,
      advice: 'connect the right cache device; with a new, empty directory the pool opens without what was staged',
    });
    return;
  }
  let damaged = 0;
  const files = await segmentFiles(run.files, join(directory, 'stage'), 'stage');
  for (const { path, segment } of files) {
    const open = (): Promise<Damaged | undefined> => damagedIn(run, path, segment, owner, crc32c);
    let found = await open();
    // A record that was being written is whole a moment later; a segment that is gone held nothing any more.
    if (found !== undefined && found.places > 0 && run.live) {
      await run.quietly(async () => undefined);
      found = await open();
    }
    if (found === undefined) continue;
    damaged = found.cut ? found.places : damaged + found.places;
  }
  if (damaged === 0) return;
  run.report({
    severity: 'loss',
    code: 'stage-damaged',
    message: `${counted(damaged, 'place')} of the stage log cannot be read: changes of the last moments before the last commit may be lost, although an fsync had acknowledged them`,
    advice: 'check the cache device, and the newest files; what is committed is safe',
  });
}

interface Damaged {
  readonly places: number;
  /** A run of the daemon began here: what lies before was judged when that began, and does not count any more. */
  readonly cut: boolean;
}

/** Undefined: the segment is gone. */
async function damagedIn(
  run: PoolRun,
  path: string,
  segment: number,
  owner: string,
  crc32c: ReturnType<typeof loadAddon>['crc32c'],
): Promise<Damaged | undefined> {
  const bootId = run.files.bootId();
  let places = 0;
  let pending = 0;
  let cut = false;
  let boot: string | undefined;
  try {
    const file = await run.files.open(path, { readOnly: true });
    try {
      await walkSegment(
        { file, segment, endBytes: SEGMENT_BYTES_MAX, owner, crc32c },
        0,
        async ({ decoded, payload }) => {
          run.counts.records++;
          await run.advance(0, decoded.recordBytes);
          if (decoded.record.kind !== 'stage') return;
          if (payload === undefined) {
            pending++;
            return;
          }
          try {
            const record = decodeStageRecord(payload);
            boot = record.bootId;
            if (boot === bootId) places += pending;
            pending = 0;
            if (record.ops[0]?.kind !== 'cut') return;
            places = 0;
            cut = true;
          } catch (error) {
            if (!hasCode(error, 'CORRUPT')) throw error;
            // Its checksums hold: it was written like this.
            places++;
          }
        },
        async () => {
          pending++;
        },
      );
      if (boot === bootId) places += pending;
    } finally {
      await file.close();
    }
  } catch (error) {
    if (hasCode(error, 'NOT_FOUND')) return undefined;
    throw error;
  }
  return { places, cut };
}

async function checkFiles(run: PoolRun, directory: string): Promise<void> {
  const orphans: Ino[] = [];
  for (const shard of await listed(run, directory)) {
    if (!/^[0-9a-f]{2}$/.test(shard)) continue;
    for (const name of await listed(run, join(directory, shard))) {
      if (!/^[0-9a-f]{1,14}$/.test(name)) continue;
      const ino = Number.parseInt(name, 16);
      await run.advance(0, 1024);
      if (await isUnknown(run, ino)) orphans.push(ino);
    }
  }
  if (orphans.length === 0) return;
  run.report({
    severity: 'note',
    code: 'cache-orphan',
    message: `${counted(orphans.length, 'cache file')} belong to no file of the pool: they only take room, and go at the next mount`,
  });
}

async function isUnknown(run: PoolRun, ino: Ino): Promise<boolean> {
  return run.pool.table.peek(ino) === undefined && (await run.pool.meta.getInode(ino)) === undefined;
}

async function listed(run: PoolRun, directory: string): Promise<string[]> {
  try {
    return await (run.options.asFound ?? run.files).list(directory);
  } catch (error) {
    if (hasCode(error, 'NOT_FOUND', 'NOT_DIRECTORY')) return [];
    throw error;
  }
}
