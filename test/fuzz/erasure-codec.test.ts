/** Fuzz of the erasure code: any length, any shards missing, any damage to what is handed in. Replay a failure with SEED=<printed seed>. */
import fc from 'fast-check';
import t from 'tap';
import { codecFor } from '../../src/erasure/codec-for.js';
import { CairnError } from '../../src/errors/cairn-error.js';

const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));
t.comment(`SEED=${seed}`);

const codec = fc
  .record({ k: fc.integer({ min: 1, max: 10 }), m: fc.integer({ min: 1, max: 6 }) })
  .map(({ k, m }) => codecFor({ kind: 'erasure', k, m }));
const chunk = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 5000 }),
  fc.integer({ min: 1, max: 400_000 }).map(mixed),
);

function mixed(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => Math.imul(i + length, 0x9e3779b1) >>> 24);
}

t.test('any k shards give the chunk, and any shard', async (t) => {
  fc.assert(
    fc.property(codec, chunk, fc.infiniteStream(fc.nat()), (codec, chunk, stream) => {
      const shards = codec.encode(chunk);
      const left: (Uint8Array | undefined)[] = [...shards];
      for (let gone = 0; gone < codec.shards - codec.needed; gone++)
        left[stream.next().value % codec.shards] = undefined;
      const wanted = Math.max(0, left.indexOf(undefined));
      return (
        Buffer.compare(codec.decode(left, chunk.length), chunk) === 0 &&
        Buffer.compare(codec.rebuild(left, wanted), shards[wanted]!) === 0
      );
    }),
    { seed, numRuns: 150 },
  );
  t.pass('all runs');
});

t.test('whatever is handed in is decoded to the right length or refused with a code', async (t) => {
  const parts = fc.array(fc.option(fc.uint8Array({ maxLength: 200 }), { nil: undefined }), { maxLength: 18 });
  const refusedOr = (task: () => Uint8Array, length: number | undefined): boolean => {
    try {
      const bytes = task();
      return length === undefined || bytes.length === length;
    } catch (error) {
      if (error instanceof CairnError && (error.code === 'INVALID' || error.code === 'UNREADABLE')) return true;
      throw error;
    }
  };
  fc.assert(
    fc.property(codec, parts, fc.integer({ min: 1, max: 1000 }), (codec, parts, length) => {
      return (
        refusedOr(() => codec.decode(parts, length), length) && refusedOr(() => codec.rebuild(parts, 0), undefined)
      );
    }),
    { seed, numRuns: 2000 },
  );
  // Of the right length and random content: decoded to something, without a crash.
  fc.assert(
    fc.property(codec, fc.integer({ min: 1, max: 2000 }), fc.infiniteStream(fc.boolean()), (codec, length, stream) => {
      const size = codec.shardBytes(length);
      const some = Array.from({ length: codec.shards }, () => (stream.next().value ? mixed(size) : undefined));
      return refusedOr(() => codec.decode(some, length), length) && refusedOr(() => codec.rebuild(some, 0), size);
    }),
    { seed, numRuns: 500 },
  );
  t.pass('all runs');
});
