import fc from 'fast-check';
import t from 'tap';
import { END, GAP, RangeMap } from '../../../src/cache/range-map.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`SEED=${seed}`);

/** The model: one cell per byte; the last cell stands for everything up to END. */
class Model {
  readonly cells: Int16Array;
  constructor(readonly length: number) {
    this.cells = new Int16Array(length + 1).fill(GAP);
  }
  /** The cell after the last one of a range that ends at `to`. */
  cellEnd(to: number): number {
    return to === END ? this.length + 1 : to;
  }
  set(from: number, to: number, value: number): void {
    if (from < this.cellEnd(to)) this.cells.fill(value, from, this.cellEnd(to));
  }
  replace(from: number, to: number, oldValue: number, newValue: number): void {
    for (let i = from; i < this.cellEnd(to); i++) if (this.cells[i] === oldValue) this.cells[i] = newValue;
  }
  /** Runs of equal cells of a window, gaps included. */
  runs(from: number, to: number): [number, number, number][] {
    const runs: [number, number, number][] = [];
    for (let i = from; i < this.cellEnd(to); i++) {
      const end = i === this.length ? END : i + 1;
      const last = runs.at(-1);
      if (last !== undefined && last[2] === this.cells[i]) last[1] = end;
      else runs.push([i, end, this.cells[i]!]);
    }
    return runs;
  }
}

function runsOf(map: RangeMap, from: number, to: number, gaps: boolean): [number, number, number][] {
  const runs: [number, number, number][] = [];
  map.forEach(from, to, (a, b, value) => runs.push([a, b, value]), gaps);
  return runs;
}

function sameEverywhere(map: RangeMap, model: Model, values: number): void {
  const expected = model.runs(0, END);
  assertEqual(runsOf(map, 0, END, true), expected, 'runs with gaps');
  const present = expected.filter(([, , value]) => value !== GAP);
  assertEqual(runsOf(map, 0, END, false), present, 'runs');
  assertEqual(map.size, present.length, 'size');
  assertEqual(map.isEmpty, present.length === 0, 'isEmpty');
  for (let value = 0; value < values; value++) {
    const bytes = present.reduce((sum, [from, to, v]) => (v === value && to !== END ? sum + to - from : sum), 0);
    assertEqual(map.bytes(value), bytes, `bytes(${value})`);
  }
}

function sameInWindow(map: RangeMap, model: Model, from: number, to: number, mask: number): void {
  const runs = model.runs(from, to);
  assertEqual(runsOf(map, from, to, true), runs, `window ${from}–${to}`);
  const inMask = (value: number) => value !== GAP && (mask & (1 << value)) !== 0;
  assertEqual(
    map.covers(from, to, mask),
    runs.every(([, , value]) => inMask(value)),
    `covers ${from}–${to} ${mask}`,
  );
  const next = model.runs(from, END).find(([, , value]) => inMask(value));
  const found = map.firstAtOrAfter(from, mask);
  assertEqual(found && [found.from, found.to, found.value], next, `firstAtOrAfter ${from} ${mask}`);
  const visited: [number, number, number][] = [];
  map.forEachOf(from, to, mask, (a, b, value) => visited.push([a, b, value]));
  assertEqual(
    visited,
    runs.filter(([, , value]) => inMask(value)),
    `forEachOf ${from}–${to} ${mask}`,
  );
  assertEqual(map.at(from) ?? GAP, model.cells[from], `at ${from}`);
}

function assertEqual(actual: unknown, expected: unknown, what: string): void {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what}: ${a} is not ${b}`);
}

type Step = {
  kind: 'set' | 'clear' | 'replace' | 'replaceAll';
  from: number;
  to: number;
  value: number;
  other: number;
};

function stepOf(length: number, longest: number, values: number, kinds: fc.Arbitrary<Step['kind']>) {
  return fc
    .record({
      kind: kinds,
      from: fc.nat(length),
      bytes: fc.nat(longest),
      endless: fc.integer({ min: 0, max: 29 }),
      value: fc.nat(values - 1),
      other: fc.nat(values - 1),
    })
    .map(({ kind, from, bytes, endless, value, other }): Step => {
      return { kind, from, to: endless === 0 ? END : Math.min(from + bytes, length), value, other };
    });
}

function apply(map: RangeMap, model: Model, { kind, from, to, value, other }: Step): void {
  if (kind === 'set') {
    map.set(from, to, value);
    model.set(from, to, value);
  } else if (kind === 'clear') {
    map.clear(from, to);
    model.set(from, to, GAP);
  } else if (kind === 'replace') {
    map.replace(from, to, value, other);
    model.replace(from, to, value, other);
  } else {
    map.replaceAll(value, other);
    model.replace(0, END, value, other);
  }
}

t.test('a small map agrees with a per-byte model after every step', async () => {
  const length = 60;
  const kinds = fc.constantFrom<Step['kind']>('set', 'set', 'set', 'clear', 'replace', 'replaceAll');
  const window = fc.tuple(fc.nat(length - 1), fc.nat(length), fc.nat(15));
  fc.assert(
    fc.property(fc.array(fc.tuple(stepOf(length, 25, 4, kinds), window), { maxLength: 40, size: 'max' }), (steps) => {
      const map = new RangeMap();
      const model = new Model(length);
      for (const [step, [from, bytes, mask]] of steps) {
        apply(map, model, step);
        sameEverywhere(map, model, 4);
        sameInWindow(map, model, from, Math.min(from + bytes, length), mask);
        sameInWindow(map, model, from, END, mask);
      }
    }),
    { seed, numRuns: 1000 },
  );
});

t.test('a map of many blocks agrees with a per-byte model', async () => {
  const length = 4000;
  const kinds = fc.constantFrom<Step['kind']>('set', 'set', 'set', 'clear', 'replace');
  const wide = stepOf(length, length, 3, fc.constantFrom<Step['kind']>('set', 'clear', 'replace', 'replaceAll'));
  const phase = fc.tuple(fc.array(stepOf(length, 4, 3, kinds), { minLength: 600, maxLength: 1500, size: 'max' }), wide);
  const window = fc.tuple(fc.nat(length - 1), fc.nat(length), fc.nat(7));
  fc.assert(
    fc.property(
      fc.array(phase, { minLength: 1, maxLength: 4, size: 'max' }),
      fc.array(window, { maxLength: 20, size: 'max' }),
      (phases, windows) => {
        const map = new RangeMap();
        const model = new Model(length);
        for (const [narrow, last] of phases) {
          for (const step of narrow) apply(map, model, step.to === END ? { ...step, to: length } : step);
          sameEverywhere(map, model, 3);
          for (const [from, bytes, mask] of windows) {
            sameInWindow(map, model, from, Math.min(from + bytes, length), mask);
          }
          apply(map, model, last);
          sameEverywhere(map, model, 3);
        }
        map.clear(0, END);
        assertEqual([map.size, map.bytes(0), runsOf(map, 0, END, false)], [0, 0, []], 'emptied');
        map.set(5, 9, 1);
        assertEqual(runsOf(map, 0, END, false), [[5, 9, 1]], 'used again');
      },
    ),
    { seed, numRuns: 20 },
  );
});

t.test('200,000 random blocks of a file, then all of it', async (t) => {
  const blocks = 262_144;
  const map = new RangeMap();
  const values = new Int8Array(blocks).fill(GAP);
  let state = (seed | 1) >>> 0;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  for (let i = 0; i < 200_000; i++) {
    const block = random(blocks);
    const value = random(3);
    map.set(block * 4096, (block + 1) * 4096, value);
    values[block] = value;
  }
  let runs = 0;
  const bytes = [0, 0, 0];
  for (let i = 0; i < blocks; i++) {
    if (values[i] === GAP) continue;
    bytes[values[i]!]! += 4096;
    if (i === 0 || values[i] !== values[i - 1]) runs++;
  }
  t.equal(map.size, runs);
  t.ok(runs > 80_000, 'it was fragmented');
  t.same(
    [0, 1, 2].map((value) => map.bytes(value)),
    bytes,
  );
  let wrong = 0;
  for (let i = 0; i < blocks; i++) if ((map.at(i * 4096 + 17) ?? GAP) !== values[i]) wrong++;
  t.equal(wrong, 0);

  map.replaceAll(1, 2);
  t.same([map.bytes(0), map.bytes(1), map.bytes(2)], [bytes[0], 0, bytes[1]! + bytes[2]!]);
  map.set(0, blocks * 4096, 1);
  t.same(runsOf(map, 0, END, false), [[0, blocks * 4096, 1]]);
  t.equal(map.bytes(1), blocks * 4096);
});

t.test('edges', async (t) => {
  const map = new RangeMap();
  map.set(7, 7, 1);
  map.clear(0, END);
  map.replaceAll(0, 1);
  t.ok(map.isEmpty, 'nothing set, nothing there');
  t.ok(map.covers(5, 5, 0), 'an empty range is covered');
  t.notOk(map.covers(5, 6, -1));
  t.same(runsOf(map, 3, 8, true), [[3, 8, GAP]]);

  map.set(0, 10, 255);
  t.notOk(map.covers(0, 10, -1), 'a value beyond 31 is in no mask');
  t.equal(map.bytes(255), 10);

  map.set(2 ** 52, END, 3);
  t.equal(map.bytes(3), 0, 'a range without end has no size');
  map.set(2 ** 52 + 5, END, 4);
  t.equal(map.bytes(3), 5);
  t.equal(map.at(END - 1), 4);
  t.ok(map.covers(2 ** 52, END, RangeMap.mask(3, 4)));

  t.throws(() => map.set(0, 1, 256), /assertion/);
  t.throws(() => map.set(0, 1, -1), /assertion/);
  t.throws(() => map.set(0.5, 1, 1), /assertion/);
  t.throws(() => map.set(-1, 1, 1), /assertion/);
  t.throws(() => RangeMap.mask(32), /assertion/);
});
