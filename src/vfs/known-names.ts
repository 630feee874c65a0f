/**
 * What the metadata store says of names that were looked up or committed lately, of all directories together: a client that walks the same few directories for every
 * object that it wants is answered from memory. Who keeps it true is Directory: a name goes from here before its row can change.
 */
import type { DentryRow, Ino, Name } from '../meta/rows.js';

const NAMES_MAX = 32_768;

export class KnownNames {
  /** In the order in which they came. */
  readonly #rows = new Map<string, DentryRow>();
  readonly #namesMax: number;

  constructor(namesMax = NAMES_MAX) {
    this.#namesMax = namesMax;
  }

  get(parent: Ino, name: Name): DentryRow | undefined {
    return this.#rows.get(`${parent}/${name}`);
  }

  put(row: DentryRow): void {
    this.#rows.set(`${row.parent}/${row.name}`, row);
    if (this.#rows.size <= this.#namesMax) return;
    for (const oldest of this.#rows.keys()) {
      this.#rows.delete(oldest);
      return;
    }
  }

  forget(parent: Ino, name: Name): void {
    this.#rows.delete(`${parent}/${name}`);
  }
}
