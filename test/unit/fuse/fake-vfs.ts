/**
 * A small Vfs for the tests of the FUSE face: the tree in memory, each file's bytes in one sparse file of a scratch
 * directory, as the cache will have them, so that reads are slices of a descriptor. POSIX semantics as far as the kernel
 * needs them; nothing is durable.
 */
import { closeSync, ftruncateSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { CairnError } from '../../../src/errors/cairn-error.js';
import { SystemClock } from '../../../src/io/clock.js';
import type {
  AllocateMode,
  Attr,
  AttrChange,
  Caller,
  CreateResult,
  DirEntry,
  Handle,
  Ino,
  Name,
  OpenMode,
  ReadPart,
  RenameOptions,
  SpaceReport,
  Vfs,
} from '../../../src/vfs/vfs.js';

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

interface Node {
  readonly attr: Mutable<Attr>;
  readonly entries: Map<Name, Ino>;
  parent: Ino;
  target: string;
  fd: number;
  opens: number;
  readonly xattrs: Map<string, Uint8Array>;
}

const DIRECTORY = 0o040000;
const REGULAR = 0o100000;
const SYMLINK = 0o120000;
const TYPE_MASK = 0o170000;

export class FakeVfs implements Vfs {
  /** Method names in the order of their calls, for tests that count them. */
  readonly calls: string[] = [];
  /** What `hold` and `unhold` leave. */
  /** What `listingStands` answers. */
  keepsListings = false;
  readonly holds = new Map<Ino, number>();
  readonly #scratch: string;
  readonly #clock = new SystemClock();
  readonly #nodes = new Map<Ino, Node>();
  readonly #handles = new Map<Handle, Node>();
  #nextIno = 1;
  #nextHandle = 1;

  /** With a scratch directory of its own, until the test ends. */
  static until<T extends FakeVfs>(this: new (scratch: string) => T, t: Test): T {
    const scratch = mkdtempSync(join(tmpdir(), 'cairn-vfs-'));
    const vfs = new this(scratch);
    t.teardown(() => {
      vfs.close();
      rmSync(scratch, { recursive: true });
    });
    return vfs;
  }

  constructor(scratch: string) {
    this.#scratch = scratch;
    const root = this.#make(DIRECTORY | 0o755, { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, pid: 0 });
    root.parent = root.attr.ino;
  }

  get openHandles(): number {
    return this.#handles.size;
  }

  close(): void {
    for (const node of this.#nodes.values()) if (node.fd >= 0) closeSync(node.fd);
  }

  lookup(parent: Ino, name: Name): Attr | undefined {
    this.calls.push('lookup');
    const node = this.#directory(parent);
    if (name === '..') return this.getattr(node.parent);
    const ino = node.entries.get(name);
    return ino === undefined ? undefined : this.#snapshot(this.#node(ino));
  }

  getattr(ino: Ino): Attr {
    this.calls.push('getattr');
    return this.#snapshot(this.#node(ino));
  }

  setattr(ino: Ino, change: AttrChange, _caller: Caller): Attr {
    this.calls.push('setattr');
    const node = this.#node(ino);
    const { attr } = node;
    const now = this.#clock.now();
    if (change.mode !== undefined) attr.mode = (attr.mode & TYPE_MASK) | change.mode;
    if (change.uid !== undefined) attr.uid = change.uid;
    if (change.gid !== undefined) attr.gid = change.gid;
    if (change.sizeBytes !== undefined) {
      if (node.fd < 0) throw new CairnError('IS_DIRECTORY', `inode ${ino}`);
      ftruncateSync(node.fd, change.sizeBytes);
      attr.sizeBytes = change.sizeBytes;
      attr.mtime = now;
    }
    if (change.killPrivileges) attr.mode &= ~0o6000;
    if (change.atime !== undefined) attr.atime = change.atime === 'now' ? now : change.atime;
    if (change.mtime !== undefined) attr.mtime = change.mtime === 'now' ? now : change.mtime;
    attr.ctime = change.ctime ?? now;
    return this.#snapshot(node);
  }

  readlink(ino: Ino): Name {
    return this.#node(ino).target;
  }

  create(parent: Ino, name: Name, mode: number, _open: OpenMode, caller: Caller): CreateResult {
    this.calls.push('create');
    const node = this.#add(parent, name, REGULAR | mode, caller);
    return { attr: this.#snapshot(node), handle: this.#handle(node) };
  }

  tmpfile(parent: Ino, mode: number, _open: OpenMode, caller: Caller): CreateResult {
    this.calls.push('tmpfile');
    this.#directory(parent);
    const node = this.#make(REGULAR | mode, caller);
    node.attr.nlink = 0;
    return { attr: this.#snapshot(node), handle: this.#handle(node) };
  }

  mknod(parent: Ino, name: Name, mode: number, rdev: number, caller: Caller): Attr {
    const node = this.#add(parent, name, mode, caller);
    node.attr.rdev = rdev;
    return this.#snapshot(node);
  }

  mkdir(parent: Ino, name: Name, mode: number, caller: Caller): Attr {
    return this.#snapshot(this.#add(parent, name, DIRECTORY | mode, caller));
  }

  symlink(parent: Ino, name: Name, target: Name, caller: Caller): Attr {
    const node = this.#add(parent, name, SYMLINK | 0o777, caller);
    node.target = target;
    node.attr.sizeBytes = target.length;
    return this.#snapshot(node);
  }

  link(ino: Ino, parent: Ino, name: Name): Attr {
    const node = this.#node(ino);
    const directory = this.#directory(parent);
    if (directory.entries.has(name)) throw new CairnError('EXISTS', name);
    directory.entries.set(name, ino);
    this.#touch(directory);
    node.attr.nlink++;
    node.attr.ctime = this.#clock.now();
    return this.#snapshot(node);
  }

  unlink(parent: Ino, name: Name): void {
    const directory = this.#directory(parent);
    const node = this.#child(directory, name);
    if ((node.attr.mode & TYPE_MASK) === DIRECTORY) throw new CairnError('IS_DIRECTORY', name);
    this.#drop(directory, name, node);
  }

  rmdir(parent: Ino, name: Name): void {
    const directory = this.#directory(parent);
    const node = this.#child(directory, name);
    if ((node.attr.mode & TYPE_MASK) !== DIRECTORY) throw new CairnError('NOT_DIRECTORY', name);
    if (node.entries.size > 0) throw new CairnError('NOT_EMPTY', name);
    this.#drop(directory, name, node);
  }

  rename(parent: Ino, name: Name, newParent: Ino, newName: Name, options: RenameOptions): void {
    this.calls.push('rename');
    const from = this.#directory(parent);
    const to = this.#directory(newParent);
    const node = this.#child(from, name);
    const replaced = to.entries.has(newName) ? this.#child(to, newName) : undefined;
    if (options.noReplace && replaced !== undefined) throw new CairnError('EXISTS', newName);
    if (options.exchange) {
      if (replaced === undefined) throw new CairnError('NOT_FOUND', newName);
      from.entries.set(name, replaced.attr.ino);
      to.entries.set(newName, node.attr.ino);
      replaced.parent = parent;
      replaced.attr.ctime = this.#clock.now();
    } else {
      if (replaced === node) return;
      if (replaced !== undefined) {
        if (replaced.entries.size > 0) throw new CairnError('NOT_EMPTY', newName);
        this.#drop(to, newName, replaced);
      }
      from.entries.delete(name);
      to.entries.set(newName, node.attr.ino);
    }
    node.parent = newParent;
    node.attr.ctime = this.#clock.now();
    if ((node.attr.mode & TYPE_MASK) === DIRECTORY && from !== to) {
      from.attr.nlink--;
      to.attr.nlink++;
    }
    this.#touch(from);
    this.#touch(to);
  }

  open(ino: Ino, mode: OpenMode): Handle {
    this.calls.push('open');
    const node = this.#node(ino);
    if (node.fd < 0) throw new CairnError('IS_DIRECTORY', `inode ${ino}`);
    if (mode.truncate) this.setattr(ino, { sizeBytes: 0 }, { uid: 0, gid: 0, pid: 0 });
    return this.#handle(node);
  }

  read(handle: Handle, offset: number, length: number): ReadPart[] {
    this.calls.push('read');
    const node = this.#opened(handle);
    const end = Math.min(node.attr.sizeBytes, offset + length);
    return end <= offset ? [] : [{ fd: node.fd, position: offset, length: end - offset }];
  }

  write(handle: Handle, offset: number, bytes: Uint8Array, killer?: Caller): number {
    this.calls.push('write');
    const node = this.#opened(handle);
    writeSync(node.fd, bytes, 0, bytes.length, offset);
    node.attr.sizeBytes = Math.max(node.attr.sizeBytes, offset + bytes.length);
    if (killer !== undefined) node.attr.mode &= ~0o6000;
    this.#touch(node);
    return bytes.length;
  }

  flush(_handle: Handle): void {
    this.calls.push('flush');
  }

  fsync(_handle: Handle, _dataOnly: boolean): void {
    this.calls.push('fsync');
  }

  copyRange(from: Handle, offset: number, to: Handle, toOffset: number, length: number): number {
    this.calls.push('copyRange');
    const source = this.#opened(from);
    const bytes = Buffer.alloc(Math.max(0, Math.min(length, source.attr.sizeBytes - offset)));
    readSync(source.fd, bytes, 0, bytes.length, offset);
    return this.write(to, toOffset, bytes);
  }

  accessed(handle: Handle): boolean {
    this.calls.push('accessed');
    if (!this.#handles.has(handle)) throw new CairnError('BAD_HANDLE', `handle ${handle}`);
    return false;
  }

  hold(ino: Ino): void {
    this.holds.set(ino, (this.holds.get(ino) ?? 0) + 1);
  }

  unhold(ino: Ino, count: number): void {
    const left = (this.holds.get(ino) ?? 0) - count;
    if (left > 0) this.holds.set(ino, left);
    else this.holds.delete(ino);
  }

  release(handle: Handle): void {
    this.calls.push('release');
    this.#close(handle, false);
  }

  fallocate(handle: Handle, mode: AllocateMode, offset: number, length: number): void {
    const node = this.#opened(handle);
    const end = mode.keepSize ? Math.min(offset + length, node.attr.sizeBytes) : offset + length;
    if (mode.punchHole || mode.zeroRange) writeSync(node.fd, Buffer.alloc(Math.max(0, end - offset)), 0, null, offset);
    if (end > node.attr.sizeBytes) {
      ftruncateSync(node.fd, end);
      node.attr.sizeBytes = end;
    }
    this.#touch(node);
  }

  /** Everything is data, up to the one hole at the end. */
  seek(handle: Handle, offset: number, whence: 'data' | 'hole'): number {
    const { sizeBytes } = this.#opened(handle).attr;
    if (offset >= sizeBytes) throw new CairnError('NO_EXTENT', 'beyond the end');
    return whence === 'data' ? offset : sizeBytes;
  }

  listingStands(): boolean {
    this.calls.push('listingStands');
    return this.keepsListings;
  }

  opendir(ino: Ino): Handle {
    this.calls.push('opendir');
    return this.#handle(this.#directory(ino));
  }

  readdir(
    handle: Handle,
    cookie: number,
    plus: boolean,
    take: (entry: DirEntry, attr: Attr | undefined) => boolean,
  ): void {
    this.calls.push(plus ? 'readdirplus' : 'readdir');
    const node = this.#opened(handle, true);
    const all: [Name, Ino][] = [['.', node.attr.ino], ['..', node.parent], ...node.entries];
    for (const [index, [name, ino]] of all.entries()) {
      if (index < cookie) continue;
      const child = this.#node(ino);
      const entry = { name, ino, mode: child.attr.mode, cookie: index + 1 };
      if (!take(entry, plus && index > 1 ? this.#snapshot(child) : undefined)) return;
    }
  }

  fsyncdir(_handle: Handle): void {
    this.calls.push('fsyncdir');
  }

  releasedir(handle: Handle): void {
    this.calls.push('releasedir');
    this.#close(handle, true);
  }

  getxattr(ino: Ino, name: string): Uint8Array {
    this.calls.push(`getxattr ${name}`);
    const value = this.#node(ino).xattrs.get(name);
    if (value === undefined) throw new CairnError('NO_DATA', name);
    return value;
  }

  listxattr(ino: Ino): string[] {
    return [...this.#node(ino).xattrs.keys()];
  }

  setxattr(ino: Ino, name: string, value: Uint8Array, mode: 'set' | 'create' | 'replace'): void {
    const { xattrs } = this.#node(ino);
    if (mode === 'create' && xattrs.has(name)) throw new CairnError('EXISTS', name);
    if (mode === 'replace' && !xattrs.has(name)) throw new CairnError('NO_DATA', name);
    xattrs.set(name, value);
  }

  removexattr(ino: Ino, name: string): void {
    if (!this.#node(ino).xattrs.delete(name)) throw new CairnError('NO_DATA', name);
  }

  statfs(): SpaceReport {
    return { blockBytes: 4096, totalBlocks: 1000, freeBlocks: 600, files: 500, freeFiles: 400 };
  }

  /** The file's bytes as another face sees them. */
  bytes(ino: Ino): Buffer {
    const node = this.#node(ino);
    const bytes = Buffer.alloc(node.attr.sizeBytes);
    readSync(node.fd, bytes, 0, bytes.length, 0);
    return bytes;
  }

  #make(mode: number, caller: Caller): Node {
    const ino = this.#nextIno++;
    const now = this.#clock.now();
    const isRegular = (mode & TYPE_MASK) === REGULAR;
    const attr: Attr = {
      ino,
      mode,
      nlink: (mode & TYPE_MASK) === DIRECTORY ? 2 : 1,
      uid: caller.uid,
      gid: caller.gid,
      rdev: 0,
      sizeBytes: 0,
      blocks: 0,
      atime: now,
      mtime: now,
      ctime: now,
      btime: now,
    };
    const fd = isRegular ? openSync(join(this.#scratch, String(ino)), 'w+') : -1;
    const node: Node = { attr, entries: new Map(), parent: ino, target: '', fd, opens: 0, xattrs: new Map() };
    this.#nodes.set(ino, node);
    return node;
  }

  #add(parent: Ino, name: Name, mode: number, caller: Caller): Node {
    const directory = this.#directory(parent);
    if (directory.entries.has(name)) throw new CairnError('EXISTS', name);
    const node = this.#make(mode, caller);
    node.parent = parent;
    directory.entries.set(name, node.attr.ino);
    if ((mode & TYPE_MASK) === DIRECTORY) directory.attr.nlink++;
    this.#touch(directory);
    return node;
  }

  #drop(directory: Node, name: Name, node: Node): void {
    directory.entries.delete(name);
    const isDirectory = (node.attr.mode & TYPE_MASK) === DIRECTORY;
    if (isDirectory) directory.attr.nlink--;
    node.attr.nlink = isDirectory ? 0 : node.attr.nlink - 1;
    node.attr.ctime = this.#clock.now();
    this.#touch(directory);
    this.#forgetIfGone(node);
  }

  #forgetIfGone(node: Node): void {
    if (node.attr.nlink > 0 || node.opens > 0) return;
    this.#nodes.delete(node.attr.ino);
    if (node.fd >= 0) closeSync(node.fd);
  }

  #touch(node: Node): void {
    node.attr.mtime = this.#clock.now();
    node.attr.ctime = node.attr.mtime;
  }

  #snapshot(node: Node): Attr {
    return { ...node.attr, blocks: Math.ceil(node.attr.sizeBytes / 512) };
  }

  #handle(node: Node): Handle {
    const handle = this.#nextHandle++;
    this.#handles.set(handle, node);
    node.opens++;
    return handle;
  }

  #close(handle: Handle, isDirectory: boolean): void {
    const node = this.#opened(handle, isDirectory);
    this.#handles.delete(handle);
    node.opens--;
    this.#forgetIfGone(node);
  }

  #opened(handle: Handle, isDirectory = false): Node {
    const node = this.#handles.get(handle);
    if (node === undefined || node.fd < 0 !== isDirectory) throw new CairnError('BAD_HANDLE', `handle ${handle}`);
    return node;
  }

  #node(ino: Ino): Node {
    const node = this.#nodes.get(ino);
    if (node === undefined) throw new CairnError('NOT_FOUND', `inode ${ino}`);
    return node;
  }

  #directory(ino: Ino): Node {
    const node = this.#node(ino);
    if ((node.attr.mode & TYPE_MASK) !== DIRECTORY) throw new CairnError('NOT_DIRECTORY', `inode ${ino}`);
    return node;
  }

  #child(directory: Node, name: Name): Node {
    const ino = directory.entries.get(name);
    if (ino === undefined) throw new CairnError('NOT_FOUND', name);
    return this.#node(ino);
  }
}

/** They give no Result. */
const AT_ONCE: ReadonlySet<string | symbol> = new Set(['accessed', 'listingStands', 'hold', 'unhold']);

/**
 * The same, answering later: every method runs in a following turn of the event loop, and write works on the copy that
 * its contract makes it take before it returns.
 */
export function answeringLater(vfs: Vfs): Vfs {
  return new Proxy(vfs, {
    get(target, property) {
      const method: unknown = Reflect.get(target, property);
      if (typeof method !== 'function') return method;
      if (AT_ONCE.has(property)) return method.bind(target) as unknown;
      return async (...given: unknown[]) => {
        const values = property === 'write' ? given.map((value) => copyOf(value)) : given;
        await new Promise((resolve) => setImmediate(resolve));
        return Reflect.apply(method, target, values) as unknown;
      };
    },
  });
}

function copyOf(value: unknown): unknown {
  return value instanceof Uint8Array ? Uint8Array.from(value) : value;
}
