import fc from 'fast-check';
import t from 'tap';
import { fitBucketBytes } from '../../../diskmap/index.js';
import { GIB, testSeed } from './maps.js';

const TB = 1e12;

t.test('buckets divide the disks nearly evenly, and are as large as that allows', async (t) => {
  t.equal(fitBucketBytes([6 * 1024 * GIB, 6 * 1024 * GIB]), 64 * GIB, 'exactly 96');
  const four = fitBucketBytes([4 * TB, 4 * TB, 4 * TB]);
  t.equal(Math.floor((4 * TB) / four), 78, 'more than 64, and next to nothing left over');
  t.ok((4 * TB) % four < 100 * 1024 ** 2);
  const mixed = [1 * TB, 2 * TB, 3 * TB, 4 * TB];
  for (const size of mixed) t.ok(size % fitBucketBytes(mixed) < 0.001 * size, `${size}`);
});

t.test('a small disk gets small buckets, down to 1 MiB', async (t) => {
  t.equal(fitBucketBytes([16 * GIB, 16 * GIB]), GIB / 4);
  t.equal(fitBucketBytes([1024 ** 3, 128 * 1024 ** 2]), 2 * 1024 ** 2);
  t.equal(fitBucketBytes([1024 ** 2 * 3]), 1024 ** 2);
  t.ok((50 * TB) / fitBucketBytes([50 * TB, 1024 ** 3]) <= 65_536, 'a bucket number has 16 bits');
});

t.test('whatever the disks: from 1 MiB to 64 GiB, whole blocks, the same in any order', async (t) => {
  const seed = testSeed();
  t.comment(`SEED=${seed}`);
  const sizes = fc.array(fc.integer({ min: 1024 ** 2, max: 50 * TB }), { minLength: 1, maxLength: 64 });
  fc.assert(
    fc.property(sizes, (bytes) => {
      const bucket = fitBucketBytes(bytes);
      return (
        bucket >= 1024 ** 2 &&
        bucket <= 64 * GIB &&
        bucket % 65_536 === 0 &&
        Math.max(...bytes) / bucket <= 65_536 &&
        bucket === fitBucketBytes(bytes.toReversed())
      );
    }),
    { numRuns: 100, seed },
  );
});
