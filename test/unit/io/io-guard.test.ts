/** A device that stops answering: who is told, when, and what happens when it answers after all. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { deviceActivity } from '../../../src/io/device-activity.js';
import type { IoFile } from '../../../src/io/file-io.js';
import { GuardedFileIo } from '../../../src/io/guarded-file-io.js';
import { IoGuard } from '../../../src/io/io-guard.js';
import { NodeFileIo } from '../../../src/io/node-file-io.js';
import { fileIoSuite } from '../../conformance/file-io.js';
import { ManualClock } from '../cache/manual-clock.js';

class Bench {
  readonly clock = new ManualClock();
  readonly hangs: string[] = [];
  readonly guard: IoGuard;
  canSpare = true;
  finished: string | undefined = '0';

  constructor() {
    this.guard = new IoGuard({
      clock: this.clock,
      name: 'the device',
      mayHang: () => this.canSpare,
      onHang: (reason) => this.hangs.push(reason),
    });
    this.guard.activity = () => this.finished;
  }

  /** Lets seconds pass one after the other, each seen by the guard. */
  pass(seconds: number, each = (): void => undefined): void {
    for (let second = 0; second < seconds; second++) {
      this.clock.advance(1000);
      each();
    }
  }
}

interface Stuck {
  readonly answer: Promise<void>;
  end(): void;
}

function stuck(guard: IoGuard, onLate?: () => void): Stuck {
  let end = (): void => undefined;
  const job = new Promise<void>((resolve) => {
    end = resolve;
  });
  const answer = guard.run(() => job, onLate);
  answer.catch(() => undefined);
  return { answer, end: () => end() };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

t.test(
  'who waits for a device that hangs is told after 15 s, and others are refused at once until it has answered',
  async (t) => {
    const bench = new Bench();
    const { guard } = bench;
    let late = 0;
    const first = stuck(guard, () => late++);
    const second = stuck(guard);
    bench.pass(1);
    t.equal(guard.isBehind, false);
    bench.pass(13);
    t.equal(guard.isBehind, true);
    t.same(bench.hangs, []);
    bench.pass(1);
    t.same(bench.hangs, ['the device has not answered for 15 s']);
    await t.rejects(first.answer, { code: 'IO', message: 'the device has not answered for 15 s' });
    await t.rejects(second.answer, { code: 'IO' });
    let begun = false;
    await t.rejects(
      guard.run(async () => {
        begun = true;
      }),
      { code: 'IO' },
    );
    t.equal(begun, false);
    let answered = false;
    const waiting = guard.answered().then(() => {
      answered = true;
    });
    first.end();
    await settled();
    t.equal(late, 1, 'what comes late is handed over');
    t.equal(answered, false, 'the second is still under way');
    t.not(guard.hang, undefined);
    second.end();
    await waiting;
    t.equal(guard.hang, undefined);
    t.equal(await guard.run(async () => 7), 7);
    t.equal(bench.hangs.length, 1);
  },
);

t.test('four jobs at once; the others wait in their order, and fail with those that hang', async (t) => {
  const bench = new Bench();
  const { guard } = bench;
  const running = [1, 2, 3, 4].map(() => stuck(guard));
  const order: number[] = [];
  const waiting = [5, 6].map((number) => guard.run(async () => order.push(number)));
  let released = false;
  await settled();
  t.same(order, []);
  running[0]!.end();
  await Promise.all(waiting);
  t.same(order, [5, 6]);
  running.push(stuck(guard));
  const never = guard.run(async () => order.push(7));
  never.catch(() => undefined);
  const release = guard.release(async () => {
    released = true;
  });
  bench.pass(20);
  await t.rejects(never, { code: 'IO' });
  await release;
  t.same(order, [5, 6]);
  t.equal(released, true, 'what gives something back is begun all the same');
  for (const job of running) job.end();
  await guard.answered();
});

t.test('a device that finishes other things works, however long a job takes', async (t) => {
  const bench = new Bench();
  const job = stuck(bench.guard);
  let count = 0;
  bench.pass(300, () => {
    bench.finished = String(++count);
  });
  t.same(bench.hangs, []);
  bench.pass(14);
  t.same(bench.hangs, []);
  bench.pass(2);
  t.equal(bench.hangs.length, 1, 'until it finishes nothing any more');
  job.end();
});

t.test('where nothing is known of the device, 30 s', async (t) => {
  const bench = new Bench();
  bench.finished = undefined;
  const job = stuck(bench.guard);
  bench.pass(29);
  t.same(bench.hangs, []);
  bench.pass(1);
  t.same(bench.hangs, ['the device has not answered for 30 s']);
  job.end();
});

t.test('a device that cannot be done without is waited for', async (t) => {
  const bench = new Bench();
  bench.canSpare = false;
  const job = stuck(bench.guard);
  bench.pass(100);
  t.same(bench.hangs, []);
  job.end();
  await job.answer;
  const another = stuck(bench.guard);
  bench.pass(50);
  bench.canSpare = true;
  bench.pass(1);
  t.equal(bench.hangs.length, 1, 'until it can');
  another.end();
});

t.test('a process that stood still does not blame the device', async (t) => {
  const bench = new Bench();
  const job = stuck(bench.guard);
  bench.clock.advance(600_000);
  t.same(bench.hangs, []);
  job.end();
  await job.answer;
  bench.pass(1);
  t.equal(bench.clock.waiting, 0, 'no timer without a job');
});

t.test('a device is knocked at: it answers, with an error too, or it hangs', async (t) => {
  const bench = new Bench();
  let knock = async (): Promise<void> => undefined;
  const file = { path: '/lock', write: () => knock(), close: async () => undefined } as unknown as IoFile;
  const io = new GuardedFileIo({ open: async () => file } as unknown as NodeFileIo, bench.guard);
  t.equal(await io.answers('/lock'), true);
  knock = () => Promise.reject(new Error('no room'));
  t.equal(await io.answers('/lock'), true);
  let end = (): void => undefined;
  knock = () =>
    new Promise((resolve) => {
      end = resolve;
    });
  const asked = io.answers('/lock');
  let isHung = false;
  const hung = bench.guard.hung().then(() => {
    isHung = true;
  });
  await settled();
  bench.pass(14);
  await settled();
  t.equal(isHung, false);
  bench.pass(1);
  t.equal(await asked, false);
  await hung;
  t.equal(await io.answers('/lock'), false, 'refused at once');
  await bench.guard.hung();
  end();
  await bench.guard.answered();
  knock = async () => undefined;
  t.equal(await io.answers('/lock'), true);
});

t.test('a file is closed when its last late job has ended', async (t) => {
  const bench = new Bench();
  const events: string[] = [];
  let end = (): void => undefined;
  const file = {
    path: '/file',
    lend: async () => {
      await new Promise<void>((resolve) => {
        end = resolve;
      });
      events.push('late write');
    },
    close: async () => void events.push('closed'),
  } as unknown as IoFile;
  const inner = { open: async () => file } as unknown as NodeFileIo;
  const opened = await new GuardedFileIo(inner, bench.guard).open('/file', {});
  const lent = opened.lend!(async () => undefined);
  lent.catch(() => undefined);
  await settled();
  bench.pass(15);
  await t.rejects(lent, { code: 'IO' });
  await opened.close();
  end();
  await bench.guard.answered();
  // The guard begins the close at once; the file itself waits for its jobs (node-file.ts).
  t.ok(events.includes('closed') && events.includes('late write'));
});

t.test('a real file lent to somebody else is closed after that', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'cairn-guard-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const io = new NodeFileIo();
  const file = await io.open(join(directory, 'file'), { create: true });
  let end = (): void => undefined;
  const lent = file.lend!(
    () =>
      new Promise<void>((resolve) => {
        end = resolve;
      }),
  );
  let isClosed = false;
  const closing = file.close().then(() => {
    isClosed = true;
  });
  await io.exists(directory);
  t.equal(isClosed, false);
  end();
  await Promise.all([lent, closing]);
  t.equal(isClosed, true);
});

t.test('what a device has finished can be asked for', async (t) => {
  const activity = await deviceActivity(tmpdir());
  t.ok(['string', 'undefined'].includes(typeof activity()));
  t.equal((await deviceActivity('/proc'))(), undefined, 'no device');
  await t.rejects(deviceActivity('/nowhere at all'), { code: 'ENOENT' });
});

t.test('conformance', async (t) =>
  fileIoSuite(t, async (t) => ({ io: new GuardedFileIo(new NodeFileIo(), new Bench().guard), root: t.testdir() })),
);
