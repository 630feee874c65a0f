/**
 * Reading a chunk back: only the shards that cover the range, in parallel, and where one is missing or damaged, the same blocks of as many
 * others as the scheme needs. Shards come verified from the disks (CRC32C per 64 KiB); a chunk that is read whole must also have the hash
 * that it is named by, and where it has not, other combinations of shards are tried before giving up.
 */
import type { Codec } from '../erasure/codec.js';
import { combinations } from '../erasure/combinations.js';
import { assert, CairnError } from '../errors/cairn-error.js';
import { contentHash } from './content-hash.js';
import type { Holder, ShardSet } from './shard-set.js';

/** A shard that could not be read where it should be; `disk` is its disk's number, undefined if no disk has it. */
type OnMissing = (shard: number, disk: number | undefined) => void;

/** Combinations of shards to try for a chunk whose hash is wrong: all of 8+3. */
const MAX_COMBINATIONS = 165;

/** Bytes [from, to) of the chunk from one set of shards. UNREADABLE, with what went wrong in the message. */
export async function readRange(
  set: ShardSet,
  chunk: string,
  from: number,
  to: number,
  onMissing: OnMissing,
): Promise<Uint8Array> {
  assert(from < to, 'the range is not empty');
  const reader = new SetReader(set, onMissing);
  const whole = from === 0 && to === set.chunkBytes;
  if (!set.scheme.erasure) {
    return reader.readCopy(from, to, (bytes) => !whole || contentHash(bytes) === chunk);
  }
  const bytes = await reader.readData(from, to);
  if (!whole || contentHash(bytes) === chunk) return bytes;
  return reader.readAnyHow(chunk);
}

interface ShardBytes {
  readonly from: number;
  readonly to: number;
  readonly bytes: Uint8Array;
}

class SetReader {
  readonly #set: ShardSet;
  readonly #codec: Codec;
  readonly #shardBytes: number;
  readonly #onMissing: OnMissing;
  /** What has been read of each shard: a rebuild uses it again. */
  readonly #read: (ShardBytes | undefined)[] = [];
  readonly #reported = new Set<string>();
  readonly #troubles: string[] = [];

  constructor(set: ShardSet, onMissing: OnMissing) {
    this.#set = set;
    this.#codec = set.codec;
    this.#shardBytes = set.codec.shardBytes(set.chunkBytes);
    this.#onMissing = onMissing;
  }

  /** The first copy that can be read and is `good`. */
  async readCopy(from: number, to: number, good: (bytes: Uint8Array) => boolean): Promise<Uint8Array> {
    const holders = this.#set.holders.flatMap((copies, shard) => copies.map((holder) => ({ holder, shard })));
    holders.sort((a, b) => Number(b.holder.disk.state === 'online') - Number(a.holder.disk.state === 'online'));
    for (const { holder, shard } of holders) {
      const bytes = await this.#readHolder(holder, shard, from, to);
      if (!bytes) continue;
      if (good(bytes)) {
        this.#set.holders.forEach((copies, other) => {
          if (copies.length === 0) this.#report(other, undefined);
        });
        return bytes;
      }
      this.#troubles.push(`the copy on disk ${holder.number} is not the chunk that it is named`);
      this.#report(shard, holder.number);
    }
    throw this.#unreadable();
  }

  /** Bytes [from, to) of the chunk from its data shards, rebuilding those that cannot be read. */
  async readData(from: number, to: number): Promise<Uint8Array> {
    const size = this.#shardBytes;
    const first = Math.floor(from / size);
    const last = Math.floor((to - 1) / size);
    const slice = (shard: number): [from: number, to: number] => [
      Math.max(from - shard * size, 0),
      Math.min(to - shard * size, size),
    ];
    const shards = Array.from({ length: last - first + 1 }, (_, i) => first + i);
    const parts = await Promise.all(shards.map((shard) => this.#readShard(shard, ...slice(shard))));
    // One after the other: what the first rebuild has read serves the next.
    for (const [i, shard] of shards.entries()) parts[i] ??= await this.#rebuild(shard, ...slice(shard));
    if (parts.length === 1) return parts[0]!;
    const out = Buffer.allocUnsafeSlow(to - from);
    for (const [i, shard] of shards.entries()) out.set(parts[i]!, shard * size + slice(shard)[0] - from);
    return out;
  }

  /** The whole chunk by trying combinations of shards until one has the right hash: some shard holds wrong bytes under right checksums. */
  async readAnyHow(chunk: string): Promise<Uint8Array> {
    const all = await Promise.all(this.#set.holders.map((_, shard) => this.#readShard(shard, 0, this.#shardBytes)));
    const there = all.flatMap((bytes, shard) => (bytes ? [shard] : []));
    for (const sources of combinations(there, this.#codec.needed, MAX_COMBINATIONS)) {
      const bytes = this.#codec.decode(
        all.map((shard, i) => (sources.includes(i) ? shard : undefined)),
        this.#set.chunkBytes,
      );
      if (contentHash(bytes) !== chunk) continue;
      this.#codec.encode(bytes).forEach((right, shard) => {
        const found = all[shard];
        if (found && Buffer.compare(found, right) !== 0) this.#report(shard, this.#set.holders[shard]![0]?.number);
      });
      return bytes;
    }
    this.#troubles.push('no combination of its shards gives the chunk that it is named');
    throw this.#unreadable();
  }

  /** Bytes [from, to) of the shard, from the same blocks of others. */
  async #rebuild(wanted: number, from: number, to: number): Promise<Uint8Array> {
    const block = this.#codec.blockBytes;
    const start = Math.floor(from / block) * block;
    const end = Math.min(Math.ceil(to / block) * block, this.#shardBytes);
    const ranges: (Uint8Array | undefined)[] = new Array(this.#codec.shards).fill(undefined);
    // Those on online disks first, and of these data shards, of which part may have been read already.
    const candidates = this.#set.holders
      .map((holders, shard) => ({ shard, online: holders[0]?.disk.state === 'online', there: holders.length > 0 }))
      .filter(({ shard, there }) => there && shard !== wanted)
      .sort((a, b) => Number(b.online) - Number(a.online) || a.shard - b.shard)
      .map(({ shard }) => shard);
    let got = 0;
    while (got < this.#codec.needed) {
      const chosen = candidates.splice(0, this.#codec.needed - got);
      if (chosen.length === 0) throw this.#unreadable();
      const parts = await Promise.all(chosen.map((shard) => this.#readShard(shard, start, end)));
      parts.forEach((bytes, i) => {
        if (!bytes) return;
        ranges[chosen[i]!] = bytes;
        got++;
      });
    }
    return this.#codec.rebuild(ranges, wanted).subarray(from - start, to - start);
  }

  /** undefined if no holder can give them. */
  async #readShard(shard: number, from: number, to: number): Promise<Uint8Array | undefined> {
    const before = this.#read[shard];
    if (before && before.from <= from && before.to >= to)
      return before.bytes.subarray(from - before.from, to - before.from);
    const holders = this.#set.holders[shard]!;
    if (holders.length === 0) this.#report(shard, undefined);
    for (const holder of holders) {
      const bytes = await this.#readHolder(holder, shard, from, to);
      if (!bytes) continue;
      this.#read[shard] = { from, to, bytes };
      return bytes;
    }
    return undefined;
  }

  async #readHolder(holder: Holder, shard: number, from: number, to: number): Promise<Uint8Array | undefined> {
    try {
      const bytes = await holder.disk.readShard(holder.entry, from, to);
      assert(bytes.length === to - from, 'a disk answers with as many bytes as it was asked for');
      return bytes;
    } catch (error) {
      // Only what a disk may fail with is made up for from the others; a bug is not.
      if (!(error instanceof CairnError)) throw error;
      this.#troubles.push(`disk ${holder.number}: ${error.message}`);
      this.#report(shard, holder.number);
      return undefined;
    }
  }

  #report(shard: number, disk: number | undefined): void {
    const key = `${shard}/${disk}`;
    if (this.#reported.has(key)) return;
    this.#reported.add(key);
    this.#onMissing(shard, disk);
  }

  #unreadable(): CairnError {
    const { present, name } = this.#set;
    const count = `${present} of ${this.#codec.shards} shards of ${name} are there and ${this.#codec.needed} are needed`;
    return new CairnError('UNREADABLE', [count, ...new Set(this.#troubles)].join('; '));
  }
}
