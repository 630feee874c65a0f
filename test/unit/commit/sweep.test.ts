/** Shards that no row knows: found after a restart, removed by the collector, and never what somebody is about to name. */
import t from 'tap';
import { Collector } from '../../../src/commit/collector.js';
import { Sweep } from '../../../src/commit/sweep.js';
import { content } from '../chunks/fixture.js';
import { Machine, type Run } from './simulated-pool.js';

interface Cleaning {
  readonly collector: Collector;
  readonly sweep: Sweep;
  readonly log: string[];
}

function cleaning(run: Run, options: { suspect?: (chunks: readonly string[]) => boolean } = {}): Cleaning {
  const log: string[] = [];
  const collector = new Collector({
    meta: run.meta,
    chunks: run.chunks,
    journal: run.log,
    disks: run,
    clock: run.clock,
    options: { everyMs: 10_000, graceMs: 30_000 },
    pinned: () => new Set(),
    onRemoved: () => undefined,
    rest: async () => {},
    log: (message) => log.push(message),
  });
  const sweep = new Sweep({
    meta: run.meta,
    chunks: run.chunks,
    collector: options.suspect === undefined ? collector : { suspect: options.suspect },
    clock: run.clock,
    disks: run.disks,
    allOnline: () => run.missing().length === 0,
    log: (message) => log.push(message),
  });
  return { collector, sweep, log };
}

const holders = (run: Run, chunk: string): number =>
  run.disks.reduce((sum, disk) => sum + disk.findAnywhere(chunk).length, 0);

/** A machine that stopped after the pipeline had stored chunks for a commit that never came. */
async function withLeftovers(small: number): Promise<{ machine: Machine; kept: number[]; left: string[]; first: Run }> {
  const machine = await new Machine().create();
  const first = await machine.start();
  const kept: number[] = [];
  for (let i = 0; i < 3; i++) kept.push(await first.commit());
  const bytes = content(150_000, 77);
  kept.push(first.writer.stage(bytes, await first.chunks.store({ kind: 'bytes', bytes }, () => undefined)));
  await first.settle();
  await first.settle();
  const sources = Array.from({ length: small }, (_, i) => content(600, 5000 + i));
  const stored = await first.chunks.storeSmall(sources);
  const large = await first.chunks.store({ kind: 'bytes', bytes: content(140_000, 4) }, () => undefined);
  for (const disk of first.disks) await disk.sync();
  machine.io.crash();
  return { machine, kept, left: [large.chunk, ...stored.map(({ chunk }) => chunk)], first };
}

t.test('what a crash left behind is found and removed; what is named stays', async (t) => {
  const { machine, kept, left, first } = await withLeftovers(700);
  const run = await machine.start();
  const before = run.disks.map((disk) => disk.space().liveBytes);
  const { collector, sweep, log } = cleaning(run);
  t.equal(await sweep.finish(), true);
  for (const chunk of left) t.ok(holders(run, chunk) > 0, 'a sweep removes nothing');
  await collector.run();
  t.ok(left.every((chunk) => holders(run, chunk) === 0));
  for (const [i, disk] of run.disks.entries()) t.ok(disk.space().liveBytes < before[i]!);
  for (const ino of kept) t.ok(first.writer.files.get(ino)?.equals((await run.read(ino))!));
  t.strictSame(log, []);
  await run.stop();
  const again = await machine.start();
  t.ok(
    left.every((chunk) => holders(again, chunk) === 0),
    'also after the next start',
  );
  await again.stop();
});

t.test('what is stored again while the sweep goes is not removed, whenever that happens', async (t) => {
  const bytes = content(140_000, 4);
  for (const moment of ['before the sweep', 'after the sweep', 'while it is collected'] as const) {
    const { machine, left } = await withLeftovers(3);
    const run = await machine.start();
    const { collector, sweep } = cleaning(run);
    const ino = 900;
    run.writer.nextIno = ino;
    const stage = async (): Promise<void> => {
      run.writer.stage(bytes, await run.chunks.store({ kind: 'bytes', bytes }, () => undefined));
    };
    if (moment === 'before the sweep') await stage();
    await sweep.finish();
    if (moment === 'after the sweep') await stage();
    const collected = collector.run();
    if (moment === 'while it is collected') await stage();
    await collected;
    await run.log.request();
    await run.settle();
    t.equal(run.chunks.health(left[0]!).health, 'healthy', moment);
    t.ok(bytes.equals((await run.read(ino))!), moment);
    t.ok(left.slice(1).every((chunk) => holders(run, chunk) === 0));
    await run.stop();
    machine.io.crash();
    const again = await machine.start({ without: [1] });
    t.ok(bytes.equals((await again.read(ino))!), moment);
    await again.stop();
  }
});

t.test('with a disk away nothing is swept, and with too many away nothing is collected', async (t) => {
  const { machine, left } = await withLeftovers(3);
  const run = await machine.start({ without: [3] });
  const { collector, sweep } = cleaning(run);
  t.equal(await sweep.finish(), false);
  t.equal(sweep.canGoOn, false);
  await collector.run(true);
  t.ok(left.every((chunk) => holders(run, chunk) > 0));
  await run.stop();
  const alone = await machine.start({ without: [2, 3], meta: run.meta, tooMany: 'two are missing' });
  const cleaner = cleaning(alone);
  cleaner.collector.suspect(left);
  await cleaner.collector.run(true);
  t.ok(left.some((chunk) => holders(alone, chunk) > 0));
  await alone.stop();
});

t.test('a disk that missed a collection is swept when it is back', async (t) => {
  const machine = await new Machine().create();
  const first = await machine.start();
  const bytes = content(150_000, 1);
  const { chunk } = await first.chunks.store({ kind: 'bytes', bytes }, () => undefined);
  await first.stop();
  const without = await machine.start({ without: [3] });
  await without.chunks.collect([chunk]);
  for (const disk of without.disks) await disk.sync();
  await without.stop();
  const run = await machine.start();
  t.equal(holders(run, chunk), 1, 'disk 3 still has its shard');
  const { collector, sweep } = cleaning(run);
  await sweep.finish();
  await collector.run();
  t.equal(holders(run, chunk), 0);
  await run.stop();
});

t.test('it goes on in the background, waits where the collector has enough, and ends when it is closed', async (t) => {
  const { machine, left } = await withLeftovers(600);
  const run = await machine.start();
  const given: string[] = [];
  let takes = true;
  const { sweep } = cleaning(run, {
    suspect: (chunks) => {
      if (takes) given.push(...chunks);
      return takes;
    },
  });
  const turn = async (ms: number): Promise<void> => {
    run.clock.advance(ms);
    for (let i = 0; i < 600; i++) await new Promise(setImmediate);
  };
  sweep.start();
  t.strictSame(given, [], 'not at once');
  await turn(20);
  const some = given.length;
  t.ok(some > 0 && some <= 256, `${some} in the first slice`);
  takes = false;
  await turn(20);
  await turn(20);
  t.equal(given.length, some);
  takes = true;
  await turn(10_000);
  t.ok(given.length > some, 'the slice that was not taken comes again');
  for (let i = 0; i < 30; i++) await turn(20);
  t.strictSame(new Set(given), new Set(left));
  t.equal(run.clock.waiting, 0, 'and then it is over');
  await sweep.close();
  const closed = cleaning(run);
  closed.sweep.start();
  await closed.sweep.close();
  t.equal(run.clock.waiting, 0);
  t.equal(await closed.sweep.finish(), false);
  await run.stop();
});

t.test('a disk whose index cannot be read ends its own walk, not that of the others', async (t) => {
  const { machine, left } = await withLeftovers(3);
  const run = await machine.start();
  run.disk(1).walk = () => {
    throw new Error('the index cannot be read');
  };
  const { collector, sweep, log } = cleaning(run);
  t.equal(await sweep.finish(), true);
  t.match(log, [/unknown data on the disk at \/disk1 ended early: .*index/]);
  await collector.run();
  t.equal(holders(run, left[0]!), 0, 'the others tell of the same chunks');
  await run.stop();
});
