/**
 * Operations on open files. The payload of WRITE is a view of the request buffer, which the next request overwrites:
 * Vfs.write takes what it needs before it returns.
 */
import { readSync } from 'node:fs';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import { Interruption } from '../vfs/interruption.js';
import type { Caller, CreateResult, Handle, OpenMode, ReadPart, Result } from '../vfs/vfs.js';
import type { Request } from './decode-request.js';
import { Errno } from './errno.js';
import { type Exchange, type Reply, replyCreated, replyOk, replyOpen, replySize, sendBody } from './exchange.js';
import {
  FallocateFlag,
  FileType,
  FSYNC_FDATASYNC,
  In,
  O_DIRECT,
  OPEN_KILL_SUIDGID,
  OpenFlag,
  PERMISSION_BITS,
  Whence,
  WriteFlag,
} from './protocol.js';

/** What one COPY_FILE_RANGE copies at most: its reply has 32 bits for it. */
const COPY_BYTES_MAX = 1024 * 1024 * 1024;
/** writev takes 1,024 parts; far fewer already cost more than joining them. */
const PARTS_MAX = 128;

/**
 * `append` is never asked of the vfs: O_APPEND can be switched by fcntl, and a page written back from a mapping comes
 * with any writable handle and must go where it says. Each WRITE carries the flags that hold for it. A kernel with a writeback
 * cache reads the rest of a page also by a handle that is only for writing.
 */
function openMode(exchange: Exchange, flags: number): OpenMode {
  const access = flags & OpenFlag.ACCMODE;
  const writesOnly = access === OpenFlag.WRONLY;
  return {
    read: !writesOnly || exchange.pages.isWriteback,
    write: writesOnly || access === OpenFlag.RDWR,
    truncate: (flags & OpenFlag.TRUNC) !== 0,
    noAccessTime: writesOnly || (flags & OpenFlag.NOATIME) !== 0,
  };
}

export function open(exchange: Exchange, request: Request): void {
  request.body(In.OPEN.BYTES);
  const mode = openMode(exchange, request.u32(In.OPEN.FLAGS));
  const ino = request.nodeid;
  const handle = exchange.vfs.open(ino, mode);
  const result =
    request.u32(In.OPEN.OPEN_FLAGS) & OPEN_KILL_SUIDGID ? killAfterOpen(exchange, request, handle) : handle;
  exchange.answer(request.unique, result, (_, unique, opened) => replyOpen(exchange, unique, ino, opened, mode));
}

/** O_TRUNC by someone who may not keep set-id bits. */
async function killAfterOpen(exchange: Exchange, request: Request, opened: Result<Handle>): Promise<Handle> {
  const { nodeid } = request;
  const caller = request.caller();
  const handle = await opened;
  try {
    await killPrivileges(exchange, nodeid, caller);
  } catch (error) {
    exchange.detach(exchange.vfs.release(handle), 'release after a failed open');
    throw error;
  }
  return handle;
}

async function killPrivileges(exchange: Exchange, ino: number, caller: Caller): Promise<void> {
  await exchange.vfs.setattr(ino, { killPrivileges: true }, caller);
  exchange.privilegesKilled(ino);
}

export function create(exchange: Exchange, request: Request): void {
  request.body(In.CREATE.BYTES);
  const flags = request.u32(In.CREATE.FLAGS);
  const permissions = request.u32(In.CREATE.MODE) & PERMISSION_BITS;
  const parent = request.nodeid;
  const caller = request.caller(request.u32(In.CREATE.UMASK) & PERMISSION_BITS);
  const name = request.name();
  const mode = openMode(exchange, flags);
  const { vfs } = exchange;
  const openExisting = (error: unknown) => {
    if (!hasCode(error, 'EXISTS') || flags & OpenFlag.EXCL) throw error;
    return openByName(exchange, parent, name, mode);
  };
  let result: Result<CreateResult>;
  try {
    result = vfs.create(parent, name, permissions, mode, caller);
    if (result instanceof Promise) result = result.catch(openExisting);
  } catch (error) {
    result = openExisting(error);
  }
  exchange.answer(request.unique, result, (_, unique, created) => replyCreated(exchange, unique, created, mode));
}

/** O_TMPFILE. Whether it may be given a name later (O_EXCL: not) the kernel sees to. */
export function tmpfile(exchange: Exchange, request: Request): void {
  request.body(In.CREATE.BYTES);
  const mode = openMode(exchange, request.u32(In.CREATE.FLAGS));
  const permissions = request.u32(In.CREATE.MODE) & PERMISSION_BITS;
  const caller = request.caller(request.u32(In.CREATE.UMASK) & PERMISSION_BITS);
  exchange.answer(
    request.unique,
    exchange.vfs.tmpfile(request.nodeid, permissions, mode, caller),
    (_, unique, created) => replyCreated(exchange, unique, created, mode),
  );
}

/** The kernel believed that the name was free, but another face was quicker: open(2) without O_EXCL opens that file. */
async function openByName(exchange: Exchange, parent: number, name: string, mode: OpenMode): Promise<CreateResult> {
  const attr = await exchange.vfs.lookup(parent, name);
  // STALE makes the kernel look the name up again and start over: for a name that is gone again, a directory, a symlink.
  if (attr === undefined || (attr.mode & FileType.MASK) !== FileType.REGULAR) {
    throw new CairnError('STALE', 'the name changed while it was being created');
  }
  const handle = await exchange.vfs.open(attr.ino, mode);
  return { attr: mode.truncate ? await exchange.vfs.getattr(attr.ino) : attr, handle };
}

export function read(exchange: Exchange, request: Request): void {
  request.body(In.READ.BYTES);
  const offset = request.u64(In.READ.OFFSET);
  if (!Number.isSafeInteger(offset)) {
    exchange.status(request.unique, 0);
    return;
  }
  // The page at the largest size reaches beyond what a number holds exactly; no file does.
  const size = Math.min(request.u32(In.READ.SIZE), Number.MAX_SAFE_INTEGER - offset);
  exchange.answer(request.unique, exchange.vfs.read(request.u64(In.READ.FH), offset, size), replyParts, size);
}

const replyParts: Reply<readonly ReadPart[]> = (exchange, unique, parts, size) => {
  let total = 0;
  for (const part of parts) total += part.length;
  if (total > size) throw new Error(`the vfs read ${total} bytes where ${size} were asked for`);
  const [first] = parts;
  if (parts.length === 1 && first !== undefined && !(first instanceof Uint8Array)) {
    const sent = exchange.channel.sendFile(unique, first.fd, first.position, first.length);
    if (sent === -Errno.ENODATA) throw endsEarly();
    if (sent < 0) throw new CairnError('IO', `reading a cache file failed with errno ${-sent}`);
    return;
  }
  if (parts.length <= PARTS_MAX && parts.every((part) => part instanceof Uint8Array))
    sendBody(exchange, unique, ...parts);
  else sendBody(exchange, unique, join(parts, total));
};

/** One buffer of all parts. */
function join(parts: readonly ReadPart[], total: number): Uint8Array {
  const joined = Buffer.allocUnsafe(total);
  let at = 0;
  for (const part of parts) {
    if (part instanceof Uint8Array) joined.set(part, at);
    else {
      for (let done = 0; done < part.length; ) {
        const count = readSync(part.fd, joined, at + done, part.length - done, part.position + done);
        if (count === 0) throw endsEarly();
        done += count;
      }
    }
    at += part.length;
  }
  return joined;
}

/** Never zeros in the place of what was written. */
function endsEarly(): CairnError {
  return new CairnError('IO', 'a cache file is shorter than what was written to it');
}

export function write(exchange: Exchange, request: Request): void {
  request.body(In.WRITE.BYTES);
  const handle = request.u64(In.WRITE.FH);
  const offset = request.u64(In.WRITE.OFFSET);
  const bytes = request.bytes(request.u32(In.WRITE.SIZE));
  const writeFlags = request.u32(In.WRITE.WRITE_FLAGS);
  const killer = (writeFlags & WriteFlag.KILL_SUIDGID) !== 0 ? request.caller() : undefined;
  const isCached = (writeFlags & WriteFlag.CACHE) !== 0;
  // With its writeback cache the kernel itself knows the end, sets times (SETATTR), takes capabilities away in write(2), and sends FSYNC after a synchronous write.
  if (exchange.pages.isWriteback) {
    const write = () => {
      requireEnd(offset + bytes.length);
      return exchange.vfs.write(handle, offset, bytes, killer, exchange.interruption, true);
    };
    const written = isCached ? exchange.pages.take(bytes.length, write) : write();
    exchange.answerInterruptible(request, written, replyWritten, killer === undefined ? 0 : request.nodeid);
    return;
  }
  requireEnd(offset + bytes.length);
  const flags = request.u32(In.WRITE.FLAGS);
  const appends = (flags & OpenFlag.APPEND) !== 0 && !isCached;
  // Cached writes of O_SYNC handles are followed by FSYNC; direct ones are not: their WRITE is the only word of it.
  const syncs =
    (flags & OpenFlag.DSYNC) !== 0 && !isCached && ((flags & O_DIRECT) !== 0 || exchange.openModes.isDirect(handle));
  let written = appends
    ? append(exchange, request.nodeid, handle, offset, bytes, killer)
    : exchange.vfs.write(handle, offset, bytes, killer, exchange.interruption);
  if (syncs) written = thenSync(exchange, handle, written);
  if (exchange.openModes.mayBeMapped(request.nodeid))
    dropPages(exchange, request.nodeid, offset, bytes.length, written);
  exchange.answerInterruptible(request, written, replyWritten, killer === undefined ? 0 : request.nodeid);
}

function requireEnd(end: number): void {
  if (!Number.isSafeInteger(end)) throw new CairnError('TOO_BIG', 'write beyond 2^53');
}

async function thenSync(exchange: Exchange, handle: Handle, written: Result<number>): Promise<number> {
  const length = await written;
  await exchange.vfs.fsync(handle, true);
  return length;
}

/** Once the bytes are written, so that whoever maps the file reads them anew. */
function dropPages(exchange: Exchange, ino: number, offset: number, length: number, written: Result<number>): void {
  const drop = () => void exchange.notifier.invalidateInode(ino, offset, length);
  if (written instanceof Promise) written.then(drop, () => undefined);
  else drop();
}

/** `killed` is the inode whose set-id bits the write cleared, or 0. */
const replyWritten: Reply<number> = (exchange, unique, written, killed) => {
  if (killed !== 0) exchange.privilegesKilled(killed);
  replySize(exchange, unique, written, 0);
};

/** An append never overwrites: the kernel's offset is the end that it knows, and another face may have moved it on. */
function append(
  exchange: Exchange,
  ino: number,
  handle: Handle,
  offset: number,
  bytes: Uint8Array,
  killer: Caller | undefined,
): Result<number> {
  const { interruption } = exchange;
  const attr = exchange.vfs.getattr(ino);
  if (attr instanceof Promise) {
    const copy = Uint8Array.from(bytes);
    return attr.then(({ sizeBytes }) =>
      writeAtEnd(exchange, ino, handle, offset, sizeBytes, copy, killer, interruption),
    );
  }
  return writeAtEnd(exchange, ino, handle, offset, attr.sizeBytes, bytes, killer, interruption);
}

function writeAtEnd(
  exchange: Exchange,
  ino: number,
  handle: Handle,
  offset: number,
  sizeBytes: number,
  bytes: Uint8Array,
  killer: Caller | undefined,
  interruption: Interruption,
): Result<number> {
  if (sizeBytes <= offset) return exchange.vfs.write(handle, offset, bytes, killer, interruption);
  // The kernel caches the bytes at the offset that it believed in.
  void exchange.notifier.invalidateInode(ino, offset, 0);
  return exchange.vfs.write(handle, sizeBytes, bytes, killer, interruption);
}

export function flush(exchange: Exchange, request: Request): void {
  request.body(In.RELEASE.BYTES);
  exchange.answerInterruptible(
    request,
    exchange.vfs.flush(request.u64(In.RELEASE.FH)),
    replyOk,
    0,
    new Interruption(true),
  );
}

export function release(exchange: Exchange, request: Request): void {
  request.body(In.RELEASE.BYTES);
  const handle = request.u64(In.RELEASE.FH);
  exchange.openModes.released(handle);
  exchange.pages.released(handle);
  exchange.passthrough.released(handle);
  exchange.answer(request.unique, exchange.vfs.release(handle), replyOk);
}

export function fsync(exchange: Exchange, request: Request): void {
  request.body(In.FSYNC.BYTES);
  const dataOnly = (request.u32(In.FSYNC.FSYNC_FLAGS) & FSYNC_FDATASYNC) !== 0;
  exchange.answerInterruptible(
    request,
    exchange.vfs.fsync(request.u64(In.FSYNC.FH), dataOnly),
    replyOk,
    0,
    new Interruption(true),
  );
}

export function fallocate(exchange: Exchange, request: Request): void {
  request.body(In.FALLOCATE.BYTES);
  const flags = request.u32(In.FALLOCATE.MODE);
  const offset = request.u64(In.FALLOCATE.OFFSET);
  const length = request.u64(In.FALLOCATE.LENGTH);
  const { KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE } = FallocateFlag;
  if ((flags & ~(KEEP_SIZE | PUNCH_HOLE | ZERO_RANGE)) !== 0) {
    throw new CairnError('NOT_SUPPORTED', `fallocate mode ${flags}`);
  }
  if (!Number.isSafeInteger(offset + length)) throw new CairnError('TOO_BIG', 'fallocate beyond 2^53');
  const mode = {
    keepSize: (flags & KEEP_SIZE) !== 0,
    punchHole: (flags & PUNCH_HOLE) !== 0,
    zeroRange: (flags & ZERO_RANGE) !== 0,
  };
  const done = exchange.vfs.fallocate(request.u64(In.FALLOCATE.FH), mode, offset, length);
  exchange.answer(request.unique, withoutPrivileges(exchange, request, request.nodeid, done), replyOk);
}

/**
 * Set-id bits go with every change of a file, not only with a write: the kernel asks for that (file_modified) and with HANDLE_KILLPRIV_V2 leaves it to us. It does not say
 * whether the caller may keep them (CAP_FSETID), as it does with writes: root may.
 */
function withoutPrivileges<T>(exchange: Exchange, request: Request, ino: number, changed: Result<T>): Result<T> {
  const caller = request.caller();
  if (caller.uid === 0 || !exchange.mayHaveSetId(ino)) return changed;
  return (async () => {
    const result = await changed;
    await killPrivileges(exchange, ino, caller);
    return result;
  })();
}

/** The kernel has written back the source's pages, and drops those of the target. */
export function copyFileRange(exchange: Exchange, request: Request): void {
  const { FH_IN, OFF_IN, FH_OUT, OFF_OUT, LENGTH, FLAGS, BYTES } = In.COPY_FILE_RANGE;
  request.body(BYTES);
  if (request.u64(FLAGS) !== 0) throw new CairnError('INVALID', 'flags of copy_file_range');
  const from = request.u64(OFF_IN);
  const to = request.u64(OFF_OUT);
  const length = Math.min(request.u64(LENGTH), COPY_BYTES_MAX);
  if (!Number.isSafeInteger(from + length) || !Number.isSafeInteger(to + length))
    throw new CairnError('TOO_BIG', 'copy_file_range beyond 2^53');
  const copied = exchange.vfs.copyRange(request.u64(FH_IN), from, request.u64(FH_OUT), to, length);
  const into = request.u64(In.COPY_FILE_RANGE.NODEID_OUT);
  exchange.answer(request.unique, withoutPrivileges(exchange, request, into, copied), replySize);
}

/** SEEK_SET, SEEK_CUR and SEEK_END are the kernel's own. It asks without having sent its pages: what is in them must not be taken for a hole, nor for what lies beyond the end. */
export function lseek(exchange: Exchange, request: Request): void {
  request.body(In.LSEEK.BYTES);
  const offset = request.u64(In.LSEEK.OFFSET);
  const whence = request.u32(In.LSEEK.WHENCE);
  if (whence !== Whence.DATA && whence !== Whence.HOLE) throw new CairnError('INVALID', `lseek whence ${whence}`);
  if (!Number.isSafeInteger(offset)) throw new CairnError('NO_EXTENT', 'lseek beyond the end');
  const handle = request.u64(In.LSEEK.FH);
  const seek = () => exchange.vfs.seek(handle, offset, whence === Whence.DATA ? 'data' : 'hole');
  const found = exchange.pages.mayHave(request.nodeid) ? exchange.pages.handOver().then(seek) : seek();
  exchange.answer(request.unique, found, replySize);
}
