/** Other file systems over the same device: `--peers`. A peer whose programs are not installed, or that does not start, is left out with a note. */
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { findMount } from '../src/fuse/mount-table.js';
import { onPath, run } from './child.js';
import { Cleanup } from './cleanup.js';
import { btrfsRaid1, btrfsRaid5 } from './peers/btrfs.js';
import { glusterfs } from './peers/glusterfs.js';
import { juicefs } from './peers/juicefs.js';
import { mergerfs } from './peers/mergerfs.js';
import { moosefs } from './peers/moosefs.js';
import type { Peer } from './peers/peer.js';
import { seaweedfs } from './peers/seaweedfs.js';
import { dropPageCache, type Subject } from './subject.js';

export const PEERS: readonly Peer[] = [mergerfs, glusterfs, moosefs, btrfsRaid1, btrfsRaid5, juicefs, seaweedfs];

/** The first of its programs that is not on the PATH. */
export function missingProgram({ programs }: Peer): string | undefined {
  return programs.find((program) => !onPath(program));
}

export class PeerSubject implements Subject {
  readonly side: string;
  readonly directory: string;
  readonly #base: string;
  readonly #undo = new Cleanup();
  #remove: () => Promise<void> = () => Promise.resolve();

  private constructor(peer: Peer, base: string) {
    this.side = peer.name;
    this.#base = base;
    this.directory = join(base, 'mnt');
  }

  static async start(peer: Peer, base: string, cleanup: Cleanup): Promise<PeerSubject> {
    const subject = new PeerSubject(peer, base);
    subject.#remove = cleanup.add(`remove ${base}`, () => subject.#end());
    const branches = ['a', 'b', 'c'].map((name) => join(base, name));
    for (const directory of [subject.directory, ...branches]) await mkdir(directory, { recursive: true });
    const undo = (what: string, step: () => Promise<void>) => void subject.#undo.add(what, step);
    try {
      await peer.start({ base, branches, mountpoint: subject.directory, undo });
    } catch (error) {
      await subject.stop();
      throw error;
    }
    return subject;
  }

  async settle(): Promise<void> {
    await run('sync', ['-f', this.directory]);
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

  async #end(): Promise<void> {
    if ((await findMount(this.directory)) !== undefined) await run('umount', ['-l', this.directory]);
    await this.#undo.run();
    // Servers that are ending may still write.
    await rm(this.#base, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  }
}
