/** A write that hangs still has its buffers when their slot is used again. */
import { writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { loadAddon } from '../../../native/addon.js';
import { ChunkWork, type RecordStub } from '../../../src/chunks/chunk-work.js';
import { codecScheme } from '../../../src/chunks/shard-scheme.js';
import type { ShardScheme } from '../../../src/disks/record.js';
import { codecFor } from '../../../src/erasure/codec-for.js';
import { content } from './fixture.js';

const BYTES = 300_000;

function stub(scheme: ShardScheme, shard: number, chunk: string): RecordStub {
  const shardBytes = codecFor(codecScheme(scheme)).shardBytes(BYTES);
  const info = {
    bucket: '00'.repeat(16),
    chunk,
    shard,
    scheme,
    chunkBytes: BYTES,
    compression: undefined,
    shardBytes,
  };
  return { info, generation: 1, logSequence: 1, owner: '11'.repeat(8) };
}

t.test(
  'shards given out stay as they are when the slot takes another chunk, or encodes under another scheme',
  async (t) => {
    const path = join(t.testdir(), 'chunks');
    writeFileSync(path, Buffer.concat([content(BYTES), content(BYTES).reverse()]));
    const file = await open(path);
    t.teardown(() => file.close());
    const work = new ChunkWork(loadAddon());
    const wide: ShardScheme = { erasure: true, k: 2, m: 1 };
    const double: ShardScheme = { erasure: true, k: 2, m: 2 };
    work.readFile(file.fd, 0, BYTES);
    const chunk = work.hash();
    const given = [0, 1, 2].map((shard) => work.record(wide, stub(wide, shard, chunk)));
    const before = given.map((parts) => Buffer.concat(parts));
    const same = (): void => {
      for (const [shard, parts] of given.entries()) t.ok(Buffer.concat(parts).equals(before[shard]!), `shard ${shard}`);
    };
    for (const shard of [2, 3]) work.record(double, stub(double, shard, chunk));
    same();
    work.detach();
    work.readFile(file.fd, BYTES, BYTES);
    t.not(work.hash(), chunk);
    work.record(wide, stub(wide, 2, work.hash()));
    same();
  },
);
