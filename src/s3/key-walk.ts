/**
 * Walks the keys of a bucket in byte order: depth first over the directories, each in the order of its sort keys. Costs what it returns: a page per
 * directory on the way, and nothing of what is skipped.
 *
 * Escaped names (key-path.ts) lie together in their directory, but their keys belong elsewhere in the order: a directory's are read first and merged.
 */

import { isFile } from '../vfs/mode.js';
import type { ListedNode, ObjectTree, TreeNode, WalkedNode } from '../vfs/object-tree.js';
import type { Ino, Name } from '../vfs/vfs.js';
import { AFTER_ESCAPES, componentOf, ESCAPE, isLongName } from './key-path.js';
import { LONG_NAME, OBJECT } from './object-attributes.js';

/** Sorts after every name that begins as what it follows: names have at most 255 bytes, components 1024. */
const LAST = '\xff'.repeat(1025);
/** With room for the one key that tells that there are more than a page shows. */
const PAGE_MAX = 1001;
/** What is read of a directory at first where little of it may be wanted; then four times as much, and so on. */
const FIRST_PAGE = 8;
const GROWTH = 4;

export interface WalkedKey {
  readonly key: string;
  readonly parent: Ino;
  readonly name: Name;
  readonly node: WalkedNode;
  /** What its attribute OBJECT says, where it was read along with the node, which is settled then. */
  readonly object?: { readonly value: Uint8Array | undefined };
}

interface Item {
  /** Component, with `/` for a directory: sorts as the key does. */
  readonly sortKey: string;
  readonly name: Name;
  readonly ino: Ino;
  readonly isDirectory: boolean;
  readonly listed?: ListedNode;
}

class Frame {
  readonly ino: Ino;
  /** What all keys below it begin with. */
  readonly prefix: string;
  after: string;
  buffer: readonly ListedNode[] = [];
  page: number;
  at = 0;
  isComplete = false;
  escaped: readonly Item[] | undefined;
  escapedAt = 0;
  /** The key that is the prefix itself is not wanted. */
  readonly skipsSelf: boolean;
  /** It has been given, or is not wanted. */
  isSelfDone: boolean;

  constructor(ino: Ino, prefix: string, after: string, skipsSelf: boolean, page: number) {
    this.page = page;
    this.ino = ino;
    this.prefix = prefix;
    this.after = after;
    this.skipsSelf = skipsSelf;
    this.isSelfDone = skipsSelf;
  }
}

export class KeyWalk {
  readonly #tree: ObjectTree;
  readonly #prefix: string;
  readonly #page: number;
  readonly #skips: boolean;
  /** How many keys the caller still wants, about. */
  #left: number;
  readonly #frames: Frame[] = [];
  #start: { readonly bucket: Ino; readonly after: string } | undefined;

  /** Keys after `after` that begin with `prefix`; `page`: how many the caller wants, about; `skips`: it will skip whole directories. */
  constructor(
    tree: ObjectTree,
    bucket: Ino,
    options: { prefix: string; after: string; page: number; skips?: boolean },
  ) {
    this.#tree = tree;
    this.#prefix = options.prefix;
    this.#page = Math.min(PAGE_MAX, options.page + 1);
    this.#skips = options.skips === true;
    this.#left = this.#page;
    const after = justBefore(options.prefix);
    // biome-ignore lint/complexity/useMathMinMax: these are strings
    this.#start = { bucket, after: after < options.after ? options.after : after };
  }

  /** No more of a directory than the caller may want of it. */
  #firstPage(): number {
    return Math.min(this.#page, Math.max(FIRST_PAGE, this.#skips ? 0 : this.#left));
  }

  /** Undefined at the end. */
  async next(): Promise<WalkedKey | undefined> {
    this.#left -= 1;
    if (this.#start !== undefined) {
      const { bucket, after } = this.#start;
      this.#start = undefined;
      await this.#descend(bucket, '', after);
    }
    for (;;) {
      const frame = this.#frames.at(-1);
      if (frame === undefined) return undefined;
      if (!frame.isSelfDone) {
        frame.isSelfDone = true;
        const self = await this.#self(frame);
        if (self !== undefined) return self;
      }
      const item = await this.#nextItem(frame);
      if (item === undefined) {
        this.#frames.pop();
        continue;
      }
      const key = frame.prefix + item.sortKey;
      if (!key.startsWith(this.#prefix) && !(item.isDirectory && this.#prefix.startsWith(key))) {
        if (key < this.#prefix) continue;
        this.#frames.length = 0;
        return undefined;
      }
      if (item.isDirectory) {
        this.#frames.push(new Frame(item.ino, key, '', !key.startsWith(this.#prefix), this.#firstPage()));
        continue;
      }
      const { listed } = item;
      if (listed?.node !== undefined) {
        if (isFile(listed.node.mode)) return walked(frame, listed, listed.node);
        continue;
      }
      const node = await this.#tree.node(item.ino);
      if (node !== undefined && isFile(node.mode)) return { key, parent: frame.ino, name: item.name, node };
    }
  }

  /** As `next`, where nothing has to be read for it; undefined: `next` tells. */
  nextNow(): WalkedKey | undefined {
    const frame = this.#frames.at(-1);
    const entry = frame?.buffer[frame.at];
    if (frame?.isSelfDone !== true || frame.escaped === undefined || entry === undefined) return undefined;
    const { node } = entry;
    if (entry.isDirectory || node === undefined || !isFile(node.mode) || entry.name.startsWith(ESCAPE))
      return undefined;
    const other = frame.escaped[frame.escapedAt];
    if (other !== undefined && other.sortKey < entry.key) return undefined;
    const found = walked(frame, entry, node);
    if (!found.key.startsWith(this.#prefix)) return undefined;
    frame.at += 1;
    this.#left -= 1;
    return found;
  }

  /** No more keys that begin with `prefix`. */
  skip(prefix: string): void {
    while (
      (this.#frames.at(-1)?.prefix ?? '').length >= prefix.length &&
      this.#frames.at(-1)?.prefix.startsWith(prefix)
    )
      this.#frames.pop();
    const frame = this.#frames.at(-1);
    if (frame === undefined || !prefix.startsWith(frame.prefix)) return;
    const rest = prefix.slice(frame.prefix.length);
    const isPassed = (key: string): boolean => key.startsWith(rest);
    while (frame.at < frame.buffer.length && isPassed(frame.buffer[frame.at]!.key)) frame.at += 1;
    if (frame.at === frame.buffer.length && !frame.isComplete) frame.after = rest + LAST;
    const { escaped } = frame;
    while (escaped !== undefined && frame.escapedAt < escaped.length && isPassed(escaped[frame.escapedAt]!.sortKey))
      frame.escapedAt += 1;
  }

  /** Opens the directories on the way to the first key after `after`, which is relative to `ino`. */
  async #descend(ino: Ino, prefix: string, after: string): Promise<void> {
    const slash = after.indexOf('/');
    if (slash < 0) {
      this.#frames.push(new Frame(ino, prefix, after, after !== '' || prefix === '', this.#firstPage()));
      return;
    }
    const component = after.slice(0, slash);
    const frame = new Frame(ino, prefix, `${component}/`, true, this.#firstPage());
    this.#frames.push(frame);
    const child = await this.#directory(frame, component);
    if (child !== undefined) await this.#descendInto(child, `${prefix}${component}/`, after.slice(slash + 1));
  }

  /** `after` is what follows the directory's prefix: '' means the key that is the prefix itself. */
  async #descendInto(ino: Ino, prefix: string, after: string): Promise<void> {
    if (after === '') this.#frames.push(new Frame(ino, prefix, '', true, this.#firstPage()));
    else await this.#descend(ino, prefix, after);
  }

  async #directory(frame: Frame, component: string): Promise<Ino | undefined> {
    const plain =
      component !== '' && !component.startsWith(ESCAPE) ? await this.#plainChild(frame.ino, component) : undefined;
    if (plain?.isDirectory) return plain.ino;
    const escaped = await this.#escaped(frame);
    return escaped.find(({ sortKey, isDirectory }) => isDirectory && sortKey === `${component}/`)?.ino;
  }

  async #plainChild(ino: Ino, name: Name): Promise<TreeNode | undefined> {
    return name.length > 255 || name === '.' || name === '..' || name.includes('\0')
      ? undefined
      : this.#tree.child(ino, name);
  }

  /** The key that ends in `/`: kept in the directory's own attributes. */
  async #self(frame: Frame): Promise<WalkedKey | undefined> {
    const attributes = await this.#tree.attributes(frame.ino);
    if (!attributes.has(OBJECT)) return undefined;
    const node = await this.#tree.node(frame.ino);
    return node === undefined ? undefined : { key: frame.prefix, parent: frame.ino, name: '', node };
  }

  async #nextItem(frame: Frame): Promise<Item | undefined> {
    const escaped = await this.#escaped(frame);
    for (;;) {
      if (frame.at === frame.buffer.length && !frame.isComplete) {
        frame.buffer = await this.#tree.listNodes(frame.ino, frame.after, frame.page, OBJECT);
        frame.isComplete = frame.buffer.length < frame.page;
        frame.page = Math.min(this.#page, GROWTH * frame.page);
        frame.at = 0;
        frame.after = frame.buffer.at(-1)?.key ?? frame.after;
      }
      const entry = frame.buffer[frame.at];
      if (entry?.name.startsWith(ESCAPE)) {
        frame.at += 1;
        continue;
      }
      const other = escaped[frame.escapedAt];
      if (entry === undefined && !frame.isComplete) continue;
      if (other !== undefined && (entry === undefined || other.sortKey < entry.key)) {
        frame.escapedAt += 1;
        return other;
      }
      if (entry === undefined) return undefined;
      frame.at += 1;
      return { sortKey: entry.key, name: entry.name, ino: entry.ino, isDirectory: entry.isDirectory, listed: entry };
    }
  }

  /** The directory's escaped names after where its frame begins, in the order of their keys. */
  async #escaped(frame: Frame): Promise<readonly Item[]> {
    if (frame.escaped !== undefined) return frame.escaped;
    const items: Item[] = [];
    // Most directories have none.
    for (let after = ESCAPE, limit = FIRST_PAGE; ; limit = Math.min(PAGE_MAX, GROWTH * limit)) {
      const page = await this.#tree.list(frame.ino, after, limit);
      for (const { key, name, ino, isDirectory } of page) {
        if (key >= AFTER_ESCAPES) break;
        const component = componentOf(name, isDirectory, isLongName(name) ? await this.#longName(ino) : undefined);
        if (component !== undefined)
          items.push({ sortKey: isDirectory ? `${component}/` : component, name, ino, isDirectory });
      }
      after = page.at(-1)?.key ?? AFTER_ESCAPES;
      if (page.length < limit || after >= AFTER_ESCAPES) break;
    }
    items.sort((a, b) => (a.sortKey < b.sortKey ? -1 : 1));
    frame.escaped = items;
    const { after, skipsSelf } = frame;
    const isPassed = ({ sortKey }: Item): boolean => (sortKey === '' ? skipsSelf : sortKey <= after);
    while (frame.escapedAt < items.length && isPassed(items[frame.escapedAt]!)) frame.escapedAt += 1;
    return items;
  }

  async #longName(ino: Ino): Promise<string | undefined> {
    const value = (await this.#tree.attributes(ino)).get(LONG_NAME);
    return value === undefined ? undefined : Buffer.from(value).toString('latin1');
  }
}

function walked(frame: Frame, { key, name, value }: ListedNode, node: WalkedNode): WalkedKey {
  return { key: frame.prefix + key, parent: frame.ino, name, node, object: { value } };
}

/** The greatest string that sorts before every string beginning with `prefix`. */
function justBefore(prefix: string): string {
  if (prefix === '') return '';
  const last = prefix.charCodeAt(prefix.length - 1);
  const head = prefix.slice(0, -1);
  return last === 0 ? head : head + String.fromCharCode(last - 1) + LAST;
}
