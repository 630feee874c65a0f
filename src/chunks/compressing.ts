/** Whether and how a chunk is compressed before it is stored. Where nothing can be compressed (CONFIG: no codec here) everything is stored as it is. */
import { type Compression, isSameCompression } from '../disks/record.js';
import { hasCode } from '../errors/cairn-error.js';
import { compressChunk, pays, ZSTD_BLOCKS } from './compressed-chunk.js';
import type { ChunkJob } from './pipeline.js';
import type { Plan } from './placement.js';

export function compressionOf(storedBytes: number): Compression {
  return { method: ZSTD_BLOCKS, storedBytes };
}

/** Compresses the chunk, if that pays as the plan would have it stored. */
export async function compressionFor(job: ChunkJob, plan: Plan): Promise<Compression | undefined> {
  const storedBytes = await orPlain(job.compress());
  if (storedBytes === undefined || !pays(plan.codec.shardBytes(storedBytes), plan.shardBytes)) return undefined;
  return compressionOf(storedBytes);
}

/** Where nothing can be compressed, everything is stored as it is. */
export async function orPlain<T>(compressing: Promise<T>): Promise<T | undefined> {
  try {
    return await compressing;
  } catch (error) {
    if (!hasCode(error, 'CONFIG')) throw error;
    return undefined;
  }
}

/** What a copy of a small chunk holds, where copies stand that are compressed so, or are to be; undefined if it cannot be made. */
export function payloadFor(
  compression: Compression | undefined,
  bytes: Uint8Array,
  compressed: Uint8Array | undefined,
): Uint8Array | undefined {
  if (compression === undefined) return bytes;
  if (compressed !== undefined && isSameCompression(compressionOf(compressed.length), compression)) return compressed;
  // Rare: the content stands compressed and lacks a copy, and somebody stores it again without asking for that.
  const again = compressAgain(bytes);
  return again !== undefined && isSameCompression(compressionOf(again.length), compression) ? again : undefined;
}

function compressAgain(bytes: Uint8Array): Uint8Array | undefined {
  try {
    return compressChunk(bytes);
  } catch (error) {
    if (!hasCode(error, 'CONFIG')) throw error;
    return undefined;
  }
}
