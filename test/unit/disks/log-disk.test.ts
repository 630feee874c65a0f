import { closeSync, fstatSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { loadAddon } from '../../../native/addon.js';
import type { Disk, DiskIdentity, DiskState } from '../../../src/disks/disk.js';
import { createDisk } from '../../../src/disks/disk-identity.js';
import { openDisk } from '../../../src/disks/open-disk.js';
import type { ShardEntry } from '../../../src/disks/record.js';
import { headerBytes, shardRecordHeader } from '../../../src/disks/record-codec.js';
import { CairnError } from '../../../src/errors/cairn-error.js';
import { NodeFileIo } from '../../../src/io/node-file-io.js';
import { MemoryFileIo, seededRandom } from './memory-file-io.js';
import { BUCKET, bytesOf, chunkName, commitRecord, shardInfo, shardRecord } from './samples.js';

const KIB = 1024;
const POOL = 'aa'.repeat(16);
const IDENTITY: DiskIdentity = {
  format: 1,
  pool: POOL,
  uuid: 'bb'.repeat(16),
  number: 1,
  role: 'data',
  capacityBytes: 2048 * KIB,
  dataSegmentBytes: 256 * KIB,
  journalSegmentBytes: 64 * KIB,
};
const BROKEN = new CairnError('IO', 'the disk says no');

interface Place {
  readonly io: MemoryFileIo;
  readonly indexPath: string;
}

/** A fresh disk in memory, its index in a temporary file. */
async function place(t: Test, seed = 1): Promise<Place> {
  const io = new MemoryFileIo(seededRandom(seed));
  await createDisk(io, '/disk', IDENTITY);
  const directory = mkdtempSync(join(tmpdir(), 'cairn-disk-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return { io, indexPath: join(directory, 'index.sqlite') };
}

function open({ io, indexPath }: Place): Promise<Disk> {
  return openDisk(io, '/disk', { pool: POOL }, { indexPath });
}

function one(disk: Disk, number: number): ShardEntry {
  const [entry] = disk.find(BUCKET, chunkName(number));
  if (entry === undefined) throw new Error(`shard ${number} is not there`);
  return entry;
}

async function holds(disk: Disk, number: number): Promise<boolean> {
  const entry = one(disk, number);
  const bytes = await disk.readShard(entry, 0, entry.shardBytes);
  return bytesOf(entry.shardBytes, number).equals(bytes);
}

const path = (stream: string, segment: number): string =>
  `/disk/log/${stream}-${String(segment).padStart(10, '0')}.log`;

t.test('shards, commits, slots, snapshots and the map are there after reopening', async (t) => {
  const at = await place(t);
  const first = await open(at);
  t.strictSame(first.openReport, [], 'nothing to report on a new disk');
  await first.append('data', [shardRecord(1, 100_000), shardRecord(2, 10)], { sync: false });
  t.ok(first.unsynced);
  await first.append('journal', [shardRecord(3, 4096), commitRecord(1)], { sync: true });
  await first.append('journal', [commitRecord(2)], { sync: true });
  const slot = { kind: 'slot', bucket: BUCKET, path: '/root' } as const;
  await first.append('journal', [{ ...slot, version: 5, payload: [Buffer.from('five')] }], { sync: true });
  await first.append('journal', [{ ...slot, version: 4, payload: [Buffer.from('four')] }], { sync: true });
  for (const part of [0, 1, 2]) {
    const snapshot = {
      kind: 'snapshot',
      sequence: 2,
      epoch: 1,
      part,
      last: part === 2,
      payload: [Buffer.from(`part ${part}`)],
    } as const;
    await first.append('data', [snapshot], { sync: true });
    t.strictSame(first.snapshots(), [{ sequence: 2, epoch: 1, parts: part + 1, complete: part === 2 }]);
  }
  await first.writeMap(Buffer.from('map'));
  const check = async (disk: Disk): Promise<void> => {
    t.ok(await holds(disk, 1));
    t.ok(await holds(disk, 2));
    t.ok(await holds(disk, 3));
    t.strictSame(disk.find(BUCKET, chunkName(4)), []);
    t.strictSame(
      disk.commits(0).map(({ sequence }) => sequence),
      [1, 2],
    );
    t.strictSame(
      disk.commits(1).map(({ sequence }) => sequence),
      [2],
    );
    t.equal((await disk.readCommit(disk.commits(1)[0] as never)).toString(), 'commit 2');
    t.match(await disk.getSlot(BUCKET, '/root'), { version: 5, bytes: Buffer.from('five') });
    t.equal(await disk.getSlot(BUCKET, '/other'), undefined);
    t.equal((await disk.readSnapshotPart(2, 1)).toString(), 'part 1');
    await t.rejects(disk.readSnapshotPart(2, 3), { code: 'NOT_FOUND' });
    t.equal((await disk.readMap())?.toString(), 'map');
    t.equal(
      disk.bucketBytes(BUCKET),
      [1, 2, 3].reduce((sum, number) => sum + one(disk, number).recordBytes, 0),
    );
    t.strictSame(
      disk
        .walk(undefined, 10)
        .map(({ chunk }) => Number.parseInt(chunk, 16))
        .sort(),
      [1, 2, 3],
    );
  };
  await check(first);
  const entry = one(first, 1);
  await first.close();
  t.equal(first.state, 'offline');
  await t.rejects(first.readShard(entry, 0, 1), { code: 'CLOSED' });
  await t.rejects(first.append('journal', [commitRecord(9)], { sync: true }), { code: 'DISK_FAILED' });
  const again = await open(at);
  t.strictSame(again.openReport, []);
  await check(again);
  await again.close();
  rmSync(at.indexPath);
  const rebuilt = await open(at);
  t.match(rebuilt.openReport, [/rebuilt/]);
  await check(rebuilt);
  await rebuilt.close();
});

t.test('reads verify what they touch and nothing else', async (t) => {
  const at = await place(t);
  const disk = await open(at);
  await disk.append('data', [shardRecord(1, 200_000)], { sync: true });
  const entry = one(disk, 1);
  const content = bytesOf(200_000, 1);
  at.io.edit(path('data', entry.segment), (bytes) => {
    const byte = entry.position + headerBytes(200_000) + 70_000;
    bytes[byte] = (bytes[byte] ?? 0) ^ 1;
    return bytes;
  });
  for (const [from, to] of [
    [0, 65536],
    [0, 1],
    [65535, 65536],
    [131072, 200_000],
    [199_999, 200_000],
    [5, 5],
  ] as const) {
    t.ok(content.subarray(from, to).equals(await disk.readShard(entry, from, to)), `${from} to ${to}`);
  }
  await t.rejects(disk.readShard(entry, 0, 65537), { code: 'CORRUPT' });
  await t.rejects(disk.readShard(entry, 70_000, 70_001), { code: 'CORRUPT' });
  await t.rejects(disk.readShard(entry, 0, 200_001), { code: 'INVALID' });
  const into = Buffer.alloc(68_928);
  t.equal(await disk.readShard(entry, 131_072, 200_000, into), into);
  t.ok(content.subarray(131_072).equals(into), 'a part, where the caller wants it');
  const whole = Buffer.alloc(200_000);
  await t.rejects(disk.readShard(entry, 0, 200_000, whole), { code: 'CORRUPT' });
  const flip = (offset: number): void =>
    at.io.edit(path('data', entry.segment), (bytes) => {
      bytes[entry.position + offset] = (bytes[entry.position + offset] ?? 0) ^ 1;
      return bytes;
    });
  flip(headerBytes(200_000) + 70_000);
  t.equal(await disk.readShard(entry, 0, 200_000, whole), whole);
  t.ok(content.equals(whole), 'and the whole');
  flip(30);
  await t.rejects(disk.readShard(entry, 0, 200_000, whole), { code: 'CORRUPT' }, 'the header counts too');
  t.equal(disk.state, 'online');
  await disk.close();
});

t.test('a worker writes into a reservation; sync waits for it', async (t) => {
  const at = await place(t);
  const { crc32c } = loadAddon();
  const disk = await open(at);
  const payload = bytesOf(70_000, 9);
  const info = shardInfo(9, payload.length);
  const reservation = await disk.reserve(info);
  t.strictSame(disk.find(BUCKET, info.chunk), []);
  let synced = false;
  const sync = disk.sync().then(() => {
    synced = true;
  });
  const { generation, logSequence, owner } = reservation;
  await reservation.write([shardRecordHeader(info, generation, logSequence, owner, payload, crc32c), payload]);
  t.notOk(synced);
  disk.publish(reservation);
  t.throws(() => disk.publish(reservation), /assertion/);
  await sync;
  t.ok(await holds(disk, 9));
  const states: DiskState[] = [];
  disk.onStateChange = ({ state }) => states.push(state);
  disk.abandon(await disk.reserve(shardInfo(10, 5)), BROKEN);
  t.strictSame(states, ['suspect']);
  await t.rejects(disk.reserve(info), { code: 'DISK_FAILED' });
  t.ok(await holds(disk, 9), 'reads go on');
  at.io.crash();
  await disk.close().catch(() => {});
  const again = await open(at);
  t.ok(await holds(again, 9));
  await again.close();
});

t.test('removed shards stay removed, with the index and without it', async (t) => {
  const at = await place(t);
  const disk = await open(at);
  await disk.append('data', [shardRecord(1, 50), shardRecord(2, 60)], { sync: false });
  await disk.remove(shardInfo(1, 50));
  await disk.remove(shardInfo(7, 50));
  t.strictSame(disk.find(BUCKET, chunkName(1)), []);
  await disk.sync();
  await disk.append('data', [shardRecord(3, 50)], { sync: true });
  await disk.remove(shardInfo(3, 50));
  await disk.append('data', [shardRecord(3, 50)], { sync: true });
  await disk.close();
  for (const rebuild of [false, true]) {
    if (rebuild) rmSync(at.indexPath);
    const again = await open(at);
    t.strictSame(again.find(BUCKET, chunkName(1)), []);
    t.ok(await holds(again, 2));
    t.ok(await holds(again, 3), 'stored anew after it was removed');
    t.equal(again.bucketBytes(BUCKET), one(again, 2).recordBytes + one(again, 3).recordBytes);
    await again.close();
  }
});

t.test('releasing commits recycles the journal and keeps what lives in it', async (t) => {
  const at = await place(t);
  const disk = await open(at);
  const slot = { kind: 'slot', bucket: BUCKET, path: '/root', version: 1, payload: [Buffer.from('slot')] } as const;
  await disk.append('journal', [slot], { sync: true });
  await disk.append('data', [shardRecord(900, 50)], { sync: true });
  await disk.remove(shardInfo(900, 50));
  for (let sequence = 1; sequence <= 60; sequence++) {
    await disk.append('journal', [shardRecord(sequence, 4096), commitRecord(sequence)], { sync: true });
  }
  const before = disk.space();
  await disk.releaseCommits(30);
  t.strictSame(
    disk.commits(30).map(({ sequence }) => sequence),
    Array.from({ length: 30 }, (_, i) => i + 31),
  );
  await disk.releaseCommits(60);
  t.ok(disk.commits(0).length < 15, 'at most those in the segment being written');
  t.ok(disk.space().segmentBytes < before.segmentBytes + 2 * IDENTITY.dataSegmentBytes);
  const names = at.io.paths().filter((name) => name.includes('journal'));
  t.ok(names.length <= 5, names.join());
  for (let sequence = 61; sequence <= 90; sequence++) {
    await disk.append('journal', [commitRecord(sequence, 'x'.repeat(4000))], { sync: true });
  }
  await disk.releaseCommits(90);
  await disk.close();
  for (const rebuild of [false, true]) {
    if (rebuild) rmSync(at.indexPath);
    const again = await open(at);
    for (let number = 1; number <= 60; number++) if (!(await holds(again, number))) t.fail(`shard ${number}`);
    t.equal((await again.getSlot(BUCKET, '/root'))?.bytes.toString(), 'slot');
    t.strictSame(again.find(BUCKET, chunkName(900)), [], 'its tombstone outlived the journal segment');
    await again.close();
  }
});

t.test('a full disk refuses shards, still takes commits and removals, and reclaim makes room', async (t) => {
  const at = await place(t);
  const disk = await open(at);
  let stored = 0;
  await t.rejects(
    (async () => {
      for (;;) {
        await disk.append('data', [shardRecord(stored + 1, 20_000)], { sync: false });
        stored++;
      }
    })(),
    { code: 'NO_SPACE' },
  );
  t.equal(disk.state, 'online');
  t.ok(stored * 20_000 > IDENTITY.capacityBytes / 2, `${stored} shards`);
  t.ok(disk.space().segmentBytes <= IDENTITY.capacityBytes);
  t.ok(disk.space().freeBytes < 20_200);
  await t.rejects(disk.reserve(shardInfo(999, 20_000)), { code: 'NO_SPACE' });
  for (let sequence = 1; sequence <= 10; sequence++)
    await disk.append('journal', [commitRecord(sequence)], { sync: true });
  for (let number = 1; number <= stored; number++) if (number % 4 !== 0) await disk.remove(shardInfo(number, 20_000));
  const freed = await disk.reclaim(0.5);
  t.ok(freed > IDENTITY.capacityBytes / 4, `${freed} bytes freed`);
  t.ok(disk.space().freeBytes > IDENTITY.capacityBytes / 4);
  for (let number = 4; number <= stored; number += 4) if (!(await holds(disk, number))) t.fail(`shard ${number}`);
  await disk.append('data', [shardRecord(1000, 20_000)], { sync: true });
  await disk.close();
  rmSync(at.indexPath);
  const again = await open(at);
  for (let number = 1; number <= stored; number++)
    t.equal(again.find(BUCKET, chunkName(number)).length, number % 4 === 0 ? 1 : 0);
  t.ok(await holds(again, 1000));
  await again.close();
});

t.test(
  'what a device has free is known when segments have been given back, not only when the next one is full',
  async (t) => {
    const at = await place(t);
    at.io.totalBytes = 1024 * KIB;
    const disk = await open(at);
    let stored = 0;
    while (disk.space().freeBytes > 100 * KIB) {
      await disk.append('data', [shardRecord(++stored, 20_000)], { sync: true });
      // A full segment has the device asked, in the background.
      await new Promise(setImmediate);
    }
    const { freeBytes } = disk.space();
    for (let number = 1; number <= stored; number++) await disk.remove(shardInfo(number, 20_000));
    const freed = await disk.reclaim(0.5);
    t.ok(freed >= 2 * IDENTITY.dataSegmentBytes, `${freed} bytes freed`);
    t.ok(
      disk.space().freeBytes >= freeBytes + IDENTITY.dataSegmentBytes,
      `${disk.space().freeBytes} after ${freeBytes}`,
    );
    await disk.close();
  },
);

t.test('a reader who looked up before a segment was freed gets the bytes from the new place', async (t) => {
  const at = await place(t);
  const disk = await open(at);
  for (let number = 1; number <= 30; number++)
    await disk.append('data', [shardRecord(number, 20_000)], { sync: false });
  const old = one(disk, 1);
  for (let number = 2; number <= 30; number++) await disk.remove(shardInfo(number, 20_000));
  await disk.reclaim(0.5);
  t.not(one(disk, 1).segment, old.segment);
  t.ok(bytesOf(20_000, 1).equals(await disk.readShard(old, 0, 20_000)));
  await disk.close();
});

t.test('removals during a reclaim are not undone by its copies', async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const at = await place(t, seed);
    const disk = await open(at);
    for (let number = 1; number <= 40; number++)
      await disk.append('data', [shardRecord(number, 15_000)], { sync: false });
    for (let number = 1; number <= 40; number++) if (number % 3 !== 0) await disk.remove(shardInfo(number, 15_000));
    const removals: Promise<void>[] = [];
    const reclaim = disk.reclaim(0.9);
    for (let number = 3; number <= 40; number += 6) {
      await new Promise((resolve) => setImmediate(resolve));
      removals.push(disk.remove(shardInfo(number, 15_000)));
    }
    await Promise.all([reclaim, ...removals]);
    await disk.close();
    if (seed % 2 === 0) rmSync(at.indexPath);
    const again = await open(at);
    for (let number = 1; number <= 40; number++) {
      const expected = number % 6 === 0 ? 1 : 0;
      if (again.find(BUCKET, chunkName(number)).length !== expected) t.fail(`seed ${seed}: shard ${number}`);
    }
    await again.close();
  }
  t.pass('20 seeds');
});

t.test('a failed sync makes the disk suspect; it still reads, and opens again', async (t) => {
  const at = await place(t);
  const disk = await open(at);
  await disk.append('data', [shardRecord(1, 100)], { sync: true });
  await disk.append('data', [shardRecord(2, 100)], { sync: false });
  at.io.fail('datasync', /data/, BROKEN);
  const states: string[] = [];
  disk.onStateChange = ({ state, stateReason }) => states.push(`${state}: ${stateReason}`);
  await t.rejects(disk.sync(), { code: 'DISK_FAILED' });
  t.match(states, [/suspect: .*the disk says no/]);
  await t.rejects(disk.append('journal', [commitRecord(1)], { sync: true }), { code: 'DISK_FAILED' });
  await t.rejects(disk.remove(shardInfo(1, 100)), { code: 'DISK_FAILED' });
  t.ok(await holds(disk, 1));
  await disk.close();
  const again = await open(at);
  t.ok(await holds(again, 1));
  await again.append('journal', [commitRecord(1)], { sync: true });
  await again.close();
});

t.test('a disk that vanishes goes offline', async (t) => {
  const at = await place(t);
  const disk = await open(at);
  await disk.append('data', [shardRecord(1, 100)], { sync: true });
  at.io.fail('read', /./, BROKEN, 1000);
  await t.rejects(disk.readShard(one(disk, 1), 0, 100), { code: 'IO' });
  t.equal(disk.state, 'offline');
  await disk.close();
});

t.test('missing, empty and foreign directories are refused and not written to', async (t) => {
  const { io, indexPath } = await place(t);
  await io.makeDirectory('/empty');
  const before = io.paths();
  await t.rejects(openDisk(io, '/nowhere', { pool: POOL }, { indexPath }), { code: 'DISK_MISSING' });
  await t.rejects(openDisk(io, '/empty', { pool: POOL }, { indexPath }), { code: 'DISK_MISSING' });
  await t.rejects(openDisk(io, '/disk', { pool: 'cc'.repeat(16) }, { indexPath }), { code: 'DISK_FOREIGN' });
  await t.rejects(openDisk(io, '/disk', { pool: POOL, uuid: 'cc'.repeat(16) }, { indexPath }), {
    code: 'DISK_FOREIGN',
  });
  await t.rejects(openDisk(io, '/disk', { pool: POOL, role: 'journal' }, { indexPath }), { code: 'DISK_FOREIGN' });
  t.strictSame(io.paths(), before);
});

t.test('lost segments are reported and their shards known to be gone', async (t) => {
  const at = await place(t);
  const disk = await open(at);
  for (let number = 1; number <= 30; number++) await disk.append('data', [shardRecord(number, 20_000)], { sync: true });
  const [first, second] = [one(disk, 1).segment, one(disk, 15).segment];
  await disk.close();
  t.not(first, second);
  at.io.delete(path('data', first));
  at.io.edit(path('data', second), (bytes) => bytes.subarray(0, 30_000));
  for (const rebuild of [false, true]) {
    if (rebuild) rmSync(at.indexPath);
    const again = await open(at);
    t.match(again.openReport.join('\n'), rebuild ? /cut a half-written record/ : /is missing: 12 of its records/);
    t.match(again.openReport.join('\n'), rebuild ? /rebuilt/ : /was truncated to 30000 bytes/);
    let there = 0;
    for (let number = 1; number <= 30; number++) {
      if (again.find(BUCKET, chunkName(number)).length === 0) continue;
      if (!(await holds(again, number))) t.fail(`shard ${number}`);
      there++;
    }
    t.equal(there, 30 - 12 - 11);
    await again.close();
  }
});

t.test('on the real file system: locks, descriptors, index file', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'cairn-disk-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const io = new NodeFileIo();
  await createDisk(io, join(directory, 'disk'), IDENTITY);
  const disk = await openDisk(io, join(directory, 'disk'), { pool: POOL });
  await t.rejects(openDisk(io, join(directory, 'disk'), { pool: POOL }), { code: 'LOCKED' });
  await disk.append('journal', [shardRecord(1, 4096), commitRecord(1)], { sync: true });
  const payload = bytesOf(100_000, 2);
  const reservation = await disk.reserve(shardInfo(2, payload.length));
  await reservation.lend?.(async (fd) => void t.type(fd, 'number'));
  const { generation, logSequence, owner } = reservation;
  await reservation.write([
    shardRecordHeader(reservation.info, generation, logSequence, owner, payload, loadAddon().crc32c),
    payload,
  ]);
  disk.publish(reservation);
  for (let number = 3; number <= 40; number++)
    await disk.append('data', [shardRecord(number, 20_000)], { sync: false });
  await disk.sync();
  await disk.close();
  const again = await openDisk(io, join(directory, 'disk'), { pool: POOL });
  t.strictSame(again.openReport, []);
  for (let number = 1; number <= 40; number++) if (!(await holds(again, number))) t.fail(`shard ${number}`);
  t.equal(again.commits(0).length, 1);
  await again.close();
});

t.test('an index that fails while it is in use leaves the disk out, loses no record, and is made anew', async (t) => {
  const at = await place(t);
  const disk = await open(at);
  for (let from = 1; from < 2000; from += 200)
    await disk.append(
      'journal',
      Array.from({ length: 200 }, (_, i) => shardRecord(from + i, 64)),
      { sync: true },
    );
  await disk.close();
  const broken = await open(at);
  const states: DiskState[] = [];
  broken.onStateChange = ({ state }) => states.push(state);
  // Everything behind the page that was read when it was opened.
  const file = openSync(at.indexPath, 'r+');
  const { size } = fstatSync(file);
  for (let page = 4096 * 8; page < size; page += 4096) writeSync(file, Buffer.alloc(4096, 0xa5), 0, 4096, page);
  closeSync(file);
  let answered = 0;
  for (let number = 1; number <= 2000; number++) answered += broken.findAnywhere(chunkName(number)).length;
  t.ok(answered < 2000, 'it says nothing rather than something wrong');
  t.strictSame(states, ['offline']);
  t.match(broken.stateReason, /its index cannot be used/);
  await t.rejects(broken.append('journal', [commitRecord(1)], { sync: true }), { code: 'DISK_FAILED' });
  await t.rejects(broken.remove({ bucket: BUCKET, chunk: chunkName(1), shard: 1 }), { code: 'DISK_FAILED' });
  await broken.close();
  const again = await open(at);
  t.match(again.openReport, [/the index was rebuilt from the logs/]);
  for (let number = 1; number <= 2000; number += 111) t.ok(await holds(again, number), `shard ${number}`);
  await again.close();
});
