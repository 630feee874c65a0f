/** Random numbers that follow from a seed. */
import { contentOf } from '../integration/content.js';

export class Dice {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(seed: string) {
    this.#bytes = contentOf(`dice ${seed}`, 4096);
  }

  /** From `least` to `most`, both included. */
  between(least: number, most: number): number {
    const number = this.#bytes.readUInt32LE(this.#at);
    this.#at = (this.#at + 4) % this.#bytes.length;
    return least + (number % (most - least + 1));
  }

  /** True once in so many times. */
  oneIn(times: number): boolean {
    return this.between(1, times) === 1;
  }

  shuffled<T>(items: readonly T[]): T[] {
    const left = [...items];
    const order: T[] = [];
    while (left.length > 0) order.push(...left.splice(this.between(0, left.length - 1), 1));
    return order;
  }
}
