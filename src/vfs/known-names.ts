/**
 * What the metadata store says of names that were looked up or committed lately, of all directories together: a client that walks the same few directories for every
 * object that it wants is answered from memory. Who keeps it true is Directory: a name goes from here before its row can change.
 */
import type { DentryRow, Ino, Name } from '../meta/rows.js';
import { BoundedMap } from './bounded-map.js';

const NAMES_MAX = 32_768;

export class KnownNames {
  readonly #rows: BoundedMap<string, DentryRow>;

  constructor(namesMax = NAMES_MAX) {
    this.#rows = new BoundedMap(namesMax);
  }

  get(parent: Ino, name: Name): DentryRow | undefined {
    return this.#rows.get(`${parent}/${name}`);
  }

  put(row: DentryRow): void {
    this.#rows.set(`${row.parent}/${row.name}`, row);
  }

  forget(parent: Ino, name: Name): void {
    this.#rows.delete(`${parent}/${name}`);
  }
}
