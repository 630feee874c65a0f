/**
 * Extents and the reference counts of chunks, always changed together: a chunk's `refs` is the number of extent rows that
 * name it, at the end of every statement group here. Runs inside the caller's transaction.
 */
import type Database from 'better-sqlite3';
import { assert, CairnError } from '../errors/cairn-error.js';
import type { MetaCounts } from './meta-counts.js';
import type { ChunkId, ExtentRow, Ino } from './rows.js';
import { EXTENT_COLUMNS, type ExtentColumns } from './sqlite-rows.js';

/** A file's extents are removed in pages, so that deleting a file of any size costs bounded memory. */
const PAGE_ROWS = 256;

export class SqliteExtents {
  readonly #counts: MetaCounts;
  readonly #lastBefore: Database.Statement<[Ino, number], ExtentColumns>;
  readonly #page: Database.Statement<[Ino, from: number, to: number], [offset: number, chunk: string]>;
  readonly #insert: Database.Statement<[Ino, number, number, ChunkId, number, number]>;
  readonly #exchange: Database.Statement<[ChunkId, number, number, Ino, number]>;
  readonly #shorten: Database.Statement<[length: number, Ino, offset: number]>;
  readonly #deleteRange: Database.Statement<[Ino, from: number, to: number]>;
  readonly #addChunk: Database.Statement<[ChunkId, chunkBytes: number, references: number]>;
  readonly #reference: Database.Statement<[ChunkId, chunkBytes: number]>;
  readonly #unreference: Database.Statement<[ChunkId]>;
  readonly #deleteChunk: Database.Statement<[ChunkId], number>;

  /** `counts` is the caller's tally of the current transaction. */
  constructor(database: Database.Database, counts: MetaCounts) {
    this.#counts = counts;
    this.#lastBefore = database
      .prepare<[Ino, number], ExtentColumns>(
        `SELECT ${EXTENT_COLUMNS} FROM extent WHERE ino = ? AND file_offset < ? ORDER BY file_offset DESC LIMIT 1`,
      )
      .raw();
    this.#page = database
      .prepare<[Ino, from: number, to: number], [offset: number, chunk: string]>(
        `SELECT file_offset, lower(hex(chunk)) FROM extent
        WHERE ino = ? AND file_offset >= ? AND file_offset < ? ORDER BY file_offset LIMIT ${PAGE_ROWS}`,
      )
      .raw();
    this.#insert = database.prepare(
      'INSERT INTO extent (ino, file_offset, length, chunk, chunk_offset, chunk_bytes) VALUES (?, ?, ?, unhex(?), ?, ?)',
    );
    this.#exchange = database.prepare(
      'UPDATE extent SET chunk = unhex(?), chunk_offset = ?, chunk_bytes = ? WHERE ino = ? AND file_offset = ?',
    );
    this.#shorten = database.prepare('UPDATE extent SET length = ? WHERE ino = ? AND file_offset = ?');
    this.#deleteRange = database.prepare('DELETE FROM extent WHERE ino = ? AND file_offset >= ? AND file_offset < ?');
    this.#addChunk = database.prepare(
      'INSERT INTO chunk (chunk, chunk_bytes, refs) VALUES (unhex(?), ?, ?) ON CONFLICT DO NOTHING',
    );
    this.#reference = database.prepare('UPDATE chunk SET refs = refs + 1 WHERE chunk = unhex(?) AND chunk_bytes = ?');
    this.#unreference = database.prepare('UPDATE chunk SET refs = refs - 1 WHERE chunk = unhex(?)');
    this.#deleteChunk = database
      .prepare<[ChunkId], number>('DELETE FROM chunk WHERE chunk = unhex(?) AND refs = 0 RETURNING chunk_bytes')
      .pluck();
  }

  /** Replaces what the file has in [from, to): see RowChange. */
  splice(ino: Ino, from: number, to: number, extents: readonly ExtentRow[]): void {
    const last = to > from ? this.#lastBefore.get(ino, to) : undefined;
    const [only] = extents;
    const fits = extents.length === 1 && only?.offset === from && from + only.length === to;
    if (fits && last?.[0] === from && last[1] === only.length) {
      this.#replace(ino, last[2], only);
      return;
    }
    this.#clear(ino, from, to, last);
    let position = from;
    for (const extent of extents) {
      const end = extent.offset + extent.length;
      assert(extent.offset >= position && extent.length > 0 && end <= to, 'extents ascend within the range');
      assert(extent.chunkOffset + extent.length <= extent.chunkBytes, 'an extent lies within its chunk');
      this.#insertExtent(ino, extent);
      position = end;
    }
  }

  /** Removes all extents of a file. */
  remove(ino: Ino): void {
    this.#removeRows(ino, 0, Number.MAX_SAFE_INTEGER);
  }

  /** Makes the chunk's row, without references, if there is none. */
  addChunk(chunk: ChunkId, chunkBytes: number): void {
    this.#countChunk(this.#addChunk.run(chunk, chunkBytes, 0).changes, chunkBytes);
  }

  /** CONFLICT if there is no such row or an extent names it. */
  deleteChunk(chunk: ChunkId): void {
    const chunkBytes = this.#deleteChunk.get(chunk);
    if (chunkBytes === undefined) throw new CairnError('CONFLICT', `chunk ${chunk} is unknown or still in use`);
    this.#counts.chunks--;
    this.#counts.chunkBytes -= chunkBytes;
  }

  /** What a database does all the time: a page takes the place of a page. */
  #replace(ino: Ino, chunkBefore: ChunkId, { offset, length, chunk, chunkOffset, chunkBytes }: ExtentRow): void {
    assert(length > 0 && chunkOffset + length <= chunkBytes, 'an extent lies within its chunk');
    this.#unreference.run(chunkBefore);
    this.#exchange.run(chunk, chunkOffset, chunkBytes, ino, offset);
    this.#refer(chunk, chunkBytes);
  }

  /** `last` is the last extent that starts before `to`. Only that one can reach over it, and if it ends before `from` nothing overlaps. */
  #clear(ino: Ino, from: number, to: number, last: ExtentColumns | undefined): void {
    if (last === undefined || last[0] + last[1] <= from) return;
    const first = last[0] < from ? last : this.#lastBefore.get(ino, from);
    if (first !== undefined && first[0] + first[1] > from) this.#shorten.run(from - first[0], ino, first[0]);
    if (last[0] >= from) this.#removeRows(ino, from, to);
    // After the removal: the right part of the last extent may stand where a removed row stood.
    const [offset, length, chunk, chunkOffset, chunkBytes] = last;
    const rest = offset + length - to;
    if (rest <= 0) return;
    const skip = to - offset;
    this.#insertExtent(ino, { offset: to, length: rest, chunk, chunkOffset: chunkOffset + skip, chunkBytes });
  }

  #removeRows(ino: Ino, from: number, to: number): void {
    for (;;) {
      const page = this.#page.all(ino, from, to);
      for (const [, chunk] of page) this.#unreference.run(chunk);
      const last = page.at(-1);
      if (last === undefined) return;
      this.#deleteRange.run(ino, from, last[0] + 1);
      this.#counts.extents -= page.length;
      if (page.length < PAGE_ROWS) return;
    }
  }

  #insertExtent(ino: Ino, extent: ExtentRow): void {
    const { chunk, chunkBytes } = extent;
    this.#insert.run(ino, extent.offset, extent.length, chunk, extent.chunkOffset, chunkBytes);
    this.#counts.extents++;
    this.#refer(chunk, chunkBytes);
  }

  #refer(chunk: ChunkId, chunkBytes: number): void {
    const { changes } = this.#addChunk.run(chunk, chunkBytes, 1);
    this.#countChunk(changes, chunkBytes);
    if (changes === 0 && this.#reference.run(chunk, chunkBytes).changes === 0) {
      throw new CairnError('CONFLICT', `chunk ${chunk} is known with another length than ${chunkBytes} bytes`);
    }
  }

  #countChunk(added: number, chunkBytes: number): void {
    this.#counts.chunks += added;
    this.#counts.chunkBytes += added * chunkBytes;
  }
}
