/** When a metadata snapshot is due: by what the journal holds, compared with what the snapshot would take. */
import t from 'tap';
import type { PoolLog } from '../../../src/pool/pool-log.js';
import { SnapshotSchedule } from '../../../src/pool/snapshot-schedule.js';

const MIB = 1024 * 1024;
const QUIET = { info: () => undefined, warn: () => undefined } as unknown as PoolLog;

class Schedule {
  taken = 0;
  readonly journal: { onCommit: ((sequence: number, recordBytes: number) => void) | undefined } = {
    onCommit: undefined,
  };
  readonly schedule: SnapshotSchedule;

  constructor(rows: number) {
    const snapshotter = {
      take: async () => {
        this.taken += 1;
        return 1;
      },
    };
    const meta = {
      statistics: async () => ({ inodes: rows, dentries: 0, extents: 0, chunks: 0, chunkBytes: 0 }),
    };
    this.schedule = new SnapshotSchedule(snapshotter, this.journal, meta, QUIET, { commits: 0, bytes: 0 }, false);
  }

  async commits(count: number, recordBytes: number): Promise<void> {
    for (let i = 0; i < count; i++) this.journal.onCommit?.(i, recordBytes);
    await new Promise(setImmediate);
  }
}

t.test('of little metadata: after 64 MiB of journal, or 20,000 commits', async (t) => {
  const schedule = new Schedule(1000);
  await schedule.commits(63, MIB);
  t.equal(schedule.taken, 0);
  await schedule.commits(1, MIB);
  t.equal(schedule.taken, 1);
  await schedule.commits(19_999, 200);
  t.equal(schedule.taken, 1, 'counted anew');
  await schedule.commits(1, 200);
  t.equal(schedule.taken, 2);
});

t.test('of much: after as much journal as it takes itself, or a commit for each of its pages', async (t) => {
  const schedule = new Schedule(2_000_000);
  await schedule.commits(100, MIB);
  t.equal(schedule.taken, 0);
  await schedule.commits(100, MIB);
  t.equal(schedule.taken, 1);
  await schedule.commits(31_000, 200);
  t.equal(schedule.taken, 1);
  await schedule.commits(500, 200);
  t.equal(schedule.taken, 2);
});

t.test('at a clean end a short journal is left as it is', async (t) => {
  for (const { rows, commits, taken } of [
    { rows: 1000, commits: 60, taken: 0 },
    { rows: 1000, commits: 70, taken: 1 },
    { rows: 2_000_000, commits: 150, taken: 0 },
    { rows: 2_000_000, commits: 250, taken: 1 },
  ]) {
    const schedule = new Schedule(rows);
    await schedule.commits(commits, 200);
    await schedule.schedule.finish();
    t.equal(schedule.taken, taken, `${commits} commits, ${rows} rows`);
  }
});
