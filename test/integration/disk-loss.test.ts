/**
 * What is committed comes back: with any one disk away, and from the disks alone. Every mount begins with an empty cache of committed bytes, so
 * what is compared has been read from the disks.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import t from 'tap';
import { contentOf } from './content.js';
import { cannotMount, MountHarness } from './mount-harness.js';
import { SCALE } from './scale.js';
import { makeSourceTree, sameTree } from './source-tree.js';

const MIB = 1024 * 1024;
const PIECE_BYTES = 16 * MIB;

/** A file that no memory need hold; returns its hash. */
async function writeLarge(path: string, sizeBytes: number): Promise<string> {
  const hash = createHash('sha256');
  const file = await open(path, 'w');
  for (let at = 0; at < sizeBytes; at += PIECE_BYTES) {
    const piece = contentOf(`large ${at}`, Math.min(PIECE_BYTES, sizeBytes - at));
    hash.update(piece);
    await file.write(piece);
  }
  await file.close();
  return hash.digest('hex');
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: MIB }), hash);
  return hash.digest('hex');
}

t.test('a tree and a large file come back with any one disk away', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '64MiB', '--scheme', 'ec:2+1'] });
  const { mountpoint, disks } = harness;
  const tree = await makeSourceTree(harness, 'source', SCALE.treeFiles);
  await harness.init();
  await harness.mount();
  await harness.must('cp', '-a', tree, mountpoint);
  const large = await writeLarge(join(mountpoint, 'large'), SCALE.largeFileBytes);
  await sameTree(t, harness, tree, join(mountpoint, 'source'), 'before the commit');
  await harness.commit();
  t.match(await harness.state(join(mountpoint, 'large')), {
    state: 'committed',
    stagedBytes: 0,
    committedBytes: SCALE.largeFileBytes,
    schemes: ['ec:2+1'],
    health: 'healthy',
  });
  t.match(await harness.status(), { health: 'healthy', dirtyBytes: 0, dirtyFiles: 0, findings: [] });
  await harness.unmount();

  for (const [index, disk] of disks.entries()) {
    await t.test(`without ${basename(disk)}`, async (t) => {
      const putBack = await harness.pullOut(disk);
      await harness.mount();
      const status = await harness.status();
      t.equal(status.health, 'degraded');
      t.match(status.disks[index], { number: index + 1, directory: disk, state: 'missing' });
      t.ok(
        status.findings.some((finding) => finding.includes(disk)),
        'status names the disk',
        { findings: status.findings },
      );
      t.match(await harness.ok('status', harness.pool), new RegExp(`degraded[^]*${disk}`));
      t.equal((await harness.state(join(mountpoint, 'large'))).health, 'degraded');
      await sameTree(t, harness, tree, join(mountpoint, 'source'), 'degraded');
      t.equal(await hashOf(join(mountpoint, 'large')), large, 'the large file');
      await harness.unmount();
      await putBack();
    });
  }

  await t.test('with all of them again', async (t) => {
    await harness.mount();
    t.equal((await harness.status()).health, 'healthy');
    await sameTree(t, harness, tree, join(mountpoint, 'source'), 'healthy');
    await harness.unmount();
  });
});

t.test('what is written while a disk is away', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '16MiB', '--scheme', 'ec:2+1'] });
  const { mountpoint, disks } = harness;
  const [first, second, third] = disks as [string, string, string];
  const file = join(mountpoint, 'file');
  const small = join(mountpoint, 'small');
  await harness.init();
  await harness.mount();
  await writeFile(file, contentOf('before', 3 * MIB));
  await writeFile(small, 'before');
  await writeFile(join(mountpoint, 'removed'), contentOf('removed', 300_000));
  await harness.unmount();

  const putFirstBack = await harness.pullOut(first);
  await harness.mount();
  await writeFile(file, contentOf('degraded', 3 * MIB));
  await writeFile(small, 'degraded');
  await rm(join(mountpoint, 'removed'));
  t.match(await harness.ok('commit', '--wait', mountpoint), /degraded: a disk is missing/);
  await harness.unmount();

  await putFirstBack();
  await t.test('the disk comes back as it was: what it missed is not undone', async (t) => {
    await harness.mount();
    t.same(await readFile(file), contentOf('degraded', 3 * MIB));
    t.equal(await readFile(small, 'utf8'), 'degraded');
    await t.rejects(readFile(join(mountpoint, 'removed')), { code: 'ENOENT' });
    await writeFile(join(mountpoint, 'after'), contentOf('after', 3 * MIB));
    await harness.unmount();
  });

  await t.test('the stale disk and another one do not make up for each other: an error, never old bytes', async (t) => {
    const putBack = await harness.pullOut(second);
    await harness.mount();
    // disk1 and disk3 are there. Of what was written without disk1 that may be too little, unless recovery has made it whole since.
    const { health } = await harness.state(file);
    if (health === 'lost') {
      await t.rejects(readFile(file), { code: 'EIO' });
      t.match((await harness.log()).join('\n'), /cannot be read/);
    } else t.same(await readFile(file), contentOf('degraded', 3 * MIB));
    t.equal(await readFile(small, 'utf8'), 'degraded');
    t.same(await readFile(join(mountpoint, 'after')), contentOf('after', 3 * MIB));
    await harness.unmount();
    await putBack();
    await harness.mount();
    t.same(await readFile(file), contentOf('degraded', 3 * MIB), 'and back');
    await harness.unmount();
  });

  await t.test('two disks away', async (t) => {
    const back = [await harness.pullOut(second), await harness.pullOut(third)];
    const { code, stderr } = await harness.run('mount', harness.pool, mountpoint);
    t.comment(stderr.trim());
    if (code === 0) {
      // What it can do is say so, and give no wrong byte.
      t.equal((await harness.status()).health, 'failed');
      await t.rejects(readFile(file), { code: /EIO|ENOENT/ });
      await harness.unmount();
    } else t.match(stderr, /^cairn: [^\n]+\n$/);
    for (const putBack of back) await putBack();
    await harness.mount();
    t.equal(await readFile(small, 'utf8'), 'degraded');
    t.same(await readFile(file), contentOf('degraded', 3 * MIB));
    t.same(await readFile(join(mountpoint, 'after')), contentOf('after', 3 * MIB));
    await harness.unmount();
  });
});

t.test('the pool comes back from its disks alone', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '16MiB', '--scheme', 'ec:2+1'] });
  const { mountpoint, disks, meta } = harness;
  const tree = await makeSourceTree(harness, 'source', 300);
  await harness.init();
  await harness.mount('--strong');
  await harness.must('cp', '-a', tree, mountpoint);
  // So many commits that a snapshot is taken at the end of this run; what follows stands only in the journal.
  await mkdir(join(mountpoint, 'many'));
  for (let i = 0; i < 80; i++) await writeFile(join(mountpoint, 'many', `${i}`), contentOf(`many ${i}`, 1000 * i));
  await harness.unmount();
  t.match((await harness.log()).join('\n'), /took a metadata snapshot/);
  await harness.mount('--strong');
  await writeFile(join(mountpoint, 'many', '7'), 'seven');
  await rm(join(mountpoint, 'many', '8'));
  await harness.commit();
  await harness.kill();

  const check = async (what: string) => {
    await sameTree(t, harness, tree, join(mountpoint, 'source'), what);
    for (let i = 0; i < 80; i++) {
      const path = join(mountpoint, 'many', `${i}`);
      if (i === 8) await t.rejects(readFile(path), { code: 'ENOENT' });
      else if (i === 7) t.equal(await readFile(path, 'utf8'), 'seven');
      else if (!(await readFile(path)).equals(contentOf(`many ${i}`, 1000 * i))) t.fail(`${what}: many/${i}`);
    }
  };
  const destroy = async () => {
    await rm(meta, { recursive: true });
    await harness.loseCache();
  };

  await destroy();
  await harness.mount();
  t.match((await harness.log()).join('\n'), /the metadata was rebuilt from the snapshot/);
  t.equal((await harness.status()).health, 'healthy');
  await check('from three disks');
  await harness.unmount();
  for (const disk of disks) {
    await destroy();
    const putBack = await harness.pullOut(disk);
    await harness.mount();
    t.equal((await harness.status()).health, 'degraded');
    await check(`without ${basename(disk)}`);
    await harness.unmount();
    await putBack();
  }

  await t.test('new files get numbers of their own', async (t) => {
    await destroy();
    await harness.mount();
    await writeFile(join(mountpoint, 'new'), 'new');
    await harness.unmount();
    await harness.mount();
    t.equal(await readFile(join(mountpoint, 'new'), 'utf8'), 'new');
    await check('with a new file');
    await harness.unmount();
  });

  await t.test('an old copy of the metadata is brought forward', async (t) => {
    const copy = join(harness.directory, 'meta-backup');
    await harness.must('cp', '-a', meta, copy);
    await harness.mount();
    await writeFile(join(mountpoint, 'newer'), 'newer');
    await harness.unmount();
    await rm(meta, { recursive: true });
    await harness.must('cp', '-a', copy, meta);
    await harness.mount();
    t.equal(await readFile(join(mountpoint, 'newer'), 'utf8'), 'newer');
    await check('with old metadata');
    await harness.unmount();
  });

  await t.test('damaged metadata is made anew', async (t) => {
    for (const name of (await harness.must('ls', meta)).trim().split('\n')) {
      if (name.endsWith('.sqlite')) await writeFile(join(meta, name), contentOf('garbage', 100_000));
    }
    await harness.mount();
    t.match((await harness.log()).join('\n'), /rebuilt from the disks/);
    await check('with damaged metadata');
    await harness.unmount();
  });

  await t.test('metadata deleted, cache kept: what is staged comes back too', async (t) => {
    await harness.configure((toml) => toml.replace(/^delay_ms = .*$/m, 'delay_ms = 3600000'));
    await harness.mount();
    await writeFile(join(mountpoint, 'staged'), contentOf('staged', 200_000));
    await writeFile(join(mountpoint, 'many', '9'), 'nine');
    await harness.kill();
    await rm(meta, { recursive: true });
    await harness.mount();
    t.same(await readFile(join(mountpoint, 'staged')), contentOf('staged', 200_000));
    t.equal(await readFile(join(mountpoint, 'many', '9'), 'utf8'), 'nine');
    await harness.unmount();
  });
});
