/** From what a person types to a pool: a path on a mount to (pool, path inside), a directory to the pool in it. */
import { realpath } from 'node:fs/promises';
import { resolve } from 'node:path';
import { CairnError, hasCode, systemCode } from '../errors/cairn-error.js';
import { systemWords } from '../io/system-error.js';
import type { CliContext } from './context.js';
import { daemonClient } from './daemon-client.js';
import { insidePath, poolOf } from './mount-table.js';

export interface PoolPath {
  readonly poolDirectory: string;
  readonly mountpoint: string;
  /** Path inside the pool, starting with `/`. */
  readonly inside: string;
}

/** Follows symbolic links, as opening the file would. NOT_FOUND, INVALID if it is not on a mount of cairn's, CLOSED if that mount is dead. */
export async function findInPool(
  context: Pick<CliContext, 'cwd' | 'mountTable' | 'stderr'>,
  path: string,
): Promise<PoolPath> {
  const absolute = resolve(context.cwd, path);
  await requireAnswer(context, absolute);
  const real = await realpath(absolute).catch((cause: unknown) => {
    if (systemCode(cause) === 'ENOTCONN' || systemCode(cause) === 'ECONNABORTED') {
      throw new CairnError('CLOSED', `${path} is on a mount whose daemon is gone`, {
        hint: 'mount the pool again: that detaches the dead mount; what was staged is safe in the cache',
        cause,
      });
    }
    if (systemCode(cause) === 'ENOENT' || systemCode(cause) === 'ENOTDIR') {
      throw new CairnError('NOT_FOUND', `there is no ${absolute}`, {
        hint: 'name a file or directory on the mount of a pool',
        cause,
      });
    }
    throw cause;
  });
  const table = context.mountTable();
  const mount = table.of(real);
  const poolDirectory = mount && poolOf(mount);
  if (mount === undefined || poolDirectory === undefined) {
    const mounted = table.cairn().map((each) => each.mountpoint);
    throw new CairnError('INVALID', `${absolute} is not in a mounted pool`, {
      hint: mounted.length > 0 ? `mounted are: ${mounted.join(', ')}` : 'no pool is mounted: see `cairn mount --help`',
    });
  }
  return { poolDirectory, mountpoint: mount.mountpoint, inside: insidePath(real, mount) };
}

/** A call on the mount of a daemon that is stopped does not return, and this process could not end before it: whether it answers is asked by its socket. BUSY. */
async function requireAnswer(context: Pick<CliContext, 'mountTable' | 'stderr'>, path: string): Promise<void> {
  const mount = context.mountTable().of(path);
  const pool = mount && poolOf(mount);
  if (pool === undefined) return;
  await daemonClient(context, pool)
    .status()
    .catch((error: unknown) => {
      // That there is none the mount itself says, and for which path.
      if (hasCode(error, 'BUSY')) throw error;
    });
}

/** The pool directory as it is named everywhere: absolute, without symbolic links. NOT_FOUND, ACCESS. */
export async function resolvePool(context: Pick<CliContext, 'cwd'>, path: string): Promise<string> {
  const absolute = resolve(context.cwd, path);
  return await realpath(absolute).catch((cause: unknown) => {
    // That it is not there is said only where that is known.
    if (systemCode(cause) !== 'ENOENT' && systemCode(cause) !== 'ENOTDIR')
      throw new CairnError('ACCESS', `cannot look at the pool directory ${absolute}: ${systemWords(cause)}`, { cause });
    throw new CairnError('NOT_FOUND', `there is no pool directory ${absolute}`, {
      hint: `make a pool with \`cairn init ${path} --disk DIR … --cache DIR\``,
      cause,
    });
  });
}
