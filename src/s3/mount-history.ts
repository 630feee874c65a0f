/**
 * What a bucket with versions keeps when its files are changed through the mount. Before the first byte of a file changes, or its name goes, a copy of what
 * stood (its extents, no bytes) becomes an older version; only then is the change made, by whoever asked. So a version that S3 has told of never
 * changes, whatever is done on the mount, and no lock can be passed over there.
 *
 * Nothing here changes a name that the mount shows: the kernel may hold it while it waits for us.
 */
import { hasCode } from '../errors/cairn-error.js';
import type { Clock } from '../io/clock.js';
import { HIDDEN_NAME } from '../vfs/hidden-name.js';
import type { Step } from '../vfs/inode-table.js';
import { isFile } from '../vfs/mode.js';
import type { ObjectTree } from '../vfs/object-tree.js';
import type { NameChange } from '../vfs/publisher.js';
import type { Ino } from '../vfs/vfs.js';
import { type Bucket, isBucketName } from './bucket-config.js';
import { componentOf, isLongName } from './key-path.js';
import { retentionFrom } from './lock-documents.js';
import { decodeAttributes, encodeAttributes, LONG_NAME, OBJECT, type ObjectAttributes } from './object-attributes.js';
import { defaultRetention } from './object-lock.js';
import { ObjectStore } from './object-store.js';
import { NULL_VERSION, Versions, versionOf } from './versions.js';

/** Files known to lie in no bucket with versions, of which memory has forgotten where they lie. */
const OUTSIDE_MAX = 10_000;

/** How often a copy of a file is begun whose attributes change meanwhile. */
const TRIES = 100;

/** Where a file of the mount is in S3. */
interface Located {
  readonly bucket: Bucket;
  readonly key: string;
}

export class MountHistory {
  readonly #store: ObjectStore;
  readonly #versions: Versions;
  readonly #clock: Clock;
  /** Directories of buckets whose versions are kept. */
  #buckets: ReadonlySet<Ino> = new Set();
  readonly #outside = new Set<Ino>();

  constructor(store: ObjectStore, versions: Versions, clock: Clock) {
    this.#store = store;
    this.#versions = versions;
    this.#clock = clock;
  }

  /** Looks which buckets keep versions. To be called when that has changed. */
  async refresh(): Promise<void> {
    const inos = new Set<Ino>();
    for await (const { ino, info } of this.#store.buckets()) if (info.versioning !== undefined) inos.add(ino);
    this.#buckets = inos;
    this.#outside.clear();
  }

  /** As `refresh`, of one name of the root alone. */
  async refreshBucket(name: string): Promise<void> {
    const bucket = await this.#store.bucket(name).catch(() => undefined);
    if (bucket === undefined || this.#buckets.has(bucket.ino) === (bucket.info.versioning !== undefined)) return;
    const inos = new Set(this.#buckets);
    if (bucket.info.versioning === undefined) inos.delete(bucket.ino);
    else inos.add(bucket.ino);
    this.#buckets = inos;
    this.#outside.clear();
  }

  /** False: there is nothing to keep anywhere. */
  get isNeeded(): boolean {
    return this.#buckets.size > 0;
  }

  /** The directory lies in a bucket with versions, or is one. */
  async covers(directory: Ino): Promise<boolean> {
    const [top] = (await this.#path(directory)) ?? [];
    return top !== undefined && this.#buckets.has(top.ino);
  }

  /** A bucket of which older versions are left, though its directory may be empty. */
  async hasVersions(parent: Ino, name: string): Promise<boolean> {
    if (parent !== this.#store.tree.root || !isBucketName(name)) return false;
    const bucket = await this.#store.bucket(name).catch(() => undefined);
    return bucket !== undefined && this.#versions.hasAny(bucket);
  }

  /** The content of the file is about to change: what it was is kept, and what it becomes is another version. */
  async beforeContent(ino: Ino): Promise<void> {
    const path = await this.#path(ino);
    if (path?.[0]?.name === HIDDEN_NAME) return this.#detach(path.at(-1)!);
    const located = await this.#locate(path);
    if (located === undefined) return;
    await this.#keep(located, ino, false);
    await this.#renew(located.bucket, ino);
  }

  /** Something else is about to take the name of this file. */
  async beforeReplacement(ino: Ino): Promise<void> {
    const located = await this.#locate(await this.#path(ino));
    if (located !== undefined) await this.#keep(located, ino, false);
  }

  /** The file's name is about to go: its key is deleted, as S3 deletes. */
  async beforeRemoval(ino: Ino): Promise<void> {
    const located = await this.#locate(await this.#path(ino));
    if (located !== undefined) await this.#keep(located, ino, true);
  }

  /** The file comes to lie in this directory: as a new version in a bucket with versions, as one without anywhere else. */
  async arrived(directory: Ino, ino: Ino): Promise<void> {
    const [top] = (await this.#path(directory)) ?? [];
    const isKept = top !== undefined && this.#buckets.has(top.ino);
    await this.#renew(isKept ? await this.#store.bucket(top.name) : undefined, ino);
  }

  async #path(ino: Ino): Promise<readonly Step[] | undefined> {
    const known = this.#store.tree.pathOf(ino);
    // Only names within a bucket can be such that another of the same file counts; whatever lies elsewhere is looked at no closer.
    if (known !== undefined && (!this.#isWatched(known) || (await this.#isSo(known)))) return known;
    if (this.#outside.has(ino)) return undefined;
    const found = await this.#search(ino);
    if (found === undefined) {
      if (this.#outside.size >= OUTSIDE_MAX) this.#outside.clear();
      this.#outside.add(ino);
    }
    return found;
  }

  #isWatched([top]: readonly Step[]): boolean {
    return top !== undefined && (this.#buckets.has(top.ino) || top.name === HIDDEN_NAME);
  }

  async #isSo(path: readonly Step[]): Promise<boolean> {
    for (const { parent, name, ino } of path)
      if ((await this.#store.tree.child(parent, name))?.ino !== ino) return false;
    return true;
  }

  /** Walks the buckets with versions. Only for what was put out of memory since the kernel looked it up. */
  async #search(wanted: Ino): Promise<readonly Step[] | undefined> {
    const { tree } = this.#store;
    const below = async (path: readonly Step[], directory: Ino): Promise<readonly Step[] | undefined> => {
      for (let after = ''; ; ) {
        const page = await tree.list(directory, after, 1000);
        for (const { key, name, ino, isDirectory } of page) {
          after = key;
          const here = [...path, { parent: directory, name, ino }];
          if (ino === wanted) return here;
          const found = isDirectory ? await below(here, ino) : undefined;
          if (found !== undefined) return found;
        }
        if (page.length < 1000) return undefined;
      }
    };
    for await (const { name, ino } of this.#store.buckets()) {
      const top = { parent: tree.root, name, ino };
      if (!this.#buckets.has(ino)) continue;
      const found = ino === wanted ? [top] : await below([top], ino);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Undefined for what is no object of a bucket with versions. */
  async #locate(path: readonly Step[] | undefined): Promise<Located | undefined> {
    const [top, ...rest] = path ?? [];
    if (top === undefined || rest.length === 0 || !this.#buckets.has(top.ino)) return undefined;
    const components: string[] = [];
    for (const [i, { name, ino }] of rest.entries()) {
      const long = isLongName(name) ? (await this.#store.tree.attributes(ino)).get(LONG_NAME) : undefined;
      const component = componentOf(name, i < rest.length - 1, long && Buffer.from(long).toString('latin1'));
      if (component === undefined) return undefined;
      components.push(component);
    }
    return { bucket: await this.#store.bucket(top.name), key: components.join('/') };
  }

  /** Copies what stands among the older versions, and says with `isDeleted` that nothing stands any more. */
  async #keep({ bucket, key }: Located, ino: Ino, isDeleted: boolean): Promise<void> {
    await this.#publish(async () => {
      const node = await this.#store.tree.node(ino);
      const present = node && isFile(node.mode) && (await this.#store.object(key, node.ino, key, node));
      if (!present) return [];
      const isNull = versionOf(present) === NULL_VERSION;
      const isSuspended = bucket.info.versioning === 'Suspended';
      const changes: NameChange[] = [];
      // A null version gives way to the next one where no others are made.
      if (!(isSuspended && isNull)) changes.push(await this.#versions.putAside(bucket, key, present, 'copy'));
      if (isSuspended && (isDeleted || !isNull)) changes.push(...(await this.#versions.dropNull(bucket, key)));
      if (isDeleted) {
        const made = await this.#versions.nextVersion(bucket, key, present, this.#clock.nowMs());
        changes.push(await this.#versions.marker(bucket, key, made));
      }
      return changes;
    });
  }

  /** A version among the older ones that somebody has had open since it was the present one: the copy stays, and the file is nobody's. */
  async #detach({ parent, name, ino }: Step): Promise<void> {
    await this.#publish(async () => {
      const node = await this.#store.tree.node(ino);
      const there = await this.#store.tree.child(parent, name);
      const object = there?.ino === ino && node && (await this.#store.object('', parent, name, node));
      if (!object) return [];
      return [{ parent, name, expected: ino, to: await this.#versions.copyOf(object) }];
    });
  }

  /** A file of which the attributes have changed while it was copied is looked at again: whoever writes to it must not fail because somebody else set its times. */
  async #publish(prepare: () => Promise<readonly NameChange[]>): Promise<void> {
    for (let tries = 1; ; tries++)
      try {
        await this.#store.tree.publish(prepare);
        return;
      } catch (error) {
        if (!hasCode(error, 'CONFLICT') || tries === TRIES) throw error;
      }
  }

  /** The file has the attributes of a version that comes to be now; of none in a bucket that keeps no versions. */
  async #renew(bucket: Bucket | undefined, ino: Ino): Promise<void> {
    const { tree } = this.#store;
    const node = await tree.node(ino);
    if (node === undefined || !isFile(node.mode)) return;
    const before = decodeAttributes((await tree.attributes(ino)).get(OBJECT));
    if (bucket === undefined && before === undefined) return;
    // Of what no client has sent, ETag and size follow from the content.
    const { version: _v, order: _o, upload: _u, retention: _r, hasLegalHold: _h, ...kept } = before ?? UNSENT;
    if (before !== undefined) this.#versions.follow({ own: before, node });
    const made = this.#versions.newVersion(this.#clock.nowMs());
    const standing = bucket && defaultRetention(bucket);
    const own: ObjectAttributes = {
      ...kept,
      ...(bucket?.info.versioning === 'Enabled' && { version: made.id }),
      ...(bucket?.info.versioning === 'Suspended' && { order: made.order }),
      ...(standing !== undefined && { retention: retentionFrom(standing, this.#clock.nowMs()) }),
    };
    await tree.stageAttributes(ino, new Map([[OBJECT, encodeAttributes(own)]]));
  }
}

/** No content is at this stage. */
const UNSENT: ObjectAttributes = { v: 1, stage: -1, size: 0, etag: '' };

/** The history of a pool's buckets, which it is to look for first. */
export function mountHistory(tree: ObjectTree, clock: Clock): MountHistory {
  const store = new ObjectStore(tree);
  return new MountHistory(store, new Versions(store), clock);
}
