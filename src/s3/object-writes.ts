/**
 * Every change of what a key stands for: put, delete, delete of a version. Each is one publication that moves what was there aside (or lets it go), and
 * in which the caller's conditions are checked once more.
 */
import type { Clock } from '../io/clock.js';
import type { StoredContent } from '../vfs/content-writer.js';
import type { TreeNode } from '../vfs/object-tree.js';
import type { NameChange, NewFile } from '../vfs/publisher.js';
import type { Ino } from '../vfs/vfs.js';
import type { Bucket } from './bucket-config.js';
import {
  decodeAttributes,
  encodeAttributes,
  IMPLICIT,
  OBJECT,
  type ObjectAttributes,
  USER_METADATA,
} from './object-attributes.js';
import { FILE_MODE, type ObjectStore, type Place, type StoredObject } from './object-store.js';
import { S3Error } from './s3-error.js';
import { NULL_VERSION, type Versions, versionOf } from './versions.js';

/** What the writer says of a new object; the rest follows from where it comes to be. */
export type OwnAttributes = Omit<ObjectAttributes, 'v' | 'stage' | 'size' | 'version' | 'order' | 'isMarker'>;

export interface NewObject {
  readonly content: StoredContent;
  readonly sources?: NewFile['sources'];
  readonly own: OwnAttributes;
  readonly metadata: readonly (readonly [name: string, value: string])[];
  /** More names that change in the same step. */
  readonly also?: () => Promise<readonly NameChange[]>;
}

/** Undefined takes an attribute away. */
type AttributeChange = { readonly [Name in keyof ObjectAttributes]?: ObjectAttributes[Name] | undefined };
type Check = (present: StoredObject | undefined) => void | Promise<void>;

export class ObjectWrites {
  readonly #store: ObjectStore;
  readonly #versions: Versions;
  readonly #clock: Clock;
  /** Ends with the last change of a version's attributes that is under way. */
  readonly #turns = new Map<Ino, Promise<unknown>>();

  constructor(store: ObjectStore, versions: Versions, clock: Clock) {
    this.#store = store;
    this.#versions = versions;
    this.#clock = clock;
  }

  /** Makes the object; the id of its version where the bucket has versions. `check` may refuse. The content is not the caller's any more. */
  async put(
    bucket: Bucket,
    key: string,
    object: NewObject,
    check: Check,
  ): Promise<{ readonly version: string | undefined }> {
    const { versioning } = bucket.info;
    /** What is answered, of the preparation that was published. */
    let told = versioning === undefined ? undefined : NULL_VERSION;
    const held = object.sources === undefined ? [object.content] : [];
    const isDirectory = key.endsWith('/') && object.content.sizeBytes === 0 && versioning === undefined;
    if (isDirectory) {
      await this.#putDirectory(bucket, key, object, check);
      return { version: told };
    }
    try {
      await this.#store.tree.publish(async () => {
        const place = await this.#store.place(bucket, key);
        const present = await this.#store.find(bucket, key);
        await check(present);
        await this.#refuseForeign(place, present);
        const { order, id } = await this.#versions.nextVersion(bucket, key, present, this.#clock.nowMs());
        if (versioning === 'Enabled') told = id;
        const own = {
          ...object.own,
          v: 1 as const,
          size: object.content.sizeBytes,
          ...(versioning === 'Enabled' ? { version: id } : { order }),
        };
        const file: NewFile = {
          mode: FILE_MODE,
          uid: bucket.uid,
          gid: bucket.gid,
          content: object.content,
          ...(object.sources !== undefined && { sources: object.sources }),
          attributes: (stage) =>
            new Map([
              ...place.nameAttributes,
              [OBJECT, encodeAttributes({ ...own, stage })],
              ...object.metadata.map(([name, value]): [string, Uint8Array] => [
                USER_METADATA + name,
                Buffer.from(value, 'latin1'),
              ]),
            ]),
        };
        const also = (await object.also?.()) ?? [];
        return [...(await this.#replace(bucket, key, place, present, file)), ...also];
      }, held);
    } catch (error) {
      await this.#store.removeImplicit(bucket, key);
      throw error;
    }
    return { version: told };
  }

  /** A key that ends in `/` without a body is kept in its directory's attributes. */
  async #putDirectory(bucket: Bucket, key: string, object: NewObject, check: Check): Promise<void> {
    await check(await this.#store.find(bucket, key));
    const ino = await this.#store.ensureDirectory(bucket, key.slice(0, -1).split('/'));
    const values = new Map<string, Uint8Array | null>([[IMPLICIT, null]]);
    for (const name of (await this.#store.tree.attributes(ino)).keys())
      if (name.startsWith(USER_METADATA)) values.set(name, null);
    values.set(OBJECT, encodeAttributes({ ...object.own, v: 1, size: 0, stage: 0 }));
    for (const [name, value] of object.metadata) values.set(USER_METADATA + name, Buffer.from(value, 'latin1'));
    await this.#store.tree.setAttributes(ino, values);
    if (object.also !== undefined) await this.#store.tree.publish(object.also);
    await this.#dropBody(bucket, key);
  }

  /** The same key may have had a body, which is a file of its own. */
  async #dropBody(bucket: Bucket, key: string): Promise<void> {
    await this.#store.tree.publish(async () => {
      const body = await this.#store.body(bucket, key);
      return body === undefined ? [] : [{ ...body, to: undefined }];
    });
  }

  async #refuseForeign(place: Place, present: StoredObject | undefined): Promise<void> {
    if (present !== undefined && present.name === place.name) return;
    if ((await this.#store.tree.child(place.parent, place.name)) !== undefined)
      throw new S3Error('InvalidRequest', 'A file that is no object (a link, say) has the key in the file system.');
  }

  async #replace(
    bucket: Bucket,
    key: string,
    place: Place,
    present: StoredObject | undefined,
    file: NewFile,
  ): Promise<NameChange[]> {
    const isInPlace = present !== undefined && present.name === place.name && present.parent === place.parent;
    const changes = [this.#store.change(place, isInPlace ? present : undefined, file)];
    if (present === undefined) {
      if (bucket.info.versioning === 'Suspended') changes.push(...(await this.#versions.dropNull(bucket, key)));
      return changes;
    }
    if (!isInPlace) changes.push(...(await this.#leave(present)));
    changes.push(...(await this.#aside(bucket, key, present)));
    return changes;
  }

  /** The name of the present object goes. */
  async #leave(present: StoredObject): Promise<NameChange[]> {
    if (present.name === '') {
      await this.#store.tree.setAttributes(
        present.node.ino,
        new Map([
          [OBJECT, null],
          [IMPLICIT, new Uint8Array(0)],
        ]),
      );
      return [];
    }
    const { parent, name, node } = present;
    return [{ parent, name, expected: node.ino, expectedCtime: node.ctime, to: undefined }];
  }

  /** What becomes of the present version when another takes its place. */
  async #aside(bucket: Bucket, key: string, present: StoredObject): Promise<NameChange[]> {
    const { versioning } = bucket.info;
    if (versioning === undefined || present.name === '') return [];
    const isNull = versionOf(present) === NULL_VERSION;
    if (versioning === 'Suspended' && isNull) return [];
    const changes = [await this.#versions.putAside(bucket, key, present, 'itself')];
    if (versioning === 'Suspended') changes.push(...(await this.#versions.dropNull(bucket, key)));
    return changes;
  }

  /** Without a version: the object is gone, or hidden behind a delete marker. */
  async remove(
    bucket: Bucket,
    key: string,
    check: Check,
  ): Promise<{ readonly version: string | undefined; readonly isMarker: boolean }> {
    const { versioning } = bucket.info;
    if (versioning === undefined) {
      await this.#store.tree.publish(async () => {
        const present = await this.#store.find(bucket, key);
        await check(present);
        return present === undefined ? [] : this.#leave(present);
      });
      await this.#store.removeImplicit(bucket, key);
      return { version: undefined, isMarker: false };
    }
    let id = NULL_VERSION;
    await this.#store.tree.publish(async () => {
      const present = await this.#store.find(bucket, key);
      await check(present);
      const made = await this.#versions.nextVersion(bucket, key, present, this.#clock.nowMs());
      if (versioning === 'Enabled') id = made.id;
      const changes = [await this.#versions.marker(bucket, key, made)];
      if (present === undefined) {
        if (versioning === 'Suspended') changes.push(...(await this.#versions.dropNull(bucket, key)));
        return changes;
      }
      return [...(await this.#leave(present)), ...changes, ...(await this.#aside(bucket, key, present))];
    });
    await this.#store.removeImplicit(bucket, key);
    return { version: id, isMarker: true };
  }

  /** Removes one version for good; the newest that is left is the present one, unless it is a delete marker. */
  async removeVersion(bucket: Bucket, key: string, id: string, check: Check): Promise<{ readonly isMarker: boolean }> {
    let isMarker = false;
    await this.#store.tree.publish(async () => {
      for (;;) {
        const present = await this.#store.find(bucket, key);
        if (present !== undefined && versionOf(present) === id) {
          await check(present);
          return this.#removePresent(bucket, key, present);
        }
        const others: StoredObject[] = [];
        for await (const version of await this.#versions.others(bucket, key)) {
          others.push(version);
          if (versionOf(version) === id) break;
        }
        const found = others.at(-1);
        if (found === undefined || versionOf(found) !== id) {
          if (await this.#versions.isStillPresent(bucket, key, present)) return [];
          continue;
        }
        await check(found);
        isMarker = found.own?.isMarker === true;
        const gone: NameChange = { parent: found.parent, name: found.name, expected: found.node.ino, to: undefined };
        if (present !== undefined || others.length > 1 || !isMarker) return [gone];
        return [gone, ...(await this.#promote(bucket, key, found))];
      }
    });
    await this.#store.removeImplicit(bucket, key);
    await this.#versions.tidy(bucket, key);
    return { isMarker };
  }

  async #removePresent(bucket: Bucket, key: string, present: StoredObject): Promise<NameChange[]> {
    const next = await this.#versions.newest(bucket, key);
    if (next === undefined || next.own?.isMarker === true || present.name === '') return this.#leave(present);
    const { parent, name, node } = present;
    return [
      { parent, name, expected: node.ino, expectedCtime: node.ctime, to: next.node.ino },
      { parent: next.parent, name: next.name, expected: next.node.ino, to: undefined },
    ];
  }

  /** After `marker`, the newest, the next one becomes present. */
  async #promote(bucket: Bucket, key: string, marker: StoredObject): Promise<NameChange[]> {
    let next: StoredObject | undefined;
    for await (const version of await this.#versions.others(bucket, key)) {
      if (version.node.ino === marker.node.ino) continue;
      next = version;
      break;
    }
    if (next === undefined || next.own?.isMarker === true) return [];
    const place = await this.#store.place(bucket, key);
    return [
      { parent: place.parent, name: place.name, expected: undefined, to: next.node.ino },
      { parent: next.parent, name: next.name, expected: next.node.ino, to: undefined },
    ];
  }

  /** Changes attributes of a version that is there; the rest stays. One change of a version at a time: `decide` is told what stands, and may refuse. */
  async changeAttributes(
    object: StoredObject,
    decide: (own: ObjectAttributes | undefined) => AttributeChange,
  ): Promise<void> {
    const { ino } = object.node;
    const mine = (this.#turns.get(ino) ?? Promise.resolve()).then(() => this.#change(object, decide));
    const turn = mine.catch(() => undefined);
    this.#turns.set(ino, turn);
    try {
      await mine;
    } finally {
      if (this.#turns.get(ino) === turn) this.#turns.delete(ino);
    }
  }

  async #change(
    { node, etag }: StoredObject,
    decide: (own: ObjectAttributes | undefined) => AttributeChange,
  ): Promise<void> {
    const own = decodeAttributes((await this.#store.tree.attributes(node.ino)).get(OBJECT));
    const base: ObjectAttributes = own ?? { v: 1, stage: stageOf(node), size: node.sizeBytes, etag };
    const merged = { ...base, ...decide(own) } as ObjectAttributes;
    for (const name of Object.keys(merged) as (keyof ObjectAttributes)[])
      if (merged[name] === undefined) delete merged[name];
    await this.#store.tree.setAttributes(node.ino, new Map([[OBJECT, encodeAttributes(merged)]]));
  }
}

function stageOf({ contentStage, isDirectory }: TreeNode): number {
  return isDirectory ? 0 : contentStage;
}
