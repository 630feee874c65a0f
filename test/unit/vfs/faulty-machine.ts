/** This machine, with files that fail where a test says so: by system call, as a device or a kernel would make them. */

import { CairnError } from '../../../src/errors/cairn-error.js';
import type { FileIo, IoFile, OpenOptions } from '../../../src/io/file-io.js';
import { NodeFileIo } from '../../../src/io/node-file-io.js';
import { SystemMachine } from '../../../src/pool/machine.js';

type Call = 'read' | 'write' | 'sync' | 'writeback' | 'rename' | 'syncDirectory';

interface Fault {
  readonly call: Call;
  readonly path: RegExp;
  readonly code: 'IO' | 'NO_SPACE';
  left: number;
}

interface Stall {
  readonly path: RegExp;
  readonly until: Promise<void>;
}

class FaultyIo extends NodeFileIo {
  readonly faults: Fault[] = [];
  stall: Stall | undefined;
  /** Calls that wait for the device to answer. */
  stalled = 0;

  /** Waits, on a device that does not answer. */
  async reach(path: string): Promise<void> {
    const { stall } = this;
    if (stall === undefined || !stall.path.test(path)) return;
    this.stalled += 1;
    await stall.until;
    this.stalled -= 1;
  }

  check(call: Call, path: string): void {
    const fault = this.faults.find((one) => one.call === call && one.left > 0 && one.path.test(path));
    if (fault === undefined) return;
    fault.left -= 1;
    throw new CairnError(fault.code, `${call} ${path}: the device says no`);
  }

  override async open(path: string, options: OpenOptions): Promise<IoFile> {
    return this.#faulty(await super.open(path, options));
  }

  override openNow(path: string, options: OpenOptions): IoFile {
    return this.#faulty(super.openNow(path, options));
  }

  override async rename(from: string, to: string): Promise<void> {
    this.check('rename', from);
    await super.rename(from, to);
  }

  override async syncDirectory(path: string): Promise<void> {
    this.check('syncDirectory', path);
    await super.syncDirectory(path);
  }

  #faulty(file: IoFile): IoFile {
    const { path } = file;
    const { readNow, read, write, writeNow, writeAndDatasync, datasync, checkWriteback, lend, readSummed } = file;
    return Object.assign(file, {
      readNow: (into: Uint8Array, position: number) => {
        this.check('read', path);
        return readNow.call(file, into, position);
      },
      read: async (into: Uint8Array, position: number) => {
        this.check('read', path);
        await this.reach(path);
        return read.call(file, into, position);
      },
      readSummed: async (...into: Parameters<NonNullable<IoFile['readSummed']>>) => {
        this.check('read', path);
        await this.reach(path);
        return readSummed!.call(file, ...into);
      },
      write: async (parts: readonly Uint8Array[], position: number) => {
        this.check('write', path);
        await this.reach(path);
        return write.call(file, parts, position);
      },
      writeNow: (parts: readonly Uint8Array[], position: number) => {
        this.check('write', path);
        writeNow.call(file, parts, position);
      },
      writeAndDatasync: async (parts: readonly Uint8Array[], position: number) => {
        this.check('write', path);
        this.check('sync', path);
        await this.reach(path);
        return writeAndDatasync.call(file, parts, position);
      },
      datasync: async () => {
        this.check('sync', path);
        await this.reach(path);
        return datasync.call(file);
      },
      lend: async (use: (fd: number) => Promise<void>) => {
        await this.reach(path);
        return lend?.call(file, use);
      },
      checkWriteback: () => {
        this.check('writeback', path);
        checkWriteback?.call(file);
      },
    } satisfies Partial<IoFile>);
  }
}

export class FaultyMachine extends SystemMachine {
  readonly #io = new FaultyIo();
  override readonly io: FileIo = this.#io;

  /** The next `times` calls on matching paths fail. */
  fail(call: Call, path: RegExp, times = Number.POSITIVE_INFINITY, code: 'IO' | 'NO_SPACE' = 'IO'): void {
    this.#io.faults.push({ call, path, code, left: times });
  }

  /** Calls on matching paths do not end until the answer of this is called. */
  hang(path: RegExp): () => void {
    let answer = (): void => undefined;
    const until = new Promise<void>((resolve) => {
      answer = resolve;
    });
    const stall = { path, until };
    this.#io.stall = stall;
    return () => {
      if (this.#io.stall === stall) this.#io.stall = undefined;
      answer();
    };
  }

  /** Calls that wait for an answer. */
  get stalled(): number {
    return this.#io.stalled;
  }

  heal(): void {
    this.#io.faults.length = 0;
  }
}
