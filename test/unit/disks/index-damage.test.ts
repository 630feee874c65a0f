/** Damaged pages in a disk's index file, met when the disk is opened or later: the index is made again from the logs. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Disk } from '../../../src/disks/disk.js';
import { createDisk } from '../../../src/disks/disk-identity.js';
import { openDisk } from '../../../src/disks/open-disk.js';
import { MemoryFileIo } from './memory-file-io.js';
import { BUCKET, chunkName, shardRecord } from './samples.js';

const KIB = 1024;
const POOL = 'aa'.repeat(16);
const SHARDS = 3000;

async function filled(indexPath: string): Promise<MemoryFileIo> {
  const io = new MemoryFileIo();
  await createDisk(io, '/disk', {
    format: 1,
    pool: POOL,
    uuid: 'bb'.repeat(16),
    number: 1,
    role: 'data',
    capacityBytes: 65_536 * KIB,
    dataSegmentBytes: 4096 * KIB,
    journalSegmentBytes: 64 * KIB,
  });
  const disk = await open(io, indexPath);
  for (let i = 0; i < SHARDS; i += 500)
    await disk.append(
      'data',
      Array.from({ length: 500 }, (_, j) => shardRecord(i + j, 100)),
      { sync: true },
    );
  await disk.close();
  return io;
}

function open(io: MemoryFileIo, indexPath: string): Promise<Disk> {
  return openDisk(io, '/disk', { pool: POOL }, { indexPath });
}

/** Overwrites the heads of pages that hold the bytes: of all, or of the table's leaves alone, where they come but once. */
function damagePagesWith(path: string, mark: Buffer): number {
  const bytes = readFileSync(path);
  const pageBytes = bytes.readUInt16BE(16);
  let pages = 0;
  for (let at = pageBytes; at < bytes.length; at += pageBytes) {
    if (!bytes.subarray(at, at + pageBytes).includes(mark)) continue;
    bytes.fill(0xa5, at, at + 16);
    pages += 1;
  }
  writeFileSync(path, bytes);
  return pages;
}

const found = (disk: Disk): number => {
  let count = 0;
  for (let i = 0; i < SHARDS; i++) count += disk.find(BUCKET, chunkName(i)).length;
  return count;
};

t.test('damage that is met when the disk is opened: the file is thrown away and made again', async (t) => {
  const path = join(t.testdir(), 'index.sqlite');
  const io = await filled(path);
  // Opening looks at the last record of each segment.
  t.ok(damagePagesWith(path, Buffer.from(chunkName(SHARDS - 1), 'hex')) > 0);
  const disk = await open(io, path);
  t.match(disk.openReport.join('\n'), /the index was damaged and is thrown away/);
  t.equal(found(disk), SHARDS);
  await disk.close();
  const again = await open(io, path);
  t.strictSame(again.openReport, [], 'the new one is a file, and good');
  t.equal(found(again), SHARDS);
  await again.close();
});

t.test('damage that is met later: that look-up fails, and the next opening makes the index again', async (t) => {
  const path = join(t.testdir(), 'index.sqlite');
  const io = await filled(path);
  const names = Array.from({ length: SHARDS }, (_, i) => chunkName(i));
  // What opening looks at is the last record of each segment.
  const hit = names.find((name, i) => i > 100 && i < SHARDS - 1000 && damagePagesWith(path, Buffer.from(name, 'hex')) > 0)!;
  const disk = await open(io, path);
  t.strictSame(disk.openReport, []);
  t.throws(() => disk.findAnywhere(hit), { code: 'IO', message: /is damaged/, hint: /open the pool again/ });
  await disk.append('data', [shardRecord(SHARDS, 100)], { sync: true });
  await disk.close();
  const again = await open(io, path);
  t.match(again.openReport, [/the index was rebuilt from the logs/]);
  t.equal(found(again), SHARDS);
  t.equal(again.findAnywhere(chunkName(SHARDS)).length, 1);
  await again.close();
});
