/**
 * What of a log is durable. Follows writes from their begin to the sync that covers them, and runs the syncs.
 *
 * Invariants:
 * - Nothing counts as durable before every write below it has ended and is durable too (write-order.ts).
 * - Only one sync runs at a time: of two on one file, the kernel reports an error to only one.
 * - After a failed write or sync everything is refused: Linux drops dirty pages after a failed sync, so a later "success" would be a lie.
 */
import { CairnError, messageOf } from '../errors/cairn-error.js';
import type { IoFile } from '../io/file-io.js';
import type { LogContext, LogPoint } from './log-context.js';
import { type OrderedWrite, WriteOrder } from './write-order.js';

interface Written {
  readonly segment: number;
  readonly file: IoFile;
}

export class Durability {
  readonly #what: string;
  readonly #context: Pick<LogContext, 'onFailure' | 'onSynced'>;
  readonly #end: () => LogPoint;
  readonly #order = new WriteOrder();
  /** Segments with writes that no sync covers yet, and the newest such write. */
  readonly #dirty = new Map<number, { file: IoFile; ticket: number }>();
  #running: Promise<void> | undefined;
  #queued: Promise<void> | undefined;
  #syncedThrough: LogPoint;
  #failure: CairnError | undefined;

  /** `what` names the log in messages; `end` is where the next record goes. All that is in the log now is durable. */
  constructor(what: string, context: Pick<LogContext, 'onFailure' | 'onSynced'>, end: () => LogPoint) {
    this.#what = what;
    this.#context = context;
    this.#end = end;
    this.#syncedThrough = end();
  }

  get unsynced(): boolean {
    return this.#dirty.size > 0;
  }

  get syncedThrough(): LogPoint {
    return this.#syncedThrough;
  }

  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  /** Throws DISK_FAILED if a write or sync has failed. */
  check(): void {
    if (this.#failure !== undefined) throw this.refusal();
  }

  refusal(): CairnError {
    return new CairnError('DISK_FAILED', this.#failure?.message ?? this.#what, { cause: this.#failure?.cause });
  }

  /** A write or sync failed: returns the error for whoever asked for it. */
  fail(cause: unknown): CairnError {
    if (this.#failure === undefined) {
      const why = messageOf(cause);
      this.#failure = new CairnError('DISK_FAILED', `${this.#what} takes no more writes: ${why}`, { cause });
      this.#context.onFailure(this.#failure);
    }
    return this.refusal();
  }

  /** Writes must begin in the order of their positions. */
  begin({ segment, file }: Written): OrderedWrite {
    const write = this.#order.begin();
    this.#dirty.set(segment, { file, ticket: write.ticket });
    return write;
  }

  finish(write: OrderedWrite): void {
    this.#order.finish(write);
  }

  failed(write: OrderedWrite, cause: unknown): never {
    const failure = this.fail(cause);
    this.#order.finish(write);
    throw failure;
  }

  /** Resolves when all writes begun so far have ended, well or not. */
  ended(): Promise<void> {
    return this.#order.ended(this.#order.issued);
  }

  /** True if one sync of this segment's file, after a write that begins now, makes the whole log durable: nothing else is on its way. */
  canSyncAlone({ segment }: Written): boolean {
    const elsewhere = this.#dirty.size - (this.#dirty.has(segment) ? 1 : 0);
    return elsewhere === 0 && this.#order.idle && this.#running === undefined && this.#queued === undefined;
  }

  /** Keeps other syncs waiting until this one has ended. */
  alone<T>(sync: Promise<T>): Promise<T> {
    const ended = (): void => {
      this.#running = undefined;
    };
    this.#running = sync.then(ended, ended);
    return sync;
  }

  /** Everything up to the write `ticket`, which ends at `end`, is durable. */
  synced(ticket: number, end: LogPoint): void {
    for (const [segment, dirty] of this.#dirty) if (dirty.ticket <= ticket) this.#dirty.delete(segment);
    const { segment, position } = this.#syncedThrough;
    if (end.segment < segment || (end.segment === segment && end.position <= position)) return;
    this.#syncedThrough = end;
    this.#context.onSynced();
  }

  /** Makes all writes begun so far durable. Concurrent callers share a sync that has not started yet. */
  sync(): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.refusal());
    if (!this.unsynced) return Promise.resolve();
    if (this.#queued !== undefined) return this.#queued;
    if (this.#running === undefined) return this.alone(this.#syncNow());
    this.#queued = this.#syncNext();
    return this.#queued;
  }

  async #syncNext(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
    this.#queued = undefined;
    await this.sync();
  }

  async #syncNow(): Promise<void> {
    const ticket = this.#order.issued;
    const end = this.#end();
    await this.#order.ended(ticket);
    this.check();
    try {
      await Promise.all([...this.#dirty.values()].map(({ file }) => file.datasync()));
    } catch (error) {
      throw this.fail(error);
    }
    this.synced(ticket, end);
  }
}
