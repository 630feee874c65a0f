/**
 * A disk over two logs and an index (interface and promises: disk.ts). Tree of the directory: `cairn-disk.json` (identity), `lock`,
 * `map` (the diskmap's copy), `log/` (segments of both streams), `index.sqlite`.
 *
 * Space: segments may take `capacityBytes`. Of these, one data and two journal segments are kept back from shards, so that commits,
 * tombstones, snapshots and the copies that free space always find room on a full disk.
 */
import { join } from 'node:path';
import type { BucketId } from '../../diskmap/types.js';
import { assert, CairnError, hasCode, messageOf } from '../errors/cairn-error.js';
import type { FileIo, IoLock } from '../io/file-io.js';
import type { AppendLog, ReservedRoom } from './append-log.js';
import { Burials } from './burials.js';
import type {
  CommitEntry,
  Disk,
  DiskIdentity,
  DiskSpace,
  DiskState,
  LogEnds,
  Reservation,
  SnapshotEntry,
  StreamName,
} from './disk.js';
import { IDENTITY_FILE } from './disk-identity.js';
import type { DiskIndex } from './disk-index.js';
import { learn } from './disk-replay.js';
import { DiskUpkeep } from './disk-upkeep.js';
import { isFullIndex, isIndexFailure } from './index-database.js';
import type { JournalState, Tombstone } from './journal-state.js';
import type { LoggedRecord } from './log-context.js';
import type { RecordInput, RecordLocation, ShardEntry, ShardInfo, ShardKey } from './record.js';

export const MAP_FILE = 'map';

/** What opening has put together (open-disk.ts). */
export interface DiskParts {
  readonly io: FileIo;
  readonly directory: string;
  readonly identity: DiskIdentity;
  readonly owner: string;
  readonly lock: IoLock;
  readonly data: AppendLog;
  readonly journal: AppendLog;
  readonly index: DiskIndex;
  readonly journalState: JournalState;
  readonly openReport: string[];
  isDurable(segment: number, position: number): boolean;
  /** Bytes that the file system had free when it was last asked. */
  readonly deviceFreeBytes: number;
  /** To be written before long, of records that others took the place of. */
  readonly burials: readonly Tombstone[];
}

/** Of the journal stream: the one that is written, the next, and two that wait to be written again. */
const JOURNAL_FILES = 4;

export class LogDisk implements Disk {
  readonly directory: string;
  readonly identity: DiskIdentity;
  readonly openReport: string[];
  onStateChange: ((disk: Disk) => void) | undefined;
  onShard: ((chunk: string, change: 'put' | 'gone') => void) | undefined;
  readonly #parts: DiskParts;
  readonly #upkeep: DiskUpkeep;
  readonly #rooms = new WeakMap<Reservation, ReservedRoom>();
  #state: DiskState = 'online';
  #stateReason: string | undefined;
  #deviceFreeBytes: number;
  #segmentBytesThen: number;
  /** Operations under way that may use what is kept back. */
  #essentials = 0;
  #sealedBytes = 0;
  readonly #burials: Burials;
  #closing: Promise<void> | undefined;

  constructor(parts: DiskParts) {
    this.#parts = parts;
    this.directory = parts.directory;
    this.identity = parts.identity;
    this.openReport = parts.openReport;
    this.#deviceFreeBytes = parts.deviceFreeBytes;
    this.#burials = new Burials(
      (tombstones) => parts.journal.append(tombstones, { sync: false }),
      (segment, position) => parts.isDurable(segment, position),
    );
    this.#burials.addAll(parts.burials);
    this.#segmentBytesThen = this.#segmentBytes;
    const { data, journal, index, journalState } = parts;
    this.#upkeep = new DiskUpkeep({
      data,
      journal,
      index,
      journalState,
      sync: () => this.sync(),
      remove: (key) => this.remove(key),
      essential: (operation) => this.#essential(operation),
      report: (line) => this.openReport.push(line),
    });
  }

  get state(): DiskState {
    return this.#state;
  }

  get stateReason(): string | undefined {
    return this.#stateReason;
  }

  get logEnds(): LogEnds {
    const { data, journal } = this.#parts;
    return { data: data.syncedThrough, journal: journal.syncedThrough };
  }

  lose(reason: string): void {
    if (this.#state !== 'offline') this.#setState('offline', reason);
  }

  get unsynced(): boolean {
    return this.#parts.data.unsynced || this.#parts.journal.unsynced;
  }

  append(stream: StreamName, records: readonly RecordInput[], options: { sync: boolean }): Promise<RecordLocation[]> {
    const bulk = stream === 'data' && records.some(({ kind }) => kind === 'shard');
    const refusal = this.#refusal(bulk);
    if (refusal !== undefined) return Promise.reject(refusal);
    const append = (): Promise<RecordLocation[]> => this.#parts[stream].append(records, options);
    return bulk || stream === 'journal' ? append() : this.#essential(append);
  }

  async reserve(info: ShardInfo): Promise<Reservation> {
    const refusal = this.#refusal(true);
    if (refusal !== undefined) throw refusal;
    const room = await this.#parts.data.reserve(info.shardBytes);
    const { file, segment, position, recordBytes, logSequence } = room;
    const reservation: Reservation = {
      info,
      lend: file.lend && ((use) => file.lend!(use)),
      segment,
      position,
      recordBytes,
      generation: segment,
      logSequence,
      owner: this.#parts.owner,
      write: (parts) => file.write(parts, position),
    };
    this.#rooms.set(reservation, room);
    return reservation;
  }

  publish(reservation: Reservation): void {
    const room = this.#takeRoom(reservation);
    const { segment, position, recordBytes, logSequence } = room;
    try {
      const replaced = this.#parts.index.shards.put({
        ...reservation.info,
        segment,
        position,
        recordBytes,
        logSequence,
      });
      if (replaced !== undefined) this.#burials.add(replaced);
      this.onShard?.(reservation.info.chunk, 'put');
    } catch (error) {
      if (!isIndexFailure(error)) {
        room.settle(error);
        throw error;
      }
      this.#indexFailed(error);
    }
    room.settle(undefined);
  }

  abandon(reservation: Reservation, cause: unknown): void {
    this.#takeRoom(reservation).settle(cause ?? new Error('abandoned'));
  }

  async sync(): Promise<void> {
    const { data, journal } = this.#parts;
    await Promise.all([data.sync(), journal.sync()]);
  }

  find(bucket: BucketId, chunk: string): ShardEntry[] {
    return this.#asking(() => this.#parts.index.shards.find(bucket, chunk), []);
  }

  findAnywhere(chunk: string): ShardEntry[] {
    return this.#asking(() => this.#parts.index.shards.findAnywhere(chunk), []);
  }

  async readShard(entry: ShardEntry, from: number, to: number, into?: Uint8Array): Promise<Uint8Array> {
    if (this.#closing !== undefined) throw new CairnError('CLOSED', `the disk ${this.directory} is closed`);
    try {
      return await this.#readFrom(entry, from, to, into);
    } catch (error) {
      // It may have been copied elsewhere, and its segment freed, since the caller looked it up.
      const now = this.#asking(() => this.#parts.index.shards.get(entry), undefined);
      if (now === undefined || (now.segment === entry.segment && now.position === entry.position)) {
        await this.#noticeLoss(error);
        throw error;
      }
      return await this.#noticing(this.#readFrom(now, from, to, into));
    }
  }

  async #readFrom(entry: ShardEntry, from: number, to: number, into: Uint8Array | undefined): Promise<Uint8Array> {
    const { reader } = this.#logOf(entry);
    if (into === undefined) return reader.readRange(entry, entry.shardBytes, from, to);
    if (from === 0 && to === entry.shardBytes) await reader.readInto(entry, to, into);
    else into.set(await reader.readRange(entry, entry.shardBytes, from, to));
    return into;
  }

  remove(key: ShardKey): Promise<void> {
    return this.#upkeep.removing(key, async () => {
      const refusal = this.#refusal(false);
      if (refusal !== undefined) throw refusal;
      const shard = this.#asking(() => this.#parts.index.shards.get(key), undefined);
      const since = this.#refusal(false);
      if (since !== undefined) throw since;
      if (shard === undefined) return;
      const { bucket, chunk, shard: number, segment: targetSegment, logSequence: through } = shard;
      const tombstone: RecordInput = {
        kind: 'tombstone',
        key: { bucket, chunk, shard: number },
        targetSegment,
        through,
      };
      await this.#parts.journal.append([tombstone], { sync: false });
    });
  }

  walk(after: RecordLocation | undefined, limit: number): ShardEntry[] {
    return this.#asking(() => this.#parts.index.shards.walk(after, limit), []);
  }

  commits(afterSequence: number): CommitEntry[] {
    return this.#parts.journalState.commits(afterSequence);
  }

  async readCommit(entry: CommitEntry): Promise<Buffer> {
    const { decoded, payload } = await this.#noticing(this.#parts.journal.reader.read(entry));
    if (decoded.record.kind === 'commit' && decoded.record.sequence === entry.sequence) return payload;
    throw new CairnError(
      'CORRUPT',
      `journal segment ${entry.segment} holds no commit ${entry.sequence} at ${entry.position}`,
    );
  }

  releaseCommits(throughSequence: number): Promise<void> {
    return this.#keepingUp(this.#upkeep.releaseCommits(throughSequence));
  }

  snapshots(): SnapshotEntry[] {
    return this.#parts.index.named.snapshots();
  }

  async readSnapshotPart(sequence: number, part: number): Promise<Buffer> {
    const found = this.#parts.index.named.snapshotPart(sequence, part);
    if (found === undefined) {
      throw new CairnError('NOT_FOUND', `${this.directory} has no part ${part} of a snapshot at ${sequence}`);
    }
    return (await this.#noticing(this.#logOf(found).reader.read(found))).payload;
  }

  async dropSnapshots(belowSequence: number): Promise<void> {
    this.#parts.index.named.dropSnapshots(belowSequence);
    this.#parts.index.touch();
  }

  async getSlot(bucket: BucketId, path: string): Promise<{ version: number; bytes: Buffer } | undefined> {
    for (;;) {
      const slot = this.#parts.index.named.slot(bucket, path);
      if (slot === undefined) return undefined;
      try {
        return { version: slot.version, bytes: (await this.#logOf(slot).reader.read(slot)).payload };
      } catch (error) {
        if (this.#parts.index.named.slot(bucket, path) !== slot) continue;
        await this.#noticeLoss(error);
        throw error;
      }
    }
  }

  bucketBytes(bucket: BucketId): number {
    return this.#asking(() => this.#parts.index.shards.bucketBytes(bucket), 0);
  }

  buckets(): { bucket: BucketId; liveBytes: number }[] {
    return this.#asking(() => this.#parts.index.shards.buckets(), []);
  }

  releaseMemory(): void {
    this.#asking(() => this.#parts.index.releaseMemory(), undefined);
  }

  space(): DiskSpace {
    const { index, journalState, data, journal } = this.#parts;
    const { capacityBytes, dataSegmentBytes, journalSegmentBytes } = this.identity;
    const segmentBytes = this.#segmentBytes;
    const left = capacityBytes - segmentBytes - this.#reserveBytes;
    const device = this.#deviceFreeBytes - Math.max(0, segmentBytes - this.#segmentBytesThen);
    const segments = Math.max(0, Math.floor(Math.min(left, device) / dataSegmentBytes));
    return {
      capacityBytes,
      liveBytes: index.shards.liveBytes + index.named.liveBytes + journalState.commitBytes,
      segmentBytes,
      journalBytes: Math.max(0, journal.fileCount - JOURNAL_FILES) * journalSegmentBytes,
      freeBytes: left < 0 ? 0 : segments * dataSegmentBytes + data.room,
      isCrowded: segments < Math.floor(left / dataSegmentBytes),
    };
  }

  async reclaim(liveShare: number, enoughBytes = Number.POSITIVE_INFINITY): Promise<number> {
    const freed = await this.#keepingUp(this.#upkeep.reclaim(liveShare, enoughBytes));
    // Whoever waited for it looks at `space` next.
    if (freed > 0) await this.#askDevice();
    return freed;
  }

  async readMap(): Promise<Buffer | undefined> {
    try {
      return await this.#parts.io.readFile(join(this.directory, MAP_FILE));
    } catch (error) {
      if (hasCode(error, 'NOT_FOUND')) return undefined;
      throw error;
    }
  }

  async writeMap(bytes: Uint8Array): Promise<void> {
    const refusal = this.#refusal(false);
    if (refusal !== undefined) throw refusal;
    await this.#parts.io.replaceFile(join(this.directory, MAP_FILE), bytes);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { data, journal, index, lock } = this.#parts;
    await this.#upkeep.idle();
    this.#setState('offline', 'it is closed');
    try {
      await Promise.all([data.close(), journal.close()]);
    } finally {
      // The index is closed on this thread, and the lock says that nobody writes here any more.
      do await this.#parts.io.answered?.();
      while (!(await this.#answers()));
      try {
        this.#closeIndex(index);
      } finally {
        await lock.release();
      }
    }
  }

  #closeIndex(index: DiskIndex): void {
    try {
      if (index.isLasting) index.flush();
    } catch (error) {
      // What it lacks is replayed from the logs.
      if (!isIndexFailure(error)) throw error;
    } finally {
      index.close();
    }
  }

  /** Tombstones that the index must remember: of records of which others took the place. */
  owed(): readonly Tombstone[] {
    return this.#burials.owed();
  }

  /** Writes those that may be written. */
  bury(): Promise<void> {
    return this.#burials.advance();
  }

  // What the logs tell their owner (wired in open-disk.ts).

  onAppended(records: readonly RecordInput[], places: readonly LoggedRecord[]): void {
    const { index, journalState } = this.#parts;
    for (let i = 0; i < records.length; i++) {
      // The record is in the log, whatever becomes of the index.
      const replaced = this.#asking(
        () => learn(index, journalState, records[i] as RecordInput, places[i] as LoggedRecord),
        undefined,
      );
      if (replaced !== undefined && !this.#upkeep.isCopying(replaced.dead)) this.#burials.add(replaced);
      this.#tellOf(records[i] as RecordInput);
    }
  }

  #tellOf(record: RecordInput): void {
    if (record.kind === 'shard') this.onShard?.(record.info.chunk, 'put');
    else if (record.kind === 'tombstone') this.onShard?.(record.key.chunk, 'gone');
  }

  onFailure(cause: unknown): void {
    if (this.#state === 'online') this.#setState('suspect', messageOf(cause));
  }

  onSynced(): void {
    void this.#burials.advance();
    this.#parts.index.touch();
  }

  onSealed(segmentBytes: number): void {
    this.#sealedBytes += segmentBytes;
    if (this.#sealedBytes >= this.identity.dataSegmentBytes) {
      this.#sealedBytes = 0;
      setImmediate(() => void this.#checkpoint());
    }
    void this.#askDevice();
  }

  async #askDevice(): Promise<void> {
    try {
      const { freeBytes } = await this.#parts.io.space(this.directory);
      this.#deviceFreeBytes = freeBytes;
      this.#segmentBytesThen = this.#segmentBytes;
    } catch {
      // Only a figure for `space`.
    }
  }

  /** Whether a stream may make another segment of this size. */
  mayGrow(stream: StreamName, bytes: number): boolean {
    const keep = stream === 'data' && this.#essentials === 0 ? this.#reserveBytes : 0;
    return this.#segmentBytes + bytes + keep <= this.identity.capacityBytes;
  }

  async #essential<T>(operation: () => Promise<T>): Promise<T> {
    this.#essentials++;
    try {
      return await operation();
    } finally {
      this.#essentials--;
    }
  }

  async #checkpoint(): Promise<void> {
    // The next one does.
    if (!(await this.#answers()) || this.#parts.io.isBehind) return;
    try {
      this.#parts.index.checkpoint();
    } catch {
      // The index file only grows; what it lacks comes from the logs.
    }
  }

  /** Whether SQLite may use the device on this thread. */
  async #answers(): Promise<boolean> {
    return (await this.#parts.index.answers()) ?? true;
  }

  get #segmentBytes(): number {
    const { data, journal } = this.#parts;
    return data.fileCount * this.identity.dataSegmentBytes + journal.fileCount * this.identity.journalSegmentBytes;
  }

  get #reserveBytes(): number {
    return this.identity.dataSegmentBytes + 2 * this.identity.journalSegmentBytes;
  }

  /** Why nothing may be appended now, if so. `bulk`: shards, which may not eat into what is kept back. */
  #refusal(bulk: boolean): CairnError | undefined {
    if (this.#state !== 'online') {
      return new CairnError('DISK_FAILED', `the disk ${this.directory} is ${this.#state}: ${this.#stateReason}`);
    }
    if (!bulk) return undefined;
    const { capacityBytes } = this.identity;
    const limit = capacityBytes - this.#reserveBytes;
    const used = this.#segmentBytes;
    if (used <= limit) return undefined;
    return new CairnError(
      'NO_SPACE',
      `the disk ${this.directory} is full: its logs take ${used} of ${capacityBytes} bytes`,
      {
        hint: 'delete files, or add a disk',
      },
    );
  }

  /** What the index says, or `otherwise` if it fails: then the disk is left out until it is opened again, and others answer. */
  #asking<T>(question: () => T, otherwise: T): T {
    try {
      return question();
    } catch (error) {
      if (!isIndexFailure(error)) throw error;
      this.#indexFailed(error);
      return otherwise;
    }
  }

  /** Nothing is lost: the index is made from the logs. But without it this disk answers nothing, and must not say that it has nothing. */
  #indexFailed(error: Error): void {
    if (this.#state === 'offline') return;
    this.#parts.index.condemn();
    this.#setState(
      'offline',
      `its index cannot be used (${error.message}) and is made anew when the disk is opened again`,
    );
  }

  async #keepingUp<T>(upkeep: Promise<T>): Promise<T> {
    try {
      return await upkeep;
    } catch (error) {
      if (!isIndexFailure(error)) throw error;
      const details = { cause: error };
      if (isFullIndex(error))
        throw new CairnError('NO_SPACE', `no space is left for the index of the disk ${this.directory}`, details);
      this.#indexFailed(error);
      throw new CairnError('DISK_FAILED', `the index of the disk ${this.directory} failed: ${error.message}`, details);
    }
  }

  #logOf({ segment }: { segment: number }): AppendLog {
    const { data, journal } = this.#parts;
    return journal.has(segment) ? journal : data;
  }

  #takeRoom(reservation: Reservation): ReservedRoom {
    const room = this.#rooms.get(reservation);
    assert(room !== undefined, 'a reservation is published or abandoned once');
    this.#rooms.delete(reservation);
    return room;
  }

  async #noticing<T>(read: Promise<T>): Promise<T> {
    try {
      return await read;
    } catch (error) {
      await this.#noticeLoss(error);
      throw error;
    }
  }

  /** After a failed read: is the disk still there at all? */
  async #noticeLoss(error: unknown): Promise<void> {
    if (this.#state === 'offline' || !hasCode(error, 'IO', 'CORRUPT')) return;
    const reason = await this.#parts.io.readFile(join(this.directory, IDENTITY_FILE)).then(() => undefined, messageOf);
    if (reason !== undefined) this.#setState('offline', reason);
  }

  #setState(state: DiskState, reason: string): void {
    this.#state = state;
    this.#stateReason = reason;
    this.onStateChange?.(this);
  }
}
