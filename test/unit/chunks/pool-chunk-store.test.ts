import { closeSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type ChunkScheme, MAX_CHUNK_BYTES, SMALL_CHUNK_BYTES } from '../../../src/chunks/chunk-store.js';
import { contentHash } from '../../../src/chunks/content-hash.js';
import { subsets } from '../../conformance/codec.js';
import { content, fromBytes, makeFixture, nothing, WAYS } from './fixture.js';

const LENGTHS = [1, 100, 4096, SMALL_CHUNK_BYTES, SMALL_CHUNK_BYTES + 1, 200_001, 1_048_576, MAX_CHUNK_BYTES];
const EC21 = { kind: 'erasure', k: 2, m: 1 } as const;
const EC42 = { kind: 'erasure', k: 4, m: 2 } as const;

for (const pipeline of ['inline', 'worker'] as const) {
  t.test(`${pipeline}: what is stored comes back, whatever its length`, async (t) => {
    const { store, disks } = makeFixture(t, { disks: 3, pipeline });
    for (const length of LENGTHS) {
      const bytes = content(length);
      const stored = await store.store(fromBytes(bytes), nothing);
      t.same(stored, { chunk: contentHash(bytes), chunkBytes: length, deduplicated: false });
      for (const [way, read] of Object.entries(WAYS))
        t.ok(bytes.equals(await read(store, stored.chunk, length)), `${way} ${length}`);
      const health = store.health(stored.chunk);
      t.equal(health.health, 'healthy');
      t.equal(health.scheme, length <= SMALL_CHUNK_BYTES ? 'copies:2' : 'ec:2+1');
      t.equal(health.disks.length, length <= SMALL_CHUNK_BYTES ? 2 : 3);
    }
    t.same(
      disks.map((disk) => disk.pending),
      [0, 0, 0],
    );
  });

  t.test(`${pipeline}: a chunk is read from a range of a file`, async (t) => {
    const { store } = makeFixture(t, { disks: 3, pipeline });
    const bytes = content(500_000);
    const path = join(t.testdir(), 'staged');
    writeFileSync(path, bytes);
    const fd = openSync(path, 'r');
    t.teardown(() => closeSync(fd));
    let read = 0;
    const stored = await store.store({ kind: 'file', fd, position: 1000, length: 300_000 }, () => read++);
    t.equal(read, 1, 'onRead is called once');
    t.equal(stored.chunk, contentHash(bytes.subarray(1000, 301_000)));
    t.ok(bytes.subarray(1000, 301_000).equals(await store.read(stored.chunk, 300_000, 0, 300_000)));
    await t.rejects(store.store({ kind: 'file', fd, position: 400_000, length: 300_000 }, nothing), { code: 'IO' });
    await t.rejects(store.store({ kind: 'file', fd: 9999, position: 0, length: 10 }, nothing), { code: 'IO' });
    t.equal((await store.store(fromBytes(content(10)), nothing)).chunkBytes, 10, 'the slots are free again');
  });

  t.test(`${pipeline}: the source may change as soon as onRead was called`, async (t) => {
    const { store } = makeFixture(t, { disks: 3, pipeline });
    const bytes = content(300_000);
    const name = contentHash(bytes);
    const stored = await store.store(fromBytes(bytes), () => bytes.fill(0));
    t.equal(stored.chunk, name);
    t.equal(contentHash(await store.read(name, 300_000, 0, 300_000)), name);
  });

  t.test(`${pipeline}: more stores at once than there are slots`, async (t) => {
    const { store } = makeFixture(t, { disks: 3, pipeline });
    const all = Array.from({ length: 25 }, (_, i) => content(150_000 + i, i));
    const stored = await Promise.all(all.map((bytes) => store.store(fromBytes(bytes), nothing)));
    for (const [i, { chunk, chunkBytes }] of stored.entries()) {
      t.ok(all[i]!.equals(await store.read(chunk, chunkBytes, 0, chunkBytes)));
    }
  });

  t.test(
    `${pipeline}: a disk that fails in mid-write leaves a degraded chunk, and stays out from then on`,
    async (t) => {
      const { store, disks } = makeFixture(t, { disks: 3, pipeline });
      disks[1]!.failWrites = true;
      const bytes = content(400_000);
      const { chunk } = await store.store(fromBytes(bytes), nothing);
      t.equal(store.health(chunk).health, 'degraded');
      t.equal(disks[1]!.state, 'suspect');
      t.ok(bytes.equals(await store.read(chunk, bytes.length, 0, bytes.length)));
      const other = await store.store(fromBytes(content(400_000, 2)), nothing);
      t.same(store.health(other.chunk).disks, [1, 3]);
      t.same(
        disks.map((disk) => disk.pending),
        [0, 0, 0],
      );
    },
  );
}

t.test('content that is there is not written again', async (t) => {
  const { store, disks } = makeFixture(t, { disks: 3 });
  for (const length of [1000, 300_000]) {
    const bytes = content(length);
    await store.store(fromBytes(bytes), nothing);
    const before = disks.map((disk) => disk.shardsWritten);
    t.equal((await store.store(fromBytes(bytes), nothing)).deduplicated, true);
    if (length <= SMALL_CHUNK_BYTES) {
      t.same(store.prepareSmall(bytes).records, []);
      t.equal((await store.storeSmall([bytes]))[0]!.deduplicated, true);
    }
    t.same(
      disks.map((disk) => disk.shardsWritten),
      before,
    );
  }
});

t.test('a scheme that is asked for', async (t) => {
  const COPIES3 = { kind: 'copies', copies: 3 } as const;
  const EC22 = { kind: 'erasure', k: 2, m: 2 } as const;
  const { store, disks, byNumber } = makeFixture(t, { disks: 4 });
  store.useSchemes([COPIES3, EC22]);
  const keep = (bytes: Buffer, scheme?: ChunkScheme) => store.store(fromBytes(bytes), nothing, undefined, { scheme });
  const shardsOf = (chunk: string): number =>
    disks.reduce((sum, disk) => sum + [...disk.findAnywhere(chunk)].length, 0);

  await t.test('keeps the chunk so, spread over the group, and survives what it promises', async (t) => {
    const used = new Set<number>();
    for (const [seed, asked] of [COPIES3, EC22, COPIES3, COPIES3, COPIES3, COPIES3].entries()) {
      for (const length of [5000, 300_000]) {
        const bytes = content(length, 100 + seed);
        const { chunk } = await keep(bytes, asked);
        const { health, scheme, disks: on } = store.health(chunk);
        const expected = asked === EC22 && length > SMALL_CHUNK_BYTES ? 'ec:2+2' : 'copies:3';
        t.same(
          { health, scheme, count: on.length },
          { health: 'healthy', scheme: expected, count: expected === 'ec:2+2' ? 4 : 3 },
        );
        if (expected === 'copies:3') for (const number of on) used.add(number);
        t.equal(store.isSettled(chunk, length), true, 'and it is at home there');
        for (const gone of subsets(4, 2)) {
          for (const at of gone) byNumber.set(at + 1, undefined);
          t.ok(bytes.equals(await store.read(chunk, length, 0, length)), `${expected} without ${gone}`);
          for (const at of gone) byNumber.set(at + 1, disks[at]);
        }
      }
    }
    t.same([...used].sort(), [1, 2, 3, 4]);
  });

  await t.test(
    'what survives as much counts as held; what survives less is stored again and its shards go',
    async (t) => {
      for (const length of [5000, 300_000]) {
        const bytes = content(length, 200);
        const { chunk } = await keep(bytes);
        t.match(store.health(chunk).scheme, length === 5000 ? 'copies:2' : 'ec:3+1');
        const again =
          length === 5000
            ? (await store.storeSmall([bytes, bytes], undefined, [undefined, { scheme: EC22 }]))[1]!
            : await keep(bytes, COPIES3);
        t.equal(again.deduplicated, length === 5000, 'the second of two alike is the first');
        t.equal(store.health(chunk).scheme, 'copies:3');
        t.ok(bytes.equals(await store.read(chunk, length, 0, length)));
        t.ok(shardsOf(chunk) > 3);
        const outgrown = store.takeOutgrown();
        t.same(outgrown, [{ chunk, chunkBytes: length }]);
        await store.settle(outgrown);
        t.equal(shardsOf(chunk), 3);
        t.equal((await keep(bytes)).deduplicated, true);
        t.equal((await keep(bytes, EC22)).deduplicated, true);
        t.same(store.takeOutgrown(), []);
      }
      const small = content(1000, 201);
      t.equal(store.prepareSmall(small, undefined, { scheme: EC22 }).records.length, 3);
      t.equal(store.prepareSmall(small).records.length, 2);
    },
  );

  await t.test('whoever completes the chunk keeps it so', async (t) => {
    for (const length of [5000, 300_000]) {
      const bytes = content(length, 300);
      const { chunk } = await keep(bytes, COPIES3);
      const victim = disks[store.health(chunk).disks[0]! - 1]!;
      await victim.remove([...victim.findAnywhere(chunk)][0]!);
      t.match(store.health(chunk), { health: 'degraded', scheme: 'copies:3' });
      t.equal((await store.mend(chunk, length)).shardsWritten, 1);
      t.match(store.health(chunk), { health: 'healthy', scheme: 'copies:3' });
    }
  });

  await t.test('where no group is wide enough it is kept as everything else', async (t) => {
    const { chunk } = await keep(content(300_000, 400), { kind: 'copies', copies: 5 });
    t.match(store.health(chunk), { health: 'healthy', scheme: 'ec:3+1' });
  });

  await t.test('a disk that fails meanwhile leaves it degraded, not kept for less', async (t) => {
    const bytes = content(300_000, 500);
    const { chunk } = await keep(bytes);
    for (const disk of disks.slice(1, 3)) disk.failWrites = true;
    await keep(bytes, COPIES3);
    t.ok(bytes.equals(await store.read(chunk, bytes.length, 0, bytes.length)));
    for (const number of [2, 3]) byNumber.set(number, undefined);
    t.ok(bytes.equals(await store.read(chunk, bytes.length, 0, bytes.length)), 'two of four gone');
  });
});

t.test('the same content stored at once is written once, and nobody is answered before it is', async (t) => {
  const { store, disks } = makeFixture(t, { disks: 3, pipeline: 'worker' });
  let open = nothing;
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  for (const disk of disks) disk.gate = gate;
  const bytes = content(300_000);
  let answered = 0;
  let read = 0;
  const stores = Array.from({ length: 3 }, () => store.store(fromBytes(bytes), () => read++));
  for (const each of stores) each.then(() => answered++);
  while (read < 3) await new Promise(setImmediate);
  t.equal(answered, 0);
  open();
  const stored = await Promise.all(stores);
  t.equal(stored.filter(({ deduplicated }) => !deduplicated).length, 1);
  t.same(
    disks.map((disk) => disk.shardsWritten),
    [1, 1, 1],
  );
});

t.test('when the first of two equal stores fails, so does the second', async (t) => {
  const { store, disks } = makeFixture(t, { disks: 3 });
  disks[0]!.failWrites = true;
  disks[1]!.failWrites = true;
  const bytes = content(300_000);
  const results = await Promise.allSettled([
    store.store(fromBytes(bytes), nothing),
    store.store(fromBytes(bytes), nothing),
  ]);
  t.same(
    results.map((result) => result.status === 'rejected' && result.reason.code),
    ['DISK_FAILED', 'DISK_FAILED'],
  );
  t.same(disks[2]!.entries, [], 'the shard that nobody can use is gone');
});

t.test('a partial read touches only what it needs', async (t) => {
  const { store, disks } = makeFixture(t, { disks: 3 });
  const bytes = content(MAX_CHUNK_BYTES);
  const { chunk } = await store.store(fromBytes(bytes), nothing);
  const half = MAX_CHUNK_BYTES / 2;
  for (const [from, to, reads] of [
    [0, 4096, 1],
    [half - 10, half, 1],
    [half, half + 1, 1],
    [half - 10, half + 10, 2],
    [0, MAX_CHUNK_BYTES, 2],
    [77, 77, 0],
  ] as const) {
    const before = disks.map((disk) => [disk.bytesRead, disk.reads] as const);
    t.ok(bytes.subarray(from, to).equals(await store.read(chunk, bytes.length, from, to)));
    const count = (field: 0 | 1): number =>
      disks.reduce((sum, disk, i) => sum + [disk.bytesRead, disk.reads][field]! - before[i]![field], 0);
    t.equal(count(0), to - from, `[${from}, ${to}): bytes`);
    t.equal(count(1), reads, `[${from}, ${to}): reads`);
  }
});

t.test('a degraded partial read decodes only the blocks that it touches', async (t) => {
  const { store, disks, byNumber, degraded, map } = makeFixture(t, { disks: 3, buckets: 1 });
  const bytes = content(MAX_CHUNK_BYTES);
  const { chunk } = await store.store(fromBytes(bytes), nothing);
  const first = Number.parseInt(map.groups[0]!.buckets[0]!.slice(8, 12), 16);
  byNumber.set(first, undefined);
  const before = disks.reduce((sum, disk) => sum + disk.bytesRead, 0);
  t.ok(bytes.subarray(70_000, 70_100).equals(await store.read(chunk, bytes.length, 70_000, 70_100)));
  t.equal(disks.reduce((sum, disk) => sum + disk.bytesRead, 0) - before, 2 * 65_536);
  t.same(degraded, [[chunk, undefined]]);
});

for (const [scheme, count, pipeline] of [
  [EC21, 3, 'worker'],
  [EC42, 6, 'inline'],
] as const) {
  t.test(`${scheme.k}+${scheme.m}: everything is readable with any ${scheme.m} disks gone`, async (t) => {
    const { store, byNumber, disks } = makeFixture(t, { disks: count, scheme, pipeline });
    const chunks = [100, 65_537, 300_001, 1_500_000].map((length) => content(length));
    for (const bytes of chunks) await store.store(fromBytes(bytes), nothing);
    for (const gone of subsets(count, scheme.m)) {
      for (const [i, disk] of disks.entries()) byNumber.set(i + 1, gone.includes(i) ? undefined : disk);
      for (const bytes of chunks) {
        const chunk = contentHash(bytes);
        const { length } = bytes;
        const [from, to] = [Math.floor(length / 3), Math.ceil(length * 0.7)];
        for (const [way, read] of Object.entries(WAYS))
          if (!bytes.equals(await read(store, chunk, length))) t.fail(`${way} ${length} without ${gone}`);
        if (!bytes.subarray(from, to).equals(await store.read(chunk, length, from, to))) {
          t.fail(`${length}: [${from}, ${to}) without ${gone}`);
        }
        if (gone.length === 0) t.equal(store.health(chunk).health, 'healthy');
        else if (length > SMALL_CHUNK_BYTES) t.equal(store.health(chunk).health, 'degraded');
      }
    }
  });
}

for (const [way, read] of Object.entries(WAYS)) {
  t.test(`${way}: a shard with a flipped bit is answered from the others, and named`, async (t) => {
    const { store, disks, degraded } = makeFixture(t, { disks: 3 });
    for (const length of [10_000, 300_000]) {
      const bytes = content(length);
      const { chunk } = await store.store(fromBytes(bytes), nothing);
      for (const disk of disks) {
        const entry = disk.findAnywhere(chunk)[0];
        if (!entry) continue;
        disk.corrupt(entry, 5);
        degraded.length = 0;
        t.ok(bytes.equals(await read(store, chunk, length)), `${length}, disk ${disk.identity.number}`);
        // A parity shard is not read while the data is good; of two copies the other one may have been read.
        if (length > SMALL_CHUNK_BYTES && entry.shard < 2) t.same(degraded[0], [chunk, disk.identity.number]);
        disk.corrupt(entry, 5);
      }
      for (const disk of disks) for (const entry of disk.findAnywhere(chunk)) disk.corrupt(entry, 5);
      await t.rejects(read(store, chunk, length), { code: 'UNREADABLE', message: /checksum/ });
    }
  });

  t.test(`${way}: a shard with wrong bytes under right checksums does not get past the content hash`, async (t) => {
    const { store, disks, degraded } = makeFixture(t, { disks: 6, scheme: EC42 });
    for (const length of [10_000, 300_000]) {
      const bytes = content(length);
      const { chunk } = await store.store(fromBytes(bytes), nothing);
      const holder = disks.find((disk) => disk.findAnywhere(chunk).some(({ shard }) => shard === 0))!;
      const entry = holder.findAnywhere(chunk)[0]!;
      holder.replace(entry, content(entry.shardBytes, 99));
      degraded.length = 0;
      t.ok(bytes.equals(await read(store, chunk, length)), `${length}`);
      t.same(degraded, [[chunk, holder.identity.number]]);
    }
  });
}

t.test('whole chunks: only what is needed is read, and memory is used again when it has been given back', async (t) => {
  for (const scheme of [EC21, { kind: 'copies', copies: 2 } as const]) {
    const { store, disks } = makeFixture(t, { disks: 3, scheme, pipeline: 'worker' });
    const chunks = [1_000_003, 1_000_003, 500_000, MAX_CHUNK_BYTES].map((length, i) => content(length, i));
    for (const bytes of chunks) await store.store(fromBytes(bytes), nothing);
    const get = (bytes: Buffer) => store.readWhole(contentHash(bytes), bytes.length);
    const before = disks.reduce((sum, disk) => sum + disk.bytesRead, 0);
    const all = await Promise.all(chunks.map(get));
    const read = disks.reduce((sum, disk) => sum + disk.bytesRead, 0) - before;
    const length = chunks.reduce((sum, bytes) => sum + bytes.length, 0);
    t.ok(read >= length && read < length + 1024, 'no parity, nothing twice');
    for (const [i, { bytes }] of all.entries()) t.ok(chunks[i]!.equals(bytes), 'at once, each in its own place');
    const memory = new Set(all.map(({ bytes }) => bytes.buffer));
    t.equal(memory.size, all.length);
    all[0]!.release();
    const meanwhile = await get(chunks[3]!);
    t.ok(chunks[0]!.equals(all[0]!.bytes) || memory.has(meanwhile.bytes.buffer));
    await new Promise((resolve) => setImmediate(resolve));
    for (const { release } of all.slice(1)) release();
    await new Promise((resolve) => setImmediate(resolve));
    const again = await Promise.all(chunks.map(get));
    for (const [i, { bytes }] of again.entries()) t.ok(chunks[i]!.equals(bytes));
    t.ok(again.filter(({ bytes }) => memory.has(bytes.buffer)).length >= 3);
    t.throws(() => all[1]!.release(), 'once only');
  }
});

t.test('with two disks of three gone, reading and storing say what is missing', async (t) => {
  const { store, byNumber, disks } = makeFixture(t, { disks: 3 });
  const bytes = content(300_000);
  const { chunk } = await store.store(fromBytes(bytes), nothing);
  byNumber.set(1, undefined);
  disks[1]!.fail('offline', 'it was unplugged');
  await t.rejects(store.read(chunk, bytes.length, 0, 100), {
    code: 'UNREADABLE',
    message: /1 of 3 shards.*2 are needed.*disk 1 is missing, disk 2 is offline \(it was unplugged\), disk 3 is online/,
  });
  await t.rejects(store.read('ab'.repeat(32), 10, 0, 10), { code: 'UNREADABLE', message: /no disk that is there/ });
  await t.rejects(store.store(fromBytes(content(300_000, 2)), nothing), {
    code: 'DISK_FAILED',
    message: /too few disks are online.*disk 1 is missing/,
  });
  t.equal(store.health(chunk).health, 'lost');
  const small = store.prepareSmall(content(100));
  t.equal(small.records.length, 1, 'one copy of a small chunk is better than none');
});

t.test('no room in any bucket, or on the disks, is NO_SPACE', async (t) => {
  const { store } = makeFixture(t, { disks: 3, buckets: 1, bucketBytes: 500_000 });
  await store.store(fromBytes(content(600_000)), nothing);
  await t.rejects(store.store(fromBytes(content(600_000, 2)), nothing), { code: 'NO_SPACE' });
  t.equal((await store.store(fromBytes(content(1000, 3)), nothing)).deduplicated, false, 'what fits is still taken');

  const tight = makeFixture(t, { disks: 3, capacityBytes: 500_000 });
  await tight.store.store(fromBytes(content(600_000)), nothing);
  await t.rejects(tight.store.store(fromBytes(content(600_000, 2)), nothing), { code: 'NO_SPACE' });
});

t.test('a bucket that is full sends the chunk to the next group, where it is found', async (t) => {
  const { store, disks } = makeFixture(t, { disks: 3, buckets: 4, bucketBytes: 400_000 });
  const all = Array.from({ length: 4 }, (_, i) => content(600_000, i));
  for (const bytes of all) await store.store(fromBytes(bytes), nothing);
  t.equal(new Set(disks[0]!.entries.map(({ bucket }) => bucket)).size, 4);
  for (const bytes of all) t.ok(bytes.equals(await store.read(contentHash(bytes), 600_000, 0, 600_000)));
});

t.test('disks that are full in spite of what they said', async (t) => {
  const { store, disks } = makeFixture(t, { disks: 3 });
  disks[0]!.full = true;
  const { chunk } = await store.store(fromBytes(content(300_000)), nothing);
  t.equal(store.health(chunk).health, 'degraded');
  disks[1]!.full = true;
  await t.rejects(store.store(fromBytes(content(300_000, 2)), nothing), { code: 'NO_SPACE' });
  t.equal(disks[2]!.entries.length, 1, 'no useless shard is left behind');
  t.same(
    disks.map(({ state, pending }) => [state, pending]),
    [
      ['online', 0],
      ['online', 0],
      ['online', 0],
    ],
  );
});

t.test('a disk fails in mid-write and another group is whole: the chunk becomes healthy there', async (t) => {
  const { store, disks } = makeFixture(t, { disks: 6, scheme: EC21 });
  const bytes = content(300_000);
  disks[0]!.failWrites = true;
  for (let i = 0; disks[0]!.state === 'online'; i++) {
    const { chunk } = await store.store(fromBytes(content(300_000, i)), nothing);
    t.equal(store.health(chunk).health, 'healthy', `chunk ${i}`);
  }
  const { chunk } = await store.store(fromBytes(bytes), nothing);
  t.equal(store.health(chunk).health, 'healthy');
  t.notOk(store.health(chunk).disks.includes(1));
});

t.test('a chunk stored while a disk was away is completed when it is stored again', async (t) => {
  const { store, byNumber, disks } = makeFixture(t, { disks: 3 });
  for (const length of [1000, 300_000]) {
    const bytes = content(length);
    const chunk = contentHash(bytes);
    byNumber.set(2, undefined);
    byNumber.set(length === 1000 ? 1 : 2, undefined);
    await store.store(fromBytes(bytes), nothing);
    t.equal(store.health(chunk).health, 'degraded');
    const before = disks[2]!.shardsWritten;
    t.equal((await store.store(fromBytes(bytes), nothing)).deduplicated, true, 'nothing can be added yet');
    byNumber.set(1, disks[0]);
    byNumber.set(2, disks[1]);
    t.equal((await store.store(fromBytes(bytes), nothing)).deduplicated, false);
    t.equal(store.health(chunk).health, 'healthy');
    t.equal(disks[2]!.shardsWritten, before, 'what stood is not written again');
  }
});

t.test('small chunks prepared for the journal: m+1 records on different disks, spread evenly', async (t) => {
  const { store, disks } = makeFixture(t, { disks: 3, buckets: 1 });
  const counts = new Map<number, number>();
  for (let i = 0; i < 300; i++) {
    const bytes = content(500, i);
    const prepared = store.prepareSmall(bytes);
    t.equal(new Set(prepared.records.map(({ disk }) => disk)).size, 2);
    for (const { disk, record } of prepared.records) {
      t.equal(record.kind === 'shard' && record.info.chunk, prepared.chunk);
      counts.set(disk.identity.number, (counts.get(disk.identity.number) ?? 0) + 1);
    }
  }
  t.ok(
    [...counts.values()].every((count) => count > 140),
    `${[...counts.values()]}`,
  );
  const avoided = store.prepareSmall(content(500, 1000), new Set([disks[0]!]));
  t.same(avoided.records.map(({ disk }) => disk.identity.number).sort(), [2, 3]);
  t.throws(() => store.prepareSmall(content(SMALL_CHUNK_BYTES + 1)), /assertion/);
});

t.test('many small chunks: one append per disk and slice, each chunk once', async (t) => {
  const { store, disks } = makeFixture(t, { disks: 3 });
  const all = Array.from({ length: 300 }, (_, i) => content(10_000, i % 250));
  const stored = await store.storeSmall(all);
  t.equal(stored.length, 300);
  t.equal(stored.filter(({ deduplicated }) => deduplicated).length, 50);
  t.equal(
    disks.reduce((sum, disk) => sum + disk.shardsWritten, 0),
    2 * 250,
  );
  t.ok(
    disks.every((disk) => disk.appends === 3),
    'three slices of about 1 MiB',
  );
  for (const [i, { chunk }] of stored.entries()) {
    if (!all[i]!.equals(await store.read(chunk, 10_000, 0, 10_000))) t.fail(`chunk ${i}`);
  }
  t.same(await store.storeSmall([]), []);
});

t.test('small chunks whose disk fails get their copy on another', async (t) => {
  const { store, disks } = makeFixture(t, { disks: 3 });
  disks[0]!.failWrites = true;
  const stored = await store.storeSmall(Array.from({ length: 50 }, (_, i) => content(1000, i)));
  for (const { chunk } of stored) {
    t.equal(store.health(chunk).health, 'healthy');
    t.same(store.health(chunk).disks, [2, 3]);
  }
  disks[1]!.failWrites = true;
  disks[2]!.failWrites = true;
  await t.rejects(store.storeSmall([content(1000, 999)]), { code: 'DISK_FAILED' });
});

t.test('a collected chunk is gone from every disk', async (t) => {
  const { store, disks } = makeFixture(t, { disks: 3 });
  const bytes = content(300_000);
  const { chunk } = await store.store(fromBytes(bytes), nothing);
  t.ok(store.isHeld(chunk));
  await t.rejects(store.collect([chunk]), /held/, 'not while a commit may name it');
  store.release([chunk]);
  t.same(store.takeReleased(), [chunk]);
  t.same(await store.collect([chunk]), [chunk]);
  t.equal(store.health(chunk).scheme, '');
  t.ok(disks.every((disk) => disk.entries.length === 0));
  t.same(await store.collect([chunk]), [chunk]);
  await t.rejects(store.read(chunk, bytes.length, 0, 1), { code: 'UNREADABLE' });
});

t.test('a store of a chunk that is being collected writes it anew', async (t) => {
  const { store } = makeFixture(t, { disks: 3 });
  for (const bytes of [content(300_000), content(1000)]) {
    const { chunk } = await store.store(fromBytes(bytes), nothing);
    store.release([chunk]);
    const collected = store.collect([chunk]);
    const again = await (bytes.length > 65_536
      ? store.store(fromBytes(bytes), nothing)
      : store.storeSmall([bytes]).then(([stored]) => stored!));
    t.same(await collected, [chunk]);
    t.equal(again.deduplicated, false);
    t.same(await store.read(chunk, bytes.length, 0, bytes.length), bytes);
  }
});

t.test('a chunk answered twice is held until both are released', async (t) => {
  const { store } = makeFixture(t, { disks: 3 });
  const bytes = content(1000);
  const { chunk } = store.prepareSmall(bytes);
  await store.storeSmall([bytes]);
  store.release([chunk]);
  t.ok(store.isHeld(chunk));
  store.release([chunk]);
  t.notOk(store.isHeld(chunk));
});

t.test('slots: the newest version wins, also over one written while its disks were away', async (t) => {
  const { store, byNumber, disks } = makeFixture(t, { disks: 3 });
  t.equal(await store.getSlot('/pool/root'), undefined);
  await store.putSlot('/pool/root', 1, Buffer.from('one'));
  t.equal((await store.getSlot('/pool/root'))?.bytes.toString(), 'one');
  const all = disks.map((disk, i) => [i + 1, disk] as const);
  for (const [number] of all) {
    byNumber.set(number, undefined);
    t.equal((await store.getSlot('/pool/root'))?.version, 1, `without disk ${number}`);
    byNumber.set(number, disks[number - 1]);
  }
  byNumber.set(1, undefined);
  byNumber.set(2, undefined);
  await store.putSlot('/pool/root', 2, Buffer.from('two'));
  for (const [number, disk] of all) byNumber.set(number, disk);
  t.same(await store.getSlot('/pool/root'), { version: 2, bytes: Buffer.from('two') });
  for (const disk of disks) disk.failWrites = true;
  await t.rejects(store.putSlot('/pool/root', 3, Buffer.from('three')), { code: 'DISK_FAILED' });
});

t.test('cancelling', async (t) => {
  const { store } = makeFixture(t, { disks: 3 });
  const signal = AbortSignal.abort();
  await t.rejects(store.store(fromBytes(content(300_000)), nothing, signal), { code: 'ABORTED' });
  await t.rejects(store.storeSmall([content(10)], signal), { code: 'ABORTED' });
  await store.close();
  await t.rejects(store.store(fromBytes(content(300_000)), nothing), { code: 'CLOSED' });
});

t.test('closing waits for what is being written and refuses the rest', async (t) => {
  const { store, disks } = makeFixture(t, { disks: 3, pipeline: 'worker' });
  let open = nothing;
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  for (const disk of disks) disk.gate = gate;
  const first = store.store(fromBytes(content(300_000)), nothing);
  while (disks.some(({ waiting }) => waiting === 0)) await new Promise(setImmediate);
  const late = store.store(fromBytes(content(300_000, 2)), nothing);
  const refused = t.rejects(late, { code: 'CLOSED' });
  const closing = store.close();
  open();
  await closing;
  t.equal(store.health((await first).chunk).health, 'healthy');
  await refused;
  t.same(
    disks.map(({ state, pending }) => [state, pending]),
    disks.map(() => ['online', 0]),
  );
});
