import { describe, explore } from './crash-points.js';
import { SeededRandom } from './seeded-random.js';
import { USUAL_LAYOUT } from './sim-pool.js';
import { drawSteps } from './steps.js';

const from = Number(process.argv[2] ?? 1),
  count = Number(process.argv[3] ?? 10),
  len = Number(process.argv[4] ?? 20);
let points = 0;
const t = performance.now();
let failed = 0;
for (let seed = from; seed < from + count; seed++) {
  const random = new SeededRandom(seed);
  const steps = drawSteps(random, len);
  const layout = { ...USUAL_LAYOUT, mode: random.chance(0.5) ? ('strong' as const) : ('default' as const) };
  try {
    const out = await explore({ layout, steps, seed, share: 1, stops: 1, nested: 0.02, audited: 0.2 });
    points += out.points;
    if (out.failures.length) {
      failed++;
      console.log('seed', seed, layout.mode, out.failures.length, 'of', out.points);
      console.log('  ' + describe(out.failures[0]!));
    }
  } catch (e) {
    failed++;
    console.log('seed', seed, layout.mode, 'history:', (e as Error).stack);
  }
}
console.log(points, 'points', failed, 'failed', ((points / (performance.now() - t)) * 1000).toFixed(0), '/s');
