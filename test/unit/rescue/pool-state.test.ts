/** Which commits count, and what is said of those that do not: docs/format.md, "Recovery", as far as bare disks can tell. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { RecordInput } from '../../../src/disks/record.js';
import type { RescueSummary } from '../../../src/rescue/rescue.js';
import { commitOf, fileOf, makeDisk, ROOT, rescueTo, snapshotOf } from './hand-made-disk.js';

const FIRST = fileOf(2, 'first', 'the first file');
const SECOND = fileOf(3, 'second', 'the second file');
const THIRD = fileOf(4, 'third', 'the third file');
const SHARDS = [FIRST.shard, SECOND.shard, THIRD.shard];
const ONE = commitOf(1, [ROOT, ...FIRST.changes]);
const TWO = commitOf(2, SECOND.changes);
const THREE = commitOf(3, THIRD.changes);

interface Case {
  readonly journals: readonly (readonly RecordInput[])[];
  readonly data?: readonly RecordInput[];
}

async function rescue(
  t: Test,
  { journals, data = SHARDS }: Case,
): Promise<{ names: string[]; summary: RescueSummary }> {
  const directory = t.testdir();
  const disks = journals.map((journal, index) => makeDisk(directory, { number: index + 1, journal, data }));
  const to = join(directory, 'to');
  const summary = await rescueTo(to, disks);
  const names = readdirSync(to).filter((name) => !name.startsWith('cairn-rescue'));
  return { names, summary };
}

t.test('commits are put together from several disks', async (t) => {
  const { names, summary } = await rescue(t, { journals: [[ONE, THREE], [TWO]] });
  t.same(names, ['first', 'second', 'third']);
  t.match(summary, { complete: true, state: { sequence: 3, promised: 2, snapshot: 0, notes: [] } });
});

t.test('a promised commit that no disk can give ends the state, and is said', async (t) => {
  const { names, summary } = await rescue(t, { journals: [[ONE, THREE]] });
  t.same(names, ['first']);
  t.match(summary, { complete: false, state: { sequence: 1, promised: 2, known: 3 } });
  t.match(summary.state.notes.join('\n'), /commits 2 to 2 were promised, but these disks cannot give commit 2/);
});

t.test('of two commits with one sequence the higher epoch counts', async (t) => {
  const late = commitOf(2, THIRD.changes, { epoch: 2 });
  const { names } = await rescue(t, {
    journals: [
      [ONE, TWO],
      [ONE, late],
    ],
  });
  t.same(names, ['first', 'third']);
});

t.test('a stale disk does not go on where others have turned', async (t) => {
  // Disk 1 was away while a daemon of epoch 2 made another second commit; its third belongs to the old second.
  const late = commitOf(2, THIRD.changes, { epoch: 2 });
  const stale = commitOf(3, fileOf(5, 'stale', 'stale').changes);
  const { names, summary } = await rescue(t, { journals: [[ONE, TWO, stale], [late]] });
  t.same(names, ['first', 'third']);
  t.match(summary.state.notes.join('\n'), /commit 3 cannot be used: its epoch 1 is older/);
});

t.test('the newest snapshot is the base, and what follows it is applied', async (t) => {
  const { names, summary } = await rescue(t, {
    journals: [[ONE], [THREE]],
    data: [...SHARDS, ...snapshotOf(2, 1, [[ROOT], [...FIRST.changes, ...SECOND.changes]])],
  });
  t.same(names, ['first', 'second', 'third']);
  t.match(summary.state, { snapshot: 2, sequence: 3 });
});

t.test('parts of a snapshot may come from several disks', async (t) => {
  const directory = t.testdir();
  const parts = snapshotOf(2, 1, [[ROOT], [...FIRST.changes, ...SECOND.changes]]);
  const disks = [
    makeDisk(directory, { number: 1, data: [...SHARDS, parts[0]!, parts[2]!] }),
    makeDisk(directory, { number: 2, data: [...SHARDS, parts[1]!, parts[2]!] }),
  ];
  const summary = await rescueTo(join(directory, 'to'), disks);
  t.match(summary, { complete: true, restored: { files: 2 }, state: { sequence: 2, snapshot: 2 } });
});

t.test('where the newest snapshot is damaged an older base serves', async (t) => {
  const broken = snapshotOf(3, 1, [[ROOT], [ROOT]]);
  const { names, summary } = await rescue(t, {
    journals: [[ONE, TWO]],
    data: [...SHARDS, ...snapshotOf(1, 1, [[ROOT, ...FIRST.changes]]), ...broken],
  });
  t.same(names, ['first', 'second']);
  t.match(summary, { complete: false, state: { sequence: 2, promised: 3, snapshot: 1 } });
  t.match(summary.state.notes.join('\n'), /the metadata snapshot at commit 3 is of no use/);
});

t.test('a second try of a snapshot does not lend its parts to the first', async (t) => {
  const first = snapshotOf(1, 1, [[ROOT], FIRST.changes]);
  const second = snapshotOf(1, 1, [[ROOT, ...FIRST.changes]]);
  const { names } = await rescue(t, { journals: [[]], data: [...SHARDS, ...first.slice(0, 2), ...second] });
  t.same(names, ['first']);
});

t.test('with nothing to begin with it says so, and leaves nothing behind', async (t) => {
  const directory = t.testdir();
  const disk = makeDisk(directory, { number: 1, journal: [TWO, THREE], data: SHARDS });
  await t.rejects(rescueTo(join(directory, 'to'), [disk]), {
    code: 'UNREADABLE',
    message: /no metadata snapshot can be read from these disks, nor the first commit/,
  });
  t.notOk(existsSync(join(directory, 'to')));
});

t.test('a commit that contradicts what is before it ends the state', async (t) => {
  const { names, summary } = await rescue(t, { journals: [[ONE, commitOf(2, FIRST.changes), THREE]] });
  t.same(names, ['first']);
  t.equal(summary.complete, false);
  t.match(summary.state.notes.join('\n'), /commit 2 contradicts what is before it/);
});

t.test(
  'a last commit without its chunks may have been promised where disks may be missing: it is taken, and listed',
  async (t) => {
    const directory = t.testdir();
    const disk = makeDisk(directory, { number: 1, journal: [ONE, TWO], data: [FIRST.shard] });
    const to = join(directory, 'to');
    const summary = await rescueTo(to, [disk]);
    t.match(summary, { lost: 1, complete: false, state: { sequence: 2 } });
    const report = JSON.parse(readFileSync(join(to, 'cairn-rescue.json'), 'utf8'));
    t.match(report.problems, [
      {
        what: 'lost',
        path: 'second',
        ranges: [{ from: 0, to: 15, why: /no shard of it was found; .*data1-0011: nothing/ }],
      },
    ]);
  },
);

t.test('a last commit without its chunks, while no more disks are missing than may be lost', async (t) => {
  const directory = t.testdir();
  const rescueWith = (name: string, last: RecordInput, given: readonly number[]): Promise<RescueSummary> => {
    const place = join(directory, name);
    const disks = given.map((number) =>
      makeDisk(place, { number, mapOf: 3, journal: [ONE, TWO, last], data: [FIRST.shard, SECOND.shard] }),
    );
    return rescueTo(join(place, 'to'), disks);
  };
  await t.test('was never acknowledged: it is left out', async (t) => {
    for (const given of [
      [1, 2, 3],
      [1, 3],
    ]) {
      const summary = await rescueWith(`left out ${given}`, THREE, given);
      t.match(summary, { complete: true, lost: 0, state: { sequence: 2, promised: 2, known: 3 } });
      t.match(
        summary.state.notes.join('\n'),
        /commit 3 was never known to be acknowledged and some of its chunks are on no disk/,
      );
    }
  });
  await t.test('may have been if a disk was away when it was written, or too many are missing', async (t) => {
    const away = commitOf(3, THIRD.changes, { away: [2] });
    for (const [last, given] of [
      [away, [1, 2]],
      [THREE, [2]],
    ] as const) {
      const summary = await rescueWith(`taken ${given}`, last, given);
      t.match(summary, { complete: false, lost: 1, state: { sequence: 3 } });
    }
  });
});

t.test('a torn record of a higher epoch beyond the watermark does not hide a whole one', async (t) => {
  const directory = t.testdir();
  const torn = commitOf(2, THIRD.changes, { epoch: 2 });
  const disks = [
    makeDisk(directory, { number: 1, journal: [ONE, TWO], data: SHARDS }),
    makeDisk(directory, { number: 2, journal: [ONE, torn], data: SHARDS }),
  ];
  const path = join(disks[1]!, 'log', 'journal-0000000001.log');
  const bytes = readFileSync(path);
  bytes.fill(0, bytes.length - 128);
  writeFileSync(path, bytes);
  const summary = await rescueTo(join(directory, 'to'), disks);
  t.match(summary.state, { sequence: 2, epoch: 1 });
  t.ok(existsSync(join(directory, 'to', 'second')));
});

t.test('two histories: that of the higher epochs is taken, and it is said how to get the other', async (t) => {
  // Disk 2 was used alone by a daemon that did not know of the second and third commit, which had been promised.
  const alone = [commitOf(2, fileOf(5, 'alone', 'alone').changes, { epoch: 9 })];
  const { names, summary } = await rescue(t, {
    journals: [
      [ONE, TWO, THREE, commitOf(4, [])],
      [ONE, ...alone],
    ],
  });
  t.same(names, ['first']);
  t.equal(summary.complete, false);
  t.match(
    summary.state.notes.join('\n'),
    /went on apart from each other from commit 2 on: what .*data1-0011 alone had promised is left out/,
  );
});
