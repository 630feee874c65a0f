/**
 * Reading a chunk back: only the shards that cover the range, in parallel, and where one is missing or damaged, the same blocks of as many
 * others as the scheme needs. Shards come verified from the disks (CRC32C per 64 KiB); a chunk that is read whole must also have the hash
 * that it is named by, and where it has not, other combinations of shards are tried before giving up. Of a compressed chunk the shards are what it was compressed to: of a part
 * that is read the blocks that it touches are unpacked, each against its own checksum (compressed-chunk.ts). What a slow disk has is not waited for as long
 * as the others have enough; it is used if it comes first, or if nothing else is left.
 */
import type { Codec } from '../erasure/codec.js';
import { combinations } from '../erasure/combinations.js';
import { assert, CairnError, hasCode } from '../errors/cairn-error.js';
import type { BlockCache } from './block-cache.js';
import { type ChunkSpace, type ChunkSpaces, neededSpace, type SpaceLayout, shardIn, storedIn } from './chunk-space.js';
import type { WholeChunk } from './chunk-store.js';
import { BLOCK_BYTES, decompressBlock, plainOf, readTable, type StoredBlock, tableBytes } from './compressed-chunk.js';
import { contentHash } from './content-hash.js';
import type { Pipeline } from './pipeline.js';
import { type Reading, type ReadPace, SilentDisk } from './read-pace.js';
import type { Holder, ShardSet } from './shard-set.js';

/** A shard that could not be read where it should be; `disk` is its disk's number, undefined if no disk has it. */
type OnMissing = (shard: number, disk: number | undefined) => void;

/** Combinations of shards to try for a chunk whose hash is wrong: all of 8+3. */
const MAX_COMBINATIONS = 165;

/** What a whole chunk is put together with. */
interface SpaceMeans {
  readonly spaces: ChunkSpaces;
  readonly pipeline: Pipeline;
  readonly pace: ReadPace;
}

/** A space that its owner gives back, or drops. */
export interface FilledSpace {
  readonly space: ChunkSpace;
  readonly layout: SpaceLayout;
}

/** With another one, in which the chunk is, where it is compressed in the first. */
interface UnpackedSpace extends FilledSpace {
  readonly plain: ChunkSpace | undefined;
}

/** A chunk whose name is right, and what its shards are made from: the same bytes where it is not compressed. */
interface CheckedChunk {
  readonly stored: Uint8Array;
  readonly plain: Uint8Array;
}

/**
 * The whole chunk from one set of shards: as many as are needed, from all their disks at once, straight to their places in a space, where a worker thread makes what is missing and hashes
 * the chunk. Where a shard is late or damaged, or the chunk is not what it is named, it goes on as `readRange` does, with what has been read. UNREADABLE, CLOSED.
 */
export async function readWhole(
  set: ShardSet,
  chunk: string,
  means: SpaceMeans,
  onMissing: OnMissing,
): Promise<WholeChunk> {
  const reader = new SetReader(set, onMissing, means.pace);
  const filled = await fill(reader, means, [], chunk);
  if (filled === undefined) return lent((await reader.readSlowly(chunk)).plain, () => {});
  const { space, layout, plain } = filled;
  if (plain === undefined) return lent(storedIn(space.bytes, layout), () => means.spaces.give(space));
  means.spaces.give(space);
  return lent(plain.bytes.subarray(0, set.chunkBytes), () => means.spaces.give(plain));
}

/** What the shards of the set are made from, of a chunk that has its name then. UNREADABLE, CLOSED. */
export async function readStored(set: ShardSet, chunk: string, means: SpaceMeans): Promise<Uint8Array> {
  const reader = new SetReader(set, () => {}, means.pace);
  const filled = await unpacked(await fill(reader, means, [], chunk), means);
  if (filled === undefined) return (await reader.readSlowly(chunk)).stored;
  const stored = new Uint8Array(storedIn(filled.space.bytes, filled.layout));
  means.spaces.give(filled.space);
  return stored;
}

/** As `readWhole`, of shards: those `wanted` are made, whatever there is of them, and the chunk has its name. undefined if that cannot be, or would take long. */
export async function remakeShards(
  set: ShardSet,
  chunk: string,
  wanted: readonly number[],
  means: SpaceMeans,
): Promise<FilledSpace | undefined> {
  return unpacked(await fill(new SetReader(set, () => {}, means.pace), means, wanted, chunk), means);
}

/** Of no further use is what was unpacked to see whether it is the chunk. */
function unpacked(filled: UnpackedSpace | undefined, { spaces }: SpaceMeans): FilledSpace | undefined {
  if (filled?.plain !== undefined) spaces.give(filled.plain);
  return filled;
}

/** These shards as they lie, each verified, and nothing else. undefined if one cannot be read, or not soon. */
export function copyShards(
  set: ShardSet,
  shards: readonly number[],
  means: SpaceMeans,
): Promise<FilledSpace | undefined> {
  return fill(new SetReader(set, () => {}, means.pace), means, shards, undefined);
}

/** With a chunk's name: as many shards as are needed, and from them what is wanted; without one, just what is wanted. */
async function fill(
  reader: SetReader,
  { spaces, pipeline }: SpaceMeans,
  wanted: readonly number[],
  chunk: string | undefined,
): Promise<UnpackedSpace | undefined> {
  const bytes = reader.spaceBytes;
  if (bytes === undefined) return undefined;
  const space = spaces.take(bytes);
  const plain = chunk === undefined || !reader.isCompressed ? undefined : spaces.take(reader.chunkBytes);
  let isGood = false;
  try {
    const layout =
      chunk === undefined ? await reader.fetch(space.bytes, wanted, []) : await reader.gather(space.bytes, wanted);
    isGood = layout !== undefined && (chunk === undefined || (await nameIn(space, layout, plain, pipeline)) === chunk);
    return layout !== undefined && isGood ? { space, layout, plain } : undefined;
  } finally {
    // A late read may still write to it.
    if (!isGood) {
      spaces.drop(space);
      if (plain !== undefined) spaces.drop(plain);
    }
  }
}

/** undefined if the worker thread has ended: the chunk is hashed here then. */
async function nameIn(
  space: ChunkSpace,
  layout: SpaceLayout,
  plain: ChunkSpace | undefined,
  pipeline: Pipeline,
): Promise<string | undefined> {
  try {
    return await pipeline.complete(space, layout, plain);
  } catch (error) {
    if (!hasCode(error, 'IO')) throw error;
    return undefined;
  }
}

function lent(bytes: Uint8Array, giveBack: () => void): WholeChunk {
  let isReleased = false;
  return {
    bytes,
    release: () => {
      assert(!isReleased, 'a chunk is released once');
      isReleased = true;
      giveBack();
    },
  };
}

/** Bytes [from, to) of the chunk from one set of shards; what of a compressed one is unpacked for that goes to `blocks`. UNREADABLE, with what went wrong in the message. */
export async function readRange(
  set: ShardSet,
  chunk: string,
  from: number,
  to: number,
  onMissing: OnMissing,
  { pace, blocks }: { readonly pace: ReadPace; readonly blocks: BlockCache },
): Promise<Uint8Array> {
  assert(from < to, 'the range is not empty');
  const reader = new SetReader(set, onMissing, pace);
  if (from === 0 && to === set.chunkBytes) return (await reader.readSlowly(chunk)).plain;
  if (set.compression !== undefined) return reader.readBlocks(chunk, from, to, blocks);
  return set.scheme.erasure ? reader.readData(from, to) : reader.readCopy(from, to, () => true);
}

interface ShardBytes {
  readonly from: number;
  readonly to: number;
  readonly bytes: Uint8Array;
}

/** A shard's bytes that were not waited for. */
interface LateShard extends Pick<ShardBytes, 'from' | 'to'> {
  readonly shard: number;
  /** undefined if they cannot be had. */
  answer(): Promise<Uint8Array | undefined>;
}

class SetReader {
  readonly #set: ShardSet;
  readonly #codec: Codec;
  readonly #shardBytes: number;
  readonly #onMissing: OnMissing;
  /** What has been read of each shard: a rebuild uses it again. */
  readonly #read: (ShardBytes | undefined)[] = [];
  /** What could not be read: it is not asked for twice. */
  readonly #failed: { readonly holder: Holder; readonly from: number; readonly to: number }[] = [];
  readonly #reported = new Set<string>();
  readonly #troubles: string[] = [];
  readonly #pace: ReadPace;
  readonly #late: LateShard[] = [];

  constructor(set: ShardSet, onMissing: OnMissing, pace: ReadPace) {
    this.#pace = pace;
    this.#set = set;
    this.#codec = set.codec;
    this.#shardBytes = set.shardBytes;
    this.#onMissing = onMissing;
  }

  get isCompressed(): boolean {
    return this.#set.compression !== undefined;
  }

  get chunkBytes(): number {
    return this.#set.chunkBytes;
  }

  /** undefined if it is more than a space may have. */
  get spaceBytes(): number | undefined {
    return neededSpace(this.#set.scheme, this.#shardBytes);
  }

  /** As many shards as are needed into their places in the space; the data shards that are not among them, and those wanted, are to be made. As `fetch`. */
  async gather(space: Uint8Array, wanted: readonly number[]): Promise<SpaceLayout | undefined> {
    const { needed } = this.#codec;
    const there = this.#quickest().slice(0, needed);
    if (there.length < needed) return undefined;
    const data = Array.from({ length: needed }, (_, shard) => shard);
    for (const shard of data) if (this.#set.holders[shard]!.length === 0) this.#report(shard, undefined);
    const make = [...new Set([...data, ...wanted])].filter((shard) => !there.includes(shard));
    return this.fetch(space, there, this.#set.scheme.erasure ? make : []);
  }

  /** These shards into their places in the space; undefined if one of them does not come, or not soon: then the space is written to even later. */
  async fetch(space: Uint8Array, there: readonly number[], make: readonly number[]): Promise<SpaceLayout | undefined> {
    const { scheme, chunkBytes, compression } = this.#set;
    const layout = { scheme, chunkBytes, compression, shardBytes: this.#shardBytes, there, make };
    const read = await Promise.all(there.map((shard) => this.#readInto(shard, shardIn(space, layout, shard))));
    return read.every(Boolean) ? layout : undefined;
  }

  /** Shards that can be asked for at once, those that need no decoding first, and those on online disks before. */
  #quickest(): number[] {
    const isOnline = (shard: number): number => Number(this.#set.holders[shard]![0]?.disk.state === 'online');
    return this.#set.holders
      .map((_, shard) => shard)
      .filter((shard) => this.#set.holders[shard]!.length > 0 && !this.#isSatOut(shard))
      .sort((a, b) => isOnline(b) - isOnline(a) || a - b);
  }

  /** The whole chunk, unpacked and hashed on the calling thread. */
  async readSlowly(chunk: string): Promise<CheckedChunk> {
    const { storedBytes, scheme } = this.#set;
    if (scheme.erasure)
      return this.#checked(await this.readData(0, storedBytes), chunk) ?? (await this.#readAnyHow(chunk));
    let checked: CheckedChunk | undefined;
    await this.readCopy(0, storedBytes, (stored) => {
      checked = this.#checked(stored, chunk);
      return checked !== undefined;
    });
    assert(checked, 'a copy that was taken is good');
    return checked;
  }

  /** undefined if the chunk is not what its shards are made from. */
  #checked(stored: Uint8Array, chunk: string): CheckedChunk | undefined {
    const { chunkBytes, compression } = this.#set;
    try {
      const plain = plainOf(stored, chunkBytes, compression);
      return contentHash(plain) === chunk ? { stored, plain } : undefined;
    } catch (error) {
      if (!hasCode(error, 'CORRUPT')) throw error;
      return undefined;
    }
  }

  /** Bytes [from, to) of a compressed chunk, by the blocks that they lie in; by the whole chunk where one of these is not what it should be. */
  async readBlocks(chunk: string, from: number, to: number, blocks: BlockCache): Promise<Uint8Array> {
    const { chunkBytes, storedBytes } = this.#set;
    const first = Math.floor(from / BLOCK_BYTES);
    const end = Math.ceil(to / BLOCK_BYTES);
    const start = first * BLOCK_BYTES;
    try {
      const table = blocks.table(chunk, storedBytes) ?? (await this.#readTable());
      blocks.putTable(chunk, storedBytes, table);
      const frames = table.slice(first, end);
      const base = frames[0]!.from;
      const stored = await this.#readStoredRange(base, frames.at(-1)!.to);
      const plain = Buffer.allocUnsafeSlow(Math.min(end * BLOCK_BYTES, chunkBytes) - start);
      for (const [i, frame] of frames.entries()) {
        const into = plain.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES);
        decompressBlock(stored.subarray(frame.from - base, frame.to - base), frame, into);
        blocks.put(chunk, first + i, into);
      }
      return plain.subarray(from - start, to - start);
    } catch (error) {
      if (!hasCode(error, 'CORRUPT')) throw error;
      blocks.putTable(chunk, storedBytes, undefined);
      const { plain } = await this.readSlowly(chunk);
      return plain.subarray(from, to);
    }
  }

  async #readTable(): Promise<StoredBlock[]> {
    const { chunkBytes, storedBytes } = this.#set;
    const length = tableBytes(chunkBytes);
    if (length > storedBytes) throw new CairnError('CORRUPT', 'a compressed chunk is shorter than its table');
    return readTable(await this.#readStoredRange(0, length), chunkBytes, storedBytes);
  }

  /** Bytes [from, to) of what the shards are made from. */
  #readStoredRange(from: number, to: number): Promise<Uint8Array> {
    return this.#set.scheme.erasure ? this.readData(from, to) : this.readCopy(from, to, () => true);
  }

  /** The first copy that can be read and is `good`. */
  async readCopy(from: number, to: number, good: (bytes: Uint8Array) => boolean): Promise<Uint8Array> {
    const holders = this.#set.holders.flatMap((copies, shard) => copies.map((holder) => ({ holder, shard })));
    holders.sort((a, b) => Number(b.holder.disk.state === 'online') - Number(a.holder.disk.state === 'online'));
    const use = (bytes: Uint8Array | undefined, shard: number, disk: number | undefined): Uint8Array | undefined => {
      if (bytes === undefined) return undefined;
      if (good(bytes)) {
        this.#set.holders.forEach((copies, other) => {
          if (copies.length === 0) this.#report(other, undefined);
        });
        return bytes;
      }
      this.#troubles.push(`the copy on disk ${disk ?? '?'} is not the chunk that it is named`);
      this.#report(shard, disk);
      return undefined;
    };
    for (const { holder, shard } of holders) {
      if (this.#isAwaited(shard, from, to)) continue;
      const bytes = use(await this.#readHolder(holder, shard, from, to), shard, holder.number);
      if (bytes !== undefined) return bytes;
    }
    for (let late = await this.#firstLate(); late !== undefined; late = await this.#firstLate()) {
      const bytes = use(late.bytes, late.shard, this.#set.holders[late.shard]?.[0]?.number);
      if (bytes !== undefined) return bytes;
    }
    throw this.#unreadable();
  }

  /** The one of those that were not waited for that comes next; undefined if there are none. */
  async #firstLate(
    wanted: (late: LateShard) => boolean = () => true,
  ): Promise<{ readonly shard: number; readonly bytes: Uint8Array | undefined } | undefined> {
    const waiting = this.#late.filter(wanted);
    if (waiting.length === 0) return undefined;
    const { late, bytes } = await Promise.race(waiting.map(async (one) => ({ late: one, bytes: await one.answer() })));
    // Another rebuild of this chunk may have met it meanwhile.
    const place = this.#late.indexOf(late);
    if (place >= 0) this.#late.splice(place, 1);
    return { shard: late.shard, bytes };
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
    for (const [i, shard] of shards.entries()) parts[i] ??= await this.#recover(shard, ...slice(shard));
    if (parts.length === 1) return parts[0]!;
    const out = Buffer.allocUnsafeSlow(to - from);
    for (const [i, shard] of shards.entries()) out.set(parts[i]!, shard * size + slice(shard)[0] - from);
    return out;
  }

  /** What was not waited for, or what the others make of it: whichever comes first. */
  async #recover(shard: number, from: number, to: number): Promise<Uint8Array> {
    // The rebuild of another shard may have waited for it.
    const known = this.#known(shard, from, to);
    if (known !== undefined) return known;
    const own = this.#late.find((late) => late.shard === shard && late.from === from && late.to === to);
    if (own === undefined) return this.#rebuild(shard, from, to);
    const others = this.#rebuild(shard, from, to);
    if (this.#isSatOut(shard)) {
      // It is asked only if the others do not have enough.
      return others.catch(async (error: unknown) => {
        const bytes = await own.answer();
        if (bytes === undefined) throw error;
        return bytes;
      });
    }
    const itself = own.answer().then((bytes) => bytes ?? others);
    return Promise.any([itself, others]).catch(() => others);
  }

  #isSatOut(shard: number): boolean {
    return this.#set.holders[shard]!.every(({ number }) => this.#pace.isSatOut(number));
  }

  /** The whole chunk by trying combinations of shards until one has the right hash: some shard holds wrong bytes under right checksums. */
  async #readAnyHow(chunk: string): Promise<CheckedChunk> {
    const whole = (late: LateShard): boolean => late.from === 0 && late.to === this.#shardBytes;
    const all = await Promise.all(this.#set.holders.map((_, shard) => this.#readShard(shard, 0, this.#shardBytes)));
    // Every shard may be the one that is needed.
    for (let late = await this.#firstLate(whole); late !== undefined; late = await this.#firstLate(whole))
      all[late.shard] ??= late.bytes;
    const there = all.flatMap((bytes, shard) => (bytes ? [shard] : []));
    for (const sources of combinations(there, this.#codec.needed, MAX_COMBINATIONS)) {
      const stored = this.#codec.decode(
        all.map((shard, i) => (sources.includes(i) ? shard : undefined)),
        this.#set.storedBytes,
      );
      const checked = this.#checked(stored, chunk);
      if (checked === undefined) continue;
      this.#codec.encode(stored).forEach((right, shard) => {
        const found = all[shard];
        if (found && Buffer.compare(found, right) !== 0) this.#report(shard, this.#set.holders[shard]![0]?.number);
      });
      return checked;
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
      .map((holders, shard) => ({
        shard,
        online: holders[0]?.disk.state === 'online',
        there: holders.length > 0,
        slow: this.#late.some((late) => late.shard === shard),
      }))
      .filter(({ shard, there }) => there && shard !== wanted)
      .sort((a, b) => Number(a.slow) - Number(b.slow) || Number(b.online) - Number(a.online) || a.shard - b.shard)
      .map(({ shard }) => shard);
    let got = 0;
    while (got < this.#codec.needed) {
      const chosen = candidates.splice(0, this.#codec.needed - got);
      if (chosen.length === 0) {
        const late = await this.#firstLate((one) => one.shard !== wanted && one.from === start && one.to === end);
        if (late === undefined) throw this.#unreadable();
        if (late.bytes === undefined || ranges[late.shard] !== undefined) continue;
        ranges[late.shard] = late.bytes;
        this.#read[late.shard] ??= { from: start, to: end, bytes: late.bytes };
        got++;
        continue;
      }
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
    const before = this.#known(shard, from, to);
    if (before !== undefined) return before;
    if (this.#isAwaited(shard, from, to)) return undefined;
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

  #known(shard: number, from: number, to: number): Uint8Array | undefined {
    const before = this.#read[shard];
    if (before === undefined || before.from > from || before.to < to) return undefined;
    return before.bytes.subarray(from - before.from, to - before.from);
  }

  /** It has been asked for, and was not waited for. */
  #isAwaited(shard: number, from: number, to: number): boolean {
    return this.#late.some((late) => late.shard === shard && late.from === from && late.to === to);
  }

  /** The whole shard, from its first holder. False if it does not come, or not soon: what there is of it serves the slow way. */
  async #readInto(shard: number, into: Uint8Array): Promise<boolean> {
    const [holder] = this.#set.holders[shard]!;
    const bytes = holder && (await this.#readHolder(holder, shard, 0, this.#shardBytes, into));
    if (bytes === undefined) return false;
    this.#read[shard] = { from: 0, to: this.#shardBytes, bytes };
    return true;
  }

  async #readHolder(
    holder: Holder,
    shard: number,
    from: number,
    to: number,
    into?: Uint8Array,
  ): Promise<Uint8Array | undefined> {
    const { disk, entry, number } = holder;
    if (this.#failed.some((failed) => failed.holder === holder && failed.from === from && failed.to === to))
      return undefined;
    const begin = (): Reading => this.#pace.begin(number, to - from, () => disk.readShard(entry, from, to, into));
    // Where there are no others, waiting is all there is.
    if (this.#set.present <= this.#codec.needed) return this.#take(begin(), holder, shard, from, to);
    if (this.#pace.isSatOut(number)) {
      let answer: Promise<Uint8Array | undefined> | undefined;
      this.#late.push({
        shard,
        from,
        to,
        answer: () => {
          answer ??= this.#take(begin(), holder, shard, from, to);
          return answer;
        },
      });
      return undefined;
    }
    const reading = begin();
    const answer = this.#take(reading, holder, shard, from, to);
    if (await reading.inTime()) return answer;
    this.#late.push({ shard, from, to, answer: () => answer });
    return undefined;
  }

  async #take(
    { answer }: Reading,
    holder: Holder,
    shard: number,
    from: number,
    to: number,
  ): Promise<Uint8Array | undefined> {
    try {
      const bytes = await answer;
      assert(bytes.length === to - from, 'a disk answers with as many bytes as it was asked for');
      return bytes;
    } catch (error) {
      // Only what a disk may fail with is made up for from the others; a bug is not.
      if (!(error instanceof CairnError)) throw error;
      this.#failed.push({ holder, from, to });
      this.#troubles.push(`disk ${holder.number}: ${error.message}`);
      if (!(error instanceof SilentDisk)) this.#report(shard, holder.number);
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
