import t from 'tap';
import { IdleMemory, type ProcessMemory } from '../../../src/cli/idle-memory.js';
import { ManualClock } from '../cache/manual-clock.js';

const MIB = 1024 * 1024;
const LOOK_MS = 10_000;

/** A heap that gives back, at each collection, no more than `perCollectionBytes` of what is free in it. */
class FakeProcess implements ProcessMemory {
  workedMs = 0;
  freeBytes = 0;
  usedBytes = 80 * MIB;
  collections = 0;
  trims = 0;
  readonly perCollectionBytes = 100 * MIB;

  processorMs(): number {
    return this.workedMs;
  }

  residentBytes(): number {
    return this.usedBytes + this.freeBytes;
  }

  collect(): void {
    this.collections += 1;
    this.workedMs += 300;
    this.freeBytes -= Math.min(this.freeBytes, this.perCollectionBytes);
  }

  trim(): void {
    this.trims += 1;
  }
}

t.test('a process that is idle again gives back all that it can, a collection at each look', (t) => {
  const clock = new ManualClock();
  const process = new FakeProcess();
  let releases = 0;
  const memory = new IdleMemory(clock, process, () => {
    releases += 1;
  });
  memory.start();
  t.teardown(() => memory.close());
  const look = () => clock.advance(LOOK_MS);

  look();
  t.equal(process.collections, 0, 'nothing has grown');

  process.freeBytes = 250 * MIB;
  process.workedMs += LOOK_MS;
  look();
  t.same([process.collections, process.trims], [0, 1], 'while it works only what costs nothing');

  const resident: number[] = [];
  for (let i = 0; i < 6; i++) {
    look();
    resident.push(process.residentBytes() / MIB);
  }
  t.same(resident, [230, 130, 80, 80, 80, 80]);
  t.equal(process.collections, 4, 'the one that gave nothing was the last');
  t.equal(releases, 4);
  t.end();
});

t.test('what has grown by a little is left alone, also when that comes again and again', (t) => {
  const clock = new ManualClock();
  const process = new FakeProcess();
  const memory = new IdleMemory(clock, process, () => undefined);
  memory.start();
  t.teardown(() => memory.close());
  for (let i = 0; i < 4; i++) {
    process.usedBytes += MIB;
    clock.advance(LOOK_MS);
  }
  t.same([process.collections, process.trims], [0, 0]);
  process.usedBytes += 5 * MIB;
  clock.advance(LOOK_MS);
  t.equal(process.collections, 1, 'all of it together was worth one');
  clock.advance(LOOK_MS);
  t.equal(process.collections, 1, 'which gave nothing, so that is that');
  t.end();
});

t.test('a look that fails ends nothing', (t) => {
  const clock = new ManualClock();
  const process = new FakeProcess();
  const memory = new IdleMemory(clock, process, () => {});
  memory.start();
  t.teardown(() => memory.close());
  process.processorMs = () => {
    throw new Error('EMFILE: too many open files');
  };
  clock.advance(LOOK_MS);
  process.processorMs = () => process.workedMs;
  process.freeBytes = 250 * MIB;
  clock.advance(LOOK_MS);
  t.equal(process.collections, 1, 'the next look is one');
  t.end();
});
