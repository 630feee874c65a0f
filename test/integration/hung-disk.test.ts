/**
 * A device that does not answer: its image lies on a file system that is frozen, so that what the kernel asks of it waits in the kernel, and cannot
 * be interrupted. Applications go on, and the disk is taken in again when it answers; while it does not, the pool can be unmounted all the same.
 */
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { contentOf } from './content.js';
import { cannotMountImages, MountHarness } from './mount-harness.js';
import { checkSome, writeSome } from './samples.js';

const MIB = 1024 * 1024;

t.test('a device hangs under load', { skip: cannotMountImages() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '4MiB', '--scheme', 'ec:2+1'] });
  const [, , third = ''] = harness.disks;
  const below = `${third}.below`;
  await mkdir(below);
  await harness.mountImage(below, 512 * MIB);
  await harness.mountImage(third, 256 * MIB, join(below, 'image'));
  await harness.init();
  await harness.mount('--strong');
  await writeSome(harness, 'before');

  await harness.must('fsfreeze', '--freeze', below);
  const thaw = () => harness.exec('fsfreeze', ['--unfreeze', below]);
  t.teardown(thaw);
  const begin = performance.now();
  const names: string[] = [];
  let isOffline = false;
  // Writers that never stop, until the disk has been given up and some more.
  const writer = async (number: number): Promise<void> => {
    for (let i = 0, left = 2; left > 0; i++) {
      const name = `writer ${number}, file ${i}`;
      const file = await open(join(harness.mountpoint, name), 'w');
      await file.write(contentOf(name, number * MIB));
      await file.sync();
      await file.close();
      names.push(name);
      if (isOffline) left -= 1;
    }
  };
  const writers = Promise.all([1, 3].map(writer));
  for (;;) {
    const report = (await harness.status()).disks.find(({ directory }) => directory === third);
    if (report?.state === 'offline') {
      t.match(report.reason, /the device of .* has not answered for \d+ s/);
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  isOffline = true;
  t.comment(`given up after ${Math.round((performance.now() - begin) / 1000)} s`);
  await writers;
  t.comment(`${names.length} files`);
  t.match(await harness.status(), { health: 'degraded' });
  const checkAll = async () => {
    for (const name of names) {
      const file = await open(join(harness.mountpoint, name));
      const bytes = await file.readFile();
      await file.close();
      if (!bytes.equals(contentOf(name, bytes.length)) || bytes.length === 0) t.fail(`${name} is not what was synced`);
    }
    await checkSome(t, harness, 'before');
  };
  await checkAll();

  await thaw();
  for (;;) {
    const { health, jobs } = await harness.status();
    if (health === 'healthy' && jobs.every(({ state }) => state !== 'running')) break;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  await writeSome(harness, 'after');
  await checkAll();
  await harness.kill();
  await harness.mount('--strong');
  await checkAll();
  await checkSome(t, harness, 'after');

  await harness.must('fsfreeze', '--freeze', below);
  await harness.unmount();
  await thaw();
  // The kernel keeps the disk locked for the daemon that has ended, until its calls on it have.
  for (;;) {
    const { code, stderr } = await harness.run('mount', '--strong', harness.pool, harness.mountpoint);
    if (code === 0) break;
    t.match(stderr, /is locked by another process/);
  }
  await checkAll();
  await harness.healed();
  await harness.unmount();
});
