/**
 * Shards that are there and are not what the chunk makes: damaged on the medium, or whole and wrong since before they were written. Each is
 * written anew, in one append that takes the place of the bad record. Where its disk has no room for that, one that misleads (its checksums hold, so
 * a reader of a part believes it) is let go of; one that is damaged stays, because what is good of it may be needed yet.
 */
import type { RecordInput } from '../disks/record.js';
import { hasCode } from '../errors/cairn-error.js';
import type { Holder, ShardSet } from './shard-set.js';

export interface WrongShard {
  readonly holder: Holder;
  /** What it should be. */
  readonly right: Uint8Array;
  /** Its checksums hold. */
  readonly misleads: boolean;
}

/**
 * Reads every shard of the sets whole. `bytes` are the chunk's, whose hash holds; `storedOf` what the shards of a set of it are made from where it is compressed (UNREADABLE: then what is wrong
 * with its shards cannot be told).
 */
export async function wrongShards(
  sets: readonly ShardSet[],
  bytes: Uint8Array,
  storedOf: (set: ShardSet) => Promise<Uint8Array>,
): Promise<WrongShard[]> {
  const wrong: WrongShard[] = [];
  for (const set of sets) {
    if (set.chunkBytes !== bytes.length) continue;
    const stored = set.compression === undefined ? bytes : await orNone(storedOf(set));
    if (stored === undefined) continue;
    const right = set.codec.encode(stored);
    for (const [shard, holders] of set.holders.entries())
      for (const holder of holders) wrong.push(...(await faultOf(holder, right[shard]!)));
  }
  return wrong;
}

async function orNone(stored: Promise<Uint8Array>): Promise<Uint8Array | undefined> {
  try {
    return await stored;
  } catch (error) {
    if (!hasCode(error, 'UNREADABLE')) throw error;
    return undefined;
  }
}

async function faultOf(holder: Holder, right: Uint8Array): Promise<WrongShard[]> {
  const { disk, entry } = holder;
  try {
    const found = await disk.readShard(entry, 0, entry.shardBytes);
    return Buffer.compare(found, right) === 0 ? [] : [{ holder, right, misleads: true }];
  } catch (error) {
    if (!hasCode(error, 'CORRUPT', 'IO')) throw error;
    // It may have been removed meanwhile; and a disk that is gone says nothing of its shards.
    const isThere = disk.find(entry.bucket, entry.chunk).some(({ shard }) => shard === entry.shard);
    return disk.state === 'offline' || !isThere ? [] : [{ holder, right, misleads: false }];
  }
}

/** True if it was written anew (not synced). */
export async function rewriteShard({ holder, right, misleads }: WrongShard): Promise<boolean> {
  const { disk, entry } = holder;
  const { bucket, chunk, shard, scheme, chunkBytes, compression, shardBytes } = entry;
  const record: RecordInput = {
    kind: 'shard',
    info: { bucket, chunk, shard, scheme, chunkBytes, compression, shardBytes },
    payload: [right],
  };
  try {
    await disk.append('data', [record], { sync: false });
    return true;
  } catch (error) {
    if (!hasCode(error, 'NO_SPACE', 'DISK_FAILED')) throw error;
    if (!misleads) return false;
  }
  try {
    await disk.remove(entry);
  } catch (error) {
    if (!hasCode(error, 'DISK_FAILED', 'NO_SPACE')) throw error;
  }
  return false;
}
