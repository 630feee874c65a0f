/** That the planner's groups hold as much as any could: against brute force on small disks, against the theoretical bound on random ones. */
import fc from 'fast-check';
import t from 'tap';
import {
  addDisks,
  createMap,
  type DiskMap,
  fitBucketBytes,
  type GroupScheme,
  type MapDisk,
  mapDifference,
  plan,
  type SchemeChoice,
} from '../../../diskmap/index.js';
import { brokenRule, copies, disksOf, domainName, erasure, inputOf, mapOf, testSeed } from './maps.js';

const seed = testSeed();
t.comment(`SEED=${seed}`);

const usableOf = (groups: DiskMap['groups']): number => groups.reduce((sum, { weight }) => sum + weight, 0);
const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0);

/** The most that groups of two buckets and more can hold, one bucket of each being parity, by trying every group there is. */
function mostOf(free: readonly number[], known: Map<string, number>): number {
  const sorted = free.filter((buckets) => buckets > 0).sort((a, b) => a - b);
  const key = sorted.join();
  let most = known.get(key);
  if (most !== undefined) return most;
  most = 0;
  for (let subset = 1; subset < 2 ** sorted.length; subset += 1) {
    const left = sorted.map((buckets, at) => buckets - ((subset >> at) & 1));
    const width = sum(sorted) - sum(left);
    if (width >= 2) most = Math.max(most, width - 1 + mostOf(left, known));
  }
  known.set(key, most);
  return most;
}

t.test('one loss: no other choice of groups holds more, and the bound is reached', async (t) => {
  const known = new Map<string, number>();
  let compared = 0;
  const sizes = [0, 1, 2, 4];
  for (const a of sizes.slice(1)) {
    for (const b of sizes.slice(1)) {
      for (const c of sizes) {
        for (const d of sizes) {
          for (const e of [0, 3]) {
            const disks = [a, b, c, d, e];
            const usable = usableOf(mapOf(disks).groups);
            const most = mostOf(disks, known);
            if (usable !== most) t.equal(usable, most, `disks of ${disks.join()}`);
            if (usable !== sum(disks) - Math.max(...disks)) t.fail(`the bound of ${disks.join()}`);
            compared += 1;
          }
        }
      }
    }
  }
  t.equal(compared, 288);
});

/** Disks of which the largest is a hundred times the smallest, at most; also many that are equal. */
const manyDisks: fc.Arbitrary<number[]> = fc
  .tuple(fc.integer({ min: 2, max: 64 }), fc.constantFrom(1, 3, 20, 100), fc.integer({ min: 8, max: 24 }))
  .chain(([count, ratio, least]) =>
    fc.array(fc.integer({ min: least, max: least * ratio }), { minLength: count, maxLength: count }),
  );

t.test('2 to 64 disks of ratios up to 1:100: the theoretical maximum, to the bucket', async (t) => {
  const seen = { one: 0, two: 0 };
  fc.assert(
    fc.property(manyDisks, (disks) => {
      const planned = plan(inputOf(disks));
      const bucketBytes = inputOf([]).bucketBytes;
      const sorted = [...disks].sort((a, b) => b - a);
      const all = sum(disks);
      const usable = planned.usableBytes / bucketBytes;
      if (sorted[0]! * 20 >= all) {
        seen.one += 1;
        return planned.survives === 1 && usable === all - sorted[0]! && planned.usableBytes === planned.boundBytes;
      }
      // No disk holds 5 %: two losses. The bound is that of two disks fewer, and that of the widest code.
      seen.two += 1;
      const bound = all - sorted[0]! - sorted[1]!;
      return planned.survives === 2 && usable >= Math.min(bound, all - 2 * Math.ceil(all / 26)) && usable <= bound;
    }),
    { numRuns: 60, seed },
  );
  t.ok(seen.one > 5 && seen.two > 5, fc.stringify(seen));
});

t.test('sizes in bytes: less than 1 % is lost to whole buckets', async () => {
  const bytes = fc
    .tuple(fc.integer({ min: 2, max: 20 }), fc.constantFrom(1, 4, 100))
    .chain(([count, ratio]) =>
      fc.array(fc.integer({ min: 2e11, max: 2e11 * ratio }), { minLength: count, maxLength: count }),
    );
  fc.assert(
    fc.property(bytes, (sizes) => {
      const bucketBytes = fitBucketBytes(sizes);
      const buckets = sizes.map((size) => Math.floor(size / bucketBytes));
      const usable = plan({ ...inputOf(buckets), bucketBytes }).usableBytes;
      return usable >= 0.99 * (sum(sizes) - Math.max(...sizes));
    }),
    { numRuns: 40, seed },
  );
});

/** Whether groups of these widths, the widest first, can be laid over these domains: Gale and Ryser, at every t. */
function fit(widths: readonly number[], capacity: readonly number[]): boolean {
  let needed = 0;
  return widths.every((width, at) => {
    needed += width;
    return needed <= sum(capacity.map((buckets) => Math.min(buckets, at + 1)));
  });
}

/** The most that new groups beside present ones can hold, by trying every list of widths. */
function mostBeside(present: readonly number[], capacity: readonly number[], parity: number): number {
  let most = 0;
  const grow = (fresh: readonly number[], usable: number): void => {
    most = Math.max(most, usable);
    for (let width = parity + 1; width <= (fresh.at(-1) ?? capacity.length); width += 1) {
      const next = [...fresh, width];
      const all = [...present, ...next].sort((a, b) => b - a);
      if (fit(all, capacity)) grow(next, usable + width - parity);
    }
  };
  grow([], 0);
  return most;
}

t.test('a pool that grows: no other new groups hold more beside the present ones', async (t) => {
  const few = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 3 });
  const made = fc.constantFrom<SchemeChoice>('auto', copies(2), copies(3), erasure(2, 1));
  let added = 0;
  fc.assert(
    fc.property(few, few, made, (first, second, scheme) => {
      const older = { ...mapOf([2, 2, 3, ...first], scheme), scheme: 'auto' as const };
      const newer = addDisks(older, disksOf(second, 20));
      const fresh = mapDifference(older, newer).added;
      added += fresh.length;
      const present = older.groups.map(({ buckets }) => buckets.length);
      const capacity = newer.disks.map(({ buckets }) => buckets);
      const parity = scheme !== 'auto' && scheme.kind === 'copies' && scheme.copies === 3 ? 2 : 1;
      return usableOf(fresh) === mostBeside(present, capacity, parity);
    }),
    { numRuns: 200, seed },
  );
  t.ok(added > 100, `${added} groups`);
});

const losses = (scheme: GroupScheme): number => (scheme.kind === 'copies' ? scheme.copies - 1 : scheme.m);

t.test(
  'machines and racks: no group loses more than it survives, and the bound of the domains is reached',
  async (t) => {
    const place = fc.record({ machine: fc.nat(2), rack: fc.nat(3), buckets: fc.nat(30) }, { noNullPrototype: true });
    let made = 0;
    fc.assert(
      fc.property(
        fc.array(place, { minLength: 2, maxLength: 20 }),
        fc.constantFrom('machine', 'rack'),
        (list, domain) => {
          const disks: MapDisk[] = list.map((each, index) => ({ disk: index + 1, site: 0, row: 0, ...each }));
          const totals = new Map<string, number>();
          for (const disk of disks) {
            const name = domainName(disk, domain as 'rack');
            totals.set(name, (totals.get(name) ?? 0) + disk.buckets);
          }
          const offering = [...totals.values()].filter((buckets) => buckets > 0);
          if (offering.length < 2) return true;
          made += 1;
          const map = createMap({ ...inputOf([]), disks, domain: domain as 'rack' });
          if (brokenRule(map) !== undefined) return false;
          // Every domain that is lost takes at most one bucket of a group, and each group survives at least that.
          return (
            map.groups.every(({ scheme }) => losses(scheme) >= 1) &&
            usableOf(map.groups) === sum(offering) - Math.max(...offering)
          );
        },
      ),
      { numRuns: 200, seed },
    );
    t.ok(made > 100, `${made} maps`);
  },
);
