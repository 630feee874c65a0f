/** The simulator finds what it is there to find: each planted bug, within so many crash points. */
import t from 'tap';
import { describe, explore } from './crash-points.js';
import { NO_FAULTS } from './faults.js';
import { describeLong, drawLongHistory, runLongHistory } from './long-history.js';
import { PLANTED_BUGS, trustOneDisk } from './planted-bugs.js';
import { SMALL_COUNT, shortScenario, smallScenario } from './runs.js';
import { USUAL_LAYOUT } from './sim-pool.js';

/** Histories after which a bug counts as not found. */
const HISTORIES_MAX = 60;

for (const { name, plant } of PLANTED_BUGS) {
  t.test(name, { timeout: 800_000 }, async (t) => {
    const began = performance.now();
    let points = 0;
    for (let seed = 0; seed < HISTORIES_MAX; seed++) {
      const scenario = seed < SMALL_COUNT ? smallScenario(seed) : shortScenario(seed);
      const outcome = await explore({ ...scenario, nested: 0, audited: 0 }, { firstOnly: true, plant });
      points += outcome.points;
      if (outcome.failures.length === 0) continue;
      const seconds = (performance.now() - began) / 1000;
      t.comment(`found at crash point ${points}, in history ${seed + 1}, after ${seconds.toFixed(1)} s`);
      t.comment(describe(outcome.failures[0]!).split('\n')[0]);
      t.pass('found');
      return;
    }
    t.fail(`not found in ${points} crash points`);
  });
}

t.test('trusting a stale disk', { timeout: 800_000 }, async (t) => {
  const undo = trustOneDisk(1);
  t.teardown(undo);
  const began = performance.now();
  let points = 0;
  for (let seed = 1; seed <= HISTORIES_MAX; seed++) {
    // Its faults are that it comes back as it was earlier, and nothing else.
    const layout = { ...USUAL_LAYOUT, mode: 'strong' as const };
    const history = { ...drawLongHistory(seed, 5, 40), layout, victim: 1, rates: { ...NO_FAULTS } };
    const outcome = await runLongHistory(history);
    points += outcome.points;
    if (outcome.failure === undefined) continue;
    const seconds = (performance.now() - began) / 1000;
    t.comment(`found at crash point ${points}, in history ${seed}, after ${seconds.toFixed(1)} s`);
    t.comment(describeLong(outcome).split('\n')[0]);
    t.pass('found');
    return;
  }
  t.fail(`not found in ${points} crash points`);
});
