import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import t, { type Test } from 'tap';
import { openDaemonLog } from '../../../src/cli/daemon-log.js';
import { waitForEnd } from '../../../src/cli/daemon-process.js';
import { runInForeground } from '../../../src/cli/foreground.js';
import type { ProcessMemory } from '../../../src/cli/idle-memory.js';
import { MountDaemon, requireOpenFiles } from '../../../src/cli/mount-daemon.js';
import { OwnMemory } from '../../../src/cli/process-memory.js';
import { readTls } from '../../../src/cli/read-tls.js';
import { TlsRenewal } from '../../../src/cli/tls-renewal.js';
import { CairnError } from '../../../src/errors/cairn-error.js';
import { ControlClient } from '../../../src/http/control-client.js';
import { NodeFileIo } from '../../../src/io/node-file-io.js';
import { type PoolConfig, saveConfig } from '../../../src/pool/config.js';
import type { NotifyConfig, S3Config, WebConfig } from '../../../src/pool/face-config.js';
import type { ObjectTree } from '../../../src/vfs/object-tree.js';
import { ReadOnlyVfs } from '../../../src/vfs/read-only-vfs.js';
import { FakeClock, type FakeContext, fakeContext, mountLine, POOL_ID, quietLog } from './fake-pool.js';

async function prepare(t: Test) {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'cairn-daemon-')));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  const poolDirectory = join(directory, 'pool');
  const mountpoint = join(directory, 'mnt');
  mkdirSync(poolDirectory);
  mkdirSync(mountpoint);
  mkdirSync(join(poolDirectory, 'cache'));
  const context = fakeContext(poolDirectory);
  const config: PoolConfig = {
    format: 1,
    pool: POOL_ID,
    scheme: 'auto',
    bucketBytes: 2 ** 24,
    chunkBytes: 2 ** 20,
    mode: 'default',
    metaDirectory: join(poolDirectory, 'meta'),
    cache: { directory: join(poolDirectory, 'cache'), sizeBytes: undefined },
    whenDegraded: 'allow',
    commitDelayMs: 5000,
    scrubDays: 30,
    disks: [{ directory: '/elsewhere/disk', uuid: POOL_ID, role: 'data', number: 1 }],
  };
  const options = { poolDirectory, mountpoint, config, strong: false, log: quietLog, onStep: () => {} };
  const start = () => MountDaemon.start(context, options);
  return { context, options, start, client: new ControlClient(poolDirectory), poolDirectory, mountpoint, directory };
}

const callsOf = (context: FakeContext) => context.pool.calls;

t.test('cairn unmount: commit, unmount, let go of the socket, close', async (t) => {
  const { context, start, client, mountpoint, poolDirectory } = await prepare(t);
  const daemon = await start();
  const status = await client.status();
  t.match(status, { mountpoint, pid: process.pid }, 'the daemon adds what only it knows');
  const seen: number[] = [];
  await client.unmount((progress) => seen.push(progress.bytesTotal));
  t.same(await daemon.ended, { uncommitted: undefined });
  t.same(seen, [4096]);
  t.same(callsOf(context), ['open default', `mount ${poolDirectory} ${mountpoint}`, 'commit /', 'unmount', 'close']);
  t.notOk(existsSync(join(poolDirectory, 'control.sock')));
});

t.test('open files refuse cairn unmount, and all goes on', async (t) => {
  const { context, start, client } = await prepare(t);
  const daemon = await start();
  context.mounter.busy = true;
  await t.rejects(
    client.unmount(() => {}),
    { code: 'BUSY', hint: 'close them' },
  );
  t.notOk(callsOf(context).includes('close'));
  t.equal((await client.status()).format, 1);
  context.mounter.busy = false;
  await client.unmount(() => {});
  await daemon.ended;
  t.same(callsOf(context).slice(-3), ['commit /', 'unmount', 'close']);
});

t.test('open files do not stop a signal', async (t) => {
  const { context, start } = await prepare(t);
  const daemon = await start();
  context.mounter.busy = true;
  await daemon.stop(() => {});
  await daemon.ended;
  t.same(callsOf(context).slice(-5), ['commit /', 'unmount', 'hand over', 'unmount lazily', 'close']);
});

t.test('what programs have written is asked of the kernel before it is told of or committed', async (t) => {
  const { context, start, client } = await prepare(t);
  const daemon = await start();
  const { mounter, clock } = context;
  const before = callsOf(context).length;
  await client.commit(['/a'], () => {});
  t.same(callsOf(context).slice(before), ['hand over', 'commit /a']);
  await client.state('/a');
  t.same(callsOf(context).slice(before + 2), ['hand over', 'state /a']);
  mounter.lost = '4 KiB could not be stored';
  t.ok((await client.status()).findings.includes(mounter.lost));
  mounter.handOver = async () => {
    throw new CairnError('IO', 'the kernel could not be asked');
  };
  await t.rejects(
    client.commit(['/'], () => {}),
    { code: 'IO', message: /could not be asked/ },
  );
  t.match(await client.state('/a'), { path: '/a' }, 'what is known is told');
  // A WRITE that waits for room may wait long.
  const asked = new Promise<void>((resolve) => {
    mounter.handOver = () => {
      resolve();
      return new Promise(() => {});
    };
  });
  const state = client.state('/a');
  await asked;
  await new Promise((resolve) => setImmediate(resolve));
  clock.advance(5000);
  t.match(await state, { path: '/a' });
  mounter.handOver = undefined;
  await daemon.stop(() => {});
  await daemon.ended;
});

t.test('--writeback on a mount that is read-only is refused in one line, before anything is opened', async (t) => {
  const { context, options } = await prepare(t);
  const readOnly = { ...options.config, mount: { readOnly: true, passthrough: 'auto', writeback: false } } as const;
  for (const asked of [{ readOnly: true }, { config: readOnly }])
    await t.rejects(MountDaemon.start(context, { ...options, ...asked, writeback: true }), {
      code: 'INVALID',
      message: /^[^\n]*--writeback[^\n]*read-only$/,
      hint: /without/,
    });
  t.same(callsOf(context), []);
});

t.test('a mount that another mount namespace keeps does not hold up the end', async (t) => {
  const { context, start, client } = await prepare(t);
  const daemon = await start();
  context.mounter.heldElsewhere = true;
  let isUnmounted = false;
  const unmounted = client
    .unmount(() => {})
    .finally(() => {
      isUnmounted = true;
    });
  while (!isUnmounted) {
    await new Promise(setImmediate);
    if (callsOf(context).includes('unmount')) context.clock.advance(1000);
  }
  await unmounted;
  t.match(await daemon.ended, { uncommitted: undefined, stillMounted: undefined });
  t.same(callsOf(context).slice(-3), ['commit /', 'unmount', 'close']);
});

t.test('an unmount by somebody else ends the daemon the same way', async (t) => {
  const { context, start } = await prepare(t);
  const daemon = await start();
  context.mounter.endFromOutside();
  await daemon.ended;
  t.same(callsOf(context).slice(-2), ['commit /', 'close'], 'there is nothing to unmount any more');
});

t.test('what cannot be committed is said, by unmount and at the end', async (t) => {
  const { context, start, client } = await prepare(t);
  const daemon = await start();
  context.pool.commitError = new CairnError('DISK_FAILED', 'two disks are gone');
  context.pool.closeError = context.pool.commitError;
  await t.rejects(
    client.unmount(() => {}),
    {
      code: 'IO',
      message: /unmounted, but not everything is committed: two disks are gone/,
      hint: /safe in the cache/,
    },
  );
  t.match((await daemon.ended).uncommitted, { message: 'two disks are gone' });
});

t.test('a mount that cannot be taken away is said, with what is safe, and is never called unmounted', async (t) => {
  const { context, start, client, mountpoint } = await prepare(t);
  context.mounter.unmountError = new CairnError('IO', 'fusermount3 is gone');
  const ended = runInForeground(context, start(), () => {
    context.signals.emit('SIGTERM', 'SIGTERM');
  });
  t.equal(await ended, 1);
  const line = `everything is committed, but the mount at ${mountpoint} could not be taken away: fusermount3 is gone`;
  t.ok(context.stderr.text.includes(line), context.stderr.text);
  t.match(context.stderr.text, `umount -l ${mountpoint}`);
  t.notMatch(context.stdout.text, /committed and unmounted/);
  t.equal(callsOf(context).at(-1), 'close', 'the pool itself is closed');

  const daemon = await start();
  context.pool.closeError = new CairnError('DISK_FAILED', 'two disks are gone');
  await t.rejects(
    client.unmount(() => {}),
    { code: 'IO', message: /not everything is committed \(two disks are gone\); the rest is safe in the cache, but/ },
  );
  t.match(await daemon.ended, { stillMounted: { message: 'fusermount3 is gone' } });
});

t.test('two wishes to end are one end', async (t) => {
  const { context, start, client } = await prepare(t);
  const daemon = await start();
  let open = () => {};
  context.pool.gate = new Promise((resolve) => {
    open = resolve;
  });
  let stopped: Promise<void> | undefined;
  await client.unmount(() => {
    stopped = daemon.stop(() => {});
    open();
  });
  await stopped;
  await daemon.ended;
  t.equal(callsOf(context).filter((call) => call === 'close').length, 1);
});

t.test('a mount that fails leaves nothing behind', async (t) => {
  const { context, start, poolDirectory } = await prepare(t);
  context.mounter.mountError = new CairnError('MISSING_TOOL', 'no fusermount3', { hint: 'install fuse3' });
  await t.rejects(start(), { code: 'MISSING_TOOL', hint: 'install fuse3' });
  t.equal(callsOf(context).at(-1), 'close');
  context.mounter.mountError = undefined;
  writeFileSync(join(poolDirectory, 'control.sock'), 'in the way');
  await t.rejects(start(), { code: 'EXISTS' });
  t.same(callsOf(context).slice(-2), ['unmount lazily', 'close']);
});

t.test('a pool that is mounted already: by whom and where', async (t) => {
  const { context, options, start, directory, mountpoint } = await prepare(t);
  const daemon = await start();
  const other = join(directory, 'other');
  mkdirSync(other);
  const locked = new CairnError('LOCKED', 'the lock is taken');
  const second = { ...context, pools: { ...context.pools, open: () => Promise.reject(locked) } };
  await t.rejects(MountDaemon.start(second, { ...options, mountpoint: other }), {
    code: 'LOCKED',
    message: new RegExp(`already mounted by pid ${process.pid} at ${mountpoint}`),
    hint: /cairn unmount/,
  });
  await daemon.stop(() => {});
  await daemon.ended;
  await t.rejects(MountDaemon.start(second, { ...options, mountpoint: other }), locked, 'nobody to ask');
});

t.test('a cache that is not there may be one that is not mounted: no empty one takes its place', async (t) => {
  const { context, start, poolDirectory } = await prepare(t);
  const cache = join(poolDirectory, 'cache');
  context.mounts = `36 35 98:0 / ${cache} rw - ext4 /dev/ssd rw\n`;
  const daemon = await start();
  await daemon.stop(() => {});
  await daemon.ended;
  const before = callsOf(context).length;
  context.mounts = '';
  await rm(cache, { recursive: true });
  await t.rejects(start(), {
    code: 'NOT_FOUND',
    message: new RegExp(`nothing is mounted at ${cache}`),
    hint: new RegExp(`mkdir -p ${cache}`),
  });
  t.equal(callsOf(context).length, before, 'the pool was not even opened');
  t.notOk(existsSync(cache));
  mkdirSync(cache);
  const again = await start();
  await again.stop(() => {});
  await again.ended;
});

t.test('mount points that cannot be right', async (t) => {
  const { context, options, directory, poolDirectory } = await prepare(t);
  const at = (mountpoint: string) => MountDaemon.start(context, { ...options, mountpoint });
  writeFileSync(join(directory, 'file'), '');
  mkdirSync(join(directory, 'full', 'x'), { recursive: true });
  mkdirSync(join(directory, 'busy'));
  context.mounts = mountLine('/srv/other', join(directory, 'busy'));
  await t.rejects(at(join(directory, 'absent')), { code: 'NOT_FOUND', hint: /mkdir/ });
  await t.rejects(at(join(directory, 'file')), { code: 'NOT_DIRECTORY' });
  await t.rejects(at(join(directory, 'full')), { code: 'NOT_EMPTY' });
  await t.rejects(at(directory), { code: 'INVALID', message: /would hide the pool's own/ });
  await t.rejects(at(poolDirectory), { code: 'INVALID' });
  await t.rejects(at(join(directory, 'busy')), { code: 'BUSY', message: /\/srv\/other is already mounted/ });
  t.same(callsOf(context), [], 'the pool was not even opened');
});

t.test('--strong is stronger than cairn.toml, and never weaker', async (t) => {
  for (const [mode, strong, opened] of [
    ['default', true, 'strong'],
    ['strong', false, 'strong'],
    ['default', false, 'default'],
  ] as const) {
    const { context, options } = await prepare(t);
    const daemon = await MountDaemon.start(context, { ...options, strong, config: { ...options.config, mode } });
    t.equal(callsOf(context)[0], `open ${opened}`);
    await daemon.stop(() => {});
    await daemon.ended;
  }
});

t.test('read-only and writeback by option or by cairn.toml; passthrough only where it is read-only', async (t) => {
  const modes = (readOnly: boolean, passthrough: boolean, writeback = false) => ({ readOnly, passthrough, writeback });
  const table = (readOnly: boolean, passthrough: 'auto' | 'off' = 'auto', writeback = false) => ({
    readOnly,
    passthrough,
    writeback,
  });
  for (const [flags, mount, expected] of [
    [{}, undefined, modes(false, false)],
    [{ readOnly: true }, undefined, modes(true, true)],
    [{}, table(true), modes(true, true)],
    [{ readOnly: true }, table(false, 'off'), modes(true, false)],
    [{}, table(false), modes(false, false)],
    [{ writeback: true }, undefined, modes(false, false, true)],
    [{}, table(false, 'auto', true), modes(false, false, true)],
    [{ readOnly: true }, table(false, 'auto', true), modes(true, true)],
  ] as const) {
    const { context, options } = await prepare(t);
    const config = { ...options.config, mount };
    const daemon = await MountDaemon.start(context, { ...options, ...flags, config });
    t.match(context.mounter.mounted, expected);
    t.equal(context.mounter.mounted?.vfs instanceof ReadOnlyVfs, expected.readOnly);
    // The kernel of a stand-in refuses nothing: what was asked for is what status says.
    t.match(await daemon.status(), expected);
    await daemon.stop(() => {});
    await daemon.ended;
  }
});

t.test('Ctrl-C commits and unmounts', async (t) => {
  const { context, start } = await prepare(t);
  let readyCalls = 0;
  const ended = runInForeground(context, start(), () => {
    readyCalls++;
    context.signals.emit('SIGINT', 'SIGINT');
    context.signals.emit('SIGINT', 'SIGINT');
  });
  t.equal(await ended, 0, 'the same Ctrl-C passed on by npm is not a second one');
  t.equal(readyCalls, 1);
  t.match(context.stdout.text, /committing and unmounting[\s\S]*committed and unmounted\n$/);
  t.equal(context.signals.listenerCount('SIGINT'), 0);
});

t.test('a second Ctrl-C quits and says that nothing is lost', async (t) => {
  const { context, start } = await prepare(t);
  let open = () => {};
  context.pool.gate = new Promise((resolve) => {
    open = resolve;
  });
  const starting = start();
  const ended = runInForeground(context, starting, () => {
    context.signals.emit('SIGINT', 'SIGINT');
    context.clock.advance(1500);
    context.signals.emit('SIGTERM', 'SIGTERM');
    t.notMatch(context.stdout.text, /not committed/, 'only another Ctrl-C is that impatient');
    context.signals.emit('SIGINT', 'SIGINT');
  });
  t.equal(await ended, 130);
  t.match(context.stdout.text, /staged data stays safe in the cache/);
  t.ok(callsOf(context).includes('unmount lazily'));
  open();
  await (await starting).ended;
});

t.test('a signal while it starts undoes the start', async (t) => {
  const { context, start } = await prepare(t);
  let readyCalls = 0;
  const ended = runInForeground(context, start(), () => {
    readyCalls++;
  });
  context.signals.emit('SIGTERM', 'SIGTERM');
  t.equal(await ended, 0);
  t.equal(readyCalls, 0);
  t.equal(callsOf(context).at(-1), 'close');
});

t.test('what was not committed is an error of the command', async (t) => {
  const { context, start } = await prepare(t);
  context.pool.closeError = new CairnError('NO_SPACE', 'the disks are full');
  const ended = runInForeground(context, start(), () => {
    context.signals.emit('SIGTERM', 'SIGTERM');
  });
  t.equal(await ended, 1);
  t.match(context.stderr.text, /not everything is committed: the disks are full; it is safe in the cache/);
});

t.test('a change of cairn.toml is used at once, at the next mount, or not at all, and status says which', async (t) => {
  const { context, options, poolDirectory, client } = await prepare(t);
  const save = (config: PoolConfig) => saveConfig(new NodeFileIo(), poolDirectory, config);
  const config = { ...options.config, s3: s3At(1) };
  await save(config);
  const opened: string[] = [];
  const { pool } = context;
  pool.objects = { list: async () => [] } as unknown as ObjectTree;
  const settings = {
    current: config as PoolConfig,
    apply: ({ commitDelayMs }: PoolConfig) => {
      settings.current = { ...settings.current, commitDelayMs };
    },
  };
  pool.settings = settings;
  const openS3: typeof context.openS3 = async (_tree, { config: { port } }) => {
    if (port === 3) throw new CairnError('IO', 'port 3 is taken');
    opened.push(`open ${port}`);
    const none = { keys: async () => [], versions: async () => [] };
    return { endpoint: `http://127.0.0.1:${port}`, ...none, close: async () => void opened.push(`close ${port}`) };
  };
  const openWeb: typeof context.openWeb = async (_parts, { port }) => {
    if (port === 3) throw new CairnError('IO', 'the page cannot be at 3');
    opened.push(`open page ${port}`);
    const address = `http://127.0.0.1:${port}`;
    return { address, link: `${address}/`, close: async () => void opened.push(`close page ${port}`) };
  };
  const daemon = await MountDaemon.start(
    { ...context, openS3, openWeb, openVersions: async (vfs) => ({ vfs, refresh: async () => {} }) },
    { ...options, config },
  );
  t.teardown(() => daemon.stop(() => {}));
  const findings = async () => (await client.status()).findings.filter((finding) => finding.includes('cairn.toml'));
  const until = async (what: string, isSo: () => Promise<boolean>) => {
    while (!(await isSo())) {
      // The watcher hears of it when the kernel says so; the clock is the test's.
      await new Promise((resolve) => setTimeout(resolve, 10));
      context.clock.advance(300);
    }
    t.pass(what);
  };
  t.same(await findings(), []);

  await save({ ...config, commitDelayMs: 250 });
  await until('the delay is used at once', async () => settings.current.commitDelayMs === 250);
  t.same(await findings(), []);

  writeFileSync(join(poolDirectory, 'cairn.toml'), '[commit]\ndelay_ms = "soon"\n');
  await until('a wrong file is refused by name', async () =>
    /not used as it is, .*stay: .*cairn\.toml: .*; correct the file/.test((await findings())[0] ?? ''),
  );
  t.equal(settings.current.commitDelayMs, 250, 'and what was used before still is');

  await save({ ...config, commitDelayMs: 250, mode: 'strong', s3: s3At(2) });
  await until('a new address is served', async () => opened.length === 3);
  t.same(opened, ['open 1', 'close 1', 'open 2']);
  t.same(await findings(), ['cairn.toml has changed: mode will be used from the next mount on']);

  await save({ ...config, commitDelayMs: 1, s3: s3At(3) });
  await until(
    'an address that cannot be had is refused',
    async () => (await findings())[0]?.includes('port 3 is taken') === true,
  );
  t.same(opened.slice(3), ['close 2', 'open 2'], 'and the one from before is served again');
  t.equal(settings.current.commitDelayMs, 250, 'nothing of a refused file is used');
  await save({ ...config, commitDelayMs: 250, s3: s3At(2) });
  await until('put right, it is no finding any more', async () => (await findings()).length === 0);

  opened.length = 0;
  const served = { ...config, commitDelayMs: 250, s3: s3At(2), web: webAt(5) };
  await save(served);
  await until('a page that was not there is served', async () => daemon.webLink === 'http://127.0.0.1:5/');
  t.same(opened, ['open page 5'], 'and S3 is left alone');
  await save({ ...served, s3: s3At(4), web: webAt(3) });
  await until(
    'a page that cannot be had is refused',
    async () => (await findings())[0]?.includes('the page cannot be at 3') === true,
  );
  t.same(
    opened.slice(1),
    ['close 2', 'open 4', 'close page 5', 'open page 5', 'close 4', 'open 2'],
    'and all is served as before',
  );
  const told = () => callsOf(context).filter((call) => call.startsWith('notify'));
  t.same(told(), [], 'nobody was to be told yet');
  const notify: NotifyConfig = {
    on: ['degraded'],
    fullPercent: 80,
    webhook: 'http://127.0.0.1:1/hook',
    ntfy: undefined,
    ntfyToken: undefined,
    mailTo: undefined,
    mailFrom: undefined,
    mailCommand: ['sendmail'],
  };
  const { web, ...without } = served;
  t.ok(web);
  await save({ ...without, notify });
  await until('who is told changes at once', async () => told().length === 1);
  t.same(told(), ['notify http://127.0.0.1:1/hook']);
  t.equal(daemon.webLink, undefined, 'and a page that is not wanted any more is gone');
  await until('all of it is in use', async () => (await findings()).length === 0);
});

t.test('a page that cannot be served at the start is said for as long as it is so', async (t) => {
  const { context, options, client } = await prepare(t);
  const openWeb: typeof context.openWeb = async () => {
    throw new CairnError('IO', 'port 5 is taken', { hint: 'set another address' });
  };
  const daemon = await MountDaemon.start({ ...context, openWeb }, { ...options, webOtherwise: webAt(5) });
  t.ok(
    (await client.status()).findings.includes('the status page is not served: port 5 is taken; set another address'),
  );
  await daemon.stop(() => {});
});

t.test(
  'a certificate that is renewed is served to new connections; one that cannot be used is not, and is said',
  async (t) => {
    const { directory } = await prepare(t);
    const [certificate, key] = [join(directory, 'cert.pem'), join(directory, 'key.pem')];
    const make = (name: string) => {
      const made = [
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-subj',
        `/CN=${name}`,
      ];
      return spawnSync('openssl', [...made, '-keyout', key, '-out', certificate]).status === 0;
    };
    if (!make('first')) {
      t.comment('openssl is not installed');
      return;
    }
    const clock = new FakeClock();
    const lines: string[] = [];
    const log = { ...quietLog, info: (_: object, line: string) => void lines.push(line) };
    const files = { certificate, key };
    const pair = await readTls('[web]', files);
    const server = createServer(pair, (_request, response) => response.end());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.teardown(() => server.close());
    const renewal = new TlsRenewal({
      table: '[web]',
      files,
      pair,
      clock,
      log,
      use: (next) => server.setSecureContext(next),
    });
    t.teardown(() => renewal.close());
    const served = () =>
      new Promise<string>((resolve, reject) => {
        const { port } = server.address() as AddressInfo;
        const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false }, () => {
          resolve(String(socket.getPeerCertificate().subject.CN));
          socket.destroy();
        }).once('error', reject);
      });
    const until = async (isSo: () => boolean) => {
      while (!isSo()) {
        clock.advance(10_000);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    t.equal(await served(), 'first');
    const before = readFileSync(key);
    make('second');
    const after = readFileSync(key);
    // Half of a renewal: the certificate is there, its key is not.
    writeFileSync(key, before);
    await until(() => renewal.finding() !== undefined);
    t.match(
      renewal.finding(),
      /certificate of \[web\] has changed and cannot be used, the one from before is served: /,
    );
    t.equal(await served(), 'first');
    writeFileSync(key, after);
    await until(() => lines.length > 0);
    t.match(lines, [/^the certificate of \[web\] was renewed/]);
    t.equal(renewal.finding(), undefined);
    t.equal(await served(), 'second');
  },
);

const webAt = (port: number): WebConfig => ({
  host: '127.0.0.1',
  port,
  password: undefined,
  names: [],
  tls: undefined,
});

const MIB = 1024 * 1024;
const LOOK_MS = 10_000;

class FakeMemory implements ProcessMemory {
  readonly #calls: string[];
  processor = 0;
  resident = 80 * MIB;

  constructor(calls: string[]) {
    this.#calls = calls;
  }

  processorMs(): number {
    return this.processor;
  }

  residentBytes(): number {
    return this.resident;
  }

  collect(): void {
    this.#calls.push('collect');
    this.processor += 50_000;
  }

  trim(): void {
    this.#calls.push('trim');
    this.resident = 85 * MIB;
  }
}

t.test('a daemon that has nothing to do gives memory back for each time that it has grown', async (t) => {
  const { context, options } = await prepare(t);
  const calls: string[] = [];
  const memory = new FakeMemory(calls);
  Object.assign(context.pool, { releaseMemory: () => calls.push('release') });
  const daemon = await MountDaemon.start({ ...context, openMemory: async () => memory }, options);
  const pass = (workedMs: number): string[] => {
    memory.processor += workedMs;
    context.clock.advance(LOOK_MS);
    return calls.splice(0);
  };
  t.same(pass(0), [], 'it is as small as it was when it began');
  memory.resident = 170 * MIB;
  t.same(pass(5000), [], 'while there is work nothing is collected');
  t.same(pass(20), ['release', 'collect', 'trim']);
  t.same(pass(0), ['release', 'collect', 'trim'], 'again, since it gave much');
  t.same(pass(0), [], 'until it gives nothing more');
  memory.resident = 92 * MIB;
  t.same(pass(0), [], 'little is not worth it');
  memory.resident = 94 * MIB;
  t.same(pass(150), ['release', 'collect', 'trim'], 'and what giving back takes is no work');
  memory.resident = 300 * MIB;
  t.same(pass(5000), ['trim'], 'much growth is seen to under work too, without stopping it');
  memory.resident = 300 * MIB;
  await daemon.stop(() => {});
  await daemon.ended;
  t.same(pass(0), [], 'and it ends with the daemon');
});

t.test('a log that cannot be written ends nothing', async (t) => {
  const { poolDirectory } = await prepare(t);
  symlinkSync('/dev/full', join(poolDirectory, 'daemon.log'));
  const log = await openDaemonLog(poolDirectory, {});
  for (let i = 0; i < 100; i++) log.error({ i }, 'the disk is full');
});

t.test('where too few files may be open nothing is begun', async (t) => {
  t.throws(() => requireOpenFiles(64, 3), { code: 'CONFIG', message: /only 64 .* needs 248/, hint: /ulimit -n/ });
  requireOpenFiles(256, 3);
  requireOpenFiles(Number.POSITIVE_INFINITY, 1000);
});

t.test('a log that has grown is set aside while it is written, and only one of them is kept', async (t) => {
  const { poolDirectory } = await prepare(t);
  const path = join(poolDirectory, 'daemon.log');
  const log = await openDaemonLog(poolDirectory, {});
  const much = 'x'.repeat(0.75 * MIB);
  for (let i = 0; i < 30; i++) log.error({ i, much }, 'again');
  // Fourteen such lines are more than 10 MiB: lines 14 to 27 are set aside, those before are gone.
  const numbers = (file: string) =>
    readFileSync(file, 'utf8')
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { i: number }).i);
  t.same(
    numbers(`${path}.1`),
    Array.from({ length: 14 }, (_, i) => i + 14),
  );
  t.same(numbers(path), [28, 29]);
  t.equal(statSync(path).mode & 0o777, 0o600, 'for nobody else');
});

t.test('what V8 has once used goes back to the system', (t) => {
  const memory = new OwnMemory();
  let garbage: number[][] = Array.from({ length: 1000 }, () => Array.from({ length: 10_000 }, (_, i) => i + 0.5));
  const before = process.memoryUsage();
  t.ok(before.heapTotal > 70 * MIB, `${garbage.length} arrays`);
  t.ok(memory.residentBytes() > before.heapTotal / 2 && memory.processorMs() > 0);
  garbage = [];
  memory.collect();
  memory.collect();
  memory.trim();
  t.ok(process.memoryUsage().heapTotal < before.heapTotal - 60 * MIB);
  t.notOk('gc' in globalThis, 'for nobody else');
  t.end();
});

const s3At = (port: number): S3Config => ({
  host: '127.0.0.1',
  port,
  region: 'us-east-1',
  domain: undefined,
  tls: undefined,
  requestsPerSecond: undefined,
});

// exit(2) of the first thread alone leaves what a process looks like that has ended while a device keeps one of its threads.
const HALF_ENDED =
  'import threading,ctypes;threading.Thread(target=input).start();print(1,flush=True);ctypes.CDLL(None).syscall(60,0)';
const noHalfEnd =
  (process.arch !== 'x64' || spawnSync('python3', ['--version']).status !== 0) && 'python3 and x64 are wanted';

t.test(
  'the end of a process is waited for, but not for a thread that the kernel keeps',
  { skip: noHalfEnd },
  async (t) => {
    const child = spawn('python3', ['-c', HALF_ENDED], { stdio: ['pipe', 'pipe', 'inherit'] });
    t.teardown(() => child.kill('SIGKILL'));
    const pid = child.pid ?? 0;
    await once(child.stdout, 'data');
    t.equal(await waitForEnd(pid, 3), false);
    child.stdin.end('\n');
    t.equal(await waitForEnd(pid, Number.POSITIVE_INFINITY), true);
    t.equal(await waitForEnd(pid), true, 'one that is not there');
  },
);
