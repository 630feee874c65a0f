/** What memory the spaces of chunks take, and when it is given back. */
import t from 'tap';
import { type ChunkSpace, ChunkSpaces } from '../../../src/chunks/chunk-space.js';
import { ManualClock } from '../cache/manual-clock.js';

const KIB = 1024;
const MIB = 1024 * KIB;
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Those of which nobody has been told that they are gone count as memory. */
function counted() {
  const clock = new ManualClock();
  const gone: ChunkSpace[] = [];
  return { clock, gone, spaces: new ChunkSpaces(clock, (space) => gone.push(space)) };
}

t.test('a small chunk has a small space, and none that was a large one’s', async (t) => {
  const { spaces } = counted();
  const large = spaces.take(6 * MIB);
  spaces.give(large);
  await turn();
  const small = spaces.take(100 * KIB);
  t.equal(small.bytes.length, 128 * KIB);
  t.equal(spaces.take(5 * MIB), large, 'which is taken again by what needs it');
  for (const bytes of [1, 128 * KIB, 128 * KIB + 1, 3 * MIB, 8 * MIB, 8 * MIB + 64 * KIB]) {
    const { length } = spaces.take(bytes).bytes;
    t.ok(length >= bytes && (length < 2 * bytes || length === 128 * KIB), `${bytes} bytes in ${length}`);
  }
});

t.test('what many readers had at once is not kept when they have done', async (t) => {
  const { spaces, gone } = counted();
  const taken = Array.from({ length: 100 }, () => spaces.take(4 * MIB));
  for (const space of taken) spaces.give(space);
  await turn();
  t.equal(taken.length - gone.length, 16, '64 MiB are kept');
  t.ok(taken.includes(spaces.take(4 * MIB)), 'for the next ones');
});

t.test('given back by everybody, all goes after a while', async (t) => {
  const { clock, spaces, gone } = counted();
  const taken = [100 * KIB, MIB, 6 * MIB].map((bytes) => spaces.take(bytes));
  for (const space of taken) spaces.give(space);
  await turn();
  clock.advance(10_000);
  t.strictSame(new Set(gone), new Set(taken));
});
