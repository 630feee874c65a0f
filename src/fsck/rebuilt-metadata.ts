/**
 * The metadata once more, from the disks alone: the newest snapshot that can be read, and the commits after it. What it says is what the pool would
 * be after the loss of its metadata directory, so it is what the store is compared with, and mended from.
 */
import { completeSnapshots, restoreSnapshot } from '../commit/restore-snapshot.js';
import type { CommitEntry, Disk } from '../disks/disk.js';
import { CairnError } from '../errors/cairn-error.js';
import { extentPages } from '../meta/extent-pages.js';
import type { MetaPosition, MetaStore } from '../meta/meta-store.js';
import { decodeCommit } from '../meta/row-codec.js';
import type { Commit, ExtentRow, Ino, RowChange } from '../meta/rows.js';
import type { PoolRun } from './check-run.js';

const ROW_WORK = 1024;

/** Fills the empty store `into` up to `through`. UNREADABLE, CORRUPT if the disks cannot tell it. */
export async function rebuildMetadata(run: PoolRun, into: MetaStore, through: MetaPosition): Promise<void> {
  const disks = run.pool.disks.opened.filter(({ state }) => state !== 'offline');
  run.begin('making the metadata anew from the disks', through.sequence, 'items');
  let failure: unknown;
  for (const snapshot of completeSnapshots(disks)) {
    if (snapshot.sequence > through.sequence || snapshot.epoch > through.epoch) continue;
    try {
      await restoreSnapshot(into, snapshot);
      break;
    } catch (error) {
      if (!(error instanceof CairnError)) throw error;
      failure = error;
    }
  }
  const newest = new Map<number, { entry: CommitEntry; holders: { disk: Disk; entry: CommitEntry }[] }>();
  for (const disk of disks) {
    for (const entry of disk.commits(into.position().sequence)) {
      const known = newest.get(entry.sequence);
      if (known === undefined || known.entry.epoch < entry.epoch)
        newest.set(entry.sequence, { entry, holders: [{ disk, entry }] });
      else if (known.entry.epoch === entry.epoch) known.holders.push({ disk, entry });
    }
  }
  for (let sequence = into.position().sequence + 1; sequence <= through.sequence; sequence++) {
    const commit = await read(newest.get(sequence)?.holders ?? []);
    if (commit === undefined)
      throw new CairnError('UNREADABLE', `commit ${sequence} cannot be read from any disk`, { cause: failure });
    await into.apply(commit);
    await run.advance(1, 64 * ROW_WORK);
  }
}

async function read(holders: readonly { disk: Disk; entry: CommitEntry }[]): Promise<Commit | undefined> {
  for (const { disk, entry } of holders) {
    try {
      return decodeCommit(await disk.readCommit(entry));
    } catch (error) {
      if (!(error instanceof CairnError)) throw error;
    }
  }
  return undefined;
}

/** Inodes of which the two stores, at the same commit, say different things; `rows`: how many rows differ. */
export async function compareMetadata(
  run: PoolRun,
  store: MetaStore,
  other: MetaStore,
): Promise<{ inos: Set<Ino>; rows: number }> {
  const differing = { inos: new Set<Ino>(), rows: 0 };
  const note = (ino: Ino | undefined): void => {
    differing.rows++;
    if (ino !== undefined) differing.inos.add(ino);
  };
  const { inodes, dentries, extents } = await store.statistics();
  run.begin('comparing the metadata with the disks', 2 * (inodes + dentries + extents), 'items');
  for (const [from, to] of [
    [store, other],
    [other, store],
  ] as const) {
    const { batches } = await from.snapshot();
    for await (const batch of batches) {
      for (const change of batch) if (!(await has(to, change))) note(inoOf(change));
      await run.advance(batch.length, batch.length * ROW_WORK);
    }
  }
  return differing;
}

async function has(store: MetaStore, change: RowChange): Promise<boolean> {
  switch (change.kind) {
    case 'inode':
      return isSame(await store.getInode(change.row.ino), change.row);
    case 'dentry': {
      const { parent, name, isDirectory } = change.row;
      // The one entry after what sorts just before it, so that `a` is told from the directory `a`.
      const key = isDirectory ? `${name}/` : name;
      const page = await store.listDentries(parent, key.slice(0, -1), 2);
      const found =
        page.find((row) => row.name === name && row.isDirectory === isDirectory) ??
        (await store.getDentry(parent, name));
      return isSame(found, change.row);
    }
    case 'extents': {
      const rows: ExtentRow[] = [];
      for await (const page of extentPages(store, change.ino, change.from, change.to)) rows.push(...page);
      return isSame(rows, change.extents);
    }
    case 'xattr': {
      const { ino, name, value } = change.row;
      const found = (await store.listXattrs(ino)).find((row) => row.name === name);
      return found !== undefined && Buffer.compare(found.value, value) === 0;
    }
    case 'chunk':
      return (await store.getChunk(change.chunk))?.chunkBytes === change.chunkBytes;
    default:
      return true;
  }
}

function inoOf(change: RowChange): Ino | undefined {
  switch (change.kind) {
    case 'inode':
    case 'dentry':
    case 'xattr':
      return change.row.ino;
    case 'extents':
      return change.ino;
    default:
      return undefined;
  }
}

/** Rows are plain values: their text is the same exactly if they are, whatever the order of their fields. */
function isSame(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return a === b;
  const [keys, others] = [Object.keys(a), Object.keys(b)];
  if (keys.length !== others.length) return false;
  const [left, right] = [a as Record<string, unknown>, b as Record<string, unknown>];
  return keys.every((key) => isSame(left[key], right[key]));
}
