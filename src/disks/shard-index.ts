/**
 * Which shards a disk holds and where: (bucket, chunk, shard) → location. Changes are kept in memory first and reach SQLite in batches,
 * off the hot path; look-ups see both.
 *
 * Invariants:
 * - A change is flushed only when the record behind it is durable in its log: the file never knows of a record that a power cut can take away, and
 *   never forgets an older record for the sake of such a one.
 * - Of several records of one key the one with the highest log sequence counts, whatever the order in which they are told.
 * - Live bytes per bucket and per segment are those of what `find` answers, at every moment.
 */
import type Database from 'better-sqlite3';
import type { BucketId } from '../../diskmap/types.js';
import { assert, CairnError } from '../errors/cairn-error.js';
import type { RecordLocation, ShardEntry, ShardKey } from './record.js';
import { RECORD_ALIGNMENT } from './record-codec.js';

export interface IndexedShard extends ShardEntry {
  readonly logSequence: number;
}

/** A record that another one replaced. */
export interface ReplacedShard {
  readonly dead: IndexedShard;
  /** What counts instead; undefined: it was removed. */
  readonly by: IndexedShard | undefined;
}

interface Row {
  readonly bucket: number;
  readonly chunk: Buffer;
  readonly shard: number;
  readonly segment: number;
  readonly position: number;
  readonly record_bytes: number;
  readonly log_sequence: number;
  readonly erasure: number;
  readonly k: number;
  readonly m: number;
  readonly chunk_bytes: number;
  readonly shard_bytes: number;
  /** The method; 0: the chunk is not compressed. */
  readonly compression: number;
  readonly stored_bytes: number;
}

/** What a record makes of one key. */
interface Change {
  /** undefined: removed. */
  readonly shard: IndexedShard | undefined;
  /** Log sequence up to which older records do not count. */
  readonly sequence: number;
  /** The record that made the change: it must be durable before the file learns of it. */
  readonly segment: number;
  readonly position: number;
}

/** Changes of one key, oldest first, that the file does not have; the older ones count again if a power cut takes the newest. */
interface Pending {
  readonly key: ShardKey;
  /** What the file has for the key now. */
  stored: IndexedShard | undefined;
  /** Never empty. */
  changes: Change[];
}

interface Flushed {
  readonly pending: Pending;
  readonly upTo: number;
}

const CHUNK_BYTES = 32;
/** Chunks remembered as absent. */
const ABSENT_MAX = 1024;

const LIVE = (table: string, key: string): string => `UPDATE ${table} SET live_bytes = live_bytes + ? WHERE ${key} = ?`;

export class ShardIndex {
  readonly #database: Database.Database;
  /** By chunk alone: making a joined key costs more than looking through one or two entries. */
  readonly #pending = new Map<string, Pending[]>();
  #pendingCount = 0;
  /** Chunks of which neither the file nor `#pending` has anything, as look-ups found: a chunk is looked for before it is written, and need not be looked for twice. */
  readonly #absent = new Set<string>();
  /** The chunk of a statement: SQLite copies it. */
  readonly #chunk = Buffer.alloc(CHUNK_BYTES);
  readonly #bucketNumbers = new Map<BucketId, number>();
  readonly #bucketNames = new Map<number, BucketId>();
  readonly #bucketLive = new Map<BucketId, number>();
  readonly #segmentLive = new Map<number, number>();
  /** Of all segments: asked for with every chunk that is placed. */
  #liveBytes = 0;
  readonly #byChunk: Database.Statement<[Buffer], Row>;
  readonly #byKey: Database.Statement<[number, Buffer, number], Row>;
  readonly #byPlace: Database.Statement<[number, number, number], Row>;
  readonly #bySegment: Database.Statement<[number], Row>;
  readonly #fromBack: Database.Statement<[number], Row>;
  readonly #put: Database.Statement<unknown[]>;
  readonly #remove: Database.Statement<[number, Buffer, number]>;

  constructor(database: Database.Database) {
    this.#database = database;
    const all = 'SELECT * FROM shards';
    this.#byChunk = database.prepare(`${all} WHERE chunk = ?`);
    this.#byKey = database.prepare(`${all} WHERE bucket = ? AND chunk = ? AND shard = ?`);
    this.#byPlace = database.prepare(`${all} WHERE (segment, position) > (?, ?) ORDER BY segment, position LIMIT ?`);
    this.#bySegment = database.prepare(`${all} WHERE segment = ? ORDER BY position`);
    this.#fromBack = database.prepare(`${all} WHERE segment = ? ORDER BY position DESC`);
    this.#put = database.prepare('INSERT OR REPLACE INTO shards VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
    this.#remove = database.prepare('DELETE FROM shards WHERE bucket = ? AND chunk = ? AND shard = ?');
    for (const row of database
      .prepare<[], { id: number; bucket: string; live_bytes: number }>('SELECT * FROM buckets')
      .all()) {
      this.#bucketNumbers.set(row.bucket, row.id);
      this.#bucketNames.set(row.id, row.bucket);
      this.#bucketLive.set(row.bucket, row.live_bytes);
    }
    for (const row of database.prepare<[], { segment: number; live_bytes: number }>('SELECT * FROM segments').all()) {
      this.#segmentLive.set(row.segment, row.live_bytes);
      this.#liveBytes += row.live_bytes;
    }
  }

  /** Changes that the file does not have yet. */
  get pendingCount(): number {
    return this.#pendingCount;
  }

  find(bucket: BucketId, chunk: string): IndexedShard[] {
    return this.findAnywhere(chunk).filter((shard) => shard.bucket === bucket);
  }

  /** In whichever bucket: one look-up, as a chunk has at most a few shards here. */
  findAnywhere(chunk: string): IndexedShard[] {
    if (this.#absent.has(chunk)) return [];
    const pending = this.#pending.get(chunk);
    const rows = this.#ask(() => this.#byChunk.all(this.#chunkKey(chunk)));
    if (rows.length === 0 && pending === undefined) {
      if (this.#absent.size >= ABSENT_MAX) this.#absent.clear();
      this.#absent.add(chunk);
      return [];
    }
    const shards = rows.map((row) => this.#shard(row));
    if (pending === undefined) return shards;
    const known = shards.filter((shard) => this.#pendingOf(shard) === undefined);
    for (const changed of pending) {
      const { shard } = latest(changed);
      if (shard !== undefined) known.push(shard);
    }
    return known;
  }

  #chunkKey(chunk: string): Buffer {
    assert(this.#chunk.write(chunk, 'hex') === CHUNK_BYTES, 'a chunk has 64 hex digits');
    return this.#chunk;
  }

  get(key: ShardKey): IndexedShard | undefined {
    const pending = this.#pendingOf(key);
    return pending === undefined ? this.#stored(key) : latest(pending).shard;
  }

  /** The record is there. Returns what does not count because of that: the record before, or this one if a newer one or a removal that covers it is known. */
  put(shard: IndexedShard): ReplacedShard | undefined {
    const pending = this.#pendingOf(shard);
    const newest = pending && latest(pending);
    const before = newest === undefined ? this.#stored(shard) : newest.shard;
    this.#absent.delete(shard.chunk);
    const known = newest === undefined ? (before?.logSequence ?? -1) : newest.sequence;
    if (shard.logSequence > known) {
      this.#change(shard, pending, before, shard, shard.logSequence, shard);
      return before && { dead: before, by: shard };
    }
    return before?.logSequence === shard.logSequence ? undefined : { dead: shard, by: before };
  }

  /** Records of the key up to `through` are gone, says the record at `at`. Returns what was there; undefined if nothing changed. */
  remove(key: ShardKey, through: number, at: { segment: number; position: number }): IndexedShard | undefined {
    const pending = this.#pendingOf(key);
    const before = pending === undefined ? this.#stored(key) : latest(pending).shard;
    if (before === undefined || before.logSequence > through) return undefined;
    this.#change(key, pending, before, undefined, through, at);
    return before;
  }

  bucketBytes(bucket: BucketId): number {
    return this.#bucketLive.get(bucket) ?? 0;
  }

  buckets(): { bucket: BucketId; liveBytes: number }[] {
    return [...this.#bucketLive].flatMap(([bucket, liveBytes]) => (liveBytes > 0 ? [{ bucket, liveBytes }] : []));
  }

  segmentBytes(segment: number): number {
    return this.#segmentLive.get(segment) ?? 0;
  }

  /** Segments with live shards. */
  segments(): number[] {
    return [...this.#segmentLive.keys()];
  }

  get liveBytes(): number {
    return this.#liveBytes;
  }

  /** By place, after `after`. */
  walk(after: RecordLocation | undefined, limit: number): IndexedShard[] {
    let from = after ?? { segment: -1, position: -1 };
    const found: IndexedShard[] = [];
    // A page of the file may say nothing that counts any more.
    for (let isEnd = false; !isEnd && found.length < limit; ) {
      const { segment, position } = from;
      const rows = this.#ask(() => this.#byPlace.all(segment, position, limit));
      const last = rows.at(-1);
      isEnd = last === undefined || rows.length < limit;
      const through = isEnd ? { segment: Number.POSITIVE_INFINITY, position: 0 } : last!;
      const page = this.#merge(rows, (shard) => isAfter(shard, { segment, position }) && !isAfter(shard, through));
      for (const shard of page) found.push(shard);
      from = through;
    }
    return found.slice(0, limit);
  }

  inSegment(segment: number): IndexedShard[] {
    const rows = this.#ask(() => this.#bySegment.all(segment));
    return this.#merge(rows, (shard) => shard.segment === segment);
  }

  /** Forgets the shards of a segment that do not lie wholly before `endBytes`: the file does not have them any more. Returns how many. */
  dropLost(segment: number, endBytes: number): number {
    // The padding of a segment's last record need not be in the file.
    const isLost = (shard: IndexedShard): boolean => shard.position + shard.recordBytes >= endBytes + RECORD_ALIGNMENT;
    const rows: Row[] = [];
    // From the back: a whole segment takes one row to find that out.
    for (const row of this.#ask(() => this.#fromBack.iterate(segment))) {
      if (row.position + row.record_bytes < endBytes + RECORD_ALIGNMENT) break;
      rows.push(row);
    }
    const lost = this.#merge(rows, (shard) => shard.segment === segment && isLost(shard));
    // No record says so: a change at no place, which counts as durable.
    for (const shard of lost)
      this.#change(shard, this.#pendingOf(shard), shard, undefined, shard.logSequence, { segment: 0, position: -1 });
    return lost.length;
  }

  /** Writes what is durable into the file, at most `limit` changes, in one transaction; `atEnd` writes more into it, told whether nothing durable is left. Returns that. */
  flush(
    isDurable: (segment: number, position: number) => boolean,
    limit: number,
    atEnd: (all: boolean) => void,
  ): boolean {
    const flushed: Flushed[] = [];
    let all = true;
    for (const list of this.#pending.values()) {
      for (const pending of list) {
        const upTo = pending.changes.findLastIndex(({ segment, position }) => isDurable(segment, position));
        if (upTo < 0) continue;
        if (flushed.length < limit) flushed.push({ pending, upTo });
        else all = false;
      }
      if (!all) break;
    }
    const known = this.#bucketNames.size;
    try {
      this.#database.transaction(() => {
        this.#writeAll(flushed);
        atEnd(all);
      })();
    } catch (error) {
      this.#forgetBuckets(known);
      throw error;
    }
    for (const { pending, upTo } of flushed) {
      pending.stored = pending.changes[upTo]?.shard;
      pending.changes = pending.changes.slice(upTo + 1);
      if (pending.changes.length === 0) this.#forgetPending(pending.key);
    }
    return all;
  }

  #writeAll(changes: readonly Flushed[]): void {
    const segments = new Map<number, number>();
    const buckets = new Map<number, number>();
    for (const { pending, upTo } of changes) this.#write(pending, pending.changes[upTo]?.shard, segments, buckets);
    const addSegment = this.#database.prepare('INSERT OR IGNORE INTO segments VALUES (?, 0)');
    const segmentLive = this.#database.prepare(LIVE('segments', 'segment'));
    const bucketLive = this.#database.prepare(LIVE('buckets', 'id'));
    for (const [segment, delta] of segments) {
      addSegment.run(segment);
      segmentLive.run(delta, segment);
    }
    for (const [bucket, delta] of buckets) bucketLive.run(delta, bucket);
    if (segments.size > 0) this.#database.prepare('DELETE FROM segments WHERE live_bytes = 0').run();
  }

  /** The transaction that numbered these was undone. */
  #forgetBuckets(known: number): void {
    for (const [number, bucket] of [...this.#bucketNames].slice(known)) {
      this.#bucketNames.delete(number);
      this.#bucketNumbers.delete(bucket);
    }
  }

  #write(
    { key, stored }: Pending,
    shard: IndexedShard | undefined,
    segments: Map<number, number>,
    buckets: Map<number, number>,
  ): void {
    const bucket = this.#bucketNumber(key.bucket);
    const chunk = this.#chunkKey(key.chunk);
    const count = (of: IndexedShard, sign: number): void => {
      segments.set(of.segment, (segments.get(of.segment) ?? 0) + sign * of.recordBytes);
      buckets.set(bucket, (buckets.get(bucket) ?? 0) + sign * of.recordBytes);
    };
    if (stored !== undefined) count(stored, -1);
    if (shard === undefined) {
      this.#remove.run(bucket, chunk, key.shard);
      return;
    }
    count(shard, 1);
    const { segment, position, recordBytes, logSequence, scheme, chunkBytes, compression, shardBytes } = shard;
    const { erasure, k, m } = scheme;
    this.#put.run(
      bucket,
      chunk,
      key.shard,
      segment,
      position,
      recordBytes,
      logSequence,
      erasure ? 1 : 0,
      k,
      m,
      chunkBytes,
      shardBytes,
      compression?.method ?? 0,
      compression?.storedBytes ?? 0,
    );
  }

  #change(
    key: ShardKey,
    pending: Pending | undefined,
    before: IndexedShard | undefined,
    shard: IndexedShard | undefined,
    sequence: number,
    at: { segment: number; position: number },
  ): void {
    if (before !== undefined) this.#count(before, -1);
    if (shard !== undefined) this.#count(shard, 1);
    const change: Change = { shard, sequence, segment: at.segment, position: at.position };
    if (pending !== undefined) {
      pending.changes.push(change);
      return;
    }
    const { bucket, chunk, shard: number } = key;
    const entry: Pending = { key: { bucket, chunk, shard: number }, stored: before, changes: [change] };
    const list = this.#pending.get(chunk);
    if (list === undefined) this.#pending.set(chunk, [entry]);
    else list.push(entry);
    this.#pendingCount++;
  }

  #forgetPending({ bucket, chunk, shard }: ShardKey): void {
    const list = this.#pending.get(chunk) ?? [];
    const rest = list.filter(({ key }) => key.bucket !== bucket || key.shard !== shard);
    this.#pendingCount -= list.length - rest.length;
    if (rest.length === 0) this.#pending.delete(chunk);
    else this.#pending.set(chunk, rest);
  }

  #count({ bucket, segment, recordBytes }: IndexedShard, sign: number): void {
    this.#bucketLive.set(bucket, (this.#bucketLive.get(bucket) ?? 0) + sign * recordBytes);
    this.#liveBytes += sign * recordBytes;
    const live = (this.#segmentLive.get(segment) ?? 0) + sign * recordBytes;
    if (live === 0) this.#segmentLive.delete(segment);
    else this.#segmentLive.set(segment, live);
  }

  /** Rows of the file, and what has changed since that is wanted, by place. */
  #merge(rows: readonly Row[], wanted: (shard: IndexedShard) => boolean): IndexedShard[] {
    const shards = rows.map((row) => this.#shard(row)).filter((shard) => this.#pendingOf(shard) === undefined);
    for (const list of this.#pending.values()) {
      for (const one of list) {
        const { shard } = latest(one);
        if (shard !== undefined && wanted(shard)) shards.push(shard);
      }
    }
    return shards.sort((a, b) => a.segment - b.segment || a.position - b.position);
  }

  #pendingOf({ bucket, chunk, shard }: ShardKey): Pending | undefined {
    return this.#pending.get(chunk)?.find(({ key }) => key.bucket === bucket && key.shard === shard);
  }

  #stored({ bucket, chunk, shard }: ShardKey): IndexedShard | undefined {
    if (this.#absent.has(chunk)) return undefined;
    const number = this.#bucketNumbers.get(bucket);
    if (number === undefined) return undefined;
    const row = this.#ask(() => this.#byKey.get(number, this.#chunkKey(chunk), shard));
    return row && this.#shard(row);
  }

  #shard(row: Row): IndexedShard {
    return {
      bucket: this.#bucketNames.get(row.bucket) ?? '',
      chunk: row.chunk.toString('hex'),
      shard: row.shard,
      scheme: { erasure: row.erasure === 1, k: row.k, m: row.m },
      chunkBytes: row.chunk_bytes,
      compression: row.compression === 0 ? undefined : { method: row.compression, storedBytes: row.stored_bytes },
      shardBytes: row.shard_bytes,
      segment: row.segment,
      position: row.position,
      recordBytes: row.record_bytes,
      logSequence: row.log_sequence,
    };
  }

  /** A number instead of 32 digits in every row. */
  #bucketNumber(bucket: BucketId): number {
    const known = this.#bucketNumbers.get(bucket);
    if (known !== undefined) return known;
    const { lastInsertRowid } = this.#database
      .prepare('INSERT INTO buckets (bucket, live_bytes) VALUES (?, 0)')
      .run(bucket);
    const number = Number(lastInsertRowid);
    this.#bucketNumbers.set(bucket, number);
    this.#bucketNames.set(number, bucket);
    return number;
  }

  #ask<T>(query: () => T): T {
    try {
      return query();
    } catch (error) {
      throw new CairnError('IO', `the index ${this.#database.name} cannot be read`, {
        cause: error,
        hint: 'stop the pool and delete that file: it is rebuilt from the logs',
      });
    }
  }
}

function isAfter(a: { segment: number; position: number }, b: { segment: number; position: number }): boolean {
  return a.segment > b.segment || (a.segment === b.segment && a.position > b.position);
}

function latest({ changes }: Pending): Change {
  const change = changes.at(-1);
  assert(change !== undefined, 'a pending key has a change');
  return change;
}
