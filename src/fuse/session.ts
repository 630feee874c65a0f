/**
 * One mount's conversation with the kernel: takes each request from the transport's buffer, dispatches it by opcode and
 * sees to it that it is answered. A request whose answer is in memory is decoded, served and answered within one call
 * from the transport, without a thread hop.
 *
 * Nothing that a request holds, however broken, throws out of the loop. An opcode that is not in the table gets ENOSYS,
 * which the kernel takes as "never ask again" and handles by itself: ACCESS (default_permissions checks), GETLK and
 * SETLK (its own locks), POLL (always ready), BMAP, SYNCFS, COPY_FILE_RANGE_64 (it asks for
 * COPY_FILE_RANGE).
 */
import { closeSync } from 'node:fs';
import type { Addon, FuseChannel } from '../../native/addon.js';
import { asError, assert } from '../errors/cairn-error.js';
import type { Ino, Name, Vfs } from '../vfs/vfs.js';
import { MalformedRequest, Request } from './decode-request.js';
import * as directory from './directory-operations.js';
import * as entry from './entry-operations.js';
import { Errno } from './errno.js';
import { Exchange, type FuseLog } from './exchange.js';
import * as file from './file-operations.js';
import { KernelPages, type KernelPagesOptions } from './kernel-pages.js';
import { isBeingKilled } from './killed-process.js';
import { type Negotiated, negotiate } from './negotiate.js';
import { Notifier } from './notifier.js';
import { In, InitFlag, InitFlag2, Opcode, REQUEST_BUFFER_BYTES } from './protocol.js';
import * as xattr from './xattr-operations.js';

type Operation = (exchange: Exchange, request: Request) => void;

const OPERATIONS: (Operation | undefined)[] = [];
OPERATIONS[Opcode.LOOKUP] = entry.lookup;
OPERATIONS[Opcode.FORGET] = entry.forget;
OPERATIONS[Opcode.GETATTR] = entry.getattr;
OPERATIONS[Opcode.SETATTR] = entry.setattr;
OPERATIONS[Opcode.READLINK] = entry.readlink;
OPERATIONS[Opcode.SYMLINK] = entry.symlink;
OPERATIONS[Opcode.MKNOD] = entry.mknod;
OPERATIONS[Opcode.MKDIR] = entry.mkdir;
OPERATIONS[Opcode.UNLINK] = entry.unlink;
OPERATIONS[Opcode.RMDIR] = entry.rmdir;
OPERATIONS[Opcode.RENAME] = entry.rename;
OPERATIONS[Opcode.LINK] = entry.link;
OPERATIONS[Opcode.OPEN] = file.open;
OPERATIONS[Opcode.READ] = file.read;
OPERATIONS[Opcode.WRITE] = file.write;
OPERATIONS[Opcode.STATFS] = entry.statfs;
OPERATIONS[Opcode.RELEASE] = file.release;
OPERATIONS[Opcode.FSYNC] = file.fsync;
OPERATIONS[Opcode.SETXATTR] = xattr.setxattr;
OPERATIONS[Opcode.GETXATTR] = xattr.getxattr;
OPERATIONS[Opcode.LISTXATTR] = xattr.listxattr;
OPERATIONS[Opcode.REMOVEXATTR] = xattr.removexattr;
OPERATIONS[Opcode.FLUSH] = file.flush;
OPERATIONS[Opcode.OPENDIR] = directory.opendir;
OPERATIONS[Opcode.READDIR] = directory.readdir;
OPERATIONS[Opcode.RELEASEDIR] = directory.releasedir;
OPERATIONS[Opcode.FSYNCDIR] = directory.fsyncdir;
OPERATIONS[Opcode.CREATE] = file.create;
OPERATIONS[Opcode.INTERRUPT] = (exchange, request) => {
  request.body(In.INTERRUPT.BYTES);
  exchange.interrupt(request.big64(In.INTERRUPT.UNIQUE));
};
OPERATIONS[Opcode.DESTROY] = (exchange, request) => exchange.status(request.unique, 0);
OPERATIONS[Opcode.IOCTL] = (exchange, request) => exchange.status(request.unique, Errno.ENOTTY);
OPERATIONS[Opcode.BATCH_FORGET] = entry.batchForget;
OPERATIONS[Opcode.FALLOCATE] = file.fallocate;
OPERATIONS[Opcode.READDIRPLUS] = directory.readdirplus;
OPERATIONS[Opcode.RENAME2] = entry.rename2;
OPERATIONS[Opcode.LSEEK] = file.lseek;
OPERATIONS[Opcode.COPY_FILE_RANGE] = file.copyFileRange;
OPERATIONS[Opcode.TMPFILE] = file.tmpfile;
OPERATIONS[Opcode.STATX] = entry.statx;

/** The kernel waits for no answer to these. */
const NO_REPLY: ReadonlySet<number> = new Set([Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT]);

export interface FuseSessionOptions {
  readonly addon: Pick<Addon, 'fuseStart'>;
  /** /dev/fuse of a mount that nobody has read from yet. The session owns it: it closes it at the end. */
  readonly fd: number;
  readonly vfs: Vfs;
  readonly log: FuseLog;
  /** Let the kernel read by itself what the vfs has whole (passthrough.ts). Only where nothing is changed through the mount. */
  readonly passthrough?: { readonly onRefused: (why: string) => void } | undefined;
  /** How to have what the kernel keeps of programs' writes. Without it the kernel is not asked, and has no writeback cache. */
  readonly pages?: KernelPagesOptions | undefined;
  /** Whether the process of this thread is being killed; a test's own. */
  readonly isBeingKilled?: (pid: number) => boolean;
}

export class FuseSession {
  /** Resolves when the kernel has sent INIT and programs can use the mount; rejects if the kernel is too old. */
  readonly ready: Promise<Negotiated>;
  /**
   * Resolves when the mount is gone, every answer under way has come to its end and the descriptor is closed. Handles
   * that the kernel had no time to release are still open in the vfs.
   */
  readonly ended: Promise<void>;

  readonly #request: Request;
  readonly #channel: FuseChannel;
  readonly #exchange: Exchange;
  readonly #notifier: Notifier;
  readonly #log: FuseLog;
  readonly #fd: number;
  readonly #passthrough: FuseSessionOptions['passthrough'];
  readonly #writeback: boolean;
  #agreed: Negotiated | undefined;
  #resolveReady!: (agreed: Negotiated) => void;
  #rejectReady!: (error: Error) => void;
  #resolveEnded!: () => void;
  #isStopped = false;

  constructor(options: FuseSessionOptions) {
    const { addon, fd, vfs, log, passthrough, pages, isBeingKilled: killed = isBeingKilled } = options;
    this.#writeback = pages?.writeback === true;
    this.#log = log;
    this.#passthrough = passthrough;
    this.#fd = fd;
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve;
      this.#rejectReady = reject;
    });
    // Whoever does not ask must not crash for it: the end is told by `ended` as well.
    this.ready.catch(() => {});
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    const buffer = new Uint8Array(REQUEST_BUFFER_BYTES);
    this.#request = new Request(buffer);
    this.#notifier = new Notifier(fd, log);
    this.#channel = addon.fuseStart(
      fd,
      buffer,
      (length) => this.#handle(length),
      (error) => this.#end(error),
    );
    const kernelPages = new KernelPages(pages, (message, error) => this.#exchange.logOnce(message, error));
    this.#exchange = new Exchange(vfs, this.#channel, this.#notifier, log, killed, kernelPages);
    this.#exchange.passthrough.onRefused = (errno) =>
      passthrough?.onRefused(`the kernel refused a file of the cache with errno ${errno}`);
  }

  /** Whether the kernel reads by itself what the vfs has whole. */
  get isPassthrough(): boolean {
    return this.#exchange.passthrough.isOn;
  }

  /** Whether the kernel has its writeback cache. */
  get isWriteback(): boolean {
    return this.#exchange.pages.isWriteback;
  }

  /** What was lost of programs' writes, as a sentence. */
  get finding(): string | undefined {
    return this.#exchange.pages.finding;
  }

  /** Resolves when what programs have written has come to the vfs. IO. Never from inside an answer that a WRITE waits for. */
  handOver(): Promise<void> {
    return this.#exchange.pages.handOver();
  }

  /** Runs an unmount that is refused while anything is open: our own part of it is not. */
  holding(unmount: () => Promise<void>): Promise<void> {
    return this.#exchange.pages.holding(unmount);
  }

  /** Another face made, replaced or removed the name. Resolves when the kernel knows. */
  invalidateEntry(parent: Ino, name: Name): Promise<void> {
    return this.#notifier.invalidateEntry(parent, name);
  }

  /** Another face changed attributes and the bytes of the range: `offset` -1 for attributes only, `length` 0 to the end. */
  invalidateInode(ino: Ino, offset: number, length: number): Promise<void> {
    return this.#notifier.invalidateInode(ino, offset, length);
  }

  /** Another face removed the name, and with it `child`. */
  forgetChild(parent: Ino, child: Ino, name: Name): Promise<void> {
    return this.#notifier.forgetChild(parent, child, name);
  }

  /** Resolves when the kernel knows of all that was invalidated so far; undefined if it does. Never from inside an answer that it may be waiting for. */
  told(): Promise<void> | undefined {
    return this.#notifier.told();
  }

  /** Stops serving. Programs that use the mount wait until it is unmounted, so this is for after the unmount, or for giving up. */
  stop(): Promise<void> {
    this.#end(null);
    return this.ended;
  }

  #handle(length: number): void {
    const request = this.#request;
    const exchange = this.#exchange;
    try {
      if (!request.begin(length)) {
        exchange.logOnce(`the kernel sent a message of ${length} bytes`);
        return;
      }
      if (this.#agreed === undefined) this.#init();
      else {
        const operation = OPERATIONS[request.opcode];
        if (operation === undefined) exchange.status(request.unique, Errno.ENOSYS);
        else operation(exchange, request);
      }
    } catch (error) {
      if (NO_REPLY.has(request.opcode)) exchange.logFailure(error);
      else exchange.fail(request.unique, error);
    }
  }

  #init(): void {
    const request = this.#request;
    if (request.opcode !== Opcode.INIT) throw new MalformedRequest(`opcode ${request.opcode} before INIT`);
    try {
      const wanted = { passthrough: this.#passthrough !== undefined, writeback: this.#writeback };
      const { length, agreed } = negotiate(request, this.#exchange.encoder.buffer, wanted);
      this.#exchange.sendSmall(length);
      if (agreed === undefined) return;
      this.#agreed = agreed;
      this.#exchange.enforcesAccessLists = (agreed.flags & InitFlag.POSIX_ACL) !== 0;
      this.#exchange.extendsSetxattr = (agreed.flags & InitFlag.SETXATTR_EXT) !== 0;
      this.#exchange.pages.isWriteback = (agreed.flags & InitFlag.WRITEBACK_CACHE) !== 0;
      // A direct handle would write past pages that have not been written back.
      this.#exchange.openModes.allowDirect =
        !this.#exchange.pages.isWriteback && (agreed.flags2 & InitFlag2.DIRECT_IO_ALLOW_MMAP) !== 0;
      this.#exchange.passthrough.isOn = (agreed.flags2 & InitFlag2.PASSTHROUGH) !== 0;
      if (!this.#exchange.passthrough.isOn) this.#passthrough?.onRefused('the kernel does not have it');
      this.#resolveReady(agreed);
    } catch (error) {
      this.#rejectReady(asError(error));
      throw error;
    }
  }

  #end(error: Error | null): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    if (error !== null) this.#log('the connection to the kernel broke', error);
    this.#rejectReady(new Error('the mount ended'));
    this.#channel.stop();
    this.#exchange.pages.close();
    this.#finish().catch((failure: unknown) => assert(false, `ending a session: ${String(failure)}`));
  }

  async #finish(): Promise<void> {
    await this.#exchange.idle();
    this.#exchange.passthrough.close();
    await this.#notifier.close();
    closeSync(this.#fd);
    this.#resolveEnded();
  }
}
