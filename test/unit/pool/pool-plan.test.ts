import { mkdirSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { addDisks, createMap, type DiskMap, encodeMap } from '../../../diskmap/index.js';
import type { PoolConfig } from '../../../src/pool/config.js';
import { mapDisksOf } from '../../../src/pool/init-pool.js';
import { planDisks, planGrowth, readPoolMap } from '../../../src/pool/pool-plan.js';

const TB = 1e12;
const GIB = 2 ** 30;

t.test('every byte of every disk is used, or said to be unused and why', async (t) => {
  const planned = planDisks([4 * TB, 4 * TB, 10 * TB], 'auto', 64 * GIB);
  t.equal(planned.rawBytes, 18 * TB);
  t.equal(planned.usableBytes, 116 * 64 * GIB);
  t.equal(planned.boundBytes, 8 * TB, 'of whole disks, not of whole buckets');
  t.same(planned.others, { raidzBytes: 8 * TB, btrfsBytes: 8 * TB, shrBytes: 8 * TB });
  for (const { sizeBytes, usedBytes, unusedBytes, reasons } of planned.disks) {
    t.equal(usedBytes + unusedBytes, sizeBytes);
    t.equal(reasons.length > 0, unusedBytes > 0);
  }
  t.match(planned.disks[0]!.reasons, [/^\d+ bytes of disk 1 are less than a bucket\.$/]);
  t.match(planned.disks[2]!.reasons, [/^87 of the 145 buckets of disk 3 cannot be used: .* only 1 disk has any left/]);
  t.match(planned.disks[2]!.loss, { rebuildBytes: 58 * 64 * GIB, readBytes: 116 * 64 * GIB, lostBytes: 0 });
  t.match(planned.findings, [/87 of the 145 buckets/]);
});

t.test('the buckets of a plan fit the disks', async (t) => {
  const planned = planDisks([4 * TB, 4 * TB, 4 * TB, 4 * TB], 'auto');
  t.same(planned.groups, [{ scheme: 'ec:3+1', count: 78, usableBytes: planned.usableBytes }]);
  t.ok(planned.usableBytes > 0.9999 * planned.boundBytes);
});

t.test('one disk, three copies: nothing to compare with', async (t) => {
  t.equal(planDisks([TB], 'auto').others, null);
  t.match(planDisks([TB], 'auto').protection, /Not protected/);
  t.equal(planDisks([TB, TB, TB, TB], { kind: 'copies', copies: 4 }).others, null);
  t.throws(() => planDisks([TB, TB], { kind: 'erasure', k: 2, m: 1 }), { code: 'CONFIG', message: /needs 3 disks/ });
});

function mapOf(buckets: number): DiskMap {
  const disks = mapDisksOf([buckets * GIB, buckets * GIB, buckets * GIB], GIB, 1);
  return createMap({ pool: '0'.repeat(16), bucketBytes: GIB, domain: 'disk', scheme: 'auto', disks });
}

t.test('disks added to a pool: what it would hold, and what moves', async (t) => {
  const planned = planGrowth(mapOf(10), [10 * GIB]);
  t.same(planned.growth, { usableBytesBefore: 20 * GIB, movedBuckets: 7, movedBytes: 7 * GIB });
  t.equal(planned.usableBytes, 27 * GIB);
  t.equal(planned.boundBytes, 30 * GIB);
  t.equal(planned.disks.at(-1)?.disk, 4);
  t.equal(planGrowth(mapOf(10), []).growth, undefined, 'none added: the pool as it is');
});

t.test('the newest map of any disk is the one that is planned with', async (t) => {
  const base = t.testdir();
  const older = mapOf(10);
  const newer = addDisks(older, mapDisksOf([10 * GIB], GIB, 4));
  const directories = ['a', 'b', 'c', 'd'].map((name) => join(base, name));
  const disks = directories.map((directory, at) => ({ directory, uuid: '', role: 'data' as const, number: at + 1 }));
  const config = { disks } as unknown as PoolConfig;
  await t.rejects(readPoolMap({ readFile }, config), { code: 'DISK_MISSING' });
  for (const directory of directories.slice(1)) mkdirSync(directory);
  writeFileSync(join(directories[1]!, 'map'), encodeMap(older));
  writeFileSync(join(directories[2]!, 'map'), encodeMap(newer));
  writeFileSync(join(directories[3]!, 'map'), 'damaged');
  t.same(await readPoolMap({ readFile }, config), newer);
});
