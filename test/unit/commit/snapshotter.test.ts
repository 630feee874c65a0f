/** Metadata snapshots: where they go, what may be let go of then, what a failure leaves. */
import t from 'tap';
import { SNAPSHOT_SLOT } from '../../../src/commit/snapshotter.js';
import type { Disk } from '../../../src/disks/disk.js';
import { CairnError } from '../../../src/errors/cairn-error.js';
import { ByteWriter } from '../../../src/io/byte-writer.js';
import { MemoryMetaStore } from '../../conformance/memory-meta-store.js';
import { content } from '../chunks/fixture.js';
import { Machine, Run } from './simulated-pool.js';

const BROKEN = new CairnError('IO', 'the disk says no');

/** Complete snapshots on the disk, by sequence. */
const snapshotsOn = (disk: Disk): number[] =>
  disk.snapshots().flatMap(({ sequence, complete }) => (complete ? [sequence] : []));

async function commits(run: Run, count: number, bytes = 500): Promise<void> {
  for (let i = 0; i < count; i++) await run.commit(content(bytes, run.log.sequence));
  await run.settle();
}

t.test('a snapshot is on every data disk, synced, and named by the root slot', async (t) => {
  const machine = await new Machine({ journal: 2 }).create();
  const run = await machine.start();
  await commits(run, 5);
  t.equal(await run.snapshotter().take(), 5);
  for (const disk of run.data()) t.strictSame(snapshotsOn(disk), [5], disk.directory);
  for (const disk of run.journal()) t.strictSame(snapshotsOn(disk), []);
  const slot = await run.chunks.getSlot(SNAPSHOT_SLOT);
  const parts = run.data()[0]!.snapshots()[0]!.parts;
  t.equal(slot?.version, 5);
  const root = new ByteWriter();
  root.varint(run.report.epoch);
  t.strictSame([...slot!.bytes], [0x52, 1, 5, ...root.finish(), parts], 'golden bytes');
  machine.io.crash();
  const again = await machine.start({ without: [2] });
  t.match(again.report, { sequence: 5, rebuiltFrom: 5 });
  for (const [ino, bytes] of run.writer.files) t.ok(bytes.equals((await again.read(ino))!));
  await again.stop();
});

t.test('the journal that it covers is given back, with older snapshots; commits after it stay', async (t) => {
  const machine = await new Machine().create();
  const run = await machine.start();
  for (let round = 0; round < 3; round++) {
    await commits(run, 12, 30_000);
    await run.snapshotter().take();
  }
  await commits(run, 2);
  for (const disk of run.disks) {
    t.strictSame(snapshotsOn(disk), [36], disk.directory);
    t.ok((disk.commits(0)[0]?.sequence ?? 99) > 12, 'segments of old commits are gone');
    t.strictSame(
      disk.commits(36).map(({ sequence }) => sequence),
      [37, 38],
    );
  }
  machine.io.crash();
  const again = await machine.start({ without: [1] });
  t.match(again.report, { sequence: 38, rebuiltFrom: 36, replayed: 2 });
  for (const [ino, bytes] of run.writer.files) t.ok(bytes.equals((await again.read(ino))!), `file ${ino}`);
  await again.stop();
});

t.test('one at a time: whoever asks meanwhile gets the one under way', async (t) => {
  const run = await (await new Machine().create()).start();
  await commits(run, 3);
  const snapshotter = run.snapshotter();
  t.strictSame(await Promise.all([snapshotter.take(), snapshotter.take()]), [3, 3]);
  t.equal(run.data()[0]!.snapshots().length, 1);
  await run.stop();
});

t.test('a disk that fails keeps its journal; with one snapshot alone the journal disks keep theirs', async (t) => {
  for (const [broken, released] of [
    [[1], true],
    [[1, 2], false],
  ] as const) {
    const machine = await new Machine({ journal: 2 }).create();
    const run = await machine.start();
    await commits(run, 150, 10);
    for (const number of broken) machine.io.fail('write', new RegExp(`^/disk${number}/log/data.*\\.log$`), BROKEN, 1);
    const before = run.disk(101).commits(0).length;
    await run.snapshotter().take();
    t.strictSame(snapshotsOn(run.disk(3)), [150]);
    for (const number of broken) t.strictSame(snapshotsOn(run.disk(number)), []);
    const after = run.disk(101).commits(0).length;
    t.equal(after < before, released, `${before} commits on the journal disk, then ${after}`);
    await run.stop();
    // Without the metadata, without the disk with the snapshot: the journal disks have it all, where they had to keep it.
    if (released) continue;
    const again = await machine.start({ without: [3] });
    t.equal(again.report.sequence, 150);
    await again.stop();
  }
});

t.test('no disk takes it: an error, and nothing is given back', async (t) => {
  const machine = await new Machine().create();
  const run = await machine.start();
  await commits(run, 12, 30_000);
  await run.snapshotter().take();
  await commits(run, 12, 30_000);
  const before = run.disks.map((disk) => disk.commits(0).length);
  for (const number of [1, 2, 3])
    machine.io.fail('datasync', new RegExp(`^/disk${number}/log/data.*\\.log$`), BROKEN, 10);
  await t.rejects(run.snapshotter().take(), { code: 'DISK_FAILED' });
  t.strictSame(
    run.disks.map((disk) => disk.commits(0).length),
    before,
  );
  machine.io.heal();
  machine.io.crash();
  await run.stop();
  const again = await machine.start();
  t.equal(again.report.sequence, 24);
  for (const [ino, bytes] of run.writer.files) t.ok(bytes.equals((await again.read(ino))!), `file ${ino}`);
  await again.stop();
});

t.test(
  'aborted or cut by power loss in the middle: the one before still counts, and the next try succeeds',
  async (t) => {
    for (let seed = 1; seed <= 6; seed++) {
      const machine = await new Machine({ seed }).create();
      const run = await machine.start();
      await commits(run, 3);
      await run.snapshotter().take();
      // Enough rows for several parts.
      for (let i = 0; i < 260; i++) run.writer.stage(content(8, i));
      await run.commit();
      await run.settle();
      const abort = new AbortController();
      let appends = 0;
      for (const disk of run.disks) {
        const append = disk.append.bind(disk);
        disk.append = (...args) => {
          if (++appends === 4 + seed) {
            if (seed % 2 === 0) abort.abort();
            else machine.io.crash();
          }
          return append(...args);
        };
      }
      await t.rejects(run.snapshotter().take(abort.signal));
      if (seed % 2 === 0) machine.io.crash();
      await run.stop();
      const again = await machine.start();
      t.match(again.report, { sequence: 4, rebuiltFrom: 3 }, `seed ${seed}`);
      t.equal(await again.snapshotter().take(), 4);
      for (const disk of again.disks) t.strictSame(snapshotsOn(disk), [4]);
      await again.stop();
      const last = await machine.start({ without: [1] });
      t.match(last.report, { sequence: 4, rebuiltFrom: 4, replayed: 0 });
      for (const [ino, bytes] of run.writer.files) if (!bytes.equals((await last.read(ino))!)) t.fail(`file ${ino}`);
      await last.stop();
    }
  },
);

t.test(
  'an unreadable snapshot on one disk is read from another; on all, an older one or the journal must do',
  async (t) => {
    const machine = await new Machine().create();
    const run = await machine.start();
    await commits(run, 3);
    await run.snapshotter().take();
    await run.stop();
    const restart = async (on: readonly number[]): Promise<Run> => {
      const started = new Run(machine, await machine.disks(), new MemoryMetaStore());
      for (const number of on)
        started.disk(number).readSnapshotPart = async () => {
          throw new CairnError('CORRUPT', 'a checksum does not hold');
        };
      try {
        await started.recover();
        return started;
      } finally {
        await started.stop();
      }
    };
    t.equal((await restart([1, 2])).report.rebuiltFrom, 3);
    // Three commits fit the first segment, which is not given back: the journal reaches back to the beginning.
    const bare = await restart([1, 2, 3]);
    t.match(bare.report, { sequence: 3, rebuiltFrom: 0, replayed: 3 });
    t.match(bare.report.notes[0], /the metadata snapshot at commit 3 is of no use/);
  },
);
