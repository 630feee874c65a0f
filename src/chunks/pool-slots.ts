/**
 * Slots: small mutable values found by the hash of a path. A slot lies in m+1 copies in the best-ranked group whose disks are online; so
 * that a value written while disks were away is never hidden by an older one, a look-up asks every bucket and the newest version wins.
 * Slots are few (the pool's own roots) and read at start.
 */
import { CairnError } from '../errors/cairn-error.js';
import { MAX_CHUNK_BYTES } from './chunk-store.js';
import { contentHash } from './content-hash.js';
import type { Placement } from './placement.js';

export class PoolSlots {
  readonly #placement: Placement;

  constructor(placement: Placement) {
    this.#placement = placement;
  }

  /** Durable on every disk that took it when it resolves. INVALID, NO_SPACE, DISK_FAILED if no disk took it. */
  async put(path: string, version: number, bytes: Uint8Array): Promise<void> {
    if (bytes.length > MAX_CHUNK_BYTES) {
      throw new CairnError('INVALID', `slot ${path}: ${bytes.length} bytes are more than a chunk`);
    }
    const { places } = this.#placement.place(pathHash(path), Math.max(1, bytes.length), { copies: true });
    const results = await Promise.allSettled(
      places.map(({ disk, bucket }) =>
        disk.append('journal', [{ kind: 'slot', bucket, path, version, payload: [bytes] }], { sync: true }),
      ),
    );
    if (results.some((result) => result.status === 'fulfilled')) return;
    const cause = results.find((result) => result.status === 'rejected')?.reason;
    throw new CairnError('DISK_FAILED', `slot ${path} could not be written to any disk`, { cause });
  }

  /** The newest version that can be read; undefined if no disk has the slot. UNREADABLE if disks have it and none can read it. */
  async get(path: string): Promise<{ version: number; bytes: Buffer } | undefined> {
    let newest: { version: number; bytes: Buffer } | undefined;
    let trouble: unknown;
    for (const { bucket, disk } of this.#placement.buckets(pathHash(path))) {
      try {
        const slot = await disk.getSlot(bucket, path);
        if (slot && (newest === undefined || slot.version > newest.version)) newest = slot;
      } catch (error) {
        if (!(error instanceof CairnError)) throw error;
        trouble = error;
      }
    }
    if (newest === undefined && trouble !== undefined) {
      throw new CairnError('UNREADABLE', `slot ${path} cannot be read`, { cause: trouble });
    }
    return newest;
  }
}

function pathHash(path: string): string {
  return contentHash(Buffer.from(path));
}
