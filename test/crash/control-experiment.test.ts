/** The rig cuts the power: plain file systems lose what nobody synced, and nothing else. */
import t from 'tap';
import { cannotCutPower } from './own-namespace.js';
import { runRig } from './rig-test.js';

t.test('SQLite on plain file systems', { skip: cannotCutPower() }, async (t) => {
  const output = await runRig(t, '--control', '--cycles', '2');
  const lost = (what: RegExp) => [...output.matchAll(what)].map(([, count]) => Number(count));
  const normal = lost(/synchronous=NORMAL: ok, (\d+) of/g);
  t.equal(normal.length, 2);
  for (const count of normal) t.ok(count > 0, `NORMAL lost ${count}`);
  t.same(lost(/synchronous=(?:FULL|EXTRA): ok, (\d+) of/g), [0, 0, 0], 'FULL lost none');
});
