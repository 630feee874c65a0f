/**
 * Whether the kernel keeps pages of an open file or hands every call to us. A file opened only for writing (cp, tar, dd, a
 * shell's `>`) goes direct: its bytes would otherwise be held twice, in the kernel's pages of our file and of our cache file, and
 * making those pages is most of what a large write costs. Everything else is cached.
 *
 * Invariant: at no time is one inode open both ways, because a cached reader could keep a page that a direct writer has just changed: the
 * first open decides, and who comes while a direct handle is open goes direct too. A mapping of such a handle has pages all the
 * same, so writes past it are notified (`mayBeMapped`). Handles that the kernel serves by itself are not counted here (passthrough.ts).
 */
import { OpenReply } from './protocol.js';

interface OpenInode {
  direct: number;
  cached: number;
}

export class OpenModes {
  /** The kernel allows shared mappings of direct handles (6.6 and later); without that nothing goes direct. */
  allowDirect = false;
  readonly #inodes = new Map<number, OpenInode>();
  readonly #handles = new Map<number, { readonly ino: number; readonly direct: boolean }>();

  /** Counts the handle in and gives the open_flags of the reply. */
  opened(ino: number, handle: number, read: boolean, write: boolean): number {
    let inode = this.#inodes.get(ino);
    if (inode === undefined) {
      inode = { direct: 0, cached: 0 };
      this.#inodes.set(ino, inode);
    }
    const direct = this.allowDirect && (inode.direct > 0 || (inode.cached === 0 && write && !read));
    if (direct) inode.direct += 1;
    else inode.cached += 1;
    this.#handles.set(handle, { ino, direct });
    const how = direct ? OpenReply.DIRECT_IO : OpenReply.KEEP_CACHE;
    return write ? how : how | OpenReply.NOFLUSH;
  }

  released(handle: number): void {
    const open = this.#handles.get(handle);
    const inode = open === undefined ? undefined : this.#inodes.get(open.ino);
    if (open === undefined || inode === undefined) return;
    this.#handles.delete(handle);
    if (open.direct) inode.direct -= 1;
    else inode.cached -= 1;
    if (inode.direct === 0 && inode.cached === 0) this.#inodes.delete(open.ino);
  }

  /** The inode is open, either way. */
  hasHandles(ino: number): boolean {
    return this.#inodes.has(ino);
  }

  isDirect(handle: number): boolean {
    return this.#handles.get(handle)?.direct === true;
  }

  /** A direct write went past others who have the file open, perhaps mapped: the kernel must drop their pages. */
  mayBeMapped(ino: number): boolean {
    const inode = this.#inodes.get(ino);
    return inode !== undefined && inode.direct > 1;
  }
}
