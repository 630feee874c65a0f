import fc from 'fast-check';
import t from 'tap';
import { addDisks, createMap, DiskMapError, plan } from '../../../diskmap/index.js';
import { anyInput, copies, disksOf, erasure, freeBuckets, GIB, inputOf, mapOf } from './maps.js';

t.test('the plan of a typical box', async (t) => {
  const { warnings, unusable, losses, ...rest } = plan(inputOf([93, 93, 93]));
  t.same(rest, {
    rawBytes: 279 * 64 * GIB,
    usableBytes: 186 * 64 * GIB,
    boundBytes: 186 * 64 * GIB,
    overhead: 1.5,
    survives: 1,
    schemes: [{ scheme: erasure(2, 1), groups: 93, usableBytes: 186 * 64 * GIB }],
  });
  t.same(unusable, []);
  t.same(warnings, []);
  t.equal(losses.length, 3);
  t.same(losses[1], {
    disks: [2],
    groups: 93,
    share: 1 / 3,
    lostBytes: 0,
    rebuildBytes: 93 * 64 * GIB,
    readBytes: 186 * 64 * GIB,
  });
});

t.test('what a loss costs: by failure domain, and what is gone where there is one copy', async (t) => {
  t.same(plan(inputOf([3])).losses, [
    { disks: [1], groups: 3, share: 1, lostBytes: 192 * GIB, rebuildBytes: 0, readBytes: 0 },
  ]);
  const machines = disksOf([4, 4, 4]).map((disk) => ({ ...disk, machine: disk.disk === 2 ? 1 : 0 }));
  t.same(
    plan({ ...inputOf([]), disks: machines, domain: 'machine' }).losses.map(({ disks, groups }) => [disks, groups]),
    [
      [[1, 3], 4],
      [[2], 4],
    ],
  );
  t.same(plan(inputOf([4, 4, 0])).losses.length, 2, 'a disk without buckets costs nothing');
});

t.test('what cannot be used is named, with the reason', async (t) => {
  t.same(plan(inputOf([6, 6, 12])).unusable, [
    {
      disk: 3,
      buckets: 6,
      bytes: 6 * 64 * GIB,
      reason:
        '6 of the 12 buckets of disk 3 cannot be used: the smallest group takes a bucket on each of 2 disks, and only 1 disk has any left; they can be used when 1 disk more is there.',
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
    /ec:2\+1 takes a bucket on each of 3 disks, and only 2 disks have any left; they can be used when 1 disk more is there\.$/,
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
  const wide = plan(inputOf(new Array<number>(24).fill(4)));
  t.equal(wide.survives, 2);
  t.equal(wide.usableBytes, wide.boundBytes);
  const mixed = mapOf([4, 4], copies(3 - 1));
  t.equal(plan(addDisks({ ...mixed, scheme: copies(3) }, disksOf([4, 4, 4], 3))).survives, 1);
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
        of.usableBytes <= of.boundBytes &&
        Math.abs(of.losses.reduce((sum, { share }) => sum + share, 0) - 1) < 1e-9 &&
        of.losses.every(({ lostBytes }) => lostBytes > 0 === (of.survives === 0)) &&
        fc.stringify(of) === fc.stringify(plan(map))
      );
    }),
    { numRuns: 600 },
  );
  t.ok(planned > 200);
});
