/** Fills a metadata store from a snapshot that lies on one or more disks: each part is taken from the first disk where it verifies. */
import type { Disk } from '../disks/disk.js';
import { CairnError } from '../errors/cairn-error.js';
import type { MetaStore } from '../meta/meta-store.js';
import { decodeChanges } from '../meta/row-codec.js';
import type { RowChange } from '../meta/rows.js';
import { decodeSnapshotPosition } from '../meta/snapshot-position.js';

export interface FoundSnapshot {
  readonly sequence: number;
  readonly epoch: number;
  readonly parts: number;
  /** Disks that hold all parts of it. */
  readonly holders: readonly Disk[];
}

/** Complete snapshots on any of the disks, newest first. */
export function completeSnapshots(disks: readonly Disk[]): FoundSnapshot[] {
  const found = new Map<string, { sequence: number; epoch: number; parts: number; holders: Disk[] }>();
  for (const disk of disks) {
    for (const { sequence, epoch, parts, complete } of disk.snapshots()) {
      if (!complete) continue;
      const key = `${sequence}/${epoch}/${parts}`;
      const known = found.get(key);
      if (known === undefined) found.set(key, { sequence, epoch, parts, holders: [disk] });
      else known.holders.push(disk);
    }
  }
  return [...found.values()].sort((a, b) => b.sequence - a.sequence || b.epoch - a.epoch);
}

/** Replaces what is in the store. If it rejects, the store is as before. UNREADABLE, CORRUPT. */
export async function restoreSnapshot(meta: MetaStore, snapshot: FoundSnapshot): Promise<void> {
  const position = decodeSnapshotPosition(await readPart(snapshot, 0));
  if (position.sequence !== snapshot.sequence || position.epoch !== snapshot.epoch)
    throw new CairnError(
      'CORRUPT',
      `the snapshot at commit ${snapshot.sequence} says that it is at ${position.sequence}`,
    );
  await meta.restore(position, readRows(snapshot));
}

async function* readRows(snapshot: FoundSnapshot): AsyncIterable<readonly RowChange[]> {
  for (let part = 1; part < snapshot.parts; part++) yield decodeChanges(await readPart(snapshot, part));
}

async function readPart({ holders, sequence }: FoundSnapshot, part: number): Promise<Buffer> {
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
