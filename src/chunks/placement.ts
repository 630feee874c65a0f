/**
 * Which buckets a chunk's shards go to. A chunk goes to the best-ranked group that can take all of its shards: whose disks are online
 * and whose buckets and disks have room. Only where no group can, it goes degraded to the group that can take the most shards,
 * at least as many as reading needs. Shards that stand already are not written again.
 *
 * Room is counted from what is published: chunks in flight can fill a bucket a few MiB beyond `bucketBytes`. The disk's own limit is exact.
 *
 * A chunk may be **asked for** under another scheme than its group's (a directory's policy says so). It goes to the best-ranked group that has as many buckets as the scheme has shards; the first
 * shard to one of them that the chunk's name picks, as with small chunks. Which schemes have ever been asked for is told to the placement, so that it knows such chunks for what they are.
 *
 * A chunk that exists is **at home** in the group in whose buckets its shards lie, under that group's scheme or one that has been asked for, as the present map says. Buckets that the map
 * does not name (any more) are no home: what lies there is read like everything else, and waits to be moved. A shard may stand in any bucket of its group, as
 * long as no two stand on one disk.
 */
import {
  type BucketId,
  type DiskMap,
  diskOfBucket,
  type Group,
  type Ranking,
  schemeSurvives,
} from '../../diskmap/index.js';
import type { Disk } from '../disks/disk.js';
import { type Compression, isSameScheme, type ShardInfo, type ShardScheme, storedBytes } from '../disks/record.js';
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
  /** Of what the shards are made from. */
  readonly compression: Compression | undefined;
  readonly shardBytes: number;
  /** What is there already of a compressed chunk: the new shards are made from what this holds, since the chunk compressed once more may be other bytes. */
  readonly source: ShardSet | undefined;
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
  /** What the chunk was compressed to, if it is: where nothing stands that decides that. */
  readonly compression?: Compression | undefined;
  /** Instead of the group's. */
  readonly asked?: Scheme | undefined;
  /** All that is there, under whatever scheme: no record of it is replaced by one of another scheme, so that it can be read until the new ones are safe. */
  readonly sets?: readonly ShardSet[] | undefined;
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
  readonly #asked: readonly Scheme[];

  constructor(map: DiskMap, ranking: Ranking, disks: Disks, asked: readonly Scheme[] = []) {
    this.#asked = asked;
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
    if (isScheme(entry, group.scheme)) return true;
    return this.#asked.some((scheme) => isScheme(entry, scheme) && isWideEnough(group, scheme, entry.chunkBytes));
  }

  /** Of the schemes that have been asked for, the one under which some of the sets are kept: the one that survives most. */
  askedOf(sets: readonly ShardSet[]): Scheme | undefined {
    let best: Scheme | undefined;
    for (const scheme of this.#asked) {
      const isKept = sets.some((set) => set.readable && isScheme(set, scheme));
      if (isKept && (best === undefined || schemeSurvives(scheme) > schemeSurvives(best))) best = scheme;
    }
    return best;
  }

  /** As `place`, under the scheme that is asked for; undefined where no group can take it so. */
  placeAsked(chunk: string, chunkBytes: number, options: PlaceOptions & { readonly asked: Scheme }): Plan | undefined {
    let best: Plan | undefined;
    for (const index of this.#ranking.ranked(chunk)) {
      const plan = this.#placeIn(this.#map.groups[index]!, chunk, chunkBytes, options);
      if (typeof plan === 'string') continue;
      if (plan.full) return plan;
      if (best === undefined || plan.places.length + plan.standing > best.places.length + best.standing) best = plan;
    }
    return best;
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
    const { codec, chunkBytes, compression, shardBytes } = set;
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
      compression,
      shardBytes,
      source: compression === undefined ? undefined : set,
      places,
      standing: standing.size,
      full: places.length === lacking.length,
    };
  }

  /** All shards of the chunk in one group that can take them, one of those that have the `buckets` if possible; undefined if none can take all. */
  whole(
    chunk: string,
    chunkBytes: number,
    buckets: readonly BucketId[],
    options: { readonly compression: Compression | undefined; readonly asked: Scheme | undefined },
  ): Plan | undefined {
    const preferred = new Set(buckets.flatMap((bucket) => this.#groupOf.get(bucket) ?? []));
    for (const group of preferred) {
      const plan = this.#placeIn(group, chunk, chunkBytes, options);
      if (typeof plan !== 'string' && plan.full) return plan;
    }
    for (const index of this.#ranking.ranked(chunk)) {
      const plan = this.#placeIn(this.#map.groups[index]!, chunk, chunkBytes, options);
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
    const { asked } = options;
    const base = asked ?? group.scheme;
    const small = options.copies === true || chunkBytes <= SMALL_CHUNK_BYTES;
    const scheme: Scheme = small ? smallScheme(base) : base;
    const codec = codecFor(scheme);
    if (codec.shards > group.buckets.length) return 'no room';
    // Its shards have no buckets of their own in the group.
    const isSpread = small || asked !== undefined;
    const source =
      options.existing?.compression !== undefined && options.existing.readable ? options.existing : undefined;
    const fitting = options.existing?.compression === undefined ? options.existing : source;
    const existing = fitting && sameScheme(codecScheme(fitting.scheme), scheme) ? fitting : undefined;
    const standing =
      existing === undefined
        ? new Map<number, Disk>()
        : isSpread
          ? standingAnywhere(existing)
          : standingShards(existing, group);
    const compression = source?.compression ?? (standing.size > 0 ? undefined : options.compression);
    const shardBytes = codec.shardBytes(storedBytes({ chunkBytes, compression }));
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
    if (isSpread) {
      const count = group.buckets.length;
      // Digits that the ranking does not look at: within one group, its own would not be spread evenly.
      const start = Number.parseInt(chunk.slice(16, 24), 16) % count;
      const lacking = [...missing];
      for (let i = 0; i < count && lacking.length > 0; i++) {
        const bucket = group.buckets[(start + i) % count]!;
        const at = lacking.findIndex((shard) => !isOccupied(options.sets, existing, bucket, shard));
        if (at === -1) continue;
        const before = places.length;
        offer(lacking[at]!, bucket);
        if (places.length > before) lacking.splice(at, 1);
      }
    } else {
      for (const shard of missing) offer(shard, group.buckets[shard]!);
    }
    if (places.length + standing.size < codec.needed) return online >= codec.needed ? 'no room' : 'not online';
    return {
      scheme: shardScheme(scheme),
      codec,
      compression,
      shardBytes,
      source,
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

function schemeFor(scheme: Scheme, chunkBytes: number): Scheme {
  return chunkBytes <= SMALL_CHUNK_BYTES ? smallScheme(scheme) : scheme;
}

/** Shards of a chunk of this length under the scheme are such as these. */
function isScheme(kept: Pick<ShardInfo, 'scheme' | 'chunkBytes'>, scheme: Scheme): boolean {
  return isSameScheme(kept.scheme, shardScheme(schemeFor(scheme, kept.chunkBytes)));
}

function isWideEnough({ buckets }: Group, scheme: Scheme, chunkBytes: number): boolean {
  return codecFor(schemeFor(scheme, chunkBytes)).shards <= buckets.length;
}

function sameScheme(a: Scheme, b: Scheme): boolean {
  return schemeName(a) === schemeName(b);
}

/** A record of this shard number, of another set, lies in the bucket: on a disk, the newest of one bucket, chunk and shard counts, whatever its scheme. */
function isOccupied(
  sets: readonly ShardSet[] | undefined,
  own: ShardSet | undefined,
  bucket: BucketId,
  shard: number,
): boolean {
  return (
    sets?.some((set) => set !== own && (set.holders[shard] ?? []).some(({ entry }) => entry.bucket === bucket)) === true
  );
}

/** Shard → disk of shards on online disks, wherever they lie: one per disk. */
function standingAnywhere(set: ShardSet): Map<number, Disk> {
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
