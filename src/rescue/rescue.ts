/**
 * The whole of a rescue: which disks, what is on them, which state they tell, and the tree of it in a directory. Reads the disks and writes
 * nothing but the target directory (and, for a listing, a temporary one).
 *
 * Memory: 28 bytes per shard, the places of commits and snapshot parts, one chunk with its shards. The metadata is in a SQLite file in the
 * target's work directory.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Addon } from '../../native/addon.js';
import { CairnError } from '../errors/cairn-error.js';
import type { MetaStore } from '../meta/meta-store.js';
import { type InodeRow, ROOT_INO } from '../meta/rows.js';
import { openSqliteMetaStore } from '../meta/sqlite-meta-store.js';
import { destroySqliteMetaStore } from '../meta/sqlite-schema.js';
import { ChunkReader } from './chunk-reader.js';
import { scanDisks } from './disk-scan.js';
import { FileRestorer, type RestoreCounts } from './file-restorer.js';
import { chooseDisks, type GivenDisks } from './given-disks.js';
import { pathFields } from './path-text.js';
import { type PoolState, rebuildState } from './pool-state.js';
import { namesOf, walkTree } from './pool-tree.js';
import { RecordReader } from './record-reader.js';
import { RescueReport } from './rescue-report.js';
import { summaryLines } from './rescue-summary.js';
import { TargetDirectory } from './target-directory.js';

const PATH_MAX_BYTES = 4095;
/** Entries of the tree before other work of the process has its turn. */
const SLICE_ENTRIES = 64;
const META = 'meta.sqlite';

export interface RescueProgress {
  readonly bytesDone: number;
  readonly bytesTotal: number;
  readonly filesDone: number;
  readonly filesTotal: number;
}

export interface RescueOptions {
  /** Directories of data and journal disks. */
  readonly disks: readonly string[];
  /** First digits of the id of the pool to restore; undefined: the disks are of one. */
  readonly pool: string | undefined;
  /** A path in the pool: only this and what is in it; undefined: everything. */
  readonly only: string | undefined;
  readonly addon: Pick<Addon, 'crc32c' | 'lock' | 'setXattr' | 'setTimes'>;
  /** Aborted: the rescue rejects with its reason, and leaves what a later run goes on with. */
  readonly signal: AbortSignal;
  /** Another part of the work begins: `reading the disks`. */
  readonly onStep: (label: string) => void;
  readonly onProgress: (progress: RescueProgress) => void;
}

export interface RestoreOptions extends RescueOptions {
  readonly to: string;
  /** Write files of which parts are lost too, under NAME.cairn-partial. */
  readonly partial: boolean;
}

/** What is known before anything is restored. */
export interface RescueSource {
  readonly pool: string;
  readonly disks: readonly {
    readonly directory: string;
    readonly uuid: string | undefined;
    /** 0 for journal disks; undefined: its identity cannot be read. */
    readonly number: number | undefined;
    readonly role: string | undefined;
  }[];
  /** Numbers of data disks of the pool that were not given; undefined: no map can be read. */
  readonly missingDisks: readonly number[] | undefined;
  /** Not given either, and only needed if they were not empty yet: numbers of disks that the pool has let go of, or was emptying. */
  readonly emptiedDisks: readonly number[];
  readonly state: PoolState;
  /** What was found on the way, one sentence each. */
  readonly notes: readonly string[];
}

export interface RescueSummary extends RescueSource {
  readonly restored: RestoreCounts;
  /** Names, by what became of them. */
  readonly lost: number;
  readonly refused: number;
  readonly noted: number;
  readonly lostBytes: number;
  /** Everything that is known to have been promised has been restored whole. */
  readonly complete: boolean;
}

export interface ListedEntry {
  readonly path: string;
  readonly pathHex?: string;
  readonly kind: 'directory' | 'file' | 'link' | 'other';
  readonly sizeBytes: number;
  /** What cannot be restored of it, by what the disks' headers say; undefined: it can be. */
  readonly trouble: string | undefined;
}

/** Restores into `to` and writes the report there. CairnErrors of `chooseDisks`, `TargetDirectory.open`, `rebuildState`, and of a target that cannot take more. */
export async function restorePool(options: RestoreOptions): Promise<RescueSummary> {
  const given = chooseDisks(options.disks, options.pool, options.addon.crc32c);
  const target = TargetDirectory.open(options.to, given.pool, options.disks, options.addon);
  try {
    return await withSource(given, join(target.work, META), options, (meta, chunks, source) =>
      restoreTree(options, target, meta, chunks, source),
    );
  } catch (error) {
    target.abandon();
    throw error;
  } finally {
    target.release();
  }
}

/** Calls `onEntry` with everything that would be restored, and with what would not, as far as the disks' headers tell. Writes nothing but a temporary directory. */
export async function listPool(options: RescueOptions, onEntry: (entry: ListedEntry) => void): Promise<RescueSource> {
  const given = chooseDisks(options.disks, options.pool, options.addon.crc32c);
  const directory = mkdtempSync(join(tmpdir(), 'cairn-rescue-'));
  try {
    return await withSource(given, join(directory, META), options, async (meta, chunks, source) => {
      options.onStep('listing');
      for await (const entry of walkTree(meta, wanted(options), PATH_MAX_BYTES)) {
        options.signal.throwIfAborted();
        if (entry.kind === 'end') continue;
        const fields = pathFields(entry.path);
        if (entry.kind === 'refused') onEntry({ ...fields, kind: 'other', sizeBytes: 0, trouble: entry.why });
        else if (entry.kind === 'directory')
          onEntry({ ...fields, kind: 'directory', sizeBytes: 0, trouble: undefined });
        else onEntry({ ...fields, ...(await describe(meta, chunks, entry.inode)) });
      }
      return source;
    });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function withSource<T>(
  given: GivenDisks,
  metaPath: string,
  options: RescueOptions,
  task: (meta: MetaStore, chunks: ChunkReader, source: RescueSource) => Promise<T>,
): Promise<T> {
  const { signal, addon, onStep, onProgress } = options;
  onStep('reading the disks');
  const content = await scanDisks(given.disks, addon.crc32c, signal, onProgress);
  const records = new RecordReader(addon.crc32c);
  const chunks = new ChunkReader(content.shards, records, given.disks);
  destroySqliteMetaStore(metaPath);
  const meta = await openSqliteMetaStore(metaPath);
  try {
    onStep('putting the metadata together');
    const state = await rebuildState({
      meta,
      journal: content.journal,
      records,
      chunks,
      disks: given,
      signal,
    });
    return await task(meta, chunks, {
      pool: given.pool,
      disks: given.disks.map(({ directory, identity }) => ({
        directory,
        uuid: identity?.uuid,
        number: identity?.number,
        role: identity?.role,
      })),
      missingDisks: given.missing?.filter((number) => !given.emptied.includes(number)),
      emptiedDisks: given.emptied,
      state,
      notes: [...given.notes, ...content.notes, ...journalNotes(given, content.journal.commitCount)],
    });
  } finally {
    records.close();
    await meta.close();
  }
}

async function restoreTree(
  options: RestoreOptions,
  target: TargetDirectory,
  meta: MetaStore,
  chunks: ChunkReader,
  source: RescueSource,
): Promise<RescueSummary> {
  const { signal, onStep, onProgress } = options;
  const only = wanted(options);
  const maxPathBytes = PATH_MAX_BYTES - Buffer.byteLength(target.path) - 1;
  onStep('counting');
  const { files: filesTotal, bytes: bytesTotal } = await countTree(meta, only, maxPathBytes, signal);
  if (only.length > 0 && filesTotal === 0 && !(await hasEntries(meta, only, maxPathBytes)))
    throw new CairnError('NOT_FOUND', `there is no ${options.only} in commit ${source.state.sequence} of the pool`, {
      hint: 'see what there is with --list',
    });
  target.bind(source.state.sequence, source.state.epoch);
  onStep('restoring');
  const report = new RescueReport(target);
  let bytesDone = 0;
  let filesDone = 0;
  const restorer = new FileRestorer({
    meta,
    chunks,
    target,
    report,
    addon: options.addon,
    partial: options.partial,
    signal,
    onBytes: (bytes) => {
      bytesDone += bytes;
      onProgress({ bytesDone, bytesTotal, filesDone, filesTotal });
    },
  });
  /** The directory that could not be made: nothing in it can be. */
  let closed: Buffer | undefined;
  let count = 0;
  for await (const entry of walkTree(meta, only, maxPathBytes)) {
    if (++count % SLICE_ENTRIES === 0) await setImmediate();
    signal.throwIfAborted();
    const { path } = entry;
    if (closed !== undefined && entry.kind !== 'end') report.add(path, 'refused', 'its directory could not be made');
    else if (entry.kind === 'refused') report.add(path, 'refused', entry.why);
    else if (entry.kind === 'directory') {
      if (!restorer.makeDirectory(path)) closed = path;
    } else if (entry.kind === 'end') {
      if (closed === undefined) await restorer.finishDirectory(path, entry.inode);
      else if (closed.equals(path)) closed = undefined;
    } else {
      await restorer.restore(path, entry.parent, entry.inode);
      filesDone++;
      onProgress({ bytesDone, bytesTotal, filesDone, filesTotal });
    }
  }
  onStep('writing it to the device');
  const notes = [...source.notes, ...(await syncTarget(target.path))];
  const { sequence, promised } = source.state;
  const summary = {
    ...source,
    notes,
    restored: restorer.counts,
    lost: report.lost,
    refused: report.refused,
    noted: report.notes,
    lostBytes: report.lostBytes,
    complete: report.lost + report.refused === 0 && sequence >= promised,
  };
  await report.finish(summary, summaryLines(summary, target.path));
  const root = only.length > 0 ? undefined : await meta.getInode(ROOT_INO);
  target.removeWork();
  if (root !== undefined) await restorer.finishRoot(root, (why) => notes.push(`${target.path}: ${why}`));
  return summary;
}

function wanted({ only }: RescueOptions): string[] {
  if (only === undefined) return [];
  const names = namesOf(only);
  if (names === undefined) throw new CairnError('INVALID', `--only ${only} must not contain ..`);
  return names;
}

async function countTree(
  meta: MetaStore,
  only: readonly string[],
  maxPathBytes: number,
  signal: AbortSignal,
): Promise<{ files: number; bytes: number }> {
  let files = 0;
  let bytes = 0;
  for await (const entry of walkTree(meta, only, maxPathBytes)) {
    if (entry.kind !== 'other') continue;
    bytes += await meta.allocatedBytes(entry.inode.ino);
    if (++files % SLICE_ENTRIES === 0) await setImmediate();
    signal.throwIfAborted();
  }
  return { files, bytes };
}

/** Whether the whole way of names is there. */
async function hasEntries(meta: MetaStore, only: readonly string[], maxPathBytes: number): Promise<boolean> {
  let depth = 0;
  for await (const entry of walkTree(meta, only, maxPathBytes)) {
    if (entry.kind === 'end') break;
    if (entry.kind === 'directory' && ++depth === only.length) return true;
  }
  return false;
}

async function describe(
  meta: MetaStore,
  chunks: ChunkReader,
  inode: InodeRow,
): Promise<Omit<ListedEntry, 'path' | 'pathHex'>> {
  const type = inode.mode & 0o170000;
  const kind = type === 0o100000 ? 'file' : type === 0o120000 ? 'link' : 'other';
  let lostBytes = 0;
  for (let from = 0; from < inode.sizeBytes; ) {
    const extents = await meta.listExtents(inode.ino, from, inode.sizeBytes, 1000);
    for (const { offset, length, chunk } of extents) {
      from = Math.min(offset + length, inode.sizeBytes);
      if (!chunks.isThere(chunk)) lostBytes += from - offset;
    }
    if (extents.length === 0) break;
  }
  const trouble = lostBytes === 0 ? undefined : `${lostBytes} of its ${inode.sizeBytes} bytes cannot be read`;
  return { kind, sizeBytes: inode.sizeBytes, trouble };
}

/** Without any commit record, newer commits may be on disks that were not given. */
function journalNotes({ disks }: GivenDisks, commits: number): string[] {
  if (commits > 0 || disks.some(({ identity }) => identity?.role === 'journal')) return [];
  return [
    'no commit record is on these disks: if the pool has journal disks, what was committed after the snapshot is on those',
  ];
}

/** Returns a note if it cannot be done. */
async function syncTarget(directory: string): Promise<string[]> {
  try {
    await promisify(execFile)('sync', ['-f', directory]);
    return [];
  } catch {
    return [`${directory} may not be on its device yet: run \`sync\` before the power goes`];
  }
}
