/**
 * What Cairn asks of the operating system's files. Everything below `vfs` reaches disks through this interface, so that
 * the simulator can stand in for it: it records every write and sync and can lose what was not synced.
 *
 * Properties an implementation must have: a write is visible to reads at once; a write is durable only after `datasync`
 * of that file resolved; a new name, a rename or a removal only after `syncDirectory`; an error of `datasync` means that
 * unsynced writes of that file may be lost for good, also if a later `datasync` succeeds (Linux marks pages clean).
 * Errors are CairnError: NOT_FOUND, EXISTS, NO_SPACE, READ_ONLY, ACCESS, IO (everything else), with the system's error as cause.
 */
export interface FileIo {
  open(path: string, options: OpenOptions): Promise<IoFile>;
  /** As `open`, on the calling thread: for the first write into a fresh cache file, which answers at once. */
  openNow(path: string, options: OpenOptions): IoFile;
  /** Creates the directory and its parents; no error if it is there. */
  makeDirectory(path: string): Promise<void>;
  /** As `makeDirectory`, on the calling thread. */
  makeDirectoryNow(path: string): void;
  list(path: string): Promise<string[]>;
  exists(path: string): Promise<boolean>;
  rename(from: string, to: string): Promise<void>;
  /** NOT_FOUND if it is not there. */
  remove(path: string): Promise<void>;
  /** As `remove`, on the calling thread. Quick if the file is open elsewhere in the process: its blocks go when it is closed. */
  removeNow(path: string): void;
  syncDirectory(path: string): Promise<void>;
  readFile(path: string): Promise<Buffer>;
  /**
   * Opens the file for writing too, reads from its start until `into` is full or the file ends, and closes it: one job of the thread pool, for whoever asks again and again. Gives the bytes
   * read. Absent where whoever asks has to do that step by step.
   */
  readWritable?(path: string, into: Uint8Array): Promise<number>;
  /** Writes a temporary file beside it, syncs, renames over `path`, syncs the directory. */
  replaceFile(path: string, bytes: Uint8Array): Promise<void>;
  space(path: string): Promise<{ totalBytes: number; freeBytes: number }>;
  /** Takes an exclusive advisory lock on a file (created if needed), kept until `release` or process death. LOCKED if another process has it. */
  lock(path: string): Promise<IoLock>;
  /** Differs after every boot of the machine: tells a killed process from lost power. */
  bootId(): string;
  /** The device takes unusually long to answer: what need not be done on the calling thread now is better put off. */
  readonly isBehind?: boolean;
  /**
   * Writes a byte to the file, which has no content that matters, and tells whether the device has answered: an error will do. Asked before what has to be done on the calling
   * thread, which a device that hangs would stop. Absent where none hangs.
   */
  answers?(path: string): Promise<boolean>;
  /** Resolves when nothing is under way any more that was given up because the device hung. */
  answered?(): Promise<void>;
}

export interface OpenOptions {
  /** Create it if it is not there. */
  readonly create?: boolean;
  /** Fail with EXISTS if it is there. */
  readonly exclusive?: boolean;
  readonly readOnly?: boolean;
}

export interface IoLock {
  release(): Promise<void>;
}

/** One open file. Positions and lengths are bytes. */
export interface IoFile {
  readonly path: string;
  /** The file descriptor where there is one: for replies that the kernel copies from a file, and for reads in worker threads. */
  readonly fd: number | undefined;
  /** Reads up to `into.length` bytes; returns how many (fewer only at the end of the file). Runs in the thread pool. */
  read(into: Uint8Array, position: number): Promise<number>;
  /**
   * As `read`, of `head` and `body` one after the other, and puts the CRC32C of each `blockBytes` of the body into `sums`: one job of the thread pool, and no work for the
   * calling thread. Absent where the caller has to sum for itself.
   */
  readSummed?(
    head: Uint8Array,
    body: Uint8Array,
    position: number,
    sums: Uint32Array,
    blockBytes: number,
  ): Promise<number>;
  /**
   * Has the kernel read the range into its page cache, without waiting for the device: a write of a part of a page that is not there is first a read, on the thread that writes. Absent
   * where nothing is cached.
   */
  readAhead?(position: number, length: number): Promise<void>;
  /** As `read`, on the calling thread: for small reads of what is in the page cache. */
  readNow(into: Uint8Array, position: number): number;
  /** Writes all parts one after the other. Runs in the thread pool. */
  write(parts: readonly Uint8Array[], position: number): Promise<void>;
  /** As `write`, on the calling thread: for small writes into the page cache. */
  writeNow(parts: readonly Uint8Array[], position: number): void;
  /** Lets a worker thread write through the descriptor, which is not closed before `use` has ended. Absent where there is none. Rejects as `use`. */
  lend?(use: (fd: number) => Promise<void>): Promise<void>;
  /** One thread-pool job: write all parts, then fdatasync. No stat comes between: see DESIGN section 4. */
  writeAndDatasync(parts: readonly Uint8Array[], position: number): Promise<void>;
  datasync(): Promise<void>;
  /**
   * Throws IO if the kernel has failed to write some of the file back since this file was opened, or last synced or asked, and has not told it
   * yet. Syncs nothing and waits for nothing; for whoever reads back what was never synced. Absent where nothing is written behind one's back.
   */
  checkWriteback?(): void;
  /** True if something else has the file open, or mapped, whatever process it is. IO where the file system cannot tell; absent where nobody else can have it. */
  isOpenElsewhere?(): boolean;
  /** Reserves blocks without changing what is read (fallocate); where unsupported, does nothing. */
  allocate(offset: number, length: number): Promise<void>;
  /** Gives blocks back; the range reads as zeros. */
  punch(offset: number, length: number): Promise<void>;
  truncate(length: number): Promise<void>;
  /** Size in bytes. Never call it between a write and its sync. */
  size(): Promise<number>;
  close(): Promise<void>;
}
