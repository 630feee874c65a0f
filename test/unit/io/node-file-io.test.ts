import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import t from 'tap';
import { type Addon, loadAddon } from '../../../native/addon.js';
import { CairnError, hasCode } from '../../../src/errors/cairn-error.js';
import { NodeFileIo } from '../../../src/io/node-file-io.js';
import { toCairnError } from '../../../src/io/system-error.js';
import { fileIoSuite } from '../../conformance/file-io.js';

t.test('conformance', async (t) => fileIoSuite(t, async (t) => ({ io: new NodeFileIo(), root: t.testdir() })));

/** As a file system that cannot reserve space or punch holes. */
const addon = loadAddon();
const withoutFallocate: Addon = {
  ...addon,
  fallocate: (_fd, _mode, _offset, _length, callback) =>
    setImmediate(callback, Object.assign(new Error('EOPNOTSUPP'), { code: 'ENOTSUP', errno: -95 })),
};
t.test('conformance where fallocate is not supported', async (t) =>
  fileIoSuite(t, async (t) => ({ io: new NodeFileIo(withoutFallocate), root: t.testdir() })),
);

t.test('punch gives blocks back, allocate takes them', async (t) => {
  const root = t.testdir();
  const file = await new NodeFileIo().open(`${root}/file`, { create: true });
  const blocks = (): number => statSync(`${root}/file`).blocks;
  await file.writeAndDatasync([new Uint8Array(1 << 20).fill(1)], 0);
  const full = blocks();
  await file.punch(0, 1 << 19);
  t.ok(blocks() <= full - (1 << 19) / 512, 'half a MiB fewer');
  await file.allocate(0, 1 << 20);
  t.ok(blocks() >= full);
  await file.close();
});

t.test('files and directories are private', async (t) => {
  const root = t.testdir();
  const io = new NodeFileIo();
  await io.makeDirectory(`${root}/a/b`);
  await io.replaceFile(`${root}/a/b/c`, Buffer.from('x'));
  t.equal(statSync(`${root}/a/b/c`).mode & 0o077, 0);
  t.equal(statSync(`${root}/a/b`).mode & 0o077, 0);
});

t.test('a full device is NO_SPACE, also for the synchronous write', async (t) => {
  const file = await new NodeFileIo().open('/dev/full', {});
  const full = (error: unknown): boolean =>
    hasCode(error, 'NO_SPACE') &&
    error.message === 'cannot write to /dev/full: no space is left on its file system' &&
    error.cause instanceof Error;
  t.ok(full(await file.write([Buffer.from('x')], 0).catch((error: unknown) => error)));
  t.ok(full(caught(() => file.writeNow([Buffer.from('x')], 0))));
  await file.close();
});

t.test('what is neither there nor absent is an error, not "does not exist"', async (t) => {
  const root = t.testdir({ file: 'x' });
  const io = new NodeFileIo();
  t.equal(await io.exists(`${root}/file/below`), false, 'below a file nothing can be');
  const error = await io.exists(`${root}/${'n'.repeat(300)}`).catch((error: unknown) => error);
  t.ok(hasCode(error, 'IO'));
});

t.test('the codes of system errors', async (t) => {
  const table: [string, number, string][] = [
    ['ENOENT', -2, 'NOT_FOUND'],
    ['EEXIST', -17, 'EXISTS'],
    ['ENOSPC', -28, 'NO_SPACE'],
    ['EDQUOT', -122, 'NO_SPACE'],
    ['Unknown system error -122', -122, 'NO_SPACE'],
    ['EROFS', -30, 'READ_ONLY'],
    ['EACCES', -13, 'ACCESS'],
    ['EPERM', -1, 'ACCESS'],
    ['EIO', -5, 'IO'],
    ['ESTALE', -116, 'IO'],
  ];
  for (const [code, errno, expected] of table) {
    const cause = Object.assign(new Error(`${code}: what the system says`), { code, errno });
    const error = toCairnError(cause, 'sync', '/some/file');
    t.equal(error.code, expected, code);
    t.match(error.message, /^cannot sync \/some\/file: ./);
    t.equal(error.cause, cause);
  }
  const own = new CairnError('LOCKED', 'mine');
  t.equal(toCairnError(own, 'lock', '/x'), own, 'one of ours stays as it is');
});

t.test('a lock is held against other processes until the holder is killed', async (t) => {
  const root = t.testdir();
  const holder = spawn(
    process.execPath,
    [
      '--input-type=module',
      '--eval',
      `import { NodeFileIo } from ${JSON.stringify(new URL('../../../src/io/node-file-io.js', import.meta.url).href)};
       await new NodeFileIo().lock(${JSON.stringify(`${root}/lock`)});
       console.log('locked');
       setInterval(() => {}, 1000);`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  t.teardown(() => holder.kill('SIGKILL'));
  await once(holder.stdout, 'data');
  const io = new NodeFileIo();
  t.ok(hasCode(await io.lock(`${root}/lock`).catch((error: unknown) => error), 'LOCKED'));
  const ended = once(holder, 'exit');
  holder.kill('SIGKILL');
  await ended;
  const lock = await io.lock(`${root}/lock`);
  // A child must not inherit the lock.
  const child = spawn('sleep', ['1000']);
  t.teardown(() => child.kill('SIGKILL'));
  await lock.release();
  await (await io.lock(`${root}/lock`)).release();
});

t.test('nothing is asked of the file between a write and its sync', { skip: !hasStrace() }, async (t) => {
  const root = t.testdir();
  const trace = `${root}/trace`;
  execFileSync('strace', [
    '-f',
    '-o',
    trace,
    '-e',
    'trace=pwritev,fdatasync,fstat,newfstatat,statx,lseek',
    process.execPath,
    '--input-type=module',
    '--eval',
    `import { NodeFileIo } from ${JSON.stringify(new URL('../../../src/io/node-file-io.js', import.meta.url).href)};
     const file = await new NodeFileIo().open(${JSON.stringify(`${root}/log`)}, { create: true });
     for (let i = 0; i < 3; i++) await file.writeAndDatasync([Buffer.from('record')], 6 * i);
     file.writeNow([Buffer.from('record')], 18);
     await file.datasync();`,
  ]);
  const calls = String(await new NodeFileIo().readFile(trace))
    .split('\n')
    .map((line) => /^\d+ +(\w+)\(/.exec(line)?.[1])
    .filter((call) => call !== undefined);
  const start = calls.indexOf('pwritev');
  t.same(calls.slice(start, start + 8), Array(4).fill(['pwritev', 'fdatasync']).flat());
});

function caught(run: () => void): unknown {
  try {
    run();
    return undefined;
  } catch (error) {
    return error;
  }
}

function hasStrace(): boolean {
  try {
    execFileSync('strace', ['-o', '/dev/null', 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
