/** Which directories of disks are on one device: whatever a pool makes of them, that device takes them all with it. */
import { stat } from 'node:fs/promises';
import type { PoolStatus } from '../vfs/reports.js';

/** Each with two directories or more, in their order. What cannot be looked at is on no device. */
export async function sharedDevices(directories: readonly string[]): Promise<string[][]> {
  const byDevice = new Map<number, string[]>();
  for (const directory of directories) {
    const found = await stat(directory).catch(() => undefined);
    if (found !== undefined) byDevice.set(found.dev, [...(byDevice.get(found.dev) ?? []), directory]);
  }
  return [...byDevice.values()].filter((shared) => shared.length > 1);
}

export function sharedText(shared: readonly string[]): string {
  return `${shared.join(', ')} are on one device: if it fails, they are all lost together`;
}

/** What `protection` of a status leaves out, for as long as the same disks are online. Looked up beside it: a device that hangs holds nothing up. */
export class SharedDevices {
  #asked = '';
  #sentences = '';

  /** What is known by now: '' where every disk has a device of its own. */
  sentences({ disks }: Pick<PoolStatus, 'disks'>): string {
    const here = disks.filter(({ role, state }) => role === 'data' && state === 'online');
    const asked = here.map(({ directory }) => directory).join('\n');
    if (asked !== this.#asked) {
      this.#asked = asked;
      void sharedDevices(here.map(({ directory }) => directory)).then((found) => {
        if (asked === this.#asked) this.#sentences = found.map((shared) => ` But ${sharedText(shared)}.`).join('');
      });
    }
    return this.#sentences;
  }
}
