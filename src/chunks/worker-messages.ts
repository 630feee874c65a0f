/** What the main thread and a shard worker say to each other. `job` is a slot of that worker. */
import type { ShardScheme } from '../disks/record.js';
import type { RecordStub } from './chunk-work.js';

export interface WorkerOptions {
  readonly slots: number;
}

export interface WriteTarget extends RecordStub {
  /** undefined: hand the record back instead of writing it. */
  readonly fd: number | undefined;
  readonly position: number;
}

export type ToWorker =
  | {
      readonly kind: 'file';
      readonly job: number;
      readonly fd: number;
      readonly position: number;
      readonly length: number;
    }
  /** The buffer is transferred, or shared. */
  | { readonly kind: 'bytes'; readonly job: number; readonly bytes: Uint8Array }
  | {
      readonly kind: 'write';
      readonly job: number;
      /** The number of this write, by which it is answered: that may be after the job has ended. */
      readonly write: number;
      readonly scheme: ShardScheme;
      readonly target: WriteTarget;
    };

/** Errors lose their class on the way between threads. */
export interface PostedError {
  readonly code: string | undefined;
  readonly message: string;
}

export type WriteResult = { readonly error: PostedError } | { readonly record: Uint8Array } | 'written';

export type FromWorker =
  /** The source's bytes have been read. */
  | { readonly kind: 'read'; readonly job: number }
  | { readonly kind: 'hashed'; readonly job: number; readonly chunk: string }
  | { readonly kind: 'written'; readonly write: number; readonly result: WriteResult }
  | { readonly kind: 'failed'; readonly job: number; readonly error: PostedError };
