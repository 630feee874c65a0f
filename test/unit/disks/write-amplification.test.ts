/**
 * What giving space back costs: shards of random lengths are overwritten at random on a disk that is full to a given share of live bytes, and
 * segments are emptied as collection does it. The figures of docs/performance.md are those that this prints with OVERWRITES=3000 TAP_TIMEOUT=0.
 */
import t from 'tap';
import { createDisk } from '../../../src/disks/disk-identity.js';
import { openDisk } from '../../../src/disks/open-disk.js';
import type { RecordInput } from '../../../src/disks/record.js';
import { hasCode } from '../../../src/errors/cairn-error.js';
import { MemoryFileIo, seededRandom } from './memory-file-io.js';
import { shardInfo } from './samples.js';

const KIB = 1024;
const PAYLOAD = Buffer.alloc(16 * KIB, 'x');
const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const OVERWRITES = Number(process.env['OVERWRITES'] ?? 500);
/** As src/commit/collector.ts. */
const LIVE_SHARE = 0.5;
const LIVE_SHARES_FULL = [0.8, 0.95];
const IDENTITY = {
  format: 1,
  pool: 'aa'.repeat(16),
  uuid: 'bb'.repeat(16),
  number: 1,
  role: 'data',
  capacityBytes: 12 * 1024 * KIB,
  dataSegmentBytes: 256 * KIB,
  journalSegmentBytes: 64 * KIB,
} as const;

/** Bytes that are written to the data stream. */
class CountingIo extends MemoryFileIo {
  written = 0;

  override async open(...args: Parameters<MemoryFileIo['open']>): ReturnType<MemoryFileIo['open']> {
    const file = await super.open(...args);
    if (!/\/data-/.test(file.path)) return file;
    const write = file.write.bind(file);
    file.write = (parts, position) => {
      for (const { length } of parts) this.written += length;
      return write(parts, position);
    };
    return file;
  }
}

async function amplification(share: number): Promise<{ factor: number; full: number }> {
  const random = seededRandom(SEED + share * 100);
  const io = new CountingIo();
  await createDisk(io, '/disk', IDENTITY);
  const disk = await openDisk(io, '/disk', { pool: IDENTITY.pool }, { indexPath: ':memory:' });
  const room = IDENTITY.capacityBytes - IDENTITY.dataSegmentBytes - 2 * IDENTITY.journalSegmentBytes;
  let full = 0;
  const put = async (key: number): Promise<number> => {
    const length = 2 * KIB + Math.floor(random() * 12 * KIB);
    const record: RecordInput = { kind: 'shard', info: shardInfo(key, length), payload: [PAYLOAD.subarray(0, length)] };
    for (let attempt = 0; ; attempt++) {
      try {
        await disk.append('data', [record], { sync: false });
        return length;
      } catch (error) {
        if (!hasCode(error, 'NO_SPACE') || attempt > 2) throw error;
        full += 1;
        await disk.sync();
        const freed = await disk.reclaim(LIVE_SHARE);
        for (const more of LIVE_SHARES_FULL)
          if (freed < 2 * IDENTITY.dataSegmentBytes) await disk.reclaim(more, 2 * IDENTITY.dataSegmentBytes - freed);
      }
    }
  };
  let keys = 0;
  while (disk.space().liveBytes < share * room) await put(keys++);
  await disk.sync();
  const before = io.written;
  let user = 0;
  for (let i = 0; i < OVERWRITES; i++) {
    user += await put(Math.floor(random() * keys));
    if (i % 50 === 49) {
      await disk.sync();
      await disk.reclaim(LIVE_SHARE);
    }
  }
  await disk.sync();
  const factor = (io.written - before) / user;
  await disk.close();
  return { factor, full };
}

t.comment(`SEED=${SEED}`);
for (const [share, most] of [
  [0.5, 2],
  [0.7, 3],
  [0.8, 5],
  [0.9, 20],
] as const)
  t.test(`a disk of which ${share * 100} % live, overwritten at random`, async (t) => {
    const { factor, full } = await amplification(share);
    t.comment(`${factor.toFixed(2)} bytes written for each byte, full ${full} times`);
    t.ok(factor >= 1 && factor <= most + 0.1, `${factor} is at most ${most}, and record headers`);
  });
