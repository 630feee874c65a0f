/**
 * What the library changes files with. Where a bucket of the S3 face keeps versions, what stood before is kept, as it is under a mount and by the same
 * code; it is loaded when a bucket that S3 knows is first written to, so that programs which have none pay nothing.
 */
import type { Clock } from '../io/clock.js';
import type { MountHistory } from '../s3/mount-history.js';
import type { VersionedVfs } from '../s3/versioned-vfs.js';
import { BUCKET_ATTRIBUTE } from '../vfs/hidden-name.js';
import type { ObjectTree } from '../vfs/object-tree.js';
import { namesOf } from '../vfs/tree-path.js';
import type { Vfs } from '../vfs/vfs.js';

export class LibraryVersions {
  readonly #vfs: Vfs;
  readonly #tree: ObjectTree;
  readonly #clock: Clock;
  #loaded: Promise<{ vfs: VersionedVfs; history: MountHistory }> | undefined;

  constructor(vfs: Vfs, tree: ObjectTree, clock: Clock) {
    this.#vfs = vfs;
    this.#tree = tree;
    this.#clock = clock;
  }

  /** The vfs for changes at these paths. A handle is written to and released through the one that has opened it. */
  async vfsFor(...paths: readonly string[]): Promise<Vfs> {
    for (const path of paths) {
      const [name] = namesOf(path);
      const top = name === undefined ? undefined : await this.#tree.child(this.#tree.root, name);
      if (name === undefined || top === undefined || !(await this.#tree.attributes(top.ino)).has(BUCKET_ATTRIBUTE))
        continue;
      this.#loaded ??= this.#load();
      await (await this.#loaded).history.refreshBucket(name);
    }
    // Once it is there everything goes through it: it tells of which files somebody is writing to.
    return this.#loaded === undefined ? this.#vfs : (await this.#loaded).vfs;
  }

  async #load(): Promise<{ vfs: VersionedVfs; history: MountHistory }> {
    const [{ VersionedVfs }, { mountHistory }] = await Promise.all([
      import('../s3/versioned-vfs.js'),
      import('../s3/mount-history.js'),
    ]);
    const vfs = new VersionedVfs(this.#vfs, this.#tree);
    const history = mountHistory(this.#tree, this.#clock);
    vfs.history = history;
    return { vfs, history };
  }
}
