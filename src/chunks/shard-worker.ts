/**
 * A worker thread of the pipeline: reads sources, hashes and encodes, all blocking, and writes shards, one job of libuv's pool each, so that
 * a disk that does not answer holds up neither the others nor the thread. It keeps the bytes of a chunk in the job's slot from the first
 * message to the next, while the main thread decides where they go; a slot that is used again while a write of its last chunk is still under
 * way leaves that its buffers.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { loadAddon } from '../../native/addon.js';
import { assert, systemCode } from '../errors/cairn-error.js';
import { ChunkWork } from './chunk-work.js';
import type { FromWorker, PostedError, ToWorker, WorkerOptions, WriteResult } from './worker-messages.js';

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

port.on('message', (message: ToWorker) => {
  const slot = work[message.job];
  assert(slot, 'the job is one of the slots');
  if (message.kind === 'write') {
    write(slot, message);
    return;
  }
  try {
    take(slot, message);
  } catch (error) {
    answer({ kind: 'failed', job: message.job, error: posted(error) });
  }
});

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

function write({ work: chunk, writes }: Slot, { write, scheme, target }: ToWorker & { kind: 'write' }): void {
  const written = (result: WriteResult): void => answer({ kind: 'written', write, result });
  try {
    const parts = chunk.record(scheme, target);
    if (target.fd === undefined) {
      written({ record: Buffer.concat(parts) });
      return;
    }
    addon.writeAllAsync(target.fd, parts, target.position, false, (error) => {
      writes.count -= 1;
      written(error ? { error: posted(error) } : 'written');
    });
    writes.count += 1;
  } catch (error) {
    written({ error: posted(error) });
  }
}

function posted(error: unknown): PostedError {
  return { code: systemCode(error), message: error instanceof Error ? error.message : String(error) };
}

function answer(message: FromWorker): void {
  port.postMessage(message);
}
