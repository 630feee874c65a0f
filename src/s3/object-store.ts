/**
 * Buckets and objects over the tree. A bucket is a directory of the root, a key a path below it; an object's change is one publication, with what the
 * caller requires of the present one checked in it. Directories that a key needs are made on the way (and marked), and go with their last key.
 */
import { createHash } from 'node:crypto';
import { hasCode } from '../errors/cairn-error.js';
import { isFile } from '../vfs/mode.js';
import type { ObjectTree, TreeNode, WalkedNode } from '../vfs/object-tree.js';
import type { NameChange, NewFile } from '../vfs/publisher.js';
import type { Ino, Name, Result } from '../vfs/vfs.js';
import { type Bucket, type BucketInfo, isBucketName, readInfo, writeSubject } from './bucket-config.js';
import { escapedName, isLongName, nameOf, splitKey } from './key-path.js';
import type { WalkedKey } from './key-walk.js';
import { decodeAttributes, IMPLICIT, LONG_NAME, OBJECT, type ObjectAttributes } from './object-attributes.js';
import { S3Error } from './s3-error.js';

const DIRECTORY_MODE = 0o755;
export const FILE_MODE = 0o644;

/** An object as it is found. */
export interface StoredObject {
  readonly key: string;
  readonly parent: Ino;
  /** '' for a key that is kept in the directory itself. */
  readonly name: Name;
  readonly node: TreeNode;
  readonly attributes: ReadonlyMap<string, Uint8Array>;
  /** Undefined for a file that S3 has not made. */
  readonly own: ObjectAttributes | undefined;
  readonly etag: string;
  /** ETag, checksum and parts of `own` are of the present content. */
  readonly isOwnContent: boolean;
}

/** What a listing tells of an object. */
export interface ListedObject extends Pick<StoredObject, 'key' | 'own' | 'etag' | 'isOwnContent'> {
  readonly node: WalkedNode;
}

/** Where a new object goes. */
export interface Place {
  readonly parent: Ino;
  readonly name: Name;
  /** Attributes that the file must have for its name. */
  readonly nameAttributes: ReadonlyMap<string, Uint8Array>;
}

export class ObjectStore {
  readonly tree: ObjectTree;

  constructor(tree: ObjectTree) {
    this.tree = tree;
  }

  /** NoSuchBucket. */
  async bucket(name: string): Promise<Bucket> {
    const node = isBucketName(name) ? await this.tree.child(this.tree.root, name) : undefined;
    if (node === undefined || !node.isDirectory)
      throw new S3Error('NoSuchBucket', 'The specified bucket does not exist', { fields: { BucketName: name } });
    return this.#bucket(name, node);
  }

  async #bucket(name: string, node: TreeNode): Promise<Bucket> {
    const attributes = await this.tree.attributes(node.ino);
    const info = readInfo(attributes);
    const createdMs = info.createdMs ?? node.ctime.sec * 1000;
    return { name, ino: node.ino, uid: node.uid, gid: node.gid, info, attributes, createdMs };
  }

  async *buckets(): AsyncGenerator<Bucket> {
    for (let after = ''; ; ) {
      const page = await this.tree.list(this.tree.root, after, 1000);
      for (const { name, isDirectory, ino, key } of page) {
        after = key;
        const node = isDirectory && isBucketName(name) ? await this.tree.node(ino) : undefined;
        if (node !== undefined) yield await this.#bucket(name, node);
      }
      if (page.length < 1000) return;
    }
  }

  /** BucketAlreadyExists through `onExisting`, which may throw. */
  async createBucket(name: string, info: BucketInfo, more: readonly [string, Uint8Array][]): Promise<boolean> {
    const attributes = new Map([writeSubject('info', info), ...more]);
    const uid = process.getuid?.() ?? 0;
    const gid = process.getgid?.() ?? 0;
    const { isNew } = await this.tree.makeDirectory(
      this.tree.root,
      name,
      { uid, gid, mode: DIRECTORY_MODE },
      attributes,
    );
    await this.tree.commitNames();
    return isNew;
  }

  /** BucketNotEmpty. Directories that were only made for keys go. */
  async requireEmpty(bucket: Bucket): Promise<void> {
    await this.#clearImplicit(bucket.ino);
    if ((await this.tree.list(bucket.ino, '', 1)).length > 0) throw notEmpty();
  }

  /** BucketNotEmpty. Of an empty bucket, as `requireEmpty` finds it. */
  async removeBucket(bucket: Bucket): Promise<void> {
    if (!(await this.tree.removeDirectory(this.tree.root, bucket.name))) throw notEmpty();
    await this.tree.commitNames();
  }

  /** Removes marked directories that hold nothing. */
  async #clearImplicit(ino: Ino): Promise<void> {
    for (let after = ''; ; ) {
      const page = await this.tree.list(ino, after, 100);
      for (const entry of page) {
        after = entry.key;
        if (!entry.isDirectory || !(await this.tree.attributes(entry.ino)).has(IMPLICIT)) continue;
        await this.#clearImplicit(entry.ino);
        await this.tree.removeDirectory(ino, entry.name);
      }
      if (page.length < 100) return;
    }
  }

  /** The directory of these components below `ino`; undefined if it is not there. */
  async directory(ino: Ino, components: readonly string[]): Promise<Ino | undefined> {
    let at = ino;
    for (const component of components) {
      const node = await this.tree.child(at, nameOf(component, true));
      if (node === undefined || !node.isDirectory) return undefined;
      at = node.ino;
    }
    return at;
  }

  /** As `directory`, made where it is not there. An object whose name is in the way moves to its escaped name; KeyConflict in a bucket with strict keys. */
  async ensureDirectory(
    bucket: Pick<Bucket, 'ino' | 'uid' | 'gid' | 'info'>,
    components: readonly string[],
  ): Promise<Ino> {
    let at = bucket.ino;
    for (const component of components) at = await this.#ensureChild(at, component, bucket);
    return at;
  }

  async #ensureChild(parent: Ino, component: string, owner: Pick<Bucket, 'uid' | 'gid' | 'info'>): Promise<Ino> {
    const name = nameOf(component, true);
    for (;;) {
      const node = await this.tree.child(parent, name);
      if (node?.isDirectory) return node.ino;
      if (node !== undefined) {
        if (owner.info.strictKeys === true) throw keyConflict();
        await this.#stepAside(parent, component, node);
        continue;
      }
      const attributes = new Map<string, Uint8Array>([[IMPLICIT, new Uint8Array(0)]]);
      if (isLongName(name)) attributes.set(LONG_NAME, Buffer.from(component, 'latin1'));
      try {
        const { uid, gid } = owner;
        return (await this.tree.makeDirectory(parent, name, { uid, gid, mode: DIRECTORY_MODE }, attributes)).ino;
      } catch (error) {
        if (!hasCode(error, 'NOT_DIRECTORY')) throw error;
      }
    }
  }

  async #stepAside(parent: Ino, component: string, node: TreeNode): Promise<void> {
    if (!isFile(node.mode)) throw new S3Error('InvalidRequest', 'A file that is no object is in the way of the key.');
    const name = nameOf(component, true);
    const aside = escapedName(component, false);
    if (isLongName(aside))
      throw new S3Error('KeyTooLongError', 'An object is in the way, whose name is too long to give way.');
    await this.tree.publish(async () => {
      const there = await this.tree.child(parent, name);
      if (there?.ino !== node.ino) return [];
      const taken = await this.tree.child(parent, aside);
      return [
        { parent, name, expected: node.ino, to: undefined },
        { parent, name: aside, expected: taken?.ino, to: node.ino },
      ];
    });
  }

  /** Where an object of this key is to be put; makes its directories. */
  /** Under which scheme an object's bytes are to be kept: as the policy of its directory says, or of what there is of the way to it. */
  chunkPolicy(bucket: { readonly ino: Ino }, key: string): ReturnType<ObjectTree['chunkPolicy']> {
    return this.tree.chunkPolicy(async () => {
      let at = bucket.ino;
      for (const name of splitKey(key).directories) {
        const next = await this.tree.child(at, nameOf(name, true));
        if (next?.isDirectory !== true) break;
        at = next.ino;
      }
      return at;
    });
  }

  async place(bucket: Bucket, key: string): Promise<Place> {
    const { directories, last } = splitKey(key);
    const parent = await this.ensureDirectory(bucket, directories);
    let name = nameOf(last, false);
    if (!isLongName(name) && (await this.tree.child(parent, name))?.isDirectory) {
      if (bucket.info.strictKeys === true) throw keyConflict();
      name = escapedName(last, false);
    }
    const nameAttributes = new Map<string, Uint8Array>();
    if (isLongName(name)) nameAttributes.set(LONG_NAME, Buffer.from(last, 'latin1'));
    return { parent, name, nameAttributes };
  }

  /** Undefined if there is none. Its content is settled. */
  async find(bucket: { readonly ino: Ino }, key: string): Promise<StoredObject | undefined> {
    const { directories, last } = splitKey(key);
    const parent = await this.directory(bucket.ino, directories);
    if (parent === undefined) return undefined;
    if (last === '' && directories.length > 0) {
      const own = await this.#directoryObject(parent, key);
      if (own !== undefined) return own;
    }
    const plain = nameOf(last, false);
    const node = await this.tree.child(parent, plain);
    if (node !== undefined && !node.isDirectory) return this.object(key, parent, plain, node);
    // Beside a directory of its name, or where one was.
    const escaped = escapedName(last, false);
    const beside = escaped === plain ? undefined : await this.tree.child(parent, escaped);
    return beside === undefined ? undefined : this.object(key, parent, escaped, beside);
  }

  /** As `find`, for a client that reads: also with what programs have just written through a mount that keeps it for a while. Not within a publication. */
  async findWritten(bucket: Bucket, key: string): Promise<StoredObject | undefined> {
    const found = await this.find(bucket, key);
    const handedOver = found && this.tree.handOver(found.node.ino);
    if (handedOver === undefined) return found;
    await handedOver;
    return this.find(bucket, key);
  }

  async #directoryObject(ino: Ino, key: string): Promise<StoredObject | undefined> {
    const node = await this.tree.node(ino);
    return node === undefined ? undefined : this.object(key, ino, '', node);
  }

  /** The file that holds the body of a key that ends in `/`; undefined if it has none. */
  async body(
    bucket: { readonly ino: Ino },
    key: string,
  ): Promise<{ parent: Ino; name: Name; expected: Ino } | undefined> {
    const parent = await this.directory(bucket.ino, splitKey(key).directories);
    const name = nameOf('', false);
    const node = parent === undefined ? undefined : await this.tree.child(parent, name);
    return parent === undefined || node === undefined || node.isDirectory
      ? undefined
      : { parent, name, expected: node.ino };
  }

  /** The object of a file, or of a directory that stands for a key. Undefined if it is none (any more). */
  async object(key: string, parent: Ino, name: Name, found: WalkedNode): Promise<StoredObject | undefined> {
    if (!isFile(found.mode) && !found.isDirectory) return undefined;
    const node = await this.tree.settled(found.ino);
    if (node === undefined) return undefined;
    const attributes = await this.tree.attributes(node.ino);
    const own = decodeAttributes(attributes.get(OBJECT));
    if (node.isDirectory) {
      if (own === undefined) return undefined;
      return {
        key,
        parent,
        name: '',
        node: { ...node, sizeBytes: 0 },
        attributes,
        own,
        etag: own.etag,
        isOwnContent: true,
      };
    }
    const isOwnContent = own !== undefined && own.stage === node.contentStage && own.size === node.sizeBytes;
    const etag = isOwnContent ? own.etag : await this.#etagOfChunks(node);
    return { key, parent, name, node, attributes, own, etag, isOwnContent };
  }

  /** As `object`, for a listing: at once where all that it tells was read along with the name. */
  listed({ key, parent, name, node, object }: WalkedKey): Result<ListedObject | undefined> {
    const own = decodeAttributes(object?.value);
    const isOwnContent = own !== undefined && own.stage === node.contentStage && own.size === node.sizeBytes;
    if (object !== undefined && isOwnContent) return { key, node, own, etag: own.etag, isOwnContent };
    return this.object(key, parent, name, node);
  }

  /** Of what was written through the mount: from the list of its chunks, so that no byte is read. Dashed, so that nobody takes it for an MD5. */
  async #etagOfChunks(node: TreeNode): Promise<string> {
    const hash = createHash('sha256').update(`${node.sizeBytes}\n`);
    for (const { offset, length, chunk, chunkOffset } of await this.tree.extents(node.ino))
      hash.update(`${offset} ${length} ${chunk} ${chunkOffset}\n`);
    return `${hash.digest('hex').slice(0, 32)}-0`;
  }

  /** The change that puts `file` in the place of what is there. */
  change(place: Place, present: StoredObject | undefined, to: NewFile | undefined): NameChange {
    return {
      parent: place.parent,
      name: place.name,
      expected: present?.node.ino,
      ...(present !== undefined && { expectedCtime: present.node.ctime }),
      to,
    };
  }

  /** Removes directories that were made for a key, from the innermost, as long as they hold nothing else. */
  async removeImplicit(bucket: Bucket, key: string): Promise<void> {
    const { directories } = splitKey(key);
    for (let depth = directories.length; depth > 0; depth--) {
      const parent = await this.directory(bucket.ino, directories.slice(0, depth - 1));
      if (parent === undefined) continue;
      const name = nameOf(directories[depth - 1]!, true);
      const node = await this.tree.child(parent, name);
      if (node === undefined || !node.isDirectory) continue;
      if (!(await this.tree.attributes(node.ino)).has(IMPLICIT)) return;
      if ((await this.tree.list(node.ino, '', 1)).length > 0) return;
      if (!(await this.tree.removeDirectory(parent, name))) return;
    }
  }
}

function notEmpty(): S3Error {
  return new S3Error('BucketNotEmpty', 'The bucket you tried to delete is not empty');
}

function keyConflict(): S3Error {
  return new S3Error(
    'KeyConflict',
    'In this bucket an object and a directory cannot have one name, and one of them is there.',
  );
}
