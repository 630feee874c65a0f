/** Recovery with disks that are away, come back stale, or hold what no other disk knows: never more than one is missing at a time. */
import t from 'tap';
import { CairnError } from '../../../src/errors/cairn-error.js';
import { MemoryMetaStore } from '../../conformance/memory-meta-store.js';
import { content } from '../chunks/fixture.js';
import { ALL, filesOf, inoOf, none, OWN_INO, put } from './crafted-journal.js';
import { Machine, putCommit, type Run } from './simulated-pool.js';

const sequencesOn = (run: Run, number: number): number[] => [
  ...new Set(
    run
      .disk(number)
      .commits(0)
      .map(({ sequence }) => sequence),
  ),
];

/** A large file: erasure coded, stored by the pipeline, committed. */
async function commitLarge(run: Run, seed: number): Promise<number> {
  const bytes = content(150_000, seed);
  const ino = run.writer.stage(bytes, await run.chunks.store({ kind: 'bytes', bytes }, () => undefined));
  await run.log.request();
  return ino;
}

t.test('a disk that was away returns while another is gone: nothing acknowledged is rolled back', async (t) => {
  const machine = await new Machine().create();
  const whole = await machine.start();
  await whole.commit();
  await whole.settle();
  await whole.stop();
  const { nextIno } = whole.writer;

  // Without disk 3: the large file is on disks 1 and 2 alone, and is the last commit: no watermark says that it was acknowledged.
  const away = await machine.start({ without: [3] });
  away.writer.nextIno = nextIno;
  for (let i = 0; i < 4; i++) await away.commit();
  const large = await commitLarge(away, 9);
  machine.io.crash();

  // Disk 1 is gone too: that is one more than the pool survives, so the data of one file is lost, and only that.
  const found = await machine.start({ without: [1] });
  t.equal(found.report.dropped, 0);
  t.equal(found.report.sequence, away.log.sequence);
  t.match(found.report.damage, [{ sequence: away.log.sequence, files: [large] }]);
  await t.rejects(found.read(large), { code: 'UNREADABLE' });
  for (const [ino, bytes] of away.writer.files)
    if (ino !== large) t.ok(bytes.equals((await found.read(ino))!), `file ${ino}`);
  t.strictSame(sequencesOn(found, 3), sequencesOn(found, 2), 'disk 3 has what only disk 2 knew');
  await found.stop();

  // And with disk 1 back, without the one that had told the others.
  const again = await machine.start({ without: [2] });
  t.equal(again.report.sequence, away.log.sequence);
  for (const [ino, bytes] of away.writer.files)
    if (ino !== large) t.ok(bytes.equals((await again.read(ino))!), `file ${ino}`);
  await again.stop();
  const all = await machine.start();
  t.ok(away.writer.files.get(large)?.equals((await all.read(large))!));
  t.strictSame(all.report.damage, []);
  await all.stop();
});

t.test('one disk fewer than may be lost proves a commit unacknowledged; one more proves nothing', async (t) => {
  const cases = [
    { missing: [3], away: undefined, dropped: 1 },
    { missing: [], away: [3], dropped: 1 },
    { missing: [3], away: [3], dropped: 1 },
    { missing: [1], away: [3], dropped: 0 },
  ];
  for (const { missing, away, dropped } of cases) {
    const machine = await new Machine().create();
    await put(machine, [
      ...none(1, 3),
      { sequence: 4, epoch: 1, readable: false, on: [2], ...(away !== undefined && { away }) },
    ]);
    const run = await machine.start({ without: missing });
    t.match(run.report, { sequence: 4 - dropped, dropped }, `missing ${missing}, away then ${away}`);
    t.equal(run.report.damage.length, 1 - dropped);
    await run.stop();
  }
});

t.test('a chunk that an earlier commit names says nothing about this one: it is not dropped for it', async (t) => {
  const machine = await new Machine().create();
  const first = await machine.start();
  const bytes = content(2000, 1);
  const ino = await first.commit(bytes);
  await first.settle();
  const [extent] = await first.meta.listExtents(ino, 0, 2000, 1);
  // The chunk is lost on both of its disks, and a later commit names it again.
  for (const disk of first.disks) for (const entry of disk.findAnywhere(extent!.chunk)) await disk.remove(entry);
  for (const disk of first.disks) await disk.sync();
  await first.stop();
  const bad = { sequence: 2, epoch: first.report.epoch, acknowledged: 1, ino: inoOf(2, 1), extent: extent! };
  const disks = await machine.disks();
  for (const disk of disks) {
    await putCommit(disk, bad);
    await disk.close();
  }
  const run = await machine.start();
  t.match(run.report, { sequence: 2, dropped: 0 });
  await run.stop();
});

t.test('promised commits that one disk holds are copied to those that lack them, damaged copies too', async (t) => {
  const machine = await new Machine().create();
  await put(machine, [...none(1, 2), ...[3, 4, 5].map((sequence) => ({ sequence, epoch: 1, on: [2] }))]);
  const first = await machine.start();
  await first.stop();
  // The store has them all: only the disks are made equal.
  const run = await machine.start({ meta: first.meta, without: [2] });
  t.match(run.report, { sequence: 5, replayed: 0 });
  for (const number of [1, 3]) t.strictSame(sequencesOn(run, number), [1, 2, 3, 4, 5]);
  await run.stop();

  const damaged = await new Machine().create();
  await put(damaged, [...none(1, 2), { sequence: 3, epoch: 1, on: [1, 2] }, ...none(4, 4)]);
  const crafted = await damaged.start({
    intrude: (disks) => {
      const disk = disks[0]!;
      const read = disk.readCommit.bind(disk);
      disk.readCommit = async (entry) => {
        if (entry.sequence === 3) throw new CairnError('CORRUPT', 'a checksum does not hold');
        return read(entry);
      };
    },
  });
  t.strictSame(
    ALL.map(
      (number) =>
        crafted
          .disk(number)
          .commits(0)
          .filter(({ sequence }) => sequence === 3).length,
    ),
    [2, 1, 1],
    'written again where it is damaged, and where it was not',
  );
  await crafted.stop();
});

t.test('a snapshot that too few disks hold is due again; one that enough hold is not', async (t) => {
  const machine = await new Machine().create();
  const first = await machine.start();
  for (let i = 0; i < 5; i++) await first.commit();
  await first.settle();
  await first.snapshotter().take();
  await first.stop();
  const whole = await machine.start();
  t.equal(whole.report.snapshotDue, false);
  await whole.stop();
  const without = await machine.start({ without: [1] });
  t.equal(without.report.snapshotDue, false, 'on two of two');
  for (let i = 0; i < 5; i++) await without.commit(content(400, 50 + i));
  await without.settle();
  await without.snapshotter().take();
  await without.stop();
  const alone = await machine.start({ without: [2] });
  t.equal(alone.report.snapshotDue, true, 'on disk 3 alone');
  await alone.snapshotter().take();
  await alone.stop();
  const again = await machine.start({ without: [3] });
  t.equal(again.report.sequence, without.report.sequence + 5);
  await again.stop();
});

t.test('a commit that enough disks cannot take is not acknowledged', async (t) => {
  const machine = await new Machine().create();
  const run = await machine.start();
  await run.commit();
  await run.settle();
  await run.stop();
  const alone = await machine.start({ without: [2, 3], meta: run.meta, tooMany: 'two disks are missing' });
  alone.writer.nextIno = OWN_INO;
  await t.rejects(alone.commit(), { code: 'DISK_FAILED', message: /too few disks take commits: 1, and 2 are needed/ });
  t.match(alone.writer.events, [/^failed/]);
  t.strictSame(sequencesOn(alone, 1), [1], 'and its record is nowhere');
  await alone.stop();
  // Of two mirrored disks the one that is left goes on.
  const mirror = await new Machine({ data: 2 }).create();
  const both = await mirror.start();
  await both.commit();
  await both.settle();
  await both.stop();
  const one = await mirror.start({ without: [2], meta: both.meta });
  one.writer.nextIno = OWN_INO;
  await one.commit();
  await one.settle();
  await one.stop();
  // And tells the other when it is back.
  const joined = await mirror.start({ meta: one.meta });
  t.strictSame(sequencesOn(joined, 2), [1, 2]);
  await joined.stop();
});

t.test('what recovery decided without a disk stays decided when that disk is back', async (t) => {
  const machine = await new Machine().create();
  await put(machine, [...none(1, 3), { sequence: 4, epoch: 1, on: [2] }]);
  const without = await machine.start({ without: [2] });
  t.equal(without.report.sequence, 3, 'commit 4 was never acknowledged, and only disk 2 knows of it');
  await without.log.confirm(without.meta.position());
  t.equal(without.log.sequence, 4);
  await without.stop();
  const run = await machine.start();
  t.match(run.report, { sequence: 4, dropped: 0 });
  t.notOk((await filesOf(run)).some(([sequence]) => sequence === 4));
  await run.stop();
  const rebuilt = await machine.start({ without: [1], meta: new MemoryMetaStore() });
  t.notOk((await filesOf(rebuilt)).some(([sequence]) => sequence === 4));
  await rebuilt.stop();
});
