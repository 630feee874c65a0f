/** What the main thread and a shard worker say to each other. `job` is a slot of that worker. */
import type { ShardScheme } from '../disks/record.js';
import type { SpaceLayout } from './chunk-space.js';
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
      /** By which it is answered: that may be after the job has ended. */
      readonly request: number;
      readonly scheme: ShardScheme;
      readonly target: WriteTarget;
    }
  | { readonly kind: 'compress'; readonly job: number; readonly request: number }
  | { readonly kind: 'compressAll'; readonly request: number; readonly chunks: readonly Uint8Array[] }
  /** Memory that later messages name by its number. */
  | { readonly kind: 'space'; readonly space: number; readonly bytes: Uint8Array }
  | { readonly kind: 'forget'; readonly space: number }
  | {
      readonly kind: 'complete';
      readonly request: number;
      readonly space: number;
      readonly layout: SpaceLayout;
      /** Where a compressed chunk is unpacked to. */
      readonly plain: number | undefined;
    }
  | {
      readonly kind: 'writeFrom';
      readonly space: number;
      readonly layout: SpaceLayout;
      readonly request: number;
      readonly target: WriteTarget;
    };

/** What concerns a slot. */
export type SlotMessage = Extract<ToWorker, { readonly job: number }>;

/** Errors lose their class on the way between threads. */
export interface PostedError {
  readonly code: string | undefined;
  readonly message: string;
}

/** What has become of a request. */
export type Result =
  | { readonly kind: 'error'; readonly error: PostedError }
  /** `chunk`: its name; undefined if it cannot be unpacked. */
  | { readonly kind: 'completed'; readonly chunk: string | undefined }
  /** undefined: it does not pay. */
  | { readonly kind: 'compressed'; readonly storedBytes: number | undefined }
  | { readonly kind: 'compressedAll'; readonly payloads: readonly (Uint8Array | undefined)[] }
  | { readonly kind: 'record'; readonly record: Uint8Array }
  | { readonly kind: 'written' };

export type FromWorker =
  /** The source's bytes have been read. */
  | { readonly kind: 'read'; readonly job: number }
  | { readonly kind: 'hashed'; readonly job: number; readonly chunk: string }
  | { readonly kind: 'done'; readonly request: number; readonly result: Result }
  | { readonly kind: 'failed'; readonly job: number; readonly error: PostedError };
