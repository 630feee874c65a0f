/**
 * Below which mount point the cache was when the pool was last mounted, kept in the pool directory: a device that is only not mounted must not be taken for a lost cache. With an empty one in
 * its place the pool would go on without what was promised there, and what is staged there could not be put on top of that any more.
 */
import { readFile, realpath, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CairnError, systemCode } from '../errors/cairn-error.js';
import { toCairnError } from '../io/system-error.js';
import type { MountTable } from './mount-table.js';

const FILE = 'cache-mountpoint';

/** NOT_FOUND if the cache is not there and neither is the mount that it was below. */
export async function requireCachePlace(poolDirectory: string, cache: string, table: MountTable): Promise<void> {
  if ((await resolved(cache)) !== undefined) return;
  const was = await readFile(join(poolDirectory, FILE), 'utf8').catch(() => '');
  let above = dirname(cache);
  let there = await resolved(above);
  while (there === undefined) {
    above = dirname(above);
    there = await resolved(above);
  }
  if (was === '' || was === mountpointOf(there, table)) return;
  throw new CairnError('NOT_FOUND', `the cache ${cache} is not there: nothing is mounted at ${was}, where it was`, {
    hint: `mount that device, since what had not been committed is only there; if it is lost for good, start with an empty cache: mkdir -p ${cache}`,
  });
}

/** The cache is there and in use. */
export async function rememberCachePlace(poolDirectory: string, cache: string, table: MountTable): Promise<void> {
  const is = mountpointOf((await resolved(cache)) ?? cache, table);
  const path = join(poolDirectory, FILE);
  if ((await readFile(path, 'utf8').catch(() => '')) === is) return;
  await writeFile(`${path}.new`, is, { mode: 0o600 });
  await rename(`${path}.new`, path);
}

function mountpointOf(path: string, table: MountTable): string {
  return table.of(path)?.mountpoint ?? '/';
}

/** Without symbolic links; undefined if it is not there. */
async function resolved(path: string): Promise<string | undefined> {
  try {
    return await realpath(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw toCairnError(error, 'look at', path);
  }
}
