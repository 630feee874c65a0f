/**
 * Older versions of objects, and delete markers. The present version is the file at its key; the others lie beside the tree, in a directory per key, named
 * so that they list newest first. There is no pointer to the present one: it is what the name stands for, and a key without a file is deleted.
 *
 *     /.cairn-s3/heads/<bucket's inode>/<path of the key>      an empty file; its inode names the directory of the key's versions
 *     /.cairn-s3/versions/<head's inode>/<order>-<version id>  the version's file (empty for a delete marker)
 *
 * The heads of a bucket are a tree like the bucket itself, so they are walked in the order of keys as well. `null` is an id like any other.
 */
import { NO_CONTENT } from '../vfs/content-writer.js';
import { HIDDEN_NAME } from '../vfs/hidden-name.js';
import type { NameChange, NewFile } from '../vfs/publisher.js';
import type { Ino } from '../vfs/vfs.js';
import type { Bucket } from './bucket-config.js';
import { encodeAttributes, OBJECT, type ObjectAttributes } from './object-attributes.js';
import { FILE_MODE, type ObjectStore, type StoredObject } from './object-store.js';
import { randomHex } from './random-hex.js';

export const NULL_VERSION = 'null';
const HIDDEN_MODE = 0o700;
const ORDER_DIGITS = 16;
const PAGE = 100;

export function versionOf({ own }: Pick<StoredObject, 'own'>): string {
  return own?.version ?? NULL_VERSION;
}

/** What the answer to a write says of its version: nothing of the `null` one, which is written without versioning and while it is suspended. */
export function writtenVersion(version: string | undefined): string | undefined {
  return version === NULL_VERSION ? undefined : version;
}

/** Hex digits that sort the newer before the older. */
class Orders {
  #last = 1n << 63n;

  next(nowMs: number): string {
    const wanted = orderAt(nowMs);
    this.#last = wanted < this.#last ? wanted : this.#last - 1n;
    return this.#last.toString(16).padStart(ORDER_DIGITS, '0');
  }

  /** What comes next is newer than this. */
  follow(order: string): void {
    const known = BigInt(`0x${order}`);
    if (known < this.#last) this.#last = known;
  }
}

function orderAt(ms: number): bigint {
  return (1n << 63n) - (BigInt(Math.floor(ms)) << 16n);
}

export class Versions {
  readonly #store: ObjectStore;
  readonly #orders = new Orders();

  constructor(store: ObjectStore) {
    this.#store = store;
  }

  /**
   * Order and id of a version of the key that is made now: newer than all that the key has, also where these are of a time when the clock was ahead, or of
   * a file whose time somebody has set. `present`: what stands.
   */
  async nextVersion(
    bucket: Bucket,
    key: string,
    present: StoredObject | undefined,
    nowMs: number,
  ): Promise<{ readonly order: string; readonly id: string }> {
    if (present !== undefined) this.follow(present);
    const directory = bucket.info.versioning === undefined ? undefined : await this.#directory(bucket, key, false);
    const [newest] = directory === undefined ? [] : await this.#store.tree.list(directory, '', 1);
    if (newest !== undefined) this.#orders.follow(newest.name.slice(0, ORDER_DIGITS));
    return this.newVersion(nowMs);
  }

  /** What is made from now on is newer than this. */
  follow(version: Pick<StoredObject, 'own' | 'node'>): void {
    this.#orders.follow(this.#orderOf(version));
  }

  /** Order and id of what is made now. */
  newVersion(nowMs: number): { readonly order: string; readonly id: string } {
    const order = this.#orders.next(nowMs);
    return { order, id: order + randomHex(4) };
  }

  #orderOf({ own, node }: Pick<StoredObject, 'own' | 'node'>): string {
    return (
      own?.version?.slice(0, ORDER_DIGITS) ??
      own?.order ??
      orderAt(node.mtime.sec * 1000 + node.mtime.nsec / 1e6)
        .toString(16)
        .padStart(ORDER_DIGITS, '0')
    );
  }

  /** A directory below the hidden one; undefined if it is not there and not to be made. */
  async area(kind: 'heads' | 'versions' | 'uploads', of: Ino, make: boolean): Promise<Ino | undefined> {
    const { tree } = this.#store;
    let at = tree.root;
    for (const name of [HIDDEN_NAME, kind, String(of)]) {
      const there = await tree.child(at, name);
      if (there !== undefined) at = there.ino;
      else if (!make) return undefined;
      else
        at = (
          await tree.makeDirectory(at, name, {
            uid: process.getuid?.() ?? 0,
            gid: process.getgid?.() ?? 0,
            mode: HIDDEN_MODE,
          })
        ).ino;
    }
    return at;
  }

  /** Where the heads of the bucket are, as if they were a bucket. */
  async heads(bucket: Bucket, make: boolean): Promise<Bucket | undefined> {
    const ino = await this.area('heads', bucket.ino, make);
    // What has been and what is may have one name.
    return ino === undefined ? undefined : { ...bucket, ino, info: { ...bucket.info, strictKeys: false } };
  }

  /** The directory of the key's other versions. */
  async #directory(bucket: Bucket, key: string, make: boolean): Promise<Ino | undefined> {
    const heads = await this.heads(bucket, make);
    if (heads === undefined) return undefined;
    let head = await this.#store.find(heads, key);
    while (head === undefined && make) {
      const file = { mode: FILE_MODE, uid: 0, gid: 0, content: NO_CONTENT };
      await this.#store.tree.publish(async () => {
        const place = await this.#store.place(heads, key);
        if ((await this.#store.tree.child(place.parent, place.name)) !== undefined) return [];
        return [this.#store.change(place, undefined, { ...file, attributes: () => new Map(place.nameAttributes) })];
      });
      head = await this.#store.find(heads, key);
    }
    return head === undefined ? undefined : this.area('versions', head.node.ino, make);
  }

  /** Of a head that a walk has found. */
  directoryOf(head: Ino): Promise<Ino | undefined> {
    return this.area('versions', head, false);
  }

  /** Versions in a directory of versions, newest first. */
  async *list(directory: Ino | undefined, key: string): AsyncGenerator<StoredObject> {
    if (directory === undefined) return;
    for (let after = ''; ; ) {
      const page = await this.#store.tree.list(directory, after, PAGE);
      for (const entry of page) {
        after = entry.key;
        const node = await this.#store.tree.node(entry.ino);
        const object = node && (await this.#store.object(key, directory, entry.name, node));
        if (object !== undefined) yield object;
      }
      if (page.length < PAGE) return;
    }
  }

  async others(bucket: Bucket, key: string): Promise<AsyncGenerator<StoredObject>> {
    return this.list(await this.#directory(bucket, key, false), key);
  }

  /** The newest of the other versions. */
  async newest(bucket: Bucket, key: string): Promise<StoredObject | undefined> {
    for await (const version of await this.others(bucket, key)) return version;
    return undefined;
  }

  /** The version of the key; undefined if there is none. */
  async find(bucket: Bucket, key: string, id: string): Promise<StoredObject | undefined> {
    for (;;) {
      const present = await this.#store.find(bucket, key);
      if (present !== undefined && versionOf(present) === id) return present;
      for await (const version of await this.others(bucket, key)) if (versionOf(version) === id) return version;
      if (await this.isStillPresent(bucket, key, present)) return undefined;
    }
  }

  /** False if another version has become the present one since: then one that was not among the others may be it. */
  async isStillPresent(bucket: Bucket, key: string, present: StoredObject | undefined): Promise<boolean> {
    return (await this.#store.find(bucket, key))?.node.ino === present?.node.ino;
  }

  /**
   * The change by which the present version becomes an older one: the file itself, or a copy of it. A file that somebody may write to through the mount
   * is always copied; the file itself then goes as one that is replaced.
   */
  async putAside(bucket: Bucket, key: string, present: StoredObject, as: 'itself' | 'copy'): Promise<NameChange> {
    const directory = (await this.#directory(bucket, key, true))!;
    const name = `${this.#orderOf(present)}-${versionOf(present)}`;
    const there = await this.#store.tree.child(directory, name);
    const isCopied = as === 'copy' || this.#store.tree.hasWriters(present.node.ino);
    const to = isCopied ? await this.copyOf(present) : present.node.ino;
    return { parent: directory, name, expected: there?.ino, to };
  }

  /** A file of the same extents with the same attributes. */
  async copyOf({ node, attributes, own, etag, isOwnContent }: StoredObject): Promise<NewFile> {
    const { ino, mode, uid, gid, mtime, sizeBytes, version, ctime } = node;
    const kept = isOwnContent ? own : undefined;
    const order = this.#orderOf({ own, node });
    return {
      mode,
      uid,
      gid,
      mtime,
      content: { sizeBytes, extents: await this.#store.tree.extents(ino), tail: new Uint8Array(0) },
      sources: [{ ino, version, ctime }],
      attributes: (stage) =>
        new Map([
          ...attributes,
          [
            OBJECT,
            encodeAttributes({
              // What was said of other bytes does not count for these.
              ...(kept ?? { ...own, v: 1, etag, checksum: undefined, parts: undefined, partChecksums: undefined }),
              ...(own?.version === undefined && { order }),
              size: sizeBytes,
              stage,
            }),
          ],
        ]),
    };
  }

  /** The change that says that the key is deleted. */
  async marker(
    bucket: Bucket,
    key: string,
    made: { readonly order: string; readonly id: string },
  ): Promise<NameChange> {
    const isEnabled = bucket.info.versioning === 'Enabled';
    const own: ObjectAttributes = {
      v: 1,
      stage: 0,
      size: 0,
      etag: '',
      isMarker: true,
      order: made.order,
      ...(isEnabled && { version: made.id }),
      ...(bucket.info.owner !== undefined && { owner: bucket.info.owner }),
    };
    return {
      parent: (await this.#directory(bucket, key, true))!,
      name: `${made.order}-${isEnabled ? made.id : NULL_VERSION}`,
      expected: undefined,
      to: {
        mode: FILE_MODE,
        uid: bucket.uid,
        gid: bucket.gid,
        content: NO_CONTENT,
        attributes: (stage) => new Map([[OBJECT, encodeAttributes({ ...own, stage })]]),
      },
    };
  }

  /** The null version among the older ones goes, where a new one comes. */
  async dropNull(bucket: Bucket, key: string): Promise<NameChange[]> {
    for await (const version of await this.others(bucket, key)) {
      if (versionOf(version) === NULL_VERSION)
        return [{ parent: version.parent, name: version.name, expected: version.node.ino, to: undefined }];
    }
    return [];
  }

  /** Something of the bucket is kept besides what it shows. */
  async hasAny(bucket: Bucket): Promise<boolean> {
    const heads = await this.area('heads', bucket.ino, false);
    return heads !== undefined && (await this.#store.tree.list(heads, '', 1)).length > 0;
  }

  /** Of a bucket that is removed, nothing is left. */
  async forget(bucket: Bucket): Promise<void> {
    const { tree } = this.#store;
    const hidden = await tree.child(tree.root, HIDDEN_NAME);
    for (const kind of ['heads', 'uploads']) {
      const area = hidden && (await tree.child(hidden.ino, kind));
      if (area !== undefined) await tree.removeDirectory(area.ino, String(bucket.ino));
    }
  }

  /** Forgets the directory of versions that are all gone, and its head. */
  async tidy(bucket: Bucket, key: string): Promise<void> {
    const heads = await this.heads(bucket, false);
    const head = heads && (await this.#store.find(heads, key));
    if (heads === undefined || head === undefined) return;
    const { tree } = this.#store;
    const directory = await this.directoryOf(head.node.ino);
    if (directory !== undefined) {
      if ((await tree.list(directory, '', 1)).length > 0) return;
      const parent = await this.#parentOfVersions();
      if (parent === undefined || !(await tree.removeDirectory(parent, String(head.node.ino)))) return;
    }
    await tree.publish(async () => {
      const there = await this.#store.find(heads, key);
      if (there?.node.ino !== head.node.ino || (await this.directoryOf(head.node.ino)) !== undefined) return [];
      return [{ parent: there.parent, name: there.name, expected: there.node.ino, to: undefined }];
    });
    await this.#store.removeImplicit(heads, key);
  }

  async #parentOfVersions(): Promise<Ino | undefined> {
    const { tree } = this.#store;
    const hidden = await tree.child(tree.root, HIDDEN_NAME);
    return hidden && (await tree.child(hidden.ino, 'versions'))?.ino;
  }
}
