/**
 * copy_file_range(2) and what S3 copies: where the source is committed, and it is a chunk or more, the target gets extents that name the same
 * chunks, in a round of its own, and no byte is read or written. What is staged, or too short to be worth a round, is copied through the
 * cache; the commit that takes it finds the chunks already held.
 *
 * Invariant: extents are taken over only while the row that they were read with is the newest one and the range has nothing staged,
 * which StagedSet checks in the step that assembles the round: so their chunks have references, and cannot have been collected.
 */

import type { Journal } from '../commit/journal.js';
import { CairnError } from '../errors/cairn-error.js';
import type { Committer } from './committer.js';
import { cutExtents } from './cut-extents.js';
import type { FileData } from './file-data.js';
import type { Inode } from './inode.js';
import type { PoolReader } from './pool-reader.js';
import { readPart } from './read-part.js';
import type { StagedSet } from './staged-set.js';
import type { ReadPart } from './vfs.js';

/** Bytes are copied in such pieces, so many in one call: other requests have their turn in between. */
const PIECE_BYTES = 1024 * 1024;
const PIECES_MAX = 16;
/** Extents that one round takes over. */
const EXTENTS_MAX = 4096;
/** Somebody keeps changing one of the files: then bytes are copied. */
const ATTEMPTS_MAX = 8;

export class RangeCopier {
  readonly #staged: StagedSet;
  readonly #journal: Journal;
  readonly #committer: Committer;
  readonly #reader: PoolReader;
  readonly #data: FileData;

  constructor(parts: {
    staged: StagedSet;
    journal: Journal;
    committer: Committer;
    reader: PoolReader;
    data: FileData;
  }) {
    this.#staged = parts.staged;
    this.#journal = parts.journal;
    this.#committer = parts.committer;
    this.#reader = parts.reader;
    this.#data = parts.data;
  }

  /** Returns how many bytes were copied: 0 only at the source's end, otherwise perhaps fewer than asked for. The errors of reading and writing. */
  async copy(source: Inode, from: number, target: Inode, to: number, length: number): Promise<number> {
    const end = Math.min(from + length, source.sizeBytes);
    if (from >= end) return 0;
    if (source === target && from < to + (end - from) && to < end)
      throw new CairnError('INVALID', 'a range cannot be copied onto itself');
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const committed = this.#committedFrom(source, from, end);
      if (source.gone || target.gone || committed - from < this.#staged.chunkBytes) break;
      const copied = await this.#share(source, from, committed, target, to);
      if (copied > 0) return copied;
    }
    return this.#copyBytes(source, from, end, target, to);
  }

  /** Where the part of [from, end) ends that begins at `from` and has nothing staged; `from` if it begins with staged bytes. */
  #committedFrom(source: Inode, from: number, end: number): number {
    if (source.version === 0) return from;
    const staged = source.content?.nextStaged(from);
    return staged === undefined ? end : Math.min(end, Math.max(from, staged));
  }

  /** Returns the bytes shared; 0 if something came between. */
  async #share(source: Inode, from: number, end: number, target: Inode, to: number): Promise<number> {
    const { version } = source;
    const all = await this.#reader.extents(source, from, end);
    const last = all[EXTENTS_MAX];
    const until = last === undefined ? end : Math.min(end, last.offset);
    const extents = cutExtents(all, from, until, to - from);
    await this.#settle(target);
    if (source !== target && source.version !== version) return 0;
    const seal = await this.#staged.share(
      { source, version: source.version, from, target, to, length: until - from, extents },
      () => this.#journal.request(),
    );
    if (seal === undefined) return 0;
    await this.#journal.applied(seal.finished);
    return until - from;
  }

  /** What is staged of the target goes to the pool first: the round changes its extents and nothing else. */
  async #settle(target: Inode): Promise<void> {
    const content = target.content!;
    if (content.staged) await this.#committer.commitFile(target);
    while (content.seal !== undefined) await this.#journal.applied(content.seal.finished);
  }

  async #copyBytes(source: Inode, from: number, end: number, target: Inode, to: number): Promise<number> {
    let done = 0;
    for (let piece = 0; piece < PIECES_MAX && from + done < end; piece++) {
      const length = Math.min(PIECE_BYTES, end - from - done);
      const parts: readonly ReadPart[] = await this.#data.readOwn(source, from + done, length, done + length);
      let copied = 0;
      for (const part of parts) {
        const bytes = readPart(part);
        const place = { offset: to + done + copied, append: false, interruption: undefined, isLate: false };
        await this.#data.write(target, place, bytes);
        copied += bytes.length;
      }
      done += copied;
      // It has been cut short meanwhile.
      if (copied < length) break;
    }
    return done;
  }
}
