/** The decoder of a job's file against damaged and random bytes. `SEED=` replays a run. */
import { deepStrictEqual } from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { hasCode } from '../../src/errors/cairn-error.js';
import type { Json } from '../../src/jobs/job.js';
import { decodeJob, encodeJob, type KeptJob } from '../../src/jobs/job-file.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`SEED=${seed}`);

const json = fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)) as Json);
const bytes = fc.nat();
const kept: fc.Arbitrary<KeptJob> = fc.record({
  format: fc.constant(1 as const),
  state: fc.constantFrom('running', 'paused', 'done', 'cancelled', 'failed'),
  options: json,
  cursor: json,
  line: fc.string(),
  doneBytes: bytes,
  totalBytes: bytes,
  fullSpeed: fc.boolean(),
  startedMs: bytes,
  endedMs: fc.option(bytes),
  report: json,
});

/** Decoded, or refused as CORRUPT; any other error is a failure. */
function attempt(file: Uint8Array): KeptJob | undefined {
  try {
    return decodeJob(file);
  } catch (error) {
    if (hasCode(error, 'CORRUPT')) return undefined;
    throw error;
  }
}

t.test('what is written is read back', async (t) => {
  fc.assert(
    fc.property(kept, (job) =>
      deepStrictEqual(JSON.parse(JSON.stringify(decodeJob(encodeJob(job)))), JSON.parse(JSON.stringify(job))),
    ),
    { seed, numRuns: 300 },
  );
  t.pass();
});

t.test('cut, flipped or random: refused, or whole', async (t) => {
  fc.assert(
    fc.property(kept, fc.nat(), fc.integer({ min: 1, max: 255 }), (job, at, flip) => {
      const file = encodeJob(job);
      const place = at % (file.length - 1);
      if (attempt(file.subarray(0, place)) !== undefined) return false;
      file[place] = file[place]! ^ flip;
      const found = attempt(file);
      return found === undefined || attempt(encodeJob(found)) !== undefined;
    }),
    { seed, numRuns: 500 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (random) => attempt(random) === undefined),
    { seed, numRuns: 300 },
  );
  fc.assert(
    fc.property(
      kept,
      fc.constantFrom('doneBytes', 'totalBytes'),
      fc.constantFrom(-1, 0.5, 2 ** 53, '1', null),
      (job, key, value) => attempt(Buffer.from(JSON.stringify({ ...job, [key]: value }))) === undefined,
    ),
    { seed, numRuns: 100 },
  );
  t.pass();
});
