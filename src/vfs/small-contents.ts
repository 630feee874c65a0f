/**
 * Bytes of small files that were read lately, whole, for the object face: its clients ask for the same small object again and again, and have no page cache
 * between them and us as the mount has.
 *
 * An entry is of one content stage, which grows with every committed change of a file's content; whoever asks says which one the file has now. So nothing has to
 * be taken out when a file changes: what is outdated is not found.
 */
import type { Ino } from '../meta/rows.js';

/** Larger files are not kept. */
export const SMALL_CONTENT_BYTES = 64 * 1024;
const KEPT_BYTES = 16 * 1024 * 1024;
/** What an entry takes beside its bytes. */
const ENTRY_BYTES = 256;
/** An entry ends after so long: whoever reads it then is noted as a reader (access time) by the read that brings it back. */
const AGE_MS = 60_000;

interface Kept {
  readonly contentStage: number;
  readonly bytes: Uint8Array;
  readonly readMs: number;
}

export class SmallContents {
  /** The one that was used longest ago first. */
  readonly #kept = new Map<Ino, Kept>();
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(bytesMax = KEPT_BYTES) {
    this.#bytesMax = bytesMax;
  }

  /** What the file holds at this content stage; undefined if that is not known. Nobody changes it. */
  get(ino: Ino, contentStage: number, nowMs: number): Uint8Array | undefined {
    const kept = this.#kept.get(ino);
    if (kept === undefined) return undefined;
    this.#kept.delete(ino);
    if (kept.contentStage !== contentStage || nowMs - kept.readMs > AGE_MS) {
      this.#bytes -= kept.bytes.length + ENTRY_BYTES;
      return undefined;
    }
    this.#kept.set(ino, kept);
    return kept.bytes;
  }

  /** All bytes of the file at this content stage, which nobody will change. */
  put(ino: Ino, contentStage: number, bytes: Uint8Array, nowMs: number): void {
    const before = this.#kept.get(ino);
    if (before !== undefined) this.#remove(ino, before);
    this.#kept.set(ino, { contentStage, bytes, readMs: nowMs });
    this.#bytes += bytes.length + ENTRY_BYTES;
    for (const [oldest, kept] of this.#kept) {
      if (this.#bytes <= this.#bytesMax) return;
      this.#remove(oldest, kept);
    }
  }

  #remove(ino: Ino, { bytes }: Kept): void {
    this.#kept.delete(ino);
    this.#bytes -= bytes.length + ENTRY_BYTES;
  }
}
