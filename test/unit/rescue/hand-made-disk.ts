/**
 * Disks written byte by byte, for what no daemon would write: commits of one's choosing, records that contradict each other, hostile names. And
 * what rescue makes of them.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createMap, encodeMap } from '../../../diskmap/index.js';
import { loadAddon } from '../../../native/addon.js';
import { contentHash } from '../../../src/chunks/content-hash.js';
import type { RecordInput } from '../../../src/disks/record.js';
import {
  encodeRecordHeader,
  headerBytes,
  type LogRecord,
  nameLength,
  payloadLength,
  payloadParts,
  recordBytes,
} from '../../../src/disks/record-codec.js';
import { encodeChanges, encodeCommit } from '../../../src/meta/row-codec.js';
import type { Commit, ExtentRow, InodeRow, RowChange } from '../../../src/meta/rows.js';
import { encodeSnapshotPosition } from '../../../src/meta/snapshot-position.js';
import { type ListedEntry, listPool, type RescueSummary, restorePool } from '../../../src/rescue/rescue.js';

const addon = loadAddon();
const POOL = '00112233445566778899aabbccddeeff';
const BUCKET = `0000000000000001${POOL.slice(0, 12)}0000`.padStart(32, '0');
const SEGMENT_BYTES = 1024 * 1024;
export const TIME = { sec: 1_700_000_000, nsec: 123_456_789 };

export interface HandMadeDisk {
  readonly number: number;
  readonly pool?: string;
  readonly role?: 'data' | 'journal';
  /** With a map of a pool of so many data disks, ec:2+1 or copies, numbered from 1. */
  readonly mapOf?: number;
  readonly data?: readonly RecordInput[];
  readonly journal?: readonly RecordInput[];
}

/** Writes the disk and returns its directory. */
export function makeDisk(parent: string, disk: HandMadeDisk): string {
  const { number, pool = POOL, role = 'data', data = [], journal = [] } = disk;
  const directory = join(parent, `${role}${number}-${pool.slice(0, 4)}`);
  const uuid = createHash('md5').update(`${pool}${role}${number}`).digest('hex');
  mkdirSync(join(directory, 'log'), { recursive: true });
  const identity = {
    format: 1,
    pool,
    uuid,
    number: role === 'data' ? number : 0,
    role,
    capacityBytes: 1024 * SEGMENT_BYTES,
    dataSegmentBytes: SEGMENT_BYTES,
    journalSegmentBytes: SEGMENT_BYTES,
  };
  const checksum = createHash('sha256').update(JSON.stringify(identity)).digest('hex');
  writeFileSync(join(directory, 'cairn-disk.json'), JSON.stringify({ identity, checksum }));
  if (disk.mapOf !== undefined) {
    const disks = Array.from({ length: disk.mapOf }, (_, index) => index + 1).map((each) => ({
      ...{ disk: each, site: 0, row: 0, rack: 0, machine: 0 },
      buckets: 16,
    }));
    const map = createMap({
      pool: pool.slice(0, 16),
      bucketBytes: SEGMENT_BYTES,
      domain: 'disk',
      scheme: 'auto',
      disks,
    });
    writeFileSync(join(directory, 'map'), encodeMap(map));
  }
  const owner = uuid.slice(0, 16);
  writeSegment(join(directory, 'log', 'journal-0000000001.log'), 'journal', 1, owner, 1, journal);
  writeSegment(join(directory, 'log', 'data-0000000002.log'), 'data', 2, owner, 100_000, data);
  return directory;
}

function writeSegment(
  path: string,
  name: string,
  generation: number,
  owner: string,
  firstSequence: number,
  records: readonly RecordInput[],
): void {
  const all: LogRecord[] = [{ kind: 'segment', name, segmentBytes: SEGMENT_BYTES }, ...records];
  writeFileSync(
    path,
    Buffer.concat(
      all.map((record, index) => encodeRecord(record, { generation, owner, logSequence: firstSequence + index })),
    ),
  );
}

function encodeRecord(
  record: LogRecord,
  stamp: { readonly generation: number; readonly owner: string; readonly logSequence: number },
): Buffer {
  const payload = payloadLength(record);
  const name = nameLength(record);
  const bytes = Buffer.alloc(recordBytes(payload, name));
  encodeRecordHeader(record, stamp, addon.crc32c, bytes, 0);
  Buffer.concat(payloadParts(record)).copy(bytes, headerBytes(payload, name));
  return bytes;
}

export function commitOf(sequence: number, changes: readonly RowChange[], more: Partial<Commit> = {}): RecordInput {
  const commit: Commit = {
    sequence,
    epoch: 1,
    acknowledged: sequence - 1,
    stagedThrough: 0,
    nextIno: 1000,
    changes,
    ...more,
  };
  const { epoch, acknowledged } = commit;
  return { kind: 'commit', sequence, epoch, acknowledged, payload: [encodeCommit(commit)] };
}

/** All parts of a snapshot: its position, and one part per list of changes. */
export function snapshotOf(sequence: number, epoch: number, parts: readonly (readonly RowChange[])[]): RecordInput[] {
  const payloads = [
    encodeSnapshotPosition({ sequence, epoch, stagedThrough: 0, nextIno: 1000 }),
    ...parts.map((changes) => encodeChanges(changes)),
  ];
  return payloads.map((payload, part) => ({
    kind: 'snapshot',
    sequence,
    epoch,
    part,
    last: part === parts.length,
    payload: [payload],
  }));
}

export function inodeOf(ino: number, mode: number, more: Partial<InodeRow> = {}): RowChange {
  const row: InodeRow = {
    ino,
    version: 1,
    mode,
    uid: process.getuid?.() ?? 0,
    gid: process.getgid?.() ?? 0,
    nlink: 1,
    rdev: 0,
    sizeBytes: 0,
    atime: TIME,
    mtime: TIME,
    ctime: TIME,
    btime: TIME,
    target: '',
    contentStage: 0,
    ...more,
  };
  return { kind: 'inode', before: row.version - 1, row };
}

export function nameOf(parent: number, name: string, ino: number, isDirectory = false): RowChange {
  return { kind: 'dentry', before: 0, row: { parent, name, ino, isDirectory, version: 1 } };
}

export const ROOT: RowChange = inodeOf(1, 0o040755, { nlink: 2 });

/** A file at the top, with one copy of its content as a shard record per call. */
export function fileOf(
  ino: number,
  name: string,
  text: string,
  parent = 1,
): { readonly changes: RowChange[]; readonly shard: RecordInput; readonly extent: ExtentRow } {
  const bytes = Buffer.from(text);
  const extent = extentOf(bytes);
  return {
    changes: [
      inodeOf(ino, 0o100644, { sizeBytes: bytes.length }),
      nameOf(parent, name, ino),
      { kind: 'extents', ino, from: 0, to: bytes.length, extents: [extent] },
    ],
    shard: copyOf(bytes),
    extent,
  };
}

export function extentOf(bytes: Buffer, offset = 0): ExtentRow {
  return { offset, length: bytes.length, chunk: contentHash(bytes), chunkOffset: 0, chunkBytes: bytes.length };
}

/** One of two copies. */
export function copyOf(bytes: Buffer, chunk = contentHash(bytes)): RecordInput {
  const scheme = { erasure: false, k: 1, m: 1 };
  const { length } = bytes;
  const info = {
    bucket: BUCKET,
    chunk,
    shard: 0,
    scheme,
    chunkBytes: length,
    compression: undefined,
    shardBytes: length,
  };
  return { kind: 'shard', info, payload: [bytes] };
}

export interface RescueFlags {
  readonly pool?: string;
  readonly only?: string;
  readonly partial?: boolean;
  readonly signal?: AbortSignal;
}

function optionsOf(disks: readonly string[], flags: RescueFlags) {
  return {
    disks,
    pool: flags.pool,
    only: flags.only,
    addon,
    signal: flags.signal ?? new AbortController().signal,
    onStep: () => {},
    onProgress: () => {},
  };
}

export function rescueTo(to: string, disks: readonly string[], flags: RescueFlags = {}): Promise<RescueSummary> {
  return restorePool({ ...optionsOf(disks, flags), to, partial: flags.partial ?? false });
}

export async function listOf(disks: readonly string[], flags: RescueFlags = {}): Promise<ListedEntry[]> {
  const entries: ListedEntry[] = [];
  await listPool(optionsOf(disks, flags), (entry) => void entries.push(entry));
  return entries;
}
