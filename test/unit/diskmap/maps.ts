/** Disks and maps that the tests of the diskmap share, and what they check of every map. */
import fc from 'fast-check';
import {
  createMap,
  type DiskMap,
  decodeBucketId,
  type FailureDomain,
  type MapDisk,
  type MapInput,
  type SchemeChoice,
} from '../../../diskmap/index.js';

export const POOL = '0123456789abcdef';
export const GIB = 2 ** 30;

/** Disk numbers from `first` on, with these many buckets each, all in one machine. */
export function disksOf(buckets: readonly number[], first = 1): MapDisk[] {
  return buckets.map((each, index) => ({ disk: first + index, site: 0, row: 0, rack: 0, machine: 0, buckets: each }));
}

export function inputOf(buckets: readonly number[], scheme: SchemeChoice = 'auto'): MapInput {
  return { pool: POOL, bucketBytes: 64 * GIB, domain: 'disk', scheme, disks: disksOf(buckets) };
}

export function mapOf(buckets: readonly number[], scheme: SchemeChoice = 'auto'): DiskMap {
  return createMap(inputOf(buckets, scheme));
}

export const copies = (n: number): SchemeChoice => ({ kind: 'copies', copies: n });
export const erasure = (k: number, m: number): SchemeChoice => ({ kind: 'erasure', k, m });

const anyScheme: fc.Arbitrary<SchemeChoice> = fc.constantFrom<SchemeChoice>(
  'auto',
  'auto',
  copies(1),
  copies(2),
  copies(3),
  erasure(2, 1),
  erasure(4, 2),
);

/** Disks of up to 24 buckets, spread over two racks of three machines; up to 30 disks, so that `auto` sometimes goes wide. */
export function anyDisks(first: number, least: number, most: number): fc.Arbitrary<MapDisk[]> {
  const disk = fc.record({ buckets: fc.nat(24), rack: fc.nat(1), machine: fc.nat(2) }, { noNullPrototype: true });
  const uneven = fc.array(disk, { minLength: least, maxLength: most });
  const even = fc
    .tuple(uneven, fc.integer({ min: 1, max: 24 }))
    .map(([list, buckets]) => list.map((each) => ({ ...each, buckets })));
  return fc
    .oneof(uneven, even)
    .map((list) => list.map((each, index) => ({ disk: first + index, site: 0, row: 0, ...each })));
}

export const anyInput: fc.Arbitrary<MapInput> = fc.record({
  pool: fc.constant(POOL),
  bucketBytes: fc.constant(64 * GIB),
  domain: fc.constantFrom<FailureDomain>('disk', 'disk', 'disk', 'machine', 'rack'),
  scheme: anyScheme,
  disks: fc.oneof(anyDisks(1, 1, 8), anyDisks(1, 1, 30)),
});

/** The failure domain of a disk, told independently of the code under test. */
export function domainName(disk: MapDisk, domain: FailureDomain): string {
  const path = [disk.site, disk.row, disk.rack, disk.machine];
  if (domain === 'disk') return `disk ${disk.disk}`;
  return path.slice(0, ['site', 'row', 'rack', 'machine'].indexOf(domain) + 1).join('/');
}

/** Every rule that holds for every map; the first broken one, or undefined. */
export function brokenRule(map: DiskMap): string | undefined {
  const disks = new Map(map.disks.map((disk) => [disk.disk, disk]));
  const taken = new Set<string>();
  const ids = new Set<string>();
  for (const { id, scheme, buckets, weight } of map.groups) {
    if (ids.has(id)) return `group ${id} twice`;
    ids.add(id);
    if (weight !== (scheme.kind === 'copies' ? 1 : scheme.k)) return `weight of ${id}`;
    if (buckets.length !== (scheme.kind === 'copies' ? scheme.copies : scheme.k + scheme.m)) return `width of ${id}`;
    const domains = new Set<string>();
    for (const bucket of buckets) {
      const fields = decodeBucketId(bucket);
      const disk = disks.get(fields.disk);
      if (disk === undefined || fields.bucket >= disk.buckets) return `${bucket} is on no disk`;
      const place = `${fields.disk}:${fields.bucket}`;
      if (taken.has(place)) return `bucket ${place} twice`;
      taken.add(place);
      domains.add(domainName(disk, map.domain));
    }
    if (domains.size !== buckets.length) return `two buckets of ${id} in one ${map.domain}`;
  }
  return undefined;
}

/** Free buckets by failure domain. */
export function freeBuckets(map: DiskMap, disks: readonly MapDisk[] = map.disks): number[] {
  const free = new Map<string, number>();
  const names = new Map(disks.map((disk) => [disk.disk, domainName(disk, map.domain)]));
  const add = (disk: number, count: number): void => {
    const name = names.get(disk);
    if (name !== undefined) free.set(name, (free.get(name) ?? 0) + count);
  };
  for (const disk of disks) add(disk.disk, disk.buckets);
  for (const { buckets } of map.groups) for (const bucket of buckets) add(decodeBucketId(bucket).disk, -1);
  return [...free.values()];
}

/** SEED= of the environment, or a new one; whoever draws from it prints it. */
export function testSeed(): number {
  const given = process.env['SEED'];
  return given === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given);
}
