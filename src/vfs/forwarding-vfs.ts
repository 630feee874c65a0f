/**
 * What changes nothing in a vfs, passed on to the one behind. Whatever stands between that and a face says of everything else itself what becomes of it, so that
 * an operation which comes to the vfs one day is not let through by default.
 */
import type * as v from './vfs.js';

export class ForwardingVfs implements Partial<v.Vfs> {
  protected readonly vfs: v.Vfs;

  constructor(vfs: v.Vfs) {
    this.vfs = vfs;
  }

  lookup(parent: v.Ino, name: v.Name): v.Result<v.Attr | undefined> {
    return this.vfs.lookup(parent, name);
  }

  getattr(ino: v.Ino): v.Result<v.Attr> {
    return this.vfs.getattr(ino);
  }

  readlink(ino: v.Ino): v.Result<v.Name> {
    return this.vfs.readlink(ino);
  }

  read(handle: v.Handle, offset: number, length: number): v.Result<v.ReadPart[]> {
    return this.vfs.read(handle, offset, length);
  }

  flush(handle: v.Handle): v.Result<void> {
    return this.vfs.flush(handle);
  }

  fsync(handle: v.Handle, dataOnly: boolean): v.Result<void> {
    return this.vfs.fsync(handle, dataOnly);
  }

  release(handle: v.Handle): v.Result<void> {
    return this.vfs.release(handle);
  }

  seek(handle: v.Handle, offset: number, whence: 'data' | 'hole'): v.Result<number> {
    return this.vfs.seek(handle, offset, whence);
  }

  opendir(ino: v.Ino): v.Result<v.Handle> {
    return this.vfs.opendir(ino);
  }

  listingStands(handle: v.Handle): boolean {
    return this.vfs.listingStands(handle);
  }

  readdir(
    handle: v.Handle,
    cookie: number,
    plus: boolean,
    take: (entry: v.DirEntry, attr: v.Attr | undefined) => boolean,
  ): v.Result<void> {
    return this.vfs.readdir(handle, cookie, plus, take);
  }

  fsyncdir(handle: v.Handle): v.Result<void> {
    return this.vfs.fsyncdir(handle);
  }

  releasedir(handle: v.Handle): v.Result<void> {
    return this.vfs.releasedir(handle);
  }

  getxattr(ino: v.Ino, name: string): v.Result<Uint8Array> {
    return this.vfs.getxattr(ino, name);
  }

  listxattr(ino: v.Ino): v.Result<string[]> {
    return this.vfs.listxattr(ino);
  }

  statfs(): v.Result<v.SpaceReport> {
    return this.vfs.statfs();
  }

  hold(ino: v.Ino): void {
    this.vfs.hold(ino);
  }

  unhold(ino: v.Ino, count: number): void {
    this.vfs.unhold(ino, count);
  }
}
