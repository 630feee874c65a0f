/**
 * One chunk from whatever shards there are. Every record is verified, and what comes out has the hash that the chunk is named by, or it does
 * not come out: wrong bytes under right checksums are met by trying other shards.
 */
import { isKnown, plainOf } from '../chunks/compressed-chunk.js';
import { contentHash } from '../chunks/content-hash.js';
import { codecScheme } from '../chunks/shard-scheme.js';
import { type Compression, isSameCompression, type ShardScheme, storedBytes } from '../disks/record.js';
import { type Codec, schemeName } from '../erasure/codec.js';
import { codecFor } from '../erasure/codec-for.js';
import { combinations } from '../erasure/combinations.js';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { BareDisk } from './bare-disk.js';
import type { RecordReader } from './record-reader.js';
import type { FoundShard, ShardTable } from './shard-table.js';

/** docs/format.md: a chunk is 1 byte to 4 MiB. */
const MAX_CHUNK_BYTES = 4 * 1024 * 1024;
/** Combinations of shards to try for a chunk whose hash is wrong: all of 8+3. */
const MAX_COMBINATIONS = 165;

/** Shards that fit together: one scheme, made from one thing. */
interface ShardSet {
  readonly codec: Codec;
  readonly scheme: ShardScheme;
  readonly compression: Compression | undefined;
  /** By shard number. */
  readonly holders: FoundShard[][];
}

export class ChunkReader {
  readonly #shards: ShardTable;
  readonly #records: RecordReader;
  readonly #disks: readonly BareDisk[];
  /** The chunk that was read last: a file's extents, or the files of one chunk, often follow each other. */
  #last: { readonly chunk: string; readonly bytes: Buffer } | undefined;

  constructor(shards: ShardTable, records: RecordReader, disks: readonly BareDisk[]) {
    this.#shards = shards;
    this.#records = records;
    this.#disks = disks;
  }

  /** Whether enough shards are there, by their headers alone. */
  isThere(chunk: string): boolean {
    return this.#sets(chunk).some(({ codec, holders }) => present(holders) >= codec.needed);
  }

  /** All bytes of the chunk. UNREADABLE, with what each disk had to say. */
  async read(chunk: string, chunkBytes: number): Promise<Buffer> {
    if (this.#last?.chunk === chunk && this.#last.bytes.length === chunkBytes) return this.#last.bytes;
    if (chunkBytes > MAX_CHUNK_BYTES)
      throw new CairnError('UNREADABLE', `its length of ${chunkBytes} bytes is more than a chunk can have`);
    const troubles = new Map<BareDisk, string[]>();
    const sets = this.#sets(chunk).sort((a, b) => spare(b) - spare(a));
    for (const set of sets) {
      const attempt = new SetReader(set, chunk, chunkBytes, this.#records, troubles);
      const bytes = await attempt.read();
      if (bytes === undefined) continue;
      this.#last = { chunk, bytes };
      return bytes;
    }
    throw new CairnError('UNREADABLE', this.#explain(chunk, sets, troubles));
  }

  #sets(chunk: string): ShardSet[] {
    const sets = new Map<string, ShardSet>();
    for (const found of this.#shards.find(chunk)) {
      const { erasure, k, m, compression } = found;
      if (!isKnown(compression)) continue;
      const key = `${erasure}/${k}/${m}/${compression?.storedBytes}`;
      let set = sets.get(key);
      if (set === undefined) {
        const scheme = { erasure, k, m };
        const codec = codecOf(scheme);
        if (codec === undefined) continue;
        set = { codec, scheme, compression, holders: Array.from({ length: codec.shards }, () => []) };
        sets.set(key, set);
      }
      set.holders[found.shard]?.push(found);
    }
    return [...sets.values()];
  }

  #explain(chunk: string, sets: readonly ShardSet[], troubles: ReadonlyMap<BareDisk, readonly string[]>): string {
    const found = this.#shards.find(chunk);
    const counts = sets.map(
      ({ codec, holders }) =>
        `${present(holders)} of the ${codec.shards} shards of ${schemeName(codec.scheme)} were found and ${codec.needed} are needed`,
    );
    if (found.some(({ compression }) => !isKnown(compression)))
      counts.push('some of its shards were compressed by a newer version of cairn: install that');
    const disks = this.#disks.map((disk) => {
      const numbers = found.filter(({ segment }) => segment.disk === disk).map(({ shard }) => shard);
      if (numbers.length === 0) return `${disk.directory}: nothing`;
      const what = `shard ${[...new Set(numbers)].join(', ')}`;
      return [`${disk.directory}: ${what}`, ...(troubles.get(disk) ?? [])].join(', ');
    });
    return [...(counts.length === 0 ? ['no shard of it was found'] : counts), ...disks].join('; ');
  }
}

class SetReader {
  readonly #set: ShardSet;
  readonly #chunk: string;
  readonly #chunkBytes: number;
  readonly #records: RecordReader;
  readonly #troubles: Map<BareDisk, string[]>;

  constructor(
    set: ShardSet,
    chunk: string,
    chunkBytes: number,
    records: RecordReader,
    troubles: Map<BareDisk, string[]>,
  ) {
    this.#set = set;
    this.#chunk = chunk;
    this.#chunkBytes = chunkBytes;
    this.#records = records;
    this.#troubles = troubles;
  }

  /** undefined: not from this set. */
  async read(): Promise<Buffer | undefined> {
    return this.#set.scheme.erasure ? this.#readErasure() : this.#readCopy();
  }

  async #readCopy(): Promise<Buffer | undefined> {
    for (const holder of this.#set.holders.flat()) {
      const stored = await this.#readShard(holder, this.#storedBytes);
      if (stored === undefined) continue;
      const bytes = this.#unpacked(stored);
      if (bytes !== undefined) return bytes;
      this.#note(holder, 'is not the chunk that it is named');
    }
    return undefined;
  }

  async #readErasure(): Promise<Buffer | undefined> {
    const { codec, holders } = this.#set;
    if (present(holders) < codec.needed) return undefined;
    const shardBytes = codec.shardBytes(this.#storedBytes);
    // Every verified reading of a shard: normally one, more where copies of a disk disagree.
    const versions: Buffer[][] = holders.map(() => []);
    const readNext = async (shards: readonly number[]): Promise<void> => {
      await Promise.all(
        shards.map(async (shard) => {
          for (const holder of holders[shard]!) {
            const bytes = await this.#readShard(holder, shardBytes);
            if (bytes === undefined || versions[shard]!.some((known) => known.equals(bytes))) continue;
            versions[shard]!.push(bytes);
            return;
          }
        }),
      );
    };
    // Data shards first, which need no decoding; others only for those that fail.
    const waiting = holders.flatMap((list, shard) => (list.length > 0 ? [shard] : []));
    let got = 0;
    while (got < codec.needed && waiting.length > 0) {
      await readNext(waiting.splice(0, codec.needed - got));
      got = versions.filter((list) => list.length > 0).length;
    }
    if (got < codec.needed) return undefined;
    const first = this.#decode(versions);
    if (first !== undefined) return first;
    // Some shard holds wrong bytes under right checksums.
    await readNext(waiting);
    return this.#decode(versions);
  }

  #decode(versions: readonly (readonly Buffer[])[]): Buffer | undefined {
    const { codec } = this.#set;
    const there = versions.flatMap((list, shard) => (list.length > 0 ? [shard] : []));
    for (const sources of combinations(there, codec.needed, MAX_COMBINATIONS)) {
      const shards = versions.map((list, shard) => (sources.includes(shard) ? list[0] : undefined));
      const bytes = this.#unpacked(codec.decode(shards, this.#storedBytes));
      if (bytes !== undefined) return bytes;
    }
    for (const shard of there)
      for (const holder of this.#set.holders[shard]!)
        this.#note(holder, 'does not give the chunk that it is named with any others');
    return undefined;
  }

  /** undefined if the record is not that shard of this chunk, whole and verified. */
  async #readShard(holder: FoundShard, shardBytes: number): Promise<Buffer | undefined> {
    try {
      const { decoded, payload } = await this.#records.read(holder);
      const { record } = decoded;
      // Found by a part of its name only: this is another chunk's.
      if (record.kind !== 'shard' || record.info.chunk !== this.#chunk) return undefined;
      const { chunkBytes, compression } = record.info;
      const isOfSet = chunkBytes === this.#chunkBytes && isSameCompression(compression, this.#set.compression);
      if (!isOfSet || payload.length !== shardBytes) {
        this.#note(holder, 'has another length');
        return undefined;
      }
      return payload;
    } catch (error) {
      if (!(error instanceof CairnError)) throw error;
      this.#note(holder, error.message);
      return undefined;
    }
  }

  /** Length of what the shards are made from. */
  get #storedBytes(): number {
    return storedBytes({ chunkBytes: this.#chunkBytes, compression: this.#set.compression });
  }

  /** undefined: it is not the chunk. */
  #unpacked(stored: Uint8Array): Buffer | undefined {
    let bytes: Uint8Array;
    try {
      bytes = plainOf(stored, this.#chunkBytes, this.#set.compression);
    } catch (error) {
      if (!hasCode(error, 'CORRUPT')) throw error;
      return undefined;
    }
    if (contentHash(bytes) !== this.#chunk) return undefined;
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  #note({ segment, shard }: FoundShard, what: string): void {
    const list = this.#troubles.get(segment.disk) ?? [];
    const line = `shard ${shard} ${what}`;
    if (!list.includes(line)) list.push(line);
    this.#troubles.set(segment.disk, list);
  }
}

/** Different shards that were found. */
function present(holders: readonly (readonly FoundShard[])[]): number {
  return holders.filter((list) => list.length > 0).length;
}

function spare({ codec, holders }: ShardSet): number {
  return present(holders) - codec.needed;
}

/** undefined: a scheme of a later version, or of a damaged mind. */
function codecOf(scheme: ShardScheme): Codec | undefined {
  try {
    return codecFor(codecScheme(scheme));
  } catch (error) {
    if (hasCode(error, 'CONFIG')) return undefined;
    throw error;
  }
}
