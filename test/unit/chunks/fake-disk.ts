/** A Disk over one real file, with the real record format, without log and index: for the tests of the layers above. Faults are switched on by its fields. */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { loadAddon } from '../../../native/addon.js';
import type { Disk, DiskIdentity, DiskSpace, DiskState, Reservation, StreamName } from '../../../src/disks/disk.js';
import {
  CHECKSUM_BLOCK_BYTES,
  type RecordInput,
  type RecordLocation,
  type ShardEntry,
  type ShardInfo,
  type ShardKey,
} from '../../../src/disks/record.js';
import {
  decodeRecordHeader,
  readChecksums,
  recordBytes,
  shardRecordHeader,
  verifyBlocks,
} from '../../../src/disks/record-codec.js';
import { assert, CairnError } from '../../../src/errors/cairn-error.js';

const addon = loadAddon();
const OWNER = '0123456789abcdef';

interface FakeDiskOptions {
  readonly number: number;
  readonly directory: string;
  /** Without: reservations have no file descriptor, as on a simulated disk. */
  readonly fd?: boolean;
  readonly capacityBytes?: number;
}

export class FakeDisk implements Disk {
  readonly directory: string;
  readonly identity: DiskIdentity;
  readonly openReport = [];
  readonly unsynced = false;
  state: DiskState = 'online';
  stateReason: string | undefined;
  onStateChange: ((disk: Disk) => void) | undefined;
  onShard: ((chunk: string, change: 'put' | 'gone') => void) | undefined;
  /** Counted since the disk was made. */
  bytesRead = 0;
  reads = 0;
  shardsWritten = 0;
  appends = 0;
  /** Writes of shards fail from now on. */
  failWrites = false;
  /** Reads of shards fail from now on. */
  failReads = false;
  /** Reservations fail with NO_SPACE although `space` promised room. */
  full = false;
  /** Resolves before a reservation is given: holds stores up. */
  gate: Promise<void> = Promise.resolve();
  /** Reservations held up by it. */
  waiting = 0;
  readonly #fd: number;
  readonly #broken: number;
  readonly #hasFd: boolean;
  readonly #shards = new Map<string, ShardEntry>();
  readonly #slots = new Map<string, { version: number; bytes: Buffer }>();
  readonly #pending = new Set<Reservation>();
  #end = 0;
  #sequence = 0;

  constructor(options: FakeDiskOptions) {
    this.directory = options.directory;
    this.#hasFd = options.fd ?? true;
    this.#fd = openSync(join(options.directory, `disk-${options.number}`), 'w+');
    this.#broken = openSync(join(options.directory, `disk-${options.number}`), 'r');
    this.identity = {
      format: 1,
      pool: '00'.repeat(16),
      uuid: '11'.repeat(16),
      number: options.number,
      role: 'data',
      capacityBytes: options.capacityBytes ?? 1024 ** 4,
      dataSegmentBytes: 1024 ** 3,
      journalSegmentBytes: 1024 ** 3,
    };
  }

  get entries(): ShardEntry[] {
    return [...this.#shards.values()];
  }

  /** Reservations that were neither published nor abandoned. */
  get pending(): number {
    return this.#pending.size;
  }

  fail(state: DiskState, reason: string): void {
    this.state = state;
    this.stateReason = reason;
    this.onStateChange?.(this);
  }

  readonly logEnds = { data: { segment: 0, position: 0 }, journal: { segment: 0, position: 0 } };

  lose(reason: string): void {
    this.fail('offline', reason);
  }

  /** Flips one byte of the shard's payload on the medium. */
  corrupt(entry: ShardEntry, at: number): void {
    const position = entry.position + entry.recordBytes - paddedPayload(entry) + at;
    const byte = Buffer.alloc(1);
    readSync(this.#fd, byte, 0, 1, position);
    byte[0] = byte[0]! ^ 0xff;
    writeSync(this.#fd, byte, 0, 1, position);
  }

  /** Replaces the shard's payload, with checksums that hold: bytes that were wrong before they were written. */
  replace(entry: ShardEntry, payload: Uint8Array): void {
    this.#shards.delete(keyOf(entry));
    const header = shardRecordHeader(entry, 1, 1, OWNER, payload, addon.crc32c);
    addon.writeAll(this.#fd, [header, payload], entry.position);
    this.#shards.set(keyOf(entry), entry);
  }

  async append(_stream: StreamName, records: readonly RecordInput[]): Promise<RecordLocation[]> {
    this.#refuseUnlessOnline();
    this.appends++;
    if (this.failWrites) {
      this.fail('suspect', 'a write failed');
      throw new CairnError('DISK_FAILED', 'a write failed');
    }
    return records.map((record) => {
      if (record.kind === 'slot') {
        this.#slots.set(`${record.bucket}${record.path}`, {
          version: record.version,
          bytes: Buffer.concat(record.payload),
        });
        return { segment: 1, position: 0, recordBytes: 64 };
      }
      assert(record.kind === 'shard', 'only shards and slots are appended here');
      const entry = this.#place(record.info);
      const payload = Buffer.concat(record.payload);
      addon.writeAll(
        this.#fd,
        [shardRecordHeader(record.info, 1, 1, OWNER, payload, addon.crc32c), payload],
        entry.position,
      );
      this.#shards.set(keyOf(entry), entry);
      this.shardsWritten++;
      return entry;
    });
  }

  async reserve(info: ShardInfo): Promise<Reservation> {
    this.waiting++;
    await this.gate;
    this.waiting--;
    this.#refuseUnlessOnline();
    const bytes = recordBytes(info.shardBytes);
    if (this.full || bytes > this.space().freeBytes)
      throw new CairnError('NO_SPACE', `disk ${this.identity.number} is full`);
    const { position } = this.#place(info);
    const reservation: Reservation = {
      info,
      lend: this.#hasFd ? (use) => use(this.failWrites ? this.#broken : this.#fd) : undefined,
      segment: 1,
      position,
      recordBytes: bytes,
      generation: 1,
      logSequence: ++this.#sequence,
      owner: OWNER,
      write: async (parts) => {
        if (this.failWrites) throw new CairnError('IO', 'a write failed');
        addon.writeAll(this.#fd, parts, position);
      },
    };
    this.#pending.add(reservation);
    return reservation;
  }

  publish(reservation: Reservation): void {
    assert(this.#pending.delete(reservation), 'a reservation is published or abandoned once');
    const { info, segment, position, recordBytes } = reservation;
    this.#shards.set(keyOf(info), { ...info, segment, position, recordBytes });
    this.shardsWritten++;
  }

  abandon(reservation: Reservation, cause: unknown): void {
    assert(this.#pending.delete(reservation), 'a reservation is published or abandoned once');
    this.fail('suspect', `a write failed: ${cause}`);
  }

  find(bucket: string, chunk: string): ShardEntry[] {
    return this.findAnywhere(chunk).filter((entry) => entry.bucket === bucket);
  }

  findAnywhere(chunk: string): ShardEntry[] {
    return this.entries.filter((entry) => entry.chunk === chunk);
  }

  async readShard(entry: ShardEntry, from: number, to: number, into?: Uint8Array): Promise<Uint8Array> {
    assert(this.state !== 'offline', 'nobody reads from a disk that is gone');
    this.reads++;
    this.bytesRead += to - from;
    if (this.failReads) throw new CairnError('IO', 'a read failed');
    const record = Buffer.alloc(entry.recordBytes);
    readSync(this.#fd, record, 0, record.length, entry.position);
    const header = decodeRecordHeader(record, 0, addon.crc32c);
    if (header?.record.kind !== 'shard' || header.record.info.chunk !== entry.chunk) {
      throw new CairnError('CORRUPT', 'the header is damaged');
    }
    const first = Math.floor(from / CHECKSUM_BLOCK_BYTES);
    const end = Math.min(Math.ceil(to / CHECKSUM_BLOCK_BYTES) * CHECKSUM_BLOCK_BYTES, entry.shardBytes);
    const payload = record.subarray(header.headerBytes);
    const table = readChecksums(record, 0, entry.shardBytes);
    if (!verifyBlocks(payload.subarray(first * CHECKSUM_BLOCK_BYTES, end), table, first, addon.crc32c)) {
      throw new CairnError('CORRUPT', 'a checksum does not hold');
    }
    if (into === undefined) return payload.subarray(from, to);
    into.set(payload.subarray(from, to));
    return into;
  }

  async remove(key: ShardKey): Promise<void> {
    this.#refuseUnlessOnline();
    this.#shards.delete(keyOf(key));
  }

  async getSlot(bucket: string, path: string): Promise<{ version: number; bytes: Buffer } | undefined> {
    return this.#slots.get(`${bucket}${path}`);
  }

  bucketBytes(bucket: string): number {
    let bytes = 0;
    for (const entry of this.#shards.values()) if (entry.bucket === bucket) bytes += entry.shardBytes;
    return bytes;
  }

  buckets(): { bucket: string; liveBytes: number }[] {
    const buckets = new Set([...this.#shards.values()].map(({ bucket }) => bucket));
    return [...buckets].map((bucket) => ({ bucket, liveBytes: this.bucketBytes(bucket) }));
  }

  releaseMemory(): void {}

  space(): DiskSpace {
    const { capacityBytes } = this.identity;
    const bytes = this.#end;
    const freeBytes = capacityBytes - bytes;
    return { capacityBytes, liveBytes: bytes, segmentBytes: bytes, journalBytes: 0, freeBytes, isCrowded: false };
  }

  async close(): Promise<void> {
    closeSync(this.#fd);
    closeSync(this.#broken);
  }

  #place(info: ShardInfo): ShardEntry {
    const position = this.#end;
    const bytes = recordBytes(info.shardBytes);
    this.#end += bytes;
    return { ...info, segment: 1, position, recordBytes: bytes };
  }

  #refuseUnlessOnline(): void {
    if (this.state !== 'online') throw new CairnError('DISK_FAILED', `the disk is ${this.state}`);
  }

  // What the chunk layer has no business with.
  async sync(): Promise<void> {}
  walk = unused;
  commits = unused;
  readCommit = unused;
  releaseCommits = unused;
  snapshots = unused;
  readSnapshotPart = unused;
  dropSnapshots = unused;
  reclaim = unused;
  readMap = unused;
  writeMap = unused;
}

function unused(): never {
  throw new Error('not part of this fake');
}

function keyOf(key: ShardKey): string {
  return `${key.bucket}/${key.chunk}/${key.shard}`;
}

/** Payload and padding: what follows the header and its table. */
function paddedPayload(entry: ShardEntry): number {
  return entry.recordBytes - (recordBytes(0) - 16) - 4 * Math.ceil(entry.shardBytes / CHECKSUM_BLOCK_BYTES);
}
