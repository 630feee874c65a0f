import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import t, { type Test } from 'tap';
import { loadAddon } from '../../../native/addon.js';

const addon = loadAddon();
const noFifo = spawnSync('mkfifo', ['--version']).status !== 0 && 'mkfifo is not here';
const addonUrl = new URL('../../../native/addon.js', import.meta.url).href;

function temporaryFile(t: Test): { fd: number; path: string } {
  const path = `${t.testdir()}/file`;
  const fd = openSync(path, 'w+');
  t.teardown(() => closeSync(fd));
  return { fd, path };
}

function writeAllAsync(fd: number, parts: readonly Uint8Array[], position: number): Promise<void> {
  return new Promise((resolve, reject) => {
    addon.writeAllAsync(fd, parts, position, true, (error) => (error ? reject(error) : resolve()));
  });
}

t.test('all parts are written where they belong', async (t) => {
  const { fd, path } = temporaryFile(t);
  const parts = Array.from({ length: 3000 }, (_, i) => Buffer.alloc(i % 4, `${i % 10}`));
  addon.writeAll(fd, parts, 3);
  await writeAllAsync(fd, parts, 3 + Buffer.concat(parts).length);
  t.equal(readFileSync(path, 'latin1'), `\0\0\0${Buffer.concat([...parts, ...parts])}`);
});

t.test('a view’s offset counts, not its buffer', async (t) => {
  const { fd, path } = temporaryFile(t);
  const whole = Buffer.from('0123456789');
  addon.writeAll(fd, [whole.subarray(2, 4), new Uint8Array(whole.buffer, whole.byteOffset + 7, 2)], 0);
  t.equal(readFileSync(path, 'utf8'), '2378');
});

t.test('buffers live until they are written', async (t) => {
  const { fd, path } = temporaryFile(t);
  const writes: Promise<void>[] = [];
  for (let i = 0; i < 64; i++) writes.push(writeAllAsync(fd, [new Uint8Array(1 << 16).fill(i + 1)], i << 16));
  // Allocating much makes the collector run while the jobs wait for their turn.
  for (let i = 0; i < 200; i++) new Uint8Array(1 << 20).fill(255);
  await Promise.all(writes);
  const whole = readFileSync(path);
  for (let i = 0; i < 64; i++) t.ok(whole.subarray(i << 16, (i + 1) << 16).equals(Buffer.alloc(1 << 16, i + 1)));
});

t.test('what is read comes with the sum of each block, as far as the file goes', async (t) => {
  const { fd, path } = temporaryFile(t);
  const whole = randomBytes(300_000);
  writeFileSync(path, whole);
  const read = (head: Uint8Array, body: Uint8Array, position: number, sums: Uint32Array, block: number) =>
    new Promise<number | undefined>((resolve, reject) => {
      addon.readSummed(fd, head, body, position, sums, block, (error, bytes) =>
        error ? reject(error) : resolve(bytes),
      );
    });
  for (const [headBytes, bodyBytes, position, block] of [
    [240, 200_000, 77, 65_536],
    [0, 131_072, 0, 65_536],
    [112, 0, 5, 65_536],
    [10, 250_000, 3, 200_000],
    [3, 1000, 0, 7],
    [100, 290_000, 20_000, 65_536],
    [5000, 70_000, 298_000, 4096],
    [1, 1, 400_000, 1],
  ] as const) {
    const head = Buffer.alloc(headBytes);
    // Memory that threads share, at an odd place: what chunks are read into.
    const body = Buffer.from(new SharedArrayBuffer(bodyBytes + 48), 3, bodyBytes);
    const sums = new Uint32Array(Math.ceil(bodyBytes / block) + 1).fill(7);
    const there = whole.subarray(position, position + headBytes + bodyBytes);
    t.equal(await read(head, body, position, sums, block), there.length);
    const got = Math.max(0, there.length - headBytes);
    t.ok(Buffer.concat([head, body]).subarray(0, there.length).equals(there));
    t.ok(
      body.subarray(got).every((byte) => byte === 0),
      'nothing beyond',
    );
    for (let from = 0; from < got; from += block)
      t.equal(sums[from / block], addon.crc32c(body, from, Math.min(got, from + block), 0));
    t.equal(sums.at(-1), 7);
  }
  const sums = new Uint32Array(2);
  const two = Buffer.alloc(2 * 4096);
  const wrong = [undefined, null, 'x', new Float64Array(2), [two]];
  const never = (): void => void t.fail('the callback of a refused call');
  for (const args of [
    ...wrong.map((bad) => [fd, bad, two, 0, sums, 4096, never]),
    ...wrong.map((bad) => [fd, two, bad, 0, sums, 4096, never]),
    ...[...wrong, new Uint32Array(1), new Uint8Array(99)].map((bad) => [fd, two, two, 0, bad, 4096, never]),
    ...[-1, 0.5, 2 ** 53 - 1, '0'].map((bad) => [fd, two, two, bad, sums, 4096, never]),
    ...[0, -1, 1.5, 2 ** 31].map((bad) => [fd, two, two, 0, sums, bad, never]),
    [fd, two, two, 0, sums, 4096],
    [-1, two, two, 0, sums, 4096, never],
  ])
    t.throws(() => (addon.readSummed as (...args: unknown[]) => void)(...args), { code: 'EINVAL' });
  const closed = await new Promise((resolve) => addon.readSummed(999_999, two, two, 0, sums, 4096, resolve));
  t.match(closed, { code: 'EBADF', syscall: 'preadv' });
});

t.test('a file is read by its name in one job that keeps its buffer', async (t) => {
  const { path } = temporaryFile(t);
  const whole = randomBytes(100_000);
  writeFileSync(path, whole);
  const read = (name: string, into: Uint8Array): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      addon.readWritable(name, into, (error, bytes) => (error ? reject(error) : resolve(bytes)));
    });
  const reads = Array.from({ length: 32 }, (_, i) => {
    const into = new Uint8Array(50_000 + i * 2_000);
    return read(path, into).then((bytes) => [into, bytes] as const);
  });
  for (let i = 0; i < 100; i++) new Uint8Array(1 << 20).fill(255);
  for (const [into, bytes] of await Promise.all(reads)) {
    t.equal(bytes, Math.min(into.length, whole.length));
    t.ok(whole.subarray(0, bytes).equals(into.subarray(0, bytes)));
  }
  await t.rejects(read(`${path}/under`, new Uint8Array(1)), { code: 'ENOTDIR', errno: -20, syscall: 'open' });
  await t.rejects(read('/proc', new Uint8Array(1)), { code: 'EISDIR' });
  const never = (): void => void t.fail('the callback of a refused call');
  for (const args of [[], [path], [path, whole], [1, whole, never], [path, 'x', never], [path, whole, 1]])
    t.throws(() => (addon.readWritable as (...args: unknown[]) => void)(...args), { code: 'EINVAL', errno: -22 });
  t.throws(() => addon.readWritable('x'.repeat(5000), whole, never), { code: 'EINVAL' });
});

t.test('reading ahead is a job that tells what it could not do', async (t) => {
  const { fd, path } = temporaryFile(t);
  writeFileSync(path, randomBytes(300_000));
  const ahead = (position: number, length: number, of = fd): Promise<Error | null> =>
    new Promise((resolve) => addon.readAhead(of, position, length, resolve));
  t.equal(await ahead(1, 299_000), null);
  t.equal(await ahead(290_000, 1 << 20), null, 'beyond the end there is nothing to read');
  t.equal(await ahead(0, 0), null);
  t.match(await ahead(0, 1, 999_999), { code: 'EBADF', syscall: 'posix_fadvise' });
  const never = (): void => void t.fail('the callback of a refused call');
  for (const args of [
    [],
    [fd],
    [fd, 0, 1],
    [fd, -1, 1, never],
    [fd, 0, -1, never],
    [fd, 1, 2 ** 53 - 1, never],
    [fd, 0, 1, 1],
  ])
    t.throws(() => (addon.readAhead as (...args: unknown[]) => void)(...args), { code: 'EINVAL', errno: -22 });
});

t.test('a getter that detaches another part does no harm', async (t) => {
  const { fd } = temporaryFile(t);
  const victim = new Uint8Array(1 << 20).fill(1);
  const parts = [victim];
  Object.defineProperty(parts, 1, {
    get: () => {
      if (victim.length > 0) structuredClone(victim.buffer, { transfer: [victim.buffer] });
      return Buffer.from('x');
    },
  });
  addon.writeAll(fd, parts, 0);
  t.equal(victim.length, 0);
  await writeAllAsync(fd, parts, 0);
  const throwing = [Buffer.from('x')];
  Object.defineProperty(throwing, 1, {
    get: () => {
      throw new Error('the getter’s own');
    },
  });
  t.throws(() => addon.writeAll(fd, throwing, 0), { message: 'the getter’s own' });
  t.throws(() => addon.writeAllAsync(fd, throwing, 0, false, () => t.fail('never called')), {
    message: 'the getter’s own',
  });
});

t.test('system errors have code, errno and syscall', async (t) => {
  const { path } = temporaryFile(t);
  const full = openSync('/dev/full', 'r+');
  const readOnly = openSync(path, 'r');
  t.teardown(() => [full, readOnly].map((fd) => closeSync(fd)));
  t.throws(() => addon.writeAll(full, [Buffer.from('x')], 0), { code: 'ENOSPC', errno: -28, syscall: 'pwritev' });
  t.throws(() => addon.writeAll(readOnly, [Buffer.from('x')], 0), { code: 'EBADF' });
  await t.rejects(writeAllAsync(full, [Buffer.from('x')], 0), { code: 'ENOSPC', errno: -28, syscall: 'pwritev' });
  await t.rejects(writeAllAsync(999_999, [Buffer.from('x')], 0), { code: 'EBADF' });
  await t.rejects(writeAllAsync(999_999, [], 0), { code: 'EBADF', syscall: 'fdatasync' });
  const fallocated = await new Promise((resolve) => addon.fallocate(readOnly, 0, 0, 10, resolve));
  t.match(fallocated, { code: 'EBADF', syscall: 'fallocate' });
  t.throws(() => addon.lock(999_999), { code: 'EBADF', syscall: 'flock' });
});

t.test('a file system is synced by a directory on it', async (t) => {
  const { path } = temporaryFile(t);
  const sync = (place: string) => new Promise((resolve) => addon.syncFileSystem(place, resolve));
  t.equal(await sync('/proc'), null);
  t.match(await sync(path), { code: 'ENOTDIR', syscall: 'open' }, 'a device or a pipe would have to be waited for');
  t.match(await sync(`${path} and more`), { code: 'ENOENT', syscall: 'open' });
  t.throws(() => addon.syncFileSystem('/proc', 1 as unknown as () => void), { code: 'EINVAL' });
});

t.test('lock is of the open file, not of the process', async (t) => {
  const { fd, path } = temporaryFile(t);
  const second = openSync(path, 'r');
  t.equal(addon.lock(fd), true);
  t.equal(addon.lock(fd), true, 'again by the holder');
  t.equal(addon.lock(second), false);
  closeSync(second);
});

t.test('whether somebody else has the file open', async (t) => {
  const { fd, path } = temporaryFile(t);
  t.equal(addon.isOpenElsewhere(fd), false);
  for (const flags of ['r', 'r+'] as const) {
    const other = openSync(path, flags);
    t.equal(addon.isOpenElsewhere(fd), true, flags);
    closeSync(other);
    t.equal(addon.isOpenElsewhere(fd), false, 'asking leaves nothing behind');
  }
  t.throws(() => addon.isOpenElsewhere(999_999), { code: 'EBADF', syscall: 'fcntl' });
  t.throws(() => addon.isOpenElsewhere('1' as never), { code: 'EINVAL', syscall: 'cairn' });
});

t.test('bad arguments throw EINVAL and write nothing', async (t) => {
  const { fd, path } = temporaryFile(t);
  writeFileSync(path, '');
  const x = Buffer.from('x');
  const never = (): void => void t.fail('the callback of a refused call');
  const sparse: unknown[] = [];
  sparse.length = 2 ** 32 - 1;
  const written: unknown[][] = [
    [],
    [fd],
    [fd, [x]],
    [fd, x, 0],
    [fd, null, 0],
    [fd, { length: 1, 0: x }, 0],
    [fd, [x, 'text'], 0],
    [fd, [x, undefined], 0],
    [fd, [x, new ArrayBuffer(4)], 0],
    [fd, [x, new Float64Array(4)], 0],
    [fd, sparse, 0],
    [fd, [x], -1],
    [fd, [x], 1.5],
    [fd, [x], Number.NaN],
    [fd, [x], 2 ** 53],
    [fd, [x], 2 ** 53 - 1],
    [fd, [x], 0n],
    [-1, [x], 0],
    [2 ** 31, [x], 0],
    [2 ** 40, [x], 0],
    ['1', [x], 0],
    [undefined, [x], 0],
  ];
  const call = (name: 'writeAll' | 'writeAllAsync' | 'fallocate' | 'lock', args: unknown[]): void => {
    t.throws(() => (addon[name] as (...args: unknown[]) => unknown)(...args), { code: 'EINVAL', errno: -22 }, name);
  };
  for (const args of written) {
    call('writeAll', args);
    call('writeAllAsync', args.length < 3 ? args : [...args, false, never]);
  }
  call('writeAllAsync', [fd, [x], 0, false]);
  call('writeAllAsync', [fd, [x], 0, 1, never]);
  call('writeAllAsync', [fd, [x], 0, false, null]);
  for (const args of [
    [fd, -1, 0, 1],
    [fd, 0, -1, 1],
    [fd, 0, 0, 0],
    [fd, 0, 0, 2 ** 53],
    [fd, 0, Number.NaN, 1],
  ]) {
    call('fallocate', [...args, never]);
  }
  call('fallocate', [fd, 0, 0, 1]);
  for (const args of [[], [-1], ['0'], [1.5]]) call('lock', args);
  t.equal(readFileSync(path, 'utf8'), '');
});

t.test('what a callback throws is an uncaughtException', async (t) => {
  const { fd } = temporaryFile(t);
  const worker = new Worker(
    `import(${JSON.stringify(addonUrl)}).then(({ loadAddon }) =>
       loadAddon().writeAllAsync(${fd}, [Buffer.from('x')], 0, true, () => { throw new Error('from the callback'); }));`,
    { eval: true },
  );
  const [error] = (await once(worker, 'error')) as [Error];
  t.equal(error.message, 'from the callback');
});

t.test('threads may load it, and end with work under way', async (t) => {
  const { fd } = temporaryFile(t);
  for (let i = 0; i < 5; i++) {
    const worker = new Worker(
      `import(${JSON.stringify(addonUrl)}).then(({ loadAddon }) => {
         const addon = loadAddon();
         for (let i = 0; i < 50; i++) addon.writeAllAsync(${fd}, [new Uint8Array(1 << 16)], i << 16, i % 10 === 0, () => {});
         require('node:worker_threads').parentPort.postMessage(addon.crc32c(Buffer.from('123456789'), 0, 9, 0));
         for (;;); // so that no job is reported as done before the end
       });`,
      { eval: true },
    );
    t.same(await once(worker, 'message'), [0xe3069283]);
    t.equal(await worker.terminate(), 1);
  }
});

t.test('a process ends without waiting for a thread that waits', { skip: noFifo }, async (t) => {
  // Opening a pipe that nobody writes to does not end; `process.exit` would wait for it.
  const pipe = `${t.testdir()}/pipe`;
  execFileSync('mkfifo', [pipe]);
  const program = `
    import { open } from 'node:fs';
    import { loadAddon } from ${JSON.stringify(addonUrl)};
    open(${JSON.stringify(pipe)}, 'r', () => {});
    process.once('exit', (code) => loadAddon().exitNow(code));
    setImmediate(() => process.exit(7));`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'inherit' });
  t.teardown(() => child.kill('SIGKILL'));
  t.same(await once(child, 'exit'), [7, null]);
  t.throws(() => addon.exitNow(256), { code: 'EINVAL' });
  t.throws(() => addon.exitNow(-1), { code: 'EINVAL' });
});
