/** The commands over a real mount: what they say, what they refuse, and that nothing stays behind. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { waitForEnd } from '../../src/cli/daemon-process.js';
import { MountTable } from '../../src/cli/mount-table.js';
import { cannotMount, cannotMountDisks, MountHarness } from './mount-harness.js';

const MOUNT_WORDS =
  'rw, ro, strong, writeback, allow_other, atime, relatime, noatime, strictatime, diratime, nodiratime, exec, noexec, remount';
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

/** Runs in a mount namespace of its own, where /sbin has nothing but cairn's helpers, with the harness's directory, node and cairn. What it says is what the test looks at. */
const FSTAB_SCRIPT = `
export TZ=UTC LC_ALL=C
cd "$0"
mount -t tmpfs tmpfs /sbin
"$1" "$2" service fstab > /dev/null
holds() { echo "$1: $(grep " $0/mnt fuse.cairn " /proc/mounts | cut -d' ' -f1,4)"; }
tries() { "$@" > said 2>&1; echo "$? $(grep -v ' so far$' said)"; }
echo "$0/pool $0/mnt fuse.cairn noexec,noatime,nofail,_netdev,x-systemd.after=network.target 0 0" > fstab
mount -T fstab -a; holds "all $?"
mount -T fstab -a; holds "again $?"
echo x > mnt/f; touch -d 2001-01-01 mnt/f
echo "noatime: $(cat mnt/f), $(stat -c %x mnt/f)"
mount -o remount,ro mnt; holds "remount $?"
sh -c 'echo y > mnt/f' 2> /dev/null || echo "refused"
mount -o remount,rw mnt; holds "remount $?"
tries mount -o remount,strictatime mnt
mkdir second; mount --bind mnt second; umount second; holds "second $?"
sleep 1000 < mnt/f & P=$!
tries umount mnt
kill $P; wait $P 2> /dev/null
umount mnt; holds "unmounted $?"; tail -n 1 pool/daemon.log
mount -t fuse.cairn "$0/pool" "$0/mnt" -o strictatime; holds "strict $?"
cat mnt/f; before=$(stat -c %x mnt/f)
until cat mnt/f > /dev/null; [ "$(stat -c %x mnt/f)" != "$before" ]; do sleep 0.01; done
umount -l mnt; holds "lazy $?"
until [ "$(grep -c 'committed and unmounted' pool/daemon.log)" = 2 ]; do sleep 0.05; done
tries mount -t fuse.cairn "$0/pool" "$0/mnt" -o sync
tries mount -t fuse.cairn "$0/none" "$0/mnt"
`;

t.test('a line in fstab: mount(8) and umount(8) do what they say', { skip: cannotMountDisks() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '16MiB'] });
  await harness.init();
  const { directory, pool } = harness;
  const unshare = ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc', '--propagation', 'private'];
  const said = await harness.must('unshare', ...unshare, 'sh', '-c', FSTAB_SCRIPT, directory, process.execPath, MAIN);
  const held = (access: string, times: string) =>
    `${pool} ${access},nosuid,nodev,${times}user_id=0,group_id=0,default_permissions,allow_other,max_read=1048576`;
  const fromFstab = held('rw', 'noexec,noatime,');
  t.same(said.replace(/^{.*"msg":"(.*)"}$/m, '$1').split('\n'), [
    `all 0: ${fromFstab}`,
    `again 0: ${fromFstab}`,
    'noatime: x, 2001-01-01 00:00:00.000000000 +0000',
    `remount 0: ${held('ro', 'noexec,noatime,')}`,
    'refused',
    `remount 0: ${fromFstab}`,
    `32 cairn: strictatime cannot begin while the pool is mounted at ${directory}/mnt; unmount it, and mount it so`,
    `second 0: ${fromFstab}`,
    `32 cairn: ${directory}/mnt is in use; end what uses it (fuser -vm ${directory}/mnt lists it) and unmount again`,
    'unmounted 0: ',
    'committed and unmounted',
    `strict 0: ${held('rw', '')}`,
    'x',
    'lazy 0: ',
    `1 cairn: the mount option sync is not understood; understood are ${MOUNT_WORDS}; nosuid, nodev and default_permissions always hold`,
    `32 cairn: there is no pool directory ${directory}/none; make a pool with \`cairn init ${directory}/none --disk DIR … --cache DIR\``,
    '',
  ]);
});
