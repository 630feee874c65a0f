/** One file with its cache, its seal under way and what the pool has of it, beside a model that is a plain buffer. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { CLEAN, type ContentFiles, DIRTY, FileContent, type Filling } from '../../../src/cache/file-content.js';
import { END } from '../../../src/cache/range-map.js';
import { Seal, type SealPiece } from '../../../src/cache/seal.js';
import { CairnError } from '../../../src/errors/cairn-error.js';

const EMPTY = Buffer.alloc(0);

/** Cache files as buffers. */
export class MemoryFiles implements ContentFiles {
  readonly files = new Map<number, Buffer>();
  /** Writes fail from now on, the next one after so many bytes. */
  failAfter: number | undefined;
  /** What `writebackFailure` finds, once. */
  lost: CairnError | undefined;
  doubtful = false;

  writeNow(ino: number, offset: number, bytes: Uint8Array): void {
    const length = this.failAfter === undefined ? bytes.length : Math.min(this.failAfter, bytes.length);
    const before = this.files.get(ino) ?? EMPTY;
    const file = Buffer.alloc(Math.max(before.length, offset + length));
    before.copy(file);
    file.set(bytes.subarray(0, length), offset);
    this.files.set(ino, file);
    if (this.failAfter !== undefined) throw new CairnError('NO_SPACE', 'the cache device is full');
  }

  readNow(ino: number, offset: number, into: Uint8Array): number {
    const file = this.files.get(ino) ?? EMPTY;
    return file.subarray(offset, offset + into.length).copy(into);
  }

  isDoubtful(): boolean {
    return this.doubtful;
  }

  writebackFailure(): CairnError | undefined {
    const { lost } = this;
    this.lost = undefined;
    return lost;
  }

  punch(ino: number, from: number, to: number): void {
    this.files.get(ino)?.fill(0xee, from, to);
  }
}

export const WINDOW = 16 * 1024;

export class CachedFile {
  readonly files = new MemoryFiles();
  readonly content: FileContent;
  sizeBytes = 0;
  /** What a reader must see. */
  #model = EMPTY;
  /** What commits have made true. */
  #pool = EMPTY;
  #sealed: { model: Buffer; seal: Seal; stored: Map<SealPiece, Buffer> } | undefined;

  constructor(inMemory: boolean) {
    this.content = new FileContent(1, this.files, inMemory);
  }

  /** False if the writer would have to wait. */
  #mayChange(from: number, to: number): boolean {
    return this.content.seal?.protect(from, to) === undefined;
  }

  write(offset: number, bytes: Buffer): boolean {
    if (!this.#mayChange(offset, offset + bytes.length)) return false;
    if (bytes.length === 0) return true;
    this.content.write(offset, bytes);
    this.#resizeModel(Math.max(this.sizeBytes, offset + bytes.length));
    bytes.copy(this.#model, offset);
    return true;
  }

  /** As FileData.resize. */
  truncate(sizeBytes: number): boolean {
    if (!this.#mayChange(Math.min(sizeBytes, this.sizeBytes), END)) return false;
    if (sizeBytes < this.sizeBytes || this.#pool.length > sizeBytes) this.content.punch(sizeBytes, END);
    else if (sizeBytes > this.sizeBytes) this.content.punch(this.sizeBytes, sizeBytes);
    this.#resizeModel(sizeBytes);
    return true;
  }

  punch(from: number, to: number): boolean {
    const end = Math.min(to, this.sizeBytes);
    if (from >= end) return true;
    if (!this.#mayChange(from, end)) return false;
    this.content.punch(from, end);
    this.#model.fill(0, from, end);
    return true;
  }

  #resizeModel(sizeBytes: number): void {
    const model = Buffer.alloc(sizeBytes);
    this.#model.copy(model);
    this.#model = model;
    this.sizeBytes = sizeBytes;
  }

  seal(): void {
    if (this.#sealed !== undefined) return;
    const seal = new Seal(this.content, END, WINDOW, this.sizeBytes, 1);
    this.#sealed = { model: Buffer.from(this.#model), seal, stored: new Map() };
    let end = 0;
    for (const { from, to } of seal.pieces) {
      ok(from >= end && to > from && to <= this.sizeBytes, 'pieces ascend within the file');
      ok(Math.floor(from / WINDOW) === Math.floor((to - 1) / WINDOW), 'no piece is longer than a chunk');
      end = to;
    }
  }

  /** Begins to read the piece, as the pipeline does: from its own copy, or the cache file. */
  beginRead(which: number): void {
    const piece = this.#piece(which, 'queued');
    if (piece !== undefined) piece.state = 'reading';
  }

  endRead(which: number): void {
    const piece = this.#piece(which, 'reading') ?? this.#piece(which, 'queued');
    if (piece === undefined) return;
    const bytes = Buffer.from(piece.bytes ?? this.#sealed!.seal.copy(piece));
    this.#sealed!.stored.set(piece, bytes);
    this.#sealed!.seal.markRead(piece);
    strictEqual(piece.bytes, undefined, 'copies go when they are read');
  }

  #piece(which: number, state: SealPiece['state']): SealPiece | undefined {
    const pieces = this.#sealed?.seal.pieces.filter((piece) => piece.state === state) ?? [];
    return pieces[which % Math.max(1, pieces.length)];
  }

  /** The pool now holds exactly the file at seal time. */
  apply(): void {
    if (this.#sealed === undefined) return;
    const { model, seal, stored } = this.#sealed;
    while (this.#piece(0, 'reading') !== undefined || this.#piece(0, 'queued') !== undefined) this.endRead(0);
    const pool = Buffer.alloc(seal.sizeBytes);
    this.#pool.copy(pool);
    for (const { from, to } of seal.holes) pool.fill(0, Math.min(from, pool.length), Math.min(to, pool.length));
    for (const [piece, bytes] of stored) bytes.copy(pool, piece.from);
    ok(pool.equals(model), 'the commit is the file at seal time');
    this.#pool = pool;
    this.#sealed = undefined;
    seal.applied();
  }

  fail(): void {
    const sealed = this.#sealed;
    this.#sealed = undefined;
    sealed?.seal.failed();
  }

  /** As CacheAccount: clean ranges of files without a seal. */
  evict(): void {
    if (this.content.seal !== undefined) return;
    const { inMemory } = this.content;
    const ranges = this.content.cleanRanges();
    const dirty = this.content.dirtyBytes;
    this.content.dropClean();
    strictEqual(this.content.dirtyBytes, dirty, 'dirty bytes are never evicted');
    strictEqual(this.content.cachedBytes, dirty);
    if (!inMemory) for (const { from, to } of ranges) this.files.punch(1, from, to);
  }

  #filling: { filling: Filling; bytes: Buffer[] } | undefined;

  /** Begins to fetch what the cache lacks: the pool answers with what it has now. */
  beginFilling(from: number, to: number): void {
    const filling = this.content.beginFilling(from, Math.min(to, this.sizeBytes));
    const bytes = filling.gaps.map((gap) => {
      const fetched = Buffer.alloc(gap.to - gap.from);
      this.#pool.subarray(gap.from, gap.to).copy(fetched);
      return fetched;
    });
    this.#filling = { filling, bytes };
  }

  endFilling(): void {
    if (this.#filling === undefined) return;
    const { filling, bytes } = this.#filling;
    this.content.endFilling(filling, bytes);
    this.content.dropFilling(filling);
    this.#filling = undefined;
  }

  spill(): void {
    this.content.leaveMemory();
  }

  /** A reader sees the model, and the tags agree with what is staged. */
  check(): void {
    const seen = Buffer.alloc(this.sizeBytes);
    this.content.forEach(0, this.sizeBytes, (from, to, source) => {
      const into = seen.subarray(from, to);
      if (source === 'cache') this.content.readInto(into, from);
      else if (source === 'pool') this.#pool.subarray(from, to).copy(into);
    });
    if (!seen.equals(this.#model)) deepStrictEqual(firstDifference(seen, this.#model), undefined);
    const clean = this.content.ranges.bytes(CLEAN);
    strictEqual(this.content.cachedBytes, clean + this.content.dirtyBytes);
    strictEqual(this.content.seal, this.#sealed?.seal);
    if (!this.content.staged) ok(this.#pool.equals(this.#model), 'what is not staged is committed');
    if (this.content.seal === undefined) strictEqual(this.content.dirtyBytes, this.content.ranges.bytes(DIRTY));
  }
}

function firstDifference(seen: Buffer, wanted: Buffer): { at: number; seen: number; wanted: number } | undefined {
  for (let at = 0; at < wanted.length; at++)
    if (seen[at] !== wanted[at]) return { at, seen: seen[at]!, wanted: wanted[at]! };
  return undefined;
}
