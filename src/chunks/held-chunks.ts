/** Chunks that have been answered as stored and that nothing in the metadata names yet: whoever asked holds them, each as often as it was answered. */
export class HeldChunks {
  readonly #counts = new Map<string, number>();
  readonly #released = new Set<string>();

  has(chunk: string): boolean {
    return this.#counts.has(chunk);
  }

  hold(chunk: string): void {
    this.#counts.set(chunk, (this.#counts.get(chunk) ?? 0) + 1);
  }

  release(chunks: Iterable<string>): void {
    for (const chunk of chunks) {
      const count = this.#counts.get(chunk) ?? 0;
      if (count > 1) this.#counts.set(chunk, count - 1);
      else {
        this.#counts.delete(chunk);
        this.#released.add(chunk);
      }
    }
  }

  /** Those that nobody holds any more since this was last asked. */
  takeReleased(): string[] {
    const released = [...this.#released];
    this.#released.clear();
    return released;
  }
}
