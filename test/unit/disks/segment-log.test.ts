import t from 'tap';
import type { AppendLog } from '../../../src/disks/append-log.js';
import type { LogOptions } from '../../../src/disks/log.js';
import type { LogContext } from '../../../src/disks/log-context.js';
import type { RecordLocation } from '../../../src/disks/record.js';
import { openLog } from '../../../src/disks/segment-log.js';
import { CairnError } from '../../../src/errors/cairn-error.js';
import { MemoryFileIo, seededRandom } from './memory-file-io.js';
import { OWNER, stageRecord } from './samples.js';

const OPTIONS: LogOptions = { directory: '/log', name: 'stage', segmentBytes: 8192, style: 'zeroed', owner: OWNER };
const BROKEN = new CairnError('IO', 'the disk says no');

interface Opened {
  readonly log: AppendLog;
  readonly report: string[];
}

async function open(
  io: MemoryFileIo,
  options: Partial<LogOptions> = {},
  context: Partial<LogContext> = {},
): Promise<Opened> {
  const report: string[] = [];
  const log = await openLog(io, { ...OPTIONS, ...options }, { report: (line) => report.push(line), ...context });
  return { log, report };
}

/** Sequences of all records, each with its payload verified. */
async function sequences(log: AppendLog): Promise<number[]> {
  const found: number[] = [];
  for await (const record of log.scan()) {
    if (record.header.kind !== 'stage') throw new Error(`a ${record.kind}`);
    const expected = stageRecord(record.header.sequence, (await record.payload()).length);
    if (expected.kind !== 'stage' || !(await record.payload()).equals(expected.payload[0] as Buffer))
      throw new Error('wrong payload');
    found.push(record.header.sequence);
  }
  return found;
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);
const fileOf = (place: RecordLocation | undefined): string =>
  `/log/stage-${String(place?.segment).padStart(10, '0')}.log`;

for (const style of ['zeroed', 'allocated'] as const) {
  t.test(`${style}: appended records are scanned in the order of the calls, also after reopening`, async (t) => {
    const io = new MemoryFileIo(seededRandom(1));
    const { log } = await open(io, { style });
    const all = upTo(60);
    await Promise.all(
      all.map((sequence) => log.append([stageRecord(sequence, 10 * sequence)], { sync: sequence % 7 === 0 })),
    );
    t.strictSame(await sequences(log), all);
    t.ok(log.segments().length > 2, 'several segments');
    await log.close();
    const again = await open(io, { style });
    t.strictSame(await sequences(again.log), all);
    t.strictSame(again.report, []);
    await again.log.append([stageRecord(61)], { sync: true });
    t.strictSame(await sequences(again.log), upTo(61));
    await again.log.close();
  });

  t.test(`${style}: cut anywhere, the last segment keeps what is whole and takes appends`, async (t) => {
    const io = new MemoryFileIo(seededRandom(2));
    const { log } = await open(io, { style });
    const places = [];
    for (const sequence of upTo(6)) places.push(...(await log.append([stageRecord(sequence, 300)], { sync: true })));
    await log.close();
    const path = fileOf(places[0]);
    const end = (places.at(-1)?.position ?? 0) + 512;
    for (let length = end; length >= 0; length -= length > end - 600 || length < 200 ? 1 : 37) {
      const copy = io.clone();
      copy.edit(path, (bytes) => {
        const cut = Buffer.from(bytes.subarray(0, length));
        return style === 'allocated' ? cut : Buffer.concat([cut, Buffer.alloc(bytes.length - length)]);
      });
      const again = await open(copy, { style });
      // A record whose padding alone is missing is whole: 112 + 4 + 300 bytes.
      const whole = places.filter(({ position }) => position + 416 <= length).length;
      const found = await sequences(again.log);
      if (found.length !== whole) t.fail(`cut to ${length}: found ${found}, not ${whole}`);
      await again.log.append([stageRecord(7, 250)], { sync: true });
      await again.log.close();
      const third = await open(copy, { style });
      t.strictSame(await sequences(third.log), [...upTo(whole), 7], `cut to ${length}`);
      await third.log.close();
    }
  });

  t.test(`${style}: a damaged record in the middle is skipped and reported`, async (t) => {
    const io = new MemoryFileIo(seededRandom(3));
    const { log } = await open(io, { style });
    const places = [];
    for (const sequence of upTo(6)) places.push(...(await log.append([stageRecord(sequence, 300)], { sync: true })));
    await log.close();
    const third = places[2]?.position ?? 0;
    for (const offset of [0, 5, 17, 30, 111, 113, 200, 415]) {
      const copy = io.clone();
      copy.edit(fileOf(places[0]), (bytes) => {
        bytes[third + offset] = (bytes[third + offset] ?? 0) ^ 0x10;
        return bytes;
      });
      const again = await open(copy, { style });
      t.strictSame(await sequences(again.log), [1, 2, 4, 5, 6], `byte ${offset}`);
      t.match(again.report, [/skipped damaged bytes/]);
      await again.log.close();
      const once = await open(copy, { style });
      t.strictSame(await sequences(once.log), [1, 2, 4, 5, 6]);
      await once.log.close();
    }
  });
}

t.test('a synced append is one job', async (t) => {
  const io = new MemoryFileIo();
  const { log } = await open(io, { segmentBytes: 1024 * 1024 });
  await log.append([stageRecord(1)], { sync: true });
  const before = { ...io.counts };
  await log.append([stageRecord(2), stageRecord(3)], { sync: true });
  t.equal(io.counts.writeAndDatasync - before.writeAndDatasync, 1);
  t.equal(io.counts.datasync + io.counts.write, before.datasync + before.write);
  await log.sync();
  t.equal(io.counts.datasync, before.datasync, 'nothing to sync, no flush');
  await log.append([stageRecord(4)], { sync: false });
  t.ok(log.unsynced);
  await Promise.all([log.sync(), log.sync(), log.sync()]);
  t.ok(io.counts.datasync - before.datasync <= 2, 'callers share a flush');
  t.notOk(log.unsynced);
  await log.close();
});

t.test('pages of a written segment are asked for before the log reaches them, and once', async (t) => {
  const MIB = 1024 * 1024;
  const io = new MemoryFileIo();
  const segmentBytes = 3 * MIB;
  const places: RecordLocation[] = [];
  const fill = async (log: AppendLog, segments: number): Promise<void> => {
    while (new Set(places.map(({ segment }) => segment)).size < segments) {
      const [place] = await log.append([stageRecord(places.length + 1, 200_000)], { sync: false });
      places.push(place!);
    }
  };
  const { log } = await open(io, { segmentBytes });
  await fill(log, 3);
  await log.close();
  for (const segment of new Set(places.map((place) => place.segment))) {
    const file = fileOf(places.find((place) => place.segment === segment));
    const asked = io.ahead.filter(({ path }) => path === file);
    let through = 0;
    for (const { from, to } of asked) {
      t.ok(to > from && to - from <= MIB && from >= through && to <= segmentBytes);
      t.ok(through === 0 || from === through, 'nothing is left out between');
      through = to;
    }
    const used = places.findLast((place) => place.segment === segment)?.position ?? 0;
    t.ok(through >= Math.min(used + MIB / 2, segmentBytes), 'and it was in front of the log');
    t.ok(asked.length <= 2 + segmentBytes / (MIB / 2), 'not with every record');
  }

  io.aheadFailure = BROKEN;
  const before = io.ahead.length;
  const again = await open(io, { segmentBytes });
  await fill(again.log, 4);
  t.ok(io.ahead.length > before, 'a log that is opened again goes on asking');
  t.same((await sequences(again.log)).length, places.length, 'and one that cannot be answered goes on all the same');
  await again.log.close();

  const others = new MemoryFileIo();
  const { log: bulk } = await open(others, { segmentBytes, style: 'allocated' });
  await bulk.append([stageRecord(1, 30_000)], { sync: true });
  await bulk.close();
  t.same(others.ahead, [], 'what has never been written need not be read');
});

t.test('what was acknowledged as synced survives power loss, whatever else was under way', async (t) => {
  for (let seed = 1; seed <= 150; seed++) {
    const random = seededRandom(seed * 7919);
    const io = new MemoryFileIo(random);
    const style = seed % 2 === 0 ? 'zeroed' : 'allocated';
    let known: number[] = [];
    const released = new Set<number>();
    let next = 1;
    for (let life = 0; life < 3; life++) {
      const { log } = await open(io, { style });
      const found = await sequences(log);
      const missing = known.filter((sequence) => !found.includes(sequence) && !released.has(sequence));
      if (missing.length > 0) t.fail(`seed ${seed}: lost ${missing}`);
      const sorted = found.every((sequence, i) => i === 0 || sequence > (found[i - 1] ?? 0));
      if (!sorted) t.fail(`seed ${seed}: out of order ${found}`);
      known = found; // Seen once by an open log, it must stay.
      const writes: Promise<void>[] = [];
      for (let i = 0; i < 25; i++) {
        const sequence = next++;
        const sync = random() < 0.4;
        const one = log.append([stageRecord(sequence, Math.floor(random() * 900))], { sync }).then(
          () => {
            if (sync) known.push(sequence);
          },
          () => {},
        );
        writes.push(one);
        if (random() < 0.3) await one;
        if (random() < 0.05 && log.segments().length > 1) {
          const oldest = log.segments()[0]?.segment ?? 0;
          for await (const record of log.scan()) {
            if (record.segment === oldest && record.header.kind === 'stage') released.add(record.header.sequence);
          }
          await log.release(oldest);
        }
      }
      io.crash();
      await Promise.all(writes);
      await log.close().catch(() => {});
    }
  }
  t.pass('150 seeds');
});

t.test('a recycled segment does not show what it held before', async (t) => {
  const io = new MemoryFileIo(seededRandom(4));
  const { log } = await open(io);
  for (const sequence of upTo(60)) await log.append([stageRecord(sequence, 500)], { sync: true });
  const kept = log.segments().at(-1)?.segment;
  for (const { segment } of log.segments().slice(0, -1)) await log.release(segment);
  t.ok(io.paths().some((path) => path.endsWith('.spare')));
  const before = await sequences(log);
  await log.roll();
  await log.append([stageRecord(100)], { sync: true });
  await log.roll();
  await log.append([stageRecord(101)], { sync: true });
  t.not(log.segments().at(-1)?.segment, kept);
  await log.close();
  const again = await open(io);
  t.strictSame(await sequences(again.log), [...before, 100, 101]);
  t.strictSame(again.report, [], 'old content is no torn tail');
  await again.log.close();
});

t.test('a file whose recycling was cut short is no segment', async (t) => {
  const io = new MemoryFileIo(seededRandom(5));
  const { log } = await open(io);
  for (const sequence of upTo(40)) await log.append([stageRecord(sequence, 500)], { sync: true });
  await log.close();
  const paths = io.paths().filter((path) => path.endsWith('.log'));
  // The newest file's content under the oldest one's name: its header had been written anew, the rename was lost.
  let content = Buffer.alloc(0);
  io.edit(paths.at(-1) ?? '', (bytes) => {
    content = Buffer.from(bytes);
    return bytes;
  });
  io.edit(paths[0] ?? '', () => content);
  for (const path of paths.slice(1)) io.delete(path);
  const again = await open(io);
  t.strictSame(await sequences(again.log), []);
  await again.log.append([stageRecord(1)], { sync: true });
  t.strictSame(await sequences(again.log), [1]);
  await again.log.close();
});

t.test('a half-made segment is ignored', async (t) => {
  const io = new MemoryFileIo(seededRandom(6));
  const { log } = await open(io);
  await log.append([stageRecord(1)], { sync: true });
  await log.close();
  const half = await io.open('/log/stage-0000000009.new', { create: true });
  await half.write([Buffer.alloc(100)], 0);
  await half.close();
  const again = await open(io);
  t.strictSame(await sequences(again.log), [1]);
  t.notOk(io.paths().some((path) => path.endsWith('.new')));
  await again.log.close();
});

t.test('a copy of the log inside a payload does not pass when the search runs through it', async (t) => {
  const io = new MemoryFileIo(seededRandom(7));
  const { log } = await open(io, { segmentBytes: 65536 });
  for (const sequence of upTo(4)) await log.append([stageRecord(sequence, 100)], { sync: true });
  const path = fileOf((await log.append([stageRecord(5, 100)], { sync: true }))[0]);
  const image = (await io.readFile(path)).subarray(0, 4096);
  const [place] = await log.append([{ kind: 'stage', sequence: 6, payload: [image] }], { sync: true });
  await log.append([stageRecord(7)], { sync: true });
  await log.close();
  io.edit(path, (bytes) => {
    bytes[(place?.position ?? 0) + 20] = 0xff;
    return bytes;
  });
  const again = await open(io, { segmentBytes: 65536 });
  t.strictSame(await sequences(again.log), [1, 2, 3, 4, 5, 7]);
  await again.log.close();
});

t.test('after a failed write or sync nothing is taken until it is reopened', async (t) => {
  for (const kind of ['write', 'datasync'] as const) {
    const io = new MemoryFileIo(seededRandom(8));
    let told = 0;
    const { log } = await open(io, {}, { onFailure: () => told++ });
    await log.append([stageRecord(1)], { sync: true });
    io.fail(kind, /\.log$/, BROKEN);
    const together = [log.append([stageRecord(2)], { sync: true }), log.append([stageRecord(3)], { sync: true })];
    const [first, second] = await Promise.allSettled(together);
    // Where it is the second write that fails, the first record is whole and durable all the same.
    if (first?.status === 'rejected') t.match(first.reason, { code: 'DISK_FAILED' });
    t.match(second, { status: 'rejected', reason: { code: 'DISK_FAILED' } });
    await t.rejects(log.append([stageRecord(4)], { sync: false }), { code: 'DISK_FAILED', cause: BROKEN });
    t.throws(() => log.appendNow([stageRecord(4)]), { code: 'DISK_FAILED' });
    await t.rejects(log.sync(), { code: 'DISK_FAILED' });
    t.equal(told, 1);
    await log.close();
    const again = await open(io);
    t.equal((await sequences(again.log))[0], 1);
    await again.log.append([stageRecord(9)], { sync: true });
    await again.log.close();
  }
});

t.test('no room for another segment is no failure', async (t) => {
  const io = new MemoryFileIo(seededRandom(9));
  let room = 2;
  const { log } = await open(io, { style: 'allocated' }, { mayGrow: () => room-- > 0 });
  await t.rejects(
    (async () => {
      for (const sequence of upTo(100)) await log.append([stageRecord(sequence, 1100)], { sync: false });
    })(),
    { code: 'NO_SPACE' },
  );
  const kept = await sequences(log);
  t.ok(kept.length >= 12);
  await log.append([stageRecord(500, 1)], { sync: true });
  t.strictSame(await sequences(log), [...kept, 500], 'what still fits is taken');
  room = 1;
  await log.append([stageRecord(501, 5000)], { sync: true });
  await log.close();

  io.fail('create', /\.new$/, new CairnError('NO_SPACE', 'the file system is full'), 99);
  const again = await open(io, { style: 'allocated' });
  await t.rejects(
    Promise.all(upTo(4).map((sequence) => again.log.append([stageRecord(sequence, 7000)], { sync: true }))),
    { code: 'NO_SPACE' },
  );
  io.heal();
  await again.log.append([stageRecord(1, 7000)], { sync: true });
  await again.log.close();
});

t.test('appendNow writes before it returns', async (t) => {
  const io = new MemoryFileIo(seededRandom(10));
  const { log } = await open(io);
  t.throws(() => log.appendNow([stageRecord(1)]), { code: 'NO_SPACE' }, 'the first segment has to be made first');
  await log.append([stageRecord(1)], { sync: true });
  log.appendNow([stageRecord(2), stageRecord(3)]);
  io.kill();
  await log.close().catch(() => {});
  const again = await open(io);
  t.strictSame(await sequences(again.log), [1, 2, 3]);
  await again.log.close();
});

t.test('a record larger than a segment is refused, a batch larger than one is split', async (t) => {
  const io = new MemoryFileIo(seededRandom(11));
  const { log } = await open(io);
  await t.rejects(log.append([stageRecord(1, 8192)], { sync: true }), { code: 'INVALID' });
  await log.append(
    upTo(50).map((sequence) => stageRecord(sequence, 700)),
    { sync: true },
  );
  t.notOk(log.unsynced);
  t.strictSame(await sequences(log), upTo(50));
  await log.close();
  await t.rejects(log.append([stageRecord(1)], { sync: false }), { code: 'CLOSED' });
});

t.test('sync waits for room given out, and no later record is durable before it', async (t) => {
  const io = new MemoryFileIo(seededRandom(12));
  const { log } = await open(io, { style: 'allocated' });
  const room = await log.reserve(100);
  let synced = false;
  const sync = log.append([stageRecord(2)], { sync: true }).then(() => {
    synced = true;
  });
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  t.notOk(synced);
  room.settle(undefined);
  await sync;
  const last = await log.reserve(100);
  last.settle(BROKEN);
  await t.rejects(log.sync(), { code: 'DISK_FAILED' });
  await log.close();
});

t.test('a segment with unreadable sectors is left alone', async (t) => {
  const io = new MemoryFileIo(seededRandom(13));
  const { log } = await open(io);
  for (const sequence of upTo(2)) await log.append([stageRecord(sequence, 300)], { sync: true });
  const path = fileOf((await log.append([stageRecord(3, 300)], { sync: true }))[0]);
  await log.close();
  const before = await io.readFile(path);
  io.fail('read', /\.log$/, BROKEN, 3);
  const again = await open(io);
  t.match(again.report.join(), /could not be read/);
  await again.log.append([stageRecord(4)], { sync: true });
  t.ok(before.equals(await io.readFile(path)), 'not a byte was changed');
  await again.log.close();
  const third = await open(io);
  t.strictSame(await sequences(third.log), [1, 2, 3, 4]);
  await third.log.close();
});

for (const code of ['IO', 'NO_SPACE'] as const) {
  t.test(
    `a directory that cannot be synced (${code}) while a segment is made: the log takes no more, and reopens whole`,
    async (t) => {
      for (const style of ['zeroed', 'allocated'] as const) {
        const io = new MemoryFileIo(seededRandom(5));
        const failures: unknown[] = [];
        const { log } = await open(io, { style }, { onFailure: (cause) => failures.push(cause) });
        await log.append([stageRecord(1)], { sync: true });
        // A spare, so that the zeroed style recycles.
        await log.roll();
        await log.append([stageRecord(2)], { sync: true });
        await log.release(log.segments()[0]!.segment);
        io.fail('syncDirectory', /^.log$/, new CairnError(code, 'the disk says no'), 99);
        let acknowledged = 2;
        await t.rejects(
          (async () => {
            for (let sequence = 3; sequence < 99; sequence++) {
              await log.append([stageRecord(sequence, 1000)], { sync: true });
              acknowledged = sequence;
            }
          })(),
          { code: 'DISK_FAILED' },
        );
        t.equal(failures.length, 1, 'the owner is told once');
        const count = io.paths().filter((path) => /[.](log|spare|new)$/.test(path)).length;
        t.equal(log.fileCount, count, 'what is there is counted');
        io.heal();
        await log.close();
        io.crash();
        const again = await open(io, { style });
        const found = await sequences(again.log);
        t.ok(found.includes(acknowledged), `${style}: ${acknowledged} was acknowledged`);
        await again.log.append([stageRecord(100)], { sync: true });
        t.equal((await sequences(again.log)).at(-1), 100);
        await again.log.close();
      }
    },
  );
}

for (const kind of ['rename', 'syncDirectory'] as const) {
  t.test(
    `a segment that cannot be given back (${kind}) may come back: nothing is written that counts on its being gone`,
    async (t) => {
      const io = new MemoryFileIo(seededRandom(6));
      const { log } = await open(io);
      await log.append([stageRecord(1)], { sync: true });
      await log.roll();
      await log.append([stageRecord(2)], { sync: true });
      io.fail(kind, /^.log/, BROKEN);
      await t.rejects(log.release(log.segments()[0]!.segment), { code: 'DISK_FAILED' });
      await t.rejects(log.append([stageRecord(3)], { sync: true }), { code: 'DISK_FAILED' });
      await t.rejects(log.sync(), { code: 'DISK_FAILED' });
      await log.close();
      const again = await open(io);
      t.ok((await sequences(again.log)).includes(2));
      await again.log.close();
    },
  );
}

t.test('a full device while a segment is made is no failure: the log goes on when there is room', async (t) => {
  for (const style of ['zeroed', 'allocated'] as const) {
    const io = new MemoryFileIo(seededRandom(7));
    const { log } = await open(io, { style });
    await log.append([stageRecord(1)], { sync: true });
    io.fail('write', /[.]new$/, new CairnError('NO_SPACE', 'full'), 9);
    await t.rejects(log.append([stageRecord(2, 7900)], { sync: true }), { code: 'NO_SPACE' });
    t.equal(log.fileCount, 1, 'what was half made is gone');
    io.heal();
    await log.append([stageRecord(3, 7900)], { sync: true });
    t.strictSame(await sequences(log), [1, 3]);
    await log.close();
  }
});

t.test(
  'a full device in the middle of a segment leaves half a record: the log takes no more until it is checked',
  async (t) => {
    const io = new MemoryFileIo(seededRandom(8));
    const { log } = await open(io);
    await log.append([stageRecord(1)], { sync: true });
    io.fail('write', /[.]log$/, new CairnError('NO_SPACE', 'full'));
    await t.rejects(log.append([stageRecord(2)], { sync: true }), { code: 'DISK_FAILED', message: /full/ });
    await t.rejects(log.append([stageRecord(3)], { sync: true }), { code: 'DISK_FAILED' });
    t.throws(() => log.appendNow([stageRecord(4)]), { code: 'DISK_FAILED' });
    await log.close();
    const again = await open(io);
    t.strictSame(await sequences(again.log), [1]);
    await again.log.append([stageRecord(5)], { sync: true });
    t.strictSame(await sequences(again.log), [1, 5]);
    await again.log.close();
  },
);
