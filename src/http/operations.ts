/**
 * The API of a running pool, as one table: every request that the command line, the status page and the client of this package make. The servers answer by
 * it (api-router.ts), the client is typed by it (control-client.ts), and docs/openapi.json is generated from it (open-api.ts).
 */
import * as v from 'valibot';
import {
  CheckProgressSchema,
  CheckReportSchema,
  CommitProgressSchema,
  CommitReportSchema,
  DiskChangePlanSchema,
  DiskSensorSchema,
  FileListingSchema,
  FileStateSchema,
  FileVersionSchema,
  HistorySchema,
  JobReportSchema,
  LiveMessageSchema,
  LossForecastSchema,
  PolicyReportSchema,
  PoolActivitySchema,
  PoolEventSchema,
  PoolPlanSchema,
  PoolStatusSchema,
  S3KeySchema,
  type Schema,
} from './report-schemas.js';

const MAX_PATH_BYTES = 4096;
const MAX_PATHS = 10_000;
/** Named in one forecast. */
const MAX_FILES = 100_000;
const MAX_DISKS = 64;
const MAX_ENTRIES = 1000;
const MAX_POLICY_LENGTH = 80;

/** What answers a request: one JSON value; events of progress and a report, one a line (NDJSON); or messages without end (server-sent events). */
type Answer =
  | { readonly kind: 'json'; readonly schema: Schema<unknown> }
  | {
      readonly kind: 'progress';
      readonly progress: Schema<unknown>;
      readonly report: Schema<unknown>;
      /** What is answered at once (202) where nobody wants to wait. */
      readonly accepted?: Schema<unknown>;
    }
  | { readonly kind: 'messages'; readonly message: Schema<unknown> }
  | { readonly kind: 'text'; readonly type: string; readonly schema: Schema<string> };

export interface Operation {
  readonly method: 'GET' | 'POST';
  /** `{name}` stands for one part of the path. */
  readonly path: string;
  readonly summary: string;
  /** What is wrong is said of it by this name. */
  readonly input: string;
  readonly params?: v.GenericSchema;
  readonly query?: v.GenericSchema;
  readonly body?: v.GenericSchema;
  readonly answer: Answer;
  /** Only over the control socket: it would end what answers. */
  readonly isLocal?: true;
}

const poolPath = v.pipe(
  v.string('a path is text'),
  v.check(
    (path) => path.startsWith('/') && !path.includes('\0') && !path.split('/').includes('..'),
    'a path inside the pool starts with / and has no .. and no NUL in it',
  ),
  v.check((path) => Buffer.byteLength(path) <= MAX_PATH_BYTES, `a path has at most ${MAX_PATH_BYTES} bytes`),
);

/** A query says in its own words what it lacks: valibot has one message for a missing key and an unknown one. */
const queryOf = <E extends v.ObjectEntries>(entries: E) =>
  v.strictObject(entries, ({ expected, input }) =>
    expected === 'never'
      ? `the query has no ${String(input).slice(0, 40)}`
      : `the query must have a ${String(expected).replaceAll('"', '')}`,
  );

/** A whole number in a query. */
const wholeText = (name: string, from: number, to: number, otherwise: number) => {
  const wrong = `${name} is a whole number from ${from} to ${to}`;
  return v.optional(
    v.pipe(
      v.string(wrong),
      v.metadata({ jsonSchema: { type: 'integer', minimum: from, maximum: to, default: otherwise } }),
      v.regex(/^\d{1,15}$/, wrong),
      v.transform(Number),
      v.minValue(from, wrong),
      v.maxValue(to, wrong),
    ),
    String(otherwise),
  );
};

const absolute = v.pipe(
  v.string(),
  v.maxLength(MAX_PATH_BYTES),
  v.check((path) => path.startsWith('/') && !path.includes('\0'), 'a directory must be absolute'),
);
const named = v.pipe(v.string(), v.minLength(1), v.maxLength(MAX_PATH_BYTES));
const sizeBytes = v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1)));

const DiskChange = v.variant('action', [
  v.strictObject({
    action: v.literal('add'),
    directories: v.pipe(v.array(absolute), v.minLength(1), v.maxLength(MAX_DISKS)),
    sizeBytes,
  }),
  v.strictObject({ action: v.literal('replace'), disk: named, directory: absolute, sizeBytes }),
  v.strictObject({ action: v.literal('remove'), disk: named }),
]);

const DiskBody = v.strictObject({ request: DiskChange, fullSpeed: v.optional(v.boolean()) });

/** Which values are possible is the vfs's business: it says so of the mount's attributes too. */
const policyText = v.optional(v.nullable(v.pipe(v.string(), v.maxLength(MAX_POLICY_LENGTH))));
const PolicyBody = v.strictObject({
  mode: policyText,
  scheme: policyText,
  compression: policyText,
  commitDelay: policyText,
});

const json = <T>(schema: Schema<T>) => ({ kind: 'json', schema }) as const;

export const OPERATIONS = {
  status: {
    method: 'GET',
    path: '/v1/status',
    summary: 'Disks, health, room, what is staged, what would be lost, jobs',
    input: 'the status',
    answer: json(PoolStatusSchema),
  },
  state: {
    method: 'GET',
    path: '/v1/state',
    summary: 'How much of a file is committed, where, and how healthy it is',
    input: 'the query of a state',
    query: queryOf({ path: poolPath }),
    answer: json(FileStateSchema),
  },
  files: {
    method: 'GET',
    path: '/v1/files',
    summary: 'Names in a directory, with the state of each, in pages',
    input: 'the query of a listing',
    query: queryOf({
      path: poolPath,
      after: v.optional(v.pipe(v.string(), v.maxLength(MAX_PATH_BYTES))),
      limit: wholeText('limit', 1, MAX_ENTRIES, 200),
    }),
    answer: json(FileListingSchema),
  },
  versions: {
    method: 'GET',
    path: '/v1/versions',
    summary: 'Versions that S3 keeps of a file, newest first; empty where none are kept',
    input: 'the query of versions',
    query: queryOf({ path: poolPath }),
    answer: json(v.strictObject({ versions: v.array(FileVersionSchema) })),
  },
  policy: {
    method: 'GET',
    path: '/v1/policy',
    summary:
      'What holds for a file or directory (mode, scheme, compression, commit delay), and which directory says so',
    input: 'the query of a policy',
    query: queryOf({ path: poolPath }),
    answer: json(PolicyReportSchema),
  },
  setPolicy: {
    method: 'POST',
    path: '/v1/policy',
    summary:
      'Changes what a directory says for everything below it; null: what holds above it holds again. Answers what holds then',
    input: 'the body of a policy',
    body: v.strictObject({ path: poolPath, change: PolicyBody }),
    answer: json(PolicyReportSchema),
  },
  capacity: {
    method: 'GET',
    path: '/v1/capacity',
    summary: 'What the disks give, what cannot be used of them, and why',
    input: 'the capacity',
    answer: json(PoolPlanSchema),
  },
  forecast: {
    method: 'GET',
    path: '/v1/forecast',
    summary: 'What is lost if a disk dies now; counting may take a while, and ends when the client goes away',
    input: 'the query of a forecast',
    query: queryOf({ disk: v.optional(named), files: wholeText('files', 0, MAX_FILES, 0) }),
    answer: json(LossForecastSchema),
  },
  activity: {
    method: 'GET',
    path: '/v1/activity',
    summary: 'Requests, bytes and latencies since the pool was opened',
    input: 'the activity',
    answer: json(PoolActivitySchema),
  },
  history: {
    method: 'GET',
    path: '/v1/history',
    summary: 'Throughput and latency of the last hour, day or month',
    input: 'the query of a history',
    query: queryOf({
      span: v.optional(v.picklist(['hour', 'day', 'month'], 'span is hour, day or month'), 'hour'),
    }),
    answer: json(HistorySchema),
  },
  events: {
    method: 'GET',
    path: '/v1/events',
    summary: 'What happened lately, in plain words, newest first',
    input: 'the events',
    answer: json(v.strictObject({ events: v.array(PoolEventSchema) })),
  },
  sensors: {
    method: 'GET',
    path: '/v1/sensors',
    summary: 'Temperature and SMART of each disk, where they can be had',
    input: 'the sensors',
    answer: json(v.strictObject({ sensors: v.array(DiskSensorSchema) })),
  },
  keys: {
    method: 'GET',
    path: '/v1/keys',
    summary: 'Who may use the S3 face: names and access keys, never secrets',
    input: 'the keys',
    answer: json(v.strictObject({ endpoint: v.nullable(v.string()), keys: v.array(S3KeySchema) })),
  },
  live: {
    method: 'GET',
    path: '/v1/live',
    summary: 'Status, flow and events as they change',
    input: 'the live messages',
    answer: { kind: 'messages', message: LiveMessageSchema },
  },
  commit: {
    method: 'POST',
    path: '/v1/commit',
    summary: 'Commits what is staged below the paths; the report comes after the pool promise',
    input: 'the body of a commit',
    body: v.strictObject({
      paths: v.pipe(v.array(poolPath), v.minLength(1), v.maxLength(MAX_PATHS)),
      wait: v.optional(v.boolean(), true),
    }),
    answer: {
      kind: 'progress',
      progress: CommitProgressSchema,
      report: CommitReportSchema,
      accepted: v.strictObject({ started: v.literal(true) }),
    },
  },
  check: {
    method: 'POST',
    path: '/v1/check',
    summary: 'Checks the whole pool while it is in use; ends when the client goes away',
    input: 'the body of a check',
    body: v.strictObject({ content: v.boolean(), repair: v.boolean() }),
    answer: { kind: 'progress', progress: CheckProgressSchema, report: CheckReportSchema },
  },
  jobs: {
    method: 'GET',
    path: '/v1/jobs',
    summary: 'Work in the background',
    input: 'the jobs',
    answer: json(v.strictObject({ jobs: v.array(JobReportSchema) })),
  },
  job: {
    method: 'POST',
    path: '/v1/jobs/{name}/{action}',
    summary:
      'Starts, pauses, resumes or cancels a job, or changes its pace while it runs; fullSpeed: it does not stand back for users',
    input: 'the body for a job',
    params: v.strictObject({
      name: v.pipe(v.string(), v.regex(/^[a-z-]{1,40}$/)),
      action: v.picklist(['start', 'pause', 'resume', 'pace', 'cancel']),
    }),
    body: v.strictObject({ options: v.optional(v.unknown()), fullSpeed: v.optional(v.boolean()) }),
    answer: json(JobReportSchema),
  },
  planDisks: {
    method: 'POST',
    path: '/v1/disks/plan',
    summary: 'What adding, replacing or removing disks would do; nothing is done',
    input: 'the body for a change of disks',
    body: DiskBody,
    answer: json(DiskChangePlanSchema),
  },
  changeDisks: {
    method: 'POST',
    path: '/v1/disks/change',
    summary: 'Does it: answers when the new diskmap is in use; what must move, moves in the background (job rebalance)',
    input: 'the body for a change of disks',
    body: DiskBody,
    answer: json(DiskChangePlanSchema),
  },
  testNotifications: {
    method: 'POST',
    path: '/v1/notify/test',
    summary: 'Sends a message over every way of [notify], once, and says how each went',
    input: 'the test of notifications',
    answer: json(v.strictObject({ ways: v.array(v.strictObject({ way: v.string(), error: v.nullable(v.string()) })) })),
  },
  metrics: {
    method: 'GET',
    path: '/metrics',
    summary: 'Figures for Prometheus',
    input: 'the metrics',
    answer: { kind: 'text', type: 'text/plain; version=0.0.4; charset=utf-8', schema: v.string() },
  },
  webLink: {
    method: 'GET',
    path: '/v1/web/link',
    summary: 'What opens the status page in a browser; null if it is not served',
    input: 'the link',
    answer: json(v.strictObject({ link: v.nullable(v.string()) })),
    isLocal: true,
  },
  unmount: {
    method: 'POST',
    path: '/v1/unmount',
    summary: 'Commits, unmounts and ends the daemon; refused while files are open',
    input: 'the unmount',
    answer: {
      kind: 'progress',
      progress: CommitProgressSchema,
      report: v.strictObject({ unmounted: v.literal(true) }),
    },
    isLocal: true,
  },
} as const satisfies Record<string, Operation>;

export type OperationName = keyof typeof OPERATIONS;
type Table = typeof OPERATIONS;
type Output<T> = T extends v.GenericSchema ? v.InferOutput<T> : undefined;

/** What an operation is given, after its schemas have taken it. */
export interface InputOf<N extends OperationName> {
  readonly params: Output<Table[N] extends { params: infer P } ? P : undefined>;
  readonly query: Output<Table[N] extends { query: infer Q } ? Q : undefined>;
  readonly body: Output<Table[N] extends { body: infer B } ? B : undefined>;
}

/** What an operation resolves with: its JSON value, or its report; nothing where there are only messages. */
export type OutputOf<N extends OperationName> = Table[N]['answer'] extends { schema: Schema<infer T> }
  ? T
  : Table[N]['answer'] extends { report: Schema<infer R> }
    ? R
    : undefined;

export type ProgressOf<N extends OperationName> = Table[N]['answer'] extends { progress: Schema<infer P> } ? P : never;
export type MessageOf<N extends OperationName> = Table[N]['answer'] extends { message: Schema<infer M> } ? M : never;
