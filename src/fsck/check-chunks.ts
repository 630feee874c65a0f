/**
 * Every chunk that a file needs: are all of its shards there, can it be read, is it what it is named. And the other way round: shards that
 * nothing needs.
 *
 * Mending never takes anything away before its replacement is durable: a damaged shard is written anew under the same key, which makes the old
 * record dead; missing ones are added by the chunk store, as for any chunk that is stored again.
 */
import { type Holder, isOfLaterVersion } from '../chunks/shard-set.js';
import type { Disk } from '../disks/disk.js';
import type { ShardEntry } from '../disks/record.js';
import { hasCode } from '../errors/cairn-error.js';
import type { ChunkId } from '../meta/rows.js';
import type { DamagedShard } from './check-log.js';
import { referencedChunks } from './check-metadata.js';
import { FIX_ORDER, type Fix, type PoolRun } from './check-run.js';
import type { FileNames } from './file-names.js';
import type { MetadataCensus } from './metadata-census.js';
import { counted, listed, nameOf } from './words.js';

const ROW_WORK = 1024;
/** Chunks of one finding whose files are looked for. */
const NAMED_CHUNKS = 200;

export async function checkChunks(
  run: PoolRun,
  census: MetadataCensus,
  names: FileNames,
  damagedShards: readonly DamagedShard[],
): Promise<void> {
  const check = new ChunkCheck(run, census, damagedShards);
  await check.run();
  await check.report(names);
}

class ChunkCheck {
  readonly #run: PoolRun;
  readonly #census: MetadataCensus;
  /** By chunk, what the log check has found. */
  readonly #suspect = new Map<ChunkId, DamagedShard[]>();
  readonly #lost: ChunkId[] = [];
  readonly #degraded: ChunkId[] = [];
  /** Readable, and these of its shards are not what they should be. */
  readonly #damaged = new Map<ChunkId, { disk: Disk; entry: ShardEntry }[]>();

  constructor(run: PoolRun, census: MetadataCensus, damagedShards: readonly DamagedShard[]) {
    this.#run = run;
    this.#census = census;
    for (const damaged of damagedShards) {
      const list = this.#suspect.get(damaged.entry.chunk);
      if (list === undefined) this.#suspect.set(damaged.entry.chunk, [damaged]);
      else list.push(damaged);
    }
  }

  async run(): Promise<void> {
    const { content } = this.#run.options;
    let total = 0;
    for (const [, { chunkBytes }] of referencedChunks(this.#census)) total += content === true ? chunkBytes : 1;
    this.#run.begin(content ? 'reading every chunk' : 'checking the chunks', total, content ? 'bytes' : 'items');
    for (const [chunk, { chunkBytes }] of referencedChunks(this.#census)) {
      await this.#one(chunk, chunkBytes);
      await this.#run.advance(content ? chunkBytes : 1, content ? chunkBytes : ROW_WORK);
    }
  }

  async #one(chunk: ChunkId, chunkBytes: number): Promise<void> {
    const { chunks } = this.#run.pool;
    const { health } = chunks.health(chunk);
    const suspect = this.#suspect.get(chunk) ?? [];
    if (health === 'lost') {
      if (await this.#isNeeded(chunk, () => chunks.health(chunk).health === 'lost')) this.#lost.push(chunk);
      return;
    }
    if (suspect.length > 0 || this.#run.options.content === true) {
      const bytes = await this.#read(chunk, chunkBytes);
      if (bytes === undefined) return;
      this.#run.counts.contentBytes += chunkBytes;
      const damaged = suspect.map(({ disk, entry }) => ({ disk, entry }));
      if (this.#run.options.content) {
        const isKnown = ({ disk, entry }: Holder): boolean =>
          suspect.some(
            ({ disk: where, entry: { bucket, shard } }) =>
              where === disk && bucket === entry.bucket && shard === entry.shard,
          );
        const wrong = await chunks.wrongShards(chunk, bytes);
        damaged.push(...wrong.filter((holder) => !isKnown(holder)));
      }
      if (damaged.length > 0) this.#damaged.set(chunk, damaged);
    }
    if (health === 'degraded' && (await this.#isNeeded(chunk, () => chunks.health(chunk).health !== 'healthy')))
      this.#degraded.push(chunk);
  }

  /** Undefined if it cannot be read, which is then known. */
  async #read(chunk: ChunkId, chunkBytes: number): Promise<Uint8Array | undefined> {
    const { chunks } = this.#run.pool;
    try {
      return await chunks.read(chunk, chunkBytes, 0, chunkBytes);
    } catch (error) {
      if (!hasCode(error, 'UNREADABLE')) throw error;
    }
    const lost = await this.#isNeeded(chunk, () =>
      chunks.read(chunk, chunkBytes, 0, chunkBytes).then(
        () => false,
        () => true,
      ),
    );
    if (lost) this.#lost.push(chunk);
    return undefined;
  }

  /** While others use the pool: in a quiet moment, a file still names it and it still `looks` so. */
  async #isNeeded(chunk: ChunkId, looks: () => boolean | Promise<boolean>): Promise<boolean> {
    if (!this.#run.live) return true;
    return this.#run.quietly(async () => {
      const row = await this.#run.pool.meta.getChunk(chunk);
      return row !== undefined && row.references > 0 && (await looks());
    });
  }

  async report(names: FileNames): Promise<void> {
    const { disks } = this.#run.pool;
    const absent = disks.reports().filter(({ role, state }) => role === 'data' && state !== 'online');
    if (this.#lost.length > 0) {
      this.#run.report({
        severity: 'loss',
        code: 'chunk-lost',
        message: `${counted(this.#lost.length, 'chunk')} cannot be read: what the files below have there is lost${absent.length > 0 ? ' unless the missing disks come back' : ''}`,
        advice: this.#lost.some((chunk) => isOfLaterVersion(disks.byNumber, chunk))
          ? 'some of these were compressed by a newer version of cairn, in a way that this one does not know: install that version'
          : absent.length > 0
            ? 'connect the missing disks before anything else; do not repair or reinitialise meanwhile'
            : 'restore these files from a copy; `cairn rescue` gets out of bare disks what can be read',
        files: await names.using(this.#lost.slice(0, NAMED_CHUNKS)),
      });
    }
    if (this.#damaged.size > 0) {
      const count = [...this.#damaged.values()].reduce((sum, list) => sum + list.length, 0);
      const where = new Set([...this.#damaged.values()].flat().map(({ disk }) => disk));
      this.#run.report({
        severity: 'damage',
        code: 'shard-damaged',
        message: `${counted(count, 'shard')} on ${listed([...where].map(nameOf))} ${count === 1 ? 'is' : 'are'} damaged: every file is still read from the other disks, but is less safe`,
        files: await names.using([...this.#damaged.keys()].slice(0, NAMED_CHUNKS)),
        fix: { order: FIX_ORDER.shards, run: () => this.#rewriteDamaged() },
      });
    }
    if (this.#degraded.length > 0) {
      const why = absent.length > 0 ? ` (${listed(absent.map(({ directory }) => directory))} not there)` : '';
      this.#run.report({
        severity: 'damage',
        code: 'chunk-degraded',
        message: `${counted(this.#degraded.length, 'chunk')} ${this.#degraded.length === 1 ? 'has' : 'have'} fewer shards than promised${why}: everything is readable, but may not survive another loss`,
        advice: absent.length > 0 ? 'connect or replace the missing disk, then run `cairn fsck --repair`' : undefined!,
        files: await names.using(this.#degraded.slice(0, NAMED_CHUNKS)),
        fix: { order: FIX_ORDER.shards + 0.5, run: () => this.#complete() },
      });
    }
  }

  /** What is wrong of each is found once more, and written anew. */
  async #rewriteDamaged(): Promise<void> {
    this.#run.begin('writing damaged shards anew', this.#damaged.size, 'items');
    for (const chunk of this.#damaged.keys()) {
      await this.#mend(chunk, true);
      const { chunkBytes } = this.#census.chunks.get(chunk)!;
      await this.#run.advance(1, chunkBytes);
    }
    await this.#sync();
  }

  async #complete(): Promise<void> {
    this.#run.begin('making chunks whole', this.#degraded.length, 'items');
    for (const chunk of this.#degraded) {
      await this.#mend(chunk, false);
      const { chunkBytes } = this.#census.chunks.get(chunk)!;
      await this.#run.advance(1, chunkBytes);
    }
    await this.#sync();
  }

  /** The second check tells what could not be mended. */
  async #mend(chunk: ChunkId, verify: boolean): Promise<void> {
    const { chunks, meta } = this.#run.pool;
    const row = await meta.getChunk(chunk);
    if (row === undefined || row.references === 0) return;
    try {
      await chunks.mend(chunk, row.chunkBytes, { verify });
    } catch (error) {
      if (!hasCode(error, 'NO_SPACE', 'DISK_FAILED', 'UNREADABLE')) throw error;
    }
  }

  async #sync(): Promise<void> {
    await Promise.allSettled(this.#run.pool.disks.data().map((disk) => disk.sync()));
  }
}

/**
 * Walks every disk's index once: shards that no row names, segments that are named and not there, and whether the bytes add up. `isSure`: the
 * metadata is whole, so that what it does not name is garbage.
 */
export async function checkShards(run: PoolRun, census: MetadataCensus | undefined): Promise<void> {
  const check = new ShardWalk(run, census);
  for (const disk of run.pool.disks.opened) if (disk.state !== 'offline') await check.walk(disk);
  await check.report();
}

class ShardWalk {
  readonly #run: PoolRun;
  readonly #census: MetadataCensus | undefined;
  readonly #orphans = new Map<ChunkId, number>();
  readonly #orphanBytes = { sum: 0 };

  constructor(run: PoolRun, census: MetadataCensus | undefined) {
    this.#run = run;
    this.#census = census;
  }

  async walk(disk: Disk): Promise<void> {
    this.#run.begin(`adding up ${nameOf(disk)}`, 0, 'items');
    let after: ShardEntry | undefined;
    const sums = new Map<string, number>();
    for (;;) {
      const page = disk.walk(after, 1000);
      for (const entry of page) {
        sums.set(entry.bucket, (sums.get(entry.bucket) ?? 0) + entry.recordBytes);
        await this.#look(entry);
      }
      after = page.at(-1);
      if (after === undefined) break;
      await this.#run.advance(page.length, page.length * ROW_WORK);
    }
    const wrong = (found: ReadonlyMap<string, number>): string[] =>
      [...found].filter(([bucket, bytes]) => disk.bucketBytes(bucket) !== bytes).map(([bucket]) => bucket);
    let buckets = wrong(sums);
    // In one step, so that nothing changes between two pages.
    if (buckets.length > 0 && this.#run.live) buckets = wrong(sumsOf(disk.walk(undefined, Number.MAX_SAFE_INTEGER)));
    if (buckets.length === 0) return;
    this.#run.report({
      severity: 'damage',
      code: 'bucket-bytes',
      message: `the index of ${nameOf(disk)} miscounts the bytes of ${counted(buckets.length, 'bucket')}: the pool would use too little or too much of the disk`,
      advice: 'unmount the pool and run `cairn fsck --repair`: the index is made anew from the logs',
    });
  }

  async #look({ chunk, recordBytes }: ShardEntry): Promise<void> {
    if (this.#census === undefined || this.#census.chunks.has(chunk)) return;
    if ((await this.#run.pool.meta.getChunk(chunk)) !== undefined) return;
    this.#orphans.set(chunk, (this.#orphans.get(chunk) ?? 0) + 1);
    this.#orphanBytes.sum += recordBytes;
  }

  async report(): Promise<void> {
    if (this.#orphans.size === 0) return;
    const { live } = this.#run;
    // What a commit gave up just now is about to go anyway.
    if (live) await this.#run.pool.collector.run();
    const orphans: ChunkId[] = [];
    for (const chunk of this.#orphans.keys())
      if (await this.#run.quietly(() => this.#isOrphan(chunk))) orphans.push(chunk);
    if (orphans.length === 0) return;
    const shards = orphans.reduce((sum, chunk) => sum + (this.#orphans.get(chunk) ?? 0), 0);
    const sure =
      this.#run.pool.disks.tooMany === undefined &&
      this.#run.pool.disks.reports().every(({ state }) => state === 'online');
    this.#run.report({
      severity: 'note',
      code: 'shard-orphan',
      message: `${counted(shards, 'shard')} of ${counted(orphans.length, 'chunk')} belong to no file, as after a crash in the middle of a commit: they only take room (about ${this.#orphanBytes.sum} bytes)`,
      advice: sure
        ? '`cairn fsck --repair` gives the room back'
        : 'connect all disks first: one of them may know a file that needs them',
      ...(sure && { fix: { order: FIX_ORDER.garbage, run: () => this.#collect(orphans) } satisfies Fix }),
    });
  }

  async #isOrphan(chunk: ChunkId): Promise<boolean> {
    const { meta, chunks, table, disks } = this.#run.pool;
    if (chunks.isHeld(chunk) || table.orphanChunks().has(chunk)) return false;
    if ((await meta.getChunk(chunk)) !== undefined) return false;
    return disks.opened.some((disk) => disk.state !== 'offline' && disk.findAnywhere(chunk).length > 0);
  }

  /** Only if nothing else was wrong with the metadata: what it does not name is garbage then. */
  async #collect(orphans: readonly ChunkId[]): Promise<void> {
    if (this.#run.found.some(({ finding }) => METADATA_CODES.has(finding.code))) return;
    for (const chunk of orphans) {
      await this.#run.quietly(async () => {
        if (await this.#isOrphan(chunk)) await this.#run.pool.chunks.collect([chunk]);
      });
      await this.#run.advance(1, ROW_WORK);
    }
  }
}

/** With these the metadata may not name all that it should. */
const METADATA_CODES: ReadonlySet<string> = new Set([
  'metadata-unreadable',
  'metadata-behind',
  'metadata-differs',
  'metadata-counts',
  'reference-count',
  'journal-gap',
  'extent-overlap',
  'extent-range',
  'rows-without-inode',
  'disk-missing',
]);

function sumsOf(entries: readonly ShardEntry[]): Map<string, number> {
  const sums = new Map<string, number>();
  for (const { bucket, recordBytes } of entries) sums.set(bucket, (sums.get(bucket) ?? 0) + recordBytes);
  return sums;
}
