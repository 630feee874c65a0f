/** A scrub finds what is damaged on the disks, repairs it from the rest, and names the files; also when it is killed in the middle. `SEED=` replays a run. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { ShardEntry } from '../../../src/disks/record.js';
import { SystemClock } from '../../../src/io/clock.js';
import { decodeJob } from '../../../src/jobs/job-file.js';
import { JobRunner } from '../../../src/jobs/job-runner.js';
import { UserWork } from '../../../src/jobs/user-work.js';
import { SystemMachine } from '../../../src/pool/machine.js';
import { DiskScrub } from '../../../src/repair/disk-scrub.js';
import { readReport, type ScrubReport } from '../../../src/repair/scrub-report.js';
import { ScrubSchedule } from '../../../src/repair/scrub-schedule.js';
import { SeededRandom } from '../../sim/seeded-random.js';
import { ManualClock } from '../cache/manual-clock.js';
import { content } from '../chunks/fixture.js';
import { MemoryFileIo } from '../disks/memory-file-io.js';
import { check, flip, read, shardOf, write } from '../fsck/planted-pool.js';
import { PoolFixture } from '../vfs/pool-fixture.js';
import { until } from './until.js';

const KIB = 1024;
const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`SEED=${seed}`);
const random = new SeededRandom(seed);

/** What passes seems so long that a cursor is written after a few milliseconds of work; timers are as always. */
class FastClock extends SystemClock {
  override monotonicMs(): number {
    return super.monotonicMs() * 1000;
  }
}

class FastMachine extends SystemMachine {
  override readonly clock = new FastClock();
}

/** Files in a few directories, committed: about 150 chunks. */
async function filled(t: Test, machine?: SystemMachine) {
  const fixture = await PoolFixture.create(t, machine === undefined ? {} : { machine });
  const files = new Map<string, Buffer>();
  for (let d = 0; d < 4; d++) {
    await fixture.pool.makeDirectory(`/dir-${d}`);
    for (let f = 0; f < 9; f++) {
      const bytes = content(f === 0 ? 2 * KIB : 300 * KIB + random.below(400 * KIB), random.below(2 ** 31));
      files.set(`/dir-${d}/file-${f}`, bytes);
      await write(fixture, `/dir-${d}/file-${f}`, bytes);
    }
  }
  await fixture.pool.commit();
  return { fixture, files };
}

/** Flips a byte of so many shards of a disk, each of another chunk. */
function damage(fixture: PoolFixture, disk: number, count: number, chunks: Set<string> = new Set()): ShardEntry[] {
  const one = fixture.pool.parts.disks.byNumber.get(disk)!;
  const all = one.walk(undefined, Number.MAX_SAFE_INTEGER);
  const hit: ShardEntry[] = [];
  while (hit.length < count) {
    const entry = random.pick(all);
    if (chunks.has(entry.chunk)) continue;
    chunks.add(entry.chunk);
    hit.push(entry);
    // Behind the header and its table, or in the header itself.
    flip({ disk: one, entry }, random.chance(0.2) ? 10 : entry.recordBytes - 64 - random.below(1000));
  }
  return hit;
}

const scrubOf = (fixture: PoolFixture) => fixture.pool.control.jobs.list().find(({ name }) => name === 'scrub')!;

async function scrub(fixture: PoolFixture): Promise<ScrubReport> {
  await fixture.pool.control.jobs.start('scrub', null, { fullSpeed: true });
  await until(() => ['done', 'failed'].includes(scrubOf(fixture).state));
  const job = scrubOf(fixture);
  t.equal(job.state, 'done', job.line);
  return readReport(job.report)!;
}

async function isWhole(t: Test, fixture: PoolFixture, files: ReadonlyMap<string, Buffer>): Promise<void> {
  for (const [path, bytes] of files) if (!bytes.equals(await read(fixture, path))) t.fail(`${path} has changed`);
  const { findings } = await check(fixture, { content: true });
  t.strictSame(
    findings.filter(({ severity }) => severity !== 'note'),
    [],
  );
}

const users = async (fixture: PoolFixture, files: Iterable<string>, hit: readonly ShardEntry[]): Promise<string[]> => {
  const chunks = new Set(hit.map(({ chunk }) => chunk));
  const paths: string[] = [];
  for (const path of files) {
    const { ino } = await fixture.pool.stat(path);
    const extents = await fixture.pool.parts.meta.listExtents(ino, 0, Number.MAX_SAFE_INTEGER, 1000);
    if (extents.some(({ chunk }) => chunks.has(chunk))) paths.push(path);
  }
  return paths.sort();
};

t.test('one shard in a hundred of a disk, and some of another, and a copy of a commit', async (t) => {
  const { fixture, files } = await filled(t);
  await fixture.pool.commit();
  const shards = fixture.pool.parts.disks.byNumber.get(2)!.walk(undefined, Number.MAX_SAFE_INTEGER).length;
  const chunks = new Set<string>();
  const hit = [...damage(fixture, 2, Math.ceil(shards / 100), chunks), ...damage(fixture, 3, 2, chunks)];
  const first = fixture.pool.parts.disks.byNumber.get(1)!;
  flip({ disk: first, entry: first.commits(0).at(-1)! }, 100);

  const report = await scrub(fixture);
  t.equal(report.damagedShards, hit.length);
  t.equal(report.shardsWritten, hit.length);
  t.equal(
    report.bytesWritten,
    hit.reduce((sum, { shardBytes }) => sum + shardBytes, 0),
  );
  t.strictSame([...report.repaired.names].sort(), await users(fixture, files.keys(), hit), 'by name');
  t.match(report, { disks: 3, files: files.size, degraded: { names: [] }, lost: { names: [] } });
  t.match(report.notes, [/^repaired: 1 commit record on disk 1 .* is damaged/]);
  t.ok(report.records > 3 * 100 && report.bytes > 3 * 4_000_000, `${report.records} records, ${report.bytes} bytes`);
  const { doneBytes, totalBytes } = scrubOf(fixture);
  t.ok(totalBytes > 0 && doneBytes > 0.9 * totalBytes, 'and the progress adds up');
  await isWhole(t, fixture, files);

  const again = await scrub(fixture);
  t.match(again, { damagedShards: 0, shardsWritten: 0, repaired: { names: [] } }, 'once more, there is nothing');
});

t.test('what cannot be repaired is named, and stays told of until it is gone', async (t) => {
  const { fixture, files } = await filled(t);
  const path = '/dir-1/file-3';
  for (const on of [0, 1]) {
    const shard = await shardOf(fixture, path, on);
    flip(shard, shard.entry.recordBytes - 200);
  }
  const other = damage(fixture, 2, 1, new Set([(await shardOf(fixture, path)).entry.chunk]));
  const report = await scrub(fixture);
  t.strictSame(report.lost.names, [path]);
  t.strictSame(report.repaired.names, await users(fixture, files.keys(), other));
  const status = await fixture.pool.control.status();
  t.match(status.findings.join('\n'), /the last scrub found a file of which a part cannot be read/);
  t.equal(status.health, 'degraded');
  await fixture.pool.remove(path);
  await write(fixture, path, files.get(path)!);
  await fixture.pool.commit();
  await fixture.pool.collect();
  t.strictSame((await scrub(fixture)).lost.names, [], 'the same content from a copy is written anew');
  await until(async () => (await fixture.pool.control.status()).health === 'healthy');
  await isWhole(t, fixture, files);
});

t.test('stopped and killed in the middle, it goes on where it was, and reports the whole', async (t) => {
  const { fixture, files } = await filled(t, new FastMachine());
  const hit = damage(fixture, 1, 3);
  const kept = () => decodeJob(readFileSync(join(fixture.directory, 'jobs', 'scrub.json')));
  const { jobs } = fixture.pool.control;
  await jobs.start('scrub', null, { fullSpeed: true });
  // Opening cuts what is damaged at the end of a log: so the scrub has met it before.
  const affected = (): number => (kept().cursor as { affected: unknown[] } | null)?.affected.length ?? 0;
  await until(() => affected() === hit.length);
  await jobs.pause('scrub');
  t.match(kept().cursor, { part: 'disks' }, 'there is where to go on');
  const { doneBytes } = scrubOf(fixture);
  await fixture.kill();
  t.match(scrubOf(fixture), { state: 'paused', doneBytes });
  await fixture.pool.control.jobs.resume('scrub');
  await until(() => scrubOf(fixture).state === 'done');
  const report = readReport(scrubOf(fixture).report)!;
  t.equal(report.damagedShards, hit.length);
  t.strictSame([...report.repaired.names].sort(), await users(fixture, files.keys(), hit));
  t.equal(report.disks, 3);

  // While it is at work, what it has repaired since the cursor was written is not in its report; but it is repaired.
  const more = damage(fixture, 2, 3);
  await fixture.pool.control.jobs.start('scrub', null, { fullSpeed: true });
  await until(() => scrubOf(fixture).state === 'done' || kept().cursor !== null);
  await fixture.kill();
  await until(() => scrubOf(fixture).state === 'done');
  const known = new Set(await users(fixture, files.keys(), more));
  t.ok(readReport(scrubOf(fixture).report)!.repaired.names.every((name) => known.has(name)));
  await isWhole(t, fixture, files);
});

t.test('a disk is read in steps: after each record, and each piece of a file, somebody else has a turn', async (t) => {
  const { fixture } = await filled(t);
  const disk = fixture.pool.parts.disks.byNumber.get(1)!;
  const scrub = new DiskScrub(fixture.pool.parts.io, disk);
  let records = 0;
  for (const segment of await scrub.segments()) {
    let told = 0;
    let calls = 0;
    const found = (await scrub.scrub(segment, async (bytes) => {
      calls += 1;
      told += bytes;
    }))!;
    // Most of a file has no records: it is read all the same, a quarter of a MiB at a time.
    t.ok(calls > found.records, `${calls} turns for ${found.records} records`);
    t.equal(told, found.bytes);
    records += found.records;
  }
  t.ok(records > 100);
});

t.test('it begins by itself when the last one is long ago, and not where it is paused or forbidden', async (t) => {
  const day = 24 * 60 * 60_000;
  for (const everyDays of [30, 0]) {
    const clock = new ManualClock();
    const log = { info: () => {}, warn: () => {}, error: () => {} };
    const jobs = new JobRunner({
      io: new MemoryFileIo(),
      poolDirectory: '/pool',
      clock,
      userWork: new UserWork(),
      log,
    });
    let runs = 0;
    jobs.add({ name: 'scrub', rank: 1, run: async () => ++runs });
    await jobs.open();
    const schedule = new ScrubSchedule(jobs, clock, new UserWork(), everyDays);
    schedule.start();
    const pass = async (ms: number): Promise<void> => {
      for (let left = ms; left > 0; left -= 60 * 60_000) {
        clock.advance(Math.min(left, 60 * 60_000));
        for (let i = 0; i < 10; i++) await new Promise(setImmediate);
      }
    };
    await pass(day);
    t.equal(runs, everyDays === 0 ? 0 : 1, 'never scrubbed is due');
    await pass(28 * day);
    t.equal(runs, everyDays === 0 ? 0 : 1);
    await pass(2 * day);
    t.equal(runs, everyDays === 0 ? 0 : 2);
    // A clock that was years ahead at the last one: not one that is not due for years.
    const { nowMs } = clock;
    clock.nowMs = () => nowMs.call(clock) - 1000 * day;
    await pass(day);
    t.equal(runs, everyDays === 0 ? 0 : 3);
    await pass(28 * day);
    t.equal(runs, everyDays === 0 ? 0 : 3);
    await schedule.close();
    await jobs.close();
  }
});

t.test('it is put off while users are at work, but not for more than a day', async (t) => {
  const clock = new ManualClock();
  const userWork = new UserWork();
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  const jobs = new JobRunner({ io: new MemoryFileIo(), poolDirectory: '/pool', clock, userWork, log });
  let runs = 0;
  jobs.add({ name: 'scrub', rank: 1, run: async () => ++runs });
  await jobs.open();
  const schedule = new ScrubSchedule(jobs, clock, userWork, 2);
  schedule.start();
  const pass = async (minutes: number, isBusy: boolean): Promise<void> => {
    for (let left = minutes; left > 0; left--) {
      if (isBusy) userWork.count(1);
      clock.advance(60_000);
      for (let i = 0; i < 5; i++) await new Promise(setImmediate);
    }
  };
  await pass(60, true);
  t.equal(runs, 0, 'somebody fills the pool');
  await pass(3, false);
  t.equal(runs, 1, 'who has done that');
  await pass(3 * 24 * 60 - 30, true);
  t.equal(runs, 1, 'due for almost a day');
  await pass(2 * 60, true);
  t.equal(runs, 2, 'a pool that is never quiet is scrubbed all the same');
  await schedule.close();
  await jobs.close();
});
