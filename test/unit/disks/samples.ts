/** Small records for the tests of this folder. */
import type { RecordInput, ShardInfo } from '../../../src/disks/record.js';

export const OWNER = '0123456789abcdef';
export const BUCKET = '00000000000000010002abcdef012345';

export function chunkName(number: number): string {
  return number.toString(16).padStart(64, '0');
}

export function bytesOf(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed * 2654435761 + 1;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

export function shardInfo(number: number, length: number, bucket = BUCKET): ShardInfo {
  return {
    bucket,
    chunk: chunkName(number),
    shard: 1,
    scheme: { erasure: true, k: 2, m: 1 },
    chunkBytes: 2 * length,
    compression: undefined,
    shardBytes: length,
  };
}

/** A shard whose content follows from its number and length. */
export function shardRecord(number: number, length: number, bucket = BUCKET): RecordInput {
  return { kind: 'shard', info: shardInfo(number, length, bucket), payload: [bytesOf(length, number)] };
}

export function commitRecord(sequence: number, text = `commit ${sequence}`, epoch = 1): RecordInput {
  return { kind: 'commit', sequence, epoch, acknowledged: Math.max(0, sequence - 1), payload: [Buffer.from(text)] };
}

export function stageRecord(sequence: number, length = 100): RecordInput {
  return { kind: 'stage', sequence, payload: [bytesOf(length, sequence)] };
}
