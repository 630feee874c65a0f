/**
 * What goes wrong with one disk of a machine, the victim, at rates drawn from the seed: as many disks as may be lost, one, misbehave in any
 * mixture, and no promise may suffer, nor may an application see an error. Faults of the cache device are a kind of their own: what the cache alone
 * promised may end in an error, never in a lie.
 */
import { CairnError } from '../../src/errors/cairn-error.js';
import type { SeededRandom } from './seeded-random.js';
import type { SimDevice } from './sim-device.js';
import type { Interference, Operation } from './sim-io.js';

/** Chances per operation on the victim. */
export interface FaultRates {
  readonly readError: number;
  readonly writeError: number;
  readonly syncError: number;
  readonly noSpace: number;
  /** A write lands somewhere else in the same file. */
  readonly misdirected: number;
  /** The disk is gone, until the machine stops. */
  readonly vanish: number;
  /** Turns that every operation waits. */
  readonly slowTurns: number;
  /** Bits that flip at rest while the machine is stopped. */
  readonly flips: number;
}

export const NO_FAULTS: FaultRates = {
  readError: 0,
  writeError: 0,
  syncError: 0,
  noSpace: 0,
  misdirected: 0,
  vanish: 0,
  slowTurns: 0,
  flips: 0,
};

/** Each kind is on or off, and rare or frequent where it is on. */
export function drawRates(random: SeededRandom): FaultRates {
  const rate = (): number => (random.chance(0.5) ? random.pick([0.005, 0.03, 0.15]) : 0);
  return {
    readError: rate(),
    writeError: rate() / 2,
    syncError: rate() / 2,
    noSpace: rate() / 2,
    misdirected: random.chance(0.3) ? 0.02 : 0,
    vanish: random.chance(0.4) ? 0.01 : 0,
    slowTurns: random.chance(0.2) ? 6 : 0,
    flips: random.chance(0.4) ? 1 + random.below(6) : 0,
  };
}

export class Faults implements Interference {
  readonly #victim: SimDevice;
  readonly #rates: FaultRates;
  readonly #random: SeededRandom;
  #gone = false;
  /** How often each kind has struck. */
  readonly struck = new Map<string, number>();

  constructor(victim: SimDevice, rates: FaultRates, random: SeededRandom) {
    this.#victim = victim;
    this.#rates = rates;
    this.#random = random;
  }

  before({ kind, path, position }: Operation): 'skip' | undefined {
    if (!path.startsWith(`${this.#victim.root}/`)) return undefined;
    const { readError, writeError, syncError, noSpace, misdirected, vanish } = this.#rates;
    if (this.#gone || this.#hits('vanish', vanish)) {
      this.#gone = true;
      throw new CairnError(kind === 'look' ? 'NOT_FOUND' : 'IO', `${path}: the device is gone`);
    }
    if (kind === 'read' && this.#hits('readError', readError)) throw new CairnError('IO', `${path}: cannot be read`);
    if (kind === 'sync' || kind === 'syncDirectory') {
      if (this.#hits('syncError', syncError)) throw new CairnError('IO', `${path}: cannot be synced`);
    } else if (kind === 'write' || kind === 'create' || kind === 'rename') {
      if (this.#hits('noSpace', noSpace)) throw new CairnError('NO_SPACE', `${path}: no space left on the device`);
      if (this.#hits('writeError', writeError)) throw new CairnError('IO', `${path}: cannot be written`);
      if (kind === 'write' && position !== undefined && this.#hits('misdirected', misdirected)) {
        this.#victim.misdirect(path, this.#random);
      }
    }
    return undefined;
  }

  delay({ path }: Operation): number {
    return path.startsWith(`${this.#victim.root}/`) ? this.#random.below(this.#rates.slowTurns + 1) : 0;
  }

  #hits(kind: string, rate: number): boolean {
    if (rate === 0 || !this.#random.chance(rate)) return false;
    this.struck.set(kind, (this.struck.get(kind) ?? 0) + 1);
    return true;
  }
}

/** Flips single bits anywhere on the device. */
export function flipBits(device: SimDevice, count: number, random: SeededRandom): void {
  const paths = device.paths();
  for (let i = 0; i < count && paths.length > 0; i++) {
    device.damage(random.pick(paths), (content) => {
      if (content.length === 0) return content;
      const at = random.below(content.length);
      const byte = Buffer.alloc(1);
      content.read(byte, at);
      byte[0]! ^= 1 << random.below(8);
      return content.write(at, byte);
    });
  }
}
