/** The commands over a real mount: what they say, what they refuse, and that nothing stays behind. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { waitForEnd } from '../../src/cli/daemon-process.js';
import { MountTable } from '../../src/cli/mount-table.js';
import { cannotMount, MountHarness } from './mount-harness.js';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

t.test('a life of a pool', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '16MiB', '--scheme', 'ec:2+1'] });
  const { mountpoint, pool, directory } = harness;
  await harness.init();
  t.match(await harness.status(), { running: false });

  t.match(await harness.ok('mount', pool, mountpoint), /^mounted .* \(pid \d+, log .*daemon\.log\)\n$/);
  const status = await harness.status();
  t.match(status, { running: true, mountpoint, mode: 'default', directory: pool });
  t.not(status.pid, process.pid);

  const file = join(mountpoint, 'hello');
  await writeFile(file, 'hello');
  t.equal(await readFile(file, 'utf8'), 'hello');
  t.equal((await harness.state(file)).path, '/hello');
  t.match(await harness.ok('commit', '--wait', file), /^committed: .*healthy\n$/);

  await t.test('a pool is mounted once, a mount point used once', async (t) => {
    const other = join(directory, 'other');
    await mkdir(other);
    const again = await harness.run('mount', pool, other);
    t.match(again, { code: 1, stderr: /^cairn: [^\n]+\n$/ });
    t.match(await harness.run('mount', pool, mountpoint), { code: 1, stderr: /already mounted/ });
    t.equal((await harness.status()).pid, status.pid, 'the first one goes on');
  });

  await t.test('unmount refuses while somebody is inside', async (t) => {
    const inside = await harness.runIn(mountpoint, 'unmount', mountpoint);
    t.match(inside, { code: 1, stderr: /in use|busy/ });
    t.equal((await harness.status()).running, true);
  });

  await harness.unmount();
  t.same(await readdir(mountpoint), []);
  t.match(await harness.status(), { running: false });
});

t.test('a killed daemon', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '16MiB'] });
  const { mountpoint, pool } = harness;
  await harness.init();
  await harness.mount();
  await harness.kill();
  await t.rejects(readdir(mountpoint), { code: 'ENOTCONN' });
  // Depends on what the kernel still knows: either way it says what to do.
  t.match(await harness.run('state', mountpoint), {
    code: 1,
    stderr: /daemon is gone; mount|no daemon is running.*cairn mount/,
  });
  t.match(await harness.ok('mount', pool, mountpoint), /^detached the dead mount[^\n]*\nmounted /);
  t.same(await readdir(mountpoint), []);
  await harness.kill();
  t.match(await harness.ok('unmount', mountpoint), /the daemon was dead: detached its mount/);
  t.equal(MountTable.read().inside(harness.directory).length, 0);
});

t.test('an unmount by somebody else ends the daemon', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '16MiB'] });
  await harness.init();
  await harness.mount('--strong');
  const { pid, mode } = await harness.status();
  t.equal(mode, 'strong');
  const root = process.getuid?.() === 0;
  await harness.exec(root ? 'umount' : 'fusermount3', root ? [harness.mountpoint] : ['-u', harness.mountpoint], '/');
  while (!(await waitForEnd(pid)));
  t.match(await harness.status(), { running: false });
});

t.test('a working directory that has been removed stops no command with an absolute path', async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '16MiB'] });
  await harness.init();
  const inRemoved = (...args: string[]) => {
    const removed = join(harness.directory, 'removed');
    const script = 'mkdir "$0" && cd "$0" && rmdir "$0" && unset NODE_OPTIONS && exec "$@"';
    return harness.exec('sh', ['-c', script, removed, process.execPath, MAIN, ...args]);
  };
  t.match(await inRemoved('status', harness.pool), { code: 0, stdout: /^pool / });
  t.match(await inRemoved('status', 'pool'), { code: 1, stderr: /^cairn: [^\n]+\n$/ });
});
