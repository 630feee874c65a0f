/** Each kind of damage on a disk gives exactly its finding; repair mends what can be derived, and the files are what they were. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Disk } from '../../../src/disks/disk.js';
import type { RecordLocation } from '../../../src/disks/record.js';
import { check, codes, filled, flip, type Plant, read, shardOf } from './planted-pool.js';

/** The newest commit on the disk. */
function commitRecord(disk: Disk): { disk: Disk; entry: RecordLocation } {
  return { disk, entry: disk.commits(0).at(-1)! };
}

const DISKS: readonly Plant[] = [
  {
    what: 'a flipped bit in a shard',
    plant: async ({ fixture }) => flip(await shardOf(fixture, '/photos/2026/large'), 5000),
    codes: ['shard-damaged'],
    files: ['/photos/2026/large'],
    left: [],
  },
  {
    what: 'a flipped bit in a parity shard',
    plant: async ({ fixture }) => flip(await shardOf(fixture, '/photos/2026/large', 2), 5000),
    codes: ['shard-damaged'],
    files: ['/photos/2026/large'],
    left: [],
  },
  {
    what: 'a flipped bit in a small copy',
    plant: async ({ fixture }) => flip(await shardOf(fixture, '/small.txt'), 500),
    codes: ['shard-damaged'],
    files: ['/small.txt'],
    left: [],
  },
  {
    what: 'a flipped bit in the header of a shard',
    plant: async ({ fixture }) => flip(await shardOf(fixture, '/photos/medium'), 40),
    codes: ['shard-damaged'],
    files: ['/photos/medium'],
    left: ['log-scar'],
  },
  {
    what: 'a shard that is gone',
    plant: async ({ fixture }) => {
      const { disk, entry } = await shardOf(fixture, '/photos/medium');
      await disk.remove(entry);
    },
    codes: ['chunk-degraded'],
    files: ['/photos/medium'],
    left: [],
  },
  {
    what: 'two shards of three that are damaged',
    plant: async ({ fixture }) => {
      flip(await shardOf(fixture, '/photos/medium', 0), 5000);
      flip(await shardOf(fixture, '/photos/medium', 1), 5000);
    },
    codes: ['chunk-lost'],
    files: ['/photos/medium'],
    left: ['chunk-lost'],
  },
  {
    what: 'all copies gone',
    plant: async ({ fixture }) => {
      const { entry } = await shardOf(fixture, '/small.txt');
      for (const disk of fixture.pool.parts.disks.opened) {
        for (const copy of disk.findAnywhere(entry.chunk)) await disk.remove(copy);
      }
    },
    codes: ['chunk-lost'],
    files: ['/small.txt'],
    left: ['chunk-lost'],
  },
  {
    what: 'a damaged commit record',
    plant: async ({ fixture }) => flip(commitRecord(fixture.pool.parts.disks.opened[1]!), 130),
    codes: ['commit-damaged'],
    left: [],
  },
  {
    what: 'a commit that cannot be read from any disk',
    plant: async ({ fixture }) => {
      for (const disk of fixture.pool.parts.disks.opened) flip(commitRecord(disk), 130);
    },
    codes: ['commit-damaged', 'commit-damaged', 'commit-damaged', 'journal-gap'],
    left: [],
  },
  {
    what: 'a diskmap that is gone',
    plant: ({ fixture }) => rmSync(join(fixture.disks[1]!, 'map')),
    codes: ['map-copy'],
    left: [],
  },
  {
    what: 'a diskmap that is damaged',
    plant: ({ fixture }) => writeFileSync(join(fixture.disks[1]!, 'map'), 'a map'),
    codes: ['map-copy'],
    left: [],
  },
  {
    what: 'an identity file that is damaged',
    plant: ({ fixture }) => writeFileSync(join(fixture.disks[2]!, 'cairn-disk.json'), '{}'),
    codes: ['disk-identity'],
    left: ['disk-identity'],
  },
  {
    what: 'a damaged metadata snapshot',
    plant: async ({ fixture }) => {
      await fixture.pool.parts.takeSnapshot();
      const log = join(fixture.disks[0]!, 'log');
      const file = readdirSync(log).find((name) => /^data-.*log$/.test(name))!;
      const bytes = readFileSync(join(log, file));
      // Kind 7 with a payload, behind the magic.
      for (let at = 0; at < bytes.length; at += 64) {
        if (bytes.readUInt32LE(at) !== 0x524e5243 || bytes[at + 5] !== 7 || bytes.readUInt32LE(at + 56) !== 1) continue;
        bytes[at + 130]! ^= 1;
        writeFileSync(join(log, file), bytes);
        return;
      }
      throw new Error('no snapshot part');
    },
    codes: ['snapshot-damaged'],
    left: [],
  },
  {
    what: 'a shard of no file',
    plant: async ({ fixture }) => {
      const { chunks } = fixture.pool.parts;
      const [stored] = await chunks.storeSmall([randomBytes(2000)]);
      chunks.release([stored!.chunk]);
      chunks.takeReleased();
    },
    codes: ['shard-orphan'],
    left: [],
  },
  {
    what: 'a cache file of no file',
    plant: ({ fixture }) => {
      mkdirSync(join(fixture.directory, 'cache', 'files', '0f'), { recursive: true });
      writeFileSync(join(fixture.directory, 'cache', 'files', '0f', 'f0f'), 'x');
    },
    codes: ['cache-orphan'],
    left: ['cache-orphan'],
  },
  {
    what: 'a shard with wrong bytes under right checksums',
    plant: async ({ fixture }) => {
      const { disk, entry } = await shardOf(fixture, '/photos/medium', 2);
      const { bucket, chunk, shard, scheme, chunkBytes, compression, shardBytes } = entry;
      const info = { bucket, chunk, shard, scheme, chunkBytes, compression, shardBytes };
      await disk.append('data', [{ kind: 'shard', info, payload: [randomBytes(shardBytes)] }], { sync: true });
    },
    options: { content: true },
    codes: ['shard-damaged'],
    files: ['/photos/medium'],
    left: [],
  },
];

for (const { what, plant, codes: expected, files, left, options } of DISKS) {
  t.test(`damage on a disk is told, and mended where it can be: ${what}`, async (t) => {
    const pool = await filled(t);
    const { fixture } = pool;
    await plant(pool);
    const report = await check(fixture, options);
    t.strictSame(codes(report), expected, JSON.stringify(report.findings));
    if (files !== undefined) t.strictSame(report.findings[0]?.files, files);
    t.strictSame(
      codes(await check(fixture, { ...options, live: true })),
      expected.filter((code) => code !== 'cache-orphan'),
      'also while the pool is in use',
    );
    const repaired = await check(fixture, { ...options, repair: true });
    t.strictSame(codes(repaired), left, JSON.stringify(repaired.findings));
    if (left?.length === 0)
      t.strictSame(
        repaired.repaired.map(({ code }) => code),
        expected,
      );
    t.strictSame(codes(await check(fixture, options)), left, 'once more');
    if (left?.includes('chunk-lost') || left?.includes('disk-identity')) return;
    await fixture.reopenWithout('meta', 'cache');
    for (const [name, bytes] of pool.files) t.ok((await read(fixture, name)).equals(bytes), name);
    t.strictSame(
      codes(await check(fixture)),
      left?.filter((code) => code !== 'cache-orphan'),
      'from the disks alone',
    );
  });
}
