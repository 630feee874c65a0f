/** Damage that reads meet, and what was stored while a disk was away, is repaired by itself; and no more is moved than that takes. `SEED=` replays a run. */
import { existsSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { CairnError } from '../../../src/errors/cairn-error.js';
import { degradedFindings } from '../../../src/pool/findings.js';
import { RepairJob } from '../../../src/repair/repair-job.js';
import { decodeRepairList } from '../../../src/repair/repair-list.js';
import { RepairQueue } from '../../../src/repair/repair-queue.js';
import { SeededRandom } from '../../sim/seeded-random.js';
import { ManualClock } from '../cache/manual-clock.js';
import { content } from '../chunks/fixture.js';
import { MemoryFileIo } from '../disks/memory-file-io.js';
import { check, codes, filled, flip, read, shardOf, write } from '../fsck/planted-pool.js';
import { PoolFixture } from '../vfs/pool-fixture.js';
import { until } from './until.js';

const KIB = 1024;
const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);

const jobOf = (fixture: PoolFixture, name: string) =>
  fixture.pool.control.jobs.list().find((job) => job.name === name)!;

/** That every reader of the file's first bytes reads. */
async function firstShardOf(fixture: PoolFixture, path: string) {
  for (let on = 0; ; on++) {
    const found = await shardOf(fixture, path, on);
    if (found.entry.shard === 0) return found;
  }
}

t.test('a damaged shard that a read meets is answered from the others, and written anew', async (t) => {
  const pool = await filled(t);
  const { fixture, files } = pool;
  await fixture.reopen();
  const damaged = await firstShardOf(fixture, '/photos/2026/large');
  flip(damaged, 200);
  t.ok(files.get('/photos/2026/large')!.equals(await read(fixture, '/photos/2026/large')), 'the read is right at once');
  const told = (await fixture.pool.control.status()).health;
  // On a busy machine the shard is written anew before anybody asks, while its job may have a step to go.
  t.ok(told === 'degraded' || jobOf(fixture, 'repair').state !== 'idle', 'and is told of');
  await until(() => jobOf(fixture, 'repair').state === 'done');
  const { health, findings } = await fixture.pool.control.status();
  t.equal(health, 'healthy', findings.join('; '));
  t.match(jobOf(fixture, 'repair').report, { chunks: 1, shards: 1, waiting: 0 });
  t.strictSame(
    codes(await check(fixture, { content: true })).filter((code) => code !== 'log-scar'),
    [],
  );
  const now = await firstShardOf(fixture, '/photos/2026/large');
  t.notSame([now.entry.segment, now.entry.position], [damaged.entry.segment, damaged.entry.position]);
});

t.test('wrong bytes under right checksums are found out and replaced', async (t) => {
  const { fixture, files } = await filled(t);
  const { disk, entry } = await shardOf(fixture, '/photos/2026/large', 1);
  const payload = [Buffer.alloc(entry.shardBytes, 7)];
  await disk.append('data', [{ kind: 'shard', info: entry, payload }], { sync: true });
  const { chunk, chunkBytes } = entry;
  const mended = await fixture.pool.parts.chunks.mend(chunk, chunkBytes, { verify: true });
  t.match(mended, { shardsWrong: 1, shardsWritten: 1, bytesWritten: entry.shardBytes });
  t.match(await fixture.pool.parts.chunks.mend(chunk, chunkBytes, { verify: true }), {
    shardsWrong: 0,
    shardsWritten: 0,
  });
  t.ok(files.get('/photos/2026/large')!.equals(await read(fixture, '/photos/2026/large')));
  t.strictSame(codes(await check(fixture, { content: true })), []);
});

t.test('a disk that was away is brought up by what changed, and by nothing else', async (t) => {
  t.comment(`SEED=${seed}`);
  const random = new SeededRandom(seed);
  const fixture = await PoolFixture.create(t);
  const fill = async (name: string, bytes: number): Promise<void> =>
    write(fixture, name, content(bytes, random.below(2 ** 31)));
  for (let i = 0; i < 12; i++) await fill(`/before-${i}`, 600 * KIB);
  await fixture.pool.commit();
  await fixture.pool.close();
  const third = join(fixture.directory, 'disk3');
  const aside = join(fixture.directory, 'aside');
  renameSync(third, aside);

  await fixture.open();
  const healthy = (await fixture.pool.control.status()).findings;
  t.equal(healthy.length, 1, `only the missing disk is told of: ${healthy}`);
  const changed = 200 * KIB + random.below(200 * KIB);
  await fill('/meanwhile', changed);
  await fixture.pool.commit();
  await fill('/small', 3 * KIB);
  await fixture.pool.remove('/before-3');
  await fixture.pool.commit();
  await fixture.pool.commit();
  const commits = fixture.pool.parts.journal.sequence;
  t.match(
    (await fixture.pool.control.status()).findings.join('\n'),
    /committed while a disk was failing, away or full/,
  );
  t.equal((await fixture.pool.control.state('/meanwhile')).health, 'degraded');
  t.equal((await fixture.pool.control.state('/before-1')).health, 'degraded', 'its shard is on the disk that is away');
  await fixture.pool.close();
  const list = decodeRepairList(readFileSync(join(fixture.directory, 'jobs', 'repair.list')));
  t.ok(list.degraded.length > 0 && list.damaged.length === 0, 'what is to be completed is written down');
  renameSync(aside, third);

  await fixture.open();
  await until(
    async () => (await fixture.pool.control.status()).health === 'healthy' && jobOf(fixture, 'repair').state === 'done',
  );
  const { bytes, chunks, waiting } = jobOf(fixture, 'repair').report as {
    bytes: number;
    chunks: number;
    waiting: number;
  };
  t.equal(waiting, 0);
  t.equal(chunks, list.degraded.length);
  t.ok(
    bytes > changed / 2 - 64 * KIB && bytes < changed / 2 + 64 * KIB,
    `${bytes} bytes moved for ${changed} that came`,
  );
  const status = await fixture.pool.control.status();
  t.equal(status.health, 'healthy', status.findings.join('; '));
  for (const path of ['/meanwhile', '/small', '/before-1'])
    t.equal((await fixture.pool.control.state(path)).health, 'healthy', path);
  const [back] = fixture.pool.parts.disks.opened.filter(({ directory }) => directory === third);
  t.ok(
    Array.from({ length: 3 }, (_, i) => commits - i).every((n) =>
      back!.commits(0).some(({ sequence }) => sequence === n),
    ),
    'it has the COMMIT records of its absence',
  );
  await fixture.pool.collect();
  t.strictSame(codes(await check(fixture, { content: true })), []);
});

t.test('a finding says why chunks lack shards, and what has to be done', async (t) => {
  const found = (ready: number, allOnline: boolean) =>
    degradedFindings({ degraded: 3, ready, isIncomplete: false }, allOnline).join('\n');
  t.match(found(0, false), /a disk was failing, away or full, .* begins by itself when all disks are there/);
  t.match(found(3, true), /made whole, which is being done/);
  t.match(found(0, true), /for want of room on some disks, .* delete files or add a disk/, 'no disk is away');
});

t.test('without the list the walk after opening finds the same', async (t) => {
  const fixture = await PoolFixture.create(t);
  await write(fixture, '/before', content(500 * KIB, 1));
  await fixture.pool.commit();
  await fixture.pool.close();
  const [third, aside] = [join(fixture.directory, 'disk3'), join(fixture.directory, 'aside')];
  renameSync(third, aside);
  await fixture.open();
  for (const name of ['/meanwhile', '/later']) {
    await write(fixture, name, content(500 * KIB, name.length));
    await fixture.pool.commit();
  }
  await fixture.pool.close();
  renameSync(aside, third);
  renameSync(join(fixture.directory, 'jobs'), join(fixture.directory, 'jobs-lost'));
  await fixture.open();
  await until(async () => (await fixture.pool.control.state('/meanwhile')).health === 'healthy');
  await until(() => jobOf(fixture, 'repair').state === 'done');
  t.ok(existsSync(join(fixture.directory, 'jobs', 'repair.json')));
});

t.test('what waits is tried again after a while, and soon where room came back', async (t) => {
  const clock = new ManualClock();
  let retries = 0;
  const job = new RepairJob({
    queue: { waiting: 1, ready: 0, next: () => undefined, retry: () => retries++, close: async () => undefined },
    disks: { data: () => [] },
    clock,
  } as unknown as ConstructorParameters<typeof RepairJob>[0]);
  const context = { total: () => undefined, turn: async () => undefined, say: () => undefined };
  const run = () => job.run(context as unknown as Parameters<RepairJob['run']>[0]);
  job.roomCame();
  t.equal(clock.waiting, 0, 'nothing waits for room');
  await run();
  clock.advance(60_000);
  t.equal(retries, 0);
  job.roomCame();
  clock.advance(20_000);
  job.roomCame();
  clock.advance(10_000);
  t.equal(retries, 1, 'once, however often room comes meanwhile');
  await run();
  clock.advance(599_999);
  t.equal(retries, 1);
  clock.advance(1);
  t.equal(retries, 2, 'without it after ten minutes');
  await job.close();
});

t.test('the queue: each chunk once, a bounded number, damage above lack; what waits is kept', async (t) => {
  const clock = new ManualClock();
  const io = new MemoryFileIo();
  const warnings: string[] = [];
  let settled = 0;
  const make = () =>
    new RepairQueue({
      io,
      poolDirectory: '/pool',
      clock,
      settle: async () => void settled++,
      warn: (_, message) => warnings.push(message),
    });
  const name = (i: number): string => i.toString(16).padStart(64, '0');
  const queue = make();
  queue.add(name(1), 'degraded');
  queue.add(name(1), 'damaged');
  queue.add(name(2), 'degraded');
  t.equal(queue.ready, 2);
  t.same(queue.next(), { chunk: name(1), reason: 'damaged' });
  queue.wait(name(1));
  t.same(queue.next(), { chunk: name(2), reason: 'degraded' });
  queue.done(name(2));
  t.equal(queue.next(), undefined);
  await queue.close();
  t.ok(settled > 0, 'what is left out of the list is durable first');
  const second = make();
  await second.load();
  t.same(second.next(), { chunk: name(1), reason: 'damaged' });
  for (let i = 0; i < 20_000; i++) second.add(name(i + 10), 'degraded');
  t.equal(second.ready, 16_384);
  t.equal(second.isIncomplete, true);
  io.replaceFile = async () => {
    throw new CairnError('NO_SPACE', 'full');
  };
  clock.advance(5000);
  await until(() => warnings.length > 0);
  t.match(warnings, ['the list of what is to be repaired could not be written down']);
  second.complete();
  t.equal(second.isIncomplete, false);
});
