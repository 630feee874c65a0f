/**
 * The pipeline in worker threads. Each has its own slots; a job stays with its thread. Threads start with the first job and never
 * keep the process alive. A thread that ends unexpectedly fails its jobs and is replaced for the next one.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Reservation } from '../disks/disk.js';
import type { ShardScheme } from '../disks/record.js';
import { assert, CairnError, type ErrorCode } from '../errors/cairn-error.js';
import type { ChunkSpace, SpaceLayout } from './chunk-space.js';
import { type ChunkSource, MAX_CHUNK_BYTES } from './chunk-store.js';
import type { ChunkJob, Pipeline } from './pipeline.js';
import { SlotQueue } from './slot-queue.js';
import type {
  FromWorker,
  PostedError,
  Result,
  SlotMessage,
  ToWorker,
  WorkerOptions,
  WriteTarget,
} from './worker-messages.js';

/** Jobs of one thread: while one waits for the main thread's decision, another is worked on. */
const SLOTS_PER_WORKER = 4;

const ENDED = 'a worker thread of the chunk store ended unexpectedly';

interface Waiter {
  readonly onRead: (() => void) | undefined;
  resolve(message: FromWorker): void;
  reject(error: Error): void;
}

interface WorkerPipelineOptions {
  /** Threads; by default one per core but one, at most two: memory bandwidth is the limit. */
  readonly workers?: number;
  /** The thread's program; for tests. */
  readonly program?: URL;
}

export class WorkerPipeline implements Pipeline {
  readonly #slots: SlotQueue;
  readonly #threads: Thread[];

  constructor(options: WorkerPipelineOptions = {}) {
    const count = options.workers ?? Math.max(1, Math.min(2, availableParallelism() - 1));
    const program = options.program ?? new URL('./shard-worker.js', import.meta.url);
    this.#threads = Array.from({ length: count }, () => new Thread(program));
    this.#slots = new SlotQueue(count * SLOTS_PER_WORKER);
  }

  async take(source: ChunkSource, onRead: () => void, signal?: AbortSignal): Promise<ChunkJob> {
    const chunkBytes = source.kind === 'file' ? source.length : source.bytes.length;
    assert(chunkBytes > 0 && chunkBytes <= MAX_CHUNK_BYTES, 'a chunk has 1 byte to 4 MiB');
    const slot = await this.#slots.take(signal);
    // Neighbouring slots belong to different threads, so that few jobs spread over all of them.
    const thread = this.#threads[slot % this.#threads.length]!;
    const job = Math.floor(slot / this.#threads.length);
    try {
      const taken = await thread.take(job, source, onRead);
      const giveBack = (): void => this.#slots.give(slot);
      return new WorkerJob(thread, job, taken, chunkBytes, giveBack, isShared(source) ? onRead : undefined);
    } catch (error) {
      this.#slots.give(slot);
      throw error;
    }
  }

  compress(chunks: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    return this.#idlest().compressAll(chunks);
  }

  complete(space: ChunkSpace, layout: SpaceLayout, plain?: ChunkSpace): Promise<string | undefined> {
    return this.#idlest().complete(space, layout, plain);
  }

  async writeFrom(
    space: ChunkSpace,
    layout: SpaceLayout,
    reservations: readonly Reservation[],
  ): Promise<(Error | undefined)[]> {
    const thread = this.#idlest();
    return writeAll(reservations, (target) => thread.writeFrom(space, layout, target));
  }

  forget({ id }: ChunkSpace): void {
    for (const thread of this.#threads) thread.forget(id);
  }

  #idlest(): Thread {
    return this.#threads.reduce((best, thread) => (thread.requests < best.requests ? thread : best));
  }

  async close(): Promise<void> {
    this.#slots.close();
    await Promise.all(this.#threads.map((thread) => thread.close()));
  }
}

class WorkerJob implements ChunkJob {
  readonly chunk: string;
  readonly #thread: Thread;
  readonly #job: number;
  readonly #worker: Worker;
  readonly #giveBack: () => void;
  /** The thread reads from the source's own memory: called when it does not any more. */
  readonly #onRead: (() => void) | undefined;
  #writes = 0;
  #ended = false;

  constructor(
    thread: Thread,
    job: number,
    taken: Taken,
    readonly chunkBytes: number,
    giveBack: () => void,
    onRead: (() => void) | undefined,
  ) {
    this.#onRead = onRead;
    this.#thread = thread;
    this.#job = job;
    this.#worker = taken.worker;
    this.chunk = taken.chunk;
    this.#giveBack = giveBack;
  }

  async compress(): Promise<number | undefined> {
    assert(!this.#ended, 'the job has not ended');
    return this.#thread.compress(this.#worker, this.#job);
  }

  async write(scheme: ShardScheme, reservations: readonly Reservation[]): Promise<(Error | undefined)[]> {
    assert(!this.#ended, 'the job has not ended');
    this.#thread.check(this.#worker);
    return writeAll(reservations, async (target) => {
      this.#writes += 1;
      try {
        return await this.#thread.write(this.#worker, this.#job, scheme, target);
      } finally {
        this.#writes -= 1;
        this.#released();
      }
    });
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#giveBack();
    this.#released();
  }

  /** A write to a disk that hangs may last longer than its job. */
  #released(): void {
    if (this.#ended && this.#writes === 0) this.#onRead?.();
  }
}

function isShared(source: ChunkSource): boolean {
  return source.kind === 'bytes' && source.bytes.buffer instanceof SharedArrayBuffer;
}

/** `ask` has one record written, or handed over where the disk has no descriptor. */
function writeAll(
  reservations: readonly Reservation[],
  ask: (target: WriteTarget) => Promise<Uint8Array | undefined>,
): Promise<(Error | undefined)[]> {
  const write = async (reservation: Reservation): Promise<void> => {
    const { info, generation, logSequence, owner, position, lend } = reservation;
    const target = { info, generation, logSequence, owner, position };
    if (lend !== undefined) return lend(async (fd) => void (await ask({ ...target, fd })));
    const record = await ask({ ...target, fd: undefined });
    assert(record, 'without a descriptor the record comes back');
    await reservation.write([record]);
  };
  return Promise.all(
    reservations.map((reservation) =>
      write(reservation).then(
        () => undefined,
        (error: Error) => error,
      ),
    ),
  );
}

interface Taken {
  readonly chunk: string;
  /** The one that holds the chunk's bytes. */
  readonly worker: Worker;
}

class Thread {
  readonly #program: URL;
  readonly #waiters = new Map<number, Waiter>();
  /** By their number. */
  readonly #requests = new Map<number, { resolve(result: Result): void; reject(error: Error): void }>();
  #nextRequest = 0;
  /** Numbers of the spaces that the present worker knows. */
  readonly #spaces = new Set<number>();
  #worker: Worker | undefined;
  #closed = false;

  constructor(program: URL) {
    this.#program = program;
  }

  async take(job: number, source: ChunkSource, onRead: () => void): Promise<Taken> {
    const worker = this.#running();
    let answer: Promise<FromWorker>;
    if (source.kind === 'file') {
      const { fd, position, length } = source;
      answer = this.#ask(worker, { kind: 'file', job, fd, position, length }, onRead);
    } else if (isShared(source)) {
      answer = this.#ask(worker, { kind: 'bytes', job, bytes: source.bytes }, undefined);
    } else {
      // One copy, which the thread then owns: the caller's buffer stays the caller's.
      const bytes = new Uint8Array(source.bytes);
      answer = this.#ask(worker, { kind: 'bytes', job, bytes }, undefined, [bytes.buffer]);
      onRead();
    }
    const message = await answer;
    assert(message.kind === 'hashed', 'a source is answered with its hash');
    return { chunk: message.chunk, worker };
  }

  /** Throws if the thread that holds the job's chunk is no more. */
  check(worker: Worker): void {
    if (worker !== this.#worker) throw this.#closed ? closed() : new CairnError('IO', ENDED);
  }

  /** The record, if it was not written. */
  async write(worker: Worker, job: number, scheme: ShardScheme, target: WriteTarget): Promise<Uint8Array | undefined> {
    this.check(worker);
    return recordOf(await this.#request(worker, (request) => ({ kind: 'write', job, request, scheme, target })));
  }

  get requests(): number {
    return this.#requests.size;
  }

  async compress(worker: Worker, job: number): Promise<number | undefined> {
    this.check(worker);
    const result = await this.#request(worker, (request) => ({ kind: 'compress', job, request }));
    assert(result.kind === 'compressed', 'a chunk is answered with the length that it was compressed to');
    return result.storedBytes;
  }

  async compressAll(chunks: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    // Copies: with a view all of the memory that it is a view of would travel.
    const copies = chunks.map((chunk) => new Uint8Array(chunk));
    const result = await this.#request(this.#running(), (request) => ({
      kind: 'compressAll',
      request,
      chunks: copies,
    }));
    assert(result.kind === 'compressedAll', 'chunks are answered with what they were compressed to');
    return result.payloads;
  }

  async complete(space: ChunkSpace, layout: SpaceLayout, plain?: ChunkSpace): Promise<string | undefined> {
    const worker = this.#running();
    this.#tell(worker, space);
    if (plain !== undefined) this.#tell(worker, plain);
    const result = await this.#request(worker, (request) => ({
      kind: 'complete',
      request,
      space: space.id,
      layout,
      plain: plain?.id,
    }));
    assert(result.kind === 'completed', 'a space is answered with the name of the chunk in it');
    return result.chunk;
  }

  /** The record, if it was not written. */
  async writeFrom(space: ChunkSpace, layout: SpaceLayout, target: WriteTarget): Promise<Uint8Array | undefined> {
    const worker = this.#running();
    this.#tell(worker, space);
    return recordOf(
      await this.#request(worker, (request) => ({ kind: 'writeFrom', request, space: space.id, layout, target })),
    );
  }

  forget(space: number): void {
    if (this.#spaces.delete(space)) this.#worker?.postMessage({ kind: 'forget', space } satisfies ToWorker);
  }

  #tell(worker: Worker, { id, bytes }: ChunkSpace): void {
    if (this.#spaces.has(id)) return;
    this.#spaces.add(id);
    worker.postMessage({ kind: 'space', space: id, bytes } satisfies ToWorker);
  }

  async #request(worker: Worker, message: (request: number) => ToWorker): Promise<Result> {
    const result = await new Promise<Result>((resolve, reject) => {
      const request = this.#nextRequest++;
      this.#keepAlive(worker);
      this.#requests.set(request, { resolve, reject });
      worker.postMessage(message(request));
    });
    if (result.kind === 'error') throw revived(result.error);
    return result;
  }

  async close(): Promise<void> {
    this.#closed = true;
    const worker = this.#worker;
    this.#worker = undefined;
    // A thread ends when its writes have: those on a disk that hangs are not waited for.
    const hasRequests = this.#requests.size > 0;
    this.#failAll(closed());
    const ended = worker?.terminate();
    if (!hasRequests) await ended;
  }

  #ask(
    worker: Worker,
    message: SlotMessage,
    onRead: (() => void) | undefined,
    transfer: ArrayBuffer[] = [],
  ): Promise<FromWorker> {
    assert(!this.#waiters.has(message.job), 'a job does one thing at a time');
    return new Promise((resolve, reject) => {
      this.#keepAlive(worker);
      this.#waiters.set(message.job, { onRead, resolve, reject });
      worker.postMessage(message, transfer);
    });
  }

  /** Whoever awaits an answer keeps the process alive; a thread that idles does not. Called before it is noted that somebody waits. */
  #keepAlive(worker: Worker): void {
    if (this.#waiters.size === 0 && this.#requests.size === 0) worker.ref();
  }

  #letGo(): void {
    if (this.#waiters.size === 0 && this.#requests.size === 0) this.#worker?.unref();
  }

  #running(): Worker {
    if (this.#closed) throw closed();
    return this.#worker ?? this.#start();
  }

  #start(): Worker {
    const workerData: WorkerOptions = { slots: SLOTS_PER_WORKER };
    this.#spaces.clear();
    const worker = new Worker(this.#program, { workerData, name: 'cairn-shards', execArgv: [] });
    worker.unref();
    this.#worker = worker;
    let cause: unknown;
    worker.on('message', (message: FromWorker) => this.#receive(message));
    worker.on('error', (error) => {
      cause = error;
    });
    worker.on('exit', (code) => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      const reason = cause instanceof Error ? cause.message : `exit code ${code}`;
      this.#failAll(new CairnError('IO', `${ENDED}: ${reason}`, { cause }));
    });
    return worker;
  }

  #receive(message: FromWorker): void {
    if (message.kind === 'done') {
      const asked = this.#requests.get(message.request);
      this.#requests.delete(message.request);
      this.#letGo();
      asked?.resolve(message.result);
      return;
    }
    const waiter = this.#waiters.get(message.job);
    if (!waiter) return;
    if (message.kind === 'read') {
      waiter.onRead?.();
      return;
    }
    this.#waiters.delete(message.job);
    this.#letGo();
    if (message.kind === 'failed') waiter.reject(revived(message.error));
    else waiter.resolve(message);
  }

  #failAll(error: CairnError): void {
    const waiters = [...this.#waiters.values(), ...this.#requests.values()];
    this.#waiters.clear();
    this.#requests.clear();
    for (const waiter of waiters) waiter.reject(error);
  }
}

function recordOf(result: Result): Uint8Array | undefined {
  return result.kind === 'record' ? result.record : undefined;
}

function closed(): CairnError {
  return new CairnError('CLOSED', 'the chunk store is closed');
}

/** Codes that chunk-work.ts throws; everything else is the system's or a bug. */
const KNOWN: readonly ErrorCode[] = ['IO', 'CONFIG', 'INVALID'];

function revived(error: PostedError): CairnError {
  const code = KNOWN.find((known) => known === error.code) ?? (error.code === 'ENOSPC' ? 'NO_SPACE' : 'IO');
  const cause = Object.assign(new Error(error.message), { code: error.code });
  return new CairnError(code, error.message, { cause });
}
