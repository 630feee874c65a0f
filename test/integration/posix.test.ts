/**
 * What ordinary programs expect of a file system: posix-*.c, run on the system's own file system, to know that the check is right, and
 * on mounts in both modes, and with the kernel's writeback cache. Afterwards all that the checks have left must survive an unmount as it is.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { cannotMount, MountHarness } from './mount-harness.js';

const SOURCES = ['checks', 'ranges', 'names', 'access', 'sharing'].map((name) =>
  fileURLToPath(new URL(`../../../test/integration/posix-${name}.c`, import.meta.url)),
);

t.test('posix', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '64MiB', '--scheme', 'ec:2+1'] });
  const program = join(harness.directory, 'posix-checks');
  await harness.must(process.env['CC'] ?? 'cc', '-D_GNU_SOURCE', '-Wall', '-O1', '-o', program, ...SOURCES, '-lrt');
  const checks = (await harness.must(program, '--list')).trim().split('\n');
  t.ok(checks.length >= 60, 'the checks', { checks });
  await harness.init();

  const runAll = async (t: Test, place: string) => {
    for (const [index, check] of checks.entries()) {
      const directory = join(place, `${index}`);
      await mkdir(directory);
      t.match(await harness.exec(program, [check, directory]), { code: 0, stderr: '' }, check);
    }
  };
  const attributes = (place: string) =>
    harness.must('find', place, '-mindepth', '1', '-printf', '%P|%y|%m|%U|%G|%T@|%C@|%l|%n|%s|%i\n');
  const contents = (place: string) =>
    harness.must('sh', '-c', `cd '${place}' && find . -type f -size -9M -exec cksum {} + | sort`);

  const reference = join(harness.directory, 'reference');
  await mkdir(reference);
  await t.test('the checks are right', (t) => runAll(t, reference));

  const modes = { default: [], strong: ['--strong'], writeback: ['--writeback'] };
  for (const [mode, flags] of Object.entries(modes)) {
    await t.test(`${mode} mode`, async (t) => {
      const place = join(harness.mountpoint, mode);
      await harness.mount(...flags);
      await mkdir(place);
      await runAll(t, place);
      const before = [await attributes(place), await contents(place)];
      await harness.unmount();
      await harness.mount(...flags);
      t.same([await attributes(place), await contents(place)], before, 'the same after unmount and mount');
      await harness.kill();
      await harness.mount(...flags);
      t.same([await attributes(place), await contents(place)], before, 'and after a kill');
      await harness.must('rm', '-rf', place);
      await harness.unmount();
    });
  }
});
