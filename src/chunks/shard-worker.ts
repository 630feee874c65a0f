/**
 * A worker thread of the pipeline: reads sources, hashes, encodes and writes shards, all blocking. It keeps the bytes of a chunk in
 * the job's slot from the first message to the second, while the main thread decides where they go.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { loadAddon } from '../../native/addon.js';
import { assert, systemCode } from '../errors/cairn-error.js';
import { ChunkWork } from './chunk-work.js';
import type { FromWorker, PostedError, ToWorker, WorkerOptions, WriteResult, WriteTarget } from './worker-messages.js';

assert(parentPort, 'shard-worker runs as a worker thread');
const port = parentPort;
const addon = loadAddon();
const { slots } = workerData as WorkerOptions;
const work = Array.from({ length: slots }, () => new ChunkWork(addon));

port.on('message', (message: ToWorker) => {
  try {
    handle(message);
  } catch (error) {
    answer({ kind: 'failed', job: message.job, error: posted(error) });
  }
});

function handle(message: ToWorker): void {
  const { job } = message;
  const chunk = work[job];
  assert(chunk, 'the job is one of the slots');
  if (message.kind === 'write') {
    const results = message.targets.map((target) => write(chunk, message, target));
    answer({ kind: 'written', job, results });
    return;
  }
  if (message.kind === 'file') {
    chunk.readFile(message.fd, message.position, message.length);
    answer({ kind: 'read', job });
  } else {
    chunk.adopt(message.bytes);
  }
  answer({ kind: 'hashed', job, chunk: chunk.hash() });
}

function write(chunk: ChunkWork, message: ToWorker & { kind: 'write' }, target: WriteTarget): WriteResult {
  try {
    const parts = chunk.record(message.scheme, target);
    if (target.fd === undefined) return { record: Buffer.concat(parts) };
    addon.writeAll(target.fd, parts, target.position);
    return 'written';
  } catch (error) {
    return { error: posted(error) };
  }
}

function posted(error: unknown): PostedError {
  return { code: systemCode(error), message: error instanceof Error ? error.message : String(error) };
}

function answer(message: FromWorker): void {
  port.postMessage(message);
}
