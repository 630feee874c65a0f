/**
 * Operations on names and attributes. They decode, call the vfs and answer; errors are thrown, the session replies them.
 *
 * What else a change touches (the parents' times, the link count of a removed file, the ctime of a renamed one) the
 * kernel drops from its cache by itself when the reply is success (fs/fuse/dir.c: fuse_dir_changed,
 * fuse_entry_unlinked, fuse_update_ctime), so nothing is notified here.
 */
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { Attr, AttrChange, Ino, Result } from '../vfs/vfs.js';
import type { Request } from './decode-request.js';
import { type Exchange, replyAttr, replyEntry, replyOk, replyStatfs, replyStatx, replyText } from './exchange.js';
import { FileType, In, PERMISSION_BITS, RenameFlag, SetattrValid } from './protocol.js';

const SYMLINK_MAX = 4095;
/** fuse_forget_one: node id and count. */
const FORGET_ONE_BYTES = 16;

/** `.` and `..` come from a server of this mount (NFS) that holds nothing but an inode number: EXPORT_SUPPORT. */
export function lookup(exchange: Exchange, request: Request): void {
  const name = request.name();
  const { vfs } = exchange;
  exchange.answer(
    request.unique,
    name === '.' ? vfs.getattr(request.nodeid) : vfs.lookup(request.nodeid, name),
    replyEntry,
  );
}

export function getattr(exchange: Exchange, request: Request): void {
  exchange.answer(request.unique, exchange.vfs.getattr(request.nodeid), replyAttr);
}

/** All we know goes back, whatever the mask asks for: the reply's mask says so. */
export function statx(exchange: Exchange, request: Request): void {
  exchange.answer(request.unique, exchange.vfs.getattr(request.nodeid), replyStatx);
}

export function setattr(exchange: Exchange, request: Request): void {
  const change = decodeChange(request);
  const set = () => exchange.vfs.setattr(request.nodeid, change, request.caller());
  const isTimesOnly = (request.u32(In.SETATTR.VALID) & ~TIMES_OF_PAGES) === 0;
  const changed = exchange.pages.isWriteback && isTimesOnly ? orGone(set, request.nodeid) : set();
  exchange.answer(request.unique, changed, replyAttr);
}

/** What the kernel sends when it writes back an inode whose times it has set; HANDLE: it names an open one. */
const TIMES_OF_PAGES = SetattrValid.MTIME | SetattrValid.CTIME | SetattrValid.HANDLE;

/** The kernel sets the time of a file that it has just removed, and tells us later. An error would be told to whoever calls syncfs next. */
function orGone(set: () => Result<Attr>, ino: Ino): Result<Attr> {
  const gone = (error: unknown): Attr => {
    if (!hasCode(error, 'STALE')) throw error;
    return { ...GONE, ino };
  };
  try {
    const changed = set();
    return changed instanceof Promise ? changed.catch(gone) : changed;
  } catch (error) {
    return gone(error);
  }
}

const NO_TIME = { sec: 0, nsec: 0 };
const GONE = {
  mode: FileType.REGULAR,
  nlink: 0,
  uid: 0,
  gid: 0,
  rdev: 0,
  sizeBytes: 0,
  blocks: 0,
  atime: NO_TIME,
  mtime: NO_TIME,
  ctime: NO_TIME,
  btime: NO_TIME,
};

function decodeChange(request: Request): AttrChange {
  request.body(In.SETATTR.BYTES);
  const valid = request.u32(In.SETATTR.VALID);
  const change: { -readonly [Key in keyof AttrChange]: AttrChange[Key] } = {};
  if (valid & SetattrValid.MODE) change.mode = request.u32(In.SETATTR.MODE) & PERMISSION_BITS;
  if (valid & SetattrValid.UID) change.uid = request.u32(In.SETATTR.UID);
  if (valid & SetattrValid.GID) change.gid = request.u32(In.SETATTR.GID);
  if (valid & SetattrValid.SIZE) {
    const size = request.u64(In.SETATTR.SIZE);
    if (!Number.isSafeInteger(size)) throw new CairnError('TOO_BIG', 'file size beyond 2^53');
    change.sizeBytes = size;
  }
  if (valid & SetattrValid.ATIME_NOW) change.atime = 'now';
  else if (valid & SetattrValid.ATIME) change.atime = request.time(In.SETATTR.ATIME, In.SETATTR.ATIMENSEC);
  if (valid & SetattrValid.MTIME_NOW) change.mtime = 'now';
  else if (valid & SetattrValid.MTIME) change.mtime = request.time(In.SETATTR.MTIME, In.SETATTR.MTIMENSEC);
  if (valid & SetattrValid.CTIME) change.ctime = request.time(In.SETATTR.CTIME, In.SETATTR.CTIMENSEC);
  if (valid & SetattrValid.KILL_SUIDGID) change.killPrivileges = true;
  return change;
}

export function readlink(exchange: Exchange, request: Request): void {
  exchange.answer(request.unique, exchange.vfs.readlink(request.nodeid), replyText);
}

export function symlink(exchange: Exchange, request: Request): void {
  const name = request.name();
  const target = request.text(SYMLINK_MAX);
  exchange.answer(request.unique, exchange.vfs.symlink(request.nodeid, name, target, request.caller()), replyEntry);
}

/** The umask is ours to apply (DONT_MASK): not where a default access list says what is made. */
export function mknod(exchange: Exchange, request: Request): void {
  request.body(In.MKNOD.BYTES);
  const mode = request.u32(In.MKNOD.MODE) & (FileType.MASK | PERMISSION_BITS);
  const rdev = request.u32(In.MKNOD.RDEV);
  const name = request.name();
  const caller = request.caller(request.u32(In.MKNOD.UMASK) & PERMISSION_BITS);
  exchange.answer(request.unique, exchange.vfs.mknod(request.nodeid, name, mode, rdev, caller), replyEntry);
}

export function mkdir(exchange: Exchange, request: Request): void {
  request.body(In.MKDIR.BYTES);
  const mode = request.u32(In.MKDIR.MODE) & PERMISSION_BITS;
  const name = request.name();
  const caller = request.caller(request.u32(In.MKDIR.UMASK) & PERMISSION_BITS);
  exchange.answer(request.unique, exchange.vfs.mkdir(request.nodeid, name, mode, caller), replyEntry);
}

export function unlink(exchange: Exchange, request: Request): void {
  exchange.answer(request.unique, exchange.vfs.unlink(request.nodeid, request.name()), replyOk);
}

export function rmdir(exchange: Exchange, request: Request): void {
  exchange.answer(request.unique, exchange.vfs.rmdir(request.nodeid, request.name()), replyOk);
}

export function rename(exchange: Exchange, request: Request): void {
  request.body(In.RENAME.BYTES);
  const newParent = request.u64(In.RENAME.NEWDIR);
  const name = request.name();
  const newName = request.name();
  exchange.answer(request.unique, exchange.vfs.rename(request.nodeid, name, newParent, newName, {}), replyOk);
}

/** Whatever comes later than these flags: INVALID. */
export function rename2(exchange: Exchange, request: Request): void {
  request.body(In.RENAME2.BYTES);
  const newParent = request.u64(In.RENAME2.NEWDIR);
  const flags = request.u32(In.RENAME2.FLAGS);
  const name = request.name();
  const newName = request.name();
  const { NOREPLACE, EXCHANGE, WHITEOUT } = RenameFlag;
  const exchanges = (flags & EXCHANGE) !== 0;
  if ((flags & ~(NOREPLACE | EXCHANGE | WHITEOUT)) !== 0 || (exchanges && flags !== EXCHANGE))
    throw new CairnError('INVALID', `rename flags ${flags}`);
  const options = {
    noReplace: (flags & NOREPLACE) !== 0,
    exchange: exchanges,
    ...((flags & WHITEOUT) !== 0 && { whiteout: request.caller() }),
  };
  exchange.answer(request.unique, exchange.vfs.rename(request.nodeid, name, newParent, newName, options), replyOk);
}

export function link(exchange: Exchange, request: Request): void {
  request.body(In.LINK.BYTES);
  const ino = request.u64(In.LINK.OLDNODEID);
  exchange.answer(request.unique, exchange.vfs.link(ino, request.nodeid, request.name()), replyEntry);
}

export function statfs(exchange: Exchange, request: Request): void {
  exchange.answer(request.unique, exchange.vfs.statfs(), replyStatfs);
}

/** The kernel gives back what it was told of an inode; only for directories does that mean anything. */
export function forget(exchange: Exchange, request: Request): void {
  request.body(In.FORGET.BYTES);
  exchange.vfs.unhold(request.nodeid, request.u64(In.FORGET.COUNT));
}

export function batchForget(exchange: Exchange, request: Request): void {
  request.body(In.BATCH_FORGET.BYTES);
  const count = request.u32(In.BATCH_FORGET.COUNT);
  const from = In.BATCH_FORGET.BYTES;
  request.body(from + count * FORGET_ONE_BYTES);
  for (let at = from; at < from + count * FORGET_ONE_BYTES; at += FORGET_ONE_BYTES)
    exchange.vfs.unhold(request.u64(at), request.u64(at + 8));
}
