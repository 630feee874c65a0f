/**
 * Runs a history once, takes the machine's image at every event, and lets each of these machines stop there in several ways: power cut
 * or kill, with the cache, the metadata or as many disks gone as may be lost. Every one is recovered and held against the model.
 */
import { hasCode } from '../../src/errors/cairn-error.js';
import { ROOT_INO } from '../../src/meta/rows.js';
import type { Pool } from '../../src/pool/pool.js';
import { readTree, Session } from './history.js';
import { Promises } from './promises.js';
import { SeededRandom } from './seeded-random.js';
import type { Operation } from './sim-io.js';
import { type MachineImage, SimMachine, type Stop } from './sim-machine.js';
import { CACHE_DIRECTORY, diskDirectory, makePool, openPool, type PoolLayout, settled } from './sim-pool.js';
import type { Step } from './steps.js';

export interface Scenario {
  readonly layout: PoolLayout;
  readonly steps: readonly Step[];
  /** Of how operations interleave, and of what every stop leaves. */
  readonly seed: number;
  /** The share of events that are crash points; 1 for all. */
  readonly share: number;
  /** Ways to stop at each crash point. */
  readonly stops: number;
  /** The share of recoveries that are stopped at their own events, once each. */
  readonly nested: number;
}

export interface CrashPoint {
  readonly event: number;
  readonly label: string;
  readonly image: MachineImage;
}

export interface Failure {
  readonly event: number;
  readonly label: string;
  readonly stop: Stop;
  readonly error: unknown;
}

export interface Outcome {
  readonly points: number;
  readonly failures: readonly Failure[];
}

const CALLER = { uid: 1000, gid: 1000, pid: 1 };
const bases = new Map<string, Promise<MachineImage>>();

export function baseImage(layout: PoolLayout): Promise<MachineImage> {
  const key = JSON.stringify(layout);
  let base = bases.get(key);
  if (base === undefined) {
    base = makePool(layout);
    bases.set(key, base);
  }
  return base;
}

/** Changes what a machine does before it is used: planted bugs. */
export type Mutate = (machine: SimMachine, pool: Pool | undefined) => void;

export interface ExploreOptions {
  /** Stop at the first failure. */
  readonly firstOnly?: boolean;
  readonly mutate?: Mutate;
  readonly signal?: AbortSignal;
}

/** Throws if the history itself goes wrong; failures of recoveries are in the outcome. */
export async function explore(scenario: Scenario, options: ExploreOptions = {}): Promise<Outcome> {
  const { layout, seed, share } = scenario;
  const random = new SeededRandom(seed);
  const machine = SimMachine.start(await baseImage(layout), { how: 'kill' }, { random: random.fork() });
  const promises = new Promises(128 * 1024);
  const pool = await settled(machine, openPool(machine));
  options.mutate?.(machine, pool);
  const points: CrashPoint[] = [{ event: machine.events, label: 'at the start', image: machine.image() }];
  const chosen = random.fork();
  machine.onEvent = (operation) => {
    if (chosen.next() >= share) return;
    points.push({ event: machine.events, label: labelOf(operation), image: machine.image() });
  };
  const session = new Session({ machine, pool, promises, baseStamp: 0, writes: 0 });
  await session.run(scenario.steps);
  await session.settle();
  await settled(machine, pool.close());
  const checker = new Checker(scenario, promises, random.fork(), options);
  for (const point of points) {
    if (options.signal?.aborted) break;
    for (let i = 0; i < scenario.stops; i++) await checker.check(point);
    if (options.firstOnly && checker.failures.length > 0) break;
  }
  return { points: checker.points, failures: checker.failures };
}

function labelOf({ kind, path, position }: Operation): string {
  return `${kind} ${path}${position === undefined ? '' : ` at ${position}`}`;
}

/** Draws a way to stop that the promises must survive. */
export function drawStop(layout: PoolLayout, random: SeededRandom): Stop {
  const how = random.chance(0.8) ? 'power' : 'kill';
  const lost: string[] = [];
  if (random.chance(0.35)) lost.push(CACHE_DIRECTORY);
  if (layout.data > 1 && random.chance(0.3)) lost.push(diskDirectory(1 + random.below(layout.data)));
  return { how, lost, metaLost: random.chance(0.2) };
}

class Checker {
  points = 0;
  readonly failures: Failure[] = [];
  readonly #scenario: Scenario;
  readonly #promises: Promises;
  readonly #random: SeededRandom;
  readonly #options: ExploreOptions;

  constructor(scenario: Scenario, promises: Promises, random: SeededRandom, options: ExploreOptions) {
    this.#scenario = scenario;
    this.#promises = promises;
    this.#random = random;
    this.#options = options;
  }

  async check({ event, label, image }: CrashPoint): Promise<void> {
    const stop = drawStop(this.#scenario.layout, this.#random);
    const nested: CrashPoint[] = [];
    const chosen = this.#random.fork();
    const within = chosen.chance(this.#scenario.nested);
    const machine = SimMachine.start(image, stop, { random: this.#random.fork(), quick: true });
    this.#options.mutate?.(machine, undefined);
    if (within)
      machine.onEvent = (operation) =>
        void nested.push({ event, label: `${label}, then recovery at ${labelOf(operation)}`, image: machine.image() });
    await this.#attempt({ event, label, stop, machine, onOpen: () => (machine.onEvent = undefined) });
    for (const point of nested) {
      const again = drawStop({ ...this.#scenario.layout, data: 1 }, this.#random);
      const lost = [...(stop.lost ?? []), ...(again.lost ?? [])];
      const second = SimMachine.start(point.image, again, { random: this.#random.fork(), quick: true });
      this.#options.mutate?.(second, undefined);
      // What a kill leaves was already without what the power cut took.
      const how = stop.how === 'power' ? stop.how : again.how;
      await this.#attempt({
        event,
        label: point.label,
        stop: { ...again, how, lost },
        machine: second,
        onOpen: () => undefined,
      });
    }
  }

  async #attempt(parts: {
    event: number;
    label: string;
    stop: Stop;
    machine: SimMachine;
    onOpen: () => void;
  }): Promise<void> {
    const { event, label, stop, machine } = parts;
    this.points++;
    try {
      const pool = await settled(machine, openPool(machine));
      parts.onOpen();
      const loss = { stop: stop.how, cache: stop.lost?.includes(CACHE_DIRECTORY) ?? false };
      this.#promises.check(await settled(machine, readTree(pool)), event, loss);
      await settled(machine, probe(pool));
      await settled(machine, pool.close());
    } catch (error) {
      this.failures.push({ event, label, stop, error });
    }
  }
}

/** The pool is writable again: a file is made, committed and read. */
export async function probe(pool: Pool): Promise<void> {
  const { vfs } = pool;
  const bytes = Buffer.alloc(70_000, 'probe');
  const { attr, handle } = await vfs.create(ROOT_INO, 'probe', 0o600, { read: true, write: true }, CALLER);
  await vfs.write(handle, 0, bytes);
  await pool.commit();
  const { state, health } = await pool.control.state('/probe');
  if (state !== 'committed' || health === 'lost')
    throw new Error(`a new file is ${state} and ${health} after a commit`);
  const read = Buffer.concat((await vfs.read(handle, 0, bytes.length)) as Uint8Array[]);
  if (!read.equals(bytes)) throw new Error('a new file does not read as written');
  await vfs.release(handle);
  await vfs.unlink(ROOT_INO, 'probe');
  if (attr.ino <= ROOT_INO) throw new Error('an inode number was given out twice');
}

/** One line that says what went wrong, for people. */
export function describe({ event, label, stop, error }: Failure): string {
  const lost = [...(stop.lost ?? []), ...(stop.metaLost ? ['the metadata'] : [])];
  const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const code = hasCode(error, 'UNREADABLE', 'IO', 'CORRUPT') ? ` (${error.code})` : '';
  return `event ${event} (${label}), ${stop.how}${lost.length > 0 ? `, without ${lost.join(' and ')}` : ''}${code}: ${why}`;
}
