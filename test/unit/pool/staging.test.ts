/** The cache directory: whose it is, and that what the stage log counts on is never given up before the log says so. `SEED=` replays. */
import t from 'tap';
import { FileContent } from '../../../src/cache/file-content.js';
import { END } from '../../../src/cache/range-map.js';
import { Seal } from '../../../src/cache/seal.js';
import { replayContent } from '../../../src/cache/staged-replay.js';
import { SystemRandom } from '../../../src/io/random.js';
import type { PoolConfig } from '../../../src/pool/config.js';
import { silentLog } from '../../../src/pool/pool-log.js';
import { openStaging, type Staging } from '../../../src/pool/staging.js';
import { ManualClock } from '../cache/manual-clock.js';
import { MemoryFileIo, seededRandom } from '../disks/memory-file-io.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`SEED=${seed}`);

function configOf(pool = 'aa'.repeat(16)): PoolConfig {
  return {
    format: 1,
    pool,
    scheme: 'auto',
    bucketBytes: 1 << 20,
    chunkBytes: 1 << 17,
    mode: 'default',
    metaDirectory: '/pool/meta',
    cache: { directory: '/cache', sizeBytes: 100_000 },
    commitDelayMs: 1000,
    disks: [],
  };
}

function open(
  io: MemoryFileIo,
  options: { pool?: string; committedThrough?: number; committedEpoch?: number; epoch?: number } = {},
): Promise<Staging> {
  return openStaging({
    io,
    random: new SystemRandom(),
    clock: new ManualClock(),
    config: configOf(options.pool),
    committedThrough: options.committedThrough ?? 0,
    committedEpoch: options.committedEpoch ?? 0,
    epoch: options.epoch ?? 1,
    log: silentLog,
    segmentBytes: 65_536,
  });
}

t.test('an empty cache is made; it is this pool that it belongs to, and one process that has it', async (t) => {
  const io = new MemoryFileIo();
  const first = await open(io, { committedThrough: 70 });
  t.ok(first.stage.sequence > 70);
  await t.rejects(open(io), { code: 'LOCKED' });
  await first.close();
  await t.rejects(open(io, { pool: 'bb'.repeat(16) }), { code: 'DISK_FOREIGN' });
  await (await open(io)).close();
});

t.test('a failure while it is opened leaves nothing locked', async (t) => {
  const io = new MemoryFileIo();
  await (await open(io)).close();
  const { list } = io;
  io.list = async (path) => {
    if (path.endsWith('/files')) throw new Error('not now');
    return list.call(io, path);
  };
  await t.rejects(open(io), { message: 'not now' });
  io.list = list;
  await (await open(io)).close();
});

t.test('what a commit has in part is evicted only when the stage log says so: power loss at any moment', async (t) => {
  for (let i = 0; i < 60; i++) {
    const io = new MemoryFileIo(seededRandom((seed + i) >>> 0));
    const staging = await open(io);
    const { stage, files, account } = staging;
    const content = new FileContent(7, files, false);
    content.write(0, Buffer.alloc(80_000, 5));
    stage.note({ kind: 'write', ino: 7, offset: 0, length: 80_000, bytes: undefined });
    const through = stage.sequence;
    await files.datasync(7);
    stage.note({ kind: 'synced', ino: 7, through });
    await stage.sync();
    // The first half is committed; the row's content stage stays where it was.
    new Seal(content, 40_000, 40_000, 40_000, undefined).applied();
    account.book(content);
    if (!account.makeRoom(60_000)) throw new Error('half of it can go');
    for (let turns = i % 12; turns > 0; turns--) await new Promise(setImmediate);
    if (i % 3 === 0) await content.busy;
    if (i % 2 === 0) io.kill();
    else io.crash();
    const found = await open(io);
    const outcome = replayContent(found.replay.contents.get(7) ?? [], 40_000);
    t.equal(outcome.sizeBytes, 80_000);
    for (const { from, to } of outcome.inFile) {
      const bytes = Buffer.alloc(to - from);
      found.files.readNow(7, from, bytes);
      if (!bytes.equals(Buffer.alloc(to - from, 5)))
        throw new Error(`SEED=${seed}, ${i}: the log counts on ${from} to ${to}, and the cache file has given it up`);
    }
    const kept = outcome.inFile.reduce((sum, { from, to }) => sum + to - from, 0);
    t.ok(kept === 80_000 || kept === 40_000, 'and what no commit has is always there');
    await found.close();
    await staging.close().catch(() => undefined);
  }
});

t.test('what is wholly committed goes with its file; the stage log need not know', async (t) => {
  const io = new MemoryFileIo();
  const { stage, files, account, close } = await open(io);
  const content = new FileContent(7, files, false);
  content.write(0, Buffer.alloc(80_000, 5));
  new Seal(content, END, 40_000, 80_000, 1).applied();
  account.book(content);
  const before = stage.sequence;
  t.equal(account.makeRoom(60_000), true);
  t.equal(stage.sequence, before);
  t.equal(files.file(7, false), undefined);
  await close();
});
