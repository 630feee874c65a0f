/**
 * The smallest file system that shows the transport at work: the root directory with one file, `data`, backed by a real file. It runs
 * in a process of its own, forked by the tests, because a process that touches its own mount waits for itself.
 *
 * Looking up `throw` throws after the reply, `exit` ends the process in the middle of the request. When the process that forked it goes, it unmounts
 * and ends.
 */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { type FuseChannel, loadAddon } from '../../../native/addon.js';

export interface ServerOptions {
  mountpoint: string;
  backing: string;
  /** Mount through this program instead of mount(2). */
  helper?: string;
  /** Serve in a worker thread. */
  threaded?: boolean;
}

/** What the server tells the test. `end` is null or the error's message. */
export type ServerMessage =
  | { kind: 'ready' }
  | { kind: 'end'; error: string | null; sendAfterEnd: number }
  | { kind: 'uncaught'; error: string }
  | { kind: 'terminated'; code: number };

const MAX_WRITE_BYTES = 1 << 20;
const IN_HEADER_BYTES = 40;
const WRITE_DATA_OFFSET = IN_HEADER_BYTES + 40;
const LOOKUP = 1;
const FORGET = 2;
const GETATTR = 3;
const SETATTR = 4;
const OPEN = 14;
const READ = 15;
const WRITE = 16;
const INIT = 26;
const INTERRUPT = 36;
const BATCH_FORGET = 42;
const ENOENT = 2;
const ENOSYS = 38;

const addon = loadAddon();

function mount(options: ServerOptions): number {
  const data = 'rootmode=40000,user_id=0,group_id=0,default_permissions';
  if (options.helper)
    return addon.fuseMountHelper(options.helper, options.mountpoint, 'fsname=cairn-test,subtype=cairn');
  return addon.fuseMount(options.mountpoint, 'cairn-test', 'cairn', 0, data);
}

function serve(fd: number, backing: string, onEnd: (error: Error | null, channel: FuseChannel) => void): FuseChannel {
  const file = openSync(backing, 'r+');
  const request = Buffer.alloc(MAX_WRITE_BYTES + 4096);
  const out = Buffer.alloc(256);

  const reply = (unique: bigint, bytes: number, error = 0): void => {
    out.writeUInt32LE(16 + bytes, 0);
    out.writeInt32LE(-error, 4);
    out.writeBigUInt64LE(unique, 8);
    // Two ways for two kinds of reply, so that both are used.
    const failed =
      bytes > 0 ? channel.sendBytes(out, 16 + bytes) : channel.send([out.subarray(0, 9), out.subarray(9, 16)]);
    if (failed !== 0 && failed !== ENOENT) throw new Error(`reply failed: errno ${failed}`);
    out.fill(0);
  };

  const writeAttributes = (offset: number, node: bigint): void => {
    out.writeBigUInt64LE(node, offset);
    if (node === 2n) out.writeBigUInt64LE(BigInt(fstatSync(file).size), offset + 8);
    out.writeUInt32LE(node === 1n ? 0o40755 : 0o100644, offset + 60);
    out.writeUInt32LE(1, offset + 64);
  };

  const onRequest = (length: number): void => {
    const opcode = request.readUInt32LE(4);
    const unique = request.readBigUInt64LE(8);
    const node = request.readBigUInt64LE(16);
    if (request.readUInt32LE(0) !== length) throw new Error('the header does not have the length that was read');
    switch (opcode) {
      case INIT:
        out.writeUInt32LE(7, 16);
        out.writeUInt32LE(31, 20);
        out.writeUInt32LE(MAX_WRITE_BYTES, 24);
        out.writeUInt32LE((1 << 22) | (1 << 5), 28); // FUSE_MAX_PAGES, FUSE_BIG_WRITES
        out.writeUInt32LE(MAX_WRITE_BYTES, 36);
        out.writeUInt16LE(MAX_WRITE_BYTES / 4096, 44);
        reply(unique, 64);
        return;
      case LOOKUP: {
        const name = request.toString('utf8', IN_HEADER_BYTES, length - 1);
        if (name === 'exit') process.exit(7);
        if (name !== 'data') reply(unique, 0, ENOENT);
        if (name === 'throw') throw new Error('from onRequest');
        if (name !== 'data') return;
        out.writeBigUInt64LE(2n, 16);
        writeAttributes(16 + 40, 2n);
        reply(unique, 128);
        return;
      }
      case GETATTR:
      case SETATTR:
        writeAttributes(16 + 16, node);
        reply(unique, 104);
        return;
      case OPEN:
        reply(unique, 16);
        return;
      case READ: {
        const position = Number(request.readBigUInt64LE(IN_HEADER_BYTES + 8));
        const asked = request.readUInt32LE(IN_HEADER_BYTES + 16);
        const left = Math.max(0, fstatSync(file).size - position);
        const read = channel.sendFile(unique, file, position, Math.min(asked, left));
        if (read < 0) reply(unique, 0, -read);
        return;
      }
      case WRITE: {
        const bytes = request.readUInt32LE(IN_HEADER_BYTES + 16);
        const position = Number(request.readBigUInt64LE(IN_HEADER_BYTES + 8));
        addon.writeAll(file, [request.subarray(WRITE_DATA_OFFSET, WRITE_DATA_OFFSET + bytes)], position);
        out.writeUInt32LE(bytes, 16);
        reply(unique, 8);
        return;
      }
      case FORGET:
      case BATCH_FORGET:
      case INTERRUPT:
        return;
      default:
        reply(unique, 0, ENOSYS);
    }
  };

  const channel = addon.fuseStart(fd, request, onRequest, (error) => {
    closeSync(file);
    onEnd(error, channel);
  });
  return channel;
}

function tell(message: ServerMessage): void {
  // Where nobody listens any more, sending would fail, and that be told as an uncaught error, for ever.
  if (process.connected) process.send?.(message);
}

/** What was meant for the test is over: nothing but a leaked handle would keep the process alive from here on. */
function leave(): void {
  process.removeAllListeners('disconnect');
  if (process.connected) process.disconnect();
}

function main(options: ServerOptions): void {
  process.on('uncaughtException', (error) => tell({ kind: 'uncaught', error: error.message }));
  const fd = mount(options);
  process.once('disconnect', () => {
    addon.unmount(options.mountpoint, true);
    process.exit(1);
  });
  if (options.threaded) {
    const worker = new Worker(new URL(import.meta.url), { workerData: { fd, backing: options.backing } });
    worker.once('message', () => tell({ kind: 'ready' }));
    process.once('message', async () => {
      const code = await worker.terminate();
      closeSync(fd);
      tell({ kind: 'terminated', code });
      leave();
    });
    return;
  }
  serve(fd, options.backing, (error, channel) => {
    const sendAfterEnd = channel.sendBytes(Buffer.alloc(16), 16);
    closeSync(fd);
    tell({ kind: 'end', error: error === null ? null : error.message, sendAfterEnd });
    leave();
  });
  tell({ kind: 'ready' });
}

if (!isMainThread) {
  const { fd, backing } = workerData as { fd: number; backing: string };
  serve(fd, backing, () => undefined);
  parentPort?.postMessage('ready');
} else if (process.send && process.argv[2]) {
  main(JSON.parse(process.argv[2]) as ServerOptions);
}
