import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { createMap, encodeMap } from '../../../diskmap/index.js';
import { manualPages } from '../../../src/cli/manual.js';
import { formatMountOptions, parseMountOptions } from '../../../src/cli/mount-options.js';
import { runCli, wholeProgram } from '../../../src/cli/program.js';
import { CairnError } from '../../../src/errors/cairn-error.js';
import { ControlServer } from '../../../src/http/control-server.js';
import { SystemClock } from '../../../src/io/clock.js';
import { addFile, emptyReport } from '../../../src/repair/scrub-report.js';
import { type FakeContext, fakeContext, mountLine, POOL_ID, readText, TextOutput, writeConfig } from './fake-pool.js';

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

/** What is said to a terminal, for an expression. */
function seen(text: string): string {
  return text.replaceAll('\u001b', 'ESC');
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
  const { run, context } = await prepare(t);
  const { commands } = await wholeProgram('1', context);
  for (const name of commands.map((command) => command.name())) {
    const { code, out, err } = await run(name, '--help');
    t.equal(code, 0);
    t.equal(err, '');
    t.match(out, new RegExp(`Example:\n {2}\\$ cairn ${name}`), name);
  }
  t.same(await run('--version'), { code: 0, out: '1.2.3\n', err: '' });
});

t.test('wrong usage is one line that names what is wrong', async (t) => {
  const { run, context } = await prepare(t);
  const good = ['--disk', 'a', '--cache', 'c'];
  const cases: [string[], RegExp][] = [
    [['frob'], /unknown command 'frob'.*; see what is possible: cairn --help\n/],
    [['statu', 'x'], /Did you mean/],
    [['status'], /missing required argument 'pool'; see what is possible: cairn status --help\n/],
    [['status', 'a', 'b'], /too many arguments/],
    [['mount', 'a', 'b', '--fast'], /unknown option '--fast'/],
    [['mount', 'a', 'b', '-o', 'ro,quick'], /option '-o, --options <list>'.*the mount option quick is not understood/],
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
  const { run, context, pool } = await withDaemon(t);
  const { code, out } = await run('status', 'pool');
  t.equal(code, 0);
  t.match(out, /degraded\n {2}! disk 2 is missing\n/);
  t.match(out, /daemon pid/);
  t.match(out, /1 GiB used, 512 GiB free of 1 TiB; 20,000 files/);
  t.match(out, /12.1 KiB in 3 files, not committed yet/);
  t.match(out, /sequence 7, epoch 2/);
  t.notMatch(out, /^ {2}degraded /m, 'what is whole has no line');
  t.match(out, /^ {2}not mounted, default mode, daemon pid/m);
  const status = context.pool.status.bind(context.pool);
  context.pool.status = async () => ({ ...(await status()), mountpoint: '/m', readOnly: true, passthrough: true });
  t.match(
    (await run('status', pool)).out,
    /^ {2}mounted read-only at \/m, default mode, .*\(passthrough\), daemon pid/m,
  );
  context.pool.status = async () => ({ ...(await status()), mountpoint: '/m', writeback: true });
  t.match((await run('status', pool)).out, /^ {2}mounted at \/m, default mode, .*\(writeback\), daemon pid/m);
  t.match(out, / {3}2 {2}data {2}missing {2}1 GiB {2}512 GiB {2}1 TiB {2}\/d2 \(it is not there\)\n/);
  t.match(out, /ec:2\+1 {6}12 {9}4\n/);
  t.match(JSON.parse((await run('status', pool, '--json')).out), { running: true, commitSequence: 7, format: 1 });
});

t.test('status on a terminal has colours and bars, and the same words', async (t) => {
  const { run, context, pool } = await withDaemon(t);
  const plain = (await run('status', pool)).out;
  t.notMatch(seen(plain), /ESC|█/);
  context.stdout = new TextOutput(true, 120);
  const page = (await run('status', pool)).out;
  t.match(seen(page), /ESC\[33mdegradedESC\[0m/);
  t.match(seen(page), /ESC\[32m█░{23}ESC\[0m {3}0 % {2}1 GiB used/);
  t.match(seen(page), /-> put disk 2 back .*cairn disk locate .*cairn disk replace \S+ 2 NEW-DIRECTORY\n/);
  context.stdout = new TextOutput(true, 120, 40, false);
  context.stdout.isUtf8 = false;
  const grey = (await run('status', pool)).out;
  t.match(
    grey,
    /#\.{23} {3}0 % {2}1 GiB used/,
    'no colour where it is not wanted, and no marks that a terminal does not know',
  );
  t.notMatch(seen(grey), /ESC|█/);
  for (const line of plain.split('\n').slice(0, 8)) t.ok(grey.includes(line.slice(-8)), line);
});

t.test('status --watch goes on until the signal', async (t) => {
  const { run, context, pool } = await withDaemon(t);
  let pages = 0;
  const status = context.pool.status.bind(context.pool);
  context.pool.status = async () => {
    pages += 1;
    if (pages === 3) context.signals.emit('SIGINT');
    return status();
  };
  const lines = (await run('status', pool, '--watch', '--every', '0.2', '--json')).out.trimEnd().split('\n');
  t.equal(lines.length, 2, 'a page that is asked for when the signal comes is not waited for');
  for (const line of lines) t.match(JSON.parse(line), { running: true, format: 1 });
  pages = 1;
  context.stdout = new TextOutput(true, 100, 6);
  const out = (await run('status', pool, '--watch', '--every', '0.2')).out;
  t.match(
    seen(out),
    /^ESC\[2J.*ESC\[H[\s\S]*… \d+ more linesESC\[K\nESC\[J[\s\S]*ESC\[\?25h$/,
    'in its place, cut to the screen',
  );
  t.equal(context.signals.listenerCount('SIGINT'), 0);
  t.match(await run('status', pool, '--every', '0'), { code: 2, err: /from 0\.2 to 3600/ });
});

t.test('docs/status.md has every field of the JSON, and no other', async (t) => {
  const { context } = await prepare(t);
  const status = { running: true, ...(await context.pool.status()), jobs: context.pool.jobs.list() };
  const fields = new Set<string>();
  const collect = (value: unknown, path: string): void => {
    if (Array.isArray(value)) {
      if (value.length === 0 || typeof value[0] !== 'object') fields.add(`${path}[]`);
      for (const each of value) if (typeof each === 'object') collect(each, `${path}[]`);
    } else if (typeof value === 'object' && value !== null) {
      for (const [key, inner] of Object.entries(value)) collect(inner, path === '' ? key : `${path}.${key}`);
    } else fields.add(path);
  };
  collect(status, '');
  const text = readFileSync(new URL('../../../../docs/status.md', import.meta.url), 'utf8');
  const documented = text
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .flatMap((line) => [...line.split('|')[1]!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!));
  const only = (from: Iterable<string>, other: Iterable<string>) =>
    [...from].filter((name) => ![...other].includes(name));
  t.same(only(fields, documented), []);
  t.same(only(documented, fields), ['scheme', 'bucketBytes', 'deadMount'], 'these are of a pool at rest');
});

t.test('manual pages and completions are made of what --help is made of', async (t) => {
  const { context, run, directory } = await prepare(t);
  const program = await wholeProgram('1.2.3', context);
  const commands = program.commands.map((command) => command.name());
  const pages = manualPages(program, '1.2.3', '2026-11-28');
  t.same([...pages.keys()], ['cairn.1', ...commands.map((name) => `cairn-${name}.1`)]);
  const status = pages.get('cairn-status.1')!;
  t.match(status, /\.TH "CAIRN\\-STATUS" 1 "2026\\-11\\-28"/);
  t.match(status, /\\fB\\-\\-every <seconds>\\fR\nhow often, with \\-\\-watch \(default: 2\)/);
  t.match(status, /\.SH EXAMPLES\n\.PP\n\.nf\n\.RS 4\n\$ cairn status \/srv\/pool\n/);
  const place = join(directory, 'man');
  mkdirSync(place);
  for (const [name, text] of pages) writeFileSync(join(place, name), text);
  const groff = spawnSync('groff', [
    '-man',
    '-Tutf8',
    '-ww',
    '-z',
    ...[...pages.keys()].map((name) => join(place, name)),
  ]);
  if (groff.error === undefined) t.equal(`${groff.stderr}${groff.stdout}`, '', 'groff has nothing to say');
  else t.comment('groff is not here: the pages are not formatted');

  const { code, out } = await run('completion', 'bash');
  t.equal(code, 0);
  const script = `${out}
    try() { COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _cairn; echo "\${COMPREPLY[*]}"; }
    cd ${directory}; try cairn sta; try cairn disk re; try cairn status ma; try cairn disk add --y; try cairn init --cache m; try cairn completion z; try cairn policy set --mode ''; try cairn mount --strong --fo`;
  t.equal(
    spawnSync('bash', ['-c', script], { encoding: 'utf8' }).stdout,
    'status state start\nreplace remove\nman\n--yes\nman\nzsh\ndefault strong\n--foreground\n',
  );
  for (const shell of ['zsh', 'fish']) {
    const { out } = await run('completion', shell);
    for (const name of commands) t.ok(out.includes(name), `${shell}: ${name}`);
    const check = spawnSync(shell, ['-n', '-c', out]);
    if (check.error === undefined) t.equal(check.status, 0, String(check.stderr));
  }
  t.match(await run('completion', 'csh'), { code: 2, err: /Allowed choices are bash, zsh, fish/ });
});

t.test('status without a daemon says so and what can be known', async (t) => {
  const { run, context, server, directory } = await withDaemon(t);
  await server.close();
  mkdirSync(join(directory, 'c'));
  const { code, out } = await run('status', 'pool');
  t.equal(code, 0);
  t.match(out, /not mounted, no daemon is running\n {2}! its daemon was killed, and programs get errors at .*mnt\n/);
  t.match(out, /-> cairn mount \S+pool \S+mnt mends that; what was staged is safe/);
  t.match(out, /1 {2}data {3}missing {2}.*d1\n/);
  t.match(out, /- {2}cache {2}present/);
  t.match(JSON.parse((await run('status', 'pool', '--json')).out), { running: false, pool: POOL_ID, scheme: 'auto' });
  context.mounts = '';
  t.notMatch((await run('status', 'pool')).out, /killed/, 'where it was unmounted, nothing is said of it');
});

t.test('status of what is no pool', async (t) => {
  const { run } = await prepare(t);
  t.match(await run('status', 'absent'), {
    code: 1,
    err: /^cairn: there is no pool directory .*absent; make a pool with.*\n$/,
  });
  t.match(await run('status', '.'), { code: 1, err: /has no cairn.toml; make one with/ });
  t.match(
    await run('status', 'x'.repeat(300)),
    { code: 1, err: /^cairn: cannot look at the pool directory .*x: ENAMETOOLONG/ },
    'what cannot be looked at is not said to be absent',
  );
  t.match(await run('user', 'add', 'pool', ' '), {
    code: 1,
    err: 'cairn: the name is empty; give a name to know the user by\n',
  });
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
    out: /a\.jpg: staged, healthy\n[\s\S]*staged +1000 B\n {2}committed +1.95 KiB in 1 chunk\n {2}scheme +copies:2, ec:2\+1\n.*\npolicy\n {2}mode +strong +\(\/\)\n[\s\S]*commit delay +90s +\(\/photos\/a\.jpg\)\n$/,
  });
  t.match(JSON.parse((await run('state', '--json', mount)).out), {
    path: '/',
    chunks: 1,
    policy: { mode: { value: 'strong', from: '/' } },
  });
  symlinkSync(join(mount, 'photos', 'a.jpg'), join(directory, 'link'));
  t.match(JSON.parse((await run('state', '--json', 'link')).out), { path: '/photos/a.jpg' });
});

t.test('the password of the page is asked for twice, without showing it, and kept nowhere', async (t) => {
  const { run, context } = await prepare(t);
  const ask = async (...secrets: string[]) => {
    context.secrets.splice(0, 9, ...secrets);
    return run('web', 'password');
  };
  t.match(await ask('correct horse', 'correct horse'), { code: 0, out: /^password = "scrypt\S+"\n$/ });
  t.match(await ask('correct horse', 'correct hose'), { code: 1, out: '', err: /not the same; nothing has changed/ });
  t.match(await ask('short'), { code: 1, err: /at least 8 characters; nothing has changed/ });
  t.match(await ask(), { code: 1, err: /no password was given/ });
  t.equal(context.answer, undefined, 'the other question, which shows what is typed, was not asked');
});

t.test('policy: shown with where it comes from, set, cleared', async (t) => {
  const { run, context, mount } = await withDaemon(t);
  t.match(await run('policy', 'show', 'mnt/photos'), {
    code: 0,
    out: 'mnt/photos\n  mode          strong     (/)\n  scheme        auto       (pool)\n  compression   off        (pool)\n  commit delay  90s        (/photos)\n',
  });
  const twice = await run('policy', 'set', '--mode', 'strong', '--commit-delay', '90s', '--json', mount, 'mnt/photos');
  t.same(
    twice.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).path),
    ['/', '/photos'],
  );
  await run('policy', 'clear', '--scheme', mount);
  await run('policy', 'clear', mount);
  t.same(
    context.pool.calls.filter((call) => call.startsWith('policy')),
    [
      'policy / {"mode":"strong","commitDelay":"90s"}',
      'policy /photos {"mode":"strong","commitDelay":"90s"}',
      'policy / {"scheme":null}',
      'policy / {"mode":null,"scheme":null,"compression":null,"commitDelay":null}',
    ],
  );
  t.match(await run('policy', 'set', mount), { code: 1, err: /say what to set/ });
  t.match(await run('policy', 'set', '--mode', 'fast', mount), { code: 2, err: /default, strong/ });
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

t.test(
  'mount options: the last word holds, what is for others is passed over, what is not known is refused',
  async (t) => {
    const known = (list: string) => formatMountOptions(parseMountOptions(list));
    t.equal(known(''), 'rw,relatime');
    t.equal(known('ro,rw,noexec,exec,noatime,relatime,nodiratime,diratime'), 'rw,relatime');
    t.equal(known('rw,strictatime,nodiratime'), 'rw,strictatime,nodiratime');
    const all = 'ro,strong,writeback,allow_other,noexec,noatime';
    t.equal(known(all), all);
    t.equal(
      known(
        'defaults,rw,nosuid,nodev,dev,suid,async,default_permissions,noauto,user,user=me,nofail,_netdev,x-systemd.automount,X-mount.mkdir,comment=c',
      ),
      'rw,relatime',
    );
    t.equal(known('rw,user_id=0,group_id=0,max_read=1048576'), 'rw,relatime', 'what a remount hands on');
    for (const word of ['sync', 'noatim', 'uid=5', 'constructor'])
      t.throws(() => parseMountOptions(`rw,${word}`), {
        code: 'INVALID',
        message: `the mount option ${word} is not understood`,
      });
    t.equal(formatMountOptions(parseMountOptions('sync,ro', true)), 'ro,relatime', 'sloppy');
  },
);

t.test('as a helper of mount(8) and umount(8): its exit codes, and one line', async (t) => {
  const { run, directory, pool, mount, context } = await withDaemon(t);
  const second = join(directory, 'second');
  mkdirSync(second);
  context.mounts += mountLine(pool, second);
  context.pool.mountpoint = mount;
  for (const [args, code, line] of [
    [[pool, mount, '-o', 'rw,quick'], 1, /the mount option quick is not understood/],
    [[pool, mount, '-x'], 1, /-x/],
    [[pool, mount, '-N', '/proc/1/ns/mnt'], 1, /another namespace/],
    [[`${pool}-not`, mount, '-o', 'rw'], 32, /there is no pool directory/],
    [[pool, mount, '-o', 'rw,_netdev'], 32, /already mounted/],
    [[pool, mount, '-o', 'rw,remount,strong,writeback'], 32, /strong,writeback cannot begin while the pool is mounted/],
    [[pool, mount, '-o', 'rw,remount,noatime'], 32, /noatime cannot begin/],
    [[pool, directory, '-o', 'remount,ro'], 32, /no pool is mounted at/],
    [['unmount-helper', mount, '-x'], 1, /-x/],
    [['unmount-helper', mount, '-n', '-t', 'fuse.cairn'], 32, /files are open/],
    [['unmount-helper', second, '-n'], 32, /second.*not mounted/],
    // A person is told what it is.
    [['unmount', second], 1, /second only shows what is mounted at .*mnt; `umount /],
  ] as const) {
    const { err, ...rest } = await run(...args);
    t.same(rest, { code, out: '' }, args.join(' '));
    t.match(err, line);
    t.match(err, /^cairn: [^\n]+\n$/);
  }
  t.same(
    await run(pool, mount, '-f', '-s', '-n', '-o', 'rw,quick'),
    { code: 0, out: '', err: '' },
    'told not to mount',
  );
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

t.test('plan: sizes, directories and a pool; nothing is written', async (t) => {
  const { directory, run } = await prepare(t);
  const four = await run('plan', '--disk', '4TB', '4TB', '4TB', '4TB');
  t.equal(four.code, 0);
  t.match(four.out, /room {8}10\.9 TiB in 78 groups ec:3\+1\n/);
  t.match(four.out, /others {6}RAIDZ1 10\.9 TiB, btrfs raid1 7\.28 TiB, SHR 10\.9 TiB\n/);
  t.match(
    (await run('plan', '--disk', '4TB', '4TB', '8TB')).out,
    /note {8}78 of the 156 buckets of disk 3 cannot be used/,
  );
  const json = JSON.parse((await run('plan', '--disk', '1TB', '1TB', '--scheme', 'copies:2', '--json')).out);
  t.match(json, { format: 1, survives: 1, groups: [{ scheme: 'copies:2' }], others: { shrBytes: 1e12 } });

  mkdirSync(join(directory, 'disk'));
  const mixed = JSON.parse((await run('plan', '--disk', 'disk', '1TB', '--json')).out);
  t.equal(mixed.disks.length, 2);
  t.equal(mixed.disks[1].sizeBytes, 1e12);
  t.same(readdirSync(join(directory, 'disk')), []);

  for (const [args, message] of [
    [[], /^cairn: say which disks; cairn plan --disk/],
    [['--add', '4TB'], /^cairn: --add needs a pool/],
    [['pool', '--disk', '4TB'], /^cairn: --disk, --scheme and --bucket-size are for a pool to be made/],
    [['pool', '--add', '4TB'], /^cairn: there is no pool directory/],
    [['--disk', 'nowhere'], /^cairn: --disk .*nowhere cannot be read; give a size/],
    [['--disk', '4k'], /^cairn: --disk 4k: a disk has at least 1 MiB/],
    [['--disk', '4TB', '--scheme', 'ec:2+1'], /^cairn: ec:2\+1 needs 3 disks/],
  ] as const) {
    const { code, err } = await run('plan', ...args);
    t.equal(code, 1, args.join(' '));
    t.match(err, message);
  }
});

t.test('plan of a pool, and of one with a disk more', async (t) => {
  const { directory, run } = await prepare(t);
  const disks = ['a', 'b', 'c'].map((name) => join(directory, name));
  const pool = join(directory, 'pool');
  mkdirSync(pool);
  await writeConfig(pool, { disks, cache: join(directory, 'cache'), meta: join(pool, 'meta') });
  t.match((await run('plan', 'pool')).err, /^cairn: no disk of the pool has a map that can be read/);
  const bucketBytes = 16 * 2 ** 20;
  const place = { site: 0, row: 0, rack: 0, machine: 0, buckets: 10 };
  const map = createMap({
    pool: POOL_ID.slice(0, 16),
    bucketBytes,
    domain: 'disk',
    scheme: 'auto',
    disks: disks.map((_, at) => ({ ...place, disk: at + 1 })),
  });
  for (const disk of disks) {
    mkdirSync(disk);
    writeFileSync(join(disk, 'map'), encodeMap(map));
  }
  const same = await run('plan', 'pool');
  t.match(same.out, /room {8}320 MiB in 10 groups ec:2\+1\n/);
  t.notMatch(same.out, /moves/);
  const more = await run('plan', 'pool', '--add', '160M');
  t.match(
    more.out,
    /room {8}432 MiB in 12 groups ec:2\+1, 1 group ec:3\+1\n {2}before {6}320 MiB\n {2}moves {7}7 buckets, at most 112 MiB\n/,
  );
});

t.test('forecast: a table, and the files by name', async (t) => {
  const { run, pool } = await withDaemon(t);
  const table = await run('forecast', pool);
  t.match(table.out, / 2 {2}data {2}online {2}5 MiB {7}3 {2}\/d2\n/);
  const files = await run('forecast', pool, '--disk', '2', '--files');
  t.match(files.out, /with disk 2:\n {2}1000 B {2}\/lost\\n0\n.*\n {2}and 7 more files\n$/s);
  t.match(JSON.parse((await run('forecast', pool, '--json', '--files')).out), { disks: [{ moreFiles: 7 }] });
  const unknown = await run('forecast', pool, '--disk', '9');
  t.match(unknown, { code: 1, err: /^cairn: the pool has no disk 9; name it by number\n$/ });
});

t.test('job: what is at work, and a word to it', async (t) => {
  const { run, pool, context } = await withDaemon(t);
  t.match(await run('job', 'list', pool), { code: 0, out: 'no work in the background has been started yet\n' });
  await context.pool.jobs.start('scrub');
  t.match(await run('job', 'list', pool), { code: 0, out: 'scrub: running, 1 KiB of 4 KiB: disk 1\n' });
  t.match(await run('job', 'pause', pool, 'scrub'), { code: 0, out: /^scrub: paused, 1 KiB of 4 KiB/ });
  t.match(await run('job', 'resume', pool, 'scrub', '--full-speed'), { code: 0, out: /^scrub: running/ });
  t.ok(context.pool.calls.includes('job resume scrub at full speed'));
  t.match(await run('job', 'speed', pool, 'scrub', 'gentle'), { code: 0, out: /^scrub: running(?!.*full speed)/ });
  t.match(await run('job', 'speed', pool, 'scrub', 'full'), { code: 0, out: /^scrub: running.* at full speed/ });
  t.match(await run('job', 'speed', pool, 'scrub', 'warp'), { code: 1, err: /no speed "warp"; it is full or gentle/ });
  t.match(await run('job', 'cancel', pool, 'scrub'), { code: 0, out: /^scrub: cancelled/ });
  const { out } = await run('job', 'list', '--json', pool);
  t.match(JSON.parse(out), [{ name: 'scrub', state: 'cancelled' }]);
  t.match(await run('job', 'cancel', pool, 'dance'), { code: 1, err: /there is no background job "dance"/ });
});

t.test('scrub: started, paused, cancelled, and what the last one found', async (t) => {
  const { run, pool, context } = await withDaemon(t);
  t.match(await run('scrub', pool, '--full-speed'), { code: 0, out: /^scrub: running, 1 KiB of 4 KiB/ });
  t.ok(context.pool.calls.includes('job start null scrub at full speed'));
  t.match(await run('scrub', pool, '--pause'), { code: 0, out: /^scrub: paused/ });
  t.match(await run('scrub', pool, '--pause', '--cancel'), { code: 1, err: /only one of/ });
  t.match(await run('scrub', pool, '--status'), { code: 0, out: 'scrub: paused, 1 KiB of 4 KiB: disk 1\n' });
  const report = emptyReport();
  addFile(report, 'repaired', '/a');
  Object.assign(report, { disks: 3, damagedShards: 1, shardsWritten: 1, bytesWritten: 1024 });
  context.pool.jobReport = report;
  const found = await run('scrub', pool, '--status');
  t.equal(found.code, 0);
  t.match(found.out, /1 shard was damaged; 1 written anew \(1 KiB\)\n {2}repaired: 1 file\n {4}\/a\n/);
  addFile(report, 'lost', '/b');
  const lost = await run('scrub', pool, '--status');
  t.equal(lost.code, 1, 'something could not be repaired');
  t.match(lost.out, /cannot be read: 1 file\n {4}\/b\n/);
});

t.test('fsck asks the daemon where there is one, and says in sentences what it found', async (t) => {
  const { context, run, pool, server } = await withDaemon(t);
  t.match(await run('fsck', pool), { code: 0, err: '', out: /checked while in use in 2 s\n[\s\S]*\nclean\n$/ });
  t.same(context.pool.calls.splice(0), ['check']);
  context.pool.findings = [
    {
      severity: 'damage',
      code: 'chunk-degraded',
      message: '3 chunks have fewer shards than promised',
      advice: 'connect the disk',
      files: ['/a', '/b'],
      moreFiles: 7,
    },
    { severity: 'note', code: 'log-scar', message: 'a damaged place', advice: '', files: [], moreFiles: 0 },
  ];
  const told = await run('fsck', '--data', '--repair', pool);
  t.equal(told.code, 1);
  t.equal(told.err, '');
  t.same(told.out.split('\n').slice(2), [
    '  damage  3 chunks have fewer shards than promised [chunk-degraded]',
    '            /a',
    '            /b',
    '            and 7 more files',
    '          -> connect the disk',
    '  note    a damaged place [log-scar]',
    'not clean: 1 finding of damage',
    '',
  ]);
  t.same(context.pool.calls.splice(0), ['check content repair']);
  const { code, out } = await run('fsck', '--json', pool);
  t.equal(code, 1);
  t.match(JSON.parse(out), { format: 1, clean: false, running: true, directory: pool, findings: { length: 2 } });
  await server.close();
  context.pool.findings = [];
  context.pool.calls.splice(0);
  t.match(await run('fsck', pool), { code: 0, out: /checked at rest[\s\S]*\nclean\n$/ });
  t.same(context.pool.calls, ['at rest', 'check']);
});

t.test('fsck: Ctrl-C stops the check, in the daemon too', async (t) => {
  const { context, run, pool } = await withDaemon(t);
  context.pool.gate = new Promise(() => {});
  const running = run('fsck', pool);
  while (!context.pool.calls.includes('check')) await new Promise(setImmediate);
  context.signals.emit('SIGINT');
  const { code, out, err } = await running;
  t.equal(code, 130);
  t.equal(out, '');
  t.match(err, /^cairn: the check was stopped/);
  while (!context.pool.calls.includes('check stopped')) await new Promise(setImmediate);
  t.equal(context.signals.listenerCount('SIGINT'), 0);
});

t.test('fsck of what is no pool, or used wrongly', async (t) => {
  const { run, directory } = await prepare(t);
  t.match(await run('fsck', directory), { code: 1, err: /there is no pool in/ });
  t.match(await run('fsck'), { code: 2 });
  t.match(await run('fsck', '--force', directory), { code: 2 });
});

t.test('disk: what would be done is shown, asked about where it takes something away, and done', async (t) => {
  const { run, context, pool, directory } = await withDaemon(t);
  context.pool.changePlan = { ...context.pool.changePlan, needsConsent: false };
  const added = await run('disk', 'add', pool, 'new', '--size', '2TB', '--full-speed');
  t.equal(added.code, 0, added.err);
  t.match(
    added.out,
    /add: .*\n {2}room {8}5\.46 TiB before, 2\.73 TiB after; 931 GiB used\n.*\n {2}moves {7}466 GiB written/,
  );
  t.match(added.err, /moves in the background/);
  const request = JSON.stringify({ action: 'add', directories: [join(directory, 'new')], sizeBytes: 2e12 });
  t.same(context.pool.calls.slice(-2), [`plan ${request}`, `change ${request} {"fullSpeed":true}`]);

  context.pool.changePlan = { ...context.pool.changePlan, needsConsent: true };
  const calls = () => context.pool.calls.filter((call) => call.startsWith('change')).length;
  const before = calls();
  t.match(await run('disk', 'remove', pool, '2'), { code: 1, err: /nobody could be asked.*--yes/s });
  context.answer = 'n';
  t.match(await run('disk', 'remove', pool, '2'), { code: 1, err: /nothing has been changed/ });
  t.equal(calls(), before);
  context.answer = 'y';
  t.equal((await run('disk', 'remove', pool, '2')).code, 0);
  t.equal(context.questions.at(-1), 'Remove the disk? [y/N] ');
  t.equal((await run('disk', 'replace', pool, '/mnt/b', 'other', '--yes')).code, 0);
  t.equal(calls(), before + 2);
  t.match(context.pool.calls.at(-1), /"disk":"\/mnt\/b","directory":".*\/other"/);

  context.pool.changePlan = {
    ...context.pool.changePlan,
    refusals: [{ reason: 'it is full', remedy: 'delete 1 TiB' }],
  };
  t.match(await run('disk', 'remove', pool, '2', '--yes'), {
    code: 1,
    out: /it cannot be done: it is full; to make it possible, delete 1 TiB/,
  });
  t.match(await run('plan', pool, '--remove', '2'), { code: 1, out: /it is full/ });
  t.match(await run('plan', pool, '--replace', '2'), { code: 1, err: /--replace needs one directory/ });
  t.match(await run('plan', '--remove', '2'), { code: 1, err: /needs a pool/ });
  t.equal(calls(), before + 2, 'a plan changes nothing');
});

t.test('disk list and locate: of a mounted pool, and of one that is not', async (t) => {
  const { run, pool, directory, server } = await withDaemon(t);
  const listed = await run('disk', 'list', pool);
  t.equal(listed.code, 0, listed.err);
  t.match(listed.out, /^disk +role +state +used +free +size +id +directory\n/);
  await server.close();
  mkdirSync(join(directory, 'd1'));
  t.match((await run('disk', 'list', pool)).out, /not mounted.*d1/);
  const found = await run('disk', 'locate', pool, '1');
  t.equal(found.code, 0, found.err);
  t.match(found.out, /^disk 1\n {2}directory {3}.*d1\n {2}state {7}not mounted\n {2}id .*\n {2}device /);
  t.match(await run('disk', 'locate', pool, '9'), { code: 1, err: /no disk is meant by 9/ });
});
