/** The decoder of the repair list against damaged and random bytes. `SEED=` replays a run. */
import { deepStrictEqual } from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { hasCode } from '../../src/errors/cairn-error.js';
import { decodeRepairList, encodeRepairList, type RepairList } from '../../src/repair/repair-list.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`SEED=${seed}`);

const chunk = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex'));
const chunks = fc.array(chunk, { maxLength: 5 });
const list: fc.Arbitrary<RepairList> = fc.record(
  { format: fc.constant(1 as const), damaged: chunks, degraded: chunks, isIncomplete: fc.boolean() },
  { noNullPrototype: true },
);

function attempt(bytes: Uint8Array): RepairList | undefined {
  try {
    return decodeRepairList(bytes);
  } catch (error) {
    if (hasCode(error, 'CORRUPT')) return undefined;
    throw error;
  }
}

t.test('what is written is read back; cut, flipped or random it is refused or whole', async (t) => {
  fc.assert(
    fc.property(list, fc.nat(), fc.integer({ min: 1, max: 255 }), (one, at, flip) => {
      const bytes = encodeRepairList(one);
      deepStrictEqual(decodeRepairList(bytes), one);
      const place = at % (bytes.length - 1);
      if (attempt(bytes.subarray(0, place)) !== undefined) return false;
      bytes[place] = bytes[place]! ^ flip;
      const found = attempt(bytes);
      return found === undefined || [...found.damaged, ...found.degraded].every((name) => /^[0-9a-f]{64}$/.test(name));
    }),
    { seed, numRuns: 500 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (random) => attempt(random) === undefined),
    { seed, numRuns: 300 },
  );
  t.pass();
});
