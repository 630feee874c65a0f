/**
 * The vfs as a read-only mount is given it: what would change something is READ_ONLY. The kernel refuses most of it before asking, because of the mount's
 * own flag; this holds also where root has taken the flag away (`mount -o remount,rw`).
 *
 * The mount is read-only, not the pool: other faces go on changing it, what is staged is committed, and access times stay where they are only if the pool
 * was opened so (PoolOptions.accessTimes).
 */
import { CairnError } from '../errors/cairn-error.js';
import { ForwardingVfs } from './forwarding-vfs.js';
import type * as v from './vfs.js';

function refuse(): never {
  throw new CairnError('READ_ONLY', 'the pool is mounted read-only', {
    hint: 'mount it without --read-only, and without read_only = true in its cairn.toml',
  });
}

export class ReadOnlyVfs extends ForwardingVfs implements v.Vfs {
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
    const found = this.vfs.lookup(parent, name);
    const answer = (attr: v.Attr | undefined): never => {
      if (attr === undefined) return refuse();
      throw new CairnError('EXISTS', 'the name is taken');
    };
    return found instanceof Promise ? found.then(answer) : answer(found);
  }

  open(ino: v.Ino, mode: v.OpenMode): v.Result<v.Handle> {
    return mode.write || mode.truncate === true ? refuse() : this.vfs.open(ino, mode);
  }

  /** Nothing that was read counts. */
  accessed(): boolean {
    return false;
  }

  backing(handle: v.Handle): v.Backing | undefined {
    return this.vfs.backing?.(handle);
  }
}
