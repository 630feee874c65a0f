/** A disk that does not answer: the pool goes on without it, nobody is failed, and it is taken in again when it answers. */
import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Clock, SystemClock, type Timer } from '../../../src/io/clock.js';
import type { DiskReport } from '../../../src/vfs/reports.js';
import { FaultyMachine } from '../vfs/faulty-machine.js';
import { PoolFixture } from '../vfs/pool-fixture.js';

const KIB = 1024;

const alive = setInterval(() => {}, 1000);
t.teardown(() => clearInterval(alive));

/** Timers of up to a second come when they are due, or when the test says so. */
class HurriedClock extends SystemClock {
  readonly #timers = new Set<() => void>();

  override after(delayMs: number, task: () => void): Timer {
    if (delayMs > 1000) return super.after(delayMs, task);
    const run = (): void => {
      if (!this.#timers.delete(run)) return;
      timer.cancel();
      task();
    };
    const timer = super.after(delayMs, run);
    this.#timers.add(run);
    return {
      cancel: () => {
        this.#timers.delete(run);
        timer.cancel();
      },
    };
  }

  second(): void {
    for (const run of [...this.#timers]) run();
  }
}

class HangingMachine extends FaultyMachine {
  readonly hurried = new HurriedClock();
  override readonly clock: Clock = this.hurried;

  leftThreads = 0;

  override leaveThreads(): void {
    this.leftThreads += 1;
  }

  /** A device of which the kernel tells that it finishes nothing. */
  override async deviceActivity(): Promise<() => string> {
    return () => '';
  }
}

async function disk(fixture: PoolFixture, number: number): Promise<DiskReport> {
  return (await fixture.pool.control.status()).disks.find((one) => one.number === number)!;
}

/** Lets time pass until it is so. */
async function until(machine: HangingMachine, isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) {
    machine.hurried.second();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function reached(machine: HangingMachine): Promise<void> {
  while (machine.stalled === 0) await new Promise((resolve) => setTimeout(resolve, 5));
}

async function read(fixture: PoolFixture, path: string): Promise<Buffer> {
  const file = await fixture.pool.openFile(path);
  const bytes = await file.read(0, 1024 * KIB);
  await file.close();
  return bytes;
}

async function returns(t: Test, fixture: PoolFixture, machine: HangingMachine, number: number): Promise<void> {
  await until(machine, async () => {
    await fixture.pool.parts.watch.look();
    return (await disk(fixture, number)).state === 'online';
  });
  t.equal((await disk(fixture, number)).reason, '');
}

t.test(
  'strong syncs, large and small, succeed without a disk that hangs, and it is taken in again when it answers',
  async (t) => {
    const machine = new HangingMachine();
    const fixture = await PoolFixture.create(t, { machine, mode: 'strong', commitDelayMs: 3_600_000 });
    const files = new Map<string, Buffer>();
    const put = async (path: string, size: number): Promise<void> => {
      const bytes = randomBytes(size);
      files.set(path, bytes);
      const file = await fixture.pool.openFile(path, 'w');
      await file.write(0, bytes);
      await file.flush();
      await file.close();
    };
    await put('/before', 300 * KIB);

    for (const [round, size] of [3 * KIB, 500 * KIB].entries()) {
      const answer = machine.hang(/disk3/);
      t.teardown(answer);
      const putting = put(`/while ${round}`, size);
      await reached(machine);
      await until(machine, async () => (await disk(fixture, 3)).state === 'offline');
      await putting;
      t.match((await disk(fixture, 3)).reason, /the device of .*disk3 has not answered for \d+ s/);
      await put(`/after ${round}`, size);
      t.equal((await fixture.pool.control.status()).health, 'degraded');
      for (const [path, bytes] of files) t.ok(bytes.equals(await read(fixture, path)), path);
      await fixture.pool.parts.watch.look();
      t.equal((await disk(fixture, 3)).state, 'offline', 'it is left alone while calls on it are under way');
      answer();
      await returns(t, fixture, machine, 3);
    }
    await put('/healthy', 500 * KIB);
    t.equal((await fixture.pool.control.state('/healthy')).health, 'healthy');
    await fixture.kill('cache', 'meta');
    for (const [path, bytes] of files) t.ok(bytes.equals(await read(fixture, path)), path);
    const report = await fixture.pool.control.check({ content: true, repair: false }, () => {});
    t.same(
      report.findings.filter(({ severity }) => severity === 'loss'),
      [],
    );
  },
);

t.test('a read is answered from the others when a disk hangs', async (t) => {
  const machine = new HangingMachine();
  const fixture = await PoolFixture.create(t, { machine });
  const bytes = randomBytes(700 * KIB);
  const file = await fixture.pool.openFile('/file', 'w');
  await file.write(0, bytes);
  await file.close();
  await fixture.pool.commit();
  await fixture.kill('cache', 'meta');
  const answer = machine.hang(/disk[1-2].*data/);
  t.teardown(answer);
  const reading = read(fixture, '/file');
  await reached(machine);
  await until(machine, async () =>
    (await fixture.pool.control.status()).disks.some(({ state }) => state === 'offline'),
  );
  // Two hang, one may be lost: the other is waited for.
  for (let second = 0; second < 60; second++) machine.hurried.second();
  const states = (await fixture.pool.control.status()).disks.map(({ state }) => state);
  t.equal(states.filter((state) => state === 'offline').length, 1);
  answer();
  t.ok(bytes.equals(await reading));
  for (const number of [1, 2]) await returns(t, fixture, machine, number);
});

t.test('a pool is closed while a disk hangs', async (t) => {
  const machine = new HangingMachine();
  const fixture = await PoolFixture.create(t, { machine, mode: 'strong', commitDelayMs: 3_600_000 });
  const answer = machine.hang(/disk2/);
  t.teardown(answer);
  const file = await fixture.pool.openFile('/file', 'w');
  await file.write(0, randomBytes(2 * KIB));
  const flushing = file.flush();
  await reached(machine);
  await until(machine, async () => (await disk(fixture, 2)).state === 'offline');
  await flushing;
  await file.close();
  await fixture.pool.close();
  t.pass('without an answer');
  answer();
});

t.test(
  'the index of a disk that has just begun to hang is left alone, since SQLite would wait on the main thread',
  async (t) => {
    const machine = new HangingMachine();
    const fixture = await PoolFixture.create(t, { machine, mode: 'strong', commitDelayMs: 3_600_000 });
    // Logs are written as ever: only what is asked before the index's turn finds that the device hangs.
    const answer = machine.hang(/disk3.lock/);
    t.teardown(answer);
    const file = await fixture.pool.openFile('/file', 'w');
    await file.write(0, randomBytes(300 * KIB));
    await file.flush();
    await reached(machine);
    const indexed = join(fixture.disks[2]!, 'index.sqlite-wal');
    const before = statSync(indexed).size;
    await until(machine, async () => (await disk(fixture, 3)).state === 'offline');
    t.equal(statSync(indexed).size, before);
    await file.write(0, randomBytes(2 * KIB));
    await file.flush();
    answer();
    await returns(t, fixture, machine, 3);
    await file.close();
    t.not(statSync(indexed).size, before, 'written down when it was opened again');
  },
);

t.test('a disk that begins to hang while the pool is closed, or while it is opened, is done without', async (t) => {
  const machine = new HangingMachine();
  const fixture = await PoolFixture.create(t, { machine, commitDelayMs: 3_600_000 });
  const bytes = randomBytes(300 * KIB);
  const file = await fixture.pool.openFile('/file', 'w');
  await file.write(0, bytes);
  await file.close();
  await fixture.pool.commit();
  const passing = async <T>(work: Promise<T>): Promise<T> => {
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    work.then(over, over);
    await until(machine, () => isOver);
    return work;
  };

  const answerClosing = machine.hang(/disk2.lock/);
  t.teardown(answerClosing);
  const closing = fixture.pool.close();
  await reached(machine);
  await passing(closing);
  t.equal(machine.leftThreads, 1, 'the process is told not to wait for them');
  answerClosing();
  // The lock is let go of when the last call on the disk has ended.
  for (;;) {
    await fixture.open();
    if ((await fixture.pool.control.status()).health === 'healthy') break;
    await fixture.pool.close();
  }
  t.equal(machine.leftThreads, 1);
  await fixture.pool.close();

  const answerOpening = machine.hang(/disk2.lock/);
  t.teardown(answerOpening);
  const opening = fixture.open();
  await reached(machine);
  await passing(opening);
  t.match(await disk(fixture, 2), { state: 'missing', reason: /does not answer|has not answered for \d+ s/ });
  t.ok(bytes.equals(await read(fixture, '/file')));
  answerOpening();
  await returns(t, fixture, machine, 2);
});
