/** A cache that is not there: a device that is not mounted is told from a cache that is lost. */
import { mkdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { rememberCachePlace, requireCachePlace } from '../../../src/cli/cache-place.js';
import { MountTable } from '../../../src/cli/mount-table.js';

const line = (mountpoint: string): string => `36 35 98:0 / ${mountpoint} rw - ext4 /dev/x rw\n`;

t.test('a cache whose device is not mounted is not replaced', async (t) => {
  const root = t.testdir({ pool: {}, ssd: { cache: {} } });
  const [pool, ssd, cache] = [join(root, 'pool'), join(root, 'ssd'), join(root, 'ssd', 'cache')];
  const mounted = new MountTable(line('/') + line(ssd));
  const bare = new MountTable(line('/'));
  await requireCachePlace(pool, cache, bare);
  await rememberCachePlace(pool, cache, mounted);
  await requireCachePlace(pool, cache, bare);
  t.pass('whatever is mounted, a directory that is there is taken');
  await rm(cache, { recursive: true });
  await t.rejects(requireCachePlace(pool, cache, bare), {
    code: 'NOT_FOUND',
    message: `the cache ${cache} is not there: nothing is mounted at ${ssd}, where it was`,
    hint: new RegExp(`mkdir -p ${cache}$`),
  });
  await requireCachePlace(pool, cache, mounted);
  t.pass('where its device is mounted and the directory is gone, it is lost');
  await rm(ssd, { recursive: true });
  await t.rejects(
    requireCachePlace(pool, cache, bare),
    { code: 'NOT_FOUND' },
    'nor where the mount point is gone as well',
  );
  await mkdir(cache, { recursive: true });
  await rememberCachePlace(pool, cache, bare);
  await rm(ssd, { recursive: true });
  await requireCachePlace(pool, cache, bare);
  t.pass('a cache that was on the system’s own disk is lost when it is not there');
});

t.test('a link to the cache counts as what it leads to', async (t) => {
  const root = t.testdir({ pool: {}, ssd: { cache: {} } });
  const [pool, ssd, link] = [join(root, 'pool'), join(root, 'ssd'), join(root, 'link')];
  await symlink(join(ssd, 'cache'), link);
  await rememberCachePlace(pool, link, new MountTable(line('/') + line(ssd)));
  await rm(join(ssd, 'cache'), { recursive: true });
  await t.rejects(requireCachePlace(pool, link, new MountTable(line('/'))), { code: 'NOT_FOUND' });
});

t.test('a pool that was never mounted has nothing to compare with', async (t) => {
  const root = t.testdir({ pool: {} });
  await requireCachePlace(join(root, 'pool'), join(root, 'cache'), new MountTable(line('/')));
  t.pass('the cache is made');
});
