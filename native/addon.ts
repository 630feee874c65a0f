/**
 * Types and loader of the native addon: system calls that node does not offer, checksums and MD5. The C side checks every length again and
 * throws an Error shaped like node's own: `code` (`EIO`, `EINVAL`, …), `errno` (negative, as node has it) and `syscall` (`cairn` for a bad
 * argument); it never crashes the process on bad input. It loads in worker threads too. A buffer must not be transferred to another
 * thread while an asynchronous call uses it.
 */
import { createRequire } from 'node:module';

export interface Addon {
  /** CRC32C (Castagnoli) of buffer[from, to), continuing from `seed` (0 at the start). */
  crc32c(buffer: Uint8Array, from: number, to: number, seed: number): number;
  /** As `crc32c`, without the processor's instruction: what runs on other machines. Here so that one suite can test both. */
  crc32cPortable(buffer: Uint8Array, from: number, to: number, seed: number): number;
  /** One CRC32C per `blockBytes` of buffer[from, to) into `out`. */
  crc32cBlocks(buffer: Uint8Array, from: number, to: number, blockBytes: number, out: Uint32Array): void;
  /** CRC-64/NVME of the bytes, continuing from `value` (zeros at the start), which takes the result: 8 bytes, big-endian as S3 writes them. */
  crc64Nvme(value: Uint8Array, bytes: Uint8Array): void;
  /** Copies all of `source` to `target` from `at` on; several times as fast as `set` where one of them is of shared memory. */
  copyBytes(target: Uint8Array, at: number, source: Uint8Array): void;
  /** Gives the system back what has been freed: the C library keeps it in the middle of its heap otherwise. On the calling thread; milliseconds. */
  trimMemory(): void;
  /** MD5 of as many streams as there are parts, at once: takes the whole blocks of each part (a multiple of 64 bytes) into its state, 16 bytes of `states`. No padding. */
  md5Blocks(states: Uint8Array, parts: readonly Uint8Array[]): void;
  /** As `md5Blocks`, as one job of libuv's pool. The array, its parts and the states must stay as they are meanwhile. */
  md5BlocksAsync(states: Uint8Array, parts: readonly Uint8Array[], callback: () => void): void;
  /** pwritev of all parts, on the calling thread. */
  writeAll(fd: number, parts: readonly Uint8Array[], position: number): void;
  /** pwritev of all parts (may be none), then fdatasync if `datasync`; one job in libuv's pool. No fstat in between. */
  writeAllAsync(
    fd: number,
    parts: readonly Uint8Array[],
    position: number,
    datasync: boolean,
    callback: (error: Error | null) => void,
  ): void;
  /**
   * preadv of `head` and `body`, which lie one after the other in the file, and into `sums` the CRC32C of each `blockBytes` of `body`; one job in libuv's pool. The device is asked
   * for the whole range first. Calls back with the bytes read: fewer only at the end of the file.
   */
  readSummed(
    fd: number,
    head: Uint8Array,
    body: Uint8Array,
    position: number,
    sums: Uint32Array,
    blockBytes: number,
    callback: (error: Error | null, bytesRead?: number) => void,
  ): void;
  /** Has the kernel read the range into its page cache (POSIX_FADV_WILLNEED, step by step), without waiting for the device; one job in libuv's pool. */
  readAhead(fd: number, position: number, length: number, callback: (error: Error | null) => void): void;
  /** Opens the file for reading and writing, reads from its start until `into` is full or the file ends, and closes it: one job in libuv's pool. Calls back with the bytes read. */
  readWritable(path: string, into: Uint8Array, callback: (error: Error | null, bytesRead?: number) => void): void;
  /** syncfs(2) of the file system that the directory is on, which is opened for it: one job in libuv's pool. */
  syncFileSystem(path: string, callback: (error: Error | null) => void): void;
  /** fallocate(2) in the thread pool; `mode` is FALLOC_FL_*. */
  fallocate(fd: number, mode: number, offset: number, length: number, callback: (error: Error | null) => void): void;
  /** Throws the error of a writeback of the file that failed and that this descriptor has not been told of (errseq): sync_file_range(2) of a range that holds nothing. Writes nothing. */
  checkWriteback(fd: number): void;
  /** True if another open file description has the file, also by a mapping: F_SETLEASE(2). Throws EINVAL where the file system has no leases, EACCES for a file of somebody else. */
  isOpenElsewhere(fd: number): boolean;
  /** lsetxattr(2): `path` and `name` are bytes without a NUL. */
  setXattr(path: Uint8Array, name: Uint8Array, value: Uint8Array): void;
  /** utimensat(2) of the file or link itself: seconds since the epoch, negative before it, and nanoseconds below 10^9. */
  setTimes(path: Uint8Array, atimeSec: number, atimeNsec: number, mtimeSec: number, mtimeNsec: number): void;
  /** The time that the kernel gives to files, which advances with its ticks (CLOCK_REALTIME_COARSE): seconds since the epoch, and into the first element the nanoseconds. */
  fileTime(nanoseconds: Uint32Array): number;
  /** flock(LOCK_EX | LOCK_NB): false if another open file description has it. */
  lock(fd: number): boolean;
  /** mount(2) of a fuse file system: opens /dev/fuse non-blocking and close-on-exec and returns the descriptor. `data` lacks `fd=`. */
  fuseMount(mountpoint: string, source: string, subtype: string, flags: number, data: string): number;
  /**
   * Runs `program` (fusermount3) with `options` and receives the descriptor of /dev/fuse over a socket pair, made non-blocking. Throws
   * ENOENT if there is no such program, EPERM with its words in the message if it refused, ETIMEDOUT after 20 seconds.
   */
  fuseMountHelper(program: string, mountpoint: string, options: string): number;
  /** umount2(2); `lazy` detaches at once. Not lazily only from a process that does not serve the mount: it waits for the server. */
  unmount(mountpoint: string, lazy: boolean): void;
  /** _exit(2): ends the process without waiting for its threads, as node does for those of libuv's pool. Nothing is written or closed on the way. */
  exitNow(code: number): void;
  /** One datagram to a unix socket, as sd_notify(3): a path, or `@` and a name. Does not wait: EAGAIN. */
  notifySocket(socket: string, text: Uint8Array): void;
  /** Polls the descriptor with uv_poll; reads each request into `buffer` and calls `onRequest(length)` on the event loop, until EAGAIN or a bounded number of requests; ENODEV ends it: `onEnd(null)`, or `onEnd(error)`. */
  fuseStart(
    fd: number,
    buffer: Uint8Array,
    onRequest: (length: number) => void,
    onEnd: (error: Error | null) => void,
  ): FuseChannel;
}

export interface FuseChannel {
  /** One writev of a whole reply or notification (16-byte header first). Returns 0, or the positive errno (ENOENT: the request was interrupted and forgotten: not an error). */
  send(parts: readonly Uint8Array[]): number;
  /** As `send`, of one buffer's first `length` bytes: the hot path for small replies. */
  sendBytes(buffer: Uint8Array, length: number): number;
  /** Replies to the READ request `unique` with bytes read from a file by pread into a buffer of the addon. Returns bytes read, or the negative errno, in which case nothing was sent. `length` is at most 16 MiB. ENODATA if the file ends before it. */
  sendFile(unique: bigint, fileFd: number, position: number, length: number): number;
  /** Gives the kernel a file to read by itself (FUSE_DEV_IOC_BACKING_OPEN). Returns its number, for replies to OPEN, or the negative errno: EPERM without CAP_SYS_ADMIN, ELOOP if the file system of the file stands on others, ENOTTY before Linux 6.9. The descriptor may be closed afterwards. */
  openBacking(fileFd: number): number;
  /** Takes the number back; handles that were opened with it keep the file. Returns 0, or the positive errno. */
  closeBacking(id: number): number;
  /** Stops polling; `onEnd` is not called. The descriptor stays open: close it after the last reply, since a later one would go to whatever file has its number then. After `onEnd` nothing is sent any more (ENODEV). */
  stop(): void;
}

const require = createRequire(import.meta.url);

/** Loads the addon once per thread. Throws an Error that says how to build it. */
export function loadAddon(): Addon {
  for (const place of ['../../native/build/Release/cairn.node', './build/Release/cairn.node']) {
    try {
      return require(place) as Addon;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'MODULE_NOT_FOUND')) throw error;
    }
  }
  throw new Error(
    'the native part of cairn is not built: run `npm rebuild cairnfs` (needs a C compiler, make and python3)',
  );
}
