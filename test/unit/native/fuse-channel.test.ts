/**
 * The channel without a mount: over a fifo that is open for reading and writing, what is sent comes back as a request. What
 * needs the kernel's side is in mount.test.ts.
 */
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { closeSync, constants, openSync, readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { Worker } from 'node:worker_threads';
import t, { type Test } from 'tap';
import { type FuseChannel, loadAddon } from '../../../native/addon.js';

const addon = loadAddon();
const addonUrl = new URL('../../../native/addon.js', import.meta.url).href;
const BUFFER_BYTES = 8192;

interface Loop {
  fd: number;
  channel: FuseChannel;
  buffer: Buffer;
  /** The next request. */
  next(): Promise<Buffer>;
  ended: Promise<Error | null>;
}

function openFifo(t: Test): number {
  const path = `${t.testdir()}/fifo`;
  execFileSync('mkfifo', [path]);
  return openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
}

function loopBack(t: Test, onRequest: (request: Buffer) => void = () => undefined): Loop {
  const fd = openFifo(t);
  const buffer = Buffer.alloc(BUFFER_BYTES);
  const arrived: Buffer[] = [];
  let wake = (): void => undefined;
  let onEnd = (_error: Error | null): void => undefined;
  const ended = new Promise<Error | null>((resolve) => {
    onEnd = resolve;
  });
  const channel = addon.fuseStart(
    fd,
    buffer,
    (length) => {
      const request = Buffer.from(buffer.subarray(0, length));
      arrived.push(request);
      wake();
      onRequest(request);
    },
    (error) => onEnd(error),
  );
  t.teardown(() => {
    channel.stop();
    closeSync(fd);
  });
  const next = async (): Promise<Buffer> => {
    while (arrived.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return arrived.shift()!;
  };
  return { fd, channel, buffer, next, ended };
}

t.test('what is sent goes out whole, in one write', async (t) => {
  const { channel, next } = loopBack(t);
  const whole = Buffer.from(Array.from({ length: 5000 }, (_, i) => i % 251));
  t.equal(channel.send([whole.subarray(0, 16), whole.subarray(16, 16), whole.subarray(16)]), 0);
  t.ok((await next()).equals(whole));
  t.equal(channel.sendBytes(whole, 4000), 0);
  t.ok((await next()).equals(whole.subarray(0, 4000)));
  t.equal(channel.sendBytes(whole, 16), 0);
  t.equal((await next()).length, 16);
});

t.test('what is no /dev/fuse takes no files to read by itself', async (t) => {
  const { channel, fd } = loopBack(t);
  t.equal(channel.openBacking(fd), -25, 'ENOTTY, which is an answer');
  t.equal(channel.closeBacking(1), 25);
  t.equal(channel.openBacking(999_999), -25);
});

t.test('sendFile puts the header before the file’s bytes', async (t) => {
  const { channel, next } = loopBack(t);
  const file = openSync(new URL(import.meta.url), 'r');
  t.teardown(() => closeSync(file));
  const content = readFileSync(new URL(import.meta.url));
  t.equal(channel.sendFile(0xfedcba9876543210n, file, 100, 4000), 4000);
  const reply = await next();
  t.equal(reply.readUInt32LE(0), 4016);
  t.equal(reply.readInt32LE(4), 0);
  t.equal(reply.readBigUInt64LE(8), 0xfedcba9876543210n);
  t.ok(reply.subarray(16).equals(content.subarray(100, 4100)));

  t.equal(channel.sendFile(1n, file, content.length - 10, 4000), -61, 'ENODATA where the file ends before');
  t.equal(channel.sendFile(1n, file, content.length, 4000), -61);
  t.equal(channel.sendFile(1n, file, 0, 0), 0);
  t.equal((await next()).length, 16);

  const directory = openSync(tmpdir(), 'r');
  t.equal(channel.sendFile(1n, directory, 0, 100), -21, 'EISDIR');
  closeSync(directory);
  t.equal(channel.sendFile(1n, 999_999, 0, 100), -9, 'EBADF');
  t.equal(channel.sendBytes(Buffer.alloc(20, 1), 20), 0);
  t.equal((await next()).length, 20, 'a failed read sent nothing');
});

t.test('the errno of a failed send is returned', async (t) => {
  const { channel } = loopBack(t);
  // A full pipe is EAGAIN; the loop does not run in between to empty it.
  const block = Buffer.alloc(4096);
  let errno = 0;
  for (let i = 0; i < 1000 && errno === 0; i++) errno = channel.sendBytes(block, block.length);
  t.equal(errno, 11);
  t.equal(channel.send([block]), 11);
  const file = openSync('/dev/zero', 'r');
  t.equal(channel.sendFile(1n, file, 0, 4096), -11);
  closeSync(file);
});

t.test('timers, threads and other descriptors have their turn while one request follows on the other', async (t) => {
  let requests = 0;
  // Each request is answered with the next one, so there is always one soon: the loop is looked at instead of slept on.
  const { channel, next } = loopBack(t, (request) => {
    requests += 1;
    setImmediate(() => channel.sendBytes(Buffer.from(request), request.length));
  });
  channel.sendBytes(Buffer.alloc(64, 1), 64);
  await next();
  for (let i = 0; i < 20; i++) {
    const before = requests;
    await new Promise((resolve) => setTimeout(resolve, 1));
    await readFile('/proc/self/stat');
    await new Promise((resolve) => execFile('true', resolve));
    t.ok(requests > before, 'and requests are served meanwhile');
  }
});

t.test('microtasks and ticks run after each request', async (t) => {
  const order: string[] = [];
  const { channel, next } = loopBack(t, (request) => {
    const name = String(request[0]);
    order.push(name);
    process.nextTick(() => order.push(`tick ${name}`));
    Promise.resolve().then(() => order.push(`task ${name}`));
    if (name === '1') channel.sendBytes(Buffer.alloc(16, 2), 16);
  });
  channel.sendBytes(Buffer.alloc(16, 1), 16);
  await next();
  await next();
  await new Promise(setImmediate);
  t.same(order, ['1', 'tick 1', 'task 1', '2', 'tick 2', 'task 2']);
});

t.test('stop inside a request; stopping twice; the descriptor stays open', async (t) => {
  let requests = 0;
  const { channel, next, fd } = loopBack(t, () => {
    requests++;
    channel.sendBytes(Buffer.alloc(16), 16);
    channel.stop();
    channel.stop();
  });
  channel.sendBytes(Buffer.alloc(16), 16);
  await next();
  for (let i = 0; i < 5; i++) await new Promise(setImmediate);
  t.equal(requests, 1, 'the second request is not read');
  t.equal(channel.sendBytes(Buffer.alloc(16), 16), 0, 'replies may still be sent');
  channel.stop();
  // A new channel on the same descriptor gets what is left.
  const length = await new Promise<number>((resolve, reject) => {
    const second = addon.fuseStart(
      fd,
      Buffer.alloc(BUFFER_BYTES),
      (length) => {
        second.stop();
        resolve(length);
      },
      reject,
    );
  });
  t.equal(length, 32);
});

t.test('a buffer that is detached ends the channel with an error', async (t) => {
  const fd = openFifo(t);
  const buffer = new Uint8Array(BUFFER_BYTES);
  const error = await new Promise<Error | null>((resolve) => {
    const channel = addon.fuseStart(fd, buffer, () => resolve(null), resolve);
    channel.sendBytes(buffer, 16);
    structuredClone(buffer.buffer, { transfer: [buffer.buffer] });
  });
  t.match(error, { code: 'EFAULT', errno: -14 });
  closeSync(fd);
});

t.test('dropped channels are collected', async (t) => {
  const fd = openFifo(t);
  const before = readdirSync('/proc/self/fd').length;
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 50; i++) {
      const channel = addon.fuseStart(
        fd,
        new Uint8Array(BUFFER_BYTES),
        () => undefined,
        () => undefined,
      );
      channel.stop();
      channel.stop();
    }
    await new Promise(setImmediate);
  }
  closeSync(fd);
  t.equal(readdirSync('/proc/self/fd').length, before - 1);
  const script = `
    const { loadAddon } = await import(${JSON.stringify(addonUrl)});
    const { openSync } = await import('node:fs');
    const addon = loadAddon();
    const fd = openSync(process.argv[1], 'r+');
    for (let i = 0; i < 500; i++) {
      addon.fuseStart(fd, new Uint8Array(8192), () => {}, () => {}).stop();
      await new Promise(setImmediate);
      if (i % 20 === 0) gc();
    }
    // This one polls on, and is dropped: process.exit must not mind.
    addon.fuseStart(fd, new Uint8Array(8192), () => {}, () => {});
    gc();
    setImmediate(() => { gc(); process.exit(5); });`;
  const fifo = `${t.testdirName}/fifo`;
  const { status, stderr } = spawnSync(process.execPath, [
    '--expose-gc',
    '--input-type=module',
    '--eval',
    script,
    fifo,
  ]);
  t.equal(status, 5, String(stderr));
});

t.test('a thread that ends while it polls, or with a stop not yet finished', async (t) => {
  const fd = openFifo(t);
  for (const last of ['', 'channel.stop();', 'process.exit();', 'throw new Error("thrown");']) {
    const worker = new Worker(
      `import(${JSON.stringify(addonUrl)}).then(({ loadAddon }) => {
         const channel = loadAddon().fuseStart(${fd}, new Uint8Array(8192), () => { ${last} for (;;); }, () => {});
         channel.sendBytes(new Uint8Array(16), 16);
         require('node:worker_threads').parentPort.postMessage('up');
       });`,
      { eval: true },
    );
    worker.on('error', (error) => t.equal((error as Error).message, 'thrown'));
    // Not events.once: it rejects when the thread throws, which it may do before or after it is told to end.
    const exit = new Promise((resolve) => worker.once('exit', resolve));
    await new Promise((resolve) => worker.once('message', resolve));
    await worker.terminate();
    t.type(await exit, 'number');
  }
  closeSync(fd);
});

t.test('bad arguments throw, never crash', async (t) => {
  const { channel, fd } = loopBack(t);
  const start = addon.fuseStart as (...args: unknown[]) => unknown;
  const buffer = Buffer.alloc(BUFFER_BYTES);
  const never = (): void => void t.fail('a callback of a refused call');
  for (const args of [
    [],
    [fd, buffer, never],
    [fd, buffer, never, null],
    [fd, buffer, 1, never],
    [fd, Buffer.alloc(BUFFER_BYTES - 1), never, never],
    [fd, new Uint16Array(BUFFER_BYTES), never, never],
    [fd, null, never, never],
    [-1, buffer, never, never],
    ['3', buffer, never, never],
    [2 ** 31, buffer, never, never],
  ]) {
    t.throws(() => start(...args), { code: 'EINVAL', errno: -22 });
  }
  const file = openSync(new URL(import.meta.url), 'r');
  t.throws(() => start(file, buffer, never, never), { code: 'EPERM', syscall: 'epoll_ctl' }, 'a file cannot be polled');
  closeSync(file);
  t.throws(() => start(999_999, buffer, never, never), { code: 'EBADF', syscall: 'epoll_ctl' });
  t.throws(() => start(fd, buffer, never, never), { code: 'EEXIST' }, 'one channel for each descriptor');

  const call = (name: keyof FuseChannel, ...args: unknown[]): void => {
    t.throws(() => (channel[name] as (...args: unknown[]) => unknown).apply(channel, args), { code: 'EINVAL' }, name);
  };
  call('send');
  call('send', buffer);
  call('send', []);
  call('send', [Buffer.alloc(15)]);
  call('send', [Buffer.alloc(16), 'text']);
  call('send', Array(1025).fill(Buffer.alloc(1)));
  call('sendBytes', buffer);
  call('sendBytes', [buffer], 16);
  call('sendBytes', buffer, 15);
  call('sendBytes', buffer, BUFFER_BYTES + 1);
  call('sendBytes', buffer, Number.NaN);
  call('sendBytes', Buffer.alloc(15), 16);
  call('sendFile', 1, fd, 0, 10);
  call('sendFile', -1n, fd, 0, 10);
  call('sendFile', 2n ** 64n, fd, 0, 10);
  call('sendFile', 1n, -1, 0, 10);
  call('sendFile', 1n, fd, -1, 10);
  call('sendFile', 1n, fd, 2 ** 53 - 1, 10);
  call('sendFile', 1n, fd, 0, -1);
  call('sendFile', 1n, fd, 0, (16 << 20) + 1);
  call('sendFile', 1n, fd, 0);
  call('openBacking');
  call('openBacking', -1);
  call('openBacking', 1.5);
  call('closeBacking', 0);
  call('closeBacking', 2 ** 31);
  call('closeBacking', '1');

  const stop = channel.stop;
  for (const receiver of [undefined, null, 1, {}, Object.create(channel), new Proxy(channel, {}), addon]) {
    t.throws(() => stop.call(receiver as never), 'not a channel');
  }
  const forged = new (channel.constructor as new () => FuseChannel)();
  t.throws(() => forged.stop(), { code: 'EINVAL' }, 'nor is one that was not started');
});
