/**
 * Multipart uploads beside the tree: `/.cairn-s3/uploads/<bucket's inode>/` holds a file `<upload id>` that says what the upload will become, and
 * `<upload id>.<part, five digits>` for each part. Parts whose upload is gone (completed, aborted, or a crash between) are collected.
 */
import type { ObjectTree, TreeNode } from '../vfs/object-tree.js';
import type { Ino } from '../vfs/vfs.js';
import type { Bucket } from './bucket-config.js';
import type { ChecksumName } from './checksums.js';
import type { ObjectStore, StoredObject } from './object-store.js';
import type { OwnAttributes } from './object-writes.js';
import type { Versions } from './versions.js';

export const UPLOAD = 'cairn.s3.upload';
const PAGE = 1000;
const REMOVED_AT_ONCE = 500;

/** What is said when an upload begins. */
export interface UploadStart {
  readonly key: string;
  readonly own: OwnAttributes;
  readonly metadata: readonly (readonly [string, string])[];
  readonly initiatedMs: number;
  readonly initiator: string;
  readonly checksum?: { readonly name: ChecksumName; readonly isComposite: boolean };
}

export interface Upload extends UploadStart {
  readonly id: string;
  readonly directory: Ino;
  readonly node: TreeNode;
}

export interface Part {
  readonly number: number;
  readonly object: StoredObject;
}

export class Uploads {
  readonly #store: ObjectStore;
  readonly #versions: Versions;

  constructor(store: ObjectStore, versions: Versions) {
    this.#store = store;
    this.#versions = versions;
  }

  get #tree(): ObjectTree {
    return this.#store.tree;
  }

  directory(bucket: Bucket, make: boolean): Promise<Ino | undefined> {
    return this.#versions.area('uploads', bucket.ino, make);
  }

  /** Undefined if there is no such upload of the key. */
  async find(bucket: Bucket, key: string, id: string): Promise<Upload | undefined> {
    if (!/^[0-9a-f]{24}$/.test(id)) return undefined;
    const directory = await this.directory(bucket, false);
    const node = directory === undefined ? undefined : await this.#tree.child(directory, id);
    if (directory === undefined || node === undefined) return undefined;
    const upload = await this.#read(directory, id, node);
    return upload?.key === key ? upload : undefined;
  }

  async #read(directory: Ino, id: string, node: TreeNode): Promise<Upload | undefined> {
    const bytes = (await this.#tree.attributes(node.ino)).get(UPLOAD);
    if (bytes === undefined) return undefined;
    return { ...(JSON.parse(Buffer.from(bytes).toString('utf8')) as UploadStart), id, directory, node };
  }

  async *all(bucket: Bucket): AsyncGenerator<Upload> {
    const directory = await this.directory(bucket, false);
    if (directory === undefined) return;
    for (let after = ''; ; ) {
      const page = await this.#tree.list(directory, after, PAGE);
      for (const { name, ino, key } of page) {
        after = key;
        const node = name.includes('.') ? undefined : await this.#tree.node(ino);
        const upload = node && (await this.#read(directory, name, node));
        if (upload !== undefined) yield upload;
      }
      if (page.length < PAGE) return;
    }
  }

  partName(id: string, number: number): string {
    return `${id}.${String(number).padStart(5, '0')}`;
  }

  async part({ directory, id, key }: Upload, number: number): Promise<StoredObject | undefined> {
    const name = this.partName(id, number);
    const node = await this.#tree.child(directory, name);
    return node && this.#store.object(key, directory, name, node);
  }

  /** Parts after number `after`, ascending. */
  async *parts({ directory, id, key }: Pick<Upload, 'directory' | 'id' | 'key'>, after: number): AsyncGenerator<Part> {
    const end = `${id}/`;
    for (let last = this.partName(id, after); ; ) {
      const page = await this.#tree.list(directory, last, PAGE);
      for (const entry of page) {
        if (entry.key >= end) return;
        last = entry.key;
        const node = await this.#tree.node(entry.ino);
        const object = node && (await this.#store.object(key, directory, entry.name, node));
        if (object !== undefined) yield { number: Number(entry.name.slice(id.length + 1)), object };
      }
      if (page.length < PAGE) return;
    }
  }

  /** Removes the parts of an upload that is gone. */
  async removeParts(upload: Pick<Upload, 'directory' | 'id' | 'key'>): Promise<void> {
    let batch: Part[] = [];
    const flush = async (): Promise<void> => {
      const gone = batch;
      batch = [];
      await this.#tree.publish(async () => {
        const changes = [];
        for (const { object } of gone) {
          const there = await this.#tree.child(object.parent, object.name);
          if (there?.ino === object.node.ino)
            changes.push({ parent: object.parent, name: object.name, expected: there.ino, to: undefined });
        }
        return changes;
      });
    };
    for await (const part of this.parts(upload, 0)) {
      batch.push(part);
      if (batch.length === REMOVED_AT_ONCE) await flush();
    }
    if (batch.length > 0) await flush();
  }

  /** Takes the upload away, then its parts. False if it was gone already. */
  async abort(upload: Upload): Promise<boolean> {
    let isGone = true;
    await this.#tree.publish(async () => {
      const there = await this.#tree.child(upload.directory, upload.id);
      isGone = there === undefined;
      return there === undefined
        ? []
        : [{ parent: upload.directory, name: upload.id, expected: there.ino, to: undefined }];
    });
    await this.removeParts(upload);
    return !isGone;
  }

  /** Removes parts without an upload: what a crash between completing and removing left. Returns how many uploads it cleaned up after. */
  async sweep(bucket: Bucket): Promise<number> {
    const directory = await this.directory(bucket, false);
    if (directory === undefined) return 0;
    let cleaned = 0;
    let known = '';
    for (let after = ''; ; ) {
      const page = await this.#tree.list(directory, after, PAGE);
      for (const { name, key } of page) {
        after = key;
        const id = name.split('.')[0]!;
        if (id === known) continue;
        known = id;
        if (!name.includes('.') || (await this.#tree.child(directory, id)) !== undefined) continue;
        await this.removeParts({ directory, id, key: '' });
        cleaned += 1;
      }
      if (page.length < PAGE) return cleaned;
    }
  }

  /** Everything of the bucket's uploads, before the bucket goes. */
  async removeAll(bucket: Bucket): Promise<void> {
    for await (const upload of this.all(bucket)) await this.abort(upload);
    await this.sweep(bucket);
  }
}
