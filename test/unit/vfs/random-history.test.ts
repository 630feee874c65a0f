/** Random histories: SEED= replays one, HISTORIES= runs more of them, STEPS= makes them longer. */
import t from 'tap';
import { PoolFixture } from './pool-fixture.js';
import { RandomHistory, randomFrom } from './random-history.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
const histories = process.env['SEED'] === undefined ? Number(process.env['HISTORIES'] ?? 4) : 1;
const steps = Number(process.env['STEPS'] ?? 240);

t.setTimeout(histories * steps * 250);

for (let i = 0; i < histories; i++) {
  const own = seed + i;
  t.test(`history SEED=${own}`, async (t) => {
    t.setTimeout(steps * 1000);
    const random = randomFrom(own ^ 0x5eed);
    const fixture = await PoolFixture.create(t, {
      mode: random() < 0.5 ? 'strong' : 'default',
      commitDelayMs: [0, 5, 60_000][Math.floor(random() * 3)]!,
      cacheBytes: random() < 0.5 ? 2 * 1024 * 1024 : 256 * 1024 * 1024,
    });
    const history = new RandomHistory(fixture, own);
    try {
      for (let step = 1; step <= steps; step++) {
        await history.step();
        if (step % 20 === 0) await history.compare();
        if (step % 60 === 0) await history.restart();
      }
      await history.settle();
      await history.restart();
    } catch (error) {
      t.comment(`SEED=${own} ${history.steps.slice(-60).join('; ')}`);
      throw error;
    }
    t.same(
      fixture.lines.filter((line) => /failed/.test(line)),
      [],
      'nothing failed',
    );
  });
}
