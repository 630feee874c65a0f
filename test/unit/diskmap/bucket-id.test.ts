import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { type BucketFields, DiskMapError, decodeBucketId, encodeBucketId } from '../../../diskmap/index.js';

const example: BucketFields = {
  site: 1,
  row: 2,
  rack: 3,
  machine: 4,
  disk: 0x0506,
  bucket: 0x0708,
  pool: '0a0b0c0d0e0f',
  generation: 0x1011,
};

t.test('the fields stand where the layout says', async (t) => {
  t.equal(encodeBucketId(example), '01020304050607080a0b0c0d0e0f1011');
  t.same(decodeBucketId('01020304050607080a0b0c0d0e0f1011'), example);
});

t.test('every id comes back from its fields', async () => {
  const byte = fc.integer({ min: 0, max: 255 });
  const word = fc.integer({ min: 0, max: 65_535 });
  const pool = fc.bigInt({ min: 0n, max: 2n ** 48n - 1n }).map((value) => value.toString(16).padStart(12, '0'));
  const fields = fc.record(
    { site: byte, row: byte, rack: byte, machine: byte, disk: word, bucket: word, pool, generation: word },
    { noNullPrototype: true },
  );
  fc.assert(fc.property(fields, (each) => isDeepStrictEqual(decodeBucketId(encodeBucketId(each)), each)));
});

t.test('a field that does not fit is refused and named', async (t) => {
  const bad: [Partial<BucketFields>, RegExp][] = [
    [{ site: 256 }, /site must be an integer from 0 to 255, got 256/],
    [{ row: -1 }, /row must/],
    [{ rack: 1.5 }, /rack must/],
    [{ machine: Number.NaN }, /machine must/],
    [{ disk: 65_536 }, /disk must be an integer from 0 to 65535/],
    [{ bucket: 65_536 }, /bucket must/],
    [{ generation: Number.POSITIVE_INFINITY }, /generation must/],
    [{ pool: '0a0b0c0d0e0' }, /pool must be 12/],
    [{ pool: '0A0B0C0D0E0F' }, /pool must be 12/],
  ];
  for (const [change, message] of bad) {
    t.throws(() => encodeBucketId({ ...example, ...change }), { code: 'INVALID', message });
  }
});

t.test('what is no id is refused', async (t) => {
  const good = encodeBucketId(example);
  for (const bad of ['', good.slice(1), `${good}0`, good.toUpperCase(), `g${good.slice(1)}`, `${good}\n`]) {
    t.throws(() => decodeBucketId(bad), DiskMapError, JSON.stringify(bad));
  }
  t.throws(() => decodeBucketId('x'.repeat(1000)), { message: /\(1000 characters\)/ });
});
