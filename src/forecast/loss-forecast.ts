/**
 * Answers what is lost if one disk, or the cache device, dies now, with all others as they are.
 *
 * Of a data disk: the committed bytes of files whose chunks could not be read any more. Copies in the cache do not count: they may be gone the
 * next moment. Of the cache: what is staged, also while a commit has it under way, because only the commit's end makes it safe; and new names and
 * attributes. A journal disk takes nothing with it that the others have not. Damage that nobody has met yet is not known here.
 */
import type { CacheAccount } from '../cache/cache-account.js';
import type { Disks } from '../chunks/shard-set.js';
import { CairnError } from '../errors/cairn-error.js';
import { extentPages } from '../meta/extent-pages.js';
import type { MetaStore } from '../meta/meta-store.js';
import type { ChunkId, Ino } from '../meta/rows.js';
import type { Inode } from '../vfs/inode.js';
import type { DiskLoss, DiskReport, ForecastRequest, LossForecast, LostFile } from '../vfs/reports.js';
import type { StagedSet } from '../vfs/staged-set.js';
import type { Vfs } from '../vfs/vfs.js';
import { exposureOf } from './exposure.js';
import type { LossCensus } from './loss-census.js';
import { pathsOf } from './tree-paths.js';

const PAGE = 256;
/** Verdicts on chunks kept while the extents of files are added up. */
const VERDICTS_MAX = 100_000;

export interface ForecastParts {
  readonly census: LossCensus;
  readonly meta: MetaStore;
  readonly disks: { readonly byNumber: Disks; reports(): readonly DiskReport[] };
  readonly cacheDirectory: string;
  readonly account: Pick<CacheAccount, 'dirtyBytes'>;
  readonly staged: Pick<StagedSet, 'contents' | 'sealing' | 'inodes' | 'directories'>;
  readonly vfs: Vfs;
}

export class LossForecaster {
  readonly #parts: ForecastParts;

  constructor(parts: ForecastParts) {
    this.#parts = parts;
  }

  /** For every disk and the cache, from counters: `counted` says of which share of the pool's chunks. */
  async summary(): Promise<LossForecast> {
    const { census, disks } = this.#parts;
    const { byDisk, unreadable } = await census.losses();
    const losses = disks.reports().map((disk): DiskLoss => {
      const { chunks, bytes } = (disk.role === 'data' && byDisk.get(disk.number)) || { chunks: 0, bytes: 0 };
      return { ...placeOf(disk), chunks, bytes, files: [], moreFiles: 0 };
    });
    return { format: 1, counted: await census.counted(), unreadable, disks: [...losses, this.#cacheLoss()] };
  }

  /** As `summary`, with everything counted first; and with files, of the disks asked for. NOT_FOUND if there is no such disk. */
  async forecast({ disk, files }: ForecastRequest, signal?: AbortSignal): Promise<LossForecast> {
    await this.#parts.census.finish(signal);
    const all = await this.summary();
    const chosen = disk === undefined ? all.disks : all.disks.filter((one) => isCalled(one, disk));
    if (chosen.length === 0)
      throw new CairnError('NOT_FOUND', `the pool has no disk ${disk}`, {
        hint: 'name it by number, directory or id, or say cache',
      });
    if (files === 0) return { ...all, disks: chosen };
    const named: DiskLoss[] = [];
    for (const loss of chosen) named.push({ ...loss, ...(await this.#filesOf(loss, files, signal)) });
    return { ...all, disks: named };
  }

  /** Nothing is counted any more. */
  close(): Promise<void> {
    return this.#parts.census.close();
  }

  #cacheLoss(): DiskLoss {
    const { account, cacheDirectory } = this.#parts;
    const place = { role: 'cache' as const, number: 0, uuid: '', directory: cacheDirectory, state: 'online' as const };
    return { ...place, chunks: 0, bytes: account.dirtyBytes, files: [], moreFiles: this.#staged().size };
  }

  /** Inodes of which bytes, names or attributes are staged, with the bytes. */
  #staged(): Map<Ino, number> {
    const { contents, sealing, inodes, directories } = this.#parts.staged;
    const staged = new Map<Ino, number>();
    const add = (inode: Inode): void => {
      if (!inode.gone) staged.set(inode.ino, inode.content?.dirtyBytes ?? 0);
    };
    for (const group of [contents, sealing, inodes, directories]) for (const inode of group) add(inode);
    return staged;
  }

  async #filesOf(
    loss: DiskLoss,
    most: number,
    signal: AbortSignal | undefined,
  ): Promise<{ files: readonly LostFile[]; moreFiles: number }> {
    const bytes = loss.role === 'cache' ? this.#staged() : new Map<Ino, number>();
    if (loss.role === 'data') {
      const isLost = this.#lostWith(loss.number);
      for (const ino of await this.#users(isLost, signal)) {
        const lost = await this.#lostBytes(ino, isLost);
        if (lost > 0) bytes.set(ino, lost);
        signal?.throwIfAborted();
      }
    }
    const paths = await pathsOf(this.#parts.vfs, new Set(bytes.keys()), signal);
    const files: LostFile[] = [];
    for (const [ino, lost] of bytes) {
      const path = paths.get(ino);
      // Deleted, and the deletion not committed yet: nobody misses it.
      if (path !== undefined) files.push({ path, bytes: lost });
    }
    files.sort((a, b) => (a.path < b.path ? -1 : 1));
    return { files: files.slice(0, most), moreFiles: Math.max(0, files.length - most) };
  }

  #lostWith(number: number): (chunk: ChunkId, chunkBytes: number) => boolean {
    const verdicts = new Map<ChunkId, boolean>();
    return (chunk, chunkBytes) => {
      let lost = verdicts.get(chunk);
      if (lost === undefined) {
        lost = exposureOf(this.#parts.disks.byNumber, chunk, chunkBytes).critical.includes(number);
        if (verdicts.size >= VERDICTS_MAX) verdicts.clear();
        verdicts.set(chunk, lost);
      }
      return lost;
    };
  }

  async #users(
    isLost: (chunk: ChunkId, chunkBytes: number) => boolean,
    signal: AbortSignal | undefined,
  ): Promise<ReadonlySet<Ino>> {
    const { meta } = this.#parts;
    const users = new Set<Ino>();
    for (let after = ''; ; ) {
      signal?.throwIfAborted();
      const rows = await meta.listChunks(after, PAGE);
      for (const { chunk, chunkBytes, references } of rows) {
        if (references === 0 || !isLost(chunk, chunkBytes)) continue;
        for (const ino of await meta.listChunkUsers(chunk, references)) users.add(ino);
      }
      const last = rows.at(-1);
      if (last === undefined || rows.length < PAGE) return users;
      after = last.chunk;
      await new Promise(setImmediate);
    }
  }

  /** Bytes of the file, to its committed end, that lie in such chunks. */
  async #lostBytes(ino: Ino, isLost: (chunk: ChunkId, chunkBytes: number) => boolean): Promise<number> {
    const { meta } = this.#parts;
    const sizeBytes = (await meta.getInode(ino))?.sizeBytes ?? 0;
    let lost = 0;
    for await (const page of extentPages(meta, ino))
      for (const { offset, length, chunk, chunkBytes } of page)
        if (isLost(chunk, chunkBytes)) lost += Math.max(0, Math.min(offset + length, sizeBytes) - offset);
    return lost;
  }
}

function placeOf({ role, number, uuid, directory, state }: DiskReport) {
  return { role, number, uuid, directory, state };
}

function isCalled({ role, number, uuid, directory }: DiskLoss, name: string): boolean {
  if (role === 'cache') return name === 'cache' || name === directory;
  return name === directory || name === uuid || (number > 0 && name === String(number));
}
