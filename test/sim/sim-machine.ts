/**
 * A whole simulated machine: devices, clock, chance and metadata engine behind the interfaces that a pool stands on. Its image at one
 * moment is cheap to take; starting from an image, after a power cut or a kill, gives the next life. Everything is decided by seeds.
 */
import { InlinePipeline } from '../../src/chunks/inline-pipeline.js';
import type { Pipeline } from '../../src/chunks/pipeline.js';
import type { MetaStore } from '../../src/meta/meta-store.js';
import type { Machine } from '../../src/pool/machine.js';
import { MemoryMetaStore } from '../conformance/memory-meta-store.js';
import { flipBits } from './faults.js';
import type { SeededRandom } from './seeded-random.js';
import { SimClock } from './sim-clock.js';
import type { Keep, SimDevice } from './sim-device.js';
import { type Operation, SimIo } from './sim-io.js';
import { SimMetaStore } from './sim-meta-store.js';

/** All that outlives a process, and what it had not made durable yet. */
export interface MachineImage {
  readonly devices: readonly SimDevice[];
  /** The states of the metadata engine since its last checkpoint, oldest first: it is never further back than the first. */
  readonly meta: readonly MemoryMetaStore[];
  readonly clockMs: number;
  readonly boot: number;
}

/** How a machine stops, and what does not come back with it. */
export interface Stop {
  readonly how: 'power' | 'kill';
  /** Of what was not synced, at a power cut; `any` by default. */
  readonly keep?: Keep;
  /** Mount points whose devices come back empty. */
  readonly lost?: readonly string[];
  /** The metadata store is gone. */
  readonly metaLost?: boolean;
  /** Bits that flip on the device at this mount point. */
  readonly flips?: { readonly root: string; readonly count: number };
  /** The device at this mount point comes back as it was in an earlier image. */
  readonly stale?: { readonly root: string; readonly device: SimDevice };
}

export interface StartOptions {
  readonly random: SeededRandom;
  /** Operations end at once and in order. */
  readonly quick?: boolean;
}

export class SimMachine implements Machine {
  readonly io: SimIo;
  readonly clock: SimClock;
  readonly random: SeededRandom;
  /** Changes of devices and syncs so far. */
  events = 0;
  onEvent: ((operation: Operation) => void) | undefined;
  /** The engine of this life, once it is open. */
  store: SimMetaStore | undefined;
  readonly #devices: readonly SimDevice[];
  readonly #boot: number;
  #meta: MemoryMetaStore[];

  private constructor(image: MachineImage, { random, quick = false }: StartOptions) {
    this.#devices = image.devices;
    this.#meta = [...image.meta];
    this.#boot = image.boot;
    this.random = random;
    this.clock = new SimClock(image.clockMs);
    this.io = new SimIo({
      devices: image.devices,
      random: random.fork(),
      bootId: `boot-${image.boot}`,
      quick,
      onEvent: (operation) => {
        this.events++;
        this.onEvent?.(operation);
      },
    });
  }

  /** The machine is made of empty devices. */
  static make(devices: readonly SimDevice[], options: StartOptions): SimMachine {
    return new SimMachine({ devices, meta: [], clockMs: 1_700_000_000_000, boot: 1 }, options);
  }

  /** The next life of a machine that was stopped at `image`, which stays as it is. */
  static start(image: MachineImage, stop: Stop, options: StartOptions): SimMachine {
    return new SimMachine(stopped(image, stop, options.random), options);
  }

  /** What there is at this moment. */
  image(): MachineImage {
    return {
      devices: this.#devices.map((device) => device.copy()),
      meta: [...this.#meta],
      clockMs: this.clock.monotonicMs(),
      boot: this.#boot,
    };
  }

  /** The same for two machines that would recover alike. */
  fingerprint(): string {
    const { sequence = 0, epoch = 0 } = this.#meta.at(-1)?.position() ?? {};
    return [sequence, epoch, this.#boot, ...this.#devices.map((device) => device.fingerprint())].join('\n');
  }

  device(root: string): SimDevice {
    return this.io.device(root);
  }

  /** The device syncs the file, whoever was told what about it. */
  syncLate(path: string): void {
    this.io.device(path).file(path)?.sync();
    this.events++;
  }

  /** Nothing that goes on here ever ends. */
  stop(): void {
    this.io.stop();
    this.clock.stop();
  }

  makePipeline(): Pipeline {
    return new InlinePipeline(2);
  }

  async openMeta(): Promise<MetaStore> {
    this.store = new SimMetaStore(this.#meta.at(-1), (store) => this.#meta.push(new MemoryMetaStore(store)));
    return this.store;
  }

  /** The engine has synced what it has: a power cut does not take it back further. */
  checkpointMeta(): void {
    this.#meta = this.#meta.slice(-1);
  }

  async capacities(directories: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const capacities = new Map<string, number>();
    for (const directory of directories) capacities.set(directory, (await this.io.space()).freeBytes);
    return capacities;
  }

  indexPath(): string {
    return ':memory:';
  }
}

function stopped(image: MachineImage, stop: Stop, random: SeededRandom): MachineImage {
  const devices = image.devices.map((device) =>
    stop.stale?.root === device.root ? stop.stale.device.copy() : device.copy(),
  );
  for (const device of devices) {
    if (stop.how === 'power') device.crash(random, stop.keep ?? 'any');
    if (stop.lost?.includes(device.root)) device.wipe();
    if (stop.flips?.root === device.root) flipBits(device, stop.flips.count, random);
  }
  const meta = stop.metaLost ? [] : stop.how === 'power' ? survivingMeta(image.meta, random) : image.meta;
  return { devices, meta, clockMs: image.clockMs, boot: image.boot + (stop.how === 'power' ? 1 : 0) };
}

/** WAL mode with synchronous = NORMAL: some state that it had. */
function survivingMeta(states: readonly MemoryMetaStore[], random: SeededRandom): MemoryMetaStore[] {
  if (states.length === 0) return [];
  const kept = random.chance(0.5) ? states.length - 1 : random.below(states.length);
  return [states[kept]!];
}
