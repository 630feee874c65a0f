/**
 * Which buckets a chunk's shards go to. A chunk goes to the best-ranked group that can take all of its shards: whose disks are online
 * and whose buckets and disks have room. Only where no group can, it goes degraded to the group that can take the most shards,
 * at least as many as reading needs. Shards that stand already are not written again.
 *
 * Room is counted from what is published: chunks in flight can fill a bucket a few MiB beyond `bucketBytes`. The disk's own limit is exact.
 *
 * A chunk that exists is **at home** in the group in whose buckets its shards lie, under that group's scheme, as the present map says. Buckets that the map
 * does not name (any more) are no home: what lies there is read like everything else, and waits to be moved. A shard may stand in any bucket of its group, as
 * long as no two stand on one disk.
 */
import { type BucketId, type DiskMap, diskOfBucket, type Group, type Ranking } from '../../diskmap/index.js';
import type { Disk } from '../disks/disk.js';
import type { ShardInfo, ShardScheme } from '../disks/record.js';
import { type Codec, type Scheme, schemeName } from '../erasure/codec.js';
import { codecFor } from '../erasure/codec-for.js';
import { CairnError } from '../errors/cairn-error.js';
import { SMALL_CHUNK_BYTES } from './chunk-store.js';
import { codecScheme, shardScheme, smallScheme } from './shard-scheme.js';
import type { Disks, Holder, ShardSet } from './shard-set.js';

interface ShardPlace {
  readonly shard: number;
  readonly bucket: BucketId;
  readonly disk: Disk;
}

export interface Plan {
  readonly scheme: ShardScheme;
  readonly codec: Codec;
  readonly shardBytes: number;
  /** Shards to write; without those that stand already. */
  readonly places: readonly ShardPlace[];
  /** Shards that stand and are completed by `places`. */
  readonly standing: number;
  /** With them the chunk is healthy. */
  readonly full: boolean;
}

interface PlaceOptions {
  /** As copies, whatever the length. */
  readonly copies?: boolean;
  /** Disks that just failed. */
  readonly avoid?: ReadonlySet<Disk> | undefined;
  /** What is there already. */
  readonly existing?: ShardSet | undefined;
}

/** Where a chunk is at home, and which of its shards are there. */
export interface Home {
  readonly group: Group;
  readonly set: ShardSet;
  /** Shard → one holder on an online disk, no two on one disk. */
  readonly standing: ReadonlyMap<number, Holder>;
  /** Every shard is there. */
  readonly isComplete: boolean;
}

/** What a record takes beyond its payload, at most: header, padding, and 4 bytes of checksum per 64 KiB. */
const RECORD_OVERHEAD_BYTES = 1024;

export class Placement {
  readonly #map: DiskMap;
  readonly #ranking: Ranking;
  readonly #disks: Disks;
  readonly #diskNumbers = new Map<BucketId, number>();
  readonly #groupOf = new Map<BucketId, Group>();

  constructor(map: DiskMap, ranking: Ranking, disks: Disks) {
    this.#map = map;
    this.#ranking = ranking;
    this.#disks = disks;
    for (const group of map.groups) {
      for (const bucket of group.buckets) {
        this.#diskNumbers.set(bucket, diskOfBucket(bucket));
        this.#groupOf.set(bucket, group);
      }
    }
  }

  /** Whether the map has the bucket. */
  knows(bucket: BucketId): boolean {
    return this.#groupOf.has(bucket);
  }

  /** Whether the shard lies in a bucket of the map, under the scheme of its group. */
  isHome(entry: ShardInfo): boolean {
    const group = this.#groupOf.get(entry.bucket);
    if (group === undefined) return false;
    const { erasure, k, m } = shardScheme(schemeIn(group, entry.chunkBytes));
    return entry.scheme.erasure === erasure && entry.scheme.k === k && entry.scheme.m === m;
  }

  /** The home of the shards of one set: the group that has most of them. undefined if no shard is at home. */
  homeOf(set: ShardSet): Home | undefined {
    const groups = new Map<Group, number>();
    for (const { disk, entry } of set.holders.flat()) {
      if (disk.state !== 'online' || !this.isHome(entry)) continue;
      const group = this.#groupOf.get(entry.bucket)!;
      groups.set(group, (groups.get(group) ?? 0) + 1);
    }
    let group: Group | undefined;
    for (const [each, count] of groups) if (group === undefined || count > groups.get(group)!) group = each;
    if (group === undefined) return undefined;
    const standing = standingIn(set, group);
    return { group, set, standing, isComplete: standing.size === set.codec.shards };
  }

  /**
   * What its home lacks of a chunk, as far as disks can take it. Only the disks' own room counts, not the buckets': what is missing belongs there, and nothing new
   * has gone to a group of which another bucket is full.
   */
  completing({ group, set, standing }: Home, avoid?: ReadonlySet<Disk>): Plan {
    const { codec, chunkBytes } = set;
    const shardBytes = codec.shardBytes(chunkBytes);
    const taken = new Set([...standing.values()].map(({ disk }) => disk));
    const free = new Map<BucketId, Disk>();
    for (const bucket of group.buckets) {
      const disk = this.#diskOf(bucket);
      if (disk?.state !== 'online' || taken.has(disk) || avoid?.has(disk)) continue;
      if (hasRoomOn(disk, shardBytes)) free.set(bucket, disk);
    }
    const places: ShardPlace[] = [];
    const lacking: number[] = [];
    for (let shard = 0; shard < codec.shards; shard++) if (!standing.has(shard)) lacking.push(shard);
    const put = (shard: number, bucket: BucketId | undefined): boolean => {
      const disk = bucket === undefined ? undefined : free.get(bucket);
      if (bucket === undefined || disk === undefined) return false;
      free.delete(bucket);
      places.push({ shard, bucket, disk });
      return true;
    };
    // Each to its own bucket; then what has none of its own (small chunks), or finds it taken or full, to that which holds least.
    const rest =
      chunkBytes <= SMALL_CHUNK_BYTES ? lacking : lacking.filter((shard) => !put(shard, group.buckets[shard]));
    const emptiest = [...free].sort(([a, disk], [b, other]) => disk.bucketBytes(a) - other.bucketBytes(b));
    for (const [at, shard] of rest.entries()) put(shard, emptiest[at]?.[0]);
    return {
      scheme: set.scheme,
      codec,
      shardBytes,
      places,
      standing: standing.size,
      full: places.length === lacking.length,
    };
  }

  /** All shards of the chunk in one group that can take them, one of those that have the `buckets` if possible; undefined if none can take all. */
  whole(chunk: string, chunkBytes: number, buckets: readonly BucketId[]): Plan | undefined {
    const preferred = new Set(buckets.flatMap((bucket) => this.#groupOf.get(bucket) ?? []));
    for (const group of preferred) {
      const plan = this.#placeIn(group, chunk, chunkBytes, {});
      if (typeof plan !== 'string' && plan.full) return plan;
    }
    for (const index of this.#ranking.ranked(chunk)) {
      const plan = this.#placeIn(this.#map.groups[index]!, chunk, chunkBytes, {});
      if (typeof plan !== 'string' && plan.full) return plan;
    }
    return undefined;
  }

  /** NO_SPACE if enough disks are online but none of the groups has room; DISK_FAILED if too few disks are online. */
  place(chunk: string, chunkBytes: number, options: PlaceOptions = {}): Plan {
    let best: Plan | undefined;
    let online = false;
    for (const index of this.#ranking.ranked(chunk)) {
      const plan = this.#placeIn(this.#map.groups[index]!, chunk, chunkBytes, options);
      if (plan === 'no room') online = true;
      if (typeof plan === 'string') continue;
      if (plan.full) return plan;
      if (!best || plan.places.length + plan.standing > best.places.length + best.standing) best = plan;
    }
    if (best) return best;
    if (online) {
      throw new CairnError('NO_SPACE', 'no group of buckets has room for the chunk', {
        hint: 'delete files or add a disk',
      });
    }
    throw new CairnError('DISK_FAILED', `too few disks are online to store a chunk: ${this.describeDisks()}`, {
      hint: 'reconnect the missing disk, or replace it',
    });
  }

  /** Every bucket whose disk can be asked, best-ranked group first. */
  *buckets(hash: string): Generator<{ bucket: BucketId; disk: Disk }> {
    for (const index of this.#ranking.ranked(hash)) {
      for (const bucket of this.#map.groups[index]!.buckets) {
        const disk = this.#diskOf(bucket);
        if (disk && disk.state !== 'offline') yield { bucket, disk };
      }
    }
  }

  /** `disk 1 is online, disk 2 is missing`. */
  describeDisks(): string {
    const numbers = new Set([...this.#diskNumbers.values()].sort((a, b) => a - b));
    if (numbers.size === 0) return 'the pool has no disks';
    return [...numbers]
      .map((number) => {
        const disk = this.#disks.get(number);
        const reason = disk?.stateReason === undefined ? '' : ` (${disk.stateReason})`;
        return `disk ${number} is ${disk?.state ?? 'missing'}${reason}`;
      })
      .join(', ');
  }

  #diskOf(bucket: BucketId): Disk | undefined {
    const number = this.#diskNumbers.get(bucket);
    return number === undefined ? undefined : this.#disks.get(number);
  }

  #placeIn(group: Group, chunk: string, chunkBytes: number, options: PlaceOptions): Plan | 'no room' | 'not online' {
    const small = options.copies === true || chunkBytes <= SMALL_CHUNK_BYTES;
    const scheme: Scheme = small ? smallScheme(group.scheme) : group.scheme;
    const codec = codecFor(scheme);
    const shardBytes = codec.shardBytes(chunkBytes);
    const existing =
      options.existing && sameScheme(codecScheme(options.existing.scheme), scheme) ? options.existing : undefined;
    const standing =
      existing === undefined
        ? new Map<number, Disk>()
        : small
          ? standingCopies(existing)
          : standingShards(existing, group);
    const taken = new Set(standing.values());
    const missing: number[] = [];
    for (let shard = 0; shard < codec.shards; shard++) if (!standing.has(shard)) missing.push(shard);

    let online = standing.size;
    const places: ShardPlace[] = [];
    const offer = (shard: number, bucket: BucketId): void => {
      const disk = this.#diskOf(bucket);
      if (disk?.state !== 'online' || options.avoid?.has(disk) || taken.has(disk)) return;
      online++;
      if (this.#hasRoom(disk, bucket, shardBytes)) places.push({ shard, bucket, disk });
    };
    if (small) {
      const count = group.buckets.length;
      // Digits that the ranking does not look at: within one group, its own would not be spread evenly.
      const start = Number.parseInt(chunk.slice(16, 24), 16) % count;
      for (let i = 0; i < count && places.length < missing.length; i++) {
        offer(missing[places.length]!, group.buckets[(start + i) % count]!);
      }
    } else {
      for (const shard of missing) offer(shard, group.buckets[shard]!);
    }
    if (places.length + standing.size < codec.needed) return online >= codec.needed ? 'no room' : 'not online';
    return {
      scheme: shardScheme(scheme),
      codec,
      shardBytes,
      places,
      standing: standing.size,
      full: places.length === missing.length,
    };
  }

  #hasRoom(disk: Disk, bucket: BucketId, shardBytes: number): boolean {
    return disk.bucketBytes(bucket) + shardBytes <= this.#map.bucketBytes && hasRoomOn(disk, shardBytes);
  }
}

function hasRoomOn(disk: Disk, shardBytes: number): boolean {
  return disk.space().freeBytes >= shardBytes + Math.ceil(shardBytes / 16_384) + RECORD_OVERHEAD_BYTES;
}

function schemeIn(group: Group, chunkBytes: number): Scheme {
  return chunkBytes <= SMALL_CHUNK_BYTES ? smallScheme(group.scheme) : group.scheme;
}

function sameScheme(a: Scheme, b: Scheme): boolean {
  return schemeName(a) === schemeName(b);
}

/** Shard → disk of copies on online disks, wherever they lie: one per disk. */
function standingCopies(set: ShardSet): Map<number, Disk> {
  const standing = new Map<number, Disk>();
  const taken = new Set<Disk>();
  set.holders.forEach((holders, shard) => {
    const holder = holders.find(({ disk }) => disk.state === 'online' && !taken.has(disk));
    if (!holder) return;
    standing.set(shard, holder.disk);
    taken.add(holder.disk);
  });
  return standing;
}

/** Shard → disk of the shards on online disks that lie in their own buckets of the group: only these can be completed without two landing on one disk. */
function standingShards(set: ShardSet, group: Group): Map<number, Disk> {
  const standing = new Map<number, Disk>();
  set.holders.forEach((holders, shard) => {
    const holder = holders.find(({ disk, entry }) => disk.state === 'online' && entry.bucket === group.buckets[shard]);
    if (holder) standing.set(shard, holder.disk);
  });
  return standing;
}

/** Shard → holder in any of the group's buckets, in its own if it is there: one per disk. */
function standingIn(set: ShardSet, group: Group): Map<number, Holder> {
  const standing = new Map<number, Holder>();
  const taken = new Set<Disk>();
  const take = (shard: number, holder: Holder | undefined): void => {
    if (holder === undefined || standing.has(shard)) return;
    standing.set(shard, holder);
    taken.add(holder.disk);
  };
  const find = (holders: readonly Holder[], fits: (bucket: BucketId) => boolean): Holder | undefined =>
    holders.find(({ disk, entry }) => disk.state === 'online' && !taken.has(disk) && fits(entry.bucket));
  set.holders.forEach((holders, shard) => {
    take(
      shard,
      find(holders, (bucket) => bucket === group.buckets[shard]),
    );
  });
  set.holders.forEach((holders, shard) => {
    take(
      shard,
      find(holders, (bucket) => group.buckets.includes(bucket)),
    );
  });
  return standing;
}
