/**
 * A pool's life over many stops: steps, a stop at any event, recovery, more steps, with faults of one disk mixed in. Images at other events of
 * each life are stopped, recovered and checked on the side.
 */
import { hasCode } from '../../src/errors/cairn-error.js';
import type { Pool } from '../../src/pool/pool.js';
import { baseImage, labelOf } from './crash-points.js';
import { drawRates, type FaultRates, Faults, NO_FAULTS } from './faults.js';
import { readTree, Session } from './history.js';
import { type Found, type Loss, Promises } from './promises.js';
import { audit, probe } from './recovered-pool.js';
import { SeededRandom } from './seeded-random.js';
import type { SimDevice } from './sim-device.js';
import { type MachineImage, SimMachine, type Stop } from './sim-machine.js';
import {
  CACHE_DIRECTORY,
  CHUNK_BYTES,
  diskDirectory,
  openPool,
  type PoolLayout,
  settled,
  USUAL_LAYOUT,
} from './sim-pool.js';
import { compressing, drawSteps, type Step } from './steps.js';
import { describeStop, drawStop } from './stops.js';

export interface LongHistory {
  readonly seed: number;
  readonly layout: PoolLayout;
  readonly rates: FaultRates;
  /** The number of the disk that the faults strike; 0: none. */
  readonly victim: number;
  /** Steps of each life. */
  readonly lives: readonly (readonly Step[])[];
  /** Crash points looked at per life, beside the one at which it ends. */
  readonly aside: number;
}

export interface LongOutcome {
  readonly points: number;
  /** What went wrong, where. */
  readonly failure: { readonly where: string; readonly error: unknown } | undefined;
  readonly struck: ReadonlyMap<string, number>;
}

const LAYOUTS: readonly Partial<PoolLayout>[] = [{}, {}, {}, { journal: 2 }, { data: 2 }, { data: 4 }, { data: 1 }];

export function drawLongHistory(seed: number, lives: number, stepsPerLife: number): LongHistory {
  const random = new SeededRandom(seed);
  const layout: PoolLayout = {
    ...USUAL_LAYOUT,
    ...random.pick(LAYOUTS),
    mode: random.chance(0.5) ? 'strong' : 'default',
  };
  const victim = layout.data > 1 && random.chance(0.6) ? 1 + random.below(layout.data) : 0;
  return {
    seed,
    layout,
    victim,
    rates: victim === 0 ? NO_FAULTS : drawRates(random),
    lives: Array.from({ length: lives }, (_, life) => [
      ...(life === 0 ? compressing(seed) : []),
      ...drawSteps(random, stepsPerLife),
    ]),
    aside: 6,
  };
}

interface Point {
  readonly stamp: number;
  readonly label: string;
  readonly image: MachineImage;
}

export async function runLongHistory(history: LongHistory): Promise<LongOutcome> {
  const run = new LongRun(history, await baseImage(history.layout));
  try {
    await run.run();
    return { points: run.points, failure: undefined, struck: run.struck };
  } catch (error) {
    return { points: run.points, failure: { where: run.where, error }, struck: run.struck };
  }
}

class LongRun {
  points = 0;
  where = 'before the first opening';
  readonly struck = new Map<string, number>();
  readonly #history: LongHistory;
  readonly #random: SeededRandom;
  readonly #promises = new Promises(CHUNK_BYTES);
  #image: MachineImage;
  #stamp = 0;
  #writes = 0;
  /** The victim as it was at some earlier end of a life. */
  #stale: SimDevice | undefined;

  constructor(history: LongHistory, image: MachineImage) {
    this.#history = history;
    this.#image = image;
    this.#random = new SeededRandom(history.seed ^ 0x5eed);
  }

  async run(): Promise<void> {
    let stop: Stop = { how: 'kill' };
    for (const [life, steps] of this.#history.lives.entries()) stop = await this.#life(life, steps, stop);
    this.where = 'at the end';
    await this.#recover(this.#image, stop, this.#stamp, false);
  }

  /** Returns how this life ends; its image is kept. */
  async #life(life: number, steps: readonly Step[], begin: Stop): Promise<Stop> {
    const { victim, rates } = this.#history;
    this.where = `at the beginning of life ${life}, after ${describeStop(begin)}`;
    const machine = SimMachine.start(this.#image, begin, { random: this.#random.fork() });
    const base = this.#stamp + 1;
    const pool = await settled(machine, openPool(machine));
    this.#rebase(await settled(machine, readTree(pool)), begin);
    const root = diskDirectory(victim);
    const faults = victim === 0 ? undefined : new Faults(machine.device(root), rates, this.#random.fork());
    machine.io.interference = faults;
    const points: Point[] = [];
    const chosen = this.#random.fork();
    let seen = 0;
    // A fair choice of so many events, without knowing how many there will be.
    machine.onEvent = (operation) => {
      const at = seen++ <= this.#history.aside ? points.length : chosen.below(seen);
      if (at > this.#history.aside) return;
      points[at] = { stamp: base + machine.events, label: labelOf(operation), image: machine.image() };
    };
    const session = new Session({ machine, pool, promises: this.#promises, baseStamp: base, writes: this.#writes });
    for (const [i, step] of steps.entries()) {
      this.where = `life ${life}, step ${i} (${JSON.stringify(step)})`;
      await session.run([step]);
    }
    this.where = `life ${life}, waiting for what goes on`;
    await session.settle();
    points.push({ stamp: base + machine.events, label: 'at rest', image: machine.image() });
    this.#writes = session.writes;
    for (const [kind, count] of faults?.struck ?? []) this.struck.set(kind, (this.struck.get(kind) ?? 0) + count);
    machine.stop();
    const end = this.#random.pick(points);
    for (const point of points) {
      if (point === end) continue;
      this.where = `life ${life}, stopped aside at event ${point.stamp} (${point.label})`;
      await this.#recover(point.image, this.#drawStop(), point.stamp, this.#random.chance(0.3));
    }
    this.#promises.cut(end.stamp);
    this.#image = end.image;
    this.#stamp = end.stamp;
    const stop = this.#drawStop();
    const device = end.image.devices.find((one) => one.root === root);
    if (device !== undefined && (this.#stale === undefined || this.#random.chance(0.3))) {
      this.#stale = device.copy();
      this.#stale.crash(this.#random, 'any');
    }
    return stop;
  }

  #drawStop(): Stop {
    const { layout, victim, rates } = this.#history;
    const random = this.#random;
    const stop = drawStop(layout, random, rates === NO_FAULTS ? undefined : victim);
    // Once a disk was lost no other may be: what the pool commits from then on has only the rest.
    if (rates === NO_FAULTS) return { ...stop, lost: (stop.lost ?? []).filter((root) => root === CACHE_DIRECTORY) };
    const root = diskDirectory(victim);
    const flips = rates.flips > 0 && random.chance(0.5) ? { flips: { root, count: rates.flips } } : {};
    const stale = this.#stale !== undefined && random.chance(0.15) ? { stale: { root, device: this.#stale } } : {};
    return { ...stop, ...flips, ...stale };
  }

  #rebase(found: Found, stop: Stop): void {
    const loss = lossOf(stop);
    const at = this.#promises.check(found, this.#stamp, loss);
    this.points++;
    this.#promises.rebase(found, at, this.#stamp, loss);
  }

  /** Stops, recovers and checks a machine that does not go on. */
  async #recover(image: MachineImage, stop: Stop, stamp: number, whole: boolean): Promise<void> {
    this.where = `${this.where}, ${describeStop(stop)}`;
    const machine = SimMachine.start(image, stop, { random: this.#random.fork(), quick: true });
    const pool: Pool = await settled(machine, openPool(machine));
    this.#promises.check(await settled(machine, readTree(pool)), stamp, lossOf(stop));
    this.points++;
    await settled(machine, probe(pool));
    if (whole) await settled(machine, audit(pool, this.#history.victim !== 0));
    await settled(machine, pool.close());
  }
}

function lossOf(stop: Stop): Loss {
  return { stop: stop.how, cache: stop.lost?.includes(CACHE_DIRECTORY) ?? false };
}

/** What went wrong, for people. */
export function describeLong({ failure }: LongOutcome): string {
  if (failure === undefined) return 'nothing went wrong';
  const { where, error } = failure;
  const code =
    error instanceof Error && hasCode(error, 'UNREADABLE', 'IO', 'CORRUPT', 'NO_SPACE') ? ` (${error.code})` : '';
  return `${where}${code}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
}
