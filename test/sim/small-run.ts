/** The small histories of one mode, as a test: every crash point of each, in every way to stop. */
import t from 'tap';
import { runSeed, SMALL_COUNT } from './runs.js';
import { SMALL_HISTORIES } from './small-histories.js';

/** Crash points of all of them together: fewer would mean that something is looked at no longer. */
const POINTS_MIN = 9_000;

/** `strong`: the second half of the seeds. */
export function testSmallHistories(strong: boolean): void {
  let points = 0;
  const began = performance.now();
  const from = strong ? SMALL_COUNT / 2 : 0;
  for (const [i, { name }] of SMALL_HISTORIES.entries()) {
    t.test(name, { timeout: 800_000 }, async (t) => {
      const result = await runSeed('small', from + i, { shrink: true });
      points += result.points;
      t.equal(result.failure, undefined, `${result.points} crash points`);
    });
  }
  t.test('crash points', async (t) => {
    const seconds = (performance.now() - began) / 1000;
    t.comment(`${points} crash points, ${Math.round(points / seconds)} per second`);
    t.ok(points >= POINTS_MIN, `${points} of at least ${POINTS_MIN}`);
  });
}
