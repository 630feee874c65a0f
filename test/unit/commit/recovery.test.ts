/** The decision table of recovery, over disks whose journals are written, removed, damaged and left behind as each case needs. */
import { join } from 'node:path';
import t from 'tap';
import { contentHash } from '../../../src/chunks/content-hash.js';
import type { Disk } from '../../../src/disks/disk.js';
import { createDisk } from '../../../src/disks/disk-identity.js';
import { openDisk } from '../../../src/disks/open-disk.js';
import { CairnError } from '../../../src/errors/cairn-error.js';
import { NodeFileIo } from '../../../src/io/node-file-io.js';
import type { MetaStore } from '../../../src/meta/meta-store.js';
import { openSqliteMetaStore } from '../../../src/meta/sqlite-meta-store.js';
import { MemoryMetaStore } from '../../conformance/memory-meta-store.js';
import { content } from '../chunks/fixture.js';
import { ALL, filesOf, inoOf, none, OWN_INO, type Put, put, storeAt } from './crafted-journal.js';
import { Machine, putCommit, Run } from './simulated-pool.js';

t.test('a new pool', async (t) => {
  const run = await (await new Machine().create()).start();
  t.match(run.report, { sequence: 0, replayed: 0, dropped: 0, rebuiltFrom: undefined, notes: [] });
  await run.stop();
});

t.test('no metadata: the journal is replayed from its beginning', async (t) => {
  const machine = await new Machine().create();
  await put(machine, none(1, 4));
  const run = await machine.start();
  t.match(run.report, { sequence: 4, replayed: 4, dropped: 0, journal: { commits: 4 } });
  t.strictSame(
    await filesOf(run),
    [1, 2, 3, 4].map((sequence) => [sequence, 1]),
  );
  t.strictSame(run.report.notes, ['replayed 4 commits from the journal, 1 to 4']);
  await run.stop();
});

t.test('metadata that is behind is brought forward; that stands right is left alone', async (t) => {
  const machine = await new Machine().create();
  await put(machine, none(1, 2));
  const first = await machine.start();
  await first.stop();
  const { meta } = first;
  const same = await machine.start({ meta });
  t.match(same.report, { sequence: 2, replayed: 0, rebuiltFrom: undefined, notes: [] });
  await same.stop();
  await put(machine, none(3, 5, 2));
  const run = await machine.start({ meta });
  t.match(run.report, { sequence: 5, replayed: 3, rebuiltFrom: undefined });
  await run.stop();
});

t.test('metadata ahead of every disk that is here: refused, since others must know more', async (t) => {
  const machine = await new Machine().create();
  await put(machine, [...none(1, 2), { sequence: 3, epoch: 1, on: [1] }]);
  const first = await machine.start({ without: [2, 3] });
  await first.stop();
  await t.rejects(machine.start({ meta: first.meta, without: [1] }), {
    code: 'UNREADABLE',
    message: /stands at commit 3, .* only commits up to 2/,
  });
  t.equal(first.meta.position().sequence, 3, 'and left as it is');
  await (await machine.start({ meta: first.meta })).stop();
});

t.test('of two records with one sequence the higher epoch is true, whichever disk has it', async (t) => {
  const machine = await new Machine().create();
  await put(machine, [
    { sequence: 1, epoch: 1, on: ALL },
    { sequence: 2, epoch: 1, on: [1] },
    { sequence: 2, epoch: 2, on: [2, 3] },
    { sequence: 3, epoch: 2, on: ALL },
  ]);
  const run = await machine.start();
  t.strictSame(await filesOf(run), [
    [1, 1],
    [2, 2],
    [3, 2],
  ]);
  t.ok(run.report.epoch > 2);
  await run.stop();
});

t.test('metadata on a commit that was superseded is rebuilt', async (t) => {
  const machine = await new Machine().create();
  await put(machine, [
    ...none(1, 1),
    { sequence: 2, epoch: 1, on: [1] },
    { sequence: 2, epoch: 2, on: [2, 3] },
    { sequence: 3, epoch: 2, on: [2, 3] },
  ]);
  for (const sequence of [2, 3, 7]) {
    const run = await machine.start({ meta: await storeAt(sequence, 1) });
    t.equal(run.report.rebuiltFrom, 0);
    t.match(run.report.notes, ['the metadata was rebuilt from the journal']);
    t.strictSame(await filesOf(run), [
      [1, 1],
      [2, 2],
      [3, 2],
    ]);
    await run.stop();
  }
});

t.test('the chain ends where the epoch falls: those commits were given up by a later daemon', async (t) => {
  const machine = await new Machine().create();
  await put(machine, [
    ...none(1, 1),
    { sequence: 2, epoch: 1, on: [1] },
    { sequence: 3, epoch: 1, acknowledged: 1, on: [1] },
    { sequence: 2, epoch: 2, on: ALL },
  ]);
  const run = await machine.start();
  t.strictSame(await filesOf(run), [
    [1, 1],
    [2, 2],
  ]);
  t.match(run.report, { sequence: 2 });
  await run.commit();
  await run.settle();
  await run.stop();
  const again = await machine.start();
  t.equal(again.report.sequence, 3, 'the new commit 3 wins over the old one');
  t.notOk((await filesOf(again)).some(([sequence, epoch]) => sequence === 3 && epoch === 1));
  await again.stop();
});

t.test('a stale disk that returns with commits that others replaced and let go of changes nothing', async (t) => {
  const machine = await new Machine().create();
  // Disk 3 was away while the others went on from commit 2, took a snapshot and released their journals.
  await put(machine, [
    ...none(1, 2),
    { sequence: 3, epoch: 1, on: [3] },
    { sequence: 4, epoch: 1, acknowledged: 2, on: [3] },
  ]);
  const without = [3];
  const first = await machine.start({ without });
  first.writer.nextIno = OWN_INO;
  for (let i = 0; i < 12; i++) await first.commit(content(30_000, i));
  await first.settle();
  await first.snapshotter().take();
  for (const disk of first.disks)
    t.notOk(
      disk.commits(2).some(({ sequence }) => sequence <= 4),
      'commits 3 and 4 are on disk 3 alone',
    );
  await first.stop();
  const older = await storeAt(2, 1);
  for (const meta of [first.meta, older, new MemoryMetaStore()]) {
    const run = await machine.start({ meta });
    t.equal(run.report.sequence, 14);
    t.strictSame(await filesOf(run), [
      [1, 1],
      [2, 1],
    ]);
    for (const [ino, bytes] of first.writer.files) t.ok(bytes.equals((await run.read(ino))!), `file ${ino}`);
    await run.stop();
  }
  // Alone it knows less than the metadata does.
  await t.rejects(machine.start({ meta: first.meta, without: [1, 2] }), { code: 'UNREADABLE' });
});

t.test('metadata older than the newest snapshot is rebuilt from it, not replayed over a gap', async (t) => {
  const machine = await new Machine().create();
  const first = await machine.start();
  for (let i = 0; i < 4; i++) await first.commit();
  await first.settle();
  await first.snapshotter().take();
  await first.commit();
  await first.settle();
  await first.stop();
  const run = await machine.start({ meta: await storeAt(1, 1) });
  t.match(run.report, { sequence: 5, rebuiltFrom: 4, replayed: 1, journal: { commits: 1 } });
  for (const [ino, bytes] of first.writer.files) t.ok(bytes.equals((await run.read(ino))!), `file ${ino}`);
  await run.stop();
});

t.test(
  'beyond the watermark: an unreadable commit is dropped, with all that follows; a readable one is kept and copied',
  async (t) => {
    const machine = await new Machine().create();
    await put(machine, [...none(1, 3), { sequence: 4, epoch: 1, readable: false, on: [2] }]);
    const run = await machine.start();
    t.match(run.report, { sequence: 3, dropped: 1 });
    t.match(run.report.notes.at(-1), /dropped one commit that had not been acknowledged/);
    const ino = await run.commit();
    await run.settle();
    await run.stop();
    const again = await machine.start();
    t.equal(again.report.sequence, 4, 'in its place');
    t.ok(await again.read(ino));
    await again.stop();

    const kept = await new Machine().create();
    await put(kept, [...none(1, 3), { sequence: 4, epoch: 1, on: [2] }]);
    const second = await kept.start();
    t.equal(second.report.sequence, 4);
    for (const disk of second.disks)
      t.strictSame(
        disk.commits(3).map(({ sequence, epoch, acknowledged }) => [sequence, epoch, acknowledged]),
        [[4, 1, 3]],
      );
    await second.stop();
    const third = await kept.start({ without: [2] });
    t.equal(third.report.sequence, 4, 'also without the disk that it came from');
    await third.stop();
  },
);

t.test('a kept commit has its copies made whole: it counts as promised from then on', async (t) => {
  const machine = await new Machine().create();
  await put(machine, none(1, 1));
  const bytes = content(3000, 5);
  const chunk = contentHash(bytes);
  const crafted = new Run(machine, await machine.disks(), new MemoryMetaStore());
  const { records } = crafted.chunks.prepareSmall(bytes);
  // Power failed when one of two disks had the small chunk and the commit.
  const { disk, record } = records[0]!;
  await disk.append('journal', [record], { sync: true });
  const extent = { offset: 0, length: 3000, chunk, chunkOffset: 0, chunkBytes: 3000 };
  await putCommit(disk, { sequence: 2, epoch: 1, acknowledged: 1, ino: 7, extent });
  await crafted.stop();
  const first = await machine.start();
  t.equal(first.chunks.health(chunk).health, 'healthy');
  await first.stop();
  for (const without of [[1], [2], [3]]) {
    const run = await machine.start({ without });
    t.ok(bytes.equals((await run.read(7))!), `without ${without}`);
    await run.stop();
  }
});

t.test('up to the watermark a commit is applied though its chunk is lost: one file is damaged', async (t) => {
  const machine = await new Machine().create();
  await put(machine, [...none(1, 1), { sequence: 2, epoch: 1, readable: false, on: ALL }, ...none(3, 3)]);
  const run = await machine.start();
  t.match(run.report, { sequence: 3, dropped: 0 });
  await t.rejects(run.read(inoOf(2, 1)), { code: 'UNREADABLE' });
  t.ok(await run.read(inoOf(3, 1)));
  await run.stop();
});

t.test('a promised commit that no disk can give: refused, never skipped', async (t) => {
  const cases: Record<string, Put[]> = {
    'in the middle': [...none(1, 2), ...none(4, 5)],
    'before the last, which says that it was acknowledged': [...none(1, 3), { sequence: 5, epoch: 1, on: ALL }],
    'the first': none(2, 3),
    'only a superseded one is left': [
      ...none(1, 1),
      { sequence: 2, epoch: 2, on: ALL },
      { sequence: 3, epoch: 1, acknowledged: 1, on: ALL },
      { sequence: 4, epoch: 2, on: ALL },
    ],
  };
  for (const [what, puts] of Object.entries(cases)) {
    const machine = await new Machine().create();
    await put(machine, puts);
    await t.rejects(machine.start(), { code: 'UNREADABLE', message: /was promised/ }, what);
  }
});

t.test('a commit that is damaged on one disk comes from another; on all, it is refused or dropped', async (t) => {
  const machine = await new Machine().create();
  await put(machine, none(1, 3));
  const damaged = async (run: Run, sequence: number, on: readonly number[]): Promise<void> => {
    for (const number of on) {
      const disk = run.disk(number);
      const read = disk.readCommit.bind(disk);
      disk.readCommit = async (entry) => {
        if (entry.sequence === sequence) throw new CairnError('CORRUPT', 'a checksum does not hold');
        return read(entry);
      };
    }
  };
  const start = async (sequence: number, on: readonly number[]): Promise<Run> => {
    const run = new Run(machine, await machine.disks(), new MemoryMetaStore());
    await damaged(run, sequence, on);
    try {
      await run.recover();
      return run;
    } finally {
      await run.stop();
    }
  };
  const one = await start(2, [1]);
  t.equal(one.report.sequence, 3);
  t.match(one.report.notes, [/commit 2 is damaged on the disk at \/disk1: a checksum does not hold/]);
  const oneLast = await start(3, [1, 2]);
  t.equal(oneLast.report.sequence, 3, 'a damaged copy is not what is copied');
  await t.rejects(start(2, ALL), { code: 'UNREADABLE', message: /commit 2 was promised/ });
  t.equal((await start(3, ALL)).report.sequence, 2);
});

t.test('with more disks missing than may be lost, nothing is dropped and nothing rebuilt', async (t) => {
  const machine = await new Machine().create();
  await put(machine, [...none(1, 2), { sequence: 3, epoch: 1, readable: false, on: ALL }]);
  const tooMany = '/disk2 is missing; /disk3 is missing';
  await t.rejects(machine.start({ tooMany }), { code: 'UNREADABLE', message: /rebuilt .* \/disk2 is missing/ });
  const base = new MemoryMetaStore();
  await (await machine.start({ meta: base })).stop();
  t.equal(base.position().sequence, 2);
  await t.rejects(machine.start({ meta: base, tooMany }), { code: 'UNREADABLE', message: /commit 3 cannot be read/ });
  t.equal(base.position().sequence, 2);
});

t.test('a crash at any step of recovery changes nothing for the next', async (t) => {
  for (let stopAt = 0; stopAt < 6; stopAt++) {
    const machine = await new Machine({ seed: stopAt + 1 }).create();
    await put(machine, [...none(1, 3), { sequence: 4, epoch: 1, on: [2] }]);
    const meta = new MemoryMetaStore();
    const run = new Run(machine, await machine.disks(), meta);
    let steps = 0;
    const step = (): void => {
      if (steps++ === stopAt) machine.io.crash();
    };
    const apply = meta.apply.bind(meta);
    meta.apply = async (commit) => {
      step();
      if (steps <= stopAt) await apply(commit);
      else throw new CairnError('IO', 'the machine has stopped');
    };
    for (const disk of run.disks) {
      const append = disk.append.bind(disk);
      disk.append = (...args) => {
        step();
        return append(...args);
      };
    }
    await run.recover().catch(() => undefined);
    await run.stop();
    meta.apply = apply;
    const again = await machine.start({ meta });
    t.equal(again.report.sequence, 4, `stopped at step ${stopAt}`);
    t.strictSame(
      await filesOf(again),
      [1, 2, 3, 4].map((sequence) => [sequence, 1]),
    );
    for (const disk of again.disks) t.equal(disk.commits(3).length, 1, disk.directory);
    await again.stop();
  }
});

t.test('a disk that does not take its copy is left out, and said', async (t) => {
  const machine = await new Machine().create();
  await put(machine, [...none(1, 3), { sequence: 4, epoch: 1, on: [2] }]);
  const run = new Run(machine, await machine.disks(), new MemoryMetaStore());
  machine.io.fail('write', /^\/disk1\/log\/journal.*\.log$/, new CairnError('IO', 'the disk says no'));
  await run.recover();
  t.equal(run.report.sequence, 4);
  t.match(run.report.notes.join(), /commit 4 could not be copied to the disk at \/disk1/);
  t.equal(run.disk(3).commits(3).length, 1);
  await run.stop();
});

t.test(
  'real disks: the metadata database is deleted; snapshot and journal bring it back, also without one disk',
  async (t) => {
    const io = new NodeFileIo();
    const directory = t.testdir();
    const machine = new Machine();
    const capacityBytes = 64 * 1024 * 1024;
    for (const number of ALL)
      await createDisk(io, join(directory, `${number}`), {
        format: 1,
        pool: 'aa'.repeat(16),
        uuid: `${number}`.padStart(32, 'c'),
        number,
        role: 'data',
        capacityBytes,
        dataSegmentBytes: 8 * 1024 * 1024,
        journalSegmentBytes: 1024 * 1024,
      });
    const start = async (numbers: readonly number[], meta: MetaStore): Promise<Run> => {
      const disks: Disk[] = [];
      for (const number of numbers)
        disks.push(await openDisk(io, join(directory, `${number}`), { pool: 'aa'.repeat(16) }));
      const run = new Run(machine, disks, meta);
      await run.recover();
      return run;
    };
    const meta = await openSqliteMetaStore(join(directory, 'meta.sqlite'));
    const first = await start(ALL, meta);
    for (let i = 0; i < 300; i++) await first.commit(content(700, i));
    await first.settle();
    t.equal(await first.snapshotter().take(), 300);
    for (let i = 0; i < 30; i++) await first.commit(content(900, 1000 + i));
    await first.settle();
    await first.stop();
    await meta.close();
    for (const numbers of [ALL, [1, 2], [2, 3], [1, 3]]) {
      const fresh = await openSqliteMetaStore(join(directory, `meta-${numbers.join('')}.sqlite`));
      const run = await start(numbers, fresh);
      t.match(run.report, { sequence: 330, rebuiltFrom: 300, replayed: 30 });
      for (const [ino, bytes] of first.writer.files)
        if (!bytes.equals((await run.read(ino)) ?? Buffer.alloc(0))) t.fail(`file ${ino}`);
      t.equal((await fresh.statistics()).inodes, 330);
      await run.stop();
      await fresh.close();
    }
  },
);
