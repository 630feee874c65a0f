import t from 'tap';
import type { BareSegment } from '../../../src/rescue/bare-disk.js';
import { ShardTable } from '../../../src/rescue/shard-table.js';
import { chunkName, shardInfo } from '../disks/samples.js';

const segment = (number: number): BareSegment => ({
  disk: undefined as never,
  path: `${number}`,
  stream: 'data',
  number,
  sizeBytes: 0,
});

t.test('every shard is found again, however many there are', async (t) => {
  const table = new ShardTable();
  const segments = [segment(1), segment(2), segment(3)];
  const count = 20_000;
  // The first 64 bits are what it looks at: the names differ there.
  const name = (number: number): string => `${chunkName(number).slice(-16)}${'0'.repeat(48)}`;
  for (const one of segments)
    for (let number = 0; number < count; number++)
      table.add(one, 64 * number, 128, { ...shardInfo(number, 10), chunk: name(number), shard: one.number - 1 });
  t.equal(table.count, 3 * count);
  let wrong = 0;
  for (let number = 0; number < count; number++) {
    const found = table.find(name(number));
    const right = found.every(
      (entry, index) =>
        entry.segment === segments[index] &&
        entry.position === 64 * number &&
        entry.recordBytes === 128 &&
        entry.shard === index,
    );
    if (found.length !== 3 || !right) wrong++;
  }
  t.equal(wrong, 0);
  t.same(table.find(name(count)), []);
});

t.test('a scheme and the last byte of the largest segment fit', async (t) => {
  const table = new ShardTable();
  const scheme = { erasure: true, k: 255, m: 255 };
  table.add(segment(1), 2 ** 32 - 64, 2 ** 32 - 64, { ...shardInfo(1, 10), scheme, shard: 255 });
  t.match(table.find(chunkName(1)), [
    { position: 2 ** 32 - 64, recordBytes: 2 ** 32 - 64, shard: 255, erasure: true, k: 255, m: 255 },
  ]);
});
