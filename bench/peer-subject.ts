/**
 * Other FUSE file systems, as Debian's packages give them, over the same device: `--peers`. A peer whose program is not installed is left out with a
 * note. What each promises differs: mergerfs spreads whole files over its branches, keeps no second copy, and answers a sync of a directory without syncing.
 */
import { accessSync, constants } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './child.js';
import type { Cleanup } from './cleanup.js';
import { dropPageCache, type Subject } from './subject.js';

interface Peer {
  readonly name: string;
  readonly program: string;
  readonly package: string;
  /** Arguments that mount the three branches at the mount point. */
  readonly arguments: (branches: readonly string[], mountpoint: string) => string[];
}

export const PEERS: readonly Peer[] = [
  {
    name: 'mergerfs',
    program: '/usr/bin/mergerfs',
    package: 'mergerfs',
    // Its documentation's settings for speed: pages are kept, and what lies on the branches changes through it alone.
    arguments: (branches, mountpoint) => [
      '-o',
      'cache.files=auto-full,dropcacheonclose=true,category.create=mfs,cache.attr=3600,cache.entry=3600,cache.negative_entry=3600',
      branches.join(':'),
      mountpoint,
    ],
  },
];

export function isInstalled({ program }: Peer): boolean {
  try {
    accessSync(program, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export class PeerSubject implements Subject {
  readonly side: string;
  readonly directory: string;
  readonly #base: string;
  #remove: () => Promise<void> = () => Promise.resolve();

  private constructor(peer: Peer, base: string) {
    this.side = peer.name;
    this.#base = base;
    this.directory = join(base, 'mnt');
  }

  static async start(peer: Peer, base: string, cleanup: Cleanup): Promise<PeerSubject> {
    const subject = new PeerSubject(peer, base);
    let isMounted = false;
    subject.#remove = cleanup.add(`remove ${base}`, async () => {
      if (isMounted) await run('umount', ['-l', subject.directory]);
      isMounted = false;
      await rm(base, { recursive: true, force: true });
    });
    const branches = ['a', 'b', 'c'].map((name) => join(base, name));
    for (const directory of [subject.directory, ...branches]) await mkdir(directory, { recursive: true });
    await run(peer.program, peer.arguments(branches, subject.directory));
    isMounted = true;
    return subject;
  }

  async settle(): Promise<void> {
    await run('sync', ['-f', this.#base]);
  }

  async makeCold(): Promise<void> {
    await this.settle();
    dropPageCache();
  }

  async clear(): Promise<void> {
    for (const name of await readdir(this.directory)) await rm(join(this.directory, name), { recursive: true });
  }

  stop(): Promise<void> {
    return this.#remove();
  }
}
