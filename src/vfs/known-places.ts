/**
 * Where inodes that are not in memory were seen last: an inode that is asked for by its number alone has a place all the same. What changes a place loads the inode
 * first, and takes what is known here with it.
 *
 * A number has one slot, which the next one that comes there takes: numbers are given out in order, so what was made together is known together. Nothing is allocated for
 * a place but its name.
 */
import type { Ino, Name } from '../meta/rows.js';

/** Of which the name is known as well, some 60 bytes each. */
const NAMED_SLOTS = 32_768;
/** Of which only the directory is, 16 bytes each; only where directories have policies. */
const SLOTS = 524_288;

export interface KnownPlace {
  readonly parent: Ino;
  /** '' if it is not known any more. */
  readonly name: Name;
}

export class KnownPlaces {
  readonly #named = new Slots(NAMED_SLOTS);
  readonly #names: Name[] = new Array<Name>(NAMED_SLOTS).fill('');
  #parents: Slots | undefined;

  /** From now on the directories of many are kept in mind. */
  keepMany(): void {
    this.#parents ??= new Slots(SLOTS);
  }

  put(ino: Ino, parent: Ino, name: Name): void {
    this.#parents?.put(ino, parent);
    if (name !== '') this.#names[this.#named.put(ino, parent)] = name;
  }

  take(ino: Ino): KnownPlace | undefined {
    const many = this.#parents?.take(ino) ?? 0;
    const name = this.#names[ino % NAMED_SLOTS] as Name;
    const named = this.#named.take(ino);
    if (named !== 0) return { parent: named, name };
    return many === 0 ? undefined : { parent: many, name: '' };
  }
}

/** Inode → its directory. */
class Slots {
  readonly #inos: Float64Array;
  readonly #parents: Float64Array;

  constructor(slots: number) {
    this.#inos = new Float64Array(slots);
    this.#parents = new Float64Array(slots);
  }

  /** Returns the slot. */
  put(ino: Ino, parent: Ino): number {
    const slot = ino % this.#inos.length;
    this.#inos[slot] = ino;
    this.#parents[slot] = parent;
    return slot;
  }

  /** 0 if it is not known. */
  take(ino: Ino): Ino {
    const slot = ino % this.#inos.length;
    if (this.#inos[slot] !== ino) return 0;
    this.#inos[slot] = 0;
    return this.#parents[slot] as Ino;
  }
}
