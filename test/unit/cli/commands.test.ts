import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { runCli } from '../../../src/cli/program.js';
import { CairnError } from '../../../src/errors/cairn-error.js';
import { ControlServer } from '../../../src/http/control-server.js';
import { SystemClock } from '../../../src/io/clock.js';
import { type FakeContext, fakeContext, mountLine, POOL_ID, readText, writeConfig } from './fake-pool.js';

async function prepare(t: Test) {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'cairn-cli-')));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  const context = fakeContext(directory);
  const run = async (...args: string[]) => {
    context.stdout.text = '';
    context.stderr.text = '';
    const code = await runCli(args, '1.2.3', context);
    return { code, out: context.stdout.text, err: context.stderr.text };
  };
  return { directory, context, run };
}

/** A pool directory with a live control socket, "mounted" on a plain directory that holds `photos/a.jpg`. */
async function withDaemon(t: Test) {
  const prepared = await prepare(t);
  const { directory, context } = prepared;
  const pool = join(directory, 'pool');
  const mount = join(directory, 'mnt');
  mkdirSync(pool);
  mkdirSync(join(mount, 'photos'), { recursive: true });
  writeFileSync(join(mount, 'photos', 'a.jpg'), 'x');
  await writeConfig(pool, { disks: [join(directory, 'd1')], cache: join(directory, 'c'), meta: join(pool, 'meta') });
  context.mounts = mountLine(pool, mount);
  const server = await serve(context, pool);
  t.teardown(() => server.close());
  return { ...prepared, pool, mount, server };
}

function serve(context: FakeContext, pool: string) {
  const handlers = {
    control: context.pool,
    unmount: async () => {
      throw new CairnError('BUSY', 'files are open', { hint: 'close them' });
    },
    onFailure: () => {},
  };
  return ControlServer.start(pool, handlers, new SystemClock());
}

t.test('every command explains itself with an example', async (t) => {
  const { run } = await prepare(t);
  for (const command of ['init', 'mount', 'unmount', 'status', 'commit', 'state', 'rescue', 'start']) {
    const { code, out, err } = await run(command, '--help');
    t.equal(code, 0);
    t.equal(err, '');
    t.match(out, new RegExp(`Example:\n {2}\\$ cairn ${command}`), command);
  }
  t.same(await run('--version'), { code: 0, out: '1.2.3\n', err: '' });
});

t.test('wrong usage is one line that names what is wrong', async (t) => {
  const { run, context } = await prepare(t);
  const good = ['--disk', 'a', '--cache', 'c'];
  const cases: [string[], RegExp][] = [
    [['frob'], /unknown command 'frob'/],
    [['statu', 'x'], /Did you mean/],
    [['status'], /missing required argument 'pool'/],
    [['status', 'a', 'b'], /too many arguments/],
    [['mount', 'a', 'b', '--fast'], /unknown option '--fast'/],
    [['rescue'], /missing required argument 'disk'/],
    [['rescue', 'a', '--pool', 'xyz'], /option '--pool <id>' argument 'xyz' is invalid.*4 to 32 hex digits/],
    [['init', 'p', '--cache', 'c'], /required option '--disk/],
    [['init', 'p', '--disk', 'a'], /required option '--cache/],
    [['init', 'p', ...good, '--scheme', 'raid5'], /option '--scheme <scheme>' argument 'raid5' is invalid/],
    [
      ['init', 'p', ...good, '--bucket-size', '5X'],
      /option '--bucket-size <size>' argument '5X' is invalid.*not a size/,
    ],
    [['init', 'p', ...good, '--bucket-size', '1k'], /'--bucket-size <size>'.*from 1 MiB to 1 TiB/],
    [
      ['init', 'p', ...good, '--chunk-size', '5MiB'],
      /'--chunk-size <size>'.*from 128 KiB to 4 MiB, a multiple of 64 KiB/,
    ],
    [['init', 'p', ...good, '--chunk-size', '200000'], /'--chunk-size <size>'/],
  ];
  for (const [args, message] of cases) {
    const { code, out, err } = await run(...args);
    t.equal(code, 2, args.join(' '));
    t.equal(out, '');
    t.match(err, message);
    t.match(err, /^cairn: [^\n]*\n$/);
  }
  t.equal(context.lastInit, undefined);
});

t.test('init makes the directories and says what it made', async (t) => {
  const { run, context, directory } = await prepare(t);
  const args = ['--disk', 'a', 'b', '--disk', 'c', '--cache', 'ssd', '--bucket-size', '16MiB', '--scheme', 'ec:2+1'];
  const { code, out } = await run('init', 'pool', ...args);
  t.equal(code, 0);
  t.match(out, /made the pool .*\/pool\n/);
  t.match(out, /any one disk may fail/);
  t.match(out, /1 GiB in 3 groups ec:2\+1/);
  t.match(out, /are on one device/, 'three directories of one device are not three disks');
  t.match(out, /next: cairn mount/);
  t.same(context.lastInit, {
    disks: ['a', 'b', 'c'].map((name) => join(directory, name)),
    journals: [],
    cache: join(directory, 'ssd'),
    meta: join(directory, 'pool', 'meta'),
    scheme: { kind: 'erasure', k: 2, m: 1 },
    bucketBytes: 16 * 1024 * 1024,
    chunkBytes: undefined,
  });
  for (const name of ['a', 'ssd', 'pool/meta']) t.ok(existsSync(join(directory, name)), name);
  const again = await run('init', 'pool', ...args);
  t.equal(again.code, 1);
  t.match(again.err, /there is a pool in .* already; mount it with/);
  const json = await run('init', 'other', '--disk', 'x', '--cache', 'y', '--json');
  t.match(JSON.parse(json.out), { directory: join(directory, 'other'), pool: POOL_ID, usableBytes: 2 ** 30 });
});

t.test('init refuses what cannot be right, before anything is made', async (t) => {
  const { run, context, directory } = await prepare(t);
  mkdirSync(join(directory, 'a'));
  symlinkSync('a', join(directory, 'link'));
  writeFileSync(join(directory, 'file'), '');
  const cases: [string[], RegExp][] = [
    [['--disk', 'a', '--cache', 'c', '--scheme', 'ec:2+1'], /ec:2\+1 needs 3 disks, but --disk names 1/],
    [['--disk', 'a', 'a', '--cache', 'c'], /--disk and --disk are the same directory/],
    [['--disk', 'a', 'link', '--cache', 'c'], /--disk and --disk are the same directory/],
    [['--disk', 'a', '--cache', 'a/inner'], /--cache and --disk overlap/],
    [['--disk', 'absent/a', '--cache', 'c'], /--disk .*there is no directory .*absent; is that disk mounted/],
    [['--disk', 'file', '--cache', 'c'], /--disk .*file is not a directory/],
  ];
  for (const [args, message] of cases) {
    const { code, err } = await run('init', 'pool', ...args);
    t.equal(code, 1);
    t.match(err, message);
  }
  t.equal(context.lastInit, undefined);
});

t.test('status with a daemon', async (t) => {
  const { run, pool } = await withDaemon(t);
  const { code, out } = await run('status', 'pool');
  t.equal(code, 0);
  t.match(out, /degraded\n {2}! disk 2 is missing\n/);
  t.match(out, /daemon pid/);
  t.match(out, /1 GiB used, 512 GiB free of 1 TiB; 20,000 files/);
  t.match(out, /12.1 KiB in 3 files, not committed yet/);
  t.match(out, /sequence 7, epoch 2/);
  t.match(out, / {3}2 {2}data {2}missing {2}1 GiB {2}512 GiB {2}1 TiB {2}\/d2 \(it is not there\)\n/);
  t.match(out, /ec:2\+1 {6}12 {9}4\n/);
  t.match(JSON.parse((await run('status', pool, '--json')).out), { running: true, commitSequence: 7, format: 1 });
});

t.test('status without a daemon says so and what can be known', async (t) => {
  const { run, server, directory } = await withDaemon(t);
  await server.close();
  mkdirSync(join(directory, 'c'));
  const { code, out } = await run('status', 'pool');
  t.equal(code, 0);
  t.match(out, /not mounted, no daemon is running/);
  t.match(out, /1 {2}data {3}missing {2}.*d1\n/);
  t.match(out, /- {2}cache {2}present/);
  t.match(JSON.parse((await run('status', 'pool', '--json')).out), { running: false, pool: POOL_ID, scheme: 'auto' });
});

t.test('status of what is no pool', async (t) => {
  const { run } = await prepare(t);
  t.match(await run('status', 'absent'), {
    code: 1,
    err: /^cairn: there is no pool directory .*absent; make a pool with.*\n$/,
  });
  t.match(await run('status', '.'), { code: 1, err: /has no cairn.toml; make one with/ });
});

t.test('commit and state take paths on the mount', async (t) => {
  const { run, context, mount, directory } = await withDaemon(t);
  t.match(await run('commit', 'mnt/photos', '--wait'), {
    code: 0,
    out: 'committed: 2 files, 4 KiB in less than a second, sequence 8, healthy\n',
  });
  t.ok(context.pool.calls.includes('commit /photos'));
  t.match(await run('commit', mount), { code: 0, out: /has begun/ });
  t.match(JSON.parse((await run('commit', mount, '--json', '--wait')).out), { sequence: 8, healthy: true });
  t.match(await run('state', 'mnt/photos/a.jpg'), {
    code: 0,
    out: /a\.jpg: staged, healthy\n[\s\S]*staged +1000 B\n {2}committed +1.95 KiB in 1 chunk\n {2}scheme +copies:2, ec:2\+1\n/,
  });
  t.match(JSON.parse((await run('state', '--json', mount)).out), { path: '/', chunks: 1 });
  symlinkSync(join(mount, 'photos', 'a.jpg'), join(directory, 'link'));
  t.match(JSON.parse((await run('state', '--json', 'link')).out), { path: '/photos/a.jpg' });
});

t.test('commit and state refuse what is not in a pool', async (t) => {
  const { run, context, mount, server } = await withDaemon(t);
  t.match(await run('state', '.'), { code: 1, err: new RegExp(`is not in a mounted pool; mounted are: ${mount}`) });
  t.match(await run('commit', 'mnt/absent'), { code: 1, err: /there is no .*absent/ });
  context.pool.commitError = new CairnError('NO_SPACE', 'the disks are full', { hint: 'add a disk' });
  t.same(await run('commit', '--wait', mount), { code: 1, out: '', err: 'cairn: the disks are full; add a disk\n' });
  await server.close();
  t.match(await run('state', mount), { code: 1, err: /no daemon is running .*cairn mount/ });
});

t.test('unmount: busy, nothing there, dead', async (t) => {
  const { run, context, mount, server } = await withDaemon(t);
  t.match(await run('unmount', 'mnt'), { code: 1, err: 'cairn: files are open; close them\n' });
  t.match(await run('unmount', 'pool'), { code: 1, err: /files are open/ }, 'the pool directory names it as well');
  t.match(await run('unmount', '.'), { code: 1, err: new RegExp(`no pool is mounted at .*; mounted are: ${mount}`) });
  await server.close();
  t.match(await run('unmount', 'mnt'), { code: 0, out: /commits and ends by itself/ });
  t.equal(context.pool.calls.at(-1), `detach ${mount}`);
  t.match(await run('unmount', 'pool'), { code: 1, err: /no daemon is running/ });
});

t.test('a stack trace only for who asks for it', async (t) => {
  const { run, context } = await prepare(t);
  t.notMatch((await run('status', 'absent')).err, /at .*\.[jt]s/);
  const debugging = { ...context, env: { CAIRN_DEBUG: '1' } };
  t.equal(await runCli(['status', 'absent'], '1', debugging), 1);
  t.match(context.stderr.text, /at .*\.[jt]s/);
});

t.test('start makes a pool here and tells what to try', async (t) => {
  const { run, context, directory } = await prepare(t);
  const told = new Promise<void>((resolve) => {
    const write = context.stdout.write.bind(context.stdout);
    context.stdout.write = (text: string) => {
      write(text);
      if (text.includes('Cairn is running')) resolve();
    };
  });
  const running = run('start');
  await told;
  const text = context.stdout.text;
  context.signals.emit('SIGINT', 'SIGINT');
  t.match(await running, { code: 0, out: /committed and unmounted\n$/, err: '' });
  t.match(text, /on a new pool; Ctrl-C commits and unmounts/);
  t.match(text, /protection {2}any one disk may fail/);
  t.match(text, /npx cairn commit --wait \.\/mnt\n {2}npx cairn status \.\/\.cairn\n/);
  t.same(
    context.lastInit?.disks,
    [1, 2, 3].map((n) => join(directory, '.cairn', `disk${n}`)),
  );
  t.match(await readText(directory, '.cairn', 'cairn.toml'), /directory = "disk1"/);
  context.lastInit = undefined;
  const again = run('start');
  await new Promise<void>((resolve) => {
    const write = context.stdout.write.bind(context.stdout);
    context.stdout.write = (text: string) => {
      write(text);
      if (text.includes('Cairn is running; Ctrl-C')) resolve();
    };
  });
  t.equal(context.lastInit, undefined, 'the pool that is there is used');
  context.signals.emit('SIGTERM', 'SIGTERM');
  t.match(await again, { code: 0 });
});

t.test('mount in the background: the daemon says in one line why it failed', async (t) => {
  const { run, directory } = await withDaemon(t);
  mkdirSync(join(directory, 'empty'));
  const before = process.env['CAIRN_LOG'];
  t.teardown(() => {
    if (before === undefined) delete process.env['CAIRN_LOG'];
    else process.env['CAIRN_LOG'] = before;
  });
  process.env['CAIRN_LOG'] = 'loud';
  t.same(await run('mount', 'pool', 'empty'), {
    code: 1,
    out: '',
    err: 'cairn: CAIRN_LOG is "loud"; it is one of: debug, info, warn, error\n',
  });
});
