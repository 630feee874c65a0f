/**
 * The failure domains that have free buckets, the one with most first: a binary heap, so that forming a group costs the logarithm of the domains'
 * number. Each push draws a new mixed number that decides among equals, the same at every run.
 */
import { mix32 } from './mix.js';

export class DomainHeap {
  /** The heap: domains, and by domain what they are compared by. */
  readonly #order: number[] = [];
  readonly #free: number[] = [];
  readonly #lot: number[] = [];
  #pushes = 0;

  /** All domains with `free[domain] > 0`. */
  constructor(free: readonly number[]) {
    free.forEach((buckets, domain) => {
      this.push(domain, buckets);
    });
  }

  /** Puts a domain in (back), unless it has no free bucket. */
  push(domain: number, free: number): void {
    if (free === 0) return;
    this.#free[domain] = free;
    this.#lot[domain] = mix32(this.#pushes);
    this.#pushes += 1;
    const order = this.#order;
    let at = order.push(domain) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#before(domain, order[parent]!)) break;
      order[at] = order[parent]!;
      at = parent;
    }
    order[at] = domain;
  }

  /** Takes out the domain with most free buckets. */
  pop(): number {
    const order = this.#order;
    const first = order[0];
    const last = order.pop();
    if (first === undefined || last === undefined)
      throw new Error('diskmap: no failure domain with a free bucket is left');
    if (order.length > 0) {
      let at = 0;
      for (;;) {
        let child = 2 * at + 1;
        if (child >= order.length) break;
        if (child + 1 < order.length && this.#before(order[child + 1]!, order[child]!)) child += 1;
        if (!this.#before(order[child]!, last)) break;
        order[at] = order[child]!;
        at = child;
      }
      order[at] = last;
    }
    return first;
  }

  #before(a: number, b: number): boolean {
    const more = this.#free[a]! - this.#free[b]!;
    return more > 0 || (more === 0 && this.#lot[a]! < this.#lot[b]!);
  }
}
