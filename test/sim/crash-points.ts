/**
 * Runs a history once, takes the machine's image at every event, and lets each of these machines stop there in several ways: power cut
 * or kill, with the cache, the metadata or as many disks gone as may be lost. Every one is recovered and held against the model.
 */
import { type DiskChange, finishChange } from './disk-change.js';
import { readTree, Session } from './history.js';
import { type Found, Promises } from './promises.js';
import { audit, probe } from './recovered-pool.js';
import { SeededRandom } from './seeded-random.js';
import type { Operation } from './sim-io.js';
import { type MachineImage, SimMachine, type Stop } from './sim-machine.js';
import { CACHE_DIRECTORY, CHUNK_BYTES, makePool, openPool, type PoolLayout, settled } from './sim-pool.js';
import type { Step } from './steps.js';
import { describeStop, drawStop, everyStop } from './stops.js';

export interface Scenario {
  readonly layout: PoolLayout;
  readonly steps: readonly Step[];
  /** Of how operations interleave, and of what every stop leaves. */
  readonly seed: number;
  /** The share of events that are crash points; 1 for all. */
  readonly share: number;
  /** Ways to stop at each crash point: so many drawn, or all of stops.ts. */
  readonly stops: number | 'every';
  /** The share of recoveries that are stopped at each of their own events. */
  readonly nested: number;
  /** The share of recoveries after which the pool has to take a new file. */
  readonly probed: number;
  /** The share of recoveries after which the whole pool is checked. */
  readonly audited: number;
  /** What each recovered pool that has lost no disk is asked to finish. */
  readonly change?: DiskChange | undefined;
}

export interface Failure {
  readonly event: number;
  readonly label: string;
  readonly stop: Stop;
  readonly error: unknown;
}

export interface Outcome {
  /** Stops that were recovered from and checked. */
  readonly points: number;
  readonly failures: readonly Failure[];
}

export interface ExploreOptions {
  /** Stop at the first failure. */
  readonly firstOnly?: boolean;
  /** Plants a bug in the machine that runs the history: what it acknowledges is what is held against it. */
  readonly plant?: (machine: SimMachine) => void;
}

interface CrashPoint {
  readonly event: number;
  readonly label: string;
  readonly image: MachineImage;
}

const bases = new Map<string, Promise<MachineImage>>();

/** A machine with a fresh pool, made once per layout. */
export function baseImage(layout: PoolLayout): Promise<MachineImage> {
  const key = JSON.stringify(layout);
  let base = bases.get(key);
  if (base === undefined) {
    base = makePool(layout);
    bases.set(key, base);
  }
  return base;
}

/** Throws if the history itself goes wrong; failures of recoveries are in the outcome. */
export async function explore(scenario: Scenario, options: ExploreOptions = {}): Promise<Outcome> {
  const random = new SeededRandom(scenario.seed);
  const promises = new Promises(CHUNK_BYTES);
  const { points, session } = await run(scenario, promises, random, options);
  const checker = new Checker(scenario, promises, random.fork());
  for (const point of points) {
    const stops =
      scenario.stops === 'every'
        ? everyStop(scenario.layout)
        : Array.from({ length: scenario.stops }, () => drawStop(scenario.layout, checker.random));
    for (const stop of stops) {
      if (losesDisk(stop) && !session.mayLoseDisk(point.event)) continue;
      await checker.check(point, stop);
      if (options.firstOnly && checker.failures.length > 0) return checker;
    }
  }
  return checker;
}

/** The history, once; the machine's image at every event that is a crash point. */
async function run(
  { layout, steps, share }: Scenario,
  promises: Promises,
  random: SeededRandom,
  { plant }: ExploreOptions,
): Promise<{ points: CrashPoint[]; session: Session }> {
  const machine = SimMachine.start(await baseImage(layout), { how: 'kill' }, { random: random.fork() });
  plant?.(machine);
  const pool = await settled(machine, openPool(machine));
  const points: CrashPoint[] = [{ event: machine.events, label: 'at the start', image: machine.image() }];
  const chosen = random.fork();
  machine.onEvent = (operation) => {
    if (chosen.next() >= share) return;
    points.push({ event: machine.events, label: labelOf(operation), image: machine.image() });
  };
  const session = new Session({ machine, pool, promises, baseStamp: 0, writes: 0 });
  await session.run(steps);
  await session.settle();
  await settled(machine, pool.close());
  return { points, session };
}

export function labelOf({ kind, path, position }: Operation): string {
  return `${kind} ${path}${position === undefined ? '' : ` at ${position}`}`;
}

class Checker implements Outcome {
  points = 0;
  readonly failures: Failure[] = [];
  readonly random: SeededRandom;
  readonly #scenario: Scenario;
  readonly #promises: Promises;
  /** What machines that were left alike have recovered to: many events change nothing that a power cut would keep. */
  readonly #recovered = new Map<string, Found>();

  constructor(scenario: Scenario, promises: Promises, random: SeededRandom) {
    this.#scenario = scenario;
    this.#promises = promises;
    this.random = random;
  }

  async check({ event, label, image }: CrashPoint, stop: Stop): Promise<void> {
    const machine = SimMachine.start(image, stop, { random: this.random.fork(), quick: true });
    const within: CrashPoint[] = [];
    if (this.random.chance(this.#scenario.nested))
      machine.onEvent = (operation) =>
        within.push({ event, label: `${label}, then in recovery at ${labelOf(operation)}`, image: machine.image() });
    await this.#attempt({ event, label, stop, machine });
    for (const point of within) {
      // No further disk may be lost; and what a kill leaves is already without what the power cut took.
      const again = drawStop(this.#scenario.layout, this.random, 0);
      const next = SimMachine.start(point.image, again, { random: this.random.fork(), quick: true });
      const how = stop.how === 'power' ? stop.how : again.how;
      const lost = [...(stop.lost ?? []), ...(again.lost ?? [])];
      await this.#attempt({ event, label: point.label, stop: { ...again, how, lost }, machine: next });
    }
  }

  async #attempt(parts: { event: number; label: string; stop: Stop; machine: SimMachine }): Promise<void> {
    const { event, label, stop, machine } = parts;
    this.points++;
    const left = machine.fingerprint();
    const loss = { stop: stop.how, cache: stop.lost?.includes(CACHE_DIRECTORY) ?? false };
    try {
      const known = this.#recovered.get(left);
      if (known !== undefined) {
        this.#promises.check(known, event, loss);
        return;
      }
      const pool = await settled(machine, openPool(machine));
      machine.onEvent = undefined;
      const found = await settled(machine, readTree(pool));
      this.#promises.check(found, event, loss);
      this.#recovered.set(left, found);
      if (this.random.chance(this.#scenario.probed)) await settled(machine, probe(pool));
      const degraded = losesDisk(stop);
      const { change } = this.#scenario;
      if (change !== undefined && !degraded) {
        await settled(machine, finishChange(pool, change));
        this.#promises.check(await settled(machine, readTree(pool)), event, loss);
      }
      if (this.random.chance(this.#scenario.audited)) await settled(machine, audit(pool, degraded));
      await settled(machine, pool.close());
    } catch (error) {
      this.failures.push({ event, label, stop, error });
    }
  }
}

function losesDisk({ lost = [] }: Stop): boolean {
  return lost.some((directory) => directory !== CACHE_DIRECTORY);
}

/** What went wrong, for people. */
export function describe({ event, label, stop, error }: Failure): string {
  const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `event ${event} (${label}), ${describeStop(stop)}: ${why}`;
}
