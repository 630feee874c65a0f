/** Slow and silent disks: reads are answered from the others, and nobody waits for ever. Time is moved by hand. */
import t, { type Test } from 'tap';
import type { SchemeChoice } from '../../../diskmap/index.js';
import { ManualClock } from '../cache/manual-clock.js';
import type { FakeDisk } from './fake-disk.js';
import { content, fromBytes, makeFixture, nothing, WAYS } from './fixture.js';

const KIB = 1024;

/** Reads of a disk take as long as the clock is moved, while it is slow. */
function slowly(disk: FakeDisk) {
  const read = disk.readShard.bind(disk);
  const state = { isSlow: false, asked: 0, waiting: [] as (() => void)[] };
  disk.readShard = async (entry, from, to, into) => {
    state.asked += 1;
    if (state.isSlow) await new Promise<void>((resolve) => state.waiting.push(resolve));
    return read(entry, from, to, into);
  };
  return state;
}

async function setup(t: Test, disks: number, scheme: SchemeChoice, chunkBytes = 300 * KIB) {
  const clock = new ManualClock();
  const slow: number[] = [];
  const fixture = makeFixture(t, { disks, scheme, clock, onSlowDisk: (disk) => slow.push(disk) });
  const chunks: { chunk: string; bytes: Buffer }[] = [];
  for (let i = 0; i < 40; i++) {
    const bytes = content(chunkBytes, i);
    chunks.push({ chunk: (await fixture.store.store(fromBytes(bytes), nothing)).chunk, bytes });
  }
  return { ...fixture, clock, slow, chunks, states: fixture.disks.map((disk) => slowly(disk)) };
}

type Pool = Awaited<ReturnType<typeof setup>>;

const turns = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await new Promise(setImmediate);
};

for (const [way, readAll] of Object.entries(WAYS)) {
  const read = ({ store }: Pool, { chunk, bytes }: Pool['chunks'][number]) => readAll(store, chunk, bytes.length);
  const test = (name: string, run: (t: Test) => Promise<void>): void => void t.test(`${way}: ${name}`, run);

  test('a read that one disk keeps waiting is answered from the others, and later ones do not ask it', async (t) => {
    const pool = await setup(t, 3, { kind: 'erasure', k: 2, m: 1 });
    const { clock, chunks, states, slow, degraded } = pool;
    // What the peers take is known.
    for (const chunk of chunks.slice(0, 10)) t.ok(chunk.bytes.equals(await read(pool, chunk)));
    const [sluggish] = states;
    sluggish!.isSlow = true;
    let late = 0;
    for (const chunk of chunks) {
      const asked = sluggish!.asked;
      const reading = read(pool, chunk);
      await turns();
      if (sluggish!.asked > asked && sluggish!.waiting.length > 0) {
        late += 1;
        clock.advance(29);
        await turns();
        clock.advance(1);
      }
      t.ok(chunk.bytes.equals(Buffer.from(await reading)));
    }
    t.equal(late, 3, 'after three it is sat out');
    t.same(slow, [1], 'which is told once');
    t.same(degraded, [], 'being slow is no damage');

    // When its time is over, one read tries again.
    for (const resolve of sluggish!.waiting.splice(0)) resolve();
    sluggish!.isSlow = false;
    await turns();
    clock.advance(5_000);
    const before = sluggish!.asked;
    for (const chunk of chunks) t.ok(chunk.bytes.equals(Buffer.from(await read(pool, chunk))));
    t.ok(sluggish!.asked > before + 10, 'it is used again');
  });

  test('the wait comes from what the peers take: where all are slow, nobody is sat out', async (t) => {
    const pool = await setup(t, 3, { kind: 'erasure', k: 2, m: 1 });
    const { clock, chunks, states, slow } = pool;
    for (const state of states) state.isSlow = true;
    for (const chunk of chunks) {
      const reading = read(pool, chunk);
      await turns();
      clock.advance(100);
      while (states.some(({ waiting }) => waiting.length > 0)) {
        for (const { waiting } of states) for (const resolve of waiting.splice(0)) resolve();
        await turns();
      }
      t.ok(chunk.bytes.equals(Buffer.from(await reading)));
    }
    t.same(slow, []);
  });

  test('where the others have too little, a slow disk is waited for', async (t) => {
    const pool = await setup(t, 3, { kind: 'erasure', k: 2, m: 1 });
    const { clock, chunks, states, disks } = pool;
    disks[1]!.failReads = true;
    states[0]!.isSlow = true;
    for (const chunk of chunks.slice(0, 12)) {
      const reading = read(pool, chunk);
      await turns();
      clock.advance(2000);
      await turns();
      while (states[0]!.waiting.length > 0) {
        for (const resolve of states[0]!.waiting.splice(0)) resolve();
        await turns();
      }
      t.ok(chunk.bytes.equals(Buffer.from(await reading)));
    }
  });

  test('a disk that never answers holds a few reads, and no reader for ever', async (t) => {
    for (const kind of ['copies', 'alone'] as const) {
      const pool = await setup(t, 2, { kind: 'copies', copies: 2 }, 20 * KIB);
      const { clock, chunks, states, byNumber, degraded } = pool;
      for (const state of states.slice(0, 1)) state.isSlow = true;
      if (kind === 'alone') byNumber.set(2, undefined);
      const all = async (): Promise<number> => {
        const answers = chunks.map((chunk) =>
          read(pool, chunk).then(
            (bytes) => chunk.bytes.equals(Buffer.from(bytes)),
            () => false,
          ),
        );
        for (let i = 0; i < 140; i++) {
          await turns();
          clock.advance(1000);
        }
        return (await Promise.all(answers)).filter((one) => one).length;
      };
      t.equal(await all(), kind === 'copies' ? chunks.length : 0, kind);
      const held = states[0]!.waiting.length;
      t.ok(held > 0 && held <= 8, `it holds ${held} threads`);
      t.equal(await all(), kind === 'copies' ? chunks.length : 0);
      t.equal(states[0]!.waiting.length, held, 'and no more');
      t.same(
        degraded.filter(([, disk]) => disk === 1),
        [],
        'nothing is known of its shards',
      );
      for (const resolve of states[0]!.waiting.splice(0)) resolve();
    }
  });
}
