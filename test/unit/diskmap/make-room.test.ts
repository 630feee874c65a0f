/** Growing: which buckets move when disks are added, and that they are as few as can be. */
import fc from 'fast-check';
import t from 'tap';
import {
  addDisks,
  createMap,
  type DiskMap,
  DiskMapError,
  decodeBucketId,
  type MapInput,
  mapDifference,
  plan,
} from '../../../diskmap/index.js';
import { cheapestFlow } from './cheapest-flow.js';
import {
  anyDisks,
  anyInput,
  brokenRule,
  copies,
  disksOf,
  domainName,
  erasure,
  freeBuckets,
  inputOf,
  mapOf,
  POOL,
} from './maps.js';

/**
 * The fewest buckets that must leave their groups so that new groups of these widths can form: their buckets, less those that free buckets can be
 * (at most one of a domain in a group). By Gale and Ryser the latter are the least, over t, of what the t widest groups can find in the
 * free buckets and all that the others need.
 */
function fewestMoves(widths: readonly number[], free: readonly number[]): number {
  const sorted = [...widths].sort((a, b) => b - a);
  const all = sorted.reduce((sum, width) => sum + width, 0);
  let placed = Number.POSITIVE_INFINITY;
  let rest = all;
  for (let count = 0; count <= sorted.length; count += 1) {
    const found = free.reduce((sum, buckets) => sum + Math.min(buckets, count), 0);
    placed = Math.min(placed, found + rest);
    rest -= sorted[count] ?? 0;
  }
  return all - placed;
}

/** The same, exactly, by disk or whatever the failure domain is. */
function leastMoves(before: DiskMap, newer: DiskMap, widths: readonly number[]): number | undefined {
  const capacity: number[] = [];
  const domainOf = new Map<number, number>();
  const names = new Map<string, number>();
  for (const disk of newer.disks) {
    const name = domainName(disk, newer.domain);
    const domain = names.get(name) ?? names.size;
    names.set(name, domain);
    domainOf.set(disk.disk, domain);
    capacity[domain] = (capacity[domain] ?? 0) + disk.buckets;
  }
  const present = before.groups.map(({ buckets }) =>
    buckets.map((bucket) => domainOf.get(decodeBucketId(bucket).disk)!),
  );
  return cheapestFlow(present, widths, capacity);
}

/** What is wrong with the step from `older` to `newer`, or undefined. */
function brokenStep(older: DiskMap, newer: DiskMap): string | undefined {
  const rule = brokenRule(newer);
  if (rule !== undefined) return rule;
  if (newer.version !== older.version + 1) return 'version';
  const { moved, added, removed } = mapDifference(older, newer);
  if (removed.length > 0) return 'a group is gone';
  // A second copy for a group with one is not a move; what it takes is no longer free for new groups.
  const second = moved.filter(({ from }) => from === undefined);
  const promoted = newer.groups.map((group, index) => {
    const old = older.groups[index];
    if (old === undefined) return undefined;
    if (old.id !== group.id) return `group ${old.id} is in another position`;
    if (old.scheme.kind === group.scheme.kind && old.buckets.length === group.buckets.length) return undefined;
    return old.buckets.length === 1 && group.buckets.length === 2 ? undefined : `scheme of ${group.id}`;
  });
  const wrong = promoted.find((each) => each !== undefined);
  if (wrong !== undefined) return wrong;
  const before: DiskMap = {
    ...older,
    groups: older.groups.map((group) => {
      const gets = second.find((move) => move.group === group.id);
      return gets === undefined ? group : { ...group, buckets: [...group.buckets, gets.to] };
    }),
  };
  const widths = added.map(({ buckets }) => buckets.length);
  const fewest = fewestMoves(widths, freeBuckets(before, newer.disks));
  const moves = moved.length - second.length;
  // The lower bound is nearly always reached; where it is not, the slower method says whether it can be.
  const least = moves > fewest ? leastMoves(before, newer, widths) : fewest;
  // A few more even the disks out, where something has to move anyway.
  const more = least === 0 ? 0 : newer.disks.length;
  if (least === undefined || moves < least || moves > least + more) return `${moves} moves where ${least} do`;
  for (const { from, to } of moved)
    if (from !== undefined && from.slice(0, 12) === to.slice(0, 12)) return 'a move within a disk';
  return undefined;
}

t.test(
  'a fourth disk like the other three: new groups are as wide as they can be, and the disks equally full',
  async (t) => {
    const three = mapOf([10, 10, 10]);
    const four = addDisks(three, disksOf([10], 4));
    t.equal(four.version, 2);
    const { moved, added, removed } = mapDifference(three, four);
    // Three new groups have ten buckets; the new disk gives one to each, so seven of the others' must be freed. Even would be 7.5 of 30.
    t.equal(moved.length, 7);
    t.same(
      added.map(({ scheme }) => scheme),
      [erasure(3, 1), erasure(2, 1), erasure(2, 1)],
    );
    t.same(removed, []);
    t.ok(moved.every(({ to }) => decodeBucketId(to).disk === 4));
    const left = new Map<number, number>();
    for (const { from } of moved) left.set(decodeBucketId(from!).disk, (left.get(decodeBucketId(from!).disk) ?? 0) + 1);
    t.same([...left.values()].sort(), [2, 2, 3]);
    t.same(freeBuckets(four), [0, 0, 0, 0]);
  },
);

t.test('a pool of a fixed scheme grows to what a pool made at once would be', async (t) => {
  const three = mapOf([10, 10, 10], erasure(2, 1));
  const four = addDisks(three, disksOf([10], 4));
  t.equal(four.groups.length, 13);
  t.equal(mapDifference(three, four).moved.length, 7, 'six for room, and one to be as even as can be');
  t.equal(plan(four).usableBytes, plan(inputOf([10, 10, 10, 10], erasure(2, 1))).usableBytes);
});

t.test('a bucket given out again has a new generation', async (t) => {
  const three = mapOf([10, 10, 10]);
  const four = addDisks(three, disksOf([10], 4));
  const before = new Set(three.groups.flatMap(({ buckets }) => buckets));
  const places = new Set([...before].map((bucket) => bucket.slice(0, 16)));
  const again = four.groups
    .flatMap(({ buckets }) => buckets)
    .filter((bucket) => !before.has(bucket) && places.has(bucket.slice(0, 16)));
  t.equal(again.length, 7);
  for (const bucket of again) t.equal(decodeBucketId(bucket).generation, 2);
});

t.test('three disks more: groups over all six, where a fixed scheme moves nothing', async (t) => {
  const six = addDisks(mapOf([10, 10, 10]), disksOf([10, 10, 10], 4));
  t.same(
    plan(six).schemes.map(({ scheme, groups }) => [scheme, groups]),
    [
      [erasure(2, 1), 10],
      [erasure(5, 1), 5],
    ],
  );
  t.equal(mapDifference(mapOf([10, 10, 10]), six).moved.length, 15, 'half of what is there moves to half of the disks');
  const narrow = mapOf([10, 10, 10], erasure(2, 1));
  const twice = addDisks(narrow, disksOf([10, 10, 10], 4));
  t.equal(twice.groups.length, 20);
  t.same(mapDifference(narrow, twice).moved, []);
});

t.test('what a pool survives never falls because a disk is added', async (t) => {
  const wide = mapOf(new Array<number>(24).fill(4));
  t.equal(plan(wide).survives, 2);
  const large = addDisks(wide, disksOf([40, 40], 25));
  t.equal(plan(large).survives, 2, 'although one disk holds more than 5 % then');
  t.ok(large.groups.length > wide.groups.length);
});

t.test('a pool made with 8+3, as auto once did, grows by groups that survive two losses', async (t) => {
  const old: DiskMap = { ...mapOf(new Array<number>(22).fill(6), erasure(8, 3)), scheme: 'auto' };
  const grown = addDisks(old, disksOf([6, 9], 23));
  t.equal(brokenStep(old, grown), undefined);
  t.equal(plan(grown).survives, 2);
  t.ok(grown.groups.length > old.groups.length);
});

t.test('a second disk gives every single copy a second one', async (t) => {
  const one = mapOf([6]);
  const two = addDisks(one, disksOf([9], 2));
  t.equal(plan(two).survives, 1);
  t.equal(two.groups.length, 6);
  const { moved, added } = mapDifference(one, two);
  t.equal(moved.length, 6);
  t.ok(moved.every(({ from, shard, to }) => from === undefined && shard === 1 && decodeBucketId(to).disk === 2));
  t.same(added, []);
  t.equal(plan(addDisks(one, disksOf([4, 4], 2))).survives, 1, 'and so do two smaller ones');

  const short = addDisks(one, disksOf([4], 2));
  t.equal(plan(short).survives, 0, 'where they do not suffice the plan says so');
  t.match(plan(short).warnings, [/^2 of 6 groups keep one copy only: losing disk 1 loses the files in them\.$/]);
  const cured = addDisks(short, disksOf([2], 3));
  t.equal(plan(cured).survives, 1, 'and the next disk cures it');

  t.equal(plan(addDisks(mapOf([6], copies(1)), disksOf([9], 2))).survives, 0, 'who fixed one copy keeps one copy');
});

t.test('three disks from two: the pairs stay, what is new is 2+1', async (t) => {
  const two = mapOf([10, 10]);
  const three = addDisks(two, disksOf([10], 3));
  t.equal(brokenStep(two, three), undefined);
  t.same(
    plan(three).schemes.map(({ scheme, groups }) => [scheme.kind, groups]),
    [
      ['copies', 10],
      ['erasure', 3],
    ],
  );
});

t.test('making room for 2+1 groups leaves room for the pairs that come after them', async (t) => {
  let map = mapOf(new Array<number>(8).fill(1));
  for (const [first, added] of [
    [9, [4, 4]],
    [11, [7, 13]],
    [13, [1]],
  ] as const) {
    const grown = addDisks(map, disksOf(added, first));
    t.equal(brokenStep(map, grown), undefined);
    map = grown;
  }
});

t.test('a disk too small to help changes no group', async (t) => {
  const map = mapOf([10, 10, 10]);
  const more = addDisks(map, disksOf([0, 1], 4));
  t.equal(more.version, 2);
  t.same(more.groups, map.groups);
});

t.test('whatever is added, groups keep ids and rules, and no more moves than must', async (t) => {
  let steps = 0;
  let moves = 0;
  const growth = fc.tuple(
    anyInput,
    fc.array(fc.oneof(anyDisks(0, 1, 2), anyDisks(0, 1, 9)), { minLength: 1, maxLength: 4 }),
  );
  fc.assert(
    fc.property(growth, ([input, additions]) => {
      let map: DiskMap;
      try {
        map = createMap(input);
      } catch {
        return;
      }
      let next = input.disks.length + 1;
      for (const disks of additions) {
        const numbered = disks.map((disk) => ({ ...disk, disk: next++ }));
        let grown: DiskMap;
        try {
          grown = addDisks(map, numbered);
        } catch (error) {
          // One disk in a pool that is to survive the loss of a machine, and now a second in the same machine.
          if (error instanceof DiskMapError && error.code === 'TOO_FEW_DISKS' && map.domain !== 'disk') return;
          throw error;
        }
        const broken = brokenStep(map, grown);
        if (broken !== undefined) throw new Error(broken);
        moves += mapDifference(map, grown).moved.length;
        steps += 1;
        map = grown;
      }
    }),
    { numRuns: 600 },
  );
  t.ok(steps > 400 && moves > 1000, `${steps} steps, ${moves} moves`);
});

t.test('a pool grown with a fixed scheme holds as much as one made at once', async () => {
  const sizes = fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 4 });
  const scheme = fc.constantFrom(copies(2), copies(3), erasure(2, 1), erasure(4, 2));
  fc.assert(
    fc.property(sizes, sizes, sizes, scheme, (first, second, third, fixed) => {
      const start: MapInput = inputOf([1, 2, 3, 4, 5, 6, ...first], fixed);
      let map = createMap(start);
      map = addDisks(map, disksOf(second, 100));
      map = addDisks(map, disksOf(third, 200));
      return plan(map).usableBytes === plan({ ...start, disks: map.disks }).usableBytes;
    }),
    { numRuns: 500 },
  );
});

t.test('adding is refused where it cannot be', async (t) => {
  const map = mapOf([4, 4, 4]);
  t.throws(() => addDisks(map, disksOf([4], 3)), { code: 'INVALID', message: /disk 3 is there twice/ });
  t.throws(() => addDisks({ ...map, version: 0xffff_ffff }, disksOf([4], 4)), { code: 'INVALID' });
  const group = map.groups[0]!;
  const twice = { ...group, id: 'f'.repeat(16) };
  t.throws(() => addDisks({ ...map, groups: [...map.groups, twice] }, []), { message: /in two places of the map/ });
});

t.test('maps of two pools, or in the wrong order, have no difference', async (t) => {
  const map = mapOf([4, 4, 4]);
  const other = createMap({ ...inputOf([4, 4, 4]), pool: POOL.split('').reverse().join('') });
  t.throws(() => mapDifference(map, other), { code: 'INVALID', message: /two pools/ });
  t.throws(() => mapDifference(addDisks(map, []), map), {
    code: 'INVALID',
    message: /version 2 is not older than version 1/,
  });
  const fewer = { ...map, version: 2, groups: map.groups.slice(1) };
  t.same(mapDifference(map, fewer), { moved: [], added: [], removed: [map.groups[0]] });
});
