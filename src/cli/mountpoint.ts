/**
 * A mount point before it is used: exists, is an empty directory, has no dead mount on it, and does not cover the pool that
 * is to be mounted there (the daemon would then wait for itself).
 */
import { lstat, readdir, realpath, statfs } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { CairnError, hasCode, systemCode } from '../errors/cairn-error.js';
import { ControlClient } from '../http/control-client.js';
import type { CliContext } from './context.js';
import { isInside, type Mount, poolOf } from './mount-table.js';

type Context = Pick<CliContext, 'cwd' | 'mountTable' | 'mounter'>;

/** Longer than any answer of a daemon that works: it holds no lock while it reads a disk. */
const PROBE_MS = 10_000;

/** The absolute path without symbolic links, found without touching what may be a dead mount itself. */
export async function resolveMountpoint(context: Pick<Context, 'cwd' | 'mountTable'>, path: string): Promise<string> {
  const absolute = resolve(context.cwd, path);
  if (context.mountTable().at(absolute) !== undefined) return absolute;
  const parent = await realpath(dirname(absolute)).catch((cause: unknown) => {
    throw new CairnError('NOT_FOUND', `there is no directory ${dirname(absolute)}`, {
      hint: `make it: mkdir -p ${absolute}`,
      cause,
    });
  });
  const direct = join(parent, basename(absolute));
  if (context.mountTable().at(direct) !== undefined) return direct;
  return await realpath(direct).catch(() => direct);
}

/** No daemon, or it ended while it was asked. */
const DEAD_CODES: ReadonlySet<string> = new Set(['ENOTCONN', 'ECONNABORTED']);

/** `dead`: mounted, but no daemon serves it. `silent`: no answer in time. */
export async function probeMount(mount: Mount): Promise<'alive' | 'dead' | 'silent'> {
  // By its socket first: a call on the mount of a daemon that is stopped does not return, and this process could not end before it.
  const pool = poolOf(mount);
  const hangs =
    pool !== undefined &&
    (await new ControlClient(pool, { patienceMs: PROBE_MS }).status().then(
      () => false,
      (error: unknown) => hasCode(error, 'BUSY'),
    ));
  if (hangs) return 'silent';
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<'silent'>((done) => {
    timer = setTimeout(() => done('silent'), PROBE_MS);
  });
  // The kernel may answer a stat by itself, from what the dead daemon had told it; a statfs it never does.
  const answer = statfs(mount.mountpoint).then(
    () => 'alive' as const,
    (error: unknown) => (DEAD_CODES.has(systemCode(error) ?? '') ? ('dead' as const) : ('alive' as const)),
  );
  try {
    return await Promise.race([answer, silence]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Detaches a dead mount of cairn's (true if there was one), then checks the directory. `covered`: directories that must not
 * lie below the mount point. NOT_FOUND, NOT_DIRECTORY, NOT_EMPTY, BUSY, INVALID.
 */
export async function prepareMountpoint(
  context: Context,
  mountpoint: string,
  covered: readonly string[],
): Promise<boolean> {
  const mount = context.mountTable().at(mountpoint);
  let detached = false;
  if (mount !== undefined && poolOf(mount) !== undefined) {
    const state = await probeMount(mount);
    if (state !== 'dead') {
      const how = state === 'silent' ? ', by a daemon that does not answer' : '';
      throw new CairnError('BUSY', `the pool ${poolOf(mount)} is already mounted at ${mountpoint}${how}`, {
        hint: `unmount it with \`cairn unmount ${mountpoint}\``,
      });
    }
    await context.mounter.detach(mountpoint, true);
    detached = true;
  }
  const stat = await lstat(mountpoint).catch((cause: unknown) => {
    throw new CairnError('NOT_FOUND', `the mount point ${mountpoint} is not there`, {
      hint: `make it with \`mkdir ${mountpoint}\``,
      cause,
    });
  });
  if (!stat.isDirectory())
    throw new CairnError('NOT_DIRECTORY', `${mountpoint} is not a directory`, {
      hint: 'name an empty directory to mount at',
    });
  const inside = covered.find((directory) => isInside(directory, mountpoint));
  if (inside !== undefined) {
    throw new CairnError('INVALID', `mounting at ${mountpoint} would hide the pool's own ${inside}`, {
      hint: 'choose a mount point that is not above the pool',
    });
  }
  if ((await readdir(mountpoint)).length > 0) {
    throw new CairnError('NOT_EMPTY', `${mountpoint} is not empty: mounting would hide what is in it`, {
      hint: 'choose an empty directory, or move its files away first',
    });
  }
  return detached;
}
