/** The daemon's life: one per pool whoever comes first, unmounting under open files, `cairn start` and Ctrl-C, a killed one. */
import { mkdir, open, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { waitForEnd } from '../../src/cli/daemon-process.js';
import { MountTable } from '../../src/cli/mount-table.js';
import { contentOf } from './content.js';
import { cannotMount, MountHarness } from './mount-harness.js';
import { RunningProgram } from './running-program.js';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const ONE_LINE = /^cairn: [^\n]+\n$/;

t.test('several daemons for one pool, at once: one of them', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '16MiB'] });
  await harness.init();
  const places = ['one', 'two', 'three'].map((name) => join(harness.directory, name));
  for (const place of places) await mkdir(place);
  const results = await Promise.all(places.map((place) => harness.run('mount', harness.pool, place)));
  t.equal(results.filter(({ code }) => code === 0).length, 1, 'one is mounted');
  for (const { code, stderr } of results) if (code !== 0) t.match(stderr, ONE_LINE);
  const winner = places[results.findIndex(({ code }) => code === 0)]!;
  t.match(await harness.status(), { running: true, mountpoint: winner });
  await writeFile(join(winner, 'file'), 'file');
  for (const place of places) if (place !== winner) t.same(await readdir(place), [], 'nothing is left of the others');
  await harness.ok('unmount', winner);
});

t.test('a copy of the pool directory is no second pool', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '16MiB'] });
  await harness.init();
  await harness.must('cp', '-a', harness.pool, `${harness.pool}2`);
  await mkdir(join(harness.directory, 'other'));
  await harness.mount();
  const second = await harness.run('mount', `${harness.pool}2`, join(harness.directory, 'other'));
  t.match(second, { code: 1, stderr: ONE_LINE }, 'the disks are locked');
  t.match(second.stderr, /another process|in use|locked/);
  await harness.unmount();
});

t.test('unmount while files are open', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '16MiB'] });
  const { mountpoint } = harness;
  await harness.init();
  await harness.mount();
  const { pid } = await harness.status();
  const file = await open(join(mountpoint, 'open'), 'w+');
  await file.write('before');
  t.match(await harness.run('unmount', mountpoint), { code: 1, stderr: /^cairn: [^\n]*(busy|in use|open)[^\n]*\n$/ });
  t.match(await harness.status(), { running: true, pid }, 'it goes on');
  await file.write(' and after');
  await file.sync();
  await file.close();
  await harness.unmount();
  await harness.mount();
  t.equal(await readFile(join(mountpoint, 'open'), 'utf8'), 'before and after');

  await t.test('SIGTERM detaches', async (t) => {
    const status = await harness.status();
    const held = await open(join(mountpoint, 'held'), 'w+');
    await held.write('held');
    process.kill(status.pid, 'SIGTERM');
    while (!(await waitForEnd(status.pid)));
    t.equal(MountTable.read().inside(mountpoint).length, 0);
    await t.rejects(held.write('more'), { code: /ENOTCONN|ECONNABORTED/ });
    await held.close().catch(() => {});
    await harness.mount();
    t.equal(await readFile(join(mountpoint, 'held'), 'utf8'), 'held', 'what was written was committed');
    await harness.unmount();
  });
});

t.test('a killed daemon leaves ENOTCONN, and the next mount takes it away', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '16MiB'] });
  const { mountpoint } = harness;
  await harness.init();
  await harness.mount();
  const file = await open(join(mountpoint, 'file'), 'w');
  await file.write(contentOf('file', 100_000));
  await file.sync();
  await harness.kill();
  await t.rejects(file.write('x'), { code: /ENOTCONN|ECONNABORTED/ });
  await t.rejects(readdir(mountpoint), { code: 'ENOTCONN' });
  await file.close().catch(() => {});
  t.match(await harness.run('commit', '--wait', mountpoint), { code: 1, stderr: ONE_LINE });
  t.match(await harness.ok('mount', harness.pool, mountpoint), /^detached the dead mount/);
  t.same(await readFile(join(mountpoint, 'file')), contentOf('file', 100_000));
  await harness.unmount();
});

t.test('cairn start', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t);
  const { directory } = harness;
  const place = join(directory, 'here');
  await mkdir(place);
  const start = () => {
    const running = new RunningProgram(process.execPath, [MAIN, 'start'], place);
    t.teardown(() => running.kill());
    return running;
  };
  const isUp = (lines: readonly string[]) => lines.some((line) => line.includes('npx cairn status'));
  const mountpoint = join(place, 'mnt');
  // The harness knows processes by its directory on their command line; this one has it as its working directory.
  t.teardown(() => harness.exec('umount', ['-l', mountpoint]));

  const first = start();
  await first.until(isUp);
  const text = first.lines.join('\n');
  t.match(text, /on a new pool/);
  t.match(text, mountpoint);
  t.match(text, /survives the loss of any one disk of 3/);
  t.match(text, /Three things to try/);
  await writeFile(join(mountpoint, 'file'), contentOf('file', 500_000));
  first.signal('SIGINT');
  const end = await first.ended;
  t.match(end, { code: 0, signal: null });
  t.notMatch(end.stderr + first.lines.join('\n'), /\n\s+at /, 'no stack trace');
  t.same(await readdir(mountpoint), [], 'unmounted');

  // A disk moved away between two starts.
  await harness.must('mv', join(place, '.cairn', 'disk1'), join(place, '.cairn', 'disk1.away'));
  const second = start();
  await second.until(isUp);
  t.match(second.lines.join('\n'), /note .*disk1 .*missing/);
  t.notMatch(second.lines.join('\n'), /new pool/);
  t.same(await readFile(join(mountpoint, 'file')), contentOf('file', 500_000));
  second.signal('SIGTERM');
  t.match(await second.ended, { code: 0 });
  await harness.must('mv', join(place, '.cairn', 'disk1.away'), join(place, '.cairn', 'disk1'));

  await t.test('killed, and started again', async (t) => {
    const third = start();
    await third.until(isUp);
    await writeFile(join(mountpoint, 'later'), 'later');
    third.kill();
    await third.ended;
    const fourth = start();
    await fourth.until(isUp);
    t.equal(await readFile(join(mountpoint, 'later'), 'utf8'), 'later');
    fourth.signal('SIGINT');
    t.match(await fourth.ended, { code: 0 });
  });
});

t.test('mistakes get one line', { skip: cannotMount() }, async (t) => {
  const harness = await MountHarness.create(t, { init: ['--bucket-size', '16MiB'] });
  const { directory, pool, mountpoint, disks, cache } = harness;
  const nowhere = join(directory, 'nowhere');
  const again = ['init', join(directory, 'pool2'), '--disk', ...disks, '--cache', cache];
  const wrong: [string[], RegExp][] = [
    [['mount', nowhere, mountpoint], /nowhere/],
    [['mount', pool, nowhere], /nowhere/],
    [['mount', pool, disks[0]!], /disk1/],
    [['mount', pool, pool], /pool/],
    [['unmount', directory], /no pool is mounted/],
    [['commit', directory], new RegExp(directory)],
    [['state', nowhere], /nowhere/],
    [['status', nowhere], /nowhere/],
    [['init', pool, '--disk', ...disks, '--cache', cache], /there is a pool/],
    [again, /already is a disk/],
    [['init', join(directory, 'pool3'), '--disk', disks[0]!, '--cache', cache, '--scheme', 'ec:9+9'], /ec:9\+9|scheme/],
  ];
  await harness.init();
  for (const [args, message] of wrong) {
    const result = await harness.run(...args);
    const name = args.join(' ').replaceAll(directory, '…');
    t.not(result.code, 0, name);
    t.match(result.stderr, message, name);
    t.match(result.stderr, ONE_LINE, name);
  }
  await harness.configure((toml) => toml.replace('chunk_bytes = ', 'chunk_bites = '));
  t.match(await harness.run('mount', pool, mountpoint), { code: 1, stderr: /^cairn: [^\n]*chunk_bi?y?tes[^\n]*\n$/ });
});
