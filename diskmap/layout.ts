/**
 * A map opened for change: which buckets of which failure domain are free, and the groups as lists of (domain, bucket). The mutable side of
 * the diskmap; nothing of it leaves the folder.
 *
 * Invariants: a bucket is free or in exactly one group; a group has at most one bucket in a domain.
 */
import { decodeBucketId, diskOfBucket, encodeBucketId } from './bucket-id.js';
import { domainKey } from './failure-domain.js';
import type { Move } from './moving-members.js';
import { schemeWeight } from './scheme.js';
import type { BucketId, DiskMap, Group, GroupScheme, MapDisk } from './types.js';

/** A bucket of a group: in which domain (an index into `Layout.domains`), and its id. */
export interface Member {
  readonly domain: number;
  readonly bucket: BucketId;
}

export interface OpenGroup {
  readonly id: string;
  scheme: GroupScheme;
  readonly members: Member[];
}

interface OpenDisk {
  readonly disk: MapDisk;
  /** Bucket numbers not in any group, the next one to take last. */
  readonly free: number[];
}

export interface OpenDomain {
  readonly disks: OpenDisk[];
  /** Buckets that its disks offer, used or free. */
  total: number;
  /** Buckets not in any group. */
  free: number;
}

const NONE: ReadonlySet<number> = new Set();

export class Layout {
  readonly domains: OpenDomain[] = [];
  readonly groups: OpenGroup[] = [];
  /** The version the changed map will have. */
  readonly version: number;
  /** What a bucket of the map holds, in bytes; undefined if that is not known. */
  readonly held: ((bucket: BucketId) => number) | undefined;
  readonly #map: DiskMap;
  readonly #disks: readonly MapDisk[];
  readonly #placeOf = new Map<number, { domain: number; open: OpenDisk }>();
  #born = 0;

  /** Opens `map` with `added` disks beside its own, and without the buckets of those `leaving`; `map` itself is not changed. */
  constructor(
    map: DiskMap,
    added: readonly MapDisk[],
    leaving: ReadonlySet<number> = NONE,
    held: ((bucket: BucketId) => number) | undefined = undefined,
  ) {
    this.#map = map;
    this.held = held;
    this.version = map.version + 1;
    const staying = map.disks.map((disk) => (leaving.has(disk.disk) ? { ...disk, buckets: 0 } : disk));
    this.#disks = [...staying, ...added].sort((a, b) => a.disk - b.disk);
    const used = new Map<number, Set<number>>(this.#disks.map((disk) => [disk.disk, new Set()]));
    const fields = map.groups.map((group) => group.buckets.map(decodeBucketId));
    for (const members of fields) for (const { disk, bucket } of members) used.get(disk)!.add(bucket);

    const byKey = new Map<number, number>();
    for (const disk of this.#disks) {
      const taken = used.get(disk.disk)!;
      const free: number[] = [];
      for (let bucket = disk.buckets - 1; bucket >= 0; bucket -= 1) if (!taken.has(bucket)) free.push(bucket);
      const key = domainKey(disk, map.domain);
      let domain = byKey.get(key);
      if (domain === undefined) {
        domain = this.domains.push({ disks: [], total: 0, free: 0 }) - 1;
        byKey.set(key, domain);
      }
      const open = { disk, free };
      const owner = this.domains[domain]!;
      owner.disks.push(open);
      owner.total += disk.buckets;
      owner.free += free.length;
      this.#placeOf.set(disk.disk, { domain, open });
    }
    map.groups.forEach((group, index) => {
      const members = group.buckets.map((bucket, shard) => {
        const disk = fields[index]![shard]!.disk;
        return { domain: this.#placeOf.get(disk)!.domain, bucket };
      });
      this.groups.push({ id: group.id, scheme: group.scheme, members });
    });
  }

  /**
   * Takes a free bucket of a domain that has one, from its disk with most free. Its generation is the low 16 bits of the new map's version: whoever
   * held the place before got it from an older version, so the generation is new there, and nothing needs to remember free places.
   */
  take(domain: number): Member {
    const owner = this.domains[domain]!;
    let from = owner.disks[0]!;
    for (const open of owner.disks) if (open.free.length > from.free.length) from = open;
    const bucket = from.free.pop();
    if (bucket === undefined) throw new Error('diskmap: taking a bucket from a full failure domain');
    owner.free -= 1;
    const { disk, site, row, rack, machine } = from.disk;
    const generation = this.version % 65_536;
    const pool = this.#map.pool.slice(0, 12);
    return { domain, bucket: encodeBucketId({ site, row, rack, machine, disk, bucket, pool, generation }) };
  }

  /** Gives members of groups buckets of other domains; their old ones become free. The shards' indexes in the groups stay. */
  move(moves: readonly Move[]): void {
    for (const { group, member } of moves) this.#free(this.groups[group]!.members[member]!);
    for (const { group, member, to } of moves) this.groups[group]!.members[member] = this.take(to);
  }

  /** Takes groups apart: their buckets become free, and what lies in them has to go to other groups. */
  dissolve(groups: ReadonlySet<OpenGroup>): void {
    for (const group of groups) for (const member of group.members) this.#free(member);
    const kept = this.groups.filter((group) => !groups.has(group));
    this.groups.splice(0, this.groups.length, ...kept);
  }

  /** Whether the member's disk has no buckets any more. */
  isLeaving({ bucket }: Member): boolean {
    return this.#placeOf.get(diskOfBucket(bucket))!.open.disk.buckets === 0;
  }

  #free({ domain, bucket }: Member): void {
    const fields = decodeBucketId(bucket);
    const { open } = this.#placeOf.get(fields.disk)!;
    if (open.disk.buckets === 0) return;
    open.free.push(fields.bucket);
    this.domains[domain]!.free += 1;
  }

  /** Adds a group. Its id is the version it was born in and its number in that version: never used again, as versions only grow. */
  addGroup(scheme: GroupScheme, members: Member[]): void {
    const hex = (value: number): string => value.toString(16).padStart(8, '0');
    this.groups.push({ id: hex(this.version) + hex(this.#born), scheme, members });
    this.#born += 1;
  }

  /** The map as changed. */
  close(): DiskMap {
    const groups = this.groups.map(
      ({ id, scheme, members }): Group => ({
        id,
        scheme,
        buckets: members.map((member) => member.bucket),
        weight: schemeWeight(scheme),
      }),
    );
    return { ...this.#map, version: this.version, disks: this.#disks, groups };
  }
}

/** How many groups have how many buckets: width to count. */
export function widthCounts(groups: readonly { readonly members: readonly unknown[] }[]): Map<number, number> {
  const counts = new Map<number, number>();
  for (const { members } of groups) counts.set(members.length, (counts.get(members.length) ?? 0) + 1);
  return counts;
}
