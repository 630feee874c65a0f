/**
 * Disks that go wrong: full, read-only, another one in its place, damaged. Each gives a message that names the disk, in one line and
 * without a stack trace; what was acknowledged is read back right, and what cannot be read is an error.
 */
import { mkdir, open, readdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { contentOf } from './content.js';
import { cannotMount, cannotMountDisks, cannotMountImages, MountHarness } from './mount-harness.js';

const MIB = 1024 * 1024;
const KIB = 1024;
const INIT = ['--bucket-size', '4MiB', '--scheme', 'ec:2+1'];
/** Sizes of every way in which content is kept: in a COMMIT's append, as copies, as shards, as several chunks. */
const SIZES = [0, 100, 5000, 60_000, 70_000, 300_000, 3 * MIB, 9 * MIB];

async function writeSome(harness: MountHarness, name: string): Promise<void> {
  const place = join(harness.mountpoint, name);
  await mkdir(place);
  for (const size of SIZES) await writeFile(join(place, `${size}`), contentOf(`${name} ${size}`, size));
}

/** All that `writeSome` wrote is there. */
async function checkSome(t: Test, harness: MountHarness, name: string): Promise<void> {
  for (const size of SIZES) {
    const found = await readFile(join(harness.mountpoint, name, `${size}`)).catch((error: unknown) => String(error));
    const right = typeof found !== 'string' && found.equals(contentOf(`${name} ${size}`, size));
    t.ok(right, `${name}: ${size} bytes`, typeof found === 'string' ? { found } : { length: found.length });
  }
}

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
  t.equal((await harness.status()).health, 'healthy');
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
    const before = [await stateOf(first), await stateOf(second)];
    const { code, stderr } = await harness.run('mount', harness.pool, harness.mountpoint);
    t.comment(stderr.trim());
    if (code === 0) {
      t.equal((await harness.status()).health, 'failed');
      t.match((await harness.status()).findings.join('\n'), /another disk of this pool/);
      await harness.unmount();
    } else t.match(stderr, /^cairn: [^\n]+\n$/);
    t.same([await stateOf(first), await stateOf(second)], before, 'nothing was written to them');
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
    t.equal((await harness.status()).health, 'healthy');
    for (const name of ['before', 'beside a foreign disk', 'beside an empty directory'])
      await checkSome(t, harness, name);
    await harness.unmount();
  });
});

async function segmentsOf(disk: string, stream: 'data' | 'journal'): Promise<string[]> {
  const names = await readdir(join(disk, 'log'));
  return names.filter((name) => name.startsWith(stream)).map((name) => join(disk, 'log', name));
}

/** One bit in every 16 KiB of what a stream holds: no shard and no record of some size is whole afterwards. */
async function flipBits(disk: string, stream: 'data' | 'journal'): Promise<void> {
  for (const path of await segmentsOf(disk, stream)) {
    const file = await open(path, 'r+');
    const { size } = await file.stat();
    const byte = Buffer.alloc(1);
    for (let at = 4096 + 777; at < size; at += 16 * KIB) {
      await file.read(byte, 0, 1, at);
      byte[0]! ^= 0x10;
      await file.write(byte, 0, 1, at);
    }
    await file.close();
  }
}

t.test('damaged shards', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '64MiB', '--scheme', 'ec:2+1'] });
  const [first = '', second = ''] = harness.disks;
  await harness.init();
  await harness.mount();
  await writeSome(harness, 'before');
  await harness.unmount();

  await t.test('on one disk: what is read is right', async (t) => {
    await flipBits(first, 'data');
    await harness.mount();
    await checkSome(t, harness, 'before');
    t.match((await harness.log()).join('\n'), new RegExp(`${first} is damaged`), 'the log names the disk');
    const status = await harness.status();
    t.equal(status.health, 'degraded');
    t.match(status.findings, [new RegExp(`${first} has damaged shards`)], 'and so does status');
    await writeSome(harness, 'after');
    await harness.unmount();
    await harness.mount();
    await checkSome(t, harness, 'after');
    await harness.unmount();
  });

  await t.test('of the same chunks on two disks: an error, never wrong bytes', async (t) => {
    await flipBits(second, 'data');
    await harness.mount();
    let errors = 0;
    for (const size of SIZES) {
      const path = join(harness.mountpoint, 'before', `${size}`);
      try {
        const found = await readFile(path);
        t.ok(found.equals(contentOf(`before ${size}`, size)), `${size} bytes: what can be read is right`);
      } catch (error) {
        errors += 1;
        t.match(error, { code: 'EIO' }, `${size} bytes: an error`);
      }
    }
    t.ok(errors > 0, 'some cannot be read any more');
    t.match((await harness.log()).join('\n'), /cannot be read/);
    await harness.unmount();
  });
});

t.test('truncated segments', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '64MiB', '--scheme', 'ec:2+1'] });
  const { disks, meta } = harness;
  await harness.init();
  await harness.mount();
  await writeSome(harness, 'before');
  await harness.unmount();

  for (const stream of ['data', 'journal'] as const) {
    await t.test(stream, async (t) => {
      const disk = disks[stream === 'data' ? 1 : 2]!;
      const [segment = ''] = (await segmentsOf(disk, stream)).sort();
      const { size } = await stat(segment);
      const kept = stream === 'data' ? 4 * MIB : 8 * KIB;
      t.ok(kept < size);
      await truncate(segment, kept);
      await harness.mount();
      t.match((await harness.log()).join('\n'), new RegExp(`${stream} segment \\d+.*truncated`), 'the log says so');
      await checkSome(t, harness, 'before');
      await writeSome(harness, `after ${stream}`);
      await harness.unmount();
      await rm(meta, { recursive: true });
      await harness.mount();
      for (const name of ['before', `after ${stream}`]) await checkSome(t, harness, name);
      await harness.unmount();
      // The other damage must not meet this one: the disk is made whole by what the pool wrote since, or it is put away.
    });
  }

  await t.test('a damaged journal on one disk, and no metadata', async (t) => {
    await flipBits(disks[0]!, 'journal');
    await rm(meta, { recursive: true });
    await harness.mount();
    await checkSome(t, harness, 'before');
    await harness.unmount();
  });
});
