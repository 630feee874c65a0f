/** Background jobs: their states, their cursor over pauses and crashes, their order, and how they stand back. Time is moved by hand. */
import t from 'tap';
import { CairnError } from '../../../src/errors/cairn-error.js';
import type { JobContext, JobKind, Json } from '../../../src/jobs/job.js';
import { JobRunner } from '../../../src/jobs/job-runner.js';
import { UserWork } from '../../../src/jobs/user-work.js';
import { ManualClock } from '../cache/manual-clock.js';
import { MemoryFileIo } from '../disks/memory-file-io.js';

const PIECE = 100;

/** Counts to `last`, a piece of 100 bytes and so many milliseconds each; the test lets each piece go. */
class Counting implements JobKind {
  readonly rank: number;
  readonly begun: number[] = [];
  readonly seen: { cursor: Json | undefined; options: Json }[] = [];
  settled = 0;
  pieceMs = 10;
  failAt: number | undefined;

  constructor(
    readonly name: string,
    readonly clock: ManualClock,
    { rank = 5, last = 1000 }: { rank?: number; last?: number } = {},
  ) {
    this.rank = rank;
    this.last = last;
  }

  readonly last: number;

  check(options: Json): void {
    if (options === 'nonsense') throw new CairnError('INVALID', 'that says nothing');
  }

  async run({ cursor, options, total, turn, say }: JobContext): Promise<Json> {
    this.seen.push({ cursor, options });
    total(this.last * PIECE);
    for (let at = typeof cursor === 'number' ? cursor : 0; at < this.last; at++) {
      this.begun.push(at);
      say(`piece ${at}`);
      if (at === this.failAt) throw new CairnError('DISK_FAILED', 'a disk is gone', { hint: 'connect it' });
      this.clock.advance(this.pieceMs);
      await turn(PIECE, at + 1);
    }
    return { counted: this.last };
  }

  async settle(): Promise<void> {
    this.settled += 1;
  }
}

function world(io = new MemoryFileIo()) {
  const clock = new ManualClock();
  const userWork = new UserWork();
  const warnings: string[] = [];
  const log = { info: () => {}, warn: (_: object, line: string) => warnings.push(line), error: () => {} };
  const make = (...kinds: JobKind[]): JobRunner => {
    const runner = new JobRunner({ io, poolDirectory: '/pool', clock, userWork, log });
    for (const kind of kinds) runner.add(kind);
    return runner;
  };
  return { io, clock, userWork, warnings, make };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate);
}

const stateOf = (runner: JobRunner, name: string) => runner.list().find((job) => job.name === name)!;

t.test('a job runs to its end and tells how far it is', async (t) => {
  const { clock, make } = world();
  const kind = new Counting('scrub', clock, { last: 200 });
  const runner = make(kind);
  await runner.open();
  t.match(stateOf(runner, 'scrub'), { state: 'idle', report: null });
  t.match(await runner.start('scrub', { of: 'all' }), { state: 'running', doneBytes: 0 });
  await until(() => kind.begun.length > 100);
  const middle = stateOf(runner, 'scrub');
  t.equal(middle.totalBytes, 20_000);
  t.ok(middle.doneBytes >= 10_000 && middle.doneBytes < 20_000);
  t.equal(middle.bytesPerSecond, 10_000, '100 bytes each 10 ms');
  t.equal(middle.leftMs, (20_000 - middle.doneBytes) / 10);
  t.match(middle.line, /^piece \d+$/);
  await until(() => stateOf(runner, 'scrub').state === 'done');
  t.match(stateOf(runner, 'scrub'), { doneBytes: 20_000, bytesPerSecond: 0, leftMs: null, report: { counted: 200 } });
  t.same(kind.seen, [{ cursor: undefined, options: { of: 'all' } }]);
  t.same(
    kind.begun,
    Array.from({ length: 200 }, (_, i) => i),
  );
  await runner.close();
});

t.test('pause, resume, cancel; what cannot be is refused', async (t) => {
  const { clock, make } = world();
  const kind = new Counting('scrub', clock);
  const runner = make(kind);
  await runner.open();
  await t.rejects(runner.start('dance'), { code: 'NOT_FOUND', hint: /there are: scrub/ });
  await t.rejects(runner.start('scrub', 'nonsense'), { code: 'INVALID' });
  const pace = { fullSpeed: true };
  for (const refused of [
    runner.pause('scrub'),
    runner.resume('scrub'),
    runner.cancel('scrub'),
    runner.setPace('scrub', pace),
  ])
    await t.rejects(refused, { code: 'BUSY' });

  await runner.start('scrub');
  await until(() => kind.begun.length > 10);
  t.match(await runner.pause('scrub'), { state: 'paused' });
  const stopped = kind.begun.length;
  for (let i = 0; i < 20; i++) await new Promise(setImmediate);
  t.equal(kind.begun.length, stopped, 'a paused job does nothing');
  t.match(await runner.setPace('scrub', pace), { state: 'paused', fullSpeed: true }, 'it stays paused');
  t.match(await runner.resume('scrub'), { state: 'running', fullSpeed: true }, 'and goes on at that pace');
  await until(() => kind.begun.length > stopped + 10);
  t.equal(kind.seen[1]?.cursor, kind.begun[stopped], 'it goes on where it was');
  t.equal(new Set(kind.begun).size, kind.begun.length, 'and did nothing twice');
  t.match(await runner.start('scrub', null), { state: 'running' }, 'started once more, it just goes on');
  await t.rejects(runner.start('scrub', 'else'), { code: 'BUSY' });
  t.match(await runner.cancel('scrub'), { state: 'cancelled' });
  await t.rejects(runner.resume('scrub'), { code: 'BUSY' });
  await runner.start('scrub');
  await until(() => kind.seen.length === 3);
  t.equal(kind.seen[2]?.cursor, undefined, 'after a cancel it begins at the start');
  await runner.close();
});

t.test('one that is started in the moment in which it ends runs once more', async (t) => {
  const { clock, make } = world();
  const kind = new Counting('scrub', clock, { last: 3 });
  const runner = make(kind);
  await runner.open();
  for (let i = 1; i <= 3; i++) {
    await runner.start('scrub');
    await until(() => stateOf(runner, 'scrub').state === 'done');
    t.equal(kind.seen.length, i);
  }
  await runner.close();
});

t.test('a job that fails says why, and goes on from its cursor when it is resumed', async (t) => {
  const { clock, make } = world();
  const kind = new Counting('scrub', clock, { last: 50 });
  kind.failAt = 20;
  const runner = make(kind);
  await runner.open();
  await runner.start('scrub');
  await until(() => stateOf(runner, 'scrub').state === 'failed');
  t.equal(stateOf(runner, 'scrub').line, 'a disk is gone; connect it');
  kind.failAt = undefined;
  await runner.resume('scrub');
  await until(() => stateOf(runner, 'scrub').state === 'done');
  t.equal(kind.seen[1]?.cursor, 20);
  await runner.close();
});

t.test('a daemon that ends, or is killed at any moment, leaves a cursor from which the next one goes on', async (t) => {
  const { io, clock, make } = world();
  const kind = new Counting('scrub', clock);
  kind.pieceMs = 3000;
  const runner = make(kind);
  await runner.open();
  await runner.start('scrub');
  await until(() => kind.begun.length > 10);
  // Killed here: nobody says goodbye. Its files are what the power left.
  const done = kind.begun.length;
  io.crash();
  const settled = kind.settled;
  t.ok(settled > 1, 'what is done is made durable before it is noted');

  const next = new Counting('scrub', clock);
  next.pieceMs = 3000;
  const second = make(next);
  await second.open();
  await until(() => next.begun.length > 3);
  const from = Number(next.seen[0]?.cursor);
  t.ok(from > 0 && from <= done, `it goes on from ${from} of ${done}`);
  t.ok(done - from <= 5, 'and repeats ten seconds of work at most');
  await second.pause('scrub');
  await second.close();

  const third = make(new Counting('scrub', clock));
  await third.open();
  t.equal(stateOf(third, 'scrub').state, 'paused', 'a pause outlives the daemon');
  t.ok(stateOf(third, 'scrub').doneBytes > 0, 'and so does the progress');
  await third.resume('scrub');
  await third.close();
  const fourth = new Counting('scrub', clock);
  const last = make(fourth);
  await last.open();
  t.equal(stateOf(last, 'scrub').state, 'running', 'what a clean end interrupted goes on by itself');
  await last.close();
  await runner.close();
});

t.test('a note that cannot be read is as good as none; one that cannot be written costs a warning', async (t) => {
  const { io, clock, warnings, make } = world();
  await io.makeDirectory('/pool/jobs');
  await io.replaceFile('/pool/jobs/scrub.json', Buffer.from('{"format":2}'));
  const kind = new Counting('scrub', clock, { last: 20 });
  const runner = make(kind);
  await runner.open();
  t.equal(stateOf(runner, 'scrub').state, 'idle');
  t.match(warnings, [/cannot be read/]);
  io.replaceFile = async () => {
    throw new CairnError('NO_SPACE', 'full');
  };
  await runner.start('scrub');
  await until(() => stateOf(runner, 'scrub').state === 'done');
  t.equal(warnings.filter((line) => /could not be written down/.test(line)).length, 1, 'said once');
  await runner.close();
});

t.test('one job works at a time, the more urgent one first', async (t) => {
  const { clock, make } = world();
  const scrub = new Counting('scrub', clock, { rank: 9 });
  const repair = new Counting('repair', clock, { rank: 1, last: 30 });
  const runner = make(scrub, repair);
  await runner.open();
  await runner.start('scrub');
  await until(() => scrub.begun.length > 10);
  await runner.start('repair');
  await until(() => stateOf(runner, 'scrub').state === 'waiting');
  const stood = scrub.begun.length;
  await until(() => repair.begun.length === 30);
  t.equal(scrub.begun.length, stood, 'the scrub stood still meanwhile');
  await until(() => scrub.begun.length > stood + 5);
  t.equal(stateOf(runner, 'scrub').state, 'running');
  await runner.start('repair');
  await until(() => stateOf(runner, 'scrub').state === 'waiting');
  t.match(await runner.pause('scrub'), { state: 'paused' }, 'one that waits can be paused');
  await runner.close();
});

t.test('pieces make slices of a millisecond, and the cursor stands behind the last of them', async (t) => {
  const { clock, userWork, make } = world();
  const kind = new Counting('scrub', clock);
  kind.pieceMs = 0.0625;
  const runner = make(kind);
  await runner.open();
  const slices: number[] = [];
  let seen = 0;
  await runner.start('scrub');
  const look = async (): Promise<void> => {
    await new Promise(setImmediate);
    if (kind.begun.length > seen) slices.push(kind.begun.length - seen);
    seen = kind.begun.length;
  };
  while (seen < 500) await look();
  t.ok(slices.length > 500 / 16 / 2, 'the event loop has its turn between two slices');
  t.ok(Math.max(...slices) <= 2 * 16, `${Math.max(...slices)} pieces of a sixteenth at most`);
  // While a user is there each slice has its rest, however small its pieces.
  userWork.count(1);
  await until(() => clock.waiting > 0);
  const { length } = kind.begun;
  clock.advance(9.5);
  await until(() => clock.waiting > 0);
  t.equal(kind.begun.length, length + 16, 'a slice');
  await runner.pause('scrub');
  await runner.resume('scrub');
  await until(() => kind.seen.length === 2);
  t.equal(kind.seen[1]?.cursor, length + 16);
  await runner.close();
});

t.test(
  'work stands back for users: a tenth of the time, no piece begun while one waits, and never nothing',
  async (t) => {
    const { clock, userWork, make } = world();
    const kind = new Counting('scrub', clock, { last: 100_000 });
    const runner = make(kind);
    await runner.open();
    await runner.start('scrub');
    await until(() => kind.begun.length > 50);

    // A user asks for something every millisecond, and has an answer at once.
    const settle = async (): Promise<void> => {
      for (let i = 0; i < 4; i++) await new Promise(setImmediate);
    };
    userWork.count(1);
    await until(() => clock.waiting > 0);
    let begun = kind.begun.length;
    const startMs = clock.monotonicMs();
    for (let i = 0; i < 2000; i++) {
      userWork.count(1);
      clock.advance(1);
      await settle();
    }
    const workedMs = (kind.begun.length - begun) * kind.pieceMs;
    const share = workedMs / (clock.monotonicMs() - startMs);
    t.ok(share > 0.05 && share <= 0.11, `share ${share}`);

    // A user waits for an answer that does not come.
    let answer = (): void => {};
    userWork.count(
      new Promise<void>((resolve) => {
        answer = resolve;
      }),
    );
    await settle();
    begun = kind.begun.length;
    for (let i = 0; i < 1000; i++) {
      clock.advance(1);
      await settle();
    }
    t.ok(kind.begun.length - begun <= 1, 'at most the piece that was about to begin');
    for (let i = 0; i < 5000; i++) {
      clock.advance(1);
      await settle();
    }
    t.ok(kind.begun.length - begun >= 2, 'but something is done all the same');
    answer();

    // Full speed asks nobody, and ends the rest that is being taken: the clock stands still.
    userWork.count(new Promise<void>(() => {}));
    await settle();
    begun = kind.begun.length;
    t.match(await runner.setPace('scrub', { fullSpeed: true }), { state: 'running', fullSpeed: true });
    await until(() => kind.begun.length > begun + 50);
    t.pass('at full speed it goes on without a rest');
    t.match(await runner.setPace('scrub', { fullSpeed: false }), { state: 'running', fullSpeed: false });
    await settle();
    begun = kind.begun.length;
    await settle();
    t.equal(kind.begun.length, begun, 'and gentle again, it rests');
    await runner.close();
  },
);
