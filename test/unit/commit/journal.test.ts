/** Rounds over disks that fail and a machine that loses power: what was acknowledged is there, also without one disk. `SEED=` replays. */
import t from 'tap';
import type { Disk } from '../../../src/disks/disk.js';
import { CairnError } from '../../../src/errors/cairn-error.js';
import { decodeCommit } from '../../../src/meta/row-codec.js';
import { content } from '../chunks/fixture.js';
import { directoryOf, Machine, type Run } from './simulated-pool.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`SEED=${seed}`);
const BROKEN = new CairnError('IO', 'the disk says no');

/** Segments in use, not those being made. */
const pathOf = (number: number): RegExp => new RegExp(`^${directoryOf(number)}/log/.*\\.log$`);

/** The sequences of the COMMIT records on the disk; one that was written again, in a higher epoch, counts once. */
const commitsOn = (disk: Disk): number[] => [...new Set(disk.commits(0).map(({ sequence }) => sequence))];

t.test('a commit is on every disk, applied, and readable', async (t) => {
  const run = await (await new Machine().create()).start();
  const ino = await run.commit();
  for (const disk of run.disks) t.strictSame(commitsOn(disk), [1], disk.directory);
  t.notOk(
    run.disks.some(({ unsynced }) => unsynced),
    'and synced',
  );
  await run.log.request();
  t.strictSame(
    run.writer.events,
    ['durable 1: 2', 'applied 1: 2'],
    'durable first; the second request had nothing to say',
  );
  t.ok(run.writer.files.get(ino)?.equals((await run.read(ino))!));
  t.equal(run.log.sequence, 1);
  await run.stop();
});

t.test('a round waits as long as its source has something pending, and then takes all of it', async (t) => {
  const run = await (await new Machine().create()).start();
  const ends: (() => void)[] = [];
  for (let i = 0; i < 2; i++) run.writer.waits.push(new Promise((resolve) => ends.push(resolve)));
  const first = run.writer.stage(content(3000, 1));
  const request = run.log.request();
  for (const end of ends) {
    for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
    t.equal(run.writer.rounds, 0);
    end();
  }
  const second = run.writer.stage(content(3000, 2));
  await request;
  t.strictSame(run.writer.events.slice(0, 1), [`durable 1: ${first},${second}`]);
  await run.stop();
});

t.test('one append and one flush per disk for a small commit', async (t) => {
  const machine = await new Machine().create();
  const run = await machine.start();
  await run.commit();
  await run.log.request();
  const { counts } = machine.io;
  const before = { ...counts };
  await run.commit();
  t.equal(counts.writeAndDatasync - before.writeAndDatasync, 3);
  t.equal(counts.datasync - before.datasync, 0);
  t.equal(counts.write - before.write, 0);
  await run.stop();
});

t.test('requests that arrive during a round share the next one, and are answered in order', async (t) => {
  const run = await (await new Machine().create()).start();
  const answers: number[] = [];
  const commit = async (i: number): Promise<number> => {
    const ino = run.writer.stage(content(100, i));
    const sequence = await run.log.request();
    answers.push(ino);
    return sequence;
  };
  const first = commit(0);
  await new Promise(setImmediate);
  const sequences = await Promise.all([first, ...Array.from({ length: 49 }, (_, i) => commit(i + 1))]);
  t.equal(run.writer.rounds, 2);
  t.strictSame(sequences, [1, ...Array.from({ length: 49 }, () => 2)]);
  t.strictSame(
    answers,
    [...answers].sort((a, b) => a - b),
  );
  t.equal(await run.log.request(), 2, 'nothing new: the last one');
  await run.stop();
});

t.test('nothing is acknowledged before every sync has ended', async (t) => {
  const run = await (await new Machine().create()).start();
  const late = run.disk(2);
  const append = late.append.bind(late);
  let release!: () => void;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  late.append = async (...args) => {
    const places = await append(...args);
    await held;
    return places;
  };
  let acknowledged = false;
  const commit = run.commit().then(() => {
    acknowledged = true;
  });
  for (let i = 0; i < 50; i++) await new Promise(setImmediate);
  t.equal(acknowledged, false);
  t.strictSame(run.writer.events, []);
  release();
  await commit;
  t.equal(acknowledged, true);
  await run.stop();
});

t.test('large chunks that the pipeline stored are synced by the round that names them', async (t) => {
  const machine = await new Machine().create();
  const run = await machine.start();
  const bytes = content(200_000, 1);
  const ino = run.writer.stage(bytes, await run.chunks.store({ kind: 'bytes', bytes }, () => undefined));
  t.ok(run.disks.some(({ unsynced }) => unsynced));
  await run.log.request();
  machine.io.crash();
  const again = await machine.start({ without: [3] });
  t.ok(bytes.equals((await again.read(ino))!));
  await again.stop();
});

for (const kind of ['write', 'datasync'] as const) {
  t.test(
    `one disk fails in a ${kind}: its copies go elsewhere, the round succeeds, and so do later ones`,
    async (t) => {
      for (let broken = 1; broken <= 3; broken++) {
        const machine = await new Machine({ data: 3, seed: broken }).create();
        const run = await machine.start();
        await run.commit();
        machine.io.fail(kind, pathOf(broken), BROKEN);
        for (let i = 0; i < 20; i++) run.writer.stage(content(3000 + i, i));
        await run.log.request();
        t.equal(run.disk(broken).state, 'suspect');
        await run.commit();
        await run.settle();
        for (const disk of run.data()) t.strictSame(commitsOn(disk), [1, 2, 3], disk.directory);
        // Every small chunk has its two copies on the disks that are left.
        for (const ino of run.writer.files.keys()) {
          const [extent] = await run.meta.listExtents(ino, 0, 1, 1);
          if (ino > 2)
            t.ok(
              run.data().every((disk) => disk.findAnywhere(extent!.chunk).length === 1),
              `file ${ino}`,
            );
        }
        machine.io.crash();
        const again = await machine.start({ without: [broken] });
        for (const [ino, bytes] of run.writer.files) t.ok(bytes.equals((await again.read(ino))!), `file ${ino}`);
        await again.stop();
      }
    },
  );
}

t.test('a second disk fails while the copies of the first are made good', async (t) => {
  const machine = await new Machine({ data: 5 }).create();
  const run = await machine.start();
  await run.commit();
  machine.io.fail('write', pathOf(1), BROKEN);
  const second = run.disk(2);
  const append = second.append.bind(second);
  let calls = 0;
  second.append = (...args) => {
    calls += 1;
    if (calls === 2) machine.io.fail('write', pathOf(2), BROKEN);
    return append(...args);
  };
  for (let i = 0; i < 60; i++) run.writer.stage(content(2000, 100 + i));
  await run.log.request();
  await run.settle();
  t.equal(run.disk(1).state, 'suspect');
  t.equal(second.state, 'suspect', 'it took its first part, then failed');
  for (const ino of run.writer.files.keys()) {
    if (ino === 2) continue;
    const [extent] = await run.meta.listExtents(ino, 0, 1, 1);
    const copies = run.data().filter((disk) => disk.findAnywhere(extent!.chunk).length > 0).length;
    t.ok(copies >= 2, `file ${ino} has ${copies} copies on disks that work`);
  }
  await run.stop();
});

t.test('no disk takes the commit: an error, nothing is acknowledged, and everything is staged again', async (t) => {
  const machine = await new Machine().create();
  const run = await machine.start();
  await run.commit();
  for (let number = 1; number <= 3; number++) machine.io.fail('write', pathOf(number), BROKEN);
  await t.rejects(run.commit(), { code: 'DISK_FAILED' });
  t.strictSame(run.writer.events, ['durable 1: 2', 'applied 1: 2', 'failed: 3']);
  t.equal(run.writer.staged.length, 1);
  await t.rejects(run.log.request(), { code: 'DISK_FAILED' }, 'and again');
  t.equal(run.log.sequence, 1);
  await run.stop();
});

t.test('too few disks hold the data of the commit: it is not acknowledged, though its record stands', async (t) => {
  const machine = await new Machine().create();
  const run = await machine.start();
  const bytes = content(150_000, 3);
  run.writer.stage(bytes, await run.chunks.store({ kind: 'bytes', bytes }, () => undefined));
  // The shards are written but not synced: on two disks that fails.
  machine.io.fail('datasync', pathOf(1), BROKEN);
  machine.io.fail('datasync', pathOf(2), BROKEN);
  await t.rejects(run.log.request(), { code: 'DISK_FAILED', message: /too few disks/ });
  t.strictSame(commitsOn(run.disk(3)), [1]);
  t.match(run.writer.events, [/^failed/]);
  machine.io.crash();
  const again = await machine.start();
  // What is left of it depends on the crash; either all of it or nothing.
  const found = await again.read(2);
  t.ok(found === undefined || found.equals(bytes));
  await again.stop();
});

t.test('a disk that failed before the round took shards with it', async (t) => {
  const machine = await new Machine().create();
  const run = await machine.start();
  await run.commit();
  const bytes = content(150_000, 3);
  run.writer.stage(bytes, await run.chunks.store({ kind: 'bytes', bytes }, () => undefined));
  for (const number of [1, 2]) {
    machine.io.fail('datasync', pathOf(number), BROKEN);
    await t.rejects(run.disk(number).sync(), { code: 'DISK_FAILED' });
  }
  await t.rejects(run.log.request(), { code: 'DISK_FAILED' });
  await run.stop();
});

t.test('after a failed round the next record of that sequence wins, whichever disk kept the first', async (t) => {
  const machine = await new Machine({ data: 5 }).create();
  const run = await machine.start();
  await run.commit();
  const bytes = content(150_000, 3);
  const stored = await run.chunks.store({ kind: 'bytes', bytes }, () => undefined);
  run.writer.stage(bytes, stored);
  // Its data cannot be read without these two; the record stands on the others.
  const broken = run.chunks.health(stored.chunk).disks.slice(0, 2);
  for (const number of broken) machine.io.fail('datasync', pathOf(number), BROKEN);
  await t.rejects(run.log.request());
  const sound = [1, 2, 3, 4, 5].find((number) => !broken.includes(number))!;
  t.strictSame(commitsOn(run.disk(sound)), [1, 2]);
  run.writer.staged = [];
  const ino = await run.commit();
  t.strictSame(
    run
      .disk(sound)
      .commits(0)
      .map(({ sequence, epoch }) => [sequence, epoch - run.report.epoch]),
    [
      [1, 0],
      [2, 0],
      [2, 1],
    ],
  );
  machine.io.crash();
  const again = await machine.start();
  t.ok(run.writer.files.get(ino)?.equals((await again.read(ino))!));
  t.equal(again.report.sequence, 2);
  await again.stop();
});

t.test(
  'the metadata store refuses: the promise holds, and the commit is offered again until it is taken',
  async (t) => {
    const run = await (await new Machine().create()).start();
    const refusals: unknown[] = [];
    run.log.onRefused = (error) => refusals.push(error);
    const apply = run.meta.apply.bind(run.meta);
    run.meta.apply = async () => {
      throw new CairnError('NO_SPACE', 'the metadata device is full');
    };
    await run.commit();
    t.strictSame(run.writer.events, ['durable 1: 2']);
    await t.rejects(run.commit(), { code: 'NO_SPACE' }, 'nothing new is committed before');
    t.equal(run.writer.rounds, 1);
    t.ok(refusals.length > 0);
    t.equal(run.clock.waiting, 1);
    run.meta.apply = apply;
    run.clock.advance(60_000);
    await run.log.request();
    await run.log.request();
    t.strictSame(run.writer.events, ['durable 1: 2', 'applied 1: 2', 'durable 2: 3', 'applied 2: 3']);
    t.equal(run.clock.waiting, 0);
    await run.stop();
  },
);

t.test('a source that cannot say what is to be committed fails its round and no other', async (t) => {
  const run = await (await new Machine().create()).start();
  run.writer.refusal = new CairnError('NO_SPACE', 'no room for the small chunks');
  await t.rejects(run.commit(), { code: 'NO_SPACE' });
  await run.commit();
  t.strictSame(run.writer.events, ['durable 1: 2,3']);
  await run.stop();
});

t.test(
  'where there are enough journal disks, commits go to them alone; when too few are left, to the data disks again',
  async (t) => {
    const machine = await new Machine({ journal: 2 }).create();
    const run = await machine.start();
    await run.commit();
    t.strictSame(
      [101, 102].map((number) => commitsOn(run.disk(number))),
      [[1], [1]],
    );
    t.strictSame(run.data().map(commitsOn), [[], [], []]);
    machine.io.fail('write', pathOf(101), BROKEN);
    await run.commit();
    t.strictSame(commitsOn(run.disk(102)), [1, 2]);
    t.strictSame(run.data().map(commitsOn), [[2], [2], [2]], 'in the same round');
    machine.io.crash();
    const again = await machine.start({ without: [101] });
    for (const [ino, bytes] of run.writer.files) t.ok(bytes.equals((await again.read(ino))!));
    await again.stop();
  },
);

t.test('commits go to no more than five of many disks', async (t) => {
  const run = await (await new Machine({ data: 7 }).create()).start();
  await run.commit();
  t.strictSame(
    run.data().map((disk) => commitsOn(disk).length),
    [1, 1, 1, 1, 1, 0, 0],
  );
  await run.stop();
});

/** Commits at random until the power fails; then everything acknowledged must be there, with any one disk missing. */
async function life(run: Run, random: () => number, acknowledged: Map<number, Buffer>): Promise<void> {
  const waiting: Promise<void>[] = [];
  const rounds = Math.floor(random() * 12);
  for (let i = 0; i < rounds; i++) {
    const bytes = content(random() < 0.2 ? 70_000 + Math.floor(random() * 50_000) : 1 + Math.floor(random() * 5000), i);
    bytes.writeUInt8(Math.floor(random() * 256), 0);
    const stored =
      bytes.length > 64 * 1024 ? await run.chunks.store({ kind: 'bytes', bytes }, () => undefined) : undefined;
    const ino = run.writer.stage(bytes, stored);
    waiting.push(
      run.log.request().then(
        () => {
          acknowledged.set(ino, bytes);
        },
        () => undefined, // The machine has stopped.
      ),
    );
    if (random() < 0.5) await Promise.race(waiting);
    for (let turns = Math.floor(random() * 8); turns > 0; turns--) await new Promise(setImmediate);
  }
}

t.test(
  'power loss at any moment: what was acknowledged is there, also without any one disk, and nothing else is half there',
  async (t) => {
    for (let i = 0; i < 8; i++) {
      const own = (seed + i) >>> 0;
      const machine = await new Machine({ seed: own }).create();
      let state = own || 1;
      const random = (): number => {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
        return state / 2 ** 32;
      };
      const acknowledged = new Map<number, Buffer>();
      for (let cycle = 0; cycle < 3; cycle++) {
        const run = await machine.start();
        await life(run, random, acknowledged);
        if (random() < 0.3 && run.log.sequence > 0) await run.snapshotter().take();
        const taken = new Map(acknowledged);
        machine.io.crash();
        for (const without of [[], [1], [2], [3]]) {
          const found = await machine.start({ without });
          for (const [ino, bytes] of taken)
            if (!bytes.equals((await found.read(ino)) ?? Buffer.alloc(0)))
              throw new Error(`SEED=${seed} (${own}), cycle ${cycle}, without ${without}: file ${ino} is lost`);
          for (const ino of run.writer.files.keys()) await found.read(ino);
          await found.stop();
        }
      }
    }
    t.pass();
  },
);

t.test('shards that a failing disk takes with it are written again where another group can take them', async (t) => {
  const machine = await new Machine({ data: 6, scheme: { kind: 'erasure', k: 2, m: 1 } }).create();
  const run = await machine.start();
  await run.commit();
  const bytes = content(150_000, 3);
  const stored = await run.chunks.store({ kind: 'bytes', bytes }, () => undefined);
  const ino = run.writer.stage(bytes, stored);
  const [lost] = run.chunks.health(stored.chunk).disks;
  machine.io.fail('datasync', pathOf(lost!), BROKEN);
  const degraded: string[] = [];
  run.log.onDegraded = ({ chunks }) => degraded.push(...chunks);
  await run.log.request();
  t.equal(run.disk(lost!).state, 'suspect');
  t.equal(run.chunks.health(stored.chunk).health, 'healthy');
  t.strictSame(degraded, [], 'nothing is left to be made whole');
  t.notOk(
    run.data().some(({ unsynced }) => unsynced),
    'and that was synced before it was acknowledged',
  );
  await run.settle();
  machine.io.crash();
  const other = run.chunks.health(stored.chunk).disks.find((number) => number !== lost);
  const again = await machine.start({ without: [lost!, other!] });
  t.ok(bytes.equals((await again.read(ino))!), 'any further disk may go');
  await again.stop();
});

t.test(
  'a disk that fails within the round is no proof against the commit when another one is lost later',
  async (t) => {
    let damaged = 0;
    for (let seed = 1; seed <= 8; seed++) {
      const machine = await new Machine({ seed }).create();
      const run = await machine.start();
      await run.commit();
      const bytes = content(150_000, 3);
      const ino = run.writer.stage(bytes, await run.chunks.store({ kind: 'bytes', bytes }, () => undefined));
      machine.io.fail('datasync', pathOf(1), BROKEN);
      t.equal(await run.log.request(), 2);
      t.equal(run.disk(1).state, 'suspect');
      machine.io.crash();
      // Disk 1 is back, with or without the shard whose sync failed; disk 3 knows the record.
      const again = await machine.start({ without: [2] });
      t.equal(again.report.dropped, 0, `seed ${seed}`);
      t.equal(again.report.sequence, 2, `seed ${seed}`);
      if (again.report.damage.length > 0) damaged += 1;
      else t.ok(bytes.equals((await again.read(ino))!), `seed ${seed}`);
      await again.stop();
      const whole = await machine.start();
      t.ok(bytes.equals((await whole.read(ino))!), `seed ${seed}: with disk 2 again`);
      await whole.stop();
    }
    t.ok(damaged > 0, 'some cuts take the shard');
  },
);

t.test('where no other disk is left, what is degraded is told', async (t) => {
  const machine = await new Machine().create();
  const run = await machine.start();
  await run.commit();
  const bytes = content(150_000, 3);
  const stored = await run.chunks.store({ kind: 'bytes', bytes }, () => undefined);
  run.writer.stage(bytes, stored);
  machine.io.fail('datasync', pathOf(2), BROKEN);
  const degraded: string[] = [];
  run.log.onDegraded = ({ chunks }) => degraded.push(...chunks);
  await run.log.request();
  t.strictSame(degraded, [stored.chunk]);
  await run.stop();
});

t.test('no disk has room for the commit: the error says so', async (t) => {
  const machine = await new Machine().create();
  const run = await machine.start();
  await run.commit();
  const full = new CairnError('NO_SPACE', 'full');
  for (const disk of run.disks) disk.append = () => Promise.reject(full);
  await t.rejects(run.commit(), { code: 'NO_SPACE' });
  await run.stop();
});

t.test(
  'a record names as away the disk that a chunk was stored without, and no other that merely has none of it',
  async (t) => {
    const machine = await new Machine({ data: 5 }).create();
    const run = await machine.start();
    await run.commit();
    machine.io.fail('write', pathOf(2), BROKEN);
    for (let seed = 0; seed < 8; seed++) {
      const bytes = content(150_000, seed);
      run.writer.stage(bytes, await run.chunks.store({ kind: 'bytes', bytes }, () => undefined));
    }
    run.writer.stage(content(500, 99));
    await run.log.request();
    t.equal(run.disk(2).state, 'suspect');
    const away = await Promise.all(
      run.data().map(async (disk) => decodeCommit(await disk.readCommit(disk.commits(0).at(-1)!)).away),
    );
    t.strictSame(away, [[2], [2], [2], [2]]);
    await run.stop();
  },
);

t.test('a chunk that was stored short because a disk was full counts as stored without it', async (t) => {
  const machine = await new Machine().create();
  const run = await machine.start();
  await run.commit();
  const full = run.disk(3);
  full.reserve = () => Promise.reject(new CairnError('NO_SPACE', 'full'));
  const bytes = content(150_000, 3);
  const degraded: string[] = [];
  run.log.onDegraded = ({ chunks }) => degraded.push(...chunks);
  const stored = await run.chunks.store({ kind: 'bytes', bytes }, () => undefined);
  run.writer.stage(bytes, stored);
  await run.log.request();
  t.equal(full.state, 'online');
  t.strictSame(decodeCommit(await full.readCommit(full.commits(0).at(-1)!)).away, [3]);
  t.strictSame(degraded, [stored.chunk]);
  await run.stop();
});
