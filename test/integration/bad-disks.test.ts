/**
 * Disks that go wrong: full, read-only, failing, another one in its place. Each gives a message that names the disk, in one line and
 * without a stack trace, and what was acknowledged is read back right.
 */
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { contentOf } from './content.js';
import { cannotMount, cannotMountDisks, cannotMountImages, MountHarness } from './mount-harness.js';
import { checkSome, writeSome } from './samples.js';

const MIB = 1024 * 1024;
const INIT = ['--bucket-size', '4MiB', '--scheme', 'ec:2+1'];

/** Status names the disk and says what is wrong with it, in JSON and for people. */
async function checkNamed(t: Test, harness: MountHarness, disk: string, what: RegExp): Promise<void> {
  const status = await harness.status();
  t.equal(status.health, 'degraded');
  const finding = status.findings.find((line) => line.includes(disk)) ?? '';
  t.match(finding, what, 'a finding names the disk', { findings: status.findings });
  t.notMatch(finding, /\n|\bat .*:\d+/, 'in one line, without a trace');
  const report = status.disks.find(({ directory }) => directory === disk);
  t.not(report?.state, 'online');
  t.match(report?.reason ?? '', what);
}

t.test('a disk that others have filled', { skip: cannotMountDisks() }, async (t) => {
  const harness = await MountHarness.create(t, { init: INIT });
  const [, second = ''] = harness.disks;
  for (const disk of harness.disks) await harness.mountMemory(disk, 192 * MIB);
  await harness.init();
  await harness.mount();
  await writeSome(harness, 'before');
  await harness.commit();

  const filler = join(second, 'somebody else');
  await harness.exec('dd', ['if=/dev/zero', `of=${filler}`, 'bs=1M', 'status=none']);
  // More than the segments that the disk has already.
  for (let i = 0; i < 6; i++) await writeSome(harness, `after ${i}`);
  const commit = await harness.run('commit', '--wait', harness.mountpoint);
  t.comment(`commit: ${commit.code} ${commit.stdout}${commit.stderr}`.trim());
  t.equal(commit.code, 0, 'the other two take the commit');
  const all = ['before', ...Array.from({ length: 6 }, (_, i) => `after ${i}`)];
  for (const name of all) await checkSome(t, harness, name);
  await harness.unmount();
  await harness.mount();
  for (const name of all) await checkSome(t, harness, name);
  await rm(filler);
  await harness.unmount();

  await t.test('and one of the others goes', async (t) => {
    await harness.mount();
    await writeSome(harness, 'healthy again');
    await harness.unmount();
    await harness.must('umount', harness.disks[0]!);
    await harness.mount();
    await checkNamed(t, harness, harness.disks[0]!, /is not a disk/);
    await checkSome(t, harness, 'before');
    await checkSome(t, harness, 'healthy again');
    t.same(await readdir(harness.disks[0]!), [], 'nothing was written where the disk should be mounted');
    await harness.unmount();
  });
});

t.test('a full pool', { skip: cannotMountDisks() }, async (t) => {
  const harness = await MountHarness.create(t, { init: INIT });
  const { mountpoint } = harness;
  for (const disk of harness.disks) await harness.mountMemory(disk, 96 * MIB);
  await harness.init();
  await harness.mount();
  await writeSome(harness, 'before');
  await harness.commit();
  const acknowledged: string[] = [];
  let failure: unknown;
  for (let i = 0; i < 300 && failure === undefined; i++) {
    const name = `file ${i}`;
    const file = await open(join(mountpoint, name), 'w');
    try {
      await file.write(contentOf(name, MIB));
      await file.sync();
      acknowledged.push(name);
    } catch (error) {
      failure = error;
    }
    await file.close().catch(() => {});
  }
  t.match(failure, { code: 'ENOSPC' }, `full after ${acknowledged.length} MiB`);
  const { stdout } = await harness.exec('df', ['--output=avail', '-BM', mountpoint]);
  t.ok(Number.parseInt(stdout.split('\n')[1] ?? '', 10) < 30, 'df says so', { stdout });
  const checkAll = async (t: Test) => {
    for (const name of acknowledged) {
      const found = await readFile(join(mountpoint, name));
      if (!found.equals(contentOf(name, MIB))) t.fail(`${name} is not what was acknowledged`);
    }
    await checkSome(t, harness, 'before');
  };
  await checkAll(t);
  t.match(await harness.run('commit', '--wait', mountpoint), { code: 0 }, 'what was taken can be committed');
  await harness.unmount();
  await harness.mount();
  await checkAll(t);
  await t.test('deleting and small writes go on', async (t) => {
    await rm(join(mountpoint, acknowledged.pop()!));
    await writeFile(join(mountpoint, 'small'), 'small');
    await harness.commit();
    t.equal(await readFile(join(mountpoint, 'small'), 'utf8'), 'small');
  });
  await harness.unmount();
});

t.test('a read-only disk', { skip: cannotMountDisks() }, async (t) => {
  const harness = await MountHarness.create(t, { init: INIT });
  const [, , third = ''] = harness.disks;
  await harness.mountMemory(third, 192 * MIB);
  await harness.init();
  await harness.mount();
  await writeSome(harness, 'before');
  await harness.unmount();
  await harness.must('mount', '-o', 'remount,ro', third);
  await harness.mount();
  await checkNamed(t, harness, third, /read-only|read only/i);
  await checkSome(t, harness, 'before');
  await writeSome(harness, 'meanwhile');
  t.match(await harness.ok('commit', '--wait', harness.mountpoint), /degraded/);
  await harness.unmount();
  await harness.must('mount', '-o', 'remount,rw', third);
  await harness.mount();
  await harness.healed();
  for (const name of ['before', 'meanwhile']) await checkSome(t, harness, name);
  await harness.unmount();
});

t.test('a disk fails while it is in use', { skip: cannotMountImages() }, async (t) => {
  const harness = await MountHarness.create(t, { init: INIT });
  const [first = ''] = harness.disks;
  const fail = await harness.mountImage(first, 256 * MIB);
  await harness.init();
  await harness.mount('--strong');
  await writeSome(harness, 'before');
  await fail();
  await writeSome(harness, 'after');
  await checkNamed(t, harness, first, /takes no more writes|read-only/);
  for (const name of ['before', 'after']) await checkSome(t, harness, name);
  t.match((await harness.log()).join('\n'), /takes no more writes|read-only/);
  await harness.kill();
  await harness.mount('--strong');
  for (const name of ['before', 'after']) await checkSome(t, harness, name);
  await harness.unmount();
  await harness.must('umount', first);
  await harness.mount();
  for (const name of ['before', 'after']) await checkSome(t, harness, name);
  await harness.unmount();
});

t.test('the wrong disk in its place', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: INIT });
  const other = await MountHarness.create(t, { init: INIT });
  const [first = '', second = ''] = harness.disks;
  for (const pool of [harness, other]) {
    await pool.init();
    await pool.mount();
    await writeSome(pool, 'before');
    await pool.unmount();
  }
  const stateOf = async (directory: string) =>
    harness.must('find', directory, '-type', 'f', '-printf', '%P %s %T@\n', '-exec', 'sha256sum', '{}', ';');

  await t.test('a disk of another pool', async (t) => {
    const putBack = await harness.pullOut(first);
    await rename(other.disks[0]!, first);
    const before = await stateOf(first);
    await harness.mount();
    await checkNamed(t, harness, first, /disk of another pool/);
    t.equal((await harness.status()).disks[0]?.state, 'foreign');
    await checkSome(t, harness, 'before');
    await writeSome(harness, 'beside a foreign disk');
    await harness.unmount();
    t.equal(await stateOf(first), before, 'nothing was written to it');
    await rename(first, other.disks[0]!);
    await other.mount();
    t.equal((await other.status()).health, 'healthy');
    await checkSome(t, other, 'before');
    await other.unmount();
    await putBack();
  });

  await t.test('an empty directory', async (t) => {
    const putBack = await harness.pullOut(first);
    await mkdir(first);
    await harness.mount();
    await checkNamed(t, harness, first, /is not a disk/);
    await checkSome(t, harness, 'beside a foreign disk').catch(() => {});
    await writeSome(harness, 'beside an empty directory');
    await harness.unmount();
    t.same(await readdir(first), [], 'nothing was written to it');
    await rm(first, { recursive: true });
    await putBack();
  });

  await t.test('two disks of the pool in exchange', async (t) => {
    await rename(first, `${first}.x`);
    await rename(second, first);
    await rename(`${first}.x`, second);
    await harness.mount();
    const { disks } = await harness.healed();
    t.same(
      disks.filter(({ role }) => role === 'data').map(({ number, directory }) => [number, directory]),
      [
        [1, second],
        [2, first],
        [3, harness.disks[2]],
      ],
      'they are used where they are found',
    );
    await checkSome(t, harness, 'before');
    await harness.unmount();
    await rename(first, `${first}.x`);
    await rename(second, first);
    await rename(`${first}.x`, second);
  });

  await t.test('a damaged identity', async (t) => {
    const path = join(first, 'cairn-disk.json');
    const identity = await readFile(path);
    await writeFile(path, identity.subarray(0, identity.length / 2));
    await harness.mount();
    await checkNamed(t, harness, first, /cairn-disk\.json is damaged/);
    await checkSome(t, harness, 'before');
    await harness.unmount();
    await writeFile(path, identity);
  });

  await t.test('the right ones again', async (t) => {
    await harness.mount();
    await harness.healed();
    for (const name of ['before', 'beside a foreign disk', 'beside an empty directory'])
      await checkSome(t, harness, name);
    await harness.unmount();
  });
});
