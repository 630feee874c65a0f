/** The one row beside the state: the last commit's numbers and the row counts, changed in the same transaction as the state. */
import type Database from 'better-sqlite3';
import { assert } from '../errors/cairn-error.js';
import type { MetaCounts } from './meta-counts.js';
import type { MetaPosition } from './meta-store.js';

type PositionColumns = [
  sequence: number,
  epoch: number,
  stagedThrough: number,
  nextIno: number,
  inodes: number,
  dentries: number,
  extents: number,
  chunks: number,
  chunkBytes: number,
];

export function readPosition(database: Database.Database): { position: MetaPosition; counts: MetaCounts } {
  const columns = database
    .prepare<[], PositionColumns>(
      `SELECT sequence, epoch, staged_through, next_ino, inodes, dentries, extents, chunks, chunk_total_bytes
      FROM position`,
    )
    .raw()
    .get();
  assert(columns !== undefined, 'an opened store has a position');
  const [sequence, epoch, stagedThrough, nextIno, inodes, dentries, extents, chunks, chunkBytes] = columns;
  return {
    position: { sequence, epoch, stagedThrough, nextIno },
    counts: { inodes, dentries, extents, chunks, chunkBytes },
  };
}

export class PositionWriter {
  readonly #update: Database.Statement<PositionColumns>;

  constructor(database: Database.Database) {
    this.#update = database.prepare(
      `UPDATE position SET sequence = ?, epoch = ?, staged_through = ?, next_ino = ?,
      inodes = ?, dentries = ?, extents = ?, chunks = ?, chunk_total_bytes = ?`,
    );
  }

  write({ sequence, epoch, stagedThrough, nextIno }: MetaPosition, counts: MetaCounts): void {
    const { inodes, dentries, extents, chunks, chunkBytes } = counts;
    this.#update.run(sequence, epoch, stagedThrough, nextIno, inodes, dentries, extents, chunks, chunkBytes);
  }
}
