/** What a pool says it holds and still takes, where a disk is larger than the others can make use of. */
import t from 'tap';
import { createMap, plan } from '../../../diskmap/index.js';
import type { Disk } from '../../../src/disks/disk.js';
import { PoolSpace } from '../../../src/pool/pool-space.js';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const CAPACITIES = [2 * GIB, 2 * GIB, 66 * GIB];
const BUCKET = 64 * MIB;

function report(liveBytes: readonly number[]) {
  const map = createMap({
    pool: '0123456789abcdef',
    bucketBytes: BUCKET,
    domain: 'disk',
    scheme: 'auto',
    disks: CAPACITIES.map((bytes, i) => ({
      site: 0,
      row: 0,
      rack: 0,
      machine: 0,
      disk: i + 1,
      buckets: Math.floor(bytes / BUCKET),
    })),
  });
  const disks = CAPACITIES.map((capacityBytes, i) => ({
    identity: { number: i + 1, dataSegmentBytes: 256 * MIB },
    space: () => ({ capacityBytes, liveBytes: liveBytes[i]!, freeBytes: capacityBytes - liveBytes[i]! }),
  })) as unknown as readonly Disk[];
  const space = new PoolSpace({
    map,
    chunkBytes: 4 * MIB,
    disks: () => disks,
    stagedBytes: () => 0,
    sequence: () => 0,
    nowMs: () => 0,
  });
  return { figures: space.report(), planned: plan(map) };
}

t.test('what no group can use of a large disk counts as neither used nor free', async (t) => {
  const empty = report([0, 0, 0]);
  const { usableBytes, overhead } = empty.planned;
  t.equal(empty.figures.usedBytes, 0);
  t.ok(empty.figures.freeBytes <= usableBytes);
  t.ok(empty.figures.freeBytes > 0.85 * usableBytes);

  const half = report([GIB, GIB, GIB]);
  t.equal(half.figures.usedBytes, Math.round((3 * GIB) / overhead), 'plain bytes of all shards');
  t.ok(half.figures.freeBytes + half.figures.usedBytes <= usableBytes);

  const full = report([2 * GIB, 2 * GIB, 2 * GIB]);
  t.equal(full.figures.freeBytes, 0, 'although the large disk has room');
});
