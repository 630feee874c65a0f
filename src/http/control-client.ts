/**
 * A client of the API of a running pool (operations.ts): over the control socket in the pool's directory, or over HTTP to its `[web]` address. The commands use
 * it, and the package exports it as `cairnfs/client`.
 *
 * Every failure is a CairnError that says what to do: CLOSED if no daemon answers, or if it ended before its answer was complete; ACCESS if it is another
 * user's, or the password is wrong; ABORTED if the signal given said so; otherwise the daemon's own error as it sent it.
 */
import { type IncomingMessage, type RequestOptions, request as requestPlain } from 'node:http';
import { request as requestSecure } from 'node:https';
import { createInterface } from 'node:readline';
import { CairnError, hasCode, systemCode } from '../errors/cairn-error.js';
import type {
  DiskSensor,
  FileVersion,
  History,
  HistorySpan,
  LiveMessage,
  PoolEvent,
  S3Key,
} from '../monitor/reports.js';
import type {
  CheckProgress,
  CheckReport,
  CheckRequest,
  CommitProgress,
  CommitReport,
  DiskChangePlan,
  DiskChangeRequest,
  FileListing,
  FileState,
  ForecastRequest,
  JobPace,
  JobReport,
  Json,
  LossForecast,
  PolicyChange,
  PolicyReport,
  PoolActivity,
  PoolPlan,
  PoolStatus,
} from '../vfs/reports.js';
import { openSocketPath } from './socket-path.js';
import { fromWireError, type WireError, type WireEvent } from './wire.js';

type OnProgress = (progress: CommitProgress) => void;

/** Longer than a daemon waits for a disk that hangs before it does without it. */
const STATUS_PATIENCE_MS = 40_000;
/** Until somebody is told that the daemon is waited for. */
const SILENCE_MS = 3000;
/** Some requests take long. From this time on the daemon is asked meanwhile whether it still answers. */
const LOOK_MS = 2000;

export interface Patience {
  /** After which a daemon that has not said how it is counts as hanging. */
  readonly patienceMs?: number;
  /** Called once, when the daemon has not said for a few seconds how it is; it is still waited for. */
  readonly onSilence?: () => void;
}

/** Where the daemon answers. */
interface Place {
  /** For messages: the pool's directory, or the address. */
  readonly name: string;
  /** What to do where nobody answers. */
  readonly hint: string;
  readonly secure: boolean;
  /** Of one request; `close` when it is over. */
  open(): { readonly options: RequestOptions; close(): void };
}

export class ControlClient {
  readonly #place: Place;
  readonly #patienceMs: number;
  #onSilence: (() => void) | undefined;

  /** The daemon of a pool on this machine; `pool` is its directory, absolute. Nothing is opened until the first call. */
  constructor(pool: string | Place, { patienceMs = STATUS_PATIENCE_MS, onSilence }: Patience = {}) {
    this.#place = typeof pool === 'string' ? socketPlace(pool) : pool;
    this.#patienceMs = patienceMs;
    this.#onSilence = onSilence;
  }

  /**
   * The daemon that serves its page at `address` (`https://nas.local:8090`), with the password of `[web]`, or the key that `cairn web` shows.
   * `certificate`: PEM of the authority that vouches for it, where it is none that the system knows. INVALID.
   */
  static at(address: string, password: string, certificate?: string): ControlClient {
    return new ControlClient(webPlace(address, password, certificate));
  }

  /** BUSY if the daemon does not answer: everything else that it is asked would wait as well. */
  status(): Promise<PoolStatus> {
    return this.#status();
  }

  async #status(signal?: AbortSignal): Promise<PoolStatus> {
    const patience = AbortSignal.timeout(this.#patienceMs);
    const silence = setTimeout(
      () => {
        this.#onSilence?.();
        this.#onSilence = undefined;
      },
      Math.min(SILENCE_MS, this.#patienceMs / 2),
    );
    const until = signal === undefined ? patience : AbortSignal.any([patience, signal]);
    const answer = this.#send('GET', '/v1/status', undefined, until).then((response) => this.#json(response));
    const status = (await answer
      .catch((error: unknown) => {
        if (!patience.aborted) throw error;
        throw new CairnError('BUSY', `the daemon of ${this.#place.name} does not answer`, {
          hint: 'it may be stopped, or wait for a disk that hangs: see daemon.log in the pool and the kernel log, and try again',
          cause: error,
        });
      })
      .finally(() => clearTimeout(silence))) as PoolStatus;
    if (status.format !== 1) {
      throw new CairnError('NOT_SUPPORTED', `the daemon of ${this.#place.name} is of another version of cairn`, {
        hint: 'unmount it with the version that mounted it, then mount it again',
      });
    }
    return status;
  }

  async state(path: string): Promise<FileState> {
    return (await this.#json(await this.#request('GET', `/v1/state?path=${encodeURIComponent(path)}`))) as FileState;
  }

  /** Names in a directory, with the state of each; `after` is the `next` of the page before. */
  async files(path: string, after?: string, limit = 200): Promise<FileListing> {
    const query = new URLSearchParams({ path, limit: String(limit), ...(after !== undefined && { after }) });
    return (await this.#json(await this.#request('GET', `/v1/files?${query}`))) as FileListing;
  }

  /** The versions that S3 keeps of a file, newest first. */
  async versions(path: string): Promise<readonly FileVersion[]> {
    const { versions } = await this.#get<{ versions: FileVersion[] }>(`/v1/versions?path=${encodeURIComponent(path)}`);
    return versions;
  }

  /** What holds for a file or directory, and which directory says so. */
  policy(path: string): Promise<PolicyReport> {
    return this.#get(`/v1/policy?path=${encodeURIComponent(path)}`);
  }

  /** Changes what a directory says for everything below it, all of it or nothing; resolves with what holds then. NOT_FOUND, NOT_DIRECTORY, INVALID. */
  async setPolicy(path: string, change: PolicyChange): Promise<PolicyReport> {
    return (await this.#json(await this.#request('POST', '/v1/policy', { path, change }))) as PolicyReport;
  }

  capacity(): Promise<PoolPlan> {
    return this.#get('/v1/capacity');
  }

  activity(): Promise<PoolActivity> {
    return this.#get('/v1/activity');
  }

  history(span: HistorySpan): Promise<History> {
    return this.#get(`/v1/history?span=${span}`);
  }

  /** Newest first. */
  async recentEvents(): Promise<readonly PoolEvent[]> {
    return (await this.#get<{ events: PoolEvent[] }>('/v1/events')).events;
  }

  async sensors(): Promise<readonly DiskSensor[]> {
    return (await this.#get<{ sensors: DiskSensor[] }>('/v1/sensors')).sensors;
  }

  /** Who may use the S3 face, and where it is; null if the pool is not served as S3. */
  keys(): Promise<{ readonly endpoint: string | null; readonly keys: readonly S3Key[] }> {
    return this.#get('/v1/keys');
  }

  /** What opens the status page in a browser; null if it is not served. Only over the control socket. */
  async webLink(): Promise<string | null> {
    return (await this.#get<{ link: string | null }>('/v1/web/link')).link;
  }

  /** One message of notification over every way; `error` is null where it went. */
  async testNotifications(): Promise<readonly { readonly way: string; readonly error: string | null }[]> {
    const answer = await this.#json(await this.#request('POST', '/v1/notify/test'));
    return (answer as { ways: { way: string; error: string | null }[] }).ways;
  }

  /** Status, flow and events as they change, until the signal says so, or the daemon ends (it returns then). */
  async *watch(signal?: AbortSignal): AsyncGenerator<LiveMessage, void, undefined> {
    try {
      const response = await this.#request('GET', '/v1/live', undefined, signal);
      if (response.statusCode !== 200) {
        await this.#json(response);
        throw this.#gibberish();
      }
      for await (const line of createInterface({ input: response, crlfDelay: Number.POSITIVE_INFINITY }))
        if (line.startsWith('data: ')) yield this.#parse(line.slice(6)) as LiveMessage;
    } catch (error) {
      if (signal?.aborted) throw new CairnError('ABORTED', 'watching was stopped', { cause: error });
      throw this.#explain(error);
    }
  }

  async forecast({ disk, files }: ForecastRequest): Promise<LossForecast> {
    const query = new URLSearchParams({ files: String(files), ...(disk !== undefined && { disk }) });
    return (await this.#json(await this.#request('GET', `/v1/forecast?${query}`))) as LossForecast;
  }

  /** Resolves after the pool promise. */
  async commit(paths: readonly string[], onProgress: OnProgress): Promise<CommitReport> {
    return await this.#events(await this.#request('POST', '/v1/commit', { paths, wait: true }), onProgress);
  }

  /** Resolves as soon as the daemon has begun. */
  async startCommit(paths: readonly string[]): Promise<void> {
    await this.#json(await this.#request('POST', '/v1/commit', { paths, wait: false }));
  }

  /** Checks the pool while it is in use. ABORTED when the signal says so: the daemon ends the check then. */
  async check(
    request: CheckRequest,
    onProgress: (progress: CheckProgress) => void,
    signal?: AbortSignal,
  ): Promise<CheckReport> {
    try {
      const response = await this.#request('POST', '/v1/check', request, signal);
      return await this.#events<CheckReport, CheckProgress>(response, onProgress);
    } catch (error) {
      // However the connection ended then, it was by our own wish.
      if (signal?.aborted) throw new CairnError('ABORTED', 'the check was stopped', { cause: error });
      throw error;
    }
  }

  async jobs(): Promise<readonly JobReport[]> {
    const { jobs } = (await this.#json(await this.#request('GET', '/v1/jobs'))) as { jobs: JobReport[] };
    return jobs;
  }

  /** As the methods of `DiskControl`. */
  async planDisks(request: DiskChangeRequest): Promise<DiskChangePlan> {
    return (await this.#json(await this.#request('POST', '/v1/disks/plan', { request }))) as DiskChangePlan;
  }

  async changeDisks(request: DiskChangeRequest, pace?: JobPace): Promise<DiskChangePlan> {
    return (await this.#json(await this.#request('POST', '/v1/disks/change', { request, ...pace }))) as DiskChangePlan;
  }

  /** As the methods of `JobControl`. */
  async job(
    name: string,
    action: 'start' | 'pause' | 'resume' | 'pace' | 'cancel',
    { options, pace }: { readonly options?: Json; readonly pace?: JobPace | undefined } = {},
  ): Promise<JobReport> {
    const body = { ...(options !== undefined && { options }), ...pace };
    return (await this.#json(await this.#request('POST', `/v1/jobs/${name}/${action}`, body))) as JobReport;
  }

  /** Resolves when the pool is committed and closed; the daemon's process ends right after. */
  async unmount(onProgress: OnProgress): Promise<void> {
    await this.#events<{ unmounted: true }>(await this.#request('POST', '/v1/unmount'), onProgress);
  }

  async #get<T>(path: string): Promise<T> {
    return (await this.#json(await this.#request('GET', path))) as T;
  }

  /** Waits however long the answer takes while the daemon says how it is; BUSY where it does not say even that. */
  async #request(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<IncomingMessage> {
    const given = new AbortController();
    const looks = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const hangs = new Promise<never>((_, reject) => {
      const look = (): void => {
        if (looks.signal.aborted) return;
        timer = setTimeout(
          () => {
            // Whatever else is wrong the request itself meets.
            this.#status(looks.signal).then(look, (error: unknown) => hasCode(error, 'BUSY') && reject(error));
          },
          Math.min(LOOK_MS, this.#patienceMs),
        );
      };
      look();
    });
    const until = signal === undefined ? given.signal : AbortSignal.any([given.signal, signal]);
    try {
      return await Promise.race([this.#send(method, path, body, until), hangs]);
    } catch (error) {
      given.abort();
      throw error;
    } finally {
      looks.abort();
      clearTimeout(timer);
    }
  }

  #send(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const fail = (error: unknown) => reject(this.#explain(error));
      let opened: ReturnType<Place['open']>;
      try {
        opened = this.#place.open();
      } catch (error) {
        fail(error);
        return;
      }
      const options: RequestOptions = { ...opened.options, method, path, agent: false, signal };
      const outgoing = (this.#place.secure ? requestSecure : requestPlain)(options, resolve);
      outgoing.once('error', fail);
      outgoing.once('close', () => opened.close());
      if (body === undefined) outgoing.end();
      else outgoing.setHeader('content-type', 'application/json').end(JSON.stringify(body));
    });
  }

  async #json(response: IncomingMessage): Promise<unknown> {
    const parts: Buffer[] = [];
    try {
      for await (const part of response as AsyncIterable<Buffer>) parts.push(part);
    } catch (error) {
      throw this.#explain(error);
    }
    const body = this.#parse(Buffer.concat(parts).toString('utf8'));
    if (typeof body !== 'object' || body === null) throw this.#gibberish();
    if ('error' in body) throw fromWireError(body.error as WireError);
    return body;
  }

  async #events<T, P = CommitProgress>(response: IncomingMessage, onProgress: (progress: P) => void): Promise<T> {
    if (response.statusCode !== 200) {
      await this.#json(response);
      throw this.#gibberish();
    }
    try {
      for await (const line of createInterface({ input: response, crlfDelay: Number.POSITIVE_INFINITY })) {
        const event = this.#parse(line) as WireEvent<T, P>;
        if ('progress' in event) onProgress(event.progress);
        else if ('error' in event) throw fromWireError(event.error);
        else return event.report;
      }
    } catch (error) {
      throw this.#explain(error);
    }
    throw this.#ended();
  }

  #parse(text: string): unknown {
    try {
      return JSON.parse(text);
    } catch {
      throw this.#gibberish();
    }
  }

  #explain(error: unknown): CairnError {
    if (error instanceof CairnError) return error;
    switch (systemCode(error)) {
      case 'ENOENT':
      case 'ENOTDIR':
      case 'ECONNREFUSED':
        return new CairnError('CLOSED', `no daemon is running for the pool ${this.#place.name}`, {
          hint: this.#place.hint,
          cause: error,
        });
      case 'EACCES':
      case 'EPERM':
        return new CairnError('ACCESS', `the pool ${this.#place.name} is in use by another user`, {
          hint: 'run this as the user who mounted it',
          cause: error,
        });
      case 'ECONNRESET':
      case 'EPIPE':
        return this.#ended(error);
      default:
        return new CairnError('IO', `cannot speak to the daemon of ${this.#place.name}: ${String(error)}`, {
          hint: 'see what is wrong: cairn doctor',
          cause: error,
        });
    }
  }

  #ended(cause?: unknown): CairnError {
    return new CairnError('CLOSED', 'the daemon ended before it had answered', {
      hint: 'look at daemon.log in the pool directory; what was staged is safe in the cache',
      cause,
    });
  }

  #gibberish(): CairnError {
    return new CairnError('IO', `what answers for ${this.#place.name} is not a daemon of this version`, {
      hint: 'after an upgrade, unmount the pool and mount it again',
    });
  }
}

function socketPlace(directory: string): Place {
  return {
    name: directory,
    hint: `start one with \`cairn mount ${directory} MOUNTPOINT\``,
    secure: false,
    open: () => {
      const { path, close } = openSocketPath(directory);
      return { options: { socketPath: path }, close };
    },
  };
}

function webPlace(address: string, password: string, ca: string | undefined): Place {
  if (!URL.canParse(address) || !/^https?:$/.test(new URL(address).protocol))
    throw new CairnError('INVALID', `${address} is not an address`, { hint: 'as in http://127.0.0.1:8090' });
  const { protocol, hostname, port } = new URL(address);
  const secure = protocol === 'https:';
  const options = {
    // URL keeps the brackets of an IPv6 address, which the socket does not want.
    host: hostname.replace(/^\[(.*)\]$/, '$1'),
    port: port === '' ? (secure ? 443 : 80) : Number(port),
    headers: { authorization: `Bearer ${password}` },
    ...(ca !== undefined && { ca }),
  };
  return {
    name: address,
    hint: 'start its daemon, or correct the address',
    secure,
    open: () => ({ options, close: () => {} }),
  };
}
