/** The rules of other systems, and that the table in docs/planner.md says what the planner gives, and that it gives at least as much as the best. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { compareSystems, fitBucketBytes, type GroupScheme, type Plan, plan } from '../../../diskmap/index.js';
import { inputOf, testSeed } from './maps.js';

const TB = 1e12;
/** Of the room, what whole buckets may cost where others are taken at their theoretical best. */
const ROUNDING = 0.001;

/** Sizes in TB. */
const ONE_LOSS: readonly (readonly number[])[] = [
  [4, 4],
  [2, 6],
  [6, 6, 6],
  [4, 4, 8],
  [2, 4, 4],
  [1, 2, 3, 4],
  [4, 4, 4, 4],
  [2, 2, 8, 8],
  [3, 3, 4, 12],
  [8, 8, 8, 8, 8],
  [4, 4, 8, 8, 12],
  [0.5, 1, 2, 4, 18],
  [10, 10, 10, 10, 10, 10],
  [4, 4, 8, 8, 16, 16, 16, 16],
  [18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18],
  [16, 16, 16, 16, 20, 20, 20, 20, 24, 24, 24, 24],
];
const TWO_LOSSES: readonly (readonly number[])[] = [
  new Array<number>(21).fill(20),
  new Array<number>(24).fill(20),
  [...new Array<number>(14).fill(8), ...new Array<number>(12).fill(12)],
];

t.test('what others give', async (t) => {
  const of = (sizes: readonly number[], losses: 1 | 2 = 1) => {
    const { boundBytes, raidzBytes, btrfsBytes, shrBytes } = compareSystems(sizes, losses);
    return [boundBytes, raidzBytes, btrfsBytes, shrBytes];
  };
  t.same(of([4, 4, 4, 4]), [12, 12, 8, 12]);
  t.same(of([1, 2, 3, 4]), [6, 3, 5, 6]);
  t.same(of([6, 2]), [2, 2, 2, 2]);
  t.same(of([3, 3, 4, 12]), [10, 9, 10, 10]);
  t.same(of([5]), [0, 0, 0, 0], 'one disk survives nothing');
  t.same(of([]), [0, 0, 0, 0]);
  t.same(of([4, 4, 4, 4], 2), [8, 8, 5, 8]);
  t.same(of([2, 3, 9, 0], 2), [2, 2, 2, 0], 'SHR-2 begins with four disks');
});

function planOf(terabytes: readonly number[]): Plan {
  const sizes = terabytes.map((size) => size * TB);
  const bucketBytes = fitBucketBytes(sizes);
  return plan({ ...inputOf(sizes.map((size) => Math.floor(size / bucketBytes))), bucketBytes });
}

/** `4 × 18`, `2 + 6`. */
function mixText(sizes: readonly number[]): string {
  const counts = new Map<number, number>();
  for (const size of sizes) counts.set(size, (counts.get(size) ?? 0) + 1);
  return [...counts].map(([size, count]) => (count === 1 ? `${size}` : `${count} × ${size}`)).join(' + ');
}

function schemeText(scheme: GroupScheme): string {
  return scheme.kind === 'copies' ? `copies:${scheme.copies}` : `ec:${scheme.k}+${scheme.m}`;
}

const inTb = (bytes: number): string => (bytes / TB).toFixed(2).replace(/\.?0+$/, '');

function table(mixes: readonly (readonly number[])[], losses: 1 | 2): string {
  const others = losses === 1 ? ['RAIDZ1', 'btrfs raid1', 'SHR'] : ['RAIDZ2', 'btrfs raid1c3', 'SHR-2'];
  const rows = mixes.map((mix) => {
    const { boundBytes, raidzBytes, btrfsBytes, shrBytes } = compareSystems(
      mix.map((size) => size * TB),
      losses,
    );
    const planned = planOf(mix);
    const unused = planned.unusable.reduce((sum, { bytes }) => sum + bytes, 0);
    return [
      mixText(mix),
      inTb(mix.reduce((sum, size) => sum + size * TB, 0)),
      inTb(boundBytes),
      `**${inTb(planned.usableBytes)}**`,
      ...[raidzBytes, btrfsBytes, shrBytes].map(inTb),
      planned.schemes.map(({ scheme }) => schemeText(scheme)).join(', '),
      inTb(unused),
    ];
  });
  const head = ['disks', 'raw', 'bound', 'Cairn', ...others, "Cairn's groups", 'left over'];
  const cells = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  const left = (column: number): boolean => column === 0 || column === 7;
  const rule = widths.map((width, column) => (left(column) ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`));
  return [head, rule, ...rows]
    .map((row) => row.map((cell, at) => (left(at) ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!))))
    .map((row) => `| ${row.join(' | ')} |`)
    .join('\n');
}

t.test('the tables in docs/planner.md are what the planner says', async (t) => {
  const text = readFileSync(join(import.meta.dirname, '../../../../docs/planner.md'), 'utf8');
  const lines = (from: string): string => text.split(`<!-- ${from} -->`)[1]?.split('<!-- end -->')[0]?.trim() ?? '';
  t.equal(lines('one loss'), table(ONE_LOSS, 1));
  t.equal(lines('two losses'), table(TWO_LOSSES, 2));
});

t.test('at least as much as the best of the others, and within 1 % of the bound', async (t) => {
  for (const [mixes, losses] of [
    [ONE_LOSS, 1],
    [TWO_LOSSES, 2],
  ] as const) {
    for (const mix of mixes) {
      const { boundBytes, raidzBytes, btrfsBytes, shrBytes } = compareSystems(
        mix.map((size) => size * TB),
        losses,
      );
      const planned = planOf(mix);
      const best = Math.max(raidzBytes, btrfsBytes, shrBytes);
      t.equal(planned.survives, losses, mixText(mix));
      t.ok(
        planned.usableBytes >= best * (1 - ROUNDING),
        `${mixText(mix)}: ${inTb(planned.usableBytes)} of ${inTb(best)}`,
      );
      t.ok(planned.usableBytes >= 0.99 * boundBytes && planned.usableBytes <= boundBytes, `${mixText(mix)}: bound`);
    }
  }
});

t.test('nobody exceeds the bound, and the planner reaches what the best of them does', async () => {
  const seed = testSeed();
  t.comment(`SEED=${seed}`);
  const buckets = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 2, maxLength: 20 });
  fc.assert(
    fc.property(buckets, (disks) => {
      const { boundBytes, raidzBytes, btrfsBytes, shrBytes } = compareSystems(disks, 1);
      const best = Math.max(raidzBytes, btrfsBytes, shrBytes);
      const input = inputOf(disks);
      return best <= boundBytes && plan(input).usableBytes >= best * input.bucketBytes;
    }),
    { numRuns: 60, seed },
  );
});
