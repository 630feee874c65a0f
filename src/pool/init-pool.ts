/** Makes a pool: sizes its buckets, forms its groups, formats its disks, writes its map and its cairn.toml. */
import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import {
  createMap,
  DiskMapError,
  encodeMap,
  fitBucketBytes,
  type MapDisk,
  plan,
  type SchemeChoice,
} from '../../diskmap/index.js';
import { MAX_CHUNK_BYTES } from '../chunks/chunk-store.js';
import type { DiskIdentity } from '../disks/disk.js';
import { checkNewDisk, createDisk, defaultSegmentBytes } from '../disks/disk-identity.js';
import { MAP_FILE } from '../disks/log-disk.js';
import { CairnError, systemCode } from '../errors/cairn-error.js';
import type { FileIo } from '../io/file-io.js';
import type { Random } from '../io/random.js';
import { type DiskConfig, type PoolConfig, saveConfig } from './config.js';
import { CHUNK_STEP_BYTES, CONFIG_NAME, MIN_CHUNK_BYTES } from './config-limits.js';
import { formatScheme } from './scheme-choice.js';

const BUCKETS_MAX = 65_536;
const CHUNKS_AT_LEAST = 16;
/** Of what is free, what a disk's logs may take; the rest is for its index and for the file system to breathe. */
const CAPACITY_SHARE = 0.95;

export interface InitOptions {
  readonly disks: readonly string[];
  readonly journals: readonly string[];
  readonly cache: string;
  readonly meta: string;
  readonly scheme: SchemeChoice;
  /** Undefined: chosen by the size of the disks. */
  readonly bucketBytes: number | undefined;
  readonly chunkBytes: number | undefined;
  /** What a disk may take at most, by its directory, where that is not all that its device has free. */
  readonly sizes?: ReadonlyMap<string, number>;
}

export interface InitReport {
  readonly pool: string;
  readonly protection: string;
  readonly usableBytes: number;
  readonly groups: readonly { readonly scheme: string; readonly count: number }[];
  readonly findings: readonly string[];
}

/** EXISTS if there is a pool, or a disk in one of the directories; CONFIG if the disks do not fit the scheme. Nothing is written before everything is checked. */
export async function initPool(
  io: FileIo,
  random: Random,
  directory: string,
  options: InitOptions,
): Promise<InitReport> {
  if (await io.exists(join(directory, CONFIG_NAME)))
    throw new CairnError('EXISTS', `there is a pool in ${directory} already`, {
      hint: `mount it: cairn mount ${directory} MOUNTPOINT`,
    });
  const all = [...options.disks, ...options.journals, options.cache];
  const capacities = await capacitiesOf(io, all);
  const pool = random.bytes(16).toString('hex');
  for (const [disk, bytes] of options.sizes ?? []) capacities.set(disk, Math.min(bytes, capacities.get(disk) ?? 0));
  const dataBytes = options.disks.map((disk) => capacities.get(disk)!);
  const bucketBytes = options.bucketBytes ?? fitBucketBytes(dataBytes);
  const mapDisks = mapDisksOf(dataBytes, bucketBytes, 1);
  const tooSmall = mapDisks.findIndex(({ buckets }) => buckets === 0);
  if (tooSmall >= 0)
    throw new CairnError('CONFIG', `the disk at ${options.disks[tooSmall]} is smaller than one bucket`, {
      hint: 'give a smaller --bucket-size, or none',
    });
  const map = groupsOf(pool, bucketBytes, options.scheme, mapDisks);
  const config: PoolConfig = {
    format: 1,
    pool,
    scheme: options.scheme,
    bucketBytes,
    chunkBytes: options.chunkBytes ?? fittingChunkBytes(bucketBytes),
    mode: 'default',
    whenDegraded: 'allow',
    metaDirectory: options.meta,
    cache: { directory: options.cache, sizeBytes: undefined },
    commitDelayMs: 5000,
    scrubDays: 30,
    disks: [
      ...options.disks.map((path, i) => diskConfig(random, path, 'data', i + 1)),
      ...options.journals.map((path) => diskConfig(random, path, 'journal', 0)),
    ],
  };
  const encoded = encodeMap(map);
  const made: { directory: string; identity: DiskIdentity }[] = config.disks.map((disk) => {
    const buckets = map.disks.find((mapDisk) => mapDisk.disk === disk.number)?.buckets;
    return { directory: disk.directory, identity: identityOf(config, disk, buckets, capacities) };
  });
  const cache = cacheIdentity(config, random, capacities.get(options.cache)!);
  made.push({ directory: options.cache, identity: cache });
  // All are asked before one is written: a half-made pool would leave disks that the next try refuses.
  for (const { directory: path, identity } of made) await checkNewDisk(io, path, identity);
  for (const { directory: path, identity } of made) {
    await createDisk(io, path, identity);
    if (identity.role === 'data') await io.replaceFile(join(path, MAP_FILE), encoded);
  }
  mkdirSync(options.meta, { recursive: true, mode: 0o700 });
  await saveConfig(io, directory, config);
  const planned = plan(map);
  return {
    pool,
    protection: protectionOf(planned.survives, options.disks.length),
    usableBytes: planned.usableBytes,
    groups: planned.schemes.map(({ scheme, groups }) => ({ scheme: formatScheme(scheme), count: groups })),
    findings: [...planned.warnings, ...planned.unusable.map(({ reason }) => reason)],
  };
}

/** Disks of one machine for a map, numbered from `first`. */
export function mapDisksOf(diskBytes: readonly number[], bucketBytes: number, first: number): MapDisk[] {
  return diskBytes.map((bytes, i) => ({
    disk: first + i,
    site: 0,
    row: 0,
    rack: 0,
    machine: 0,
    buckets: Math.min(BUCKETS_MAX, Math.floor(bytes / bucketBytes)),
  }));
}

/** The first map of a pool. CONFIG if the disks do not fit the scheme. */
export function groupsOf(pool: string, bucketBytes: number, scheme: SchemeChoice, disks: readonly MapDisk[]) {
  try {
    return createMap({ pool: pool.slice(0, 16), bucketBytes, domain: 'disk', scheme, disks });
  } catch (error) {
    if (!(error instanceof DiskMapError)) throw error;
    throw new CairnError('CONFIG', error.message, { hint: 'give more disks or another --scheme', cause: error });
  }
}

function diskConfig(random: Random, directory: string, role: 'data' | 'journal', number: number): DiskConfig {
  return { directory, uuid: random.bytes(16).toString('hex'), role, number };
}

function identityOf(
  config: PoolConfig,
  disk: DiskConfig,
  buckets: number | undefined,
  capacities: ReadonlyMap<string, number>,
): DiskIdentity {
  const capacityBytes = buckets === undefined ? capacities.get(disk.directory)! : buckets * config.bucketBytes;
  const { uuid, number, role } = disk;
  return { format: 1, pool: config.pool, uuid, number, role, capacityBytes, ...defaultSegmentBytes(capacityBytes) };
}

/** The cache is a disk of its own kind: what is staged there must not be taken for another pool's. */
export function cacheIdentity(config: PoolConfig, random: Random, capacityBytes: number): DiskIdentity {
  return {
    format: 1,
    pool: config.pool,
    uuid: random.bytes(16).toString('hex'),
    number: 0,
    role: 'cache',
    capacityBytes,
    ...defaultSegmentBytes(capacityBytes),
  };
}

/** What each directory may take: directories on one device share what it has free. */
export async function capacitiesOf(io: FileIo, directories: readonly string[]): Promise<Map<string, number>> {
  const devices = new Map<number, string[]>();
  for (const directory of directories) {
    const dev = deviceOf(directory);
    devices.set(dev, [...(devices.get(dev) ?? []), directory]);
  }
  const capacities = new Map<string, number>();
  for (const together of devices.values()) {
    const { freeBytes } = await io.space(together[0]!);
    for (const directory of together)
      capacities.set(directory, Math.floor((freeBytes * CAPACITY_SHARE) / together.length));
  }
  return capacities;
}

function deviceOf(directory: string): number {
  try {
    return statSync(directory).dev;
  } catch (cause) {
    if (systemCode(cause) !== 'ENOENT') throw cause;
    throw new CairnError('NOT_FOUND', `${directory} is not there`, {
      hint: 'mount the disk, and make an empty directory on it',
      cause,
    });
  }
}

/** A bucket whose rest is too small for another shard wastes it: so a small bucket gets small chunks. */
function fittingChunkBytes(bucketBytes: number): number {
  const bytes = Math.floor(bucketBytes / CHUNKS_AT_LEAST / CHUNK_STEP_BYTES) * CHUNK_STEP_BYTES;
  return Math.min(MAX_CHUNK_BYTES, Math.max(MIN_CHUNK_BYTES, bytes));
}

/** The sentence that says what may be lost without losing data; `missing`: how many data disks are not there now. */
export function protectionOf(survives: number, disks: number, missing = 0): string {
  if (survives === 0)
    return 'Not protected against the loss of a disk: there is one copy of everything. Add a second disk.';
  if (missing > 0) {
    const left = survives - missing;
    const more = left > 1 ? `of any ${left} more` : 'of any one more';
    const now = `${missing} of ${disks} disks ${missing === 1 ? 'is' : 'are'} missing`;
    return left > 0
      ? `Everything committed survives the loss ${more}: ${now}.`
      : `Another loss may not be survived: ${now}. Put ${missing === 1 ? 'it' : 'them'} back, or copy the pool elsewhere.`;
  }
  const what = survives === 1 ? 'any one disk' : `any ${survives} disks at once`;
  return `Everything committed survives the loss of ${what} of ${disks}, of the cache and of the metadata directory.`;
}
