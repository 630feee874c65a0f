/**
 * One logical disk as the layers above see it: a directory with an identity, one log in two streams, an index that is
 * rebuilt from the log when it is missing, and space accounted per bucket.
 *
 * Properties: what `append(..., { sync: true })` or `sync()` resolved for survives power loss. After any failed write or sync the disk is
 * `suspect`: it takes no further writes (DISK_FAILED) until it is opened again and checked; reads go on as long as they verify. No read ever
 * returns bytes whose checksum does not hold (CORRUPT).
 */
import type { BucketId } from '../../diskmap/types.js';
import type { RecordInput, RecordLocation, ShardEntry, ShardInfo, ShardKey } from './record.js';

export type DiskRole = 'data' | 'journal' | 'cache';

export interface DiskIdentity {
  readonly format: 1;
  /** The pool's id: 32 hex digits. */
  readonly pool: string;
  /** This disk's own id: 32 hex digits. */
  readonly uuid: string;
  /** The number the diskmap uses, 1–65535; 0 for cache and journal disks. */
  readonly number: number;
  readonly role: DiskRole;
  /** Bytes that the logs may take on this disk. */
  readonly capacityBytes: number;
  /** Segment sizes are fixed when the disk is made. */
  readonly dataSegmentBytes: number;
  readonly journalSegmentBytes: number;
}

/** `online`: all well. `suspect`: a write or sync failed, it only reads. `offline`: gone. */
export type DiskState = 'online' | 'suspect' | 'offline';

/** `data` takes bulk shards and snapshots; `journal` what is synced often: commits, small replicas, slots, tombstones. */
export type StreamName = 'data' | 'journal';

/** Space in the data stream that a worker thread fills: write header (shardRecordHeader in record-codec.ts), payload and nothing else at `position`. */
export interface Reservation {
  readonly info: ShardInfo;
  /** Lends the file's descriptor for the write, where there is one. Rejects as `use`, or with IO before it has ended if the disk hangs. */
  readonly lend: ((use: (fd: number) => Promise<void>) => Promise<void>) | undefined;
  readonly segment: number;
  readonly position: number;
  readonly recordBytes: number;
  /** Go into the header: which life of the segment file this is, the disk's own growing record number, and whose log it is. */
  readonly generation: number;
  readonly logSequence: number;
  readonly owner: string;
  /** Writes from this thread, where there is no file descriptor. */
  write(parts: readonly Uint8Array[]): Promise<void>;
}

export interface CommitEntry extends RecordLocation {
  readonly sequence: number;
  readonly epoch: number;
  readonly acknowledged: number;
}

export interface SnapshotEntry {
  readonly sequence: number;
  readonly epoch: number;
  readonly parts: number;
  /** All parts from 0 to the last are there. */
  readonly complete: boolean;
}

export interface DiskSpace {
  readonly capacityBytes: number;
  /** Bytes of live records. */
  readonly liveBytes: number;
  /** Bytes of segment files, live or dead. */
  readonly segmentBytes: number;
  /** Of these, files of the journal stream beyond those that it always has. */
  readonly journalBytes: number;
  /** Bytes that can still be appended before NO_SPACE. */
  readonly freeBytes: number;
  /** Others have taken of the device what `capacityBytes` counts on: fewer bytes are free than that. */
  readonly isCrowded: boolean;
}

/** Up to where each stream of a log was known durable: segment and position. */
export type LogEnds = Readonly<Record<StreamName, { readonly segment: number; readonly position: number }>>;

export interface Disk {
  readonly directory: string;
  readonly identity: DiskIdentity;
  readonly state: DiskState;
  /** Why it is not online, as a sentence; undefined if it is. */
  readonly stateReason: string | undefined;
  /** Called on every change of state. */
  onStateChange: ((disk: Disk) => void) | undefined;
  /** It was found to be gone, or not to answer: `offline` from here on, with the reason as a sentence. */
  lose(reason: string): void;
  /** For whoever opens the disk again after it has failed. */
  readonly logEnds: LogEnds;
  /** Called when a shard of the chunk is in the index (`put`), and when one is in it no longer (`gone`). */
  onShard: ((chunk: string, change: 'put' | 'gone') => void) | undefined;
  /** One line per thing found and mended while opening: a torn tail cut, an index rebuilt, a bad record skipped. */
  readonly openReport: readonly string[];

  /** Appends the records in order as one write; with `sync`, the same job ends with one fdatasync of that stream. Shards are in the index when it resolves. NO_SPACE, DISK_FAILED. */
  append(stream: StreamName, records: readonly RecordInput[], options: { sync: boolean }): Promise<RecordLocation[]>;
  /** Reserves room in the data stream. Must be followed by exactly one publish or abandon. */
  reserve(info: ShardInfo): Promise<Reservation>;
  publish(reservation: Reservation): void;
  /** The write failed with `cause`: the disk becomes suspect. */
  abandon(reservation: Reservation, cause: unknown): void;
  /** Waits for reservations under way, then fdatasyncs every stream with unsynced bytes; one flush if only one has any, none if none. */
  sync(): Promise<void>;
  /** True if appended or published bytes are not synced yet. */
  readonly unsynced: boolean;

  /** All shards of the chunk in the bucket (one, normally). Answers from memory and the index, on the calling thread. */
  find(bucket: BucketId, chunk: string): ShardEntry[];
  /** As `find`, in whichever bucket of this disk: one look-up, where asking for every bucket of a large disk would take hundreds. */
  findAnywhere(chunk: string): ShardEntry[];
  /**
   * Bytes [from, to) of the shard's payload, verified. With `into` (of as many bytes) they are put there, and it is what this resolves with; when it rejects with IO, `into` may be written to
   * even later, since a call that hangs cannot be taken back. CORRUPT, IO.
   */
  readShard(entry: ShardEntry, from: number, to: number, into?: Uint8Array): Promise<Uint8Array>;
  /** Forgets the shard: index entry and a tombstone, durable with the next sync. */
  remove(key: ShardKey): Promise<void>;
  /** Shards in the order in which they lie on the disk: rebuild, rebalance and scrub walk it once. */
  walk(after: RecordLocation | undefined, limit: number): ShardEntry[];

  /** Commits found in the journal stream, ascending by (sequence, epoch). */
  commits(afterSequence: number): CommitEntry[];
  readCommit(entry: CommitEntry): Promise<Buffer>;
  /** The journal up to and including this sequence is covered by a durable snapshot: its segments are recycled; live shards in them move to the data stream first. */
  releaseCommits(throughSequence: number): Promise<void>;

  snapshots(): SnapshotEntry[];
  readSnapshotPart(sequence: number, part: number): Promise<Buffer>;
  /** Forgets every snapshot below this sequence. */
  dropSnapshots(belowSequence: number): Promise<void>;

  getSlot(bucket: BucketId, path: string): Promise<{ version: number; bytes: Buffer } | undefined>;

  /** Bytes of live shards in the bucket. */
  bucketBytes(bucket: BucketId): number;
  /** Every bucket in which live shards are, with their bytes. */
  buckets(): { readonly bucket: BucketId; readonly liveBytes: number }[];
  space(): DiskSpace;
  /**
   * Copies live records out of segments whose live share is below `liveShare` (0–1) and frees them, those with the least first; segments without live
   * records are always freed. Each byte freed costs at most liveShare / (1 - liveShare) bytes copied. Stops when `enoughBytes` are freed. Returns bytes freed.
   */
  reclaim(liveShare: number, enoughBytes?: number): Promise<number>;
  /** The diskmap's copy on this disk: opaque bytes, replaced atomically. */
  readMap(): Promise<Buffer | undefined>;
  writeMap(bytes: Uint8Array): Promise<void>;
  /** Gives back memory that is kept only to be quicker. */
  releaseMemory(): void;
  close(): Promise<void>;
}
