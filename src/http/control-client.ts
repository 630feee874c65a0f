/**
 * The other end of control-server.ts: asks the daemon of a pool. Every failure is a CairnError that says what to do:
 * CLOSED if no daemon answers, or if it ended before its answer was complete; ACCESS if it is another user's; otherwise
 * the daemon's own error as it sent it.
 */
import { type IncomingMessage, type RequestOptions, request } from 'node:http';
import { createInterface } from 'node:readline';
import { CairnError, systemCode } from '../errors/cairn-error.js';
import type {
  CheckProgress,
  CheckReport,
  CheckRequest,
  CommitProgress,
  CommitReport,
  DiskChangePlan,
  DiskChangeRequest,
  FileState,
  ForecastRequest,
  JobPace,
  JobReport,
  Json,
  LossForecast,
  PoolStatus,
} from '../vfs/reports.js';
import { openSocketPath } from './socket-path.js';
import { fromWireError, type UnmountReport, type WireError, type WireEvent } from './wire.js';

type OnProgress = (progress: CommitProgress) => void;

export class ControlClient {
  readonly #directory: string;

  /** `poolDirectory` is absolute. Nothing is opened until the first call. */
  constructor(poolDirectory: string) {
    this.#directory = poolDirectory;
  }

  async status(): Promise<PoolStatus> {
    const status = (await this.#json(await this.#request('GET', '/v1/status'))) as PoolStatus;
    if (status.format !== 1) {
      throw new CairnError('NOT_SUPPORTED', `the daemon of ${this.#directory} is of another version of cairn`, {
        hint: 'unmount it with the version that mounted it, then mount it again',
      });
    }
    return status;
  }

  async state(path: string): Promise<FileState> {
    return (await this.#json(await this.#request('GET', `/v1/state?path=${encodeURIComponent(path)}`))) as FileState;
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
    action: 'start' | 'pause' | 'resume' | 'cancel',
    { options, pace }: { readonly options?: Json; readonly pace?: JobPace | undefined } = {},
  ): Promise<JobReport> {
    const body = { ...(options !== undefined && { options }), ...pace };
    return (await this.#json(await this.#request('POST', `/v1/jobs/${name}/${action}`, body))) as JobReport;
  }

  /** Resolves when the pool is committed and closed; the daemon's process ends right after. */
  async unmount(onProgress: OnProgress): Promise<void> {
    await this.#events<UnmountReport>(await this.#request('POST', '/v1/unmount'), onProgress);
  }

  #request(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const fail = (error: unknown) => reject(this.#explain(error));
      let place: { readonly path: string; close(): void };
      try {
        place = openSocketPath(this.#directory);
      } catch (error) {
        fail(error);
        return;
      }
      const options: RequestOptions = { socketPath: place.path, method, path, agent: false, signal };
      const outgoing = request(options, resolve);
      outgoing.once('error', fail);
      outgoing.once('close', () => place.close());
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
        return new CairnError('CLOSED', `no daemon is running for the pool ${this.#directory}`, {
          hint: `start one with \`cairn mount ${this.#directory} MOUNTPOINT\``,
          cause: error,
        });
      case 'EACCES':
      case 'EPERM':
        return new CairnError('ACCESS', `the pool ${this.#directory} is in use by another user`, {
          hint: 'run this as the user who mounted it',
          cause: error,
        });
      case 'ECONNRESET':
      case 'EPIPE':
        return this.#ended(error);
      default:
        return new CairnError('IO', `cannot speak to the daemon of ${this.#directory}: ${String(error)}`, {
          cause: error,
        });
    }
  }

  #ended(cause?: unknown): CairnError {
    return new CairnError('CLOSED', 'the daemon ended before it had answered', {
      hint: `look at ${this.#directory}/daemon.log; what was staged is safe in the cache`,
      cause,
    });
  }

  #gibberish(): CairnError {
    return new CairnError('IO', `what answers on the socket in ${this.#directory} is not a daemon of this version`);
  }
}
