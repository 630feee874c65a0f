/** Random histories from fixed seeds, and some from a fresh one that is printed (`SEED=` for the same again). */
import t from 'tap';
import { type Kind, runSeed } from './runs.js';

/** How many of each, with seeds from 1 on, and how many with fresh ones. */
const FIXED: Readonly<Record<Exclude<Kind, 'small'>, number>> = { short: 4, long: 10 };
const FRESH: Readonly<Record<Exclude<Kind, 'small'>, number>> = { short: 2, long: 4 };
const POINTS_MIN = 300;
const fresh = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));

let points = 0;
const struck = new Map<string, number>();

async function run(t: Tap, kind: Kind, seed: number): Promise<void> {
  const result = await runSeed(kind, seed, { shrink: true });
  points += result.points;
  for (const [fault, count] of result.struck) struck.set(fault, (struck.get(fault) ?? 0) + count);
  t.equal(result.failure, undefined, `${kind} ${seed}: ${result.points} crash points`);
}

type Tap = Pick<typeof t, 'equal'>;

for (const kind of ['short', 'long'] as const) {
  t.test(`${kind} histories from fixed seeds`, { timeout: 800_000 }, async (t) => {
    for (let seed = 1; seed <= FIXED[kind]; seed++) await run(t, kind, seed);
  });
  t.test(`${kind} histories from SEED=${fresh}`, { timeout: 800_000 }, async (t) => {
    for (let i = 0; i < FRESH[kind]; i++) await run(t, kind, fresh + i);
  });
}

t.test('crash points', async (t) => {
  t.comment(`${points} crash points; faults that struck: ${JSON.stringify(Object.fromEntries(struck))}`);
  t.ok(points >= POINTS_MIN, `${points} of at least ${POINTS_MIN}`);
});
