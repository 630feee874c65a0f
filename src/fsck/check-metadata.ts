/**
 * The metadata in itself: every name leads to an inode and every inode has its names, directories form a tree, extents lie in their files
 * and chunks, references are counted right, numbers are not given twice. Everything but the reference counts is judged by one snapshot.
 */
import { MAX_CHUNK_BYTES } from '../chunks/chunk-store.js';
import { messageOf } from '../errors/cairn-error.js';
import { extentPages } from '../meta/extent-pages.js';
import { type ChunkId, type Ino, ROOT_INO } from '../meta/rows.js';
import { isDirectory, isFile } from '../vfs/mode.js';
import type { Fix, PoolRun } from './check-run.js';
import type { FileNames } from './file-names.js';
import { type ChunkFacts, type InodeFacts, MetadataCensus } from './metadata-census.js';
import { counted } from './words.js';

/** Chunks whose references are counted again in a quiet moment. */
const RECOUNTED_MAX = 10_000;
const ROW_WORK = 1024;

/** Reads a snapshot of the store; undefined, and a finding, if it cannot be read. */
export async function takeCensus(run: PoolRun, fix: Fix | undefined): Promise<MetadataCensus | undefined> {
  const { meta } = run.pool;
  const statistics = await meta.statistics();
  run.begin('reading the metadata', statistics.inodes + statistics.dentries + statistics.extents, 'items');
  try {
    const { position, batches } = await meta.snapshot();
    const census = new MetadataCensus(position);
    for await (const batch of batches) {
      for (const change of batch) census.add(change);
      await run.advance(batch.length, batch.length * ROW_WORK);
    }
    run.counts.inodes = [...census.inodes.values()].filter(({ exists }) => exists).length;
    run.counts.names = census.names;
    run.counts.extents = census.extents;
    run.counts.chunks = census.chunks.size;
    return census;
  } catch (error) {
    if (run.options.signal?.aborted) throw error;
    run.report({
      severity: 'damage',
      code: 'metadata-unreadable',
      message: `the metadata store cannot be read whole (${messageOf(error)}); the disks hold all of it too`,
      advice: 'unmount the pool and run `cairn fsck --repair`: it is rebuilt from the disks',
      fix,
    });
    return undefined;
  }
}

/** `fix`: how metadata is mended; undefined: not now. */
export async function checkMetadata(
  run: PoolRun,
  census: MetadataCensus,
  names: FileNames,
  fix: Fix | undefined,
): Promise<void> {
  const check = new MetadataCheck(run, census, names, fix);
  await check.tree();
  await check.inodes();
  await check.references();
  await check.numbers();
}

class MetadataCheck {
  readonly #run: PoolRun;
  readonly #census: MetadataCensus;
  readonly #names: FileNames;
  readonly #fix: Fix | undefined;

  constructor(run: PoolRun, census: MetadataCensus, names: FileNames, fix: Fix | undefined) {
    this.#run = run;
    this.#census = census;
    this.#names = names;
    this.#fix = fix;
  }

  /** Names lead to inodes, parents are directories, and every directory hangs on the root. */
  async tree(): Promise<void> {
    const dangling = new Set<Ino>();
    const lostParents = new Set<Ino>();
    const disagreeing: Ino[] = [];
    const manyNames: Ino[] = [];
    const unreachable: Ino[] = [];
    const nameless: Ino[] = [];
    for (const [ino, facts] of this.#census.inodes) {
      const { exists, mode, directoryNames, fileNames, entries, nlink } = facts;
      if (entries > 0 && !(exists && isDirectory(mode))) lostParents.add(ino);
      if (!exists) {
        if (directoryNames + fileNames > 0) dangling.add(ino);
        continue;
      }
      if (ino === ROOT_INO) continue;
      if (isDirectory(mode) ? fileNames > 0 : directoryNames > 0) disagreeing.push(ino);
      if (directoryNames > 1) manyNames.push(ino);
      if (directoryNames + fileNames > 0) continue;
      if (nlink === 0) nameless.push(ino);
      else unreachable.push(ino);
    }
    await this.#tell('dentry-dangling', dangling, (n) => `${counted(n, 'inode')} that names lead to are not there`);
    await this.#tell(
      'parent-missing',
      lostParents,
      (n) => `names lie in ${counted(n, 'inode')} that are no directories`,
    );
    await this.#tell(
      'dentry-kind',
      disagreeing,
      (n) => `the names of ${counted(n, 'inode')} say another kind than it is`,
    );
    await this.#tell('directory-names', manyNames, (n) => `${counted(n, 'directory or more')} have several names`);
    await this.#tell(
      'inode-unreachable',
      unreachable,
      (n) => `${counted(n, 'inode')} have no name, so what is in them cannot be opened`,
    );
    if (nameless.length > 0) {
      this.#run.report({
        severity: 'note',
        code: 'inode-nameless',
        message: `${counted(nameless.length, 'inode')} without a name wait to be removed: they were open when they lost it`,
        files: await this.#names.of(nameless),
      });
    }
    await this.#tell(
      'directory-cycle',
      this.#detached(),
      (n) => `${counted(n, 'directory entry')} do not hang on the root`,
    );
  }

  /** Directories with a name from which no way leads to the root. */
  #detached(): Ino[] {
    const { inodes } = this.#census;
    const attached = new Map<Ino, boolean>([[ROOT_INO, true]]);
    const detached: Ino[] = [];
    for (const [start, facts] of inodes) {
      if (facts.directoryNames === 0 || !facts.exists) continue;
      const way: Ino[] = [];
      let at: Ino | undefined = start;
      const seen = new Set<Ino>();
      while (at !== undefined && !attached.has(at) && !seen.has(at)) {
        way.push(at);
        seen.add(at);
        at = inodes.get(at)?.parent;
      }
      // A way that ends at an inode that is missing or nameless has been told of already.
      const cyclic = at !== undefined && seen.has(at);
      const result = at === undefined ? true : (attached.get(at) ?? !cyclic);
      for (const ino of way) attached.set(ino, result);
    }
    for (const [ino, result] of attached) if (!result) detached.push(ino);
    return detached;
  }

  /** Link counts, extents, xattrs. */
  async inodes(): Promise<void> {
    const links: Ino[] = [];
    const overlapping: Ino[] = [];
    const outside: Ino[] = [];
    const orphanRows: Ino[] = [];
    for (const [ino, facts] of this.#census.inodes) {
      if (!facts.exists) {
        if (facts.extents > 0 || facts.hasXattrs) orphanRows.push(ino);
        continue;
      }
      if (facts.nlink !== linksOf(ino, facts) && hasNames(ino, facts)) links.push(ino);
      if (facts.overlaps) overlapping.push(ino);
      const misplaced = facts.extents > 0 && (!isFile(facts.mode) || facts.extentsEnd > facts.sizeBytes);
      if (facts.badExtents > 0 || misplaced) outside.push(ino);
    }
    await this.#tell('link-count', links, (n) => `${counted(n, 'inode')} have another link count than names`);
    await this.#tell('extent-overlap', overlapping, (n) => `extents of ${counted(n, 'file')} overlap`);
    await this.#tell(
      'extent-range',
      outside,
      (n) => `extents of ${counted(n, 'file')} lie outside of the file or of their chunk`,
    );
    await this.#tell(
      'rows-without-inode',
      orphanRows,
      (n) => `extents or attributes belong to ${counted(n, 'inode')} that are not there`,
    );
  }

  /** The store's count of each chunk's references is how many extents name it. */
  async references(): Promise<void> {
    const { meta } = this.#run.pool;
    this.#run.begin('counting references', this.#census.chunks.size, 'items');
    let suspects: ChunkId[] = [];
    for (const [chunk, facts] of this.#census.chunks) {
      const row = await meta.getChunk(chunk);
      if (row === undefined || row.references !== facts.references || row.chunkBytes !== facts.chunkBytes)
        suspects.push(chunk);
      else if (facts.contradicted || facts.chunkBytes < 1 || facts.chunkBytes > MAX_CHUNK_BYTES) suspects.push(chunk);
      await this.#run.advance(1, ROW_WORK);
    }
    if (this.#run.live && suspects.length > 0 && suspects.length <= RECOUNTED_MAX) {
      const wrong: ChunkId[] = [];
      for (const chunk of suspects) if (await this.#run.quietly(() => this.#isMiscounted(chunk))) wrong.push(chunk);
      suspects = wrong;
    }
    if (suspects.length === 0) return;
    this.#run.report({
      severity: 'damage',
      code: 'reference-count',
      message: `the metadata counts another number of references to ${counted(suspects.length, 'chunk')} than files make: the data is there, but its room could be given back too early or never`,
      advice: this.#advice,
      files: await this.#names.using(suspects.slice(0, 100)),
      fix: this.#fix,
    });
  }

  /** In a quiet moment: by what the store says now. */
  async #isMiscounted(chunk: ChunkId): Promise<boolean> {
    const { meta } = this.#run.pool;
    const row = await meta.getChunk(chunk);
    let references = 0;
    for (const ino of await meta.listChunkUsers(chunk, Number.MAX_SAFE_INTEGER)) {
      for await (const page of extentPages(meta, ino))
        for (const extent of page) {
          if (extent.chunk !== chunk) continue;
          references++;
          if (extent.chunkBytes !== row?.chunkBytes) return true;
        }
    }
    return references !== (row?.references ?? 0);
  }

  /** Counters that the store keeps beside its rows. */
  async numbers(): Promise<void> {
    const { meta, journal } = this.#run.pool;
    const { lastIno, position } = this.#census;
    if (lastIno >= position.nextIno) {
      this.#run.report({
        severity: 'damage',
        code: 'next-inode',
        message: `the next inode number is ${position.nextIno}, but inode ${lastIno} is there already: a new file could take its place`,
        advice: this.#advice,
        fix: this.#fix,
      });
    }
    const behind = await this.#run.quietly(async () => meta.position().sequence !== journal.sequence);
    if (behind) {
      this.#run.report({
        severity: 'damage',
        code: 'metadata-behind',
        message: `the metadata store stands at commit ${meta.position().sequence}, the journal at ${journal.sequence}: it does not take what is committed`,
        advice: 'look at daemon.log; unmount and mount again: it is brought forward from the journal',
      });
    }
    // What is counted must be what the census has seen: of the same commit.
    if (meta.position().sequence !== position.sequence) return;
    const { inodes, dentries, extents, chunks } = await meta.statistics();
    if (meta.position().sequence !== position.sequence) return;
    const { counts } = this.#run;
    if (this.#run.has('reference-count')) return;
    const wrong = [
      ['inodes', inodes, counts.inodes],
      ['names', dentries, counts.names],
      ['extents', extents, counts.extents],
      ['chunks', chunks, counts.chunks],
    ].filter(([, said, is]) => said !== is);
    if (wrong.length === 0) return;
    this.#run.report({
      severity: 'damage',
      code: 'metadata-counts',
      message: `the metadata store miscounts its rows (${wrong.map(([what, said, is]) => `${said} ${what} instead of ${is}`).join(', ')}): only what \`status\` and \`df\` say is wrong`,
      advice: this.#advice,
      fix: this.#fix,
    });
  }

  get #advice(): string {
    return this.#fix === undefined || this.#run.live
      ? 'unmount the pool and run `cairn fsck --repair`: the metadata is rebuilt from the disks'
      : 'run `cairn fsck --repair`: the metadata is rebuilt from the disks';
  }

  async #tell(code: string, inos: Iterable<Ino>, sentence: (count: number) => string): Promise<void> {
    const all = [...inos];
    if (all.length === 0) return;
    this.#run.report({
      severity: 'damage',
      code,
      message: `in the metadata, ${sentence(all.length)}`,
      advice: this.#advice,
      files: await this.#names.of(all),
      fix: this.#fix,
    });
  }
}

/** A directory is named once, by its own `.`, and by the `..` of each directory in it. */
function linksOf(ino: Ino, { mode, directoryNames, fileNames, subdirectories }: InodeFacts): number {
  if (!isDirectory(mode)) return fileNames + directoryNames;
  return 1 + (ino === ROOT_INO ? 1 : directoryNames + fileNames) + subdirectories;
}

/** What has no name, or several where one is allowed, has been told of already. */
function hasNames(ino: Ino, { mode, directoryNames, fileNames }: InodeFacts): boolean {
  return ino === ROOT_INO || (isDirectory(mode) ? directoryNames === 1 : fileNames > 0 && directoryNames === 0);
}

/** Chunks that files need. */
export function* referencedChunks(census: MetadataCensus): Generator<[ChunkId, ChunkFacts]> {
  for (const entry of census.chunks) if (entry[1].references > 0) yield entry;
}
