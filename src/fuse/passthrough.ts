/**
 * Which handles the kernel serves by itself, from a file that the vfs has given (FUSE passthrough, Linux 6.9 and later, CAP_SYS_ADMIN). Only on a mount through which
 * nothing is changed: elsewhere a shared mapping of a writer would go to that file past us (docs/performance.md).
 *
 * The kernel's rules, each of which ends in EIO for whoever opens the file, if it is not kept:
 * - While one handle of an inode is open this way, all others must be, with the same number; and none may be while an ordinary one has pages of it, also by a
 *   mapping that outlived its descriptor (the kernel tells us of such a handle's end only then). So there is one number for an inode, taken back with the last handle.
 * - Neither KEEP_CACHE nor the writeback cache of the mount goes with it.
 * What the kernel refuses to take as such a file is read in the ordinary way; nobody notices.
 */
import type { FuseChannel } from '../../native/addon.js';
import type { Backing, Handle, Ino, Vfs } from '../vfs/vfs.js';
import { Errno } from './errno.js';
import type { Notifier } from './notifier.js';

/** No capability, no such call, a file system that stands on others or is of no use for it. */
const FOR_GOOD: ReadonlySet<number> = new Set([Errno.EPERM, Errno.ENOTTY, Errno.ELOOP, Errno.EINVAL, Errno.EOPNOTSUPP]);

interface Given {
  readonly id: number;
  readonly backing: Backing;
  handles: number;
}

export class Passthrough {
  /** Agreed on at INIT, and the kernel has not refused a file since for a reason that will be the same for every other. */
  isOn = false;
  /** It is on no more, for this errno. */
  onRefused: ((errno: number) => void) | undefined;
  readonly #vfs: Vfs;
  readonly #channel: Pick<FuseChannel, 'openBacking' | 'closeBacking'>;
  readonly #notifier: Pick<Notifier, 'invalidateInode'>;
  readonly #given = new Map<Ino, Given>();
  readonly #handles = new Map<Handle, Ino>();

  constructor(
    vfs: Vfs,
    channel: Pick<FuseChannel, 'openBacking' | 'closeBacking'>,
    notifier: Pick<Notifier, 'invalidateInode'>,
  ) {
    this.#vfs = vfs;
    this.#channel = channel;
    this.#notifier = notifier;
  }

  /** The number of the file that the kernel shall read for this handle, which counts as open; 0: an ordinary one. `hasOrdinary`: others of the inode are open in the ordinary way. */
  opened(ino: Ino, handle: Handle, hasOrdinary: boolean): number {
    if (!this.isOn) return 0;
    const given = this.#given.get(ino) ?? this.#give(ino, handle, hasOrdinary);
    if (given === undefined) return 0;
    given.handles += 1;
    this.#handles.set(handle, ino);
    return given.id;
  }

  #give(ino: Ino, handle: Handle, hasOrdinary: boolean): Given | undefined {
    // Asked in any case: that the file is opened again is what makes the vfs prepare it.
    const backing = this.#vfs.backing?.(handle);
    if (backing === undefined) return undefined;
    const id = hasOrdinary ? 0 : this.#channel.openBacking(backing.fd);
    if (id <= 0) {
      backing.release();
      if (id < 0) this.#refused(-id);
      return undefined;
    }
    const given = { id, backing, handles: 0 };
    this.#given.set(ino, given);
    // Pages from earlier handles are read by nobody any more.
    void this.#notifier.invalidateInode(ino, 0, 0);
    return given;
  }

  #refused(errno: number): void {
    if (!FOR_GOOD.has(errno)) return;
    this.isOn = false;
    this.onRefused?.(errno);
  }

  /** The kernel has let go of the file of a handle before it says so. */
  released(handle: Handle): void {
    const ino = this.#handles.get(handle);
    const given = ino === undefined ? undefined : this.#given.get(ino);
    if (ino === undefined || given === undefined) return;
    this.#handles.delete(handle);
    given.handles -= 1;
    if (given.handles > 0) return;
    this.#given.delete(ino);
    this.#end(given);
  }

  /** The mount is gone: nothing of it is open any more, whatever has been said. */
  close(): void {
    for (const given of this.#given.values()) this.#end(given);
    this.#given.clear();
    this.#handles.clear();
  }

  #end({ id, backing }: Given): void {
    this.#channel.closeBacking(id);
    backing.release();
  }
}
