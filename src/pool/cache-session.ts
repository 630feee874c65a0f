/**
 * Which daemon staged what is in the cache: the file `cairn-session.json` in it, written before anything is staged.
 *
 * What is staged is a change of what was committed when it was staged. A cache that comes back after the pool went on without it, or a copy of
 * how it once was, holds changes of an older state: replayed they would put old bytes over newer ones, and its inode numbers may have been
 * given to other files. Every commit has the epoch of its daemon, which no other has, so that is found out: the newest commit must be one of the daemon that
 * staged last, or of the one before it, if the last committed nothing.
 *
 *   { "format": 1, "epoch": of the daemon, "before": of the newest commit when it started, "after": stage sequences up to this are of earlier ones,
 *     "checksum": SHA-256 of the four numbers, with spaces between }
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { isOfRun } from '../commit/epoch.js';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { FileIo } from '../io/file-io.js';

const SESSION_FILE = 'cairn-session.json';
const FORMAT = 1;

interface CacheSession {
  readonly epoch: number;
  readonly before: number;
  readonly after: number;
}

/**
 * Every daemon numbers its operations far above those of all before it, also of those that power loss took before they were in the log: no
 * number means two operations.
 */
const RUN_SEQUENCES = 2 ** 30;

/**
 * DISK_FOREIGN if what is staged in the cache belongs to an older state than the newest commit, which has `committedEpoch`; CORRUPT if
 * that cannot be told. A cache without the file is taken as it is: so a user says that he knows better.
 */
export async function checkSession(io: FileIo, directory: string, committedEpoch: number): Promise<void> {
  const session = await readSession(io, directory);
  if (session === undefined) return;
  if (isOfRun(committedEpoch, session.epoch) || isOfRun(committedEpoch, session.before)) return;
  throw new CairnError(
    'DISK_FOREIGN',
    `the cache in ${directory} is older than what the pool has committed since: its changes cannot be put on top`,
    { hint: 'put the cache of the last run in its place, or move this one away to start with an empty one' },
  );
}

/** From now on it is the daemon of `epoch` that stages. `known`: the highest stage sequence that is known of. Returns the one after which its own begin. */
export async function beginSession(
  io: FileIo,
  directory: string,
  { epoch, before, known }: { readonly epoch: number; readonly before: number; readonly known: number },
): Promise<number> {
  const last = await readSession(io, directory).catch((error: unknown) => {
    // Only where nothing is staged: else it has been read before.
    if (hasCode(error, 'CORRUPT')) return undefined;
    throw error;
  });
  const after = Math.max(known, last?.after ?? 0) + RUN_SEQUENCES;
  const session = { epoch, before, after };
  const file = { format: FORMAT, ...session, checksum: checksum(session) };
  await io.replaceFile(join(directory, SESSION_FILE), Buffer.from(`${JSON.stringify(file)}\n`));
  return after;
}

async function readSession(io: FileIo, directory: string): Promise<CacheSession | undefined> {
  const path = join(directory, SESSION_FILE);
  let bytes: Buffer;
  try {
    bytes = await io.readFile(path);
  } catch (error) {
    if (hasCode(error, 'NOT_FOUND')) return undefined;
    throw error;
  }
  const session = decodeSession(bytes);
  if (session !== undefined) return session;
  throw new CairnError('CORRUPT', `${path} is damaged: whether the cache is that of the last run cannot be told`, {
    hint: 'if it is, remove that file; if not, move the cache away to start with an empty one',
  });
}

/** undefined on anything but a session. */
export function decodeSession(bytes: Buffer): CacheSession | undefined {
  try {
    const file: unknown = JSON.parse(bytes.toString('utf8'));
    if (typeof file !== 'object' || file === null) return undefined;
    const { format, epoch, before, after, checksum: expected } = file as Record<string, unknown>;
    if (format !== FORMAT || !isNumber(epoch) || !isNumber(before) || !isNumber(after)) return undefined;
    const session = { epoch, before, after };
    return expected === checksum(session) ? session : undefined;
  } catch {
    return undefined;
  }
}

function isNumber(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

function checksum({ epoch, before, after }: CacheSession): string {
  return createHash('sha256').update(`${FORMAT} ${epoch} ${before} ${after}`).digest('hex');
}
