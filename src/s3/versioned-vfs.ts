/**
 * The vfs as the mount is given it, for buckets that keep versions: what overwrites, replaces or removes a file in one waits until what stood is kept
 * (mount-history.ts). A file's version lasts from the first change after it was opened to the close of the last handle that may write; the next change
 * makes another. Where no bucket has versions, everything goes through as it is.
 *
 * What versions cannot follow is refused in such buckets, so that programs copy instead: directories with something in them are not moved (EXDEV, and
 * `mv` copies), files have no second name (EPERM) and are not exchanged (EINVAL).
 */
import { CairnError } from '../errors/cairn-error.js';
import { ForwardingVfs } from '../vfs/forwarding-vfs.js';
import type { Interruption } from '../vfs/interruption.js';
import { isFile } from '../vfs/mode.js';
import type { ObjectTree } from '../vfs/object-tree.js';
import type * as v from '../vfs/vfs.js';
import type { MountHistory } from './mount-history.js';

/** A file that somebody may write to. */
interface Writing {
  handles: number;
  /** Its version has begun: what stood before is kept. */
  isBegun: boolean;
  beginning: Promise<void> | undefined;
}

export class VersionedVfs extends ForwardingVfs implements v.Vfs {
  /** Undefined while no bucket can have versions. */
  history: MountHistory | undefined;
  readonly #tree: ObjectTree;
  /** Files behind handles that may write. */
  readonly #inos = new Map<v.Handle, v.Ino>();
  readonly #writing = new Map<v.Ino, Writing>();

  constructor(vfs: v.Vfs, tree: ObjectTree) {
    super(vfs);
    this.#tree = tree;
  }

  get #needed(): MountHistory | undefined {
    return this.history?.isNeeded === true ? this.history : undefined;
  }

  /** Undefined: the content may be changed now. */
  #begun(ino: v.Ino | undefined): Promise<void> | undefined {
    const history = this.#needed;
    if (history === undefined || ino === undefined) return undefined;
    const writing = this.#writing.get(ino);
    if (writing === undefined) return history.beforeContent(ino);
    if (writing.isBegun) return undefined;
    writing.beginning ??= history
      .beforeContent(ino)
      .then(() => {
        writing.isBegun = true;
      })
      .finally(() => {
        writing.beginning = undefined;
      });
    return writing.beginning;
  }

  #opened(handle: v.Handle, ino: v.Ino, isBegun: boolean): void {
    const writing = this.#writing.get(ino) ?? { handles: 0, isBegun: false, beginning: undefined };
    writing.handles += 1;
    writing.isBegun ||= isBegun;
    this.#writing.set(ino, writing);
    this.#inos.set(handle, ino);
  }

  /** Calls `change` when what stood is kept. */
  #after<T>(ino: v.Ino | undefined, change: () => v.Result<T>): v.Result<T> {
    const wait = this.#begun(ino);
    return wait === undefined ? change() : wait.then(change);
  }

  open(ino: v.Ino, mode: v.OpenMode): v.Result<v.Handle> {
    if (!mode.write) return this.vfs.open(ino, mode);
    const done = (handle: v.Handle): v.Handle => {
      this.#opened(handle, ino, mode.truncate === true);
      return handle;
    };
    const opened = mode.truncate === true ? this.#after(ino, () => this.vfs.open(ino, mode)) : this.vfs.open(ino, mode);
    return opened instanceof Promise ? opened.then(done) : done(opened);
  }

  create(parent: v.Ino, name: v.Name, mode: number, open: v.OpenMode, caller: v.Caller): v.Result<v.CreateResult> {
    const made = this.vfs.create(parent, name, mode, open, caller);
    const done = (result: v.CreateResult): v.Result<v.CreateResult> => {
      if (open.write) this.#opened(result.handle, result.attr.ino, true);
      return this.#made(parent, result.attr.ino, result);
    };
    return made instanceof Promise ? made.then(done) : done(made);
  }

  mknod(parent: v.Ino, name: v.Name, mode: number, rdev: number, caller: v.Caller): v.Result<v.Attr> {
    const made = this.vfs.mknod(parent, name, mode, rdev, caller);
    const done = (attr: v.Attr): v.Result<v.Attr> => this.#made(parent, attr.ino, attr);
    return made instanceof Promise ? made.then(done) : done(made);
  }

  /** A new file is a version of its own from the start. */
  #made<T>(parent: v.Ino, ino: v.Ino, result: T): v.Result<T> {
    const history = this.#needed;
    if (history === undefined) return result;
    return history.covers(parent).then(async (isCovered) => {
      if (isCovered) await history.arrived(parent, ino);
      return result;
    });
  }

  tmpfile(parent: v.Ino, mode: number, open: v.OpenMode, caller: v.Caller): v.Result<v.CreateResult> {
    return this.vfs.tmpfile(parent, mode, open, caller);
  }

  setattr(ino: v.Ino, change: v.AttrChange, caller: v.Caller): v.Result<v.Attr> {
    const apply = () => this.vfs.setattr(ino, change, caller);
    return change.sizeBytes === undefined ? apply() : this.#after(ino, apply);
  }

  write(
    handle: v.Handle,
    offset: number,
    bytes: Uint8Array,
    killer?: v.Caller,
    interruption?: Interruption,
    isLate?: boolean,
  ): v.Result<number> {
    const wait = this.#begun(this.#inos.get(handle));
    if (wait === undefined) return this.vfs.write(handle, offset, bytes, killer, interruption, isLate);
    const copy = Buffer.from(bytes);
    return wait.then(() => this.vfs.write(handle, offset, copy, killer, interruption, isLate));
  }

  fallocate(handle: v.Handle, mode: v.AllocateMode, offset: number, length: number): v.Result<void> {
    return this.#after(this.#inos.get(handle), () => this.vfs.fallocate(handle, mode, offset, length));
  }

  copyRange(from: v.Handle, offset: number, to: v.Handle, toOffset: number, length: number): v.Result<number> {
    return this.#after(this.#inos.get(to), () => this.vfs.copyRange(from, offset, to, toOffset, length));
  }

  override release(handle: v.Handle): v.Result<void> {
    const ino = this.#inos.get(handle);
    if (ino !== undefined) {
      this.#inos.delete(handle);
      const writing = this.#writing.get(ino);
      if (writing !== undefined && --writing.handles === 0) this.#writing.delete(ino);
    }
    return super.release(handle);
  }

  link(ino: v.Ino, parent: v.Ino, name: v.Name): v.Result<v.Attr> {
    const history = this.#needed;
    if (history === undefined) return this.vfs.link(ino, parent, name);
    return this.#link(history, ino, parent, name);
  }

  async #link(history: MountHistory, ino: v.Ino, parent: v.Ino, name: v.Name): Promise<v.Attr> {
    const inos = [parent, ino];
    // A file that was made without a name (O_TMPFILE) gets its first one.
    const { nlink } = await this.vfs.getattr(ino);
    for (const one of inos)
      if (nlink > 0 && (await history.covers(one)))
        throw new CairnError('NOT_PERMITTED', 'a file of a bucket with versions has one name');
    const attr = await this.vfs.link(ino, parent, name);
    if (await history.covers(parent)) await history.arrived(parent, ino);
    return attr;
  }

  unlink(parent: v.Ino, name: v.Name): v.Result<void> {
    const history = this.#needed;
    if (history === undefined) return this.vfs.unlink(parent, name);
    return this.#unlink(history, parent, name);
  }

  async #unlink(history: MountHistory, parent: v.Ino, name: v.Name): Promise<void> {
    const node = (await history.covers(parent)) ? await this.#tree.child(parent, name) : undefined;
    if (node !== undefined && isFile(node.mode)) await history.beforeRemoval(node.ino);
    await this.vfs.unlink(parent, name);
  }

  rmdir(parent: v.Ino, name: v.Name): v.Result<void> {
    const history = this.#needed;
    if (history === undefined || parent !== this.#tree.root) return this.vfs.rmdir(parent, name);
    return history.hasVersions(parent, name).then((hasVersions) => {
      if (hasVersions)
        throw new CairnError('NOT_EMPTY', 'older versions of what was in the bucket are kept; delete them through S3');
      return this.vfs.rmdir(parent, name);
    });
  }

  rename(parent: v.Ino, name: v.Name, newParent: v.Ino, newName: v.Name, options: v.RenameOptions): v.Result<void> {
    const history = this.#needed;
    if (history === undefined) return this.vfs.rename(parent, name, newParent, newName, options);
    return this.#rename(history, parent, name, newParent, newName, options);
  }

  async #rename(
    history: MountHistory,
    parent: v.Ino,
    name: v.Name,
    newParent: v.Ino,
    newName: v.Name,
    options: v.RenameOptions,
  ): Promise<void> {
    const move = () => this.vfs.rename(parent, name, newParent, newName, options);
    const isFrom = await history.covers(parent);
    const isTo = await history.covers(newParent);
    const node = await this.#tree.child(parent, name);
    const replaced = await this.#tree.child(newParent, newName);
    if (!(isFrom || isTo) || node === undefined || node.ino === replaced?.ino) return move();
    if (options.exchange === true || options.whiteout !== undefined)
      throw new CairnError('INVALID', 'files of a bucket with versions are not exchanged');
    if (node.isDirectory) {
      if ((await this.#tree.list(node.ino, '', 1)).length > 0)
        throw new CairnError('CROSS_DEVICE', 'directories of a bucket with versions are copied, not moved');
      return move();
    }
    if (options.noReplace === true && replaced !== undefined) return move();
    if (isTo && replaced !== undefined && isFile(replaced.mode)) await history.beforeReplacement(replaced.ino);
    if (isFile(node.mode)) {
      if (isFrom) await history.beforeRemoval(node.ino);
      await history.arrived(newParent, node.ino);
    }
    return move();
  }

  mkdir(parent: v.Ino, name: v.Name, mode: number, caller: v.Caller): v.Result<v.Attr> {
    return this.vfs.mkdir(parent, name, mode, caller);
  }

  symlink(parent: v.Ino, name: v.Name, target: v.Name, caller: v.Caller): v.Result<v.Attr> {
    return this.vfs.symlink(parent, name, target, caller);
  }

  accessed(handle: v.Handle): boolean {
    return this.vfs.accessed(handle);
  }

  setxattr(
    ino: v.Ino,
    name: string,
    value: Uint8Array,
    mode: 'set' | 'create' | 'replace',
    killSetGroupId?: boolean,
    caller?: v.Caller,
  ): v.Result<void> {
    return this.vfs.setxattr(ino, name, value, mode, killSetGroupId, caller);
  }

  removexattr(ino: v.Ino, name: string, caller?: v.Caller): v.Result<void> {
    return this.vfs.removexattr(ino, name, caller);
  }
}
