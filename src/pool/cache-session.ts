/**
 * Which daemon staged what is in the cache: the file `cairn-session.json` in it, written before anything is staged.
 *
 * What is staged is a change of what was committed when it was staged. A cache that comes back after the pool went on without it, or a copy of
 * how it once was, holds changes of an older state: replayed they would put old bytes over newer ones, and its inode numbers may have been
 * given to other files. Every commit has the epoch of its daemon, which no other has, so that is found out: the newest commit must be one of the daemon that
 * staged last, or of the one before it, if the last committed nothing.
 *
 *   { "format": 1, "epoch": of the daemon, "before": of the newest commit when it started, "checksum": of the three }
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
}

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

/** From now on it is the daemon of `epoch` that stages. */
export async function beginSession(io: FileIo, directory: string, session: CacheSession): Promise<void> {
  const { epoch, before } = session;
  const file = { format: FORMAT, epoch, before, checksum: checksum(session) };
  await io.replaceFile(join(directory, SESSION_FILE), Buffer.from(`${JSON.stringify(file)}\n`));
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
    const { format, epoch, before, checksum: expected } = file as Record<string, unknown>;
    if (format !== FORMAT || !Number.isSafeInteger(epoch) || !Number.isSafeInteger(before)) return undefined;
    const session = { epoch: epoch as number, before: before as number };
    return expected === checksum(session) ? session : undefined;
  } catch {
    return undefined;
  }
}

function checksum({ epoch, before }: CacheSession): string {
  return createHash('sha256').update(`${FORMAT} ${epoch} ${before}`).digest('hex');
}
