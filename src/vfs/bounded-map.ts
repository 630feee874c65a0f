/**
 * A map of what is worth knowing only while there is room for it: at most `entriesMax` entries, of which the later half is there in any case.
 *
 * Two generations: when the young one is half of all the next that comes makes it the old one, and what that was goes at once. So entering costs the same however many there are;
 * a single Map whose first entry is deleted each time looks through what has been deleted before it.
 */
export class BoundedMap<K, V extends object | string | number> {
  readonly #generation: number;
  #young = new Map<K, V>();
  #old = new Map<K, V>();

  constructor(entriesMax: number) {
    this.#generation = Math.ceil(entriesMax / 2);
  }

  get(key: K): V | undefined {
    return this.#young.get(key) ?? this.#old.get(key);
  }

  /** Enters it as the latest. */
  set(key: K, value: V): void {
    if (this.#young.size >= this.#generation && !this.#young.has(key)) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#old.delete(key);
    this.#young.set(key, value);
  }

  delete(key: K): void {
    if (!this.#young.delete(key)) this.#old.delete(key);
  }
}
