import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  accessSync,
  chmodSync,
  constants,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { open, readFile, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { loadAddon } from '../../../native/addon.js';
import type { ServerMessage, ServerOptions } from './fuse-server.js';

const addon = loadAddon();
const skip = cannotMount();

interface Served {
  mountpoint: string;
  backing: string;
  server: ChildProcess;
  /** Waits for a message of one kind; rejects if the server ends first. */
  told<K extends ServerMessage['kind']>(kind: K): Promise<Extract<ServerMessage, { kind: K }>>;
  exited: Promise<number | null>;
}

/** Forks the server and waits until it serves. Whatever happens, nothing stays mounted or running. */
async function serve(t: Test, content: Uint8Array, options: Partial<ServerOptions> = {}): Promise<Served> {
  const root = mkdtempSync(`${tmpdir()}/cairn-mount-`);
  const mountpoint = `${root}/mnt`;
  const backing = `${root}/backing`;
  mkdirSync(mountpoint);
  writeFileSync(backing, content);
  const server = fork(new URL('./fuse-server.js', import.meta.url), [
    JSON.stringify({ ...options, mountpoint, backing }),
  ]);
  const exited = once(server, 'exit').then(([code]) => code as number | null);
  t.teardown(async () => {
    unmountIfMounted(mountpoint);
    server.kill('SIGKILL');
    await exited;
    // Not recursively: if it were still mounted that would delete what is in it.
    rmdirSync(mountpoint);
    rmSync(root, { recursive: true });
  });
  const seen: ServerMessage[] = [];
  server.on('message', (message) => seen.push(message as ServerMessage));
  const told: Served['told'] = async (kind) => {
    for (;;) {
      const found = seen.find((message) => message.kind === kind);
      if (found) return found as never;
      const ended = exited.then((code) => {
        // The message may have come with the end.
        if (!seen.some((message) => message.kind === kind))
          throw new Error(`the server ended (${code}) before it said ${kind}`);
      });
      await Promise.race([once(server, 'message'), ended]);
    }
  };
  await told('ready');
  return { mountpoint, backing, server, told, exited };
}

function unmountIfMounted(mountpoint: string): void {
  try {
    addon.unmount(mountpoint, true);
  } catch {
    // EINVAL: it is not mounted.
  }
}

function pattern(length: number): Buffer {
  return Buffer.from(
    Uint32Array.from({ length: Math.ceil(length / 4) }, (_, i) => Math.imul(i + 1, 2654435761)).buffer,
    0,
    length,
  );
}

async function isUsable(t: Test, { mountpoint, backing }: Served): Promise<void> {
  const content = readFileSync(backing);
  t.equal((await stat(`${mountpoint}/data`)).size, content.length);
  t.ok((await readFile(`${mountpoint}/data`)).equals(content), 'reads give the file');
  await t.rejects(stat(`${mountpoint}/missing`), { code: 'ENOENT' });
  const written = pattern(3 << 20).subarray(5);
  const file = await open(`${mountpoint}/data`, 'r+');
  await file.write(written, 0, written.length, 11);
  await file.close();
  t.ok(
    readFileSync(backing)
      .subarray(11, 11 + written.length)
      .equals(written),
    'writes arrive',
  );
}

async function endsWell(t: Test, { mountpoint, told, exited }: Served): Promise<void> {
  addon.unmount(mountpoint, false);
  t.same(await told('end'), { kind: 'end', error: null, sendAfterEnd: 19 }, 'onEnd(null); a late send is ENODEV');
  t.equal(await exited, 0, 'no handle keeps the process alive');
  t.throws(() => addon.unmount(mountpoint, false), { code: 'EINVAL', syscall: 'umount' }, 'it is not mounted any more');
}

t.test('mount, requests, replies, unmount', { skip }, async (t) => {
  const served = await serve(t, pattern(5_000_123));
  await isUsable(t, served);
  await endsWell(t, served);
});

t.test('what onRequest throws is an uncaughtException, and serving goes on', { skip }, async (t) => {
  const served = await serve(t, pattern(4000));
  await t.rejects(stat(`${served.mountpoint}/throw`), { code: 'ENOENT' });
  t.equal((await served.told('uncaught')).error, 'from onRequest');
  await isUsable(t, served);
  await endsWell(t, served);
});

t.test('a lazy unmount while a file is open', { skip }, async (t) => {
  const served = await serve(t, pattern(4000));
  const file = await open(`${served.mountpoint}/data`, 'r');
  t.throws(() => addon.unmount(served.mountpoint, false), { code: 'EBUSY', syscall: 'umount' });
  addon.unmount(served.mountpoint, true);
  t.equal((await file.read(Buffer.alloc(4000), 0, 4000, 0)).bytesRead, 4000, 'the open file is served on');
  await file.close();
  t.equal((await served.told('end')).error, null);
  t.equal(await served.exited, 0);
});

t.test('a killed server leaves ENOTCONN, which a lazy unmount ends', { skip }, async (t) => {
  const served = await serve(t, pattern(4000));
  served.server.kill('SIGKILL');
  await served.exited;
  await t.rejects(stat(`${served.mountpoint}/data`), { code: 'ENOTCONN' });
  addon.unmount(served.mountpoint, true);
  t.same(readdirSync(served.mountpoint), []);
});

/** Forks the server given by its arguments, and says when it serves. */
const FORKING = `
import { fork } from 'node:child_process';
fork(process.argv[1], [process.argv[2]], { execArgv: [] }).once('message', () => process.stdout.write('ready'));
`;

t.test('a server whose parent is killed unmounts and ends', { skip }, async (t) => {
  const root = mkdtempSync(`${tmpdir()}/cairn-mount-`);
  const mountpoint = `${root}/mnt`;
  const backing = `${root}/backing`;
  mkdirSync(mountpoint);
  writeFileSync(backing, pattern(4000));
  const program = fileURLToPath(new URL('./fuse-server.js', import.meta.url));
  const args = ['--input-type=module', '-e', FORKING, program, JSON.stringify({ mountpoint, backing })];
  const parent = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => {
    parent.kill('SIGKILL');
    unmountIfMounted(mountpoint);
    rmdirSync(mountpoint);
    rmSync(root, { recursive: true });
  });
  const output = parent.stdout.setEncoding('utf8');
  t.equal((await once(output, 'data'))[0], 'ready');
  t.equal((await stat(`${mountpoint}/data`)).size, 4000);
  const closed = once(output, 'close');
  parent.kill('SIGKILL');
  // The pipe is the server's too: it ends with the last of them.
  await closed;
  t.throws(() => addon.unmount(mountpoint, false), { code: 'EINVAL', syscall: 'umount' }, 'it is not mounted any more');
});

t.test('process.exit inside a request', { skip }, async (t) => {
  const served = await serve(t, pattern(4000));
  await t.rejects(stat(`${served.mountpoint}/exit`));
  t.equal(await served.exited, 7);
});

t.test('a worker thread that serves may be terminated', { skip }, async (t) => {
  const served = await serve(t, pattern(4000), { threaded: true });
  await isUsable(t, served);
  served.server.send('terminate');
  t.equal((await served.told('terminated')).code, 1);
  t.equal(await served.exited, 0);
});

/** What fusermount3 does, without its being installed: mounts and sends the descriptor. */
const FAKE_HELPER = `#!/usr/bin/env python3
import array, ctypes, os, socket, sys
assert sys.argv[1:] == ['-o', 'fsname=cairn-test,subtype=cairn', '--', sys.argv[4]], sys.argv
fd = os.open('/dev/fuse', os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
data = 'fd=%d,rootmode=40000,user_id=0,group_id=0' % fd
assert libc.mount(b'cairn-test', sys.argv[4].encode(), b'fuse.cairn', 0, data.encode()) == 0
comm = socket.socket(fileno=int(os.environ['_FUSE_COMMFD']))
comm.sendmsg([b'\\0'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [fd]))])
`;

const noPython = spawnSync('python3', ['--version']).status !== 0;
t.test('mount through a helper', { skip: skip || noPython }, async (t) => {
  const helper = `${t.testdir({ fusermount: FAKE_HELPER })}/fusermount`;
  chmodSync(helper, 0o755);
  const served = await serve(t, pattern(1_000_000), { helper });
  await isUsable(t, served);
  await endsWell(t, served);
});

const noFusermount = spawnSync('fusermount3', ['--version']).status !== 0;
t.test('mount through fusermount3', { skip: skip || noFusermount }, async (t) => {
  const served = await serve(t, pattern(1_000_000), { helper: 'fusermount3' });
  await isUsable(t, served);
  await endsWell(t, served);
});

t.test('a helper that is missing, refuses or misbehaves', async (t) => {
  const root = t.testdir({
    refuses: '#!/bin/sh\necho "fusermount3: mount failed:\n  not today" >&2\nexit 1\n',
    silent: '#!/bin/sh\nexit 0\n',
    babbles: '#!/bin/sh\nprintf x >&3\n',
    plain: 'not executable',
  });
  for (const name of ['refuses', 'silent', 'babbles']) chmodSync(`${root}/${name}`, 0o755);
  const before = openDescriptors();
  const helper = (program: string): unknown => addon.fuseMountHelper(program, `${root}/mnt`, 'ro');
  t.throws(() => helper('cairn-no-such-program'), { code: 'ENOENT', errno: -2, syscall: 'spawn' });
  t.throws(() => helper(`${root}/missing`), { code: 'ENOENT' });
  t.throws(() => helper(`${root}/plain`), { code: 'EACCES' });
  t.throws(() => helper(`${root}/refuses`), { code: 'EPERM', message: /: fusermount3: mount failed: {3}not today$/ });
  t.throws(() => helper(`${root}/silent`), { code: 'EPERM' });
  t.throws(() => helper(`${root}/babbles`), { code: 'EPERM' });
  t.throws(() => addon.fuseMountHelper('true', '/', 'auto_unmount'), { code: 'EINVAL' });
  t.same(openDescriptors(), before, 'no descriptor is left');
});

t.test('mounting where it cannot be', { skip }, async (t) => {
  const root = t.testdir();
  const before = openDescriptors();
  const missing = `${root}/missing`;
  t.throws(() => addon.fuseMount(missing, 's', 'cairn', 0, 'rootmode=40000,user_id=0,group_id=0'), {
    code: 'ENOENT',
    syscall: 'mount',
    message: `ENOENT: No such file or directory, mount '${missing}'`,
  });
  t.throws(() => addon.fuseMount(root, 's', 'cairn', 0, 'no_such_option'), { code: 'EINVAL', syscall: 'mount' });
  t.throws(() => addon.fuseMount(root, 's', 'cairn', 0, ''), { code: 'EINVAL', syscall: 'mount' });
  t.throws(() => addon.unmount(root, true), { code: 'EINVAL', syscall: 'umount' });
  t.throws(() => addon.unmount(missing, true), { code: 'ENOENT', syscall: 'umount' });
  t.same(openDescriptors(), before, 'no descriptor is left');
});

t.test('bad arguments throw EINVAL', async (t) => {
  const long = '/x'.repeat(4096);
  const bad: ['fuseMount' | 'fuseMountHelper' | 'unmount', unknown[]][] = [
    ['fuseMount', []],
    ['fuseMount', ['/nowhere', 's', 't', 0]],
    ['fuseMount', [1, 's', 't', 0, '']],
    ['fuseMount', ['/now\0here', 's', 't', 0, '']],
    ['fuseMount', [long, 's', 't', 0, '']],
    ['fuseMount', ['/nowhere', long, 't', 0, '']],
    ['fuseMount', ['/nowhere', 's', long, 0, '']],
    ['fuseMount', ['/nowhere', 's', 't', 0, long]],
    ['fuseMount', ['/nowhere', 's', 't', -1, '']],
    ['fuseMount', ['/nowhere', 's', 't', 2 ** 32, '']],
    ['fuseMount', ['/nowhere', 's', 't', 0, Buffer.from('x')]],
    ['fuseMountHelper', ['true', '/nowhere']],
    ['fuseMountHelper', ['true', '/now\0here', '']],
    ['fuseMountHelper', [long, '/nowhere', '']],
    ['fuseMountHelper', ['true', '/nowhere', long]],
    ['fuseMountHelper', ['true', null, '']],
    ['unmount', ['/nowhere']],
    ['unmount', [{}, true]],
    ['unmount', ['/nowhere', 1]],
    ['unmount', ['/now\0here', true]],
  ];
  for (const [name, args] of bad) {
    t.throws(
      () => (addon[name] as (...args: unknown[]) => unknown)(...args),
      { code: 'EINVAL', syscall: 'cairn' },
      name,
    );
  }
});

function openDescriptors(): string[] {
  return readdirSync('/proc/self/fd');
}

function cannotMount(): false | string {
  if (process.getuid?.() !== 0) return 'mount(2) needs root';
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
    return false;
  } catch {
    return 'there is no /dev/fuse';
  }
}
