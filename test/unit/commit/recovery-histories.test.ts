/** Disks that were used apart from each other tell two histories; a daemon that gave a commit up does not. */
import t from 'tap';
import { isOfRun, nextEpoch } from '../../../src/commit/epoch.js';
import { MemoryMetaStore } from '../../conformance/memory-meta-store.js';
import { content } from '../chunks/fixture.js';
import { seededRandom } from '../disks/memory-file-io.js';
import { ALL, filesOf, inoOf, none, OWN_INO, type Put, put } from './crafted-journal.js';
import { Machine } from './simulated-pool.js';

const REFUSED = { code: 'UNREADABLE', message: /went on apart from each other/, hint: /disconnect the disks/ };

t.test(
  'epochs: each start has a higher one, no two starts share one, and failed rounds stay with their start',
  async (t) => {
    const next = seededRandom(7);
    const random = { bytes: (count: number) => Buffer.from(Array.from({ length: count }, () => next() * 256)) };
    const first = nextEpoch(0, random);
    const siblings = new Set(Array.from({ length: 100 }, () => nextEpoch(first, random)));
    t.equal(siblings.size, 100, 'daemons that started from the same disks');
    for (const epoch of siblings) {
      t.ok(epoch > first + 1000);
      t.notOk(isOfRun(epoch, first));
      t.notOk(isOfRun(first, epoch));
    }
    t.ok(isOfRun(first, first));
    t.ok(isOfRun(first + 1000, first));
    t.ok(Number.isSafeInteger(nextEpoch(2 ** 52, random)));
  },
);

t.test('commits of both histories were promised: refused, whatever the metadata says', async (t) => {
  const cases: Record<string, Put[]> = {
    'one disk went on alone, then the others': [
      ...none(1, 2),
      { sequence: 3, epoch: 2, on: [1] },
      { sequence: 4, epoch: 2, on: [1] },
      { sequence: 3, epoch: 3, on: [2, 3] },
      { sequence: 4, epoch: 3, on: [2, 3] },
    ],
    'the one that was superseded is longer': [
      ...none(1, 2),
      ...[3, 4, 5, 6].map((sequence) => ({ sequence, epoch: 2, on: [1] })),
      { sequence: 3, epoch: 3, on: [2, 3] },
    ],
    'the winner acknowledged nothing yet': [
      ...none(1, 2),
      { sequence: 3, epoch: 2, on: [1] },
      { sequence: 4, epoch: 2, on: [1] },
      { sequence: 3, epoch: 3, on: [2, 3] },
    ],
  };
  for (const [what, puts] of Object.entries(cases)) {
    const machine = await new Machine().create();
    await put(machine, puts);
    await t.rejects(machine.start(), REFUSED, what);
    // Each half by itself is whole.
    const run = await machine.start({ without: [1] });
    t.equal(run.report.epoch > 3, true);
    await run.stop();
  }
});

t.test('commits that a later daemon replaced without having known them promised are no other history', async (t) => {
  const machine = await new Machine().create();
  await put(machine, [
    ...none(1, 2),
    // A round that failed, written to one disk, and one that crashed, to another.
    { sequence: 3, epoch: 1, on: [1] },
    { sequence: 3, epoch: 2, on: [2] },
    { sequence: 3, epoch: 3, on: ALL },
    { sequence: 4, epoch: 3, on: ALL },
  ]);
  const run = await machine.start();
  t.strictSame(await filesOf(run), [
    [1, 1],
    [2, 1],
    [3, 3],
    [4, 3],
  ]);
  await run.stop();
});

t.test('a snapshot tells of what was promised where the journal has been given back', async (t) => {
  const machine = await new Machine({ data: 2 }).create();
  const both = await machine.start();
  for (let i = 0; i < 3; i++) await both.commit();
  await both.settle();
  await both.stop();
  // A mirror: each disk goes on alone, and neither knows of the other.
  for (const [number, other] of [
    [1, 2],
    [2, 1],
  ] as const) {
    const run = await machine.start({ without: [other], meta: new MemoryMetaStore() });
    run.writer.nextIno = OWN_INO * number;
    for (let i = 0; i < 12; i++) await run.commit(content(30_000, 100 * number + i));
    await run.settle();
    await run.snapshotter().take();
    t.notOk(
      run
        .disk(number)
        .commits(0)
        .some(({ sequence }) => sequence === 4),
      'the journal at the fork is gone',
    );
    await run.stop();
  }
  await t.rejects(machine.start(), REFUSED);
  await t.rejects(machine.start(), REFUSED, 'and again');
  for (const without of [[1], [2]]) await (await machine.start({ without })).stop();
});

t.test('one record that says different things on two disks is refused', async (t) => {
  const machine = await new Machine().create();
  await put(machine, [...none(1, 3), { sequence: 4, epoch: 1, acknowledged: 3, on: [1] }]);
  await put(machine, [{ sequence: 4, epoch: 1, acknowledged: 2, on: [2] }]);
  await t.rejects(machine.start(), REFUSED);
});

t.test('a record whose payload is another commit counts as damaged', async (t) => {
  const machine = await new Machine().create();
  await put(machine, none(1, 3));
  const run = await machine.start({
    intrude: (disks) => {
      const disk = disks[0]!;
      const read = disk.readCommit.bind(disk);
      disk.readCommit = (entry) =>
        read(entry.sequence === 2 ? disk.commits(0).find(({ sequence }) => sequence === 1)! : entry);
    },
  });
  t.equal(run.report.sequence, 3);
  t.match(run.report.notes.join(), /commit 2 is damaged on the disk at \/disk1/);
  t.ok(await run.meta.getInode(inoOf(2, 1)));
  await run.stop();
});
