/** The check of a pool at rest: it writes nothing, finds what was planted and nothing else, and repair gives back files that are what they were. */
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import t, { type Test } from 'tap';
import { markDamaged } from '../../../src/meta/sqlite-schema.js';
import { checkOffline } from '../../../src/pool/offline-check.js';
import { Pool } from '../../../src/pool/pool.js';
import { METADATA } from '../fsck/metadata-plants.js';
import { codes, type Filled, filled, flip, type Plant, read, shardOf, sql, write } from '../fsck/planted-pool.js';
import type { PoolFixture } from '../vfs/pool-fixture.js';

const LOOK = { content: false, repair: false };
const REPAIR = { content: false, repair: true };

/** Every file with its bytes, but for lock files. */
function tree(directory: string): string {
  const hash = createHash('sha256');
  const names = readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== 'lock')
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  for (const name of names) hash.update(`${name}\0`).update(readFileSync(name));
  return hash.digest('hex');
}

/** The pool's files as a killed process leaves them. */
async function killed({ fixture }: Filled): Promise<void> {
  await fixture.kill();
  await fixture.pool.abandon();
}

async function same(t: Test, fixture: PoolFixture, files: ReadonlyMap<string, Buffer>): Promise<void> {
  await fixture.open();
  for (const [name, bytes] of files) t.ok((await read(fixture, name)).equals(bytes), name);
}

const indexOf = ({ fixture }: Filled, disk: number): string => join(fixture.disks[disk]!, 'index.sqlite');

function indexSql(pool: Filled, disk: number, ...statements: string[]): void {
  const database = new Database(indexOf(pool, disk));
  for (const statement of statements) database.exec(statement);
  database.close();
}

const metaFile = ({ fixture }: Filled): string => {
  const directory = join(fixture.directory, 'meta');
  return join(directory, readdirSync(directory).find((name) => name.endsWith('.sqlite'))!);
};

const dataSegment = ({ fixture }: Filled, disk: number): string => {
  const log = join(fixture.disks[disk]!, 'log');
  return join(log, readdirSync(log).find((name) => /^data-.*\.log$/.test(name))!);
};

/** A small chunk's replicas lie as they are in the logs of two of the disks. */
function logHolds(disk: string, bytes: Buffer): boolean {
  const log = join(disk, 'log');
  return readdirSync(log).some((name) => readFileSync(join(log, name)).includes(bytes));
}

/** Planted in a pool that is closed. */
const AT_REST: readonly Plant[] = [
  {
    what: 'an index that is no database',
    plant: (pool) => {
      for (const suffix of ['-wal', '-shm']) rmSync(indexOf(pool, 0) + suffix, { force: true });
      writeFileSync(indexOf(pool, 0), 'no database at all'.repeat(500));
    },
    codes: ['index-unusable'],
    left: [],
  },
  { what: 'an index that is gone', plant: (pool) => rmSync(indexOf(pool, 1)), codes: ['index-unusable'], left: [] },
  {
    what: 'a row that the index lacks',
    plant: (pool) =>
      indexSql(
        pool,
        1,
        'CREATE TEMP TABLE gone AS SELECT * FROM shards ORDER BY record_bytes DESC LIMIT 1',
        'DELETE FROM shards WHERE (chunk, bucket, shard) IN (SELECT chunk, bucket, shard FROM gone)',
        'UPDATE buckets SET live_bytes = live_bytes - (SELECT record_bytes FROM gone) WHERE id = (SELECT bucket FROM gone)',
        'UPDATE segments SET live_bytes = live_bytes - (SELECT record_bytes FROM gone) WHERE segment = (SELECT segment FROM gone)',
      ),
    codes: ['index-missing', 'chunk-degraded'],
    left: [],
  },
  {
    what: 'a row of a record that is not there',
    plant: (pool) =>
      indexSql(
        pool,
        0,
        'UPDATE shards SET position = position + 64 WHERE chunk = (SELECT chunk FROM shards ORDER BY record_bytes DESC LIMIT 1)',
      ),
    codes: ['index-missing', 'index-wrong'],
    left: [],
  },
  {
    what: 'bytes of a bucket',
    plant: (pool) => indexSql(pool, 2, 'UPDATE buckets SET live_bytes = live_bytes + 4096 WHERE id = 1'),
    codes: ['bucket-bytes'],
    left: [],
  },
  {
    what: 'a metadata store that is no database',
    plant: (pool) => {
      const file = metaFile(pool);
      for (const suffix of ['-wal', '-shm']) rmSync(file + suffix, { force: true });
      writeFileSync(file, 'nothing of the kind'.repeat(1000));
    },
    codes: ['metadata-unusable'],
    left: [],
  },
  {
    what: 'a metadata store with damaged pages',
    plant: (pool) => {
      const file = metaFile(pool);
      const bytes = readFileSync(file);
      bytes.fill(0xa5, 2 * 4096, bytes.length);
      writeFileSync(file, bytes);
    },
    codes: ['metadata-unusable'],
    left: [],
  },
  {
    what: 'a metadata store that was marked when damage was met in it',
    plant: (pool) => markDamaged(metaFile(pool)),
    codes: ['metadata-unusable'],
    left: [],
  },
  {
    what: 'metadata that is consistent and wrong',
    plant: (pool) => sql(pool, "UPDATE dentry SET sort_key = 'renamed' WHERE sort_key = 'small.txt'"),
    codes: ['metadata-differs'],
    left: [],
  },
  {
    what: 'a segment that is gone',
    plant: (pool) => rmSync(dataSegment(pool, 0)),
    codes: ['snapshot-copies', 'chunk-degraded'],
    left: [],
  },
  {
    what: 'a segment that ends too early',
    plant: (pool) => {
      const fd = openSync(dataSegment(pool, 0), 'r+');
      ftruncateSync(fd, 40_000);
      closeSync(fd);
    },
    codes: ['snapshot-copies', 'chunk-degraded'],
    left: [],
  },
  {
    what: 'a disk that is not there',
    plant: ({ fixture }) => renameSync(fixture.disks[2]!, `${fixture.disks[2]}-away`),
    codes: ['disk-missing', 'chunk-degraded'],
    left: ['disk-missing', 'chunk-degraded'],
  },
  {
    what: 'two disks that are not there',
    plant: ({ fixture, files }) => {
      const kept = fixture.disks.find((disk) => logHolds(disk, files.get('/small.txt')!));
      for (const disk of fixture.disks) if (disk !== kept) renameSync(disk, `${disk}-away`);
    },
    codes: ['disk-missing', 'disk-missing', 'chunk-lost', 'chunk-degraded'],
    left: ['disk-missing', 'disk-missing', 'chunk-lost', 'chunk-degraded'],
  },
];

for (const { what, plant, codes: expected, left } of AT_REST) {
  t.test(`damage at rest is told without a write, and mended: ${what}`, async (t) => {
    const pool = await filled(t);
    const { fixture } = pool;
    await fixture.pool.parts.takeSnapshot();
    await fixture.pool.close();
    await plant(pool);
    const before = tree(fixture.directory);
    const report = await checkOffline(fixture.directory, LOOK);
    t.strictSame(codes(report), expected, JSON.stringify(report.findings));
    t.equal(tree(fixture.directory), before, 'nothing was written');
    const repaired = await checkOffline(fixture.directory, REPAIR);
    t.strictSame(codes(repaired), left, JSON.stringify(repaired.findings));
    t.equal(repaired.clean, left?.length === 0);
    if (left?.length !== 0) return;
    t.strictSame(
      repaired.repaired.map(({ code }) => code),
      expected,
    );
    t.strictSame((await checkOffline(fixture.directory, { content: true, repair: false })).findings, [], 'once more');
    await same(t, fixture, pool.files);
  });
}

/** One of each table; what is found is the business of test/unit/fsck. */
const REBUILT = new Set(['a link count', 'a name without an inode', 'overlapping extents', 'a chunk without a row']);

for (const { what, plant, codes: expected, files } of METADATA.filter((one) => REBUILT.has(one.what))) {
  t.test(`metadata is rebuilt from the disks: ${what}`, async (t) => {
    const pool = await filled(t);
    const { fixture } = pool;
    await plant(pool);
    await fixture.pool.abandon();
    const before = tree(fixture.directory);
    const report = await checkOffline(fixture.directory, LOOK);
    t.strictSame(codes(report), expected, JSON.stringify(report.findings));
    if (files !== undefined) t.strictSame(report.findings[0]?.files, files);
    t.equal(tree(fixture.directory), before, 'nothing was written');
    const repaired = await checkOffline(fixture.directory, REPAIR);
    t.strictSame(repaired.findings, []);
    t.strictSame(
      repaired.repaired.map(({ code }) => code),
      expected,
    );
    await same(t, fixture, pool.files);
  });
}

t.test('after a kill, with staged bytes, an open check writes nothing and finds nothing', async (t) => {
  const pool = await filled(t);
  const { fixture } = pool;
  await write(fixture, '/staged', Buffer.alloc(300_000, 'staged'));
  await write(fixture, '/tiny', Buffer.from('staged too'));
  await fixture.kill();
  await write(fixture, '/later', Buffer.alloc(200_000, 'later'));
  await killed(pool);
  const before = tree(fixture.directory);
  const report = await checkOffline(fixture.directory, { content: true, repair: false });
  t.strictSame(report.findings, []);
  t.equal(report.clean, true);
  t.equal(tree(fixture.directory), before);
  await same(t, fixture, new Map([...pool.files, ['/tiny', Buffer.from('staged too')]]));
});

t.test('a torn journal and an index that is behind are no damage', async (t) => {
  const pool = await filled(t);
  const { fixture } = pool;
  await fixture.kill();
  const [disk] = fixture.pool.parts.disks.opened;
  const last = disk!.commits(0).at(-1)!;
  await fixture.pool.abandon();
  const log = join(fixture.disks[0]!, 'log');
  const name = `journal-${String(last.segment).padStart(10, '0')}.log`;
  const bytes = readFileSync(join(log, name));
  // The start of another commit, as a power cut leaves it.
  bytes.copy(bytes, last.position + last.recordBytes, last.position, last.position + 100);
  writeFileSync(join(log, name), bytes);
  const before = tree(fixture.directory);
  t.strictSame((await checkOffline(fixture.directory, LOOK)).findings, []);
  t.equal(tree(fixture.directory), before);
});

t.test('disks whose places were swapped are no damage, nor are their indexes', async (t) => {
  const pool = await filled(t);
  const { fixture } = pool;
  await fixture.pool.close();
  const [one, other] = [fixture.disks[0]!, fixture.disks[1]!];
  renameSync(one, `${one}.moved`);
  renameSync(other, one);
  renameSync(`${one}.moved`, other);
  t.strictSame((await checkOffline(fixture.directory, LOOK)).findings, []);
});

t.test('a pool that has lost its cache can be checked, and mounted after that', async (t) => {
  const pool = await filled(t);
  const { fixture } = pool;
  await fixture.pool.close();
  const cache = join(fixture.directory, 'cache');
  rmSync(cache, { recursive: true });
  mkdirSync(cache);
  t.strictSame((await checkOffline(fixture.directory, LOOK)).findings, []);
  await same(t, fixture, pool.files);
});

t.test('a pool that was never mounted is clean, and stays as it is', async (t) => {
  const root = t.testdir({ p: {}, a: {}, b: {}, c: {}, cache: {} });
  const disks = ['a', 'b', 'c'].map((name) => join(root, name));
  await Pool.init(join(root, 'p'), { disks, cache: join(root, 'cache'), bucketBytes: 16 * 1024 * 1024 });
  const before = tree(root);
  t.strictSame((await checkOffline(join(root, 'p'), LOOK)).findings, []);
  t.equal(tree(root), before);
  t.strictSame((await checkOffline(join(root, 'p'), REPAIR)).findings, []);
});

t.test('repair does not stop at a second damage, and may be run again', async (t) => {
  const pool = await filled(t);
  const { fixture } = pool;
  flip(await shardOf(fixture, '/photos/2026/large'), 5000);
  const { disk, entry } = await shardOf(fixture, '/photos/medium', 1);
  await disk.remove(entry);
  await sql(pool, 'UPDATE inode SET nlink = 9');
  rmSync(join(fixture.disks[0]!, 'map'));
  await fixture.pool.abandon();
  const stop = new AbortController();
  let steps = 0;
  const onProgress = (): void => {
    steps += 1;
    if (steps === 20) stop.abort();
  };
  const stopped = checkOffline(fixture.directory, REPAIR, { onProgress, signal: stop.signal });
  await t.rejects(stopped, { code: 'ABORTED' }, 'stopped in the middle');
  const repaired = await checkOffline(fixture.directory, REPAIR);
  t.strictSame(repaired.findings, []);
  await same(t, fixture, pool.files);
});

t.test('a pool that is open elsewhere is left alone; one that is none is an error', async (t) => {
  const { fixture } = await filled(t);
  await t.rejects(checkOffline(fixture.directory, LOOK), { code: 'LOCKED' });
  await t.rejects(checkOffline(join(fixture.directory, 'cache'), LOOK), { code: 'NOT_FOUND' });
  t.equal(existsSync(join(fixture.directory, 'cache', 'cairn.toml')), false);
});
