/** What a pool says it holds and still takes, where a disk is larger than the others can make use of. */
import t from 'tap';
import { createMap, plan, type SchemeChoice } from '../../../diskmap/index.js';
import type { Disk } from '../../../src/disks/disk.js';
import { PoolSpace } from '../../../src/pool/pool-space.js';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const CAPACITIES = [2 * GIB, 2 * GIB, 66 * GIB];
const BUCKET = 64 * MIB;

/** `fullShare`: of each bucket of the disk, what is full; `away`: numbers of disks that are; `crowded`: of disks of which others have taken the rest. */
function spaceOf(
  fullShare: readonly number[],
  { scheme = 'auto', away = [], crowded = [] }: { scheme?: SchemeChoice; away?: number[]; crowded?: number[] } = {},
) {
  const map = createMap({
    pool: '0123456789abcdef',
    bucketBytes: BUCKET,
    domain: 'disk',
    scheme,
    disks: CAPACITIES.map((bytes, i) => ({
      site: 0,
      row: 0,
      rack: 0,
      machine: 0,
      disk: i + 1,
      buckets: Math.floor(bytes / BUCKET),
    })),
  });
  const disks = CAPACITIES.map((capacityBytes, i) => {
    const liveBytes = fullShare[i]! * capacityBytes;
    const isCrowded = crowded.includes(i + 1);
    const freeBytes = isCrowded ? 0 : capacityBytes - liveBytes;
    return {
      identity: { number: i + 1, dataSegmentBytes: 256 * MIB, journalSegmentBytes: 16 * MIB },
      bucketBytes: () => fullShare[i]! * BUCKET,
      space: () => ({ capacityBytes, liveBytes, segmentBytes: liveBytes, journalBytes: 0, freeBytes, isCrowded }),
    };
  }).filter(({ identity }) => !away.includes(identity.number)) as unknown as readonly Disk[];
  const space = new PoolSpace({
    map,
    chunkBytes: 4 * MIB,
    disks: () => disks,
    stagedBytes: () => 0,
    sequence: () => 0,
    nowMs: () => 0,
  });
  return { space, figures: space.report(), planned: plan(map) };
}

t.test('what no group can use of a large disk counts as neither used nor free', async (t) => {
  const empty = spaceOf([0, 0, 0]);
  const { usableBytes, overhead } = empty.planned;
  t.equal(empty.figures.usedBytes, 0);
  t.ok(empty.figures.freeBytes <= usableBytes);
  t.ok(empty.figures.freeBytes > 0.8 * usableBytes);

  const half = spaceOf([0.5, 0.5, GIB / (66 * GIB)]);
  t.equal(half.figures.usedBytes, Math.round((3 * GIB) / overhead), 'plain bytes of all shards');
  t.ok(half.figures.freeBytes + half.figures.usedBytes <= usableBytes);

  const full = spaceOf([1, 1, 2 / 66]);
  t.equal(full.figures.freeBytes, 0, 'although the large disk has room');
});

t.test('room on one disk is none where the others of its groups are full', async (t) => {
  const scheme = { kind: 'erasure', k: 2, m: 1 } as const;
  t.ok(spaceOf([0, 0, 0], { scheme }).figures.freeBytes > 0);
  t.equal(spaceOf([1, 0, 0], { scheme }).figures.freeBytes, 0, 'every chunk would lack a shard');
  const away = spaceOf([1, 0, 0], { scheme, away: [1] }).figures.freeBytes;
  t.ok(away > 0, 'with the disk away that is all that can be had');
});

t.test('a disk that others have filled stops nobody while its groups can do without it', async (t) => {
  const scheme = { kind: 'erasure', k: 2, m: 1 } as const;
  const away = spaceOf([0, 0, 0], { scheme, away: [1] });
  const { space, figures } = spaceOf([0, 0, 0], { scheme, crowded: [1] });
  t.equal(figures.freeBytes, 0, 'all that is free would lack a shard');
  const wanted = 0.7 * away.figures.freeBytes;
  t.ok(away.space.takes(wanted));
  t.ok(space.takes(wanted), 'and is taken all the same');
  t.notOk(space.takes(1.1 * away.figures.freeBytes));
  t.notOk(spaceOf([0, 0, 0], { scheme, crowded: [1, 2] }).space.takes(1), 'two of three are too many');
  t.notOk(spaceOf([1, 1, 1], { scheme }).space.takes(1), 'what fills a disk is not always others');
});

t.test('small files are copies: they take more than their bytes', async (t) => {
  const { space, figures } = spaceOf([0, 0, 0], { scheme: { kind: 'erasure', k: 2, m: 1 } });
  t.ok(space.takes(0.7 * figures.freeBytes));
  t.notOk(space.takes(0.8 * figures.freeBytes), 'as small chunks they would take 4/3 of it');
  t.notOk(space.takes(0, figures.freeBytes / 1024), 'each file has records of its own');
});
