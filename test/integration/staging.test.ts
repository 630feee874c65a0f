/** Staging over a real mount: when commits happen, what `state` says meanwhile, and writers that wait when the cache is full. */
import { mkdir, open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { FileState } from '../../src/vfs/reports.js';
import { contentOf } from './content.js';
import { cannotMount, MountHarness } from './mount-harness.js';
import { makeSourceTree, sameTree } from './source-tree.js';

const MIB = 1024 * 1024;
const NEVER_MS = 3_600_000;

async function makePool(t: Test, settings: { delayMs: number; cacheBytes?: number }): Promise<MountHarness> {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '64MiB', '--scheme', 'ec:2+1'] });
  await harness.init();
  await harness.configure((toml) => {
    const delayed = toml.replace(/^delay_ms = .*$/m, `delay_ms = ${settings.delayMs}`);
    return settings.cacheBytes === undefined
      ? delayed
      : delayed.replace(/^# size_bytes = .*$/m, `size_bytes = ${settings.cacheBytes}`);
  });
  return harness;
}

/** Asks until the answer is right; the test's own time limit ends it. */
async function until<T>(ask: () => Promise<T>, right: (answer: T) => boolean): Promise<T> {
  for (;;) {
    const answer = await ask();
    if (right(answer)) return answer;
  }
}

t.test('by command: state goes from staged to committed', { skip: cannotMount() }, async (t) => {
  const harness = await makePool(t, { delayMs: NEVER_MS });
  const { mountpoint } = harness;
  await harness.mount();
  const photos = join(mountpoint, 'photos');
  const large = join(photos, 'large');
  const other = join(mountpoint, 'other');
  await mkdir(photos);
  await writeFile(large, contentOf('large', 5 * MIB));
  await writeFile(join(photos, 'small'), contentOf('small', 1000));
  await writeFile(other, contentOf('other', 5 * MIB));
  const staged: Partial<FileState> = {
    path: '/photos/large',
    kind: 'file',
    sizeBytes: 5 * MIB,
    stagedBytes: 5 * MIB,
    committedBytes: 0,
    chunks: 0,
    schemes: [],
    state: 'staged',
  };
  t.match(await harness.state(large), staged);
  t.match(await harness.status(), { dirtyFiles: 3, dirtyBytes: 10 * MIB + 1000 });
  const { commitSequence } = await harness.status();

  const report = JSON.parse(await harness.ok('commit', '--wait', '--json', photos)) as object;
  t.match(report, {
    filesDone: 2,
    filesTotal: 2,
    bytesDone: 5 * MIB + 1000,
    bytesTotal: 5 * MIB + 1000,
    healthy: true,
  });
  t.match(await harness.state(large), {
    stagedBytes: 0,
    committedBytes: 5 * MIB,
    chunks: 2,
    schemes: ['ec:2+1'],
    state: 'committed',
    health: 'healthy',
  });
  t.match(await harness.state(other), { stagedBytes: 5 * MIB, state: 'staged' }, 'what was not asked for waits');
  t.ok((await harness.status()).commitSequence > commitSequence);

  // A few bytes into the middle: only they are staged.
  const file = await open(large, 'r+');
  await file.write(contentOf('patch', 10), 0, 10, 2 * MIB);
  await file.close();
  const patched = await harness.state(large);
  t.equal(patched.state, 'staged');
  t.ok(patched.stagedBytes > 0 && patched.stagedBytes <= 8192, 'only what was written is staged', patched);
  await harness.ok('commit', '--wait', large, other);
  t.match(await harness.status(), { dirtyFiles: 0, dirtyBytes: 0 });
  const expected = contentOf('large', 5 * MIB);
  contentOf('patch', 10).copy(expected, 2 * MIB);
  t.same(await readFile(large), expected);

  t.match(await harness.ok('commit', '--wait', mountpoint), /no file had staged bytes/);
  t.match(await harness.ok('commit', mountpoint), /begun/);
  t.match(await harness.run('state', join(mountpoint, 'nowhere')), {
    code: 1,
    stderr: /^cairn: [^\n]*nowhere[^\n]*\n$/,
  });
  await harness.unmount();
});

t.test('by timer', { skip: cannotMount() }, async (t) => {
  const harness = await makePool(t, { delayMs: 100 });
  await harness.mount();
  const file = join(harness.mountpoint, 'file');
  await writeFile(file, contentOf('file', 3 * MIB));
  const state = await until(
    () => harness.state(file),
    ({ state }) => state === 'committed',
  );
  t.match(state, { stagedBytes: 0, committedBytes: 3 * MIB, health: 'healthy' });
  await harness.kill();
  await harness.loseCache();
  await harness.mount();
  t.same(await readFile(file), contentOf('file', 3 * MIB), 'the commit was no mere word');
});

t.test('by pressure; writers wait when the cache is full', { skip: cannotMount() }, async (t) => {
  const cacheBytes = 12 * MIB;
  const harness = await makePool(t, { delayMs: NEVER_MS, cacheBytes });
  const { mountpoint } = harness;
  const tree = await makeSourceTree(harness, 'source', 500);
  const large = join(harness.directory, 'large');
  await writeFile(large, contentOf('large', 80 * MIB));
  await harness.mount();
  const { commitSequence } = await harness.status();
  const copies = [
    harness.start('cp', large, join(mountpoint, 'large')),
    harness.start('cp', '-a', tree, join(mountpoint, 'tree')),
    harness.start('dd', `if=${large}`, `of=${join(mountpoint, 'blocks')}`, 'bs=8k', 'count=2500', 'status=none'),
  ];
  let over = false;
  const ended = Promise.all(copies.map((copy) => copy.ended)).then((ends) => {
    over = true;
    return ends;
  });
  let most = 0;
  while (!over) most = Math.max(most, (await harness.status()).dirtyBytes);
  for (const end of await ended) t.same(end, { code: 0, signal: null, stderr: '' }, 'nobody is failed');
  t.ok(most > 0 && most <= cacheBytes, `never more than the cache holds is staged (${most} of ${cacheBytes})`);
  const status = await harness.status();
  t.ok(status.commitSequence > commitSequence + 2, 'commits came without timer and command');
  t.match(status, { cacheCapacityBytes: cacheBytes });
  t.ok(status.cacheBytes <= cacheBytes, 'the cache keeps its size', { cacheBytes: status.cacheBytes });
  t.ok((await readFile(join(mountpoint, 'large'))).equals(contentOf('large', 80 * MIB)));
  t.ok((await readFile(join(mountpoint, 'blocks'))).equals(contentOf('large', 2500 * 8192)));
  await sameTree(t, harness, tree, join(mountpoint, 'tree'), 'through a small cache');
  await harness.unmount();
  await harness.mount();
  t.ok((await readFile(join(mountpoint, 'large'))).equals(contentOf('large', 80 * MIB)));
  await harness.unmount();
});

t.test('strong mode: close and fsync answer after the pool promise', { skip: cannotMount() }, async (t) => {
  const harness = await makePool(t, { delayMs: NEVER_MS });
  const { mountpoint } = harness;
  await harness.mount('--strong');
  await writeFile(join(mountpoint, 'closed'), contentOf('closed', 3 * MIB));
  t.match(await harness.state(join(mountpoint, 'closed')), { state: 'committed', stagedBytes: 0 });
  const file = await open(join(mountpoint, 'synced'), 'w');
  await file.write(contentOf('synced', 5000));
  await file.sync();
  t.match(await harness.state(join(mountpoint, 'synced')), { state: 'committed', stagedBytes: 0 });
  await harness.kill();
  await file.close().catch(() => {});
  await harness.loseCache();
  await harness.mount();
  t.same(await readFile(join(mountpoint, 'closed')), contentOf('closed', 3 * MIB));
  t.same(await readFile(join(mountpoint, 'synced')), contentOf('synced', 5000));
  await harness.unmount();
});

t.test(
  'a strong directory on a default mount, set by attribute, and compression below it: without cache, metadata and a disk',
  { skip: cannotMount() },
  async (t) => {
    const harness = await makePool(t, { delayMs: NEVER_MS });
    const { mountpoint, meta, disks } = harness;
    const [strong, plain] = [join(mountpoint, 'strong'), join(mountpoint, 'plain')];
    await harness.mount();
    await mkdir(join(strong, 'below'), { recursive: true });
    await mkdir(plain);
    const script = `
import errno, os, sys
name = 'user.cairn.policy.mode'
try:
    os.setxattr(sys.argv[1], name, b'fast')
except OSError as error:
    print(errno.errorcode[error.errno])
os.setxattr(sys.argv[1], name, b'strong')
print(os.getxattr(sys.argv[1], name).decode(), os.getxattr(sys.argv[2], 'user.cairn.policy').decode())`;
    const below = join(strong, 'below');
    const said = await harness.must('python3', '-c', script, strong, below);
    t.match(said, 'EINVAL\nstrong mode=strong scheme=auto compression=off commit_delay=1h');
    t.match(await harness.ok('policy', 'show', below), /mode +strong +\(\/strong\)/);
    const zipped = join(strong, 'zipped');
    await mkdir(zipped);
    t.match(
      await harness.ok('policy', 'set', '--compression', 'zstd', zipped),
      /compression +zstd +\(\/strong\/zipped\)/,
    );
    const digits = contentOf('digits', 3 * MIB).toString('hex');
    await writeFile(join(zipped, 'digits'), digits);
    const { compressed } = await harness.state(join(zipped, 'digits'));
    t.match(compressed, { chunks: 2, bytes: 6 * MIB });
    t.ok(compressed.storedBytes < 4 * MIB, `${compressed.storedBytes} bytes`);
    await writeFile(join(below, 'closed'), contentOf('closed', 3 * MIB));
    await writeFile(join(plain, 'closed'), contentOf('closed', 1000));
    t.match(await harness.state(join(below, 'closed')), { state: 'committed', stagedBytes: 0 });
    t.match(await harness.state(join(plain, 'closed')), { state: 'staged' });
    await harness.kill();
    await rm(meta, { recursive: true });
    await harness.loseCache();
    await harness.pullOut(disks[0]!);
    await harness.mount();
    t.same(await readFile(join(below, 'closed')), contentOf('closed', 3 * MIB));
    t.ok((await readFile(join(zipped, 'digits'), 'latin1')) === digits);
    t.match(await harness.state(join(zipped, 'digits')), { compressed });
    await t.rejects(readFile(join(plain, 'closed')), { code: 'ENOENT' });
    t.match(await harness.ok('policy', 'show', below), /mode +strong +\(\/strong\)/);
    await harness.unmount();
  },
);
