import fc from 'fast-check';
import t from 'tap';
import { createMap, DiskMapError, plan } from '../../../diskmap/index.js';
import { anyInput, copies, disksOf, erasure, freeBuckets, GIB, inputOf, mapOf } from './maps.js';

t.test('the plan of a typical box', async (t) => {
  const { warnings, unusable, ...rest } = plan(inputOf([93, 93, 93]));
  t.same(rest, {
    rawBytes: 279 * 64 * GIB,
    usableBytes: 186 * 64 * GIB,
    overhead: 1.5,
    survives: 1,
    schemes: [{ scheme: erasure(2, 1), groups: 93, usableBytes: 186 * 64 * GIB }],
  });
  t.same(unusable, []);
  t.same(warnings, []);
});

t.test('what cannot be used is named, with the reason', async (t) => {
  t.same(plan(inputOf([6, 6, 12])).unusable, [
    {
      disk: 3,
      buckets: 6,
      reason:
        '6 of the 12 buckets of disk 3 cannot be used: a group of copies:2 takes a bucket on each of 2 disks, and only 1 disk has any left.',
    },
  ]);
  t.same(
    plan(inputOf([2, 5, 6], erasure(2, 1))).unusable.map(({ disk, buckets }) => [disk, buckets]),
    [
      [2, 3],
      [3, 4],
    ],
  );
  t.match(
    plan(inputOf([2, 5, 6], erasure(2, 1))).unusable[0]!.reason,
    /ec:2\+1 takes a bucket on each of 3 disks, and only 2 disks have any left/,
  );
  const machines = disksOf([4, 4, 4]).map((disk) => ({ ...disk, machine: disk.disk === 1 ? 0 : 1 }));
  t.match(
    plan({ ...inputOf([]), disks: machines, domain: 'machine' }).unusable[0]!.reason,
    /2 machines, and only 1 machine has/,
  );
  const map = mapOf([4, 4, 4]);
  t.match(plan({ ...map, groups: map.groups.slice(1) }).unusable[0]!.reason, /^1 of the 4 buckets of disk 1 .* yet\.$/);
});

t.test('what is not protected is said', async (t) => {
  t.same(plan(inputOf([3])).warnings, ['3 of 3 groups keep one copy only: losing disk 1 loses the files in them.']);
  t.equal(plan(inputOf([3])).survives, 0);
  t.match(plan(inputOf([3, 3], copies(1))).warnings, [/losing any of their disks/]);
  t.match(plan(inputOf([3, 3, 3, 0])).warnings, [/^Disk 4 offers no bucket/]);
});

t.test('a plan of several schemes survives what the weakest does', async (t) => {
  t.equal(plan(inputOf(new Array<number>(24).fill(4))).survives, 2);
  t.equal(plan(inputOf(new Array<number>(22).fill(4))).survives, 3);
});

t.test('a map without groups has a plan', async (t) => {
  const empty = plan({ ...mapOf([1, 1, 1]), groups: [] });
  t.equal(empty.usableBytes, 0);
  t.equal(empty.survives, 0);
  t.equal(empty.overhead, 0);
});

t.test('usable bytes are what the groups give, and every bucket is in a group or explained', async (t) => {
  let planned = 0;
  fc.assert(
    fc.property(anyInput, (input) => {
      let of: ReturnType<typeof plan>;
      try {
        of = plan(input);
      } catch (error) {
        return error instanceof DiskMapError && error.code === 'TOO_FEW_DISKS';
      }
      planned += 1;
      const map = createMap(input);
      let usable = 0;
      let inGroups = 0;
      for (const { scheme, buckets } of map.groups) {
        usable += scheme.kind === 'copies' ? 1 : scheme.k;
        inGroups += buckets.length;
      }
      const raw = input.disks.reduce((sum, { buckets }) => sum + buckets, 0);
      const unused = of.unusable.reduce((sum, { buckets }) => sum + buckets, 0);
      return (
        of.usableBytes === usable * input.bucketBytes &&
        of.usableBytes === of.schemes.reduce((sum, each) => sum + each.usableBytes, 0) &&
        of.rawBytes === raw * input.bucketBytes &&
        inGroups + unused === raw &&
        unused === freeBuckets(map).reduce((sum, free) => sum + free, 0) &&
        of.overhead === inGroups / usable &&
        fc.stringify(of) === fc.stringify(plan(map))
      );
    }),
    { numRuns: 600 },
  );
  t.ok(planned > 200);
});
