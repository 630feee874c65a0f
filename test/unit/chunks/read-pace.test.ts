/** Disks that answer late or never: nobody waits who need not, and no read is refused that the disk would answer. */
import t from 'tap';
import { type Reading, ReadPace } from '../../../src/chunks/read-pace.js';
import { ManualClock } from '../cache/manual-clock.js';

const BYTES = Buffer.from('shard');

/** A disk that answers what has reached it when it is told to. */
class Sleeper {
  readonly #waiting: ((bytes: Uint8Array) => void)[] = [];
  isAwake = false;

  get reached(): number {
    return this.#waiting.length;
  }

  read = (): Promise<Uint8Array> =>
    this.isAwake ? Promise.resolve(BYTES) : new Promise((resolve) => this.#waiting.push(resolve));

  wake(): void {
    this.isAwake = true;
    for (const answer of this.#waiting) answer(BYTES);
  }
}

const turn = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

t.test('a disk that spins up answers every read, however many are late', async (t) => {
  const clock = new ManualClock();
  const pace = new ReadPace(clock);
  const disk = new Sleeper();
  const readings: Reading[] = Array.from({ length: 40 }, () => pace.begin(1, BYTES.length, disk.read));
  t.equal(disk.reached, 8, 'the others queue');
  clock.advance(10_000);
  await turn();
  const another = pace.begin(1, BYTES.length, disk.read);
  t.equal(await another.inTime(), false, 'who can asks the others at once');
  t.ok(pace.isSatOut(1));
  disk.wake();
  for (const { answer } of [...readings, another]) t.equal(await answer, BYTES);
  t.equal(await pace.begin(1, BYTES.length, disk.read).inTime(), true, 'nothing is overdue any more');
});

t.test('of a disk that never answers nobody waits for longer than a minute', async (t) => {
  const clock = new ManualClock();
  const pace = new ReadPace(clock);
  const disk = new Sleeper();
  const readings = Array.from({ length: 20 }, () => pace.begin(1, BYTES.length, disk.read));
  clock.advance(60_000);
  for (const { answer } of readings) await t.rejects(answer, { code: 'IO', message: 'disk 1 does not answer' });
  t.equal(disk.reached, 8, 'and no more than a few hold a thread');
});
