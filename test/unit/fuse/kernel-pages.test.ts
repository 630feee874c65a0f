import { setImmediate } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { CairnError } from '../../../src/errors/cairn-error.js';
import { Opcode } from '../../../src/fuse/protocol.js';
import type { OpenMode, Result, Vfs } from '../../../src/vfs/vfs.js';
import { FakeClock } from '../cli/fake-pool.js';
import { bodyOf, type FakeKernel, initBody, withKernel } from './fake-channel.js';
import { FakeVfs } from './fake-vfs.js';

const ROOT = 1;
/** An inode that the vfs has forgotten. */
const REMOVED = 77;
const O_WRONLY = 1;
const O_RDWR = 2;
const WRITE_CACHE = 1;
const SEEK_DATA = 3;
const MTIME_CTIME_FH = (1 << 5) | (1 << 10) | (1 << 6);
const ENOSPC = -28;
const ESTALE = -116;

interface Parts {
  readonly kernel: FakeKernel;
  readonly vfs: FakeVfs;
  readonly clock: FakeClock;
  /** syncfs that have been asked for and not ended: each is ended by calling it. */
  readonly syncs: ((error: Error | null) => void)[];
  /** What a write answers with; undefined: it is made at once. */
  readonly behaviour: { write: (() => Result<number>) | undefined };
  readonly modes: OpenMode[];
  /** Of each write, whether times are told apart. */
  readonly isLate: (boolean | undefined)[];
}

function mounted(name: string, writeback: boolean, test: (t: Test, parts: Parts) => Promise<void>): void {
  t.test(name, async (t) => {
    const vfs = FakeVfs.until(t);
    const clock = new FakeClock();
    const syncs: Parts['syncs'] = [];
    const behaviour: Parts['behaviour'] = { write: undefined };
    const modes: OpenMode[] = [];
    const isLate: (boolean | undefined)[] = [];
    const watched = new Proxy<Vfs>(vfs, {
      get(target, property) {
        const method: unknown = Reflect.get(target, property);
        if (typeof method !== 'function') return method;
        return (...given: unknown[]) => {
          if (property === 'setattr' && given[0] === REMOVED) throw new CairnError('STALE', 'removed');
          if (property === 'open') modes.push(given[1] as OpenMode);
          if (property === 'write') {
            isLate.push(given[5] as boolean | undefined);
            if (behaviour.write !== undefined) return behaviour.write();
          }
          return Reflect.apply(method, target, given) as unknown;
        };
      },
    });
    const pages = { writeback, clock, sync: (done: (error: Error | null) => void) => void syncs.push(done) };
    const run = async (kernel: FakeKernel) => {
      await kernel.ask(Opcode.INIT, 0, initBody());
      t.equal(kernel.session.isWriteback, writeback);
      await test(t, { kernel, vfs, clock, syncs, behaviour, modes, isLate });
    };
    await withKernel(watched, run, undefined, pages);
  });
}

async function create(kernel: FakeKernel, name: string, flags = O_RDWR): Promise<{ ino: number; handle: bigint }> {
  const { body } = await kernel.ask(Opcode.CREATE, ROOT, bodyOf(flags, 0o100644, 0, 0, name));
  return { ino: Number(body.readBigUInt64LE(0)), handle: body.readBigUInt64LE(128) };
}

function writeBody(handle: bigint, bytes: string, writeFlags = WRITE_CACHE, offset = 0n): Buffer {
  return bodyOf(handle, offset, bytes.length, writeFlags, 0n, 0, 0, Buffer.from(bytes));
}

/** What a thread of ours does that calls syncfs: the directory that it opens, and closes. */
async function openDirectory(kernel: FakeKernel, pid = process.pid): Promise<bigint> {
  return (await kernel.ask(Opcode.OPENDIR, ROOT, bodyOf(0, 0), 0, pid)).body.readBigUInt64LE(0);
}

async function closeDirectory(kernel: FakeKernel, handle: bigint): Promise<void> {
  await kernel.ask(Opcode.RELEASEDIR, ROOT, bodyOf(handle, 0, 0, 0n));
}

/** True once `promise` has ended; what is under way may go on before. */
function watch(promise: Promise<unknown>): () => Promise<boolean> {
  let hasEnded = false;
  const end = () => {
    hasEnded = true;
  };
  promise.then(end, end);
  return async () => {
    for (let i = 0; i < 10; i++) await setImmediate();
    return hasEnded;
  };
}

mounted(
  'all is handed over when the directory of the syncfs is released, and every WRITE has ended',
  true,
  async (t, p) => {
    const { kernel, syncs, behaviour } = p;
    const { ino, handle } = await create(kernel, 'a');
    let end = (_length: number): void => {};
    const handedOver = kernel.session.handOver();
    const isOver = watch(handedOver);
    const directory = await openDirectory(kernel);
    const others = await openDirectory(kernel, 1);
    syncs[0]!(null);
    t.notOk(await isOver(), 'syncfs does not wait for what it has begun');
    await closeDirectory(kernel, others);
    t.notOk(await isOver(), 'the directory of somebody else');
    behaviour.write = () =>
      new Promise((resolve) => {
        end = resolve;
      });
    const written = kernel.ask(Opcode.WRITE, ino, writeBody(handle, 'bytes'));
    await closeDirectory(kernel, directory);
    t.notOk(await isOver(), 'a WRITE waits for room');
    end(5);
    await handedOver;
    t.equal((await written).error, 0);
    t.equal(syncs.length, 1);
  },
);

mounted('who asks later gets a syncfs that began later, and shares it', true, async (t, { kernel, syncs }) => {
  const first = kernel.session.handOver();
  const [second, third] = [kernel.session.handOver(), kernel.session.handOver()];
  t.equal(syncs.length, 1);
  const run = async (at: number) => {
    const directory = await openDirectory(kernel);
    await closeDirectory(kernel, directory);
    syncs[at]!(null);
  };
  await run(0);
  await first;
  const isOver = watch(Promise.all([second, third]));
  t.notOk(await isOver());
  t.equal(syncs.length, 2);
  await run(1);
  t.ok(await isOver());
  const last = kernel.session.handOver();
  await run(2);
  await last;
});

mounted(
  'errors of the pages are for their writers; that nothing could be asked is said',
  true,
  async (t, { kernel, syncs }) => {
    const failing = kernel.session.handOver();
    const directory = await openDirectory(kernel);
    await closeDirectory(kernel, directory);
    syncs[0]!(new Error('EIO'));
    await failing;
    const refused = kernel.session.handOver();
    syncs[1]!(new Error('EACCES, open'));
    await t.rejects(refused, { code: 'IO', message: /could not be asked .* EACCES/, hint: /again/ });
  },
);

mounted('without the cache nobody is refused for it, and nothing is asked by itself', false, async (t, p) => {
  const { kernel, syncs, clock, modes, isLate } = p;
  const refused = kernel.session.handOver();
  syncs[0]!(new Error('EACCES, open'));
  await refused;
  const { ino, handle } = await create(kernel, 'a');
  clock.advance(60_000);
  t.equal(syncs.length, 1);
  await kernel.ask(Opcode.WRITE, ino, writeBody(handle, 'mapped'));
  t.same(isLate, [undefined], 'times are ours');
  await kernel.ask(Opcode.OPEN, ino, bodyOf(O_WRONLY, 0));
  t.match(modes.at(-1), { read: false, write: true });
});

mounted('about every second while a file is open for writing', true, async (t, { kernel, syncs, clock }) => {
  const pass = async () => {
    const directory = await openDirectory(kernel);
    await closeDirectory(kernel, directory);
    syncs.at(-1)!(null);
    await watch(Promise.resolve())();
  };
  clock.advance(60_000);
  t.equal(syncs.length, 0, 'nothing is open');
  const { ino, handle } = await create(kernel, 'a', O_WRONLY);
  const opened = await kernel.ask(Opcode.OPEN, ino, bodyOf(O_RDWR, 0));
  await kernel.ask(Opcode.OPEN, ino, bodyOf(0, 0));
  clock.advance(1000);
  t.equal(syncs.length, 1);
  clock.advance(60_000);
  t.equal(syncs.length, 1, 'not before the last one has ended');
  await pass();
  clock.advance(1000);
  t.equal(syncs.length, 2);
  await pass();
  await kernel.ask(Opcode.RELEASE, ino, bodyOf(handle, 0, 0, 0n));
  clock.advance(1000);
  t.equal(syncs.length, 3, 'another handle may write');
  await pass();
  await kernel.ask(Opcode.RELEASE, ino, bodyOf(opened.body.readBigUInt64LE(0), 0, 0, 0n));
  clock.advance(60_000);
  t.equal(syncs.length, 3, 'only read');
});

mounted(
  'a late WRITE: by any handle, where it says, without times of its own; what it cannot store is told',
  true,
  async (t, p) => {
    const { kernel, vfs, behaviour, modes, isLate } = p;
    const { ino, handle } = await create(kernel, 'a', O_WRONLY);
    await kernel.ask(Opcode.WRITE, ino, writeBody(handle, 'bytes', WRITE_CACHE, 3n));
    t.equal(vfs.bytes(ino).toString(), '\0\0\0bytes');
    t.equal(
      (await kernel.ask(Opcode.READ, ino, bodyOf(handle, 3n, 5, 0, 0n, 0, 0))).body.toString(),
      'bytes',
      'the rest of a page',
    );
    await kernel.ask(Opcode.OPEN, ino, bodyOf(O_WRONLY, 0));
    t.match(modes.at(-1), { read: true, write: true, noAccessTime: true });
    await kernel.ask(Opcode.WRITE, ino, bodyOf(handle, 0n, 1, 0, 0n, O_WRONLY | 0o2000, 0, Buffer.from('x')));
    t.equal(vfs.bytes(ino).toString(), 'x\0\0bytes', 'the kernel knows the end');
    t.same(isLate, [true, true]);
    t.equal(kernel.session.finding, undefined);
    const full = new CairnError('NO_SPACE', 'the pool is full');
    behaviour.write = () => {
      throw full;
    };
    t.equal((await kernel.ask(Opcode.WRITE, ino, writeBody(handle, 'at once'))).error, ENOSPC);
    behaviour.write = () => Promise.reject(full);
    t.equal((await kernel.ask(Opcode.WRITE, ino, writeBody(handle, 'later'))).error, ENOSPC);
    t.match(kernel.session.finding, /^1 KiB .* \(the pool is full\)/);
    t.same(kernel.logged, ['bytes that programs had written could not be stored: fsync or close tells them'], 'once');
    t.equal((await kernel.ask(Opcode.WRITE, ino, writeBody(handle, 'direct', 0))).error, ENOSPC);
    t.match(kernel.session.finding, /^1 KiB/, 'whoever writes directly is told');
  },
);

mounted('SEEK_DATA waits for what the kernel has; a removed file may be given its time', true, async (t, p) => {
  const { kernel, syncs } = p;
  const { ino, handle } = await create(kernel, 'a');
  const sought = kernel.ask(Opcode.LSEEK, ino, bodyOf(handle, 2n, SEEK_DATA, 0));
  t.equal(syncs.length, 1);
  const directory = await openDirectory(kernel);
  await kernel.ask(Opcode.WRITE, ino, writeBody(handle, 'bytes'));
  await closeDirectory(kernel, directory);
  syncs[0]!(null);
  t.equal((await sought).body.readBigUInt64LE(0), 2n);
  await kernel.ask(Opcode.RELEASE, ino, bodyOf(handle, 0, 0, 0n));
  const reader = (await kernel.ask(Opcode.OPEN, ino, bodyOf(0, 0))).body.readBigUInt64LE(0);
  t.equal((await kernel.ask(Opcode.LSEEK, ino, bodyOf(reader, 0n, SEEK_DATA, 0))).error, 0);
  t.equal(syncs.length, 1, 'nobody writes');

  const setattr = (valid: number, of: number) => kernel.ask(Opcode.SETATTR, of, bodyOf(valid, 0, new Uint8Array(80)));
  t.equal((await setattr(MTIME_CTIME_FH, REMOVED)).error, 0);
  t.equal((await setattr(MTIME_CTIME_FH | 1, REMOVED)).error, ESTALE, 'a mode is asked for by somebody');
  t.equal((await setattr(MTIME_CTIME_FH, ino)).error, 0);
});

mounted('an unmount waits for the directory of a syncfs, and none is opened meanwhile', true, async (t, p) => {
  const { kernel, syncs, clock } = p;
  await create(kernel, 'a');
  clock.advance(1000);
  const directory = await openDirectory(kernel);
  const steps: string[] = [];
  const unmounted = kernel.session.holding(async () => {
    steps.push('unmount');
    await kernel.session.handOver();
    t.equal(syncs.length, 1);
    throw new CairnError('BUSY', 'a program has a file open');
  });
  const isOver = watch(unmounted);
  t.notOk(await isOver());
  t.same(steps, []);
  await closeDirectory(kernel, directory);
  syncs[0]!(null);
  await t.rejects(unmounted, { code: 'BUSY' });
  void kernel.session.handOver();
  await watch(Promise.resolve())();
  t.equal(syncs.length, 2, 'it goes on');
  syncs[1]!(null);
});

t.test('an unmount ends what waits for the kernel', async (t) => {
  const syncs: ((error: Error | null) => void)[] = [];
  const pages = {
    writeback: true,
    clock: new FakeClock(),
    sync: (done: (error: Error | null) => void) => void syncs.push(done),
  };
  let waiting: Promise<void> | undefined;
  const run = async (kernel: FakeKernel) => {
    await kernel.ask(Opcode.INIT, 0, initBody());
    waiting = kernel.session.handOver();
    await openDirectory(kernel);
    syncs[0]!(null);
  };
  await withKernel(FakeVfs.until(t), run, undefined, pages);
  await waiting;
});
