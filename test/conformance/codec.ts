/**
 * What every Codec must do, run over each implementation and scheme. The known answers pin the bytes on disk: a codec that
 * passes here may replace another without touching what is stored.
 */
import { createHash } from 'node:crypto';
import type { Test } from 'tap';
import type { Codec } from '../../src/erasure/codec.js';
import { schemeName } from '../../src/erasure/codec.js';
import { hasCode } from '../../src/errors/cairn-error.js';

export interface KnownAnswer {
  readonly chunkBytes: number;
  /** SHA-256 of all shards one after the other. */
  readonly sha256: string;
}

const LENGTHS = [1, 7, 8, 63, 64, 65, 4095, 4096, 65535, 65536, 65537, 262_144, 300_001, 1_048_576];

/** Bytes that depend on nothing but their index: a 32-bit mix of it. */
export function pattern(length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i++) bytes[i] = Math.imul(i ^ (i >>> 7), 0x9e3779b1) >>> 24;
  return bytes;
}

export function codecConformance(t: Test, codec: Codec, answers: readonly KnownAnswer[]): void {
  const name = schemeName(codec.scheme);
  const combinations = subsets(codec.shards, codec.shards - codec.needed);

  t.test(`${name}: every length comes back with every combination of missing shards`, async (t) => {
    for (const length of LENGTHS) {
      const chunk = pattern(length);
      const before = Buffer.from(chunk);
      const shards = codec.encode(chunk);
      t.ok(chunk.equals(before), `${length}: encoding leaves the chunk as it was`);
      t.equal(shards.length, codec.shards);
      t.ok(shards.every((shard) => shard.length === codec.shardBytes(length)));
      const wrong = combinations.filter((missing) => {
        const left = shards.map((shard, i) => (missing.includes(i) ? undefined : shard));
        return !chunk.equals(codec.decode(left, length));
      });
      t.same(wrong, [], `${length}: ${combinations.length} combinations`);
    }
  });

  t.test(`${name}: 4 MiB, and parity space given by the caller`, async (t) => {
    const chunk = pattern(4 * 1024 * 1024);
    const space = Buffer.alloc((codec.shards - codec.needed) * codec.shardBytes(chunk.length) + 100, 0xee);
    const shards = codec.encode(chunk, space);
    t.ok(
      space.subarray(-100).every((byte) => byte === 0xee),
      'nothing is written beyond the parity',
    );
    t.same(shards.map(sha256), codec.encode(chunk).map(sha256));
    const left = shards.map((shard, i) => (i < codec.shards - codec.needed ? undefined : shard));
    t.ok(chunk.equals(codec.decode(left, chunk.length)));
  });

  t.test(`${name}: a range of blocks of any shard is rebuilt from that range of the others`, async (t) => {
    const length = 1_000_003;
    const shards = codec.encode(pattern(length));
    const shardBytes = codec.shardBytes(length);
    const ranges = [
      [0, shardBytes],
      [codec.blockBytes, 2 * codec.blockBytes],
      [codec.blockBytes, shardBytes],
      [Math.floor((shardBytes - 1) / codec.blockBytes) * codec.blockBytes, shardBytes],
    ].filter(([from, to]) => from! < to! && to! <= shardBytes);
    for (const [from, to] of ranges) {
      for (let wanted = 0; wanted < codec.shards; wanted++) {
        const wrong = combinations
          .filter((missing) => missing.includes(wanted))
          .filter((missing) => {
            const left = shards.map((shard, i) => (missing.includes(i) ? undefined : shard.subarray(from, to)));
            return !Buffer.from(codec.rebuild(left, wanted)).equals(shards[wanted]!.subarray(from, to));
          });
        t.same(wrong, [], `shard ${wanted}, [${from}, ${to})`);
      }
    }
  });

  t.test(`${name}: too few shards and lengths that do not fit are errors`, async (t) => {
    const shards = codec.encode(pattern(5000));
    const few = shards.map((shard, i) => (i < codec.needed - 1 ? shard : undefined));
    t.throws(() => codec.decode(few, 5000), { code: 'UNREADABLE' });
    t.throws(() => codec.rebuild(few, codec.shards - 1), { code: 'UNREADABLE' });
    const short = shards.map((shard) => shard.subarray(1));
    t.throws(() => codec.decode(short, 5000), { code: 'INVALID' });
    const empty = shards.map(() => new Uint8Array(0));
    t.ok(
      throwsCode(() => codec.decode(empty, 5000)),
      'empty shards do not reach the kernel',
    );
    t.throws(() => codec.decode([...shards, shards[0]!], 5000), { code: 'INVALID' });
    t.throws(() => codec.encode(new Uint8Array(0)), /assertion/);
    t.throws(() => codec.shardBytes(0), /assertion/);
  });

  t.test(`${name}: known answers`, async (t) => {
    for (const { chunkBytes, sha256: expected } of answers) {
      t.equal(sha256(Buffer.concat(codec.encode(pattern(chunkBytes)))), expected, `${chunkBytes} bytes`);
    }
  });
}

function throwsCode(task: () => unknown): boolean {
  try {
    task();
  } catch (error) {
    return hasCode(error, 'INVALID');
  }
  return false;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** All subsets of 0…count-1 with up to `most` members. */
export function subsets(count: number, most: number): number[][] {
  const all: number[][] = [];
  for (let bits = 0; bits < 1 << count; bits++) {
    const members = Array.from({ length: count }, (_, i) => i).filter((i) => (bits >> i) & 1);
    if (members.length <= most) all.push(members);
  }
  return all;
}
