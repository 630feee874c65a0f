/**
 * A file's staged bytes on their way into a commit, cut into pieces of at most one chunk each. A piece's bytes lie in the cache
 * until the pipeline has read them; a writer that would change them before that calls `protect`, which copies them to memory (or waits, for
 * a piece being read just now). So a commit holds what the file was when it was sealed, whatever is written meanwhile.
 */
import { CACHED, type FileContent, SEALED, SEALED_HOLE, TAKEN } from './file-content.js';
import { END } from './range-map.js';

/** As the chunk store spells how chunks are to be kept; it goes from who seals to who stores, and nothing here looks into it. */
interface AskedPolicy {
  readonly scheme?:
    | { readonly kind: 'copies'; readonly copies: number }
    | { readonly kind: 'erasure'; readonly k: number; readonly m: number }
    | undefined;
  readonly isCompressed?: boolean | undefined;
}

/** More copied bytes than this wait for the commit instead. */
const PROTECTED_BYTES_MAX = 64 * 1024 * 1024;

export class SealPiece {
  readonly from: number;
  readonly to: number;
  state: 'queued' | 'reading' | 'read' = 'queued';
  /** A private copy, if the bytes have been protected or lie in memory. */
  bytes: Buffer | undefined;
  readonly done: Promise<void>;
  #resolve!: () => void;

  constructor(from: number, to: number) {
    this.from = from;
    this.to = to;
    this.done = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  /** Only by its seal. */
  end(): void {
    this.state = 'read';
    this.bytes = undefined;
    this.#resolve();
  }
}

export class Seal {
  readonly content: FileContent;
  /** Ascending; they do not overlap. */
  readonly pieces: readonly SealPiece[];
  /** Ranges that read as zeros after the commit. */
  readonly holes: readonly { readonly from: number; readonly to: number }[];
  /** The file's size that the commit makes true. */
  readonly sizeBytes: number;
  /** Content changes up to this stage sequence are included; undefined if only a beginning of the file was sealed. */
  readonly contentStage: number | undefined;
  #protectedBytes = 0;
  readonly finished: Promise<void>;
  /** Why the bytes are staged again, if they are. */
  failure: unknown;
  /** How a policy asks for its chunks to be kept. */
  asked: AskedPolicy | undefined;
  #finish!: () => void;

  /** Takes what is staged below `limit` (END: everything). Pieces are cut at multiples of `windowBytes`. */
  constructor(
    content: FileContent,
    limit: number,
    windowBytes: number,
    sizeBytes: number,
    contentStage: number | undefined,
  ) {
    this.content = content;
    this.sizeBytes = sizeBytes;
    this.contentStage = contentStage;
    this.finished = new Promise((resolve) => {
      this.#finish = resolve;
    });
    content.markSealed(limit);
    const runs: { from: number; to: number }[] = [];
    const holes: { from: number; to: number }[] = [];
    content.ranges.forEachOf(0, END, TAKEN, (from, to, value) => {
      if (value === SEALED_HOLE) holes.push({ from, to });
      if (value === SEALED) runs.push({ from, to });
    });
    this.holes = holes;
    this.pieces = cut(runs, content, windowBytes, sizeBytes);
    content.seal = this;
  }

  get bytes(): number {
    let sum = 0;
    for (const piece of this.pieces) sum += piece.to - piece.from;
    return sum;
  }

  /**
   * Makes sure that changing [from, to) of the cache does not change what is being committed. Returns a promise if the caller
   * must wait before it writes.
   */
  protect(from: number, to: number): Promise<void> | undefined {
    let wait: Promise<void> | undefined;
    for (let i = this.#firstEndingAfter(from); i < this.pieces.length; i++) {
      const piece = this.pieces[i]!;
      if (piece.from >= to) break;
      if (piece.state === 'read' || piece.bytes !== undefined) continue;
      if (piece.state === 'reading') wait = piece.done;
      else if (this.#protectedBytes >= PROTECTED_BYTES_MAX) return this.finished;
      else this.copy(piece);
    }
    return wait;
  }

  /** Gives the piece a copy of its bytes. */
  copy(piece: SealPiece): Buffer {
    const bytes = Buffer.allocUnsafe(piece.to - piece.from);
    this.content.readInto(bytes, piece.from);
    piece.bytes = bytes;
    this.#protectedBytes += bytes.length;
    return bytes;
  }

  /** The pipeline has read the piece, or needs it no more: its bytes in the cache may change. */
  markRead(piece: SealPiece): void {
    if (piece.state === 'read') return;
    this.#protectedBytes -= piece.bytes?.length ?? 0;
    piece.end();
  }

  #firstEndingAfter(position: number): number {
    let low = 0;
    let high = this.pieces.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.pieces[middle]!.to > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** The commit is applied to the metadata. */
  applied(): void {
    this.content.seal = undefined;
    this.content.sealApplied();
    this.content.partlyCommitted = this.contentStage === undefined;
    this.#end();
  }

  failed(cause?: unknown): void {
    this.failure = cause;
    this.content.seal = undefined;
    this.content.sealFailed();
    this.#end();
  }

  #end(): void {
    for (const piece of this.pieces) this.markRead(piece);
    this.#finish();
  }
}

/** From so many runs in one window on, the window is written whole if the cache holds all of it: one chunk instead of many. */
const RUNS_PER_WINDOW = 8;

/** Replaces the runs of windows that hold many by one run over the window. */
function gather(
  runs: readonly { from: number; to: number }[],
  content: FileContent,
  windowBytes: number,
  sizeBytes: number,
): { from: number; to: number }[] {
  const gathered: { from: number; to: number }[] = [];
  for (let i = 0; i < runs.length; ) {
    const start = Math.floor(runs[i]!.from / windowBytes) * windowBytes;
    const end = Math.min(start + windowBytes, Math.max(sizeBytes, runs[i]!.to));
    let next = i + 1;
    while (next < runs.length && runs[next]!.to <= end) next += 1;
    if (next - i >= RUNS_PER_WINDOW && content.ranges.covers(start, end, CACHED))
      gathered.push({ from: start, to: end });
    else for (let j = i; j < next; j++) gathered.push(runs[j]!);
    i = next;
  }
  return gathered;
}

/** Cuts runs at window boundaries, widened to whole pages where the cache holds the bytes, without overlaps. */
function cut(
  runs: readonly { from: number; to: number }[],
  content: FileContent,
  windowBytes: number,
  sizeBytes: number,
): SealPiece[] {
  const pieces: SealPiece[] = [];
  let position = 0;
  for (const run of gather(runs, content, windowBytes, sizeBytes)) {
    const wide = content.widen(run.from, run.to, sizeBytes);
    let from = Math.max(wide.from, position);
    while (from < wide.to) {
      const to = Math.min(wide.to, (Math.floor(from / windowBytes) + 1) * windowBytes);
      pieces.push(new SealPiece(from, to));
      from = to;
    }
    position = Math.max(position, wide.to);
  }
  return pieces;
}
