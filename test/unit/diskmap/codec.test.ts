import { isDeepStrictEqual } from 'node:util';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import { addDisks, createMap, type DiskMap, decodeMap, encodeMap } from '../../../diskmap/index.js';
import { anyInput, disksOf, erasure, mapOf, POOL } from './maps.js';

/** A small map with every field different from zero somewhere. */
const golden: DiskMap = {
  format: 1,
  version: 7,
  pool: 'fedcba9876543210',
  bucketBytes: 2 ** 36,
  domain: 'machine',
  scheme: erasure(4, 2),
  disks: [
    { disk: 1, site: 1, row: 2, rack: 3, machine: 4, buckets: 2 },
    { disk: 0x0203, site: 1, row: 2, rack: 3, machine: 5, buckets: 65_536 },
  ],
  groups: [
    {
      id: '0000000700000001',
      scheme: { kind: 'copies', copies: 2 },
      buckets: ['0102030400010001fedcba9876540006', '010203050203fffffedcba9876540007'],
      weight: 1,
    },
  ],
};

const GOLDEN_HEX = [
  '434149524e4d4150', // CAIRNMAP
  '0100', // format
  '01', // failure domain: machine
  '020402', // scheme: erasure, 4, 2
  '0000',
  '64000000', // length: 100
  '07000000', // version
  '0000000010000000', // bytes of a bucket
  'fedcba9876543210', // pool
  '02000000', // disks
  '01000000', // groups
  '010001020304000002000000', // disk 1
  '030201020305000000000100', // disk 515
  '0000000700000001', // group id
  '01020000', // copies:2
  '010001000600', // disk 1, bucket 1, generation 6
  '0302ffff0700', // disk 515, bucket 65535, generation 7
].join('');

function sealed(body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(body.length + 4);
  bytes.set(body);
  new DataView(bytes.buffer).setUint32(body.length, crc32(body), true);
  return bytes;
}

t.test('golden bytes: the layout, field by field', async (t) => {
  const bytes = sealed(Buffer.from(GOLDEN_HEX, 'hex'));
  t.equal(Buffer.from(encodeMap(golden)).toString('hex'), Buffer.from(bytes).toString('hex'));
  t.same(decodeMap(bytes), golden);
});

t.test('every map comes back', async (t) => {
  let made = 0;
  fc.assert(
    fc.property(anyInput, (input) => {
      let map: DiskMap;
      try {
        map = addDisks(createMap(input), disksOf([3, 8], 1000));
      } catch {
        return true;
      }
      made += 1;
      return isDeepStrictEqual(decodeMap(encodeMap(map)), map);
    }),
    { numRuns: 300 },
  );
  t.ok(made > 100);
});

t.test('bytes at an odd offset of a larger buffer decode as well', async (t) => {
  const bytes = encodeMap(golden);
  const large = new Uint8Array(bytes.length + 7);
  large.set(bytes, 3);
  t.same(decodeMap(large.subarray(3, 3 + bytes.length)), golden);
});

t.test('every truncation and every changed byte is refused', async (t) => {
  const bytes = encodeMap(mapOf([2, 3, 4]));
  const code = 'CORRUPT';
  const refused = (changed: Uint8Array): boolean => {
    try {
      decodeMap(changed);
      return false;
    } catch (error) {
      return (error as { code?: unknown }).code === code;
    }
  };
  for (let length = 0; length < bytes.length; length += 1) {
    if (!refused(bytes.subarray(0, length))) t.fail(`${length} bytes of ${bytes.length}`);
  }
  for (let at = 0; at < bytes.length; at += 1) {
    const changed = bytes.slice();
    changed[at]! ^= 1 << (at % 8);
    if (!refused(changed)) t.fail(`byte ${at} changed`);
  }
  t.throws(() => decodeMap(new Uint8Array([...bytes, 0])), { code });
});

t.test('a sealed lie is refused for what it is', async (t) => {
  const lie = (hexAt: number, digits: string, message: RegExp): void => {
    const hex = GOLDEN_HEX.slice(0, hexAt * 2) + digits + GOLDEN_HEX.slice(hexAt * 2 + digits.length);
    t.throws(() => decodeMap(sealed(Buffer.from(hex, 'hex'))), { code: 'CORRUPT', message }, message.source);
  };
  lie(0, '44', /does not begin with CAIRNMAP/);
  lie(8, '0200', /format 2 is not known to this version of Cairn, which reads 1/);
  lie(10, '05', /failure domain 5/);
  lie(11, '030000', /scheme 3,0,0/);
  lie(11, '000100', /scheme 0,1,0/);
  lie(11, '020101', /scheme ec:1\+1/);
  lie(14, '01', /must be zero/);
  lie(16, '65', /says that it has 101 bytes, and has 100/);
  lie(20, '00000000', /version must be/);
  lie(24, '0000000000000080', /bucketBytes/);
  lie(40, 'ffffffff', /4294967295 disks and 1 groups do not fit/);
  lie(44, 'ffffffff', /4294967295 groups do not fit/);
  lie(44, '00000000', /24 bytes are left over/);
  lie(54, '01', /must be zero/);
  lie(60, '0100', /disk 515, which is not in the map/);
  lie(56, '01000000', /lies beyond the end of disk 1/);
  lie(80, '000000', /has no scheme/);
  lie(80, '0103', /ends within group 0 of 1/);
  lie(83, '01', /must be zero/);
  lie(84, '0400', /disk 4, which is not in the map/);
  lie(90, '01000000', /has two buckets on one machine/);
});

t.test('a map that breaks a rule is not encoded', async (t) => {
  const map = mapOf([2, 2, 2]);
  const group = map.groups[0]!;
  const bad: [Partial<DiskMap>, RegExp][] = [
    [{ version: 0 }, /version/],
    [{ format: 2 as 1 }, /format 2/],
    [{ pool: POOL.toUpperCase() }, /pool/],
    [{ pool: 'f'.repeat(16) }, /names another pool/],
    [{ groups: [group, group] }, /is there twice/],
    [{ groups: [{ ...group, weight: 3 }] }, /weight 3, ec:2\+1 weighs 2/],
    [{ groups: [{ ...group, id: '1' }] }, /group id "1"/],
    [{ groups: [{ ...group, buckets: group.buckets.slice(1) }] }, /has 2 buckets, ec:2\+1 takes 3/],
  ];
  for (const [change, message] of bad) t.throws(() => encodeMap({ ...map, ...change }), { code: 'INVALID', message });
});
