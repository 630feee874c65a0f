/** A transport for tests: requests are put in by `deliver`, replies are kept as the kernel would see them. */
import { mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FuseChannel } from '../../../native/addon.js';
import type { KernelPagesOptions } from '../../../src/fuse/kernel-pages.js';
import { FuseSession } from '../../../src/fuse/session.js';
import type { Vfs } from '../../../src/vfs/vfs.js';

export interface FakeReply {
  readonly unique: bigint;
  /** Negative errno, or 0; the notify code where `unique` is 0. */
  readonly error: number;
  readonly body: Buffer;
}

export class FakeKernel implements FuseChannel {
  readonly replies: FakeReply[] = [];
  readonly logged: string[] = [];
  /** Threads whose processes are being killed. */
  readonly killed = new Set<number>();
  readonly session: FuseSession;
  isStopped = false;
  /** What was done with files for the kernel to read by itself, by descriptor and by number. */
  readonly backings: string[] = [];
  /** Why none is taken; 0: each is. */
  backingErrno = 0;
  #backing = 0;
  /** What the next sends return; 0 once it is used up. */
  readonly errnos: number[] = [];
  readonly #directory = mkdtempSync(join(tmpdir(), 'cairn-fuse-'));
  #buffer: Uint8Array = new Uint8Array(0);
  #onRequest: (length: number) => void = () => {};
  #onEnd: (error: Error | null) => void = () => {};
  #unique = 2n;
  #awaited: (() => void)[] = [];

  constructor(vfs: Vfs, onRefused?: (why: string) => void, pages?: KernelPagesOptions) {
    // The session closes its descriptor; an ordinary file collects what would be notifications.
    const fd = openSync(this.#notifications, 'w+');
    const addon = {
      fuseStart: (
        _fd: number,
        buffer: Uint8Array,
        onRequest: (length: number) => void,
        onEnd: (error: Error | null) => void,
      ) => {
        this.#buffer = buffer;
        this.#onRequest = onRequest;
        this.#onEnd = onEnd;
        return this;
      },
    };
    const log = (message: string) => this.logged.push(message);
    const isBeingKilled = (pid: number) => this.killed.has(pid);
    const passthrough = onRefused && { onRefused };
    this.session = new FuseSession({ addon, fd, vfs, log, passthrough, pages, isBeingKilled });
  }

  get #notifications(): string {
    return join(this.#directory, 'notifications');
  }

  send(parts: readonly Uint8Array[]): number {
    return this.#accept(Buffer.concat(parts));
  }

  sendBytes(buffer: Uint8Array, length: number): number {
    return this.#accept(Buffer.from(buffer.subarray(0, length)));
  }

  sendFile(unique: bigint, fileFd: number, position: number, length: number): number {
    const bytes = Buffer.alloc(length);
    try {
      if (readSync(fileFd, bytes, 0, length, position) < length) return -61;
      this.#keep({ unique, error: 0, body: bytes });
      return length;
    } catch {
      return -5;
    }
  }

  openBacking(fileFd: number): number {
    this.backings.push(`open ${fileFd}`);
    return this.backingErrno === 0 ? ++this.#backing : -this.backingErrno;
  }

  closeBacking(id: number): number {
    this.backings.push(`close ${id}`);
    return 0;
  }

  stop(): void {
    this.isStopped = true;
  }

  /** Puts in a message as it is. */
  deliver(message: Uint8Array): void {
    // What an earlier request left behind must never be read.
    this.#buffer.fill(0x41);
    this.#buffer.set(message);
    this.#onRequest(message.length);
  }

  /** Sends a request and waits for its reply. */
  async ask(
    opcode: number,
    nodeid: number,
    body: Uint8Array = new Uint8Array(0),
    uid = 0,
    pid = 0,
  ): Promise<FakeReply> {
    this.#unique += 2n;
    const unique = this.#unique;
    this.deliver(requestMessage({ opcode, unique, nodeid, uid, pid }, body));
    for (;;) {
      const index = this.replies.findIndex((reply) => reply.unique === unique);
      if (index >= 0) return this.replies.splice(index, 1)[0]!;
      await new Promise<void>((resolve) => this.#awaited.push(resolve));
    }
  }

  /** Ends as an unmount does, and gives back the notifications that were written. */
  async unmount(): Promise<Buffer> {
    this.#onEnd(null);
    await this.session.ended;
    return readFileSync(this.#notifications);
  }

  remove(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #accept(message: Buffer): number {
    const errno = this.errnos.shift() ?? 0;
    if (message.readUInt32LE(0) !== message.length) throw new Error('a message with a wrong length');
    if (errno === 0) {
      this.#keep({
        error: message.readInt32LE(4),
        unique: message.readBigUInt64LE(8),
        body: message.subarray(16),
      });
    }
    return errno;
  }

  #keep(reply: FakeReply): void {
    this.replies.push(reply);
    for (const wake of this.#awaited.splice(0)) wake();
  }
}

/** fuse_in_header and the body. */
export function requestMessage(
  header: {
    readonly opcode: number;
    readonly unique?: bigint;
    readonly nodeid?: number;
    readonly uid?: number;
    readonly gid?: number;
    readonly pid?: number;
  },
  body: Uint8Array,
): Buffer {
  const message = Buffer.alloc(40 + body.length);
  message.writeUInt32LE(message.length, 0);
  message.writeUInt32LE(header.opcode, 4);
  message.writeBigUInt64LE(header.unique ?? 1n, 8);
  message.writeBigUInt64LE(BigInt(header.nodeid ?? 1), 16);
  message.writeUInt32LE(header.uid ?? 0, 24);
  message.writeUInt32LE(header.gid ?? 0, 28);
  message.writeUInt32LE(header.pid ?? 0, 32);
  message.set(body, 40);
  return message;
}

/** A body of little-endian fields: numbers are u32, bigints u64, strings bytes with a NUL, arrays bytes as they are. */
export function bodyOf(...fields: (number | bigint | string | Uint8Array)[]): Buffer {
  return Buffer.concat(
    fields.map((field) => {
      if (typeof field === 'string') return Buffer.from(`${field}\0`, 'latin1');
      if (typeof field === 'object') return field;
      const bytes = Buffer.alloc(typeof field === 'number' ? 4 : 8);
      if (typeof field === 'number') bytes.writeUInt32LE(field >>> 0);
      else bytes.writeBigUInt64LE(BigInt.asUintN(64, field));
      return bytes;
    }),
  );
}

/** INIT of a kernel of this version with all flags. */
export function initBody(major = 7, minor = 45): Buffer {
  return bodyOf(major, minor, 131072, 0xffffffff, 0xffffffff, new Uint8Array(44));
}

/** Closes what a test opened, also if it failed. */
export async function withKernel(
  vfs: Vfs,
  test: (kernel: FakeKernel) => Promise<void>,
  onRefused?: (why: string) => void,
  pages?: KernelPagesOptions,
): Promise<void> {
  const kernel = new FakeKernel(vfs, onRefused, pages);
  try {
    await test(kernel);
  } finally {
    await kernel.unmount();
    kernel.remove();
  }
}
