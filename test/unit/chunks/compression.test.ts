/** Compressed chunks through the whole store: what is stored, read, damaged, mended, moved. */
import t from 'tap';
import { createMap } from '../../../diskmap/index.js';
import { type ChunkPolicy, MAX_CHUNK_BYTES, SMALL_CHUNK_BYTES } from '../../../src/chunks/chunk-store.js';
import { BLOCK_BYTES } from '../../../src/chunks/compressed-chunk.js';
import { contentHash } from '../../../src/chunks/content-hash.js';
import { subsets } from '../../conformance/codec.js';
import { content, fromBytes, makeFixture, nothing, text, WAYS } from './fixture.js';

const ASKED: ChunkPolicy = { isCompressed: true };
const LENGTHS = [100, 5001, SMALL_CHUNK_BYTES, SMALL_CHUNK_BYTES + 1, 600_001];

type Fixture = ReturnType<typeof makeFixture>;

function keep({ store }: Fixture, bytes: Buffer, asked: ChunkPolicy = ASKED) {
  return bytes.length <= SMALL_CHUNK_BYTES
    ? store.storeSmall([bytes], undefined, [asked]).then(([stored]) => stored!)
    : store.store(fromBytes(bytes), nothing, undefined, asked);
}

function storedOn({ disks }: Fixture, chunk: string): number {
  return disks.flatMap((disk) => disk.findAnywhere(chunk)).reduce((sum, { shardBytes }) => sum + shardBytes, 0);
}

for (const [name, scheme, count, pipeline] of [
  ['ec:2+1', { kind: 'erasure', k: 2, m: 1 }, 3, 'worker'],
  ['copies:2', { kind: 'copies', copies: 2 }, 2, 'worker'],
  ['ec:4+2', { kind: 'erasure', k: 4, m: 2 }, 6, 'inline'],
] as const) {
  t.test(
    `${name}: what is stored compressed comes back, whole and in parts, with any disks gone that may`,
    async (t) => {
      const fixture = makeFixture(t, { disks: count, scheme, pipeline });
      const { store, disks, byNumber } = fixture;
      const lengths = count > 3 ? [5001, 600_001] : LENGTHS;
      const chunks = lengths.flatMap((length) => [text(length, length), content(length, length)]);
      for (const bytes of chunks) {
        const { chunk, deduplicated } = await keep(fixture, bytes);
        t.same({ chunk, deduplicated }, { chunk: contentHash(bytes), deduplicated: false });
        const { health, compressed } = store.health(chunk);
        t.equal(health, 'healthy');
        const pays = bytes.length > 256 && bytes.includes('shard');
        t.equal(compressed?.chunkBytes, pays ? bytes.length : undefined);
        if (pays) t.ok(storedOn(fixture, chunk) < bytes.length, 'parity and copies and all');
        t.equal((await keep(fixture, bytes)).deduplicated, true, 'held');
        t.equal((await keep(fixture, bytes, {})).deduplicated, true, 'and held for who wants it as it is');
      }
      const losses = name === 'copies:2' ? 1 : scheme.kind === 'erasure' ? scheme.m : 0;
      for (const gone of subsets(count, losses)) {
        for (const [i, disk] of disks.entries()) byNumber.set(i + 1, gone.includes(i) ? undefined : disk);
        for (const bytes of chunks) {
          const chunk = contentHash(bytes);
          const { length } = bytes;
          for (const [way, read] of Object.entries(WAYS))
            if (!bytes.equals(await read(store, chunk, length))) t.fail(`${way} ${length} without ${gone}`);
          const third = Math.floor(length / 3);
          for (const [from, to] of [
            [third, third + 1],
            [0, third],
            [third, length],
            [length - 1, length],
          ] as const)
            if (!bytes.subarray(from, to).equals(await store.read(chunk, length, from, to)))
              t.fail(`${length}: [${from}, ${to}) without ${gone}`);
        }
      }
    },
  );
}

t.test('a read of a part reads and unpacks the block that it lies in, and the next one nothing', async (t) => {
  const fixture = makeFixture(t, { disks: 3 });
  const { store, disks } = fixture;
  const bytes = text(MAX_CHUNK_BYTES, 1);
  const { chunk } = await keep(fixture, bytes);
  const bytesRead = (): number => disks.reduce((sum, disk) => sum + disk.bytesRead, 0);
  const at = 5 * BLOCK_BYTES + 1000;
  const before = bytesRead();
  t.ok(bytes.subarray(at, at + 4096).equals(await store.read(chunk, bytes.length, at, at + 4096)));
  const first = bytesRead() - before;
  t.ok(first > 0 && first < BLOCK_BYTES / 2, `${first} bytes`);
  t.ok(bytes.subarray(at - 900, at + 8192).equals(await store.read(chunk, bytes.length, at - 900, at + 8192)));
  t.equal(bytesRead() - before, first);
});

t.test('damage to what is stored is found, read around, and mended from the other shards', async (t) => {
  const fixture = makeFixture(t, { disks: 3 });
  const { store, disks, byNumber } = fixture;
  for (const length of [5000, 700_000]) {
    const bytes = text(length, 7);
    const { chunk } = await keep(fixture, bytes);
    const before = storedOn(fixture, chunk);
    const holders = disks.filter((disk) => disk.findAnywhere(chunk).length > 0);
    for (const holder of holders) {
      const entry = holder.findAnywhere(chunk)[0]!;
      const wrong = async (): Promise<void> => {
        t.same(
          (await store.wrongShards(chunk, bytes)).map(({ number }) => number),
          [holder.identity.number],
        );
        for (const read of Object.values(WAYS)) t.ok(bytes.equals(await read(store, chunk, length)));
        t.ok(bytes.subarray(10, 200).equals(await store.read(chunk, length, 10, 200)));
        t.match(await store.mend(chunk, length, { verify: true }), { shardsWrong: 1, shardsWritten: 1 });
        t.same(await store.wrongShards(chunk, bytes), []);
      };
      holder.corrupt(entry, 5);
      await wrong();
      // Under right checksums: the beginning, where the table of the blocks is, and the rest.
      holder.replace(holder.findAnywhere(chunk)[0]!, content(entry.shardBytes, 99));
      await wrong();
      await holder.remove(entry);
      t.equal(store.health(chunk).health, 'degraded');
      t.match(await store.mend(chunk, length), { shardsWritten: 1, bytesWritten: entry.shardBytes });
      t.equal(store.health(chunk).health, 'healthy');
      await holder.remove(entry);
      t.equal((await keep(fixture, bytes, {})).deduplicated, false, 'who stores it again completes it, as it is kept');
      t.match(store.health(chunk), { health: 'healthy', compressed: { chunkBytes: length } });
      t.equal(storedOn(fixture, chunk), before);
    }
    for (const holder of holders) byNumber.set(holder.identity.number, undefined);
    byNumber.set(holders[0]!.identity.number, holders[0]);
    if (length > SMALL_CHUNK_BYTES) await t.rejects(store.read(chunk, length, 0, length), { code: 'UNREADABLE' });
    for (const disk of disks) byNumber.set(disk.identity.number, disk);
  }
  const bytes = text(700_000, 8);
  const { chunk } = await keep(fixture, bytes);
  for (const disk of disks) for (const entry of disk.findAnywhere(chunk)) disk.corrupt(entry, 5);
  await t.rejects(store.read(chunk, bytes.length, 0, bytes.length), { code: 'UNREADABLE' });
  t.equal((await keep(fixture, bytes)).deduplicated, false, 'what cannot be read is not held');
  t.ok(bytes.equals(await store.read(chunk, bytes.length, 0, bytes.length)));
});

t.test('what cannot be read is stored anew, also while a disk fails', async (t) => {
  for (const asked of [ASKED, {}]) {
    const fixture = makeFixture(t, { disks: 3 });
    const { store, disks } = fixture;
    const bytes = text(300_000, 9);
    const { chunk } = await keep(fixture, bytes, asked);
    for (const disk of disks) for (const entry of disk.findAnywhere(chunk)) disk.corrupt(entry, 5);
    await t.rejects(store.read(chunk, bytes.length, 0, bytes.length), { code: 'UNREADABLE' });
    disks[1]!.failWrites = true;
    t.equal((await keep(fixture, bytes, asked)).deduplicated, false);
    t.equal(store.health(chunk).health, 'degraded');
    t.ok(bytes.equals(await store.read(chunk, bytes.length, 0, bytes.length)));
  }
});

t.test('a disk that fails in the middle of it leaves a degraded chunk', async (t) => {
  for (const length of [5000, 700_000]) {
    const fixture = makeFixture(t, { disks: 3, pipeline: 'worker' });
    const bytes = text(length, 3);
    const [first] = fixture.disks;
    first!.failWrites = true;
    const { chunk } = await keep(fixture, bytes);
    t.equal(fixture.store.health(chunk).compressed?.chunkBytes, length);
    t.ok(bytes.equals(await fixture.store.read(chunk, length, 0, length)));
  }
});

t.test('shards of a chunk that was compressed to something else do not fit together', async (t) => {
  const fixture = makeFixture(t, { disks: 3 });
  const { store, disks } = fixture;
  const bytes = text(300_000, 4);
  const { chunk } = await keep(fixture, bytes);
  for (const disk of disks.slice(1)) {
    const entry = disk.findAnywhere(chunk)[0]!;
    await disk.remove(entry);
    const { storedBytes } = entry.compression!;
    const info = { ...entry, compression: { method: 1, storedBytes: storedBytes - 1 } };
    await disk.append('data', [{ kind: 'shard', info, payload: [content(entry.shardBytes)] }]);
  }
  await t.rejects(store.read(chunk, bytes.length, 0, bytes.length), { code: 'UNREADABLE' });
  t.equal((await keep(fixture, bytes)).deduplicated, false);
  t.ok(bytes.equals(await store.read(chunk, bytes.length, 0, bytes.length)));
});

t.test('what a later version has compressed is named as such, and neither removed nor used', async (t) => {
  const fixture = makeFixture(t, { disks: 3 });
  const { store, disks } = fixture;
  const bytes = text(300_000, 5);
  const { chunk } = await keep(fixture, bytes);
  for (const [method, storedBytes] of [
    [9, 1000],
    [1, 0],
    [1, 0xffff_ffff],
  ] as const) {
    for (const disk of disks) {
      const entry = disk.findAnywhere(chunk)[0]!;
      const info = { ...entry, compression: { method, storedBytes } };
      await disk.append('data', [{ kind: 'shard', info, payload: [content(entry.shardBytes)] }]);
    }
    t.equal(store.health(chunk).health, 'lost');
    const isLater = method === 9;
    await t.rejects(store.read(chunk, bytes.length, 0, bytes.length), {
      code: 'UNREADABLE',
      message: isLater ? /newer version/ : /no disk/,
    });
    if (!isLater) continue;
    await store.release([chunk]);
    t.same(await store.collect([chunk]), [chunk]);
    t.equal(storedOn(fixture, chunk) > 0, true, 'still there');
    store.takeReleased();
  }
});

t.test('a move keeps what was compressed as it is, into the same scheme and into another', async (t) => {
  const fixture = makeFixture(t, { disks: 6, scheme: { kind: 'erasure', k: 2, m: 1 } });
  const { store, disks, byNumber } = fixture;
  const chunks = [5000, 700_000].map((length) => text(length, length));
  for (const bytes of chunks) await keep(fixture, bytes);
  for (const scheme of [
    { kind: 'erasure', k: 2, m: 2 },
    { kind: 'copies', copies: 2 },
    { kind: 'erasure', k: 3, m: 1 },
    'a disk is dead',
  ] as const) {
    // The first disks leave, then they come back, then one of them is gone: homes change as well as schemes.
    const isDead = scheme === 'a disk is dead';
    if (isDead) byNumber.set(1, undefined);
    const used = isDead ? disks.slice(1) : scheme.kind === 'copies' ? disks.slice(2) : disks;
    const map = createMap({
      pool: '0123456789abcdef',
      bucketBytes: 1024 ** 3,
      domain: 'disk',
      scheme: isDead ? { kind: 'erasure', k: 3, m: 1 } : scheme,
      disks: used.map((disk) => ({
        disk: disk.identity.number,
        site: 0,
        row: 0,
        rack: 0,
        machine: 0,
        buckets: 8,
      })),
    });
    store.useMap(map);
    const all = chunks.map((bytes) => ({ chunk: contentHash(bytes), chunkBytes: bytes.length }));
    t.match(await store.settle(all), { unfinished: 0, unreadable: [] });
    for (const bytes of chunks) {
      const chunk = contentHash(bytes);
      t.equal(store.isSettled(chunk, bytes.length), true);
      t.match(store.health(chunk), { health: 'healthy', compressed: { chunkBytes: bytes.length } });
      t.ok(bytes.equals(await store.read(chunk, bytes.length, 0, bytes.length)));
      t.same(await store.wrongShards(chunk, bytes), []);
    }
  }
});
