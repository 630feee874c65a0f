import fc from 'fast-check';
import t from 'tap';
import { createMap, DiskMapError, decodeBucketId, type GroupScheme, type MapInput } from '../../../diskmap/index.js';
import { anyInput, brokenRule, copies, disksOf, erasure, inputOf, mapOf } from './maps.js';

/** `ec:2+1 ×6, copies:2 ×1`. */
function summary(buckets: readonly number[], scheme: Parameters<typeof inputOf>[1] = 'auto'): string {
  const counts = new Map<string, number>();
  for (const { scheme: of } of mapOf(buckets, scheme).groups) counts.set(label(of), (counts.get(label(of)) ?? 0) + 1);
  return [...counts].map(([name, count]) => `${name} ×${count}`).join(', ');
}

function label(scheme: GroupScheme): string {
  return scheme.kind === 'copies' ? `copies:${scheme.copies}` : `ec:${scheme.k}+${scheme.m}`;
}

const times = (count: number, buckets: number): number[] => new Array<number>(count).fill(buckets);

t.test('auto picks the scheme from the disks', async (t) => {
  t.equal(summary([5]), 'copies:1 ×5', 'one disk: one copy');
  t.equal(summary([5, 3]), 'copies:2 ×3', 'two: two copies');
  t.equal(summary([5, 0, 3]), 'copies:2 ×3', 'a disk without buckets does not count');
  t.equal(summary([6, 6, 6]), 'ec:2+1 ×6');
  t.equal(summary([6, 6, 12]), 'ec:2+1 ×6', 'the big disk has nobody to pair with');
  t.equal(summary([6, 12, 12]), 'ec:2+1 ×6, copies:2 ×6', 'then copies on what is left');
  t.equal(summary([10, 10, 10, 10]), 'ec:3+1 ×10', 'as wide as the disks allow');
  t.equal(summary([2, 2, 4, 4]), 'ec:2+1 ×4', 'never wider than it pays: this holds as much as 3+1 and copies:2');
  t.equal(summary([3, 7, 9, 10]), 'ec:3+1 ×1, ec:2+1 ×8', 'widths differ by one at most');
  t.equal(summary(times(20, 11)), 'ec:19+1 ×11', 'twenty disks: each holds 5 %, not less');
  t.equal(
    summary(times(21, 11)),
    'ec:19+2 ×11',
    'twenty-one: the second parity comes where it costs what the disk adds',
  );
  t.equal(summary(times(26, 4)), 'ec:24+2 ×4', 'the widest');
  t.equal(summary(times(40, 4)), 'ec:21+2 ×6, ec:20+2 ×1', 'more disks: as few groups as hold all');
  t.equal(summary([...times(24, 4), 30]), 'ec:16+1 ×6', 'one disk that is too large keeps one parity');
});

t.test('a fixed scheme is honoured and nothing else', async (t) => {
  t.equal(summary([6, 12, 12], erasure(2, 1)), 'ec:2+1 ×6');
  t.equal(summary([6, 6, 6], copies(2)), 'copies:2 ×9');
  t.equal(summary([4, 4], copies(1)), 'copies:1 ×8');
  t.equal(summary([3, 3, 3, 3, 3, 3, 9], erasure(4, 2)), 'ec:4+2 ×3');
});

t.test('too few disks: the message says how many are needed and there', async (t) => {
  const code = 'TOO_FEW_DISKS';
  t.throws(() => mapOf([5, 5], erasure(2, 1)), {
    code,
    message: 'ec:2+1 needs 3 disks with room for a bucket; there are 2',
  });
  t.throws(() => mapOf([5, 0], copies(2)), {
    code,
    message: 'copies:2 needs 2 disks with room for a bucket; there is 1',
  });
  t.throws(() => mapOf([0, 0]), { code, message: /one copy needs 1 disk with room for a bucket; there are 0/ });
  t.throws(() => mapOf([]), { code });
  t.throws(() => createMap({ ...inputOf([4, 4]), domain: 'machine' }), {
    code,
    message: /surviving the loss of a machine needs 2 machines; all 2 disks are in the same one/,
  });
});

t.test('bad input is refused with the rule it breaks', async (t) => {
  const good = inputOf([4, 4, 4]);
  const bad: [Partial<MapInput>, RegExp][] = [
    [{ pool: 'abc' }, /pool "abc" must be 16/],
    [{ bucketBytes: 0 }, /bucketBytes/],
    [{ bucketBytes: 2 ** 53 }, /bucketBytes/],
    [{ domain: 'house' as 'site' }, /failure domain "house" must be one of disk, machine/],
    [{ scheme: copies(0) }, /copies:0: from 1 to 16/],
    [{ scheme: erasure(2, 0) }, /ec:2\+0/],
    [{ scheme: erasure(25, 3) }, /ec:25\+3/],
    [{ disks: disksOf([4, 4], 0) }, /disk must be an integer from 1 to 65535, got 0/],
    [{ disks: disksOf([4, 65_537]) }, /disk 2: buckets must be an integer from 0 to 65536/],
    [{ disks: [...disksOf([4]), ...disksOf([4])] }, /disk 1 is there twice/],
    [{ disks: disksOf([4]).map((disk) => ({ ...disk, rack: 256 })) }, /rack must/],
  ];
  for (const [change, message] of bad) t.throws(() => createMap({ ...good, ...change }), { code: 'INVALID', message });
});

t.test('whatever the disks, the map keeps the rules, and a map is made or a clear error given', async (t) => {
  let made = 0;
  fc.assert(
    fc.property(anyInput, (input) => {
      try {
        const map = createMap(input);
        made += 1;
        return brokenRule(map) === undefined && map.groups.length > 0 && map.version === 1;
      } catch (error) {
        return error instanceof DiskMapError && error.code === 'TOO_FEW_DISKS';
      }
    }),
    { numRuns: 1000 },
  );
  t.ok(made > 300, 'most inputs make a map');
});

t.test('the order of the disks does not matter', async () => {
  fc.assert(
    fc.property(fc.array(fc.nat(9), { minLength: 3, maxLength: 9 }), (buckets) => {
      const input = inputOf([1, 1, 1, ...buckets]);
      return fc.stringify(createMap(input)) === fc.stringify(createMap({ ...input, disks: input.disks.toReversed() }));
    }),
  );
});

t.test('every disk shares groups with every other, so that all take part in a rebuild', async (t) => {
  const partners = new Map<number, Set<number>>();
  for (const { buckets } of mapOf(times(8, 60)).groups) {
    const disks = buckets.map((bucket) => decodeBucketId(bucket).disk);
    for (const disk of disks)
      for (const other of disks) partners.set(disk, (partners.get(disk) ?? new Set()).add(other));
  }
  for (const [disk, others] of partners) t.equal(others.size, 8, `disk ${disk}`);
});

t.test('the largest pool that is meant is formed whole', async (t) => {
  const map = mapOf(times(64, 800), erasure(2, 1));
  t.equal(map.groups.length, 17_066);
  t.equal(brokenRule(map), undefined);
  const wide = mapOf(times(64, 800));
  t.equal(wide.groups.length, 1970);
  t.equal(brokenRule(wide), undefined);
});
