/**
 * What the operations answer through: the vfs, the transport, and the one reply buffer. An answer that is there at once
 * goes out within the handler, without a promise or a closure; one that comes later goes out when it comes, by which
 * time the request buffer holds another request.
 *
 * Invariant: every request that wants a reply gets exactly one, whatever the vfs throws: the program that made the
 * system call waits for it, uninterruptibly.
 */
import type { FuseChannel } from '../../native/addon.js';
import { CairnError, messageOf } from '../errors/cairn-error.js';
import { Interruption } from '../vfs/interruption.js';
import type { Attr, CreateResult, Handle, OpenMode, Result, SpaceReport, Vfs } from '../vfs/vfs.js';
import { MalformedRequest, type Request } from './decode-request.js';
import { DirentEncoder, ReplyEncoder } from './encode-reply.js';
import { Errno, errnoOf, isExpected } from './errno.js';
import type { KernelPages } from './kernel-pages.js';
import { invalidateInodeMessage, type Notifier } from './notifier.js';
import { OpenModes } from './open-modes.js';
import { Passthrough } from './passthrough.js';
import { FileType, OpenReply, SET_ID_BITS } from './protocol.js';

/** Where the face writes what a user should know and no errno can say. */
export type FuseLog = (message: string, error?: unknown) => void;

/** `extra` is whatever number the operation handed to `answer`. */
export type Reply<T> = (exchange: Exchange, unique: bigint, value: T, extra: number) => void;

/** A request that waits and may be let go of. */
interface Waiting {
  readonly pid: number;
  readonly interruption: Interruption;
  isAnswered: boolean;
}

/** As much as one READDIR reply holds; glibc asks for 32 KiB. */
const DIRENT_BUFFER_BYTES = 128 * 1024;
/** Distinct failures that are logged; the same one again is counted by nobody. */
const LOGGED_ONCE_MAX = 1000;

export class Exchange {
  readonly vfs: Vfs;
  readonly channel: FuseChannel;
  readonly notifier: Notifier;
  readonly encoder = new ReplyEncoder();
  readonly openModes = new OpenModes();
  readonly passthrough: Passthrough;
  readonly pages: KernelPages;
  /** What was agreed at INIT: POSIX_ACL, SETXATTR_EXT. */
  enforcesAccessLists = false;
  extendsSetxattr = false;
  readonly #log: FuseLog;
  readonly #isBeingKilled: (pid: number) => boolean;
  readonly #logged = new Set<string>();
  readonly #direntEncoders: DirentEncoder[] = [];
  /** Inodes that the kernel has seen with a set-id bit: a write that clears it must be told to the kernel. */
  readonly #setIdInodes = new Set<number>();
  readonly #waiting = new Map<bigint, Waiting>();
  /** For the next operation that may wait: handed over only if it does, so that the others allocate none. */
  #interruption = new Interruption();
  #pending = 0;
  #onIdle: (() => void) | undefined;

  constructor(
    vfs: Vfs,
    channel: FuseChannel,
    notifier: Notifier,
    log: FuseLog,
    isBeingKilled: (pid: number) => boolean,
    pages: KernelPages,
  ) {
    this.#isBeingKilled = isBeingKilled;
    this.vfs = vfs;
    this.channel = channel;
    this.notifier = notifier;
    this.passthrough = new Passthrough(vfs, channel, notifier);
    this.pages = pages;
    this.#log = log;
  }

  answer<T>(unique: bigint, result: Result<T>, reply: Reply<T>, extra = 0): void {
    if (!(result instanceof Promise)) {
      reply(this, unique, result, extra);
      return;
    }
    this.#pending++;
    result
      .then((value) => reply(this, unique, value, extra))
      .then(undefined, (error: unknown) => this.fail(unique, error))
      .finally(() => this.#settled());
  }

  /** What an operation that may wait before it does anything is given; then `answerInterruptible`. */
  get interruption(): Interruption {
    return this.#interruption;
  }

  /** As `answer`, of an operation that was given `interruption`, or one that may always be let go of. */
  answerInterruptible<T>(
    request: Request,
    result: Result<T>,
    reply: Reply<T>,
    extra = 0,
    interruption = this.#interruption,
  ): void {
    const { unique, pid } = request;
    if (!(result instanceof Promise)) {
      reply(this, unique, result, extra);
      return;
    }
    if (interruption === this.#interruption) this.#interruption = new Interruption();
    const waiting: Waiting = { pid, interruption, isAnswered: false };
    this.#waiting.set(unique, waiting);
    this.#pending++;
    result
      .then((value) => waiting.isAnswered || reply(this, unique, value, extra))
      .then(undefined, (error: unknown) => waiting.isAnswered || this.fail(unique, error))
      .finally(() => {
        this.#waiting.delete(unique);
        this.#settled();
      });
  }

  /** INTERRUPT: the program that waits for the answer to `unique` has a signal. */
  interrupt(unique: bigint): void {
    const waiting = this.#waiting.get(unique);
    if (waiting === undefined || waiting.isAnswered || !this.#isBeingKilled(waiting.pid)) return;
    if (!waiting.interruption.interrupt()) return;
    waiting.isAnswered = true;
    this.status(unique, Errno.EINTR);
  }

  /** Runs to its end what nobody waits for. */
  detach(result: Result<void>, what: string): void {
    if (!(result instanceof Promise)) return;
    this.#pending++;
    result.catch((error: unknown) => this.logOnce(what, error)).finally(() => this.#settled());
  }

  fail(unique: bigint, error: unknown): void {
    this.logFailure(error);
    this.status(unique, error instanceof MalformedRequest ? error.errno : errnoOf(error));
  }

  /** What no program's own doing explains. */
  logFailure(error: unknown): void {
    if (error instanceof MalformedRequest) this.logOnce(`malformed request: ${error.message}`);
    else if (!isExpected(error)) this.logOnce(messageOf(error), error);
  }

  /** A reply without a body: 0, or the positive errno. */
  status(unique: bigint, errno: number): void {
    this.sendSmall(this.encoder.status(unique, errno));
  }

  /** Sends the encoder's first `length` bytes. True if the kernel took them: false if it no longer waits for them. */
  sendSmall(length: number): boolean {
    return this.sent(this.channel.sendBytes(this.encoder.buffer, length));
  }

  /** Judges the errno of a send. ENOENT: the request was interrupted and forgotten; ENODEV: the mount is gone. */
  sent(errno: number): boolean {
    if (errno === 0) return true;
    if (errno !== Errno.ENOENT && errno !== Errno.ENODEV)
      this.logOnce(`the kernel refused a reply with errno ${errno}`);
    return false;
  }

  logOnce(message: string, error?: unknown): void {
    const code = error instanceof CairnError ? error.code : '';
    const key = `${code} ${message}`;
    if (this.#logged.has(key) || this.#logged.size >= LOGGED_ONCE_MAX) return;
    this.#logged.add(key);
    this.#log(message, error);
  }

  takeDirentEncoder(): DirentEncoder {
    return this.#direntEncoders.pop() ?? new DirentEncoder(DIRENT_BUFFER_BYTES);
  }

  giveDirentEncoder(encoder: DirentEncoder): void {
    this.#direntEncoders.push(encoder);
  }

  /** To be called with all attributes that go to the kernel. */
  remember(attr: Attr): void {
    if ((attr.mode & SET_ID_BITS) !== 0 && (attr.mode & FileType.MASK) === FileType.REGULAR) {
      this.#setIdInodes.add(attr.ino);
    }
  }

  /** The kernel has been given the inode with a name: it remembers directories until FORGET. */
  entered(attr: Attr): void {
    if ((attr.mode & FileType.MASK) === FileType.DIRECTORY) this.vfs.hold(attr.ino);
  }

  /** The kernel refetches the attributes. From the event loop: a message of attributes alone takes no lock. */
  attributesChanged(ino: number): void {
    const message = invalidateInodeMessage(ino, -1, 0);
    this.sent(this.channel.sendBytes(message, message.length));
  }

  /**
   * After a write by someone who may not keep set-id bits: the kernel leaves clearing them to us (HANDLE_KILLPRIV_V2)
   * but goes on showing the mode that it knows. Sent before the write's own reply.
   */
  privilegesKilled(ino: number): void {
    if (this.#setIdInodes.delete(ino)) this.attributesChanged(ino);
  }

  /** The kernel has seen it with set-id bits, and has not been told that they went. */
  mayHaveSetId(ino: number): boolean {
    return this.#setIdInodes.has(ino);
  }

  /** Resolves when no answer is owed. */
  idle(): Promise<void> {
    if (this.#pending === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onIdle = resolve;
    });
  }

  #settled(): void {
    this.#pending--;
    if (this.#pending === 0) this.#onIdle?.();
  }
}

export const replyOk: Reply<unknown> = (exchange, unique) => exchange.status(unique, 0);

export const replyEntry: Reply<Attr | undefined> = (exchange, unique, attr) => {
  if (attr !== undefined) exchange.remember(attr);
  if (exchange.sendSmall(exchange.encoder.entry(unique, attr)) && attr !== undefined) exchange.entered(attr);
};

export const replyAttr: Reply<Attr> = (exchange, unique, attr) => {
  exchange.remember(attr);
  exchange.sendSmall(exchange.encoder.attr(unique, attr));
};

/** Which way the handle goes is decided when the reply is sent. A handle that the kernel did not take will never be released by it. */
export function replyOpen(
  exchange: Exchange,
  unique: bigint,
  ino: number,
  handle: Handle,
  { read, write }: OpenMode,
): void {
  const { openModes, passthrough } = exchange;
  const backingId = write ? 0 : passthrough.opened(ino, handle, openModes.hasHandles(ino));
  const flags =
    backingId === 0 ? openModes.opened(ino, handle, read, write) : OpenReply.PASSTHROUGH | OpenReply.NOFLUSH;
  if (write) exchange.pages.opened(ino, handle);
  // The kernel may have all pages: then no READ will tell.
  if (exchange.vfs.accessed(handle)) exchange.attributesChanged(ino);
  if (!exchange.sendSmall(exchange.encoder.open(unique, handle, flags, backingId))) takeBack(exchange, handle);
}

function takeBack(exchange: Exchange, handle: Handle): void {
  exchange.openModes.released(handle);
  exchange.pages.released(handle);
  exchange.passthrough.released(handle);
  exchange.detach(exchange.vfs.release(handle), 'release of an interrupted open');
}

/** The kernel keeps listings, and starts anew with each handle for which one no longer stands. */
export const replyOpendir: Reply<Handle> = (exchange, unique, handle, ino) => {
  const stands = exchange.vfs.listingStands(handle);
  // Then no READDIR will tell.
  if (stands && exchange.vfs.accessed(handle)) exchange.attributesChanged(ino);
  const flags = stands ? OpenReply.CACHE_DIR | OpenReply.KEEP_CACHE : OpenReply.CACHE_DIR;
  if (exchange.sendSmall(exchange.encoder.open(unique, handle, flags))) return;
  exchange.detach(exchange.vfs.releasedir(handle), 'release of an interrupted opendir');
};

export function replyCreated(
  exchange: Exchange,
  unique: bigint,
  { attr, handle }: CreateResult,
  { read, write }: OpenMode,
): void {
  exchange.remember(attr);
  const flags = exchange.openModes.opened(attr.ino, handle, read, write);
  if (write) exchange.pages.opened(attr.ino, handle);
  if (!exchange.sendSmall(exchange.encoder.created(unique, attr, handle, flags))) takeBack(exchange, handle);
}

export const replySize: Reply<number> = (exchange, unique, size) => {
  exchange.sendSmall(exchange.encoder.size(unique, size));
};

export const replyStatfs: Reply<SpaceReport> = (exchange, unique, space) => {
  exchange.sendSmall(exchange.encoder.statfs(unique, space));
};

export const replyStatx: Reply<Attr> = (exchange, unique, attr) => {
  exchange.remember(attr);
  exchange.sendSmall(exchange.encoder.statx(unique, attr));
};

/** The bytes of a binary string, without a NUL. */
export const replyText: Reply<string> = (exchange, unique, text) => {
  sendBody(exchange, unique, Buffer.from(text, 'latin1'));
};

/** A reply whose body is `bytes`. */
export function sendBody(exchange: Exchange, unique: bigint, ...parts: readonly Uint8Array[]): void {
  const header = exchange.encoder.header(unique, parts);
  exchange.sent(exchange.channel.send([header, ...parts]));
}
