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
    whenDegraded: 'allow',
    commitDelayMs: 1000,
    scrubDays: 30,
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

async function stageSomething(staging: Staging): Promise<void> {
  staging.stage.note({ kind: 'write', ino: 7, offset: 0, length: 5, bytes: Buffer.from('hello') });
  await staging.stage.sync();
}

/** Epochs as daemons take them, far from each other. */
const EPOCH = [1, 2, 3, 4].map((start) => start * 2 ** 31 + 17);

t.test('a cache counts for the state that it was staged upon: after a commit of its daemon, or none', async (t) => {
  const io = new MemoryFileIo();
  const first = await open(io, { epoch: EPOCH[1]!, committedEpoch: EPOCH[0]! });
  await stageSomething(first);
  await first.close();
  // Nothing was committed; the next daemon committed nothing either, nor the one after.
  for (const epoch of [EPOCH[2]!, EPOCH[3]!]) {
    const staging = await open(io, { epoch, committedEpoch: EPOCH[0]! });
    t.equal(staging.replay.contents.size, 1);
    await staging.close();
  }
  // The last one did, after rounds that failed.
  const after = await open(io, { epoch: EPOCH[3]! + 2 ** 31, committedEpoch: EPOCH[3]! + 5 });
  t.equal(after.replay.contents.size, 1);
  await after.close();
});

t.test(
  'a cache that is put back after the pool went on with another is refused if something is staged in it, and left as it is',
  async (t) => {
    const io = new MemoryFileIo();
    const first = await open(io, { epoch: EPOCH[1]!, committedEpoch: EPOCH[0]! });
    await stageSomething(first);
    await first.close();
    await t.rejects(open(io, { epoch: EPOCH[3]!, committedEpoch: EPOCH[2]! }), {
      code: 'DISK_FOREIGN',
      message: /older than what the pool has committed since/,
      hint: /move this one away/,
    });
    const again = await open(io, { epoch: EPOCH[2]!, committedEpoch: EPOCH[1]! });
    t.equal(again.replay.contents.size, 1, 'what was staged is still there');
    await again.stage.forget();
    await again.close();
    io.crash();
    const back = await open(io, { epoch: EPOCH[3]! + 2 ** 31, committedEpoch: EPOCH[3]! });
    t.same([back.replay.contents.size, back.replay.names.length], [0, 0], 'one in which nothing is staged counts');
    await stageSomething(back);
    await back.close();
    const last = await open(io, { epoch: EPOCH[3]! + 2 ** 32, committedEpoch: EPOCH[3]! });
    t.equal(last.replay.contents.size, 1, 'and what is staged in it then');
    await last.close();
  },
);

t.test('an empty cache counts always, and one without a session file as it is', async (t) => {
  const io = new MemoryFileIo();
  await (await open(io, { epoch: EPOCH[1]!, committedEpoch: EPOCH[0]! })).close();
  const other = await open(io, { epoch: EPOCH[3]!, committedEpoch: EPOCH[2]! });
  await stageSomething(other);
  await other.close();
  await io.remove('/cache/cairn-session.json');
  const taken = await open(io, { epoch: EPOCH[3]! + 2 ** 31, committedEpoch: EPOCH[0]! });
  t.equal(taken.replay.contents.size, 1);
  await taken.close();
});

t.test('no stage sequence is given twice, also not those that power loss took out of the log', async (t) => {
  const io = new MemoryFileIo();
  const first = await open(io, { committedThrough: 1000 });
  for (let i = 0; i < 50; i++) first.stage.note({ kind: 'inode-gone', ino: i });
  const last = first.stage.sequence;
  io.crash();
  const second = await open(io, { committedThrough: 1000 });
  t.equal(second.replay.lastSequence, 0, 'the log never had them');
  t.ok(second.stage.sequence > last);
  await second.close();
});
