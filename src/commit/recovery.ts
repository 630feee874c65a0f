/**
 * What a pool does with its journal when it is opened. The rules (docs/format.md, "Recovery"):
 *
 * 1. Of several COMMIT records with one sequence the highest epoch is the true one. Along the chain of sequences the epoch never
 *    falls; where it would, the chain ends: those records belong to a daemon that was superseded.
 * 2. The metadata store is brought forward from where it stands. If it is missing, damaged, older than the journal
 *    reaches back, or stands on a commit that is not part of the chain, it is rebuilt from the newest complete snapshot that any disk holds.
 * 3. Commits up to the watermark (the highest `acknowledged` that any record carries) were promised: they are applied whatever
 *    the state of their chunks; a damaged chunk then damages one file. Beyond the watermark a commit whose chunks are not
 *    readable was never acknowledged and is dropped, with all that follows it.
 * 4. Commits beyond the watermark that are kept are copied to every disk that lacks them before anything new is written.
 *
 * Every step can be repeated: a crash during recovery changes nothing for the next one.
 */
import type { ChunkStore } from '../chunks/chunk-store.js';
import type { CommitEntry, Disk } from '../disks/disk.js';
import { CairnError } from '../errors/cairn-error.js';
import type { MetaPosition, MetaStore } from '../meta/meta-store.js';
import { decodeChanges, decodeCommit } from '../meta/row-codec.js';
import type { Commit, RowChange } from '../meta/rows.js';
import { decodeSnapshotPosition } from '../meta/snapshot-position.js';

export interface RecoveryReport {
  readonly sequence: number;
  /** The epoch for this daemon: higher than any found. */
  readonly epoch: number;
  /** Commits applied to the metadata store. */
  readonly replayed: number;
  readonly dropped: number;
  /** The sequence of the snapshot that the metadata was rebuilt from; undefined if it was not rebuilt. */
  readonly rebuiltFrom: number | undefined;
  /** One sentence per thing a user should know. */
  readonly notes: readonly string[];
}

interface ChainLink {
  readonly entry: CommitEntry;
  /** Every online disk that holds this record. */
  readonly holders: { readonly disk: Disk; readonly entry: CommitEntry }[];
}

/** Brings `meta` to the last commit that counts. Throws UNREADABLE if the disks that are there cannot tell it. */
export async function recover(disks: readonly Disk[], meta: MetaStore, chunks: ChunkStore): Promise<RecoveryReport> {
  const notes: string[] = [];
  const records = collect(disks);
  const watermark = highest(records.flatMap((link) => link.holders.map(({ entry }) => entry.acknowledged)));
  const start = meta.position();
  const chain = trueChain(records);
  let rebuiltFrom: number | undefined;
  if (await mustRebuild(meta, chain, disks)) {
    rebuiltFrom = await rebuild(disks, meta, chain);
    notes.push(
      rebuiltFrom === 0
        ? 'the metadata was rebuilt from the journal'
        : `the metadata was rebuilt from the snapshot at commit ${rebuiltFrom}`,
    );
  }
  let replayed = 0;
  let dropped = 0;
  const tail: ChainLink[] = [];
  for (let i = 0; i < chain.length; i++) {
    const link = chain[i]!;
    if (link.entry.sequence <= meta.position().sequence) {
      if (link.entry.sequence > watermark) tail.push(link);
      continue;
    }
    if (link.entry.sequence !== meta.position().sequence + 1) {
      if (link.entry.sequence <= watermark) throw gap(meta.position().sequence + 1, link.entry.sequence);
      dropped = chain.length - i;
      break;
    }
    const commit = await readCommit(link, notes);
    if (commit === undefined || (link.entry.sequence > watermark && !readable(commit, chunks))) {
      if (link.entry.sequence <= watermark) throw gap(link.entry.sequence, link.entry.sequence);
      dropped = chain.length - i;
      break;
    }
    await meta.apply(commit);
    replayed += 1;
    if (link.entry.sequence > watermark) tail.push(link);
  }
  await copyTail(tail, disks);
  const position = meta.position();
  if (replayed > 0)
    notes.push(`replayed ${replayed} commits from the journal, ${start.sequence} to ${position.sequence}`);
  if (dropped > 0) notes.push(`dropped ${dropped} commits that had not been acknowledged`);
  const epoch =
    Math.max(
      position.epoch,
      highest(records.map((link) => link.entry.epoch)),
      ...disks.flatMap((d) => d.snapshots().map((s) => s.epoch)),
    ) + 1;
  return { sequence: position.sequence, epoch, replayed, dropped, rebuiltFrom, notes };
}

/** All records, ascending by sequence, then epoch; the same record on several disks once. */
function collect(disks: readonly Disk[]): ChainLink[] {
  const links = new Map<string, ChainLink>();
  for (const disk of disks) {
    for (const entry of disk.commits(0)) {
      const key = `${entry.sequence}/${entry.epoch}`;
      const link = links.get(key);
      if (link === undefined) links.set(key, { entry, holders: [{ disk, entry }] });
      else link.holders.push({ disk, entry });
    }
  }
  return [...links.values()].sort((a, b) => a.entry.sequence - b.entry.sequence || a.entry.epoch - b.entry.epoch);
}

/** Rule 1. */
function trueChain(records: readonly ChainLink[]): ChainLink[] {
  const chain: ChainLink[] = [];
  for (const link of records) {
    const last = chain.at(-1);
    if (last !== undefined && last.entry.sequence === link.entry.sequence) chain[chain.length - 1] = link;
    else chain.push(link);
  }
  let epoch = 0;
  const end = chain.findIndex((link) => {
    const falls = link.entry.epoch < epoch;
    epoch = Math.max(epoch, link.entry.epoch);
    return falls;
  });
  return end < 0 ? chain : chain.slice(0, end);
}

/** Rule 2. */
async function mustRebuild(meta: MetaStore, chain: readonly ChainLink[], disks: readonly Disk[]): Promise<boolean> {
  const { sequence, epoch } = meta.position();
  const own = chain.find((link) => link.entry.sequence === sequence);
  if (own !== undefined) return own.entry.epoch !== epoch;
  const first = chain[0]?.entry.sequence;
  const last = chain.at(-1)?.entry.sequence;
  const newest = newestSnapshot(disks)?.sequence ?? 0;
  if (first === undefined || last === undefined) return newest > sequence;
  if (sequence < first) return sequence + 1 < first || newest > sequence;
  // The store is told only what stands on the disks: what it has beyond them was promised, and is on disks that are not here.
  if (sequence > last && sequence > newest) {
    throw new CairnError(
      'UNREADABLE',
      `the metadata stands at commit ${sequence}, but the disks that are here know only commits up to ${Math.max(last, newest)}`,
      {
        hint: 'connect the missing disks and open the pool again',
      },
    );
  }
  return false;
}

function newestSnapshot(
  disks: readonly Disk[],
): { sequence: number; epoch: number; parts: number; holders: Disk[] } | undefined {
  let newest: { sequence: number; epoch: number; parts: number; holders: Disk[] } | undefined;
  for (const disk of disks) {
    for (const snapshot of disk.snapshots()) {
      if (!snapshot.complete) continue;
      if (newest === undefined || snapshot.sequence > newest.sequence) newest = { ...snapshot, holders: [disk] };
      else if (snapshot.sequence === newest.sequence) newest.holders.push(disk);
    }
  }
  return newest;
}

/** Restores the newest snapshot, or an empty store if there is none and the journal reaches back to its beginning. Returns the snapshot's sequence. */
async function rebuild(disks: readonly Disk[], meta: MetaStore, chain: readonly ChainLink[]): Promise<number> {
  const newest = newestSnapshot(disks);
  if (newest === undefined) {
    const first = chain[0]?.entry.sequence;
    if (first !== undefined && first > 1) throw gap(1, first);
    await meta.restore({ sequence: 0, epoch: 0, stagedThrough: 0, nextIno: 2 }, none());
    return 0;
  }
  const position = await readPosition(newest.holders, newest.sequence);
  await meta.restore(position, readBatches(newest.holders, newest.sequence, newest.parts));
  return newest.sequence;
}

async function* none(): AsyncIterable<readonly RowChange[]> {}

/** Part 0 holds the position; the others the rows. Each part is taken from the first disk where it verifies. */
async function readPart(holders: readonly Disk[], sequence: number, part: number): Promise<Buffer> {
  let failure: unknown;
  for (const disk of holders) {
    try {
      return await disk.readSnapshotPart(sequence, part);
    } catch (error) {
      failure = error;
    }
  }
  throw new CairnError(
    'UNREADABLE',
    `part ${part} of the metadata snapshot at commit ${sequence} cannot be read from any disk`,
    { cause: failure },
  );
}

async function readPosition(holders: readonly Disk[], sequence: number): Promise<MetaPosition> {
  return decodeSnapshotPosition(await readPart(holders, sequence, 0));
}

async function* readBatches(
  holders: readonly Disk[],
  sequence: number,
  parts: number,
): AsyncIterable<readonly RowChange[]> {
  for (let part = 1; part < parts; part++) yield decodeChanges(await readPart(holders, sequence, part));
}

/** The commit from the first disk where it verifies; undefined if none does. */
async function readCommit(link: ChainLink, notes: string[]): Promise<Commit | undefined> {
  for (const { disk, entry } of link.holders) {
    try {
      return decodeCommit(await disk.readCommit(entry));
    } catch (error) {
      notes.push(
        `commit ${entry.sequence} is damaged on the disk at ${disk.directory}: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }
  return undefined;
}

function readable(commit: Commit, chunks: ChunkStore): boolean {
  for (const change of commit.changes) {
    if (change.kind !== 'extents') continue;
    for (const extent of change.extents) if (chunks.health(extent.chunk).health === 'lost') return false;
  }
  return true;
}

/** Rule 4. */
async function copyTail(tail: readonly ChainLink[], disks: readonly Disk[]): Promise<void> {
  for (const disk of disks) {
    if (disk.state !== 'online') continue;
    const missing = tail.filter((link) => !link.holders.some((holder) => holder.disk === disk));
    for (const link of missing) {
      const payload = await link.holders[0]!.disk.readCommit(link.holders[0]!.entry);
      const { sequence, epoch, acknowledged } = link.entry;
      await disk.append('journal', [{ kind: 'commit', sequence, epoch, acknowledged, payload: [payload] }], {
        sync: true,
      });
    }
  }
}

function gap(wanted: number, found: number): CairnError {
  return new CairnError(
    'UNREADABLE',
    `commit ${wanted} was promised but no disk that is here can give it (the next one found is ${found})`,
    {
      hint: 'connect the missing disks and open the pool again',
    },
  );
}

function highest(numbers: readonly number[]): number {
  let result = 0;
  for (const number of numbers) if (number > result) result = number;
  return result;
}
