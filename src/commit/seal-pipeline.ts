/**
 * Turns sealed pieces of files into chunks in the pool: large pieces one by one through the workers, small ones gathered into
 * batches. Many seals share the pipeline; what a seal gets back are its extents.
 */

import type { Seal, SealPiece } from '../cache/seal.js';
import {
  type ChunkSource,
  type ChunkStore,
  MAX_CHUNK_BYTES,
  SMALL_CHUNK_BYTES,
  type StoredChunk,
} from '../chunks/chunk-store.js';
import type { ExtentRow } from '../meta/rows.js';

/** Large pieces on their way at one time: enough to keep the workers and the disks busy. */
const LARGE_AT_ONCE = 4;
const BATCH_BYTES = MAX_CHUNK_BYTES;
const BATCH_PIECES = 512;

/** Gives the open cache file of a content, pinned until `done`; without a descriptor (a simulated file) the bytes are copied. */
export interface SealFiles {
  pin(ino: number): { readonly fd: number | undefined; done(): void };
}

interface Sealed {
  readonly seal: Seal;
  readonly piece: SealPiece;
}

function* piecesOf(seals: readonly Seal[]): Generator<Sealed> {
  for (const seal of seals) for (const piece of seal.pieces) yield { seal, piece };
}

export class SealPipeline {
  readonly #chunks: ChunkStore;
  readonly #files: SealFiles;
  #large = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(chunks: ChunkStore, files: SealFiles) {
    this.#chunks = chunks;
    this.#files = files;
  }

  /**
   * Stores every piece of the seals; `onStored` gets the bytes of each piece as it is done. Resolves with the extents per seal, in order.
   * If one piece fails, no more are begun, and those under way are waited for, so that no bytes are being read when it rejects.
   */
  async store(
    seals: readonly Seal[],
    onStored: (bytes: number) => void,
    signal?: AbortSignal,
  ): Promise<Map<Seal, ExtentRow[]>> {
    const extents = new Map<Seal, ExtentRow[]>(seals.map((seal) => [seal, []]));
    const jobs: Promise<void>[] = [];
    const failures: unknown[] = [];
    /** Waits for a slot, then begins the job. */
    const begin = async (job: () => Promise<void>): Promise<void> => {
      await this.#slot();
      jobs.push(
        job()
          .catch((error: unknown) => {
            failures.push(error);
          })
          .finally(() => this.#release()),
      );
    };
    let batch: Sealed[] = [];
    let batchBytes = 0;
    for (const sealed of piecesOf(seals)) {
      if (failures.length > 0) break;
      const length = sealed.piece.to - sealed.piece.from;
      if (length > SMALL_CHUNK_BYTES) {
        await begin(() => this.#storeLarge(sealed, extents, onStored, signal));
        continue;
      }
      batch.push(sealed);
      batchBytes += length;
      if (batchBytes < BATCH_BYTES && batch.length < BATCH_PIECES) continue;
      const full = batch;
      batch = [];
      batchBytes = 0;
      await begin(() => this.#storeBatch(full, extents, onStored, signal));
    }
    if (batch.length > 0 && failures.length === 0)
      await begin(() => this.#storeBatch(batch, extents, onStored, signal));
    await Promise.all(jobs);
    if (failures.length > 0) {
      for (const list of extents.values()) this.#chunks.release(list.map(({ chunk }) => chunk));
      throw failures[0];
    }
    for (const list of extents.values()) list.sort((a, b) => a.offset - b.offset);
    return extents;
  }

  async #storeBatch(
    batch: readonly Sealed[],
    extents: Map<Seal, ExtentRow[]>,
    onStored: (bytes: number) => void,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const sources = batch.map(({ seal, piece }) => piece.bytes ?? seal.copy(piece));
    const asked = batch.map(({ seal }) => seal.asked);
    const stored = await this.#chunks.storeSmall(sources, signal, asked);
    batch.forEach(({ seal, piece }, i) => {
      extents.get(seal)?.push(extentOf(piece, stored[i]!));
      seal.markRead(piece);
      onStored(piece.to - piece.from);
    });
  }

  async #storeLarge(
    { seal, piece }: Sealed,
    extents: Map<Seal, ExtentRow[]>,
    onStored: (bytes: number) => void,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const length = piece.to - piece.from;
    const protectedBytes = piece.bytes ?? (seal.content.inMemory ? seal.copy(piece) : undefined);
    const pin = protectedBytes === undefined ? this.#files.pin(seal.content.ino) : undefined;
    try {
      const source: ChunkSource =
        pin?.fd === undefined
          ? { kind: 'bytes', bytes: protectedBytes ?? seal.copy(piece) }
          : { kind: 'file', fd: pin.fd, position: piece.from, length };
      piece.state = 'reading';
      const stored = await this.#chunks.store(source, () => seal.markRead(piece), signal, seal.asked);
      extents.get(seal)?.push(extentOf(piece, stored));
      onStored(length);
    } finally {
      pin?.done();
    }
  }

  #slot(): Promise<void> | undefined {
    if (this.#large < LARGE_AT_ONCE) {
      this.#large += 1;
      return undefined;
    }
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  #release(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#large -= 1;
    else next();
  }
}

/** The extent that a stored piece makes. */
export function extentOf(piece: { readonly from: number; readonly to: number }, stored: StoredChunk): ExtentRow {
  return {
    offset: piece.from,
    length: piece.to - piece.from,
    chunk: stored.chunk,
    chunkOffset: 0,
    chunkBytes: stored.chunkBytes,
  };
}
