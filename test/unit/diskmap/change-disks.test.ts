/** Disks that leave a map and disks that take their place: rules, promises to the groups that stay, evenness, and how much moves. */
import fc from 'fast-check';
import t from 'tap';
import {
  addDisks,
  changeDisks,
  createMap,
  type DiskMap,
  DiskMapError,
  decodeBucketId,
  type MapDisk,
  mapDifference,
  plan,
} from '../../../diskmap/index.js';
import { anyDisks, anyInput, brokenRule, copies, disksOf, domainName, erasure, mapOf, testSeed } from './maps.js';

const seed = testSeed();
t.comment(`SEED=${seed}`);

const bucketsOn = (map: DiskMap, groups: DiskMap['groups']): Map<number, number> => {
  const counts = new Map<number, number>(map.disks.map(({ disk }) => [disk, 0]));
  for (const { buckets } of groups)
    for (const bucket of buckets) {
      const { disk } = decodeBucketId(bucket);
      counts.set(disk, counts.get(disk)! + 1);
    }
  return counts;
};
const change = (map: DiskMap, remove: number[], add: MapDisk[] = [], neededBytes = 0): DiskMap =>
  changeDisks(map, { remove, add, neededBytes });

t.test(
  'a fourth disk like three full ones: within 2 % of even, with no more than 1.1 times the moves that takes',
  async (t) => {
    let worst = 0;
    for (let buckets = 64; buckets <= 400; buckets += 5) {
      const three = mapOf([buckets, buckets, buckets]);
      const four = addDisks(three, disksOf([buckets], 4));
      const old = new Set(three.groups.map(({ id }) => id));
      // Full disks: every bucket of the present groups holds equally much, those of new groups nothing.
      const held = bucketsOn(
        four,
        four.groups.filter(({ id }) => old.has(id)),
      );
      const even = (3 * buckets) / 4;
      for (const each of held.values()) worst = Math.max(worst, Math.abs(each / even - 1));
      const { moved } = mapDifference(three, four);
      if (moved.length > 1.1 * even) t.fail(`${moved.length} moves for ${even}`);
    }
    t.ok(worst < 0.02, `${worst}`);
  },
);

t.test('a disk that takes the place of another takes over its buckets, and nothing else moves', async (t) => {
  const four = mapOf([9, 7, 12, 8]);
  const next = change(four, [3], disksOf([12], 5));
  const { moved, added, removed } = mapDifference(four, next);
  t.same([added, removed], [[], []]);
  t.equal(moved.length, bucketsOn(four, four.groups).get(3));
  t.ok(moved.every(({ from, to }) => decodeBucketId(from!).disk === 3 && decodeBucketId(to).disk === 5));
  t.equal(plan(next).usableBytes, plan(four).usableBytes);
  t.same(
    next.disks.find(({ disk }) => disk === 3),
    { ...four.disks[2], buckets: 0 },
    'its number is taken for ever',
  );
  const larger = change(four, [3], disksOf([20], 5));
  t.ok(plan(larger).usableBytes >= plan(four).usableBytes);
  const smaller = change(four, [3], disksOf([4], 5));
  t.equal(brokenRule(smaller), undefined);
});

t.test('buckets that are not full: it is bytes that become even, with as many moves', async (t) => {
  let worst = 0;
  let unweighed = 0;
  fc.assert(
    fc.property(fc.integer({ min: 64, max: 120 }), fc.integer(), (buckets, salt) => {
      const three = mapOf([buckets, buckets, buckets]);
      // As hashing fills groups: all buckets of one alike, from two thirds to full.
      const fill = new Map(three.groups.map(({ id }, i) => [id, 1000 - (((i * 7919 + salt) >>> 3) % 333)]));
      const of = new Map(three.groups.flatMap(({ id, buckets: all }) => all.map((bucket) => [bucket, fill.get(id)!])));
      const bytesOn = (map: DiskMap): number[] =>
        [1, 2, 3, 4].map((number) =>
          map.groups.reduce(
            (sum, { id, buckets: all }) =>
              sum + (fill.get(id) ?? 0) * all.filter((bucket) => decodeBucketId(bucket).disk === number).length,
            0,
          ),
        );
      const off = (map: DiskMap): number => {
        const bytes = bytesOn(map);
        const even = bytes.reduce((sum, each) => sum + each, 0) / 4;
        return Math.max(...bytes.map((each) => Math.abs(each / even - 1)));
      };
      const add = disksOf([buckets], 4);
      const weighed = changeDisks(three, { remove: [], add, neededBytes: 0, held: (bucket) => of.get(bucket) ?? 0 });
      const plain = addDisks(three, add);
      worst = Math.max(worst, off(weighed));
      unweighed = Math.max(unweighed, off(plain));
      return (
        mapDifference(three, weighed).moved.length === mapDifference(three, plain).moved.length &&
        brokenRule(weighed) === undefined
      );
    }),
    { numRuns: 60, seed },
  );
  t.ok(worst < 0.01, `${worst}`);
  t.ok(unweighed > worst, `${unweighed} without`);
});

t.test('what has just been added goes again without a trace', async (t) => {
  const three = mapOf([64, 64, 64]);
  const back = change(addDisks(three, disksOf([64], 4)), [4]);
  t.equal(plan(back).usableBytes, plan(three).usableBytes);
  t.same(new Set(back.groups.map(({ id }) => id)), new Set(three.groups.map(({ id }) => id)), 'the groups are kept');
});

t.test('what is needed decides how much is taken apart', async (t) => {
  // Two pairs of sizes: kept groups between the small ones leave the large one without partners.
  const map = mapOf([4, 4, 4, 4], erasure(3, 1));
  const three = change({ ...map, scheme: 'auto' }, [4]);
  t.equal(plan(three).usableBytes, 8 * map.bucketBytes, 'none of 3+1 can stay');
  t.same(
    three.groups.map(({ scheme }) => scheme),
    new Array(4).fill(erasure(2, 1)),
  );
  t.throws(() => change(map, [4]), { code: 'TOO_FEW_DISKS' });
  t.throws(() => change(map, [5]), { code: 'INVALID', message: /no disk 5/ });
  t.throws(() => change(three, [4]), { code: 'INVALID', message: /no disk 4/ }, 'it has left already');
  t.throws(() => change(three, [], disksOf([4], 4)), { code: 'INVALID', message: /twice/ });
  const pairs = addDisks(mapOf([6, 6], copies(2)), disksOf([6, 6], 3));
  const shrunk = change({ ...pairs, scheme: 'auto' }, [4], [], 12 * map.bucketBytes);
  t.equal(plan(shrunk).usableBytes, 12 * map.bucketBytes, 'the pairs had to go: three disks of 6 hold 12');
});

t.test(
  'whatever leaves and comes: the rules hold, groups that stay keep what they can, every moment is safe',
  async (t) => {
    let steps = 0;
    let kept = 0;
    let dissolved = 0;
    const step = fc.record({
      add: fc.oneof(fc.constant<MapDisk[]>([]), anyDisks(0, 1, 3)),
      remove: fc.array(fc.nat(), { maxLength: 2 }),
      needs: fc.constantFrom(0, 0.5, 1),
    });
    fc.assert(
      fc.property(anyInput, fc.array(step, { minLength: 1, maxLength: 5 }), (input, changes) => {
        let map = mapFrom(() => createMap(input));
        let next = input.disks.length + 1;
        for (const { add, remove, needs } of changes) {
          if (map === undefined) return;
          const older = map;
          const there = older.disks.filter(({ buckets }) => buckets > 0).map(({ disk }) => disk);
          const leaving = [...new Set(remove.map((each) => there[each % there.length]!))];
          const neededBytes = needs * plan(older).usableBytes;
          const numbered = add.map((disk) => ({ ...disk, disk: next++ }));
          const held = (bucket: string): number => Number.parseInt(bucket.slice(12, 16), 16) % 7;
          map = mapFrom(() =>
            changeDisks(older, { remove: leaving, add: numbered, neededBytes, ...(neededBytes > 0 && { held }) }),
          );
          if (map === undefined) return;
          const broken = brokenRule(map) ?? brokenChange(older, map, leaving);
          if (broken !== undefined) throw new Error(broken);
          const { removed } = mapDifference(older, map);
          steps += 1;
          dissolved += removed.length;
          kept += older.groups.length - removed.length;
        }
      }),
      { numRuns: 500, seed },
    );
    t.ok(steps > 500 && kept > 1000 && dissolved > 100, `${steps} steps, ${kept} groups kept, ${dissolved} dissolved`);
  },
);

function mapFrom(make: () => DiskMap): DiskMap | undefined {
  try {
    return make();
  } catch (error) {
    if (error instanceof DiskMapError && error.code === 'TOO_FEW_DISKS') return undefined;
    throw error;
  }
}

/** What a change must not do; undefined if it did none of it. */
function brokenChange(older: DiskMap, newer: DiskMap, leaving: readonly number[]): string | undefined {
  if (newer.version !== older.version + 1) return 'the version';
  for (const number of leaving) {
    if (newer.disks.find(({ disk }) => disk === number)?.buckets !== 0) return `disk ${number} has buckets`;
  }
  const disks = new Map(newer.disks.map((disk) => [disk.disk, disk]));
  const domain = (bucket: string): string => domainName(disks.get(decodeBucketId(bucket).disk)!, newer.domain);
  const before = new Map(older.groups.map((group) => [group.id, group]));
  for (const group of newer.groups) {
    const old = before.get(group.id);
    if (old === undefined) continue;
    if (JSON.stringify(old.scheme) !== JSON.stringify(group.scheme) && old.buckets.length > 1)
      return `scheme of ${group.id}`;
    // Old and new places in any mixture: no two shards may ever meet on a disk. (An only copy cannot be less safe than it was; and of two disks in one machine, one
    // may leave while the other takes: there it is the order of copying and removing that keeps every moment safe.)
    if (old.buckets.length === 1 || newer.domain !== 'disk') continue;
    for (const [at, to] of group.buckets.entries()) {
      const from = old.buckets[at];
      if (from === to) continue;
      if (before.size > 0 && older.groups.some(({ buckets }) => buckets.includes(to)))
        return `${to} was given out before`;
      for (const [other, place] of old.buckets.entries())
        if (other !== at && domain(place) === domain(to))
          return `shard ${at} of ${group.id} comes to where shard ${other} was`;
    }
  }
  return undefined;
}
