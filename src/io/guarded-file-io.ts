/**
 * A FileIo behind a guard (io-guard.ts): whoever waits for a device that hangs is told so. What runs on the calling thread is passed on as it is.
 *
 * A file is closed when all of its jobs have ended, those included whose callers know them as failed: a late job on a descriptor that
 * was closed could meet another file.
 */
import type { FileIo, IoFile, IoLock, OpenOptions } from './file-io.js';
import type { IoGuard } from './io-guard.js';

const KNOCK = Buffer.from('\n');

export class GuardedFileIo implements FileIo {
  readonly #io: FileIo;
  readonly #guard: IoGuard;
  readonly readWritable?: NonNullable<FileIo['readWritable']>;

  constructor(io: FileIo, guard: IoGuard) {
    this.#io = io;
    this.#guard = guard;
    if (io.readWritable !== undefined) this.readWritable = (...read) => guard.run(() => io.readWritable!(...read));
  }

  get isBehind(): boolean {
    return this.#guard.isBehind;
  }

  answered(): Promise<void> {
    return this.#guard.answered();
  }

  async answers(path: string): Promise<boolean> {
    const knock = async (): Promise<void> => {
      const file = await this.#io.open(path, {});
      try {
        await file.write([KNOCK], 0);
      } finally {
        await file.close();
      }
    };
    await this.#guard.run(knock).catch(() => undefined);
    return this.#guard.hang === undefined;
  }

  async open(path: string, options: OpenOptions): Promise<IoFile> {
    const file = await this.#guard.run(
      () => this.#io.open(path, options),
      // Nobody has it, and it has lost nothing.
      (late) => void late.close().catch(() => undefined),
    );
    return new GuardedFile(file, this.#guard);
  }

  openNow(path: string, options: OpenOptions): IoFile {
    return new GuardedFile(this.#io.openNow(path, options), this.#guard);
  }

  makeDirectory(path: string): Promise<void> {
    return this.#guard.run(() => this.#io.makeDirectory(path));
  }

  makeDirectoryNow(path: string): void {
    this.#io.makeDirectoryNow(path);
  }

  list(path: string): Promise<string[]> {
    return this.#guard.run(() => this.#io.list(path));
  }

  exists(path: string): Promise<boolean> {
    return this.#guard.run(() => this.#io.exists(path));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#guard.run(() => this.#io.rename(from, to));
  }

  remove(path: string): Promise<void> {
    return this.#guard.run(() => this.#io.remove(path));
  }

  removeNow(path: string): void {
    this.#io.removeNow(path);
  }

  syncDirectory(path: string): Promise<void> {
    return this.#guard.run(() => this.#io.syncDirectory(path));
  }

  readFile(path: string): Promise<Buffer> {
    return this.#guard.run(() => this.#io.readFile(path));
  }

  replaceFile(path: string, bytes: Uint8Array): Promise<void> {
    return this.#guard.run(() => this.#io.replaceFile(path, bytes));
  }

  space(path: string): Promise<{ totalBytes: number; freeBytes: number }> {
    return this.#guard.run(() => this.#io.space(path));
  }

  async lock(path: string): Promise<IoLock> {
    const lock = await this.#guard.run(
      () => this.#io.lock(path),
      (late) => void late.release().catch(() => undefined),
    );
    return { release: () => this.#guard.release(() => lock.release()) };
  }

  bootId(): string {
    return this.#io.bootId();
  }
}

class GuardedFile implements IoFile {
  readonly path: string;
  readonly #file: IoFile;
  readonly #guard: IoGuard;
  readonly lend?: (use: (fd: number) => Promise<void>) => Promise<void>;
  readonly checkWriteback?: () => void;
  readonly isOpenElsewhere?: () => boolean;
  readonly readSummed?: NonNullable<IoFile['readSummed']>;
  readonly readAhead?: NonNullable<IoFile['readAhead']>;
  #closing: Promise<void> | undefined;

  constructor(file: IoFile, guard: IoGuard) {
    this.path = file.path;
    this.#file = file;
    this.#guard = guard;
    if (file.lend !== undefined) this.lend = (use) => guard.run(() => file.lend!(use));
    if (file.readSummed !== undefined) this.readSummed = (...read) => guard.run(() => file.readSummed!(...read));
    if (file.readAhead !== undefined) this.readAhead = (...range) => guard.run(() => file.readAhead!(...range));
    if (file.checkWriteback !== undefined) this.checkWriteback = () => file.checkWriteback!();
    if (file.isOpenElsewhere !== undefined) this.isOpenElsewhere = () => file.isOpenElsewhere!();
  }

  get fd(): number | undefined {
    return this.#file.fd;
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return this.#guard.run(() => this.#file.read(into, position));
  }

  readNow(into: Uint8Array, position: number): number {
    return this.#file.readNow(into, position);
  }

  write(parts: readonly Uint8Array[], position: number): Promise<void> {
    // It may have to wait, and the list is the caller's.
    const own = [...parts];
    return this.#guard.run(() => this.#file.write(own, position));
  }

  writeNow(parts: readonly Uint8Array[], position: number): void {
    this.#file.writeNow(parts, position);
  }

  writeAndDatasync(parts: readonly Uint8Array[], position: number): Promise<void> {
    const own = [...parts];
    return this.#guard.run(() => this.#file.writeAndDatasync(own, position));
  }

  datasync(): Promise<void> {
    return this.#guard.run(() => this.#file.datasync());
  }

  allocate(offset: number, length: number): Promise<void> {
    return this.#guard.run(() => this.#file.allocate(offset, length));
  }

  punch(offset: number, length: number): Promise<void> {
    return this.#guard.run(() => this.#file.punch(offset, length));
  }

  truncate(length: number): Promise<void> {
    return this.#guard.run(() => this.#file.truncate(length));
  }

  size(): Promise<number> {
    return this.#guard.run(() => this.#file.size());
  }

  /** In its turn, so that what was asked before has begun. */
  close(): Promise<void> {
    this.#closing ??= this.#guard.release(() => this.#file.close());
    return this.#closing;
  }
}
