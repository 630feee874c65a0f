/** Damage that reads have met: shards that could not be read although their disk is there. Logged and counted, so that `status` can tell. */
import type { PoolDisks } from './open-disks.js';
import type { PoolLog } from './pool-log.js';

/** Logged one by one so many times per disk; then only counted, up to the other. */
const LOGGED_MAX = 20;
const COUNTED_MAX = 100_000;

export class Damage {
  /** Chunks by the disk whose shard of them is damaged. */
  readonly #chunks = new Map<number, Set<string>>();
  readonly #disks: PoolDisks;
  readonly #log: PoolLog;

  constructor(disks: PoolDisks, log: PoolLog) {
    this.#disks = disks;
    this.#log = log;
  }

  /** As the chunk store's `onDegradedRead`. A disk that is not online has been told of already. */
  note(chunk: string, number: number | undefined): void {
    const disk = number === undefined ? undefined : this.#disks.byNumber.get(number);
    if (number === undefined || disk?.state !== 'online') return;
    const chunks = this.#chunks.get(number) ?? new Set();
    this.#chunks.set(number, chunks);
    if (chunks.has(chunk) || chunks.size >= COUNTED_MAX) return;
    chunks.add(chunk);
    if (chunks.size > LOGGED_MAX) return;
    this.#log.warn(
      { disk: disk.directory, chunk },
      `a shard of chunk ${chunk.slice(0, 16)}… on the disk at ${disk.directory} is damaged: it was not used${
        chunks.size === LOGGED_MAX ? '; further ones on this disk are only counted' : ''
      }`,
    );
  }

  /** Its shards have been written anew. */
  mended(chunk: string): void {
    for (const [number, chunks] of this.#chunks) {
      chunks.delete(chunk);
      if (chunks.size === 0) this.#chunks.delete(number);
    }
  }

  /** A sentence per disk. */
  findings(): string[] {
    return [...this.#chunks].map(([number, chunks]) => {
      const directory = this.#disks.byNumber.get(number)?.directory ?? '';
      const count = `${chunks.size}${chunks.size >= COUNTED_MAX ? ' or more' : ''}`;
      return `the data disk at ${directory} has damaged shards (${count} met so far), which are not used and are being repaired: check the disk`;
    });
  }
}
