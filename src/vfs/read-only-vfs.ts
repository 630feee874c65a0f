/**
 * The vfs as a read-only mount is given it: what would change something is READ_ONLY. The kernel refuses most of it before asking, because of the mount's
 * own flag; this holds also where root has taken the flag away (`mount -o remount,rw`).
 *
 * The mount is read-only, not the pool: other faces go on changing it, what is staged is committed, and access times stay where they are only if the pool
 * was opened so (PoolOptions.accessTimes).
 */
import { CairnError } from '../errors/cairn-error.js';
import type * as v from './vfs.js';

function refuse(): never {
  throw new CairnError('READ_ONLY', 'the pool is mounted read-only', {
    hint: 'mount it without --read-only, and without read_only = true in its cairn.toml',
  });
}

export class ReadOnlyVfs implements v.Vfs {
  readonly #vfs: v.Vfs;

  constructor(vfs: v.Vfs) {
    this.#vfs = vfs;
  }

  readonly setattr = refuse;
  readonly mknod = refuse;
  readonly mkdir = refuse;
  readonly symlink = refuse;
  readonly link = refuse;
  readonly unlink = refuse;
  readonly rmdir = refuse;
  readonly rename = refuse;
  readonly tmpfile = refuse;
  readonly write = refuse;
  readonly fallocate = refuse;
  readonly copyRange = refuse;
  readonly setxattr = refuse;
  readonly removexattr = refuse;

  /** EXISTS where the name is taken: without O_EXCL the face opens what is there. */
  create(parent: v.Ino, name: v.Name): v.Result<v.CreateResult> {
    const found = this.#vfs.lookup(parent, name);
    const answer = (attr: v.Attr | undefined): never => {
      if (attr === undefined) return refuse();
      throw new CairnError('EXISTS', 'the name is taken');
    };
    return found instanceof Promise ? found.then(answer) : answer(found);
  }

  open(ino: v.Ino, mode: v.OpenMode): v.Result<v.Handle> {
    return mode.write || mode.truncate === true ? refuse() : this.#vfs.open(ino, mode);
  }

  /** Nothing that was read counts. */
  accessed(): boolean {
    return false;
  }

  lookup(parent: v.Ino, name: v.Name): v.Result<v.Attr | undefined> {
    return this.#vfs.lookup(parent, name);
  }

  getattr(ino: v.Ino): v.Result<v.Attr> {
    return this.#vfs.getattr(ino);
  }

  readlink(ino: v.Ino): v.Result<v.Name> {
    return this.#vfs.readlink(ino);
  }

  read(handle: v.Handle, offset: number, length: number): v.Result<v.ReadPart[]> {
    return this.#vfs.read(handle, offset, length);
  }

  backing(handle: v.Handle): v.Backing | undefined {
    return this.#vfs.backing?.(handle);
  }

  flush(handle: v.Handle): v.Result<void> {
    return this.#vfs.flush(handle);
  }

  fsync(handle: v.Handle, dataOnly: boolean): v.Result<void> {
    return this.#vfs.fsync(handle, dataOnly);
  }

  release(handle: v.Handle): v.Result<void> {
    return this.#vfs.release(handle);
  }

  seek(handle: v.Handle, offset: number, whence: 'data' | 'hole'): v.Result<number> {
    return this.#vfs.seek(handle, offset, whence);
  }

  opendir(ino: v.Ino): v.Result<v.Handle> {
    return this.#vfs.opendir(ino);
  }

  readdir(
    handle: v.Handle,
    cookie: number,
    plus: boolean,
    take: (entry: v.DirEntry, attr: v.Attr | undefined) => boolean,
  ): v.Result<void> {
    return this.#vfs.readdir(handle, cookie, plus, take);
  }

  fsyncdir(handle: v.Handle): v.Result<void> {
    return this.#vfs.fsyncdir(handle);
  }

  releasedir(handle: v.Handle): v.Result<void> {
    return this.#vfs.releasedir(handle);
  }

  getxattr(ino: v.Ino, name: string): v.Result<Uint8Array> {
    return this.#vfs.getxattr(ino, name);
  }

  listxattr(ino: v.Ino): v.Result<string[]> {
    return this.#vfs.listxattr(ino);
  }

  statfs(): v.Result<v.SpaceReport> {
    return this.#vfs.statfs();
  }

  hold(ino: v.Ino): void {
    this.#vfs.hold(ino);
  }

  unhold(ino: v.Ino, count: number): void {
    this.#vfs.unhold(ino, count);
  }
}
