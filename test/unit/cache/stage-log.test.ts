/** The stage log over a real log: order, what a sync promises, what a failure leaves, what trimming may give back. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { FLUSH_DELAY_MS, StageLog } from '../../../src/cache/stage-log.js';
import type { StageOp } from '../../../src/cache/stage-op.js';
import { readStageLog, type StagedReplay } from '../../../src/cache/staged-replay.js';
import { openLog } from '../../../src/disks/segment-log.js';
import { CairnError } from '../../../src/errors/cairn-error.js';
import type { FileIo } from '../../../src/io/file-io.js';
import { NodeFileIo } from '../../../src/io/node-file-io.js';
import { MemoryFileIo, seededRandom } from '../disks/memory-file-io.js';
import { ManualClock } from './manual-clock.js';

const BROKEN = new CairnError('IO', 'the device says no');
const OWNER = '0123456789abcdef';

const gone = (ino: number): StageOp => ({ kind: 'inode-gone', ino });
const write = (ino: number, length: number): StageOp => ({
  kind: 'write',
  ino,
  offset: 0,
  length,
  bytes: Buffer.alloc(length, ino),
});

async function open(io: FileIo, options: { directory?: string; segmentBytes?: number; committed?: number } = {}) {
  const { directory = '/stage', segmentBytes = 1 << 20, committed = 0 } = options;
  const log = await openLog(io, { directory, name: 'stage', segmentBytes, style: 'zeroed', owner: OWNER });
  const replay = await readStageLog(log, io.bootId());
  const clock = new ManualClock();
  const stage = new StageLog(log, clock, {
    bootId: io.bootId(),
    lastSequence: Math.max(committed, replay.lastSequence),
    lastIn: replay.lastIn,
  });
  return { log, replay, stage, clock };
}

/** The inodes that `inode-gone` operations name, in order, each with its sequence. */
function goneIn(replay: StagedReplay): [sequence: number, ino: number][] {
  return replay.names.flatMap(({ sequence, op }) => (op.kind === 'inode-gone' ? [[sequence, op.ino]] : []));
}

const upTo = (count: number): [number, number][] => Array.from({ length: count }, (_, i) => [i + 1, i + 1]);

async function fileIos(t: Test): Promise<[string, FileIo, string][]> {
  return [
    ['memory', new MemoryFileIo(seededRandom(3)), '/stage'],
    ['node', new NodeFileIo(), join(t.testdir(), 'stage')],
  ];
}

t.test('what is noted is read in order, with its sequences, over many records and segments', async (t) => {
  for (const [what, io, directory] of await fileIos(t)) {
    const { stage, log } = await open(io, { directory, segmentBytes: 8192 });
    for (let ino = 1; ino <= 1000; ino++) {
      t.equal(stage.note(gone(ino)), ino);
      if (ino % 5 === 0) await stage.flush();
      if (ino % 300 === 0) await stage.sync();
    }
    await stage.close();
    t.ok(log.segments().length > 1, what);
    const again = await open(io, { directory, segmentBytes: 8192 });
    t.strictSame(goneIn(again.replay), upTo(1000), what);
    t.strictSame(again.replay.notes, []);
    t.equal(again.stage.note(gone(7)), 1001, 'the sequence goes on');
    await again.stage.close();
  }
});

t.test('the sequence never falls behind what commits know, also with a new cache', async (t) => {
  const { stage } = await open(new MemoryFileIo(), { committed: 500 });
  t.equal(stage.sequence, 500);
  t.equal(stage.note(gone(1)), 501);
  await stage.close();
});

t.test('what is noted reaches the page cache by itself after the delay', async (t) => {
  const io = new MemoryFileIo();
  const { stage, clock } = await open(io);
  stage.note(gone(1));
  await stage.sync();
  stage.note(gone(2));
  clock.advance(FLUSH_DELAY_MS);
  io.kill();
  t.strictSame(goneIn((await open(io)).replay), upTo(2));
});

t.test('so much at once is written at the end of the synchronous step, never within it', async (t) => {
  const io = new MemoryFileIo();
  const { stage, log } = await open(io, { segmentBytes: 8 << 20 });
  await stage.sync();
  stage.note(gone(1));
  await stage.flush();
  const before = log.segments().at(-1)!.usedBytes;
  for (let ino = 2; ino < 12; ino++) stage.note(write(ino, 60_000));
  t.equal(log.segments().at(-1)!.usedBytes, before, 'nothing within the step');
  await Promise.resolve();
  t.ok(log.segments().at(-1)!.usedBytes > before + 600_000, 'all of it after the step');
  await stage.close();
});

t.test('writes collected by the owner may fill several records; what else it collects never does', async (t) => {
  const io = new MemoryFileIo();
  const { stage, log } = await open(io, { segmentBytes: 4 << 20 });
  stage.note(gone(1));
  await stage.sync();
  let pending = 100;
  stage.onDrain = () => {
    for (; pending > 0; pending--) stage.note(write(pending, 64 * 1024));
  };
  await stage.flush();
  t.equal(stage.failure, undefined, 'six megabytes at once fit segments of four');
  t.ok(log.segments().length >= 2);
  stage.onDrain = undefined;
  await stage.close();
  const { replay } = await open(io, { segmentBytes: 4 << 20 });
  t.equal(replay.contents.size, 100);
});

t.test('a sync makes durable what was noted before it; power loss takes the rest', async (t) => {
  for (let seed = 1; seed <= 40; seed++) {
    const io = new MemoryFileIo(seededRandom(seed));
    const { stage } = await open(io, { segmentBytes: 16_384 });
    let promised = 0;
    let noted = 0;
    const syncs: Promise<void>[] = [];
    for (let i = 0; i < 60; i++) {
      for (let n = 0; n < 5; n++) stage.note(gone(++noted));
      const upTo = noted;
      if (i % 7 === 3)
        syncs.push(
          stage.sync().then(
            () => {
              promised = Math.max(promised, upTo);
            },
            () => undefined, // The machine has stopped.
          ),
        );
      if (i % 5 === 0) await stage.flush();
      if (i % 11 === 0) await new Promise(setImmediate);
    }
    await syncs[seed % syncs.length];
    io.crash();
    const { replay } = await open(io, { segmentBytes: 16_384 });
    const found = goneIn(replay);
    for (let ino = 1; ino <= promised; ino++)
      if (found[ino - 1]?.[1] !== ino || found[ino - 1]?.[0] !== ino)
        throw new Error(`seed ${seed}: ${ino} of ${promised}`);
    if (found.some(([sequence, ino]) => sequence !== ino)) throw new Error(`seed ${seed}: sequences have moved`);
    await Promise.allSettled(syncs);
  }
  t.pass();
});

t.test('syncs that arrive together share flushes', async (t) => {
  const io = new MemoryFileIo();
  const { stage } = await open(io);
  stage.note(gone(1));
  await stage.sync();
  const { datasync } = io.counts;
  const many = Array.from({ length: 100 }, (_, i) => {
    stage.note(gone(i + 2));
    return stage.sync();
  });
  await Promise.all(many);
  t.ok(io.counts.datasync - datasync <= 2, `${io.counts.datasync - datasync} flushes for 100 syncs`);
  t.ok(io.counts.datasync > datasync);
  await stage.close();
});

t.test('an empty sync flushes nothing', async (t) => {
  const io = new MemoryFileIo();
  const { stage } = await open(io);
  const { datasync, write: writes } = io.counts;
  await stage.sync();
  t.strictSame([io.counts.datasync, io.counts.write], [datasync, writes]);
  await stage.close();
});

t.test('a failed write or sync is told to this sync and to every later one, and to the owner once', async (t) => {
  for (const kind of ['write', 'datasync'] as const) {
    const io = new MemoryFileIo();
    const { stage } = await open(io);
    const told: CairnError[] = [];
    stage.onFailure = (failure) => told.push(failure);
    stage.note(gone(1));
    await stage.sync();
    stage.note(gone(2));
    io.fail(kind, /stage/, BROKEN);
    await t.rejects(stage.sync(), { code: 'DISK_FAILED' }, kind);
    stage.note(gone(3));
    await t.rejects(stage.sync(), { code: 'DISK_FAILED' }, 'sticky');
    await t.rejects(stage.sync(), { code: 'DISK_FAILED' }, 'also with nothing new');
    t.equal(stage.flush(), undefined, 'noting goes on without a throw');
    t.equal(told.length, 1);
    t.equal(stage.failure, told[0]);
    await stage.close();
    t.strictSame(goneIn((await open(io)).replay)[0], [1, 1], 'what was promised is there');
  }
});

t.test('a device without room for the next segment is a failure, not a silent loss', async (t) => {
  const io = new MemoryFileIo();
  const { stage } = await open(io, { segmentBytes: 8192 });
  stage.note(gone(1));
  await stage.sync();
  io.fail('create', /stage/, new CairnError('NO_SPACE', 'the device is full'), 1000);
  let failure: unknown;
  for (let ino = 2; ino < 2000 && failure === undefined; ino++) {
    stage.note(gone(ino));
    await stage.sync().catch((error: unknown) => {
      failure = error;
    });
  }
  t.match(failure, { code: 'DISK_FAILED', cause: { code: 'NO_SPACE' } });
  await stage.close().catch(() => undefined);
});

t.test('records that wait for a segment keep their order, and a sync waits for them', async (t) => {
  const io = new MemoryFileIo(seededRandom(9));
  const { stage } = await open(io, { segmentBytes: 65_536 });
  let waited = 0;
  for (let ino = 1; ino <= 60; ino++) {
    stage.note(write(ino, 10_000));
    stage.note(gone(ino));
    if (stage.flush() !== undefined) waited++;
  }
  t.ok(waited > 0, 'the test makes some wait');
  await stage.sync();
  t.equal(stage.waiting, undefined);
  io.crash();
  const { replay } = await open(io, { segmentBytes: 65_536 });
  t.strictSame(
    goneIn(replay).map(([, ino]) => ino),
    Array.from({ length: 60 }, (_, i) => i + 1),
  );
  t.equal(replay.contents.size, 60);
});

t.test('an operation that cannot be encoded leaves no trace', async (t) => {
  const io = new MemoryFileIo();
  const { stage } = await open(io);
  stage.note(gone(1));
  t.throws(() => stage.note({ kind: 'dentry', parent: 1, name: 'a/b', isDirectory: false, ino: 2 }));
  t.equal(stage.sequence, 1);
  stage.note(gone(2));
  await stage.close();
  t.strictSame(goneIn((await open(io)).replay), upTo(2));
});

t.test('trimming gives back whole segments, and only what is committed', async (t) => {
  const io = new MemoryFileIo(seededRandom(5));
  const { stage, log } = await open(io, { segmentBytes: 8192 });
  for (let ino = 1; ino <= 3000; ino++) {
    stage.note(gone(ino));
    if (ino % 5 === 0) await stage.sync();
  }
  const before = log.segments().length;
  t.ok(before > 5);
  await stage.trim(0);
  t.equal(log.segments().length, before, 'nothing is committed');
  // As many commits end at once.
  await Promise.all([stage.trim(1500), stage.trim(1500), stage.trim(1000), stage.trim(1400)]);
  t.equal(stage.failure, undefined);
  t.ok(log.segments().length < before);
  io.crash();
  const again = await open(io, { segmentBytes: 8192 });
  const found = goneIn(again.replay);
  t.strictSame(
    found.filter(([sequence]) => sequence > 1500),
    upTo(3000).slice(1500),
    'nothing beyond is missing',
  );
  t.notOk(
    found.some(([sequence]) => sequence < 500),
    'old segments are gone',
  );
  // The next run knows what lies in the segments that it found.
  await again.stage.trim(2990);
  t.equal(again.log.segments().length, 1);
  await again.stage.close();
});

t.test('after trimming, what is left still knows its boot', async (t) => {
  const io = new MemoryFileIo(seededRandom(6));
  const { stage } = await open(io, { segmentBytes: 8192 });
  for (let ino = 1; ino <= 600; ino++) {
    stage.note({ kind: 'write', ino, offset: 0, length: 10, bytes: undefined });
    if (ino % 20 === 0) await stage.flush();
  }
  await stage.trim(400);
  await stage.close();
  // The same boot: a process was killed.
  const { replay, stage: next } = await open(io, { segmentBytes: 8192 });
  t.equal(replay.lost.size, 0);
  t.ok(replay.contents.has(600));
  await next.close();
});

t.test('a segment that cannot be given back makes the log fail, not the commit', async (t) => {
  const io = new MemoryFileIo();
  const { stage, log } = await open(io, { segmentBytes: 8192 });
  for (let ino = 1; ino <= 1500; ino++) {
    stage.note(gone(ino));
    if (ino % 25 === 0) await stage.sync();
  }
  const { release } = log;
  log.release = async () => {
    throw BROKEN;
  };
  await stage.trim(1000);
  t.match(stage.failure, { code: 'DISK_FAILED' });
  log.release = release;
  await stage.close();
});
