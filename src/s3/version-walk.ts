/** The keys of a bucket and of its heads (versions.ts) side by side, in byte order: every key that has any version, also where only delete markers are left. */
import type { Ino } from '../vfs/vfs.js';
import { KeyWalk, type WalkedKey } from './key-walk.js';
import type { ObjectStore, StoredObject } from './object-store.js';
import type { Versions } from './versions.js';

export interface VersionedKey {
  readonly key: string;
  readonly present: WalkedKey | undefined;
  readonly head: WalkedKey | undefined;
}

export class VersionWalk {
  readonly #store: ObjectStore;
  readonly #versions: Versions;
  readonly #own: Side;
  readonly #others: Side;

  /** `heads`: undefined where no key of the bucket has older versions. */
  constructor(
    { store, versions }: { readonly store: ObjectStore; readonly versions: Versions },
    bucket: { readonly ino: Ino },
    heads: { readonly ino: Ino } | undefined,
    options: { readonly prefix: string; readonly after: string; readonly page: number },
  ) {
    this.#store = store;
    this.#versions = versions;
    this.#own = new Side(new KeyWalk(store.tree, bucket.ino, options));
    this.#others = new Side(heads === undefined ? undefined : new KeyWalk(store.tree, heads.ino, options));
  }

  /** The next key, which stays the next one. Undefined at the end. */
  async peek(): Promise<string | undefined> {
    const [own, other] = [await this.#own.peek(), await this.#others.peek()];
    if (own === undefined || other === undefined) return (own ?? other)?.key;
    // biome-ignore lint/complexity/useMathMinMax: these are strings
    return own.key < other.key ? own.key : other.key;
  }

  async next(): Promise<VersionedKey | undefined> {
    const key = await this.peek();
    if (key === undefined) return undefined;
    return { key, present: await this.#own.takeIf(key), head: await this.#others.takeIf(key) };
  }

  /** Passes over all keys that begin so. */
  skip(prefix: string): void {
    this.#own.skip(prefix);
    this.#others.skip(prefix);
  }

  /** Every version of a key, the present one first. */
  async *versionsOf({ key, present, head }: VersionedKey): AsyncGenerator<StoredObject> {
    if (present !== undefined) {
      const object = await this.#store.object(key, present.parent, present.name, present.node);
      if (object !== undefined) yield object;
    }
    if (head !== undefined) yield* this.#versions.list(await this.#versions.directoryOf(head.node.ino), key);
  }
}

/** A walk of which one can see the next key without taking it. */
class Side {
  readonly #walk: KeyWalk | undefined;
  #next: WalkedKey | undefined;

  constructor(walk: KeyWalk | undefined) {
    this.#walk = walk;
  }

  async peek(): Promise<WalkedKey | undefined> {
    this.#next ??= await this.#walk?.next();
    return this.#next;
  }

  async takeIf(key: string): Promise<WalkedKey | undefined> {
    const next = await this.peek();
    if (next?.key !== key) return undefined;
    this.#next = undefined;
    return next;
  }

  skip(prefix: string): void {
    if (this.#next?.key.startsWith(prefix)) this.#next = undefined;
    this.#walk?.skip(prefix);
  }
}
