import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { openIndexDatabase, writeNotes } from '../../../src/disks/index-database.js';
import { JournalState, type Tombstone } from '../../../src/disks/journal-state.js';
import { type IndexedShard, ShardIndex } from '../../../src/disks/shard-index.js';
import { BUCKET, chunkName, shardInfo } from './samples.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`SEED=${seed}`);
const OTHER = '00000000000000010003abcdef012345';
const always = (): boolean => true;

function indexed(number: number, logSequence: number, bucket = BUCKET): IndexedShard {
  return {
    ...shardInfo(number, 100, bucket),
    segment: 1 + (logSequence >> 3),
    position: (logSequence & 7) * 256,
    recordBytes: 256,
    logSequence,
  };
}

t.test('look-ups see what is pending and what is in the file alike', async (t) => {
  const index = new ShardIndex(openIndexDatabase(':memory:', 'u').database);
  index.put(indexed(1, 10));
  index.put(indexed(1, 11, OTHER));
  t.strictSame(index.find(BUCKET, chunkName(1)), [indexed(1, 10)]);
  t.strictSame(index.find(BUCKET, chunkName(2)), []);
  t.ok(index.flush(always, 100, () => {}));
  t.equal(index.pendingCount, 0);
  t.strictSame(index.find(BUCKET, chunkName(1)), [indexed(1, 10)]);
  t.strictSame(index.find(OTHER, chunkName(1)), [indexed(1, 11, OTHER)]);
  t.equal(index.bucketBytes(BUCKET), 256);
  t.ok(index.remove(indexed(1, 0), 10, { segment: 9, position: 0 }));
  t.strictSame(index.find(BUCKET, chunkName(1)), []);
  t.equal(index.bucketBytes(BUCKET), 0);
  index.flush(always, 100, () => {});
  t.strictSame(index.find(BUCKET, chunkName(1)), []);
});

t.test('a chunk that was looked for before it was stored is found, in memory and in the file', async (t) => {
  const index = new ShardIndex(openIndexDatabase(':memory:', 'u').database);
  t.strictSame(index.findAnywhere(chunkName(1)), []);
  index.put(indexed(1, 10));
  t.strictSame(index.findAnywhere(chunkName(1)), [indexed(1, 10)]);
  index.flush(always, 100, () => {});
  t.strictSame(index.findAnywhere(chunkName(1)), [indexed(1, 10)]);
  t.strictSame(
    index.put(indexed(1, 11)),
    { dead: indexed(1, 10), by: indexed(1, 11) },
    'what the file has is replaced',
  );
  index.flush(always, 100, () => {});
  index.remove(indexed(1, 0), 11, { segment: 9, position: 0 });
  index.flush(always, 100, () => {});
  t.strictSame(index.findAnywhere(chunkName(1)), []);
  t.equal(index.put(indexed(1, 12)), undefined);
  t.strictSame(index.findAnywhere(chunkName(1)), [indexed(1, 12)]);
});

t.test('a removal covers only what was there before it', async (t) => {
  const index = new ShardIndex(openIndexDatabase(':memory:', 'u').database);
  index.put(indexed(1, 20));
  t.equal(index.remove(indexed(1, 0), 19, { segment: 9, position: 0 }), undefined);
  t.equal(index.find(BUCKET, chunkName(1)).length, 1);
  index.remove(indexed(1, 0), 20, { segment: 9, position: 0 });
  index.put(indexed(1, 19));
  t.equal(index.find(BUCKET, chunkName(1)).length, 0, 'an older record does not come back');
  index.put(indexed(1, 21));
  t.equal(index.find(BUCKET, chunkName(1)).length, 1);
});

t.test('what is not durable stays out of the file', async (t) => {
  const { database } = openIndexDatabase(':memory:', 'u');
  const index = new ShardIndex(database);
  index.put(indexed(1, 10));
  index.flush(always, 100, () => {});
  index.put(indexed(1, 80)); // Replaces the durable one, but is not durable itself.
  index.flush(
    (segment) => segment < 5,
    100,
    () => {},
  );
  t.equal(index.pendingCount, 1);
  t.strictSame(new ShardIndex(database).find(BUCKET, chunkName(1)), [indexed(1, 10)], 'the file still has the old one');
  t.equal(new ShardIndex(database).segmentBytes(indexed(1, 10).segment), 256);
  t.strictSame(index.find(BUCKET, chunkName(1)), [indexed(1, 80)]);
});

t.test('a flush that fails changes nothing', async (t) => {
  const index = new ShardIndex(openIndexDatabase(':memory:', 'u').database);
  index.put(indexed(1, 10));
  t.throws(() =>
    index.flush(always, 100, () => {
      throw new Error('no');
    }),
  );
  t.equal(index.pendingCount, 1);
  index.flush(always, 100, () => {});
  t.strictSame(index.find(BUCKET, chunkName(1)), [indexed(1, 10)]);
});

t.test('any history agrees with a map', async (t) => {
  const step = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        op: fc.constant('put' as const),
        number: fc.nat(12),
        bucket: fc.constantFrom(BUCKET, OTHER),
        late: fc.nat(6),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        op: fc.constant('remove' as const),
        number: fc.nat(12),
        bucket: fc.constantFrom(BUCKET, OTHER),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        op: fc.constant('flush' as const),
        limit: fc.integer({ min: 1, max: 9 }),
        through: fc.nat(40),
      }),
    },
    { weight: 1, arbitrary: fc.record({ op: fc.constant('walk' as const), limit: fc.integer({ min: 1, max: 9 }) }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const { database } = openIndexDatabase(':memory:', 'u');
      const index = new ShardIndex(database);
      const model = new Map<string, IndexedShard>();
      let sequence = 1;
      for (const one of steps) {
        if (one.op === 'flush')
          index.flush(
            (segment) => segment <= one.through,
            one.limit,
            () => {},
          );
        if (one.op === 'put') {
          sequence += 1;
          const shard = indexed(one.number, sequence, one.bucket);
          index.put(shard);
          model.set(`${one.bucket}/${one.number}`, shard);
        }
        if (one.op === 'remove') {
          const shard = model.get(`${one.bucket}/${one.number}`);
          sequence += 1;
          const at = { segment: 1 + (sequence >> 3), position: (sequence & 7) * 256 };
          const gone = index.remove(
            { bucket: one.bucket, chunk: chunkName(one.number), shard: 1 },
            shard?.logSequence ?? sequence,
            at,
          );
          t.equal(gone === undefined, shard === undefined);
          model.delete(`${one.bucket}/${one.number}`);
        }
        if (one.op === 'walk') {
          const walked: IndexedShard[] = [];
          // A page that is not full is the last one.
          for (let page = index.walk(undefined, one.limit); ; page = index.walk(page.at(-1), one.limit)) {
            walked.push(...page);
            if (page.length < one.limit) break;
          }
          const expected = [...model.values()].sort((a, b) => a.logSequence - b.logSequence);
          if (walked.map((shard) => shard.logSequence).join() !== expected.map((shard) => shard.logSequence).join())
            return false;
        }
      }
      const sum = (of: (shard: IndexedShard) => boolean): number => [...model.values()].filter(of).length * 256;
      const agrees = (tested: ShardIndex): boolean =>
        [BUCKET, OTHER].every((bucket) => {
          for (let number = 0; number <= 12; number++) {
            const expected = model.get(`${bucket}/${number}`);
            const [found] = tested.find(bucket, chunkName(number));
            if (found?.logSequence !== expected?.logSequence) return false;
          }
          return tested.bucketBytes(bucket) === sum((shard) => shard.bucket === bucket);
        }) &&
        tested
          .segments()
          .every((segment) => tested.segmentBytes(segment) === sum((shard) => shard.segment === segment));
      if (!agrees(index)) return false;
      index.flush(always, 10_000, () => {});
      return agrees(index) && agrees(new ShardIndex(database));
    }),
    { seed, numRuns: 250 },
  );
});

t.test('a file that does not fit is made anew', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'cairn-index-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, 'index.sqlite');
  const notes = {
    data: { segment: 1, position: 64 },
    journal: { segment: 2, position: 128 },
    lastSegment: 3,
    lastSequence: 4,
  };
  const first = openIndexDatabase(path, 'one');
  t.equal(first.notes, undefined);
  first.database.close();
  const unfinished = openIndexDatabase(path, 'one');
  t.equal(unfinished.notes, undefined, 'never completed');
  writeNotes(unfinished.database, notes);
  unfinished.database.close();
  const complete = openIndexDatabase(path, 'one');
  t.strictSame(complete.notes, notes);
  complete.database.close();
  const foreign = openIndexDatabase(path, 'two');
  t.match(foreign, { notes: undefined, reason: /another disk/ });
  writeNotes(foreign.database, notes);
  foreign.database.close();
  writeFileSync(path, 'this is no database, and long enough to be looked at as one by whoever reads it'.repeat(20));
  const damaged = openIndexDatabase(path, 'two');
  t.equal(damaged.notes, undefined);
  damaged.database.close();
});

t.test('tombstones are given back as they were, by segment and in their order', (t) => {
  const journal = new JournalState();
  const place = { position: 0, recordBytes: 256, logSequence: 1 };
  const of = (number: number): Tombstone => ({
    kind: 'tombstone',
    key: { bucket: number % 2 === 0 ? BUCKET : OTHER, chunk: chunkName(number), shard: number % 7 },
    targetSegment: number * 3,
    through: 2 ** 40 + number,
  });
  for (let number = 0; number < 100; number++) journal.addTombstone(of(number), { ...place, segment: number % 3 });
  t.strictSame(
    journal.tombstones(1),
    Array.from({ length: 33 }, (_, i) => of(3 * i + 1)),
  );
  t.strictSame(journal.tombstones(5), []);
  journal.drop(1);
  t.strictSame(journal.tombstones(1), []);
  t.equal(journal.tombstones(0).length, 34);
  t.end();
});
