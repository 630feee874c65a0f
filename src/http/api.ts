/** What each operation of the API (operations.ts) does: one function per operation, typed by its schemas. */
import { CairnError } from '../errors/cairn-error.js';
import type { FileVersion, MonitorView, S3Key } from '../monitor/reports.js';
import type { CommitProgress, DiskChangeRequest, Json, PoolControl } from '../vfs/reports.js';
import { metricsText } from './metrics.js';
import type { InputOf, MessageOf, OperationName, OutputOf, ProgressOf } from './operations.js';

export interface ApiParts {
  readonly control: PoolControl;
  /** History, events, sensors; not given by a stand-in that watches nothing. */
  readonly monitor?: MonitorView;
  /** What the S3 face knows; not given where the pool is not served as S3. */
  readonly s3?:
    | {
        readonly endpoint: string;
        keys(): Promise<readonly S3Key[]>;
        versions(path: string): Promise<readonly FileVersion[]>;
      }
    | undefined;
  /** Where the status page is; not given where it is not served. */
  webLink?(): string | undefined;
  /** Commits, unmounts and closes the pool; called once more while it runs, it joins the first. BUSY if files are open. */
  unmount(onProgress: (progress: CommitProgress) => void): Promise<void>;
  /** What went wrong where no client is told: a commit nobody waits for, an error that is not Cairn's own. */
  onFailure(what: string, error: unknown): void;
}

/** One request under way. */
export interface Call<P, M> {
  /** Aborted when the client goes away, or the server ends. */
  readonly signal: AbortSignal;
  onProgress(progress: P): void;
  /** False where the client reads more slowly than it is told: what can be left out, should be. */
  send(message: M): boolean;
}

/** The work has begun, and nobody waits for its end. */
export const STARTED = Symbol('started');

export type Api = {
  readonly [N in OperationName]: (
    input: InputOf<N>,
    call: Call<ProgressOf<N>, MessageOf<N>>,
  ) => Promise<OutputOf<N> | typeof STARTED> | OutputOf<N>;
};

export function apiOf(parts: ApiParts): Api {
  const { control, onFailure } = parts;
  const monitor = (): MonitorView => {
    if (parts.monitor === undefined) throw new CairnError('NOT_SUPPORTED', 'this pool is not watched');
    return parts.monitor;
  };
  return {
    status: () => control.status(),
    state: ({ query }) => control.state(query.path),
    files: ({ query }) => control.files(query.path, query.after, query.limit),
    versions: async ({ query }) => ({ versions: [...((await parts.s3?.versions(query.path)) ?? [])] }),
    policy: ({ query }) => control.policy(query.path),
    setPolicy: ({ body }) => control.setPolicy(body.path, body.change),
    capacity: () => control.capacity(),
    forecast: ({ query }, { signal }) => control.forecast({ disk: query.disk, files: query.files }, signal),
    activity: () => control.activity(),
    history: ({ query }) => monitor().history(query.span),
    events: () => ({ events: [...monitor().events()] }),
    sensors: () => ({ sensors: [...monitor().sensors()] }),
    keys: async () => ({ endpoint: parts.s3?.endpoint ?? null, keys: [...((await parts.s3?.keys()) ?? [])] }),
    live: async (_input, { signal, send }) => {
      const stop = monitor().watch((message) => void send(message));
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        else signal.addEventListener('abort', () => resolve(), { once: true });
      });
      stop();
      return undefined;
    },
    commit: async ({ body }, { onProgress }) => {
      if (body.wait) return control.commit(body.paths, onProgress);
      control.commit(body.paths, () => {}).catch((error: unknown) => onFailure('commit that nobody waits for', error));
      return STARTED;
    },
    check: ({ body }, { onProgress, signal }) => control.check(body, onProgress, signal),
    jobs: () => ({ jobs: control.jobs.list() }),
    job: ({ params, body }) => {
      const { name } = params;
      const pace = body.fullSpeed === undefined ? undefined : { fullSpeed: body.fullSpeed };
      switch (params.action) {
        case 'start':
          return control.jobs.start(name, (body.options ?? null) as Json, pace);
        case 'pause':
          return control.jobs.pause(name);
        case 'resume':
          return control.jobs.resume(name, pace);
        case 'pace':
          if (pace === undefined)
            throw new CairnError('INVALID', 'the pace of a job is {"fullSpeed": true} or {"fullSpeed": false}');
          return control.jobs.setPace(name, pace);
        case 'cancel':
          return control.jobs.cancel(name);
      }
    },
    planDisks: ({ body }) => control.disks.plan(body.request as DiskChangeRequest),
    changeDisks: ({ body }) => {
      const pace = body.fullSpeed === undefined ? undefined : { fullSpeed: body.fullSpeed };
      return control.disks.change(body.request as DiskChangeRequest, pace);
    },
    testNotifications: async () => ({ ways: [...(await monitor().testNotifications())] }),
    metrics: async () => metricsText(await control.status(), control.activity(), parts.monitor?.sensors() ?? []),
    webLink: () => ({ link: parts.webLink?.() ?? null }),
    unmount: async (_input, { onProgress }) => {
      await parts.unmount(onProgress);
      return { unmounted: true };
    },
  };
}
