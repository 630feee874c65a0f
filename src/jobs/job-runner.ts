/**
 * The background jobs of a pool: at most one of each kind, of which one works at a time: two walks over one hard disk would cost each other its
 * speed. The one with the lowest rank goes first; the others stop at the end of their piece and wait.
 */
import { assert, CairnError } from '../errors/cairn-error.js';
import type { Clock } from '../io/clock.js';
import type { FileIo } from '../io/file-io.js';
import { BackgroundJob, type JobLog, type JobParts } from './background-job.js';
import type { JobControl, JobKind, JobPace, JobReport, Json } from './job.js';
import { JobFiles } from './job-file.js';
import { Throttle } from './throttle.js';
import type { UserWork } from './user-work.js';

/** What to do where there is no such work under way. */
const SEE_LIST = { hint: 'see what is: cairn job list POOL' };

export class JobRunner implements JobControl {
  readonly #jobs = new Map<string, BackgroundJob>();
  readonly #parts: JobParts;
  readonly #log: JobLog;
  #onChange: (() => void)[] = [];
  #isOpen = false;
  #isClosed = false;

  constructor(parts: {
    io: Pick<FileIo, 'makeDirectory' | 'readFile' | 'replaceFile'>;
    poolDirectory: string;
    clock: Clock;
    userWork: UserWork;
    log: JobLog;
  }) {
    const { io, poolDirectory, clock, userWork, log } = parts;
    this.#log = log;
    this.#parts = {
      clock,
      log,
      throttle: new Throttle(userWork, clock),
      files: new JobFiles(io, poolDirectory),
      order: {
        isFirst: (job) => this.#first() === job,
        first: (job, signal) => this.#waitFor(job, signal),
        left: () => this.#changed(),
      },
    };
  }

  /** Before `open`. */
  add(kind: JobKind): void {
    assert(!this.#isOpen && !this.#jobs.has(kind.name), 'a kind of job is added once, before the pool is open');
    assert(/^[a-z][a-z-]*$/.test(kind.name), 'the name of a kind is a file name');
    this.#jobs.set(kind.name, new BackgroundJob(kind, this.#parts));
  }

  /** Goes on with what was at work when the last daemon ended. */
  async open(): Promise<void> {
    this.#isOpen = true;
    const jobs = [...this.#jobs.values()];
    const atWork: BackgroundJob[] = [];
    for (const job of jobs) if (await job.load()) atWork.push(job);
    for (const job of atWork) {
      try {
        if (this.#isClosed || job.isActive) continue;
        job.kind.check?.(job.options);
        job.goOn();
      } catch (error) {
        if (!(error instanceof CairnError)) throw error;
        this.#log.warn({ job: job.kind.name, error }, `${job.kind.name} cannot go on now: ${error.message}`);
      }
    }
  }

  list(): JobReport[] {
    return [...this.#jobs.values()].map((job) => job.report());
  }

  async start(name: string, options: Json = null, pace?: JobPace): Promise<JobReport> {
    const job = await this.#settled(name);
    job.kind.check?.(options);
    if (job.isActive) {
      if (!isSame(job.options, options))
        throw new CairnError('BUSY', `a ${name} that was asked for something else is under way`, {
          hint: `wait for its end, or cancel it first with \`cairn job cancel\``,
        });
      if (pace !== undefined) job.setPace(pace.fullSpeed);
    } else if (job.state === 'paused' && isSame(job.options, options)) {
      job.setPace(pace?.fullSpeed ?? false);
      job.goOn();
    } else {
      await job.begin(options, pace?.fullSpeed ?? false);
    }
    return job.report();
  }

  async pause(name: string): Promise<JobReport> {
    const job = await this.#settled(name);
    if (!job.isActive) throw new CairnError('BUSY', `no ${name} is running: it is ${job.state}`, SEE_LIST);
    await job.end('pause');
    return job.report();
  }

  async resume(name: string, pace?: JobPace): Promise<JobReport> {
    const job = await this.#settled(name);
    if (!job.isActive) {
      if (job.state !== 'paused' && job.state !== 'failed')
        throw new CairnError('BUSY', `there is no ${name} to go on with: it is ${job.state}`, SEE_LIST);
      job.kind.check?.(job.options);
      job.goOn();
    }
    if (pace !== undefined) job.setPace(pace.fullSpeed);
    return job.report();
  }

  async setPace(name: string, { fullSpeed }: JobPace): Promise<JobReport> {
    const job = await this.#settled(name);
    if (!job.isActive && job.state !== 'paused' && job.state !== 'failed')
      throw new CairnError('BUSY', `there is no ${name} whose speed could be changed: it is ${job.state}`, SEE_LIST);
    job.setPace(fullSpeed);
    await job.keep();
    return job.report();
  }

  async cancel(name: string): Promise<JobReport> {
    const job = await this.#settled(name);
    if (job.isActive) await job.end('cancel');
    else if (job.state === 'paused' || job.state === 'failed') await job.forget();
    else throw new CairnError('BUSY', `there is no ${name} to cancel: it is ${job.state}`, SEE_LIST);
    return job.report();
  }

  /** Every run has ended, and goes on when the pool is opened again. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#jobs.values()].map((job) => job.end('close')));
  }

  /** None of its runs is on its way out. */
  async #settled(name: string): Promise<BackgroundJob> {
    const job = this.#job(name);
    await job.settled();
    return this.#job(name);
  }

  #job(name: string): BackgroundJob {
    if (this.#isClosed) throw new CairnError('CLOSED', 'the pool is being closed');
    const job = this.#jobs.get(name);
    if (job === undefined) {
      throw new CairnError('NOT_FOUND', `there is no background job ${JSON.stringify(name.slice(0, 40))}`, {
        hint: `there are: ${[...this.#jobs.keys()].join(', ')}`,
      });
    }
    return job;
  }

  #first(): BackgroundJob | undefined {
    let first: BackgroundJob | undefined;
    for (const job of this.#jobs.values())
      if (job.isActive && (first === undefined || job.kind.rank < first.kind.rank)) first = job;
    return first;
  }

  async #waitFor(job: BackgroundJob, signal: AbortSignal): Promise<void> {
    while (this.#first() !== job && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          signal.removeEventListener('abort', wake);
          resolve();
        };
        signal.addEventListener('abort', wake);
        this.#onChange.push(wake);
      });
    }
  }

  #changed(): void {
    const waiting = this.#onChange;
    this.#onChange = [];
    for (const wake of waiting) wake();
  }
}

function isSame(a: Json, b: Json): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
