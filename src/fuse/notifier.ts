/**
 * Tells the kernel that something it remembers has changed through another face. Messages go out one after the other
 * from libuv's thread pool, never from the event loop: the kernel takes the lock of the inode or its pages for them,
 * and whoever holds that lock may be waiting for a reply that only the event loop can give. On the event loop this
 * would be a deadlock, also when no request of ours is under way, for the request may still lie in the kernel's queue.
 * In the pool it only occupies one thread until the loop has answered.
 */
import { write } from 'node:fs';
import { systemCode } from '../errors/cairn-error.js';
import type { Ino, Name } from '../vfs/vfs.js';
import { putHeader } from './encode-reply.js';
import type { FuseLog } from './exchange.js';
import { NotifyCode, OUT_HEADER_BYTES } from './protocol.js';

const BODY = OUT_HEADER_BYTES;

/** fuse_notify_inval_inode_out. A negative offset means attributes only; length 0 means to the end of the file. */
export function invalidateInodeMessage(ino: Ino, offset: number, length: number): Buffer {
  const message = Buffer.alloc(BODY + 24);
  putHeader(message, 0n, NotifyCode.INVAL_INODE, message.length);
  message.writeBigUInt64LE(BigInt(ino), BODY);
  message.writeBigInt64LE(BigInt(offset), BODY + 8);
  message.writeBigInt64LE(BigInt(length), BODY + 16);
  return message;
}

/** fuse_notify_inval_entry_out and the name with its NUL. */
function invalidateEntryMessage(parent: Ino, name: Name): Buffer {
  const message = Buffer.alloc(BODY + 16 + name.length + 1);
  putHeader(message, 0n, NotifyCode.INVAL_ENTRY, message.length);
  message.writeBigUInt64LE(BigInt(parent), BODY);
  message.writeUInt32LE(name.length, BODY + 8);
  message.write(name, BODY + 16, 'latin1');
  return message;
}

/** fuse_notify_delete_out and the name with its NUL. */
function deleteMessage(parent: Ino, child: Ino, name: Name): Buffer {
  const message = Buffer.alloc(BODY + 24 + name.length + 1);
  putHeader(message, 0n, NotifyCode.DELETE, message.length);
  message.writeBigUInt64LE(BigInt(parent), BODY);
  message.writeBigUInt64LE(BigInt(child), BODY + 8);
  message.writeUInt32LE(name.length, BODY + 16);
  message.write(name, BODY + 24, 'latin1');
  return message;
}

/** The kernel knows nothing of it (any more), or the mount is gone: nothing to invalidate. */
const HARMLESS = new Set(['ENOENT', 'ENOTDIR', 'ENODEV', 'ENOTCONN']);

export class Notifier {
  readonly #fd: number;
  readonly #log: FuseLog;
  readonly #queue: { readonly message: Buffer; readonly done: () => void; readonly sent: Promise<void> }[] = [];
  #isWriting = false;
  #isClosed = false;

  constructor(fd: number, log: FuseLog) {
    this.#fd = fd;
    this.#log = log;
  }

  /** The name appeared, changed or went: it, its absence, the directory's listing and attributes are asked for again. */
  invalidateEntry(parent: Ino, name: Name): Promise<void> {
    this.#enqueue(invalidateEntryMessage(parent, name));
    // INVAL_ENTRY does nothing where the kernel does not know the name, and a cached listing then lacks a new file.
    return this.#enqueue(invalidateInodeMessage(parent, 0, 0));
  }

  /** Attributes, and the cached bytes of the range. `offset` -1: attributes only; `length` 0: to the end. */
  invalidateInode(ino: Ino, offset: number, length: number): Promise<void> {
    return this.#enqueue(invalidateInodeMessage(ino, offset, length));
  }

  /** The entry was removed: as invalidateEntry, and watchers and holders of the child see it deleted. */
  forgetChild(parent: Ino, child: Ino, name: Name): Promise<void> {
    this.#enqueue(deleteMessage(parent, child, name));
    return this.#enqueue(invalidateInodeMessage(parent, 0, 0));
  }

  /** Drops what has not been sent, and resolves when nothing is being sent: the descriptor may then be closed. */
  close(): Promise<void> {
    this.#isClosed = true;
    for (const { done } of this.#queue.splice(this.#isWriting ? 1 : 0)) done();
    return this.told() ?? Promise.resolve();
  }

  /** Resolves when the kernel has taken all messages so far; undefined if it has. */
  told(): Promise<void> | undefined {
    return this.#queue.at(-1)?.sent;
  }

  /** Resolves when the kernel has taken the message, or has no use for it. Never rejects. */
  #enqueue(message: Buffer): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    let done = (): void => undefined;
    const sent = new Promise<void>((resolve) => {
      done = resolve;
    });
    this.#queue.push({ message, done, sent });
    if (!this.#isWriting) this.#sendNext();
    return sent;
  }

  #sendNext(): void {
    const next = this.#queue[0];
    if (next === undefined) return;
    this.#isWriting = true;
    write(this.#fd, next.message, (error) => {
      this.#isWriting = false;
      if (error !== null && !HARMLESS.has(systemCode(error) ?? ''))
        this.#log('the kernel refused a notification', error);
      this.#queue.shift();
      next.done();
      if (this.#isClosed) for (const { done } of this.#queue.splice(0)) done();
      else this.#sendNext();
    });
  }
}
