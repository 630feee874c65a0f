/** The system's time, while somebody sets it. */
import t from 'tap';
import { SystemClock } from '../../../src/io/clock.js';

const HOUR_MS = 3_600_000;

t.test('time follows when the clock is set, and has more than milliseconds', (t) => {
  const clock = new SystemClock();
  const millis = () => {
    const { sec, nsec } = clock.now();
    return sec * 1000 + nsec / 1e6;
  };
  const { now } = Date;
  t.teardown(() => {
    Date.now = now;
  });
  for (const offsetMs of [0, -6 * HOUR_MS, 9 * HOUR_MS, 0]) {
    Date.now = () => now() + offsetMs;
    const [before, read, after] = [Date.now(), millis(), Date.now()];
    // As close as the readings of two clocks are kept to each other.
    t.ok(read > before - 60 && read < after + 60, `${offsetMs}: ${read} between ${before} and ${after}`);
    t.equal(clock.nowMs() >= after, true);
  }
  const parts = Array.from({ length: 100 }, () => clock.now().nsec % 1_000_000);
  t.ok(
    parts.some((part) => part > 0),
    'below a millisecond',
  );
  t.end();
});

t.test('a pause of the process between two readings of clocks is no step back', (t) => {
  const clock = new SystemClock();
  const millis = () => {
    const { sec, nsec } = clock.now();
    return sec * 1000 + nsec / 1e6;
  };
  const { now } = Date;
  t.teardown(() => {
    Date.now = now;
  });
  const before = millis();
  let isPaused = false;
  Date.now = () => {
    const found = now();
    while (!isPaused && now() < found + 100);
    isPaused = true;
    return found;
  };
  const after = millis();
  t.ok(after >= before + 90, `${after} after ${before}`);
  t.end();
});
