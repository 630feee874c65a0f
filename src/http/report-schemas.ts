/**
 * What the API answers, as schemas: the OpenAPI document is generated from them, and tests hold the server's answers against them. Each is tied to its
 * interface by its type, so that a field cannot be forgotten here. Objects are strict: an answer with a field that is not described fails the tests.
 */
import * as v from 'valibot';
import {
  type DiskSensor,
  EVENT_KINDS,
  type FileVersion,
  type History,
  type HistoryPoint,
  type LiveMessage,
  type PoolEvent,
  type Pulse,
  type S3Key,
} from '../monitor/reports.js';
import type {
  CheckFinding,
  CheckProgress,
  CheckReport,
  CommitProgress,
  CommitReport,
  DiskChangePlan,
  DiskLoss,
  DiskReport,
  FileEntry,
  FileListing,
  FileState,
  JobReport,
  Json,
  LossForecast,
  PlannedDisk,
  PolicyReport,
  PoolActivity,
  PoolPlan,
  PoolStatus,
  RequestFigures,
} from '../vfs/reports.js';
import type { WireError } from './wire.js';

/** A schema that gives a T. */
export type Schema<T> = v.GenericSchema<unknown, T>;

const text = v.string();
const number = v.number();
const bytes = v.pipe(v.number(), v.minValue(0));
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const flag = v.boolean();
const texts = v.array(text);
const format = v.literal(1);
const anyJson = v.custom<Json>((value) => value !== undefined);

const diskRole = v.picklist(['data', 'journal', 'cache']);
const diskState = v.picklist(['online', 'suspect', 'offline', 'missing', 'foreign']);
const health = v.picklist(['healthy', 'degraded', 'lost']);
const fileKind = v.picklist(['file', 'directory', 'symlink', 'other']);
const fileState = v.picklist(['staged', 'committing', 'committed']);

export const WireErrorSchema: Schema<{ error: WireError }> = v.strictObject({
  error: v.strictObject({ code: text, message: text, hint: v.exactOptional(text) }),
});

export const JobReportSchema: Schema<JobReport> = v.strictObject({
  name: text,
  state: v.picklist(['idle', 'running', 'waiting', 'paused', 'done', 'cancelled', 'failed']),
  line: text,
  doneBytes: bytes,
  totalBytes: bytes,
  bytesPerSecond: bytes,
  leftMs: v.nullable(number),
  fullSpeed: flag,
  startedMs: v.nullable(number),
  endedMs: v.nullable(number),
  report: anyJson,
});

export const DiskReportSchema: Schema<DiskReport> = v.strictObject({
  number: count,
  uuid: text,
  role: diskRole,
  directory: text,
  state: diskState,
  reason: text,
  capacityBytes: bytes,
  liveBytes: bytes,
  freeBytes: bytes,
});

export const DiskLossSchema: Schema<DiskLoss> = v.strictObject({
  role: diskRole,
  number: count,
  uuid: text,
  directory: text,
  state: diskState,
  chunks: count,
  bytes,
  files: v.array(v.strictObject({ path: text, bytes })),
  moreFiles: count,
});

export const LossForecastSchema: Schema<LossForecast> = v.strictObject({
  format,
  counted: number,
  unreadable: v.strictObject({ chunks: count, bytes }),
  disks: v.array(DiskLossSchema),
});

export const PoolStatusSchema: Schema<PoolStatus> = v.strictObject({
  format,
  pool: text,
  directory: text,
  mountpoint: v.nullable(text),
  readOnly: flag,
  passthrough: flag,
  writeback: flag,
  mode: v.picklist(['default', 'strong']),
  whenDegraded: v.picklist(['allow', 'refuse']),
  pid: count,
  health: v.picklist(['healthy', 'degraded', 'failed']),
  findings: texts,
  protection: text,
  disks: v.array(DiskReportSchema),
  groups: v.array(v.strictObject({ scheme: text, count, degraded: count })),
  usableBytes: bytes,
  usedBytes: bytes,
  freeBytes: bytes,
  files: count,
  dirtyBytes: bytes,
  dirtyFiles: count,
  cacheBytes: bytes,
  cacheCapacityBytes: bytes,
  degradedWrites: v.strictObject({ commits: count, chunks: count, bytes }),
  forecast: LossForecastSchema,
  commitSequence: count,
  epoch: count,
  mapVersion: count,
  jobs: v.array(JobReportSchema),
});

export const FileStateSchema: Schema<FileState> = v.strictObject({
  path: text,
  kind: fileKind,
  sizeBytes: bytes,
  stagedBytes: bytes,
  committedBytes: bytes,
  chunks: count,
  schemes: texts,
  compressed: v.strictObject({ chunks: count, bytes, storedBytes: bytes }),
  state: fileState,
  health,
});

const policyValue = <T>(value: Schema<T>) => v.strictObject({ value, from: v.nullable(text) });

export const PolicyReportSchema: Schema<PolicyReport> = v.strictObject({
  path: text,
  isDirectory: flag,
  mode: policyValue(v.picklist(['default', 'strong'])),
  scheme: policyValue(text),
  compression: policyValue(v.picklist(['off', 'zstd'])),
  commitDelayMs: policyValue(number),
});

export const FileEntrySchema: Schema<FileEntry> = v.strictObject({
  name: text,
  kind: fileKind,
  sizeBytes: bytes,
  modifiedMs: number,
  state: fileState,
  health: v.nullable(health),
});

export const FileListingSchema: Schema<FileListing> = v.strictObject({
  path: text,
  entries: v.array(FileEntrySchema),
  next: v.nullable(text),
});

const requestFigures: Schema<RequestFigures> = v.strictObject({
  count,
  bytes,
  totalMs: number,
  withinCounts: v.array(count),
});

export const PoolActivitySchema: Schema<PoolActivity> = v.strictObject({
  boundsMs: v.array(number),
  read: requestFigures,
  write: requestFigures,
  sync: requestFigures,
  committedBytes: bytes,
  stagedBytes: bytes,
  committingBytes: bytes,
});

export const PlannedDiskSchema: Schema<PlannedDisk> = v.strictObject({
  disk: count,
  sizeBytes: bytes,
  usedBytes: bytes,
  unusedBytes: bytes,
  reasons: texts,
  loss: v.strictObject({ share: number, rebuildBytes: bytes, readBytes: bytes, lostBytes: bytes }),
});

export const PoolPlanSchema: Schema<PoolPlan> = v.strictObject({
  format,
  bucketBytes: bytes,
  disks: v.array(PlannedDiskSchema),
  rawBytes: bytes,
  usableBytes: bytes,
  boundBytes: bytes,
  overhead: number,
  survives: count,
  protection: text,
  groups: v.array(v.strictObject({ scheme: text, count, usableBytes: bytes })),
  findings: texts,
  others: v.nullable(v.strictObject({ raidzBytes: bytes, btrfsBytes: bytes, shrBytes: bytes })),
  growth: v.exactOptional(v.strictObject({ usableBytesBefore: bytes, movedBuckets: count, movedBytes: bytes })),
});

const progressEntries = { filesDone: count, filesTotal: count, bytesDone: bytes, bytesTotal: bytes };
export const CommitProgressSchema: Schema<CommitProgress> = v.strictObject(progressEntries);
export const CommitReportSchema: Schema<CommitReport> = v.strictObject({
  ...progressEntries,
  sequence: count,
  elapsedMs: number,
  healthy: flag,
});

export const CheckFindingSchema: Schema<CheckFinding> = v.strictObject({
  severity: v.picklist(['note', 'damage', 'loss']),
  code: text,
  message: text,
  advice: text,
  files: texts,
  moreFiles: count,
});

export const CheckProgressSchema: Schema<CheckProgress> = v.strictObject({
  step: text,
  done: bytes,
  total: bytes,
  unit: v.picklist(['bytes', 'items']),
});

export const CheckReportSchema: Schema<CheckReport> = v.strictObject({
  format,
  clean: flag,
  findings: v.array(CheckFindingSchema),
  repaired: v.array(CheckFindingSchema),
  checked: v.strictObject({
    disks: count,
    records: count,
    logBytes: bytes,
    commits: count,
    inodes: count,
    names: count,
    extents: count,
    chunks: count,
    contentBytes: bytes,
  }),
  elapsedMs: number,
});

export const DiskChangePlanSchema: Schema<DiskChangePlan> = v.strictObject({
  format,
  action: v.picklist(['add', 'replace', 'remove']),
  joins: v.array(v.strictObject({ number: count, directory: text, capacityBytes: bytes })),
  leaves: v.array(v.strictObject({ number: count, directory: text, isThere: flag })),
  usableBytesBefore: bytes,
  usableBytes: bytes,
  usedBytes: bytes,
  protectionBefore: text,
  protection: text,
  moveBytes: bytes,
  readBytes: bytes,
  leastMs: number,
  groups: v.strictObject({ kept: count, takenApart: count, made: count }),
  needsConsent: flag,
  refusals: v.array(v.strictObject({ reason: text, remedy: text })),
  notes: texts,
});

export const PoolEventSchema: Schema<PoolEvent> = v.strictObject({
  id: count,
  atMs: number,
  kind: v.picklist(EVENT_KINDS),
  severity: v.picklist(['good', 'note', 'warning', 'alarm']),
  message: text,
  advice: text,
});

const flowEntries = {
  atMs: number,
  readBytesPerSecond: bytes,
  writeBytesPerSecond: bytes,
  commitBytesPerSecond: bytes,
  readMs: v.nullable(number),
  writeMs: v.nullable(number),
  syncMs: v.nullable(number),
};

export const HistoryPointSchema: Schema<HistoryPoint> = v.strictObject({
  ...flowEntries,
  stagedBytes: bytes,
  usedBytes: bytes,
});

export const HistorySchema: Schema<History> = v.strictObject({
  format,
  span: v.picklist(['hour', 'day', 'month']),
  stepMs: number,
  points: v.array(HistoryPointSchema),
});

export const PulseSchema: Schema<Pulse> = v.strictObject({
  ...flowEntries,
  stagedBytes: bytes,
  committingBytes: bytes,
});

export const DiskSensorSchema: Schema<DiskSensor> = v.strictObject({
  uuid: text,
  device: v.nullable(text),
  model: v.nullable(text),
  serial: v.nullable(text),
  temperatureCelsius: v.nullable(number),
  smart: v.nullable(v.picklist(['passed', 'failing'])),
  poweredOnHours: v.nullable(number),
  reallocatedSectors: v.nullable(number),
  pendingSectors: v.nullable(number),
  why: text,
  askedMs: number,
});

export const LiveMessageSchema: Schema<LiveMessage> = v.variant('kind', [
  v.strictObject({ kind: v.literal('status'), status: PoolStatusSchema }),
  v.strictObject({ kind: v.literal('pulse'), pulse: PulseSchema }),
  v.strictObject({ kind: v.literal('event'), event: PoolEventSchema }),
  v.strictObject({ kind: v.literal('sensors'), sensors: v.array(DiskSensorSchema) }),
]);

export const S3KeySchema: Schema<S3Key> = v.strictObject({
  name: text,
  accessKey: text,
  buckets: v.record(text, v.picklist(['none', 'read', 'write'])),
});

export const FileVersionSchema: Schema<FileVersion> = v.strictObject({
  id: text,
  isCurrent: flag,
  isDeleteMarker: flag,
  sizeBytes: bytes,
  modifiedMs: number,
});
