import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { checkKernel, checkPassthrough, judgeSyncs } from '../../../src/cli/doctor-checks.js';
import { isJournal, journalLine } from '../../../src/cli/journal-output.js';
import { mountHelperScripts } from '../../../src/cli/mount-helper-scripts.js';
import { MountTable } from '../../../src/cli/mount-table.js';
import { runCli } from '../../../src/cli/program.js';
import { escapePath, unitText } from '../../../src/cli/service-unit.js';
import { loadConfig } from '../../../src/pool/config.js';
import { fakeContext, writeConfig } from './fake-pool.js';

/** In tenths, as systemd 252 counts. */
const EXPOSURE_MAX = 48;

async function prepare(t: Test) {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'cairn-service-')));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  const [pool, mountpoint, units] = ['my pool', 'mnt', 'units'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  const disks = ['d1', 'd2'].map((name) => join(directory, name));
  for (const place of [pool, mountpoint, join(pool, 'meta'), join(directory, 'c'), ...disks]) mkdirSync(place);
  await writeConfig(pool, { disks, cache: join(directory, 'c'), meta: join(pool, 'meta') });
  const context = fakeContext(directory);
  const run = async (env: Record<string, string>, ...args: string[]) => {
    context.stdout.text = '';
    context.stderr.text = '';
    const code = await runCli(args, '1.2.3', { ...context, env });
    return { code, out: context.stdout.text, err: context.stderr.text };
  };
  return { directory, pool, mountpoint, units, disks, context, run };
}

t.test('a service is shown, installed, looked at and removed', async (t) => {
  const { directory, pool, mountpoint, units, disks, context, run } = await prepare(t);
  const tools = join(directory, 'bin');
  mkdirSync(tools);
  const calls = join(directory, 'calls');
  const script = `#!/bin/sh\necho "$*" >> ${calls}\ncase "$*" in *is-active*) grep -q enable.--now ${calls} && echo active;; *is-enabled*) echo enabled;; esac\n`;
  writeFileSync(join(tools, 'systemctl'), script, { mode: 0o755 });
  const env = { PATH: `${tools}:${process.env['PATH']}` };
  const place = ['--unit-directory', units];
  context.mounts = `30 1 8:1 / / rw - ext4 /dev/sda1 rw\n31 30 8:17 / ${disks[0]} rw - ext4 /dev/sdb1 rw\n`;

  const dry = await run(env, 'service', 'install', pool, mountpoint, '--strong', '--dry-run', ...place);
  t.equal(dry.code, 0, dry.err);
  t.match(dry.out, /\n# then\nsystemctl .*daemon-reload\nsystemctl .*enable --now cairn-my\\x20pool\.service\n$/);
  t.notOk((await run(env, 'service', 'status', pool, ...place)).out, 'nothing is there yet');

  t.match(await run(env, 'service', 'install', pool, mountpoint, '--strong', ...place), {
    code: 0,
    out: /^wrote .*\nmounted /,
  });
  const unit = join(units, 'cairn-my\\x20pool.service');
  const text = readFileSync(unit, 'utf8');
  t.ok(dry.out.includes(text), 'what was shown is what is written');
  t.match(text, /^Type=notify$/m);
  t.match(text, /^ExecStart=\S+ \S+cairn\.cjs mount --foreground --strong -- "\S+\/my pool" \S+\/mnt$/m);
  t.match(text, /^WatchdogSec=/m);
  t.match(text, /^SyslogIdentifier=cairn$/m);
  const mountUnit = `${escapePath(disks[0]!)}.mount`;
  t.ok(text.includes(`\nWants=${mountUnit}\nAfter=${mountUnit}\n`), 'a disk is waited for');
  t.ok(!/^Requires.*d1/m.test(text), 'and not required: the pool does without');
  t.notMatch(
    text,
    /^(Protect(System|Home|Kernel\w+)|Private(Tmp|Devices|Mounts)|ReadOnlyPaths)=/m,
    'the mount is seen outside',
  );
  const verify = spawnSync('systemd-analyze', ['verify', '--man=no', '--recursive-errors=no', unit], {
    encoding: 'utf8',
  });
  if (verify.error === undefined) t.notMatch(verify.stderr, /cairn-my/, 'systemd has nothing to say about the unit');
  else t.comment('systemd-analyze is not here');
  const security = ['security', '--offline=true', '--no-pager', `--threshold=${EXPOSURE_MAX}`, unit];
  const rated = spawnSync('systemd-analyze', security, { encoding: 'utf8' });
  // Its mount must be seen outside, so that nothing that gives it a view of its own can be asked of systemd.
  // Another one counts otherwise.
  if (/^systemd 252 /.test(spawnSync('systemd-analyze', ['--version'], { encoding: 'utf8' }).stdout ?? ''))
    t.equal(rated.status, 0, `the exposure that systemd sees is what it was: ${rated.stdout.slice(-80).trim()}`);

  t.match(await run(env, 'service', 'status', pool, ...place), {
    code: 0,
    out: /active, enabled\n.*, fits the pool\n/,
  });
  context.mounts += `32 30 8:33 / ${disks[1]} rw - ext4 /dev/sdc1 rw\n`;
  t.match(await run(env, 'service', 'status', pool, ...place), { code: 0, out: /does not fit .*install` again\n/ });
  t.match(await run(env, 'service', 'install', pool, mountpoint, '--strong', ...place), {
    code: 0,
    out: /\nit runs as it was started; what has changed is used after: systemctl .*restart cairn-my/,
  });
  const foreign = join(units, 'cairn-x.service');
  writeFileSync(foreign, '[Unit]\n');
  t.match(await run(env, 'service', 'install', pool, mountpoint, '--name', 'cairn-x', ...place), {
    code: 1,
    err: /is not of cairn; give another name/,
  });
  t.equal(readFileSync(foreign, 'utf8'), '[Unit]\n');

  t.match(await run(env, 'service', 'uninstall', pool, ...place), {
    code: 0,
    out: /removed .*; the pool and its data are as they were/,
  });
  t.match(await run(env, 'service', 'uninstall', pool, ...place), {
    code: 1,
    err: /no service for the pool .*; install one with/,
  });
  t.match(
    readFileSync(calls, 'utf8'),
    /daemon-reload\n.*enable --now cairn-my\\x20pool\.service\n[\s\S]*disable --now cairn-my\\x20pool\.service\n.*daemon-reload\n$/,
  );
  const refusing = `#!/bin/sh\ncase "$*" in *enable*) echo "Job for x failed." >&2; exit 1;; esac\n`;
  writeFileSync(join(tools, 'systemctl'), refusing, { mode: 0o755 });
  writeFileSync(join(tools, 'journalctl'), '#!/bin/sh\necho "cairn: the pool is in use by pid 7"\n', { mode: 0o755 });
  t.match(await run(env, 'service', 'install', pool, mountpoint, ...place), {
    code: 1,
    err: /enable --now .*: the pool is in use by pid 7; nothing in the pool has changed; see `journalctl -u cairn-/,
  });
  t.match(await run({ PATH: '/nowhere' }, 'service', 'install', pool, mountpoint, ...place), {
    code: 1,
    err: /no systemctl here.*--dry-run/,
  });
  const odd = unitText({
    poolDirectory: '/p/50% "x" $HOME',
    mountpoint: '/m',
    config: await loadConfig(context.files, pool),
    strong: false,
    allowOther: false,
    isSystem: false,
    program: ['/node'],
    mounts: new MountTable(''),
  });
  t.match(
    odd,
    '\nExecStart=/node mount --foreground -- "/p/50%% \\"x\\" $$HOME" /m\n',
    'nothing in a name means something to systemd',
  );
  t.equal(escapePath('/mnt/my disk-1/.x'), 'mnt-my\\x20disk\\x2d1-.x');
});

const RECEIVER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace('@', '\\0'))
print('bound', flush=True)
while True: print(s.recv(4096).decode().replace('\\n', ' '), flush=True)
`;

for (const kind of ['path', 'abstract'] as const)
  t.test(`the service manager hears of start, life and end (${kind})`, async (t) => {
    const { directory, pool, mountpoint, run, context } = await prepare(t);
    const socket = kind === 'path' ? join(directory, 'notify') : `@cairn-test-${process.pid}`;
    const receiver = spawn('python3', ['-c', RECEIVER, socket], { stdio: ['ignore', 'pipe', 'inherit'] });
    const failed = once(receiver, 'error').then(() => true);
    t.teardown(() => receiver.kill());
    const lines = createInterface({ input: receiver.stdout })[Symbol.asyncIterator]();
    const first = await Promise.race([lines.next(), failed]);
    if (first === true) {
      t.comment('python3 is not here: nothing receives what is told');
      return;
    }
    const until = async (wanted: RegExp) => {
      for (;;) {
        const { value, done } = await lines.next();
        if (done === true) throw new Error(`the manager was never told ${wanted}`);
        if (wanted.test(value)) {
          t.pass(value);
          return;
        }
      }
    };
    const env = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '60000', WATCHDOG_PID: String(process.pid) };
    const ended = run(env, 'mount', '--foreground', pool, mountpoint);
    await until(/^STATUS=opening the pool EXTEND_TIMEOUT_USEC=\d+$/);
    await until(/^READY=1$/);
    await until(/^STATUS=degraded, serving \S.* at .*mnt: disk 2 is missing$/);
    await until(/^WATCHDOG=1$/);
    const status = context.pool.status.bind(context.pool);
    context.pool.status = async () => ({ ...(await status()), health: 'healthy', findings: [] });
    await until(/^STATUS=healthy, serving \S.* at .*mnt$/);
    context.signals.emit('SIGTERM', 'SIGTERM');
    await until(/^STOPPING=1 STATUS=committing and unmounting /);
    t.equal((await ended).code, 0);
    t.equal(context.signals.listenerCount('SIGTERM'), 0);
  });

t.test('the journal gets levels, and only where stderr is its', async (t) => {
  const line = {
    level: 50,
    time: 1,
    pid: 2,
    msg: 'the commit failed',
    disk: '/mnt/a',
    err: { message: 'EIO:\nno', stack: 'x' },
  };
  t.equal(journalLine(JSON.stringify(line)), '<3>the commit failed: EIO: no disk=/mnt/a\n');
  t.equal(journalLine(JSON.stringify({ level: 30, msg: 'mounted', n: 1 })), '<6>mounted n=1\n');
  t.equal(journalLine(JSON.stringify({ level: 40, msg: 'slow' })), '<4>slow\n');
  const fd = openSync(join(t.testdir(), 'stream'), 'w');
  const { dev, ino } = fstatSync(fd);
  t.ok(isJournal({ JOURNAL_STREAM: `${dev}:${ino}` }, fd));
  t.notOk(isJournal({ JOURNAL_STREAM: `${dev}:${ino + 1}` }, fd));
  t.notOk(isJournal({}, fd));
  closeSync(fd);
});

t.test('the helpers of mount(8) name node and cairn by their whole paths, with any character in them', async (t) => {
  const { directory, run } = await prepare(t);
  const place = ['service', 'fstab', '--helper-directory', directory];
  t.match(await run({}, ...place, '--dry-run'), { code: 0, out: /# .*\/mount\.fuse\.cairn\n#!\/bin\/sh\n/ });
  t.throws(() => statSync(join(directory, 'mount.fuse.cairn')), { code: 'ENOENT' });
  t.match(await run({}, ...place), { code: 0, out: /^wrote .*\nwrote .*\na line for \/etc\/fstab: \/srv\/pool / });
  for (const name of ['mount.fuse.cairn', 'umount.fuse.cairn'])
    t.equal(statSync(join(directory, name)).mode & 0o777, 0o755, name);
  const echo = join(directory, "it's $HOME");
  writeFileSync(echo, '#!/bin/sh\nprintf "%s|" "$@"\n', { mode: 0o755 });
  for (const [name, text] of mountHelperScripts([echo, 'a b'])) {
    const script = join(directory, `${name}.sh`);
    writeFileSync(script, text, { mode: 0o755 });
    const { stdout } = spawnSync(script, ['/srv/my pool', '-o', 'rw'], { env: {}, encoding: 'utf8' });
    t.equal(stdout, `a b|${name.startsWith('u') ? 'unmount-helper|' : ''}/srv/my pool|-o|rw|`);
  }
});

t.test('doctor says what is wrong and how to put it right', async (t) => {
  const { pool, disks, directory, run } = await prepare(t);
  t.match(checkKernel('4.19.0'), { state: 'bad', fix: 'install a newer kernel' });
  t.match(checkKernel('5.10.0-8-amd64'), { state: 'ok' });
  t.match(checkPassthrough('6.8.0', true), { state: 'ok', finding: /not in this kernel/ });
  t.match(checkPassthrough('6.18.44', false), { state: 'ok', finding: /of root/ });
  t.match(checkPassthrough('7.0.1', true), {
    state: 'ok',
    finding: /^the kernel reads large files .* on read-only mounts/,
  });
  t.match(judgeSyncs('a', 80), { state: 'ok', finding: /^80 a second, as of a disk with platters: strong mode/ });
  t.match(judgeSyncs('a', 200_000), { state: 'warning', fix: /write cache off/ });
  await rm(disks[1]!, { recursive: true });
  await rm(join(directory, 'c'), { recursive: true });
  const { code, out } = await run({ PATH: '' }, 'doctor', pool);
  t.equal(code, 1, 'a cache that is not there is an error');
  t.match(out, /^ok +kernel: Linux/m);
  t.match(out, /^bad +cache .*is not there \(ENOENT\)\n +-> mount its device/m);
  t.match(out, /^warning +disk 2 .*is not there.*read from the other disks meanwhile\n +-> mount it, or replace it/m);
  t.match(out, /^(ok|warning) +syncs of disk 1: [\d,]+ a second/m);
  t.match(out, /\n\n\d things? to fix, \d+ warnings?\n$/);
  const json = JSON.parse((await run({ PATH: '' }, 'doctor', '--json', pool)).out) as { state: string }[];
  t.ok(json.every(({ state }) => ['ok', 'warning', 'bad'].includes(state)));
});
