/**
 * Chunks follow the map: after every change each comes home, and at every write and every removal on the way all of it can be read without any one disk,
 * counting only what is synced.
 */
import t from 'tap';
import { addDisks, changeDisks, type DiskMap, diskOfBucket, type MapDisk } from '../../../diskmap/index.js';
import type { PoolChunkStore } from '../../../src/chunks/pool-chunk-store.js';
import { type Disks, locate } from '../../../src/chunks/shard-set.js';
import type { Disk } from '../../../src/disks/disk.js';
import type { ShardEntry } from '../../../src/disks/record.js';
import { FakeDisk } from './fake-disk.js';
import { content, fromBytes, makeFixture, nothing } from './fixture.js';

const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));
t.comment(`SEED=${seed}`);

function dice(from: number): (below: number) => number {
  let state = from >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

interface Chunk {
  readonly chunk: string;
  readonly bytes: Buffer;
}

/** Looks at every change of the disks: what would be left if the power went now, and any one disk with it? */
class Watch {
  checks = 0;
  readonly broken: string[] = [];
  readonly #disks: Disks;
  readonly #unsynced = new Map<Disk, Set<string>>();
  chunks: readonly Chunk[] = [];
  isOn = true;

  constructor(disks: Map<number, FakeDisk | undefined>) {
    this.#disks = disks;
  }

  over(disk: FakeDisk): FakeDisk {
    const unsynced = new Set<string>();
    this.#unsynced.set(disk, unsynced);
    const { append, publish, remove } = disk;
    disk.append = async (stream, records) => {
      const places = await append.call(disk, stream, records);
      for (const record of records) if (record.kind === 'shard') unsynced.add(name(record.info));
      this.#look();
      return places;
    };
    disk.publish = (reservation) => {
      publish.call(disk, reservation);
      unsynced.add(name(reservation.info));
      this.#look();
    };
    disk.sync = async () => {
      await new Promise(setImmediate);
      unsynced.clear();
    };
    disk.remove = async (key) => {
      await remove.call(disk, key);
      this.#look();
    };
    return disk;
  }

  #look(): void {
    if (!this.isOn) return;
    this.checks++;
    for (const { chunk } of this.chunks) {
      for (const lost of this.#disks.keys()) {
        const sets = locate(this.#disks, chunk).map((set) => {
          set.holders.forEach((holders, shard) => {
            set.holders[shard] = holders.filter(
              ({ disk, number, entry }) => number !== lost && !this.#unsynced.get(disk)!.has(name(entry)),
            );
          });
          return set;
        });
        if (!sets.some(({ readable }) => readable)) this.broken.push(`${chunk.slice(0, 8)} without disk ${lost}`);
      }
    }
  }
}

const name = ({ bucket, chunk, shard }: Pick<ShardEntry, 'bucket' | 'chunk' | 'shard'>): string =>
  `${bucket}/${chunk}/${shard}`;
const diskOf = (disk: number, buckets: number): MapDisk => ({ disk, site: 0, row: 0, rack: 0, machine: 0, buckets });

async function fill(store: PoolChunkStore, draw: (below: number) => number, count: number): Promise<Chunk[]> {
  const chunks: Chunk[] = [];
  for (let i = 0; i < count; i++) {
    const bytes = content(draw(3) === 0 ? 1 + draw(60_000) : 65_537 + draw(400_000), draw(2 ** 30));
    const [stored] =
      bytes.length <= 65_536 ? await store.storeSmall([bytes]) : [await store.store(fromBytes(bytes), nothing)];
    chunks.push({ chunk: stored!.chunk, bytes });
    store.release([stored!.chunk]);
  }
  return chunks;
}

const toSettle = (chunks: readonly Chunk[]) => chunks.map(({ chunk, bytes }) => ({ chunk, chunkBytes: bytes.length }));

async function whereItBelongs(
  store: PoolChunkStore,
  disks: Disks,
  chunks: readonly Chunk[],
): Promise<string | undefined> {
  for (const { chunk, bytes } of chunks) {
    if (!bytes.equals(await store.read(chunk, bytes.length, 0, bytes.length))) return 'other bytes';
    const sets = locate(disks, chunk);
    if (sets.length !== 1 || !sets[0]!.healthy)
      return `${sets.length} sets, the first ${sets[0]?.healthy ? '' : 'not '}healthy`;
    const holders = sets[0]!.holders.flat();
    if (holders.length !== sets[0]!.codec.shards) return `${holders.length} shards of ${sets[0]!.name}`;
    if (!holders.every(({ entry }) => store.isHome(entry))) return 'a shard is not at home';
  }
  return undefined;
}

t.test(
  'a disk is added, one is replaced, one removed: every chunk comes home, and only what must move moves',
  async (t) => {
    const { store, map, byNumber, disks } = makeFixture(t, { disks: 3, buckets: 12, bucketBytes: 8 * 1024 * 1024 });
    const watch = new Watch(byNumber);
    for (const disk of disks) watch.over(disk);
    const chunks = await fill(store, dice(seed), 60);
    for (const disk of disks) await disk.sync();
    watch.chunks = chunks;
    const join = (number: number): void => {
      byNumber.set(number, watch.over(new FakeDisk({ number, directory: t.testdir({}) })));
    };
    const settle = () => store.settle(toSettle(chunks));

    const before = disks.map((disk) => disk.buckets().reduce((sum, { liveBytes }) => sum + liveBytes, 0));
    join(4);
    const four = addDisks(map, [diskOf(4, 12)]);
    store.useMap(four);
    const stray = [...byNumber.values()].reduce((sum, disk) => sum + store.strayBytes(disk!), 0);
    const added = await settle();
    t.equal(added.writtenBytes, stray, 'what lay in buckets that moved, and nothing else');
    t.ok(stray > 0 && stray < before.reduce((a, b) => a + b) / 2);
    t.equal(added.unfinished, 0);
    t.equal(await whereItBelongs(store, byNumber, chunks), undefined);
    t.same(
      await settle(),
      { writtenBytes: 0, removedShards: 0, unfinished: 0, unreadable: [] },
      'nothing is left to do',
    );

    join(5);
    const replaced = changeDisks(four, { remove: [1], add: [diskOf(5, 12)], neededBytes: 0 });
    store.useMap(replaced);
    const onFirst = disks[0]!.buckets().reduce((sum, { liveBytes }) => sum + liveBytes, 0);
    t.equal((await settle()).writtenBytes, onFirst, 'what was on the disk');
    t.same(disks[0]!.buckets(), []);
    t.equal(await whereItBelongs(store, byNumber, chunks), undefined);
    byNumber.delete(1);

    const three = changeDisks(replaced, { remove: [2], add: [], neededBytes: 0 });
    store.useMap(three);
    t.equal((await settle()).unfinished, 0);
    t.same(disks[1]!.buckets(), []);
    t.equal(await whereItBelongs(store, byNumber, chunks), undefined);
    t.same(watch.broken, []);
    t.ok(watch.checks > 100, `${watch.checks} checks`);
  },
);

t.test('a dead disk is replaced: its shards are made from the others', async (t) => {
  const { store, map, byNumber } = makeFixture(t, { disks: 4, buckets: 6 });
  const chunks = await fill(store, dice(seed + 1), 40);
  byNumber.get(2)!.fail('offline', 'gone');
  const next = changeDisks(map, { remove: [2], add: [diskOf(5, 6)], neededBytes: 0 });
  store.useMap(next);
  byNumber.set(5, new FakeDisk({ number: 5, directory: t.testdir() }));
  const { unfinished, writtenBytes } = await store.settle(toSettle(chunks));
  t.equal(unfinished, 0);
  const rebuilt = byNumber
    .get(5)!
    .buckets()
    .reduce((sum, { liveBytes }) => sum + liveBytes, 0);
  t.ok(rebuilt > 0.9 * writtenBytes, 'but for a few small copies all of it to the new disk');
  t.equal(await whereItBelongs(store, byNumber, chunks), undefined);
});

t.test('a disk dies while data moves to another: of one chunk a shard is made and another moved', async (t) => {
  const { store, map, byNumber } = makeFixture(t, { disks: 3, buckets: 12 });
  const chunks = await fill(store, dice(seed + 5), 40);
  const four = addDisks(map, [diskOf(4, 12)]);
  store.useMap(four);
  byNumber.set(4, new FakeDisk({ number: 4, directory: t.testdir() }));
  byNumber.get(1)!.fail('offline', 'gone');
  store.useMap(changeDisks(four, { remove: [1], add: [diskOf(5, 12)], neededBytes: 0 }));
  byNumber.set(5, new FakeDisk({ number: 5, directory: t.testdir({}) }));
  const { unfinished, unreadable } = await store.settle(toSettle(chunks));
  t.same({ unfinished, unreadable }, { unfinished: 0, unreadable: [] });
  t.equal(await whereItBelongs(store, byNumber, chunks), undefined);
});

t.test('a shard that cannot be read where it lies is made from the others', async (t) => {
  const { store, map, byNumber, disks } = makeFixture(t, {
    disks: 3,
    buckets: 6,
    scheme: { kind: 'erasure', k: 2, m: 1 },
  });
  const chunks = await fill(store, dice(seed + 2), 20);
  for (const entry of disks[0]!.entries) if (entry.shardBytes > 70_000) disks[0]!.corrupt(entry, 66_000);
  byNumber.set(4, new FakeDisk({ number: 4, directory: t.testdir() }));
  store.useMap(changeDisks(map, { remove: [1], add: [diskOf(4, 6)], neededBytes: 0 }));
  t.equal((await store.settle(toSettle(chunks))).unfinished, 0);
  t.equal(await whereItBelongs(store, byNumber, chunks), undefined);
});

t.test('a second copy for what had one; a full disk and one that fails leave the old places as they are', async (t) => {
  const { store, map, byNumber, disks } = makeFixture(t, { disks: 1, buckets: 6 });
  const chunks = await fill(store, dice(seed + 3), 20);
  const second = new FakeDisk({ number: 2, directory: t.testdir() });
  byNumber.set(2, second);
  const two = addDisks(map, [diskOf(2, 6)]);
  store.useMap(two);
  t.equal((await store.settle(toSettle(chunks))).unfinished, 0);
  t.equal(await whereItBelongs(store, byNumber, chunks), undefined);
  t.ok(chunks.every(({ chunk }) => store.health(chunk).scheme === 'copies:2'));

  const tiny = new FakeDisk({ number: 3, directory: t.testdir(), capacityBytes: 100 });
  byNumber.set(3, tiny);
  store.useMap(changeDisks(two, { remove: [1], add: [diskOf(3, 6)], neededBytes: 0 }));
  const entries = disks[0]!.entries.length;
  t.equal((await store.settle(toSettle(chunks))).unfinished, 20);
  t.equal(disks[0]!.entries.length, entries);
  byNumber.set(3, new FakeDisk({ number: 3, directory: t.testdir() }));
  byNumber.get(3)!.failWrites = true;
  t.equal((await store.settle(toSettle(chunks))).unfinished, 20);
  t.equal(disks[0]!.entries.length, entries);
  byNumber.set(3, new FakeDisk({ number: 3, directory: t.testdir() }));
  t.equal((await store.settle(toSettle(chunks))).unfinished, 0);
  t.same(disks[0]!.entries, []);
});

t.test(
  'random changes, one in the middle of another: every moment is safe, and the end is as the last map says',
  async (t) => {
    const draw = dice(seed + 4);
    let dissolved = 0;
    for (let life = 0; life < 6; life++) {
      const {
        store,
        map: first,
        byNumber,
        disks,
      } = makeFixture(t, {
        disks: 2 + draw(4),
        buckets: 4 + draw(5),
        bucketBytes: 16 * 1024 * 1024,
      });
      const watch = new Watch(byNumber);
      for (const disk of disks) watch.over(disk);
      let chunks = await fill(store, draw, 12);
      for (const disk of disks) await disk.sync();
      let map = first;
      let next = disks.length + 1;
      for (let step = 0; step < 5; step++) {
        const there = map.disks.filter(({ buckets }) => buckets > 0).map(({ disk }) => disk);
        const add = draw(2) === 0 || there.length < 3 ? [diskOf(next++, 4 + draw(5))] : [];
        const remove = there.length > 2 && draw(2) === 0 ? [there[draw(there.length)]!] : [];
        for (const { disk } of add)
          byNumber.set(disk, watch.over(new FakeDisk({ number: disk, directory: t.testdir({}) })));
        const changed: DiskMap = changeDisks(map, { remove, add, neededBytes: 0 });
        dissolved += map.groups.filter(({ id }) => !changed.groups.some((group) => group.id === id)).length;
        map = changed;
        store.useMap(map);
        watch.chunks = chunks;
        const some = chunks.filter(() => draw(2) === 0);
        const fresh = fill(store, draw, 3);
        for (let at = 0; at < some.length; at += 3) await store.settle(toSettle(some.slice(at, at + 3)));
        chunks = [...chunks, ...(await fresh)];
        watch.isOn = false;
        for (const disk of byNumber.values()) await disk!.sync();
        watch.isOn = true;
      }
      watch.chunks = chunks;
      t.equal((await store.settle(toSettle(chunks))).unfinished, 0);
      t.equal(await whereItBelongs(store, byNumber, chunks), undefined, `life ${life}`);
      t.same(watch.broken, []);
      const used = new Set(map.groups.flatMap(({ buckets }) => buckets.map(diskOfBucket)));
      for (const [number, disk] of byNumber)
        if (!used.has(number)) t.same(disk!.entries, [], `disk ${number} is empty`);
    }
    t.ok(dissolved > 0);
  },
);
