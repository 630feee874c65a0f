/** A map of what is worth knowing only while there is room for it: with more than `entriesMax` entries the one that was entered first goes. */
export class BoundedMap<K, V> extends Map<K, V> {
  readonly #entriesMax: number;

  constructor(entriesMax: number) {
    super();
    this.#entriesMax = entriesMax;
  }

  override set(key: K, value: V): this {
    super.set(key, value);
    if (this.size <= this.#entriesMax) return this;
    for (const first of this.keys()) {
      this.delete(first);
      break;
    }
    return this;
  }
}
