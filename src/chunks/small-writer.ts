/**
 * Small chunks: replicas, many per append. A chunk whose copy failed on one disk gets it on another, if there is one.
 */
import type { Disk } from '../disks/disk.js';
import type { RecordInput } from '../disks/record.js';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { ChunkPolicy, PreparedChunk } from './chunk-store.js';

/** Payload of one slice: large enough that an append pays, small enough that the event loop is never held for long. */
const SLICE_BYTES = 1024 * 1024;
/** And of a segment: what does not fit the rest of one leaves it empty. */
const SLICE_SHARE = 1 / 16;

export interface SmallChunk {
  readonly chunk: string;
  readonly bytes: Uint8Array;
  /** The bytes as they are stored if it is compressed, where that pays and is asked for. */
  readonly compressed?: Uint8Array | undefined;
  readonly asked?: ChunkPolicy | undefined;
}

/** Returns the chunk's records, without disks in `avoid`, given what stands; none once it is complete or cannot be made better. */
type Prepare = (small: SmallChunk, avoid: ReadonlySet<Disk>) => PreparedChunk;

/** What a slice has at most, give or take a chunk, for disks whose segments have so many bytes. */
export function sliceBytes(segmentBytes: number): number {
  return Math.min(SLICE_BYTES, SLICE_SHARE * segmentBytes);
}

/** Cuts `sources` into slices of about so many bytes. */
export function* slices(sources: readonly Uint8Array[], bytesMax: number): Generator<[from: number, to: number]> {
  let from = 0;
  let bytes = 0;
  for (let i = 0; i < sources.length; i++) {
    bytes += sources[i]!.length;
    if (bytes < bytesMax && i < sources.length - 1) continue;
    yield [from, i + 1];
    from = i + 1;
    bytes = 0;
  }
}

/**
 * Writes the chunks of one slice: one append per disk, all disks at once; then again for those that lack copies because a disk
 * failed. Throws if some chunk has no copy at all: NO_SPACE if that is what the last disk failed with, else DISK_FAILED.
 */
export async function writeSlice(sources: readonly SmallChunk[], prepare: Prepare): Promise<PreparedChunk[]> {
  const failed = new Set<Disk>();
  const prepared = sources.map((small) => prepare(small, failed));
  let pending = prepared.map((chunk, i) => ({ i, records: chunk.records }));
  const standing = new Set<number>(prepared.flatMap((chunk, i) => (chunk.records.length === 0 ? [i] : [])));
  let cause: unknown;
  for (;;) {
    const batches = new Map<Disk, { records: RecordInput[]; chunks: Set<number> }>();
    for (const { i, records } of pending) {
      for (const { disk, record } of records) {
        const batch = batches.get(disk) ?? { records: [], chunks: new Set() };
        batches.set(disk, batch);
        batch.records.push(record);
        batch.chunks.add(i);
      }
    }
    if (batches.size === 0) break;
    const lacking = new Set<number>();
    await Promise.all(
      [...batches].map(async ([disk, { records, chunks }]) => {
        try {
          await disk.append('data', records, { sync: false });
          for (const i of chunks) standing.add(i);
        } catch (error) {
          if (!(error instanceof CairnError)) throw error;
          cause = error;
          failed.add(disk);
          for (const i of chunks) lacking.add(i);
        }
      }),
    );
    pending = [];
    for (const i of lacking) {
      try {
        pending.push({ i, records: prepare(sources[i]!, failed).records });
      } catch (error) {
        // No disk is left for another copy: one that stands is enough.
        if (standing.has(i)) continue;
        if (hasCode(cause, 'NO_SPACE')) throw cause;
        throw new CairnError('DISK_FAILED', 'no disk could take the chunk', { cause: cause ?? error });
      }
    }
  }
  return prepared;
}
