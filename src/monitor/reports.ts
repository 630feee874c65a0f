/** What the monitor tells of a running pool, beside the reports of src/vfs/reports.ts. Sizes are bytes, moments milliseconds since the Unix epoch. */
import type { PoolStatus } from '../vfs/reports.js';

/** What is worth a line on the page, and perhaps a message to its owner. */
export const EVENT_KINDS = [
  'started',
  'degraded',
  'failed',
  'healed',
  'disk-gone',
  'disk-back',
  'disk-joined',
  'disk-left',
  'disk-failing',
  'finding',
  'nearly-full',
  'room-again',
  'job-started',
  'job-ended',
  'scrub-found',
  'notify-failed',
] as const;

export type EventKind = (typeof EVENT_KINDS)[number];

export interface PoolEvent {
  /** Grows; unique in a run of the daemon. */
  readonly id: number;
  readonly atMs: number;
  readonly kind: EventKind;
  /** `good`: better than before; `note`: nothing to do; `warning`: less safe than promised; `alarm`: something cannot be read, or soon will not be. */
  readonly severity: 'good' | 'note' | 'warning' | 'alarm';
  /** What happened and what it means for the data, in plain words. */
  readonly message: string;
  /** What to do, as a sentence; '' if nothing need be done. */
  readonly advice: string;
}

/** Rates and means over some time. Latencies are of requests that the daemon served; null where there were none. */
export interface Flow {
  readonly atMs: number;
  readonly readBytesPerSecond: number;
  readonly writeBytesPerSecond: number;
  readonly commitBytesPerSecond: number;
  readonly readMs: number | null;
  readonly writeMs: number | null;
  readonly syncMs: number | null;
}

/** Over one step of a history. */
export interface HistoryPoint extends Flow {
  readonly stagedBytes: number;
  readonly usedBytes: number;
}

export type HistorySpan = 'hour' | 'day' | 'month';

export interface History {
  readonly format: 1;
  readonly span: HistorySpan;
  readonly stepMs: number;
  /** Oldest first; a step during which no daemon ran is left out. */
  readonly points: readonly HistoryPoint[];
}

/** The flow of bytes just now: rates of the time since the last pulse. */
export interface Pulse extends Flow {
  /** Written and not yet on its way to the disks. */
  readonly stagedBytes: number;
  /** On its way to the disks. */
  readonly committingBytes: number;
}

/** What a device says of itself; null where it does not say, or where smartctl is not there or may not ask. */
export interface DiskSensor {
  readonly uuid: string;
  readonly device: string | null;
  readonly model: string | null;
  readonly serial: string | null;
  readonly temperatureCelsius: number | null;
  /** SMART's own verdict. */
  readonly smart: 'passed' | 'failing' | null;
  readonly poweredOnHours: number | null;
  readonly reallocatedSectors: number | null;
  readonly pendingSectors: number | null;
  /** Why SMART is not known, as a sentence; '' if it is. */
  readonly why: string;
  readonly askedMs: number;
}

/** What a watcher is sent: first a status and the recent events, then whatever changes. */
export type LiveMessage =
  | { readonly kind: 'status'; readonly status: PoolStatus }
  | { readonly kind: 'pulse'; readonly pulse: Pulse }
  | { readonly kind: 'event'; readonly event: PoolEvent }
  | { readonly kind: 'sensors'; readonly sensors: readonly DiskSensor[] };

/** Who may use the S3 face; never the secret. */
export interface S3Key {
  readonly name: string;
  readonly accessKey: string;
  /** What it may do in buckets that are not its own. */
  readonly buckets: { readonly [bucket: string]: 'none' | 'read' | 'write' };
}

/** One version of an object, newest first in lists. */
export interface FileVersion {
  readonly id: string;
  readonly isCurrent: boolean;
  readonly isDeleteMarker: boolean;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
}

/** What the faces for people may ask of the monitor. */
export interface MonitorView {
  history(span: HistorySpan): History;
  /** Newest first. */
  events(): readonly PoolEvent[];
  sensors(): readonly DiskSensor[];
  /** Calls `listener` at once with the status, the sensors and the events, and then with what changes, until the returned function is called. */
  watch(listener: (message: LiveMessage) => void): () => void;
  /** Tries every way of notification once; null: it went. */
  testNotifications(): Promise<readonly { readonly way: string; readonly error: string | null }[]>;
}
