/**
 * A worker thread of the pipeline. It completes chunks that the main thread has read into spaces (chunk-space.ts), and stores others: reads sources, hashes, compresses and encodes, all blocking, and writes shards, one job of libuv's pool each, so that
 * a disk that does not answer holds up neither the others nor the thread. It keeps the bytes of a chunk in the job's slot from the first
 * message to the next, while the main thread decides where they go; a slot that is used again while a write of its last chunk is still under
 * way leaves that its buffers.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { loadAddon } from '../../native/addon.js';
import { assert, messageOf, systemCode } from '../errors/cairn-error.js';
import { findCollector } from '../io/collector.js';
import { completeSpace, shardIn } from './chunk-space.js';
import { ChunkWork, shardRecord } from './chunk-work.js';
import { compressChunk } from './compressed-chunk.js';
import type {
  FromWorker,
  PostedError,
  Result,
  SlotMessage,
  ToWorker,
  WorkerOptions,
  WriteTarget,
} from './worker-messages.js';

assert(parentPort, 'shard-worker runs as a worker thread');
const port = parentPort;
const addon = loadAddon();
const { slots } = workerData as WorkerOptions;

interface Slot {
  readonly work: ChunkWork;
  /** Writes under way from the present buffers. */
  writes: { count: number };
}

const work = Array.from({ length: slots }, (): Slot => ({ work: new ChunkWork(addon), writes: { count: 0 } }));

/** Memory of the main thread's, by its number. */
const spaces = new Map<number, Uint8Array>();
/** Of it so much may wait for a collection here. Shared memory does not count where V8 decides when to collect, and this thread makes little else: without being asked it would keep what everybody has let go of. */
const FORGOTTEN_BYTES_MAX = 32 * 1024 * 1024;
let forgottenBytes = 0;
let collect: (() => void) | undefined;

port.on('message', (message: ToWorker) => {
  switch (message.kind) {
    case 'space':
      spaces.set(message.space, message.bytes);
      return;
    case 'forget':
      forget(message.space);
      return;
    case 'complete':
      complete(message);
      return;
    case 'writeFrom':
      writeFrom(message);
      return;
    case 'compressAll':
      tryTo(message.request, () => {
        const payloads = message.chunks.map((chunk) => compressChunk(chunk));
        return { kind: 'compressedAll', payloads };
      });
      return;
    default:
      serve(message);
  }
});

function serve(message: SlotMessage): void {
  const slot = work[message.job];
  assert(slot, 'the job is one of the slots');
  if (message.kind === 'write') {
    write(slot, message);
    return;
  }
  if (message.kind === 'compress') {
    tryTo(message.request, () => ({ kind: 'compressed', storedBytes: slot.work.compress() }));
    return;
  }
  try {
    take(slot, message);
  } catch (error) {
    answer({ kind: 'failed', job: message.job, error: posted(error) });
  }
}

function complete({ request, space, layout, plain }: ToWorker & { kind: 'complete' }): void {
  tryTo(request, () => {
    const into = plain === undefined ? undefined : spaceOf(plain);
    return { kind: 'completed', chunk: completeSpace(spaceOf(space), layout, into) };
  });
}

function tryTo(request: number, work: () => Result): void {
  try {
    done(request, work());
  } catch (error) {
    done(request, { kind: 'error', error: posted(error) });
  }
}

function forget(space: number): void {
  forgottenBytes += spaceOf(space).length;
  spaces.delete(space);
  if (forgottenBytes < FORGOTTEN_BYTES_MAX) return;
  forgottenBytes = 0;
  collect ??= findCollector();
  collect();
}

function writeFrom({ space, layout, request, target }: ToWorker & { kind: 'writeFrom' }): void {
  writeRecord(request, target, () => shardRecord(shardIn(spaceOf(space), layout, target.info.shard), target, addon));
}

function spaceOf(number: number): Uint8Array {
  const bytes = spaces.get(number);
  assert(bytes, 'the space has been told');
  return bytes;
}

function take(slot: Slot, message: ToWorker & { kind: 'file' | 'bytes' }): void {
  const { job } = message;
  const { work: chunk } = slot;
  if (slot.writes.count > 0) {
    chunk.detach();
    slot.writes = { count: 0 };
  }
  if (message.kind === 'file') {
    chunk.readFile(message.fd, message.position, message.length);
    answer({ kind: 'read', job });
  } else {
    chunk.adopt(message.bytes);
  }
  answer({ kind: 'hashed', job, chunk: chunk.hash() });
}

function write({ work: chunk, writes }: Slot, { request, scheme, target }: ToWorker & { kind: 'write' }): void {
  const isUnderWay = writeRecord(
    request,
    target,
    () => chunk.record(scheme, target),
    () => {
      writes.count -= 1;
    },
  );
  if (isUnderWay) writes.count += 1;
}

/** Hands the record back, or begins to write it: then true, and `onEnd` is called when that has ended. */
function writeRecord(request: number, target: WriteTarget, record: () => Uint8Array[], onEnd?: () => void): boolean {
  try {
    const parts = record();
    if (target.fd === undefined) {
      done(request, { kind: 'record', record: Buffer.concat(parts) });
      return false;
    }
    addon.writeAllAsync(target.fd, parts, target.position, false, (error) => {
      onEnd?.();
      done(request, error ? { kind: 'error', error: posted(error) } : { kind: 'written' });
    });
    return true;
  } catch (error) {
    done(request, { kind: 'error', error: posted(error) });
    return false;
  }
}

function done(request: number, result: Result): void {
  answer({ kind: 'done', request, result });
}

function posted(error: unknown): PostedError {
  return { code: systemCode(error), message: messageOf(error) };
}

function answer(message: FromWorker): void {
  port.postMessage(message);
}
