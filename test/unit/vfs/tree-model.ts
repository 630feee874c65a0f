/**
 * What a file system should say, kept in plain memory: the oracle of the random histories. It knows POSIX's rules for names, link
 * counts and times and nothing of staging, commits or caches.
 */
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../../../src/vfs/mode.js';

/** Which times an operation has moved since the last comparison. */
export interface Moved {
  mtime: boolean;
  ctime: boolean;
}

export class ModelNode {
  mode: number;
  nlink: number;
  uid = 0;
  gid = 0;
  data: Buffer = Buffer.alloc(0);
  target = '';
  readonly xattrs = new Map<string, Buffer>();
  readonly children = new Map<string, ModelNode>();
  /** As seen at the last comparison. */
  seen: { mtime: string; ctime: string } | undefined;
  moved: Moved = { mtime: true, ctime: true };

  constructor(mode: number) {
    this.mode = mode;
    this.nlink = (mode & S_IFMT) === S_IFDIR ? 2 : 1;
  }

  get isDirectory(): boolean {
    return (this.mode & S_IFMT) === S_IFDIR;
  }

  get isFile(): boolean {
    return (this.mode & S_IFMT) === S_IFREG;
  }

  changed(): void {
    this.moved.ctime = true;
  }

  modified(): void {
    this.moved.mtime = true;
    this.moved.ctime = true;
  }

  resize(size: number): void {
    const next = Buffer.alloc(size);
    this.data.copy(next);
    this.data = next;
    this.modified();
  }

  write(offset: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    if (offset + bytes.length > this.data.length) this.resize(offset + bytes.length);
    this.data.set(bytes, offset);
    this.modified();
  }

  punch(from: number, to: number): void {
    const end = Math.min(to, this.data.length);
    if (from >= end) return;
    this.data.fill(0, from, end);
    this.modified();
  }
}

export interface Place {
  readonly dir: ModelNode;
  readonly name: string;
}

export class TreeModel {
  readonly root = new ModelNode(S_IFDIR | 0o755);

  make(place: Place, mode: number): ModelNode {
    const node = new ModelNode(mode);
    place.dir.children.set(place.name, node);
    if (node.isDirectory) place.dir.nlink += 1;
    place.dir.modified();
    return node;
  }

  symlink(place: Place, target: string): void {
    this.make(place, S_IFLNK | 0o777).target = target;
  }

  link(node: ModelNode, place: Place): void {
    node.nlink += 1;
    node.changed();
    place.dir.children.set(place.name, node);
    place.dir.modified();
  }

  #lose(node: ModelNode): void {
    node.nlink = node.isDirectory ? 0 : node.nlink - 1;
    node.changed();
  }

  remove({ dir, name }: Place): void {
    const node = dir.children.get(name)!;
    dir.children.delete(name);
    if (node.isDirectory) dir.nlink -= 1;
    this.#lose(node);
    dir.modified();
  }

  rename(from: Place, to: Place): void {
    const node = from.dir.children.get(from.name)!;
    const other = to.dir.children.get(to.name);
    if (other === node) return;
    from.dir.children.delete(from.name);
    to.dir.children.set(to.name, node);
    if (node.isDirectory) {
      from.dir.nlink -= 1;
      to.dir.nlink += 1;
    }
    if (other !== undefined) {
      if (other.isDirectory) to.dir.nlink -= 1;
      this.#lose(other);
    }
    node.changed();
    from.dir.modified();
    to.dir.modified();
  }

  exchange(from: Place, to: Place): void {
    const node = from.dir.children.get(from.name)!;
    const other = to.dir.children.get(to.name)!;
    if (node === other) return;
    from.dir.children.set(from.name, other);
    to.dir.children.set(to.name, node);
    const moved = Number(node.isDirectory) - Number(other.isDirectory);
    from.dir.nlink -= moved;
    to.dir.nlink += moved;
    node.changed();
    other.changed();
    from.dir.modified();
    to.dir.modified();
  }

  directories(): ModelNode[] {
    return [...new Set(this.places().flatMap(({ node }) => (node.isDirectory ? [node] : [])))].concat(this.root);
  }

  /** Every name in the tree. */
  places(): { path: string; dir: ModelNode; name: string; node: ModelNode }[] {
    const all: { path: string; dir: ModelNode; name: string; node: ModelNode }[] = [];
    const walk = (dir: ModelNode, path: string): void => {
      for (const [name, node] of dir.children) {
        all.push({ path: `${path}/${name}`, dir, name, node });
        if (node.isDirectory) walk(node, `${path}/${name}`);
      }
    };
    walk(this.root, '');
    return all;
  }

  isBelow(node: ModelNode, ancestor: ModelNode): boolean {
    if (node === ancestor) return true;
    return [...ancestor.children.values()].some((child) => child.isDirectory && this.isBelow(node, child));
  }
}
