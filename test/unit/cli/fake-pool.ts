/** Stand-ins for what the command line is given: a pool in memory, a mount that is none, a clock that a test moves. */
import { EventEmitter } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CliContext } from '../../../src/cli/context.js';
import { MountTable } from '../../../src/cli/mount-table.js';
import type { Output } from '../../../src/cli/output.js';
import type { InitOptions, Mounter, OpenPool, PoolLog, PoolOpener } from '../../../src/cli/pool-opener.js';
import { CairnError } from '../../../src/errors/cairn-error.js';
import type { Clock, Timer } from '../../../src/io/clock.js';
import { UserWork } from '../../../src/jobs/user-work.js';
import { type PoolConfig, saveConfig } from '../../../src/pool/config.js';
import { planDisks } from '../../../src/pool/pool-plan.js';
import { Activity } from '../../../src/vfs/activity.js';
import type { ObjectTree } from '../../../src/vfs/object-tree.js';
import type {
  CheckFinding,
  CheckProgress,
  CheckReport,
  CheckRequest,
  CommitProgress,
  CommitReport,
  DiskChangePlan,
  DiskControl,
  FileListing,
  FileState,
  ForecastRequest,
  JobControl,
  JobPace,
  JobReport,
  LossForecast,
  PolicyChange,
  PolicyReport,
  PoolActivity,
  PoolControl,
  PoolPlan,
  PoolStatus,
} from '../../../src/vfs/reports.js';
import type { Vfs } from '../../../src/vfs/vfs.js';
import { FakeMonitor } from '../http/fake-monitor.js';

export const POOL_ID = '0123456789abcdef0123456789abcdef';

/** Timers run only by `advance`. */
export class FakeClock implements Clock {
  #ms = 1000;
  #timers: { atMs: number; task: () => void }[] = [];

  nowMs(): number {
    return this.#ms;
  }

  now() {
    return { sec: Math.floor(this.#ms / 1000), nsec: 0 };
  }

  monotonicMs(): number {
    return this.#ms;
  }

  after(delayMs: number, task: () => void): Timer {
    const timer = { atMs: this.#ms + delayMs, task };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer);
      },
    };
  }

  advance(ms: number): void {
    const endMs = this.#ms + ms;
    for (;;) {
      const next = this.#timers.filter((timer) => timer.atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#ms = next.atMs;
      next.task();
    }
    this.#ms = endMs;
  }
}

export class TextOutput implements Output {
  text = '';
  isUtf8 = true;

  constructor(
    readonly isTTY = false,
    readonly columns = 80,
    readonly rows = 24,
    readonly hasColour = isTTY,
  ) {}

  write(text: string): void {
    this.text += text;
  }
}

export const quietLog: PoolLog = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

/** Records what it is asked for in `calls`; fails where a test sets an error. */
export class FakePool implements PoolControl, OpenPool {
  readonly calls: string[];
  readonly vfs = {} as Vfs;
  commitError: Error | undefined;
  /** What a check finds. */
  findings: CheckFinding[] = [];
  closeError: Error | undefined;
  /** What a commit waits for, if a test wants it to take its time. */
  gate: Promise<void> = Promise.resolve();
  progress: CommitProgress[] = [{ filesDone: 0, filesTotal: 2, bytesDone: 0, bytesTotal: 4096 }];

  constructor(
    readonly directory: string,
    calls: string[] = [],
  ) {
    this.calls = calls;
  }

  get control(): PoolControl {
    return this;
  }

  /** Takes what is live in a real pool; undefined until a test gives it one. */
  settings: { current: PoolConfig; apply(config: PoolConfig): void } | undefined;
  /** Given to a daemon that is to serve S3. */
  objects: ObjectTree | undefined;

  /** What a change of the disks would do. */
  changePlan: DiskChangePlan = {
    format: 1,
    action: 'remove',
    joins: [],
    leaves: [{ number: 2, directory: '/mnt/b', isThere: true }],
    usableBytesBefore: 6e12,
    usableBytes: 3e12,
    usedBytes: 1e12,
    protectionBefore: 'Everything committed survives the loss of any one disk of 4.',
    protection: 'Everything committed survives the loss of any one disk of 3.',
    moveBytes: 5e11,
    readBytes: 5e11,
    leastMs: 3_600_000,
    groups: { kept: 10, takenApart: 3, made: 2 },
    needsConsent: true,
    refusals: [],
    notes: ['Nothing new is written to it.'],
  };
  readonly disks: DiskControl = {
    plan: async (request) => {
      this.calls.push(`plan ${JSON.stringify(request)}`);
      return { ...this.changePlan, action: request.action };
    },
    change: async (request, pace) => {
      this.calls.push(`change ${JSON.stringify(request)}${pace === undefined ? '' : ` ${JSON.stringify(pace)}`}`);
      return { ...this.changePlan, action: request.action };
    },
  };

  /** What its last run found. */
  jobReport: JobReport['report'] = null;
  /** One job, `scrub`, which does what it is told. */
  readonly jobs: JobControl = {
    list: () => [{ ...this.#job, report: this.jobReport }],
    start: async (name, options, pace) => this.#tell(`start ${JSON.stringify(options)}`, name, 'running', pace),
    pause: async (name) => this.#tell('pause', name, 'paused'),
    resume: async (name, pace) => this.#tell('resume', name, 'running', pace),
    setPace: async (name, pace) => this.#tell('pace', name, this.#job.state, pace),
    cancel: async (name) => this.#tell('cancel', name, 'cancelled'),
  };
  #job: JobReport = {
    name: 'scrub',
    state: 'idle',
    line: 'never started',
    doneBytes: 0,
    totalBytes: 0,
    bytesPerSecond: 0,
    leftMs: null,
    fullSpeed: false,
    startedMs: null,
    endedMs: null,
    report: null,
  };

  #tell(what: string, name: string, state: JobReport['state'], pace?: JobPace): JobReport {
    if (name !== 'scrub') throw new CairnError('NOT_FOUND', `there is no background job "${name}"`);
    this.calls.push(`job ${what} ${name}${pace?.fullSpeed ? ' at full speed' : ''}`);
    const { fullSpeed } = pace ?? this.#job;
    this.#job = { ...this.#job, state, line: 'disk 1', doneBytes: 1024, totalBytes: 4096, fullSpeed };
    return this.#job;
  }

  async check(
    { content, repair }: CheckRequest,
    onProgress: (progress: CheckProgress) => void,
    signal?: AbortSignal,
  ): Promise<CheckReport> {
    this.calls.push(`check${content ? ' content' : ''}${repair ? ' repair' : ''}`);
    onProgress({ step: 'checking the log of disk 1', done: 1024, total: 4096, unit: 'bytes' });
    const stopped = new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve()));
    await Promise.race([this.gate, stopped]);
    if (signal?.aborted) {
      this.calls.push('check stopped');
      throw new CairnError('ABORTED', 'the check was stopped');
    }
    const clean = this.findings.every(({ severity }) => severity === 'note');
    const checked = {
      disks: 3,
      records: 100,
      logBytes: 4096,
      commits: 7,
      inodes: 20,
      names: 19,
      extents: 15,
      chunks: 14,
      contentBytes: 0,
    };
    return { format: 1, clean, findings: this.findings, repaired: [], checked, elapsedMs: 1500 };
  }

  mountpoint: string | null = null;

  async status(): Promise<PoolStatus> {
    return {
      format: 1,
      pool: POOL_ID,
      directory: this.directory,
      mountpoint: this.mountpoint,
      mode: 'default',
      whenDegraded: 'allow',
      degradedWrites: { commits: 0, chunks: 0, bytes: 0 },
      forecast: forecastOf(0),
      pid: 0,
      health: 'degraded',
      findings: ['disk 2 is missing'],
      protection: 'any one disk may fail',
      disks: [
        {
          number: 2,
          uuid: POOL_ID,
          role: 'data',
          directory: '/d2',
          state: 'missing',
          reason: 'it is not there',
          capacityBytes: 2 ** 40,
          liveBytes: 2 ** 30,
          freeBytes: 2 ** 39,
        },
      ],
      groups: [{ scheme: 'ec:2+1', count: 12, degraded: 4 }],
      usableBytes: 2 ** 40,
      usedBytes: 2 ** 30,
      freeBytes: 2 ** 39,
      files: 20000,
      dirtyBytes: 12345,
      dirtyFiles: 3,
      cacheBytes: 1,
      cacheCapacityBytes: 2,
      commitSequence: 7,
      epoch: 2,
      mapVersion: 1,
      readOnly: false,
      passthrough: false,
      writeback: false,
      jobs: [],
    };
  }

  async policy(path: string): Promise<PolicyReport> {
    return {
      path,
      isDirectory: true,
      mode: { value: 'strong', from: '/' },
      scheme: { value: 'auto', from: null },
      compression: { value: 'off', from: null },
      commitDelayMs: { value: 90_000, from: path },
    };
  }

  async setPolicy(path: string, change: PolicyChange): Promise<PolicyReport> {
    this.calls.push(`policy ${path} ${JSON.stringify(change)}`);
    return this.policy(path);
  }

  async forecast({ disk, files }: ForecastRequest): Promise<LossForecast> {
    this.calls.push(`forecast ${disk} ${files}`);
    if (disk === '9') throw new CairnError('NOT_FOUND', 'the pool has no disk 9', { hint: 'name it by number' });
    return forecastOf(files);
  }

  async files(path: string, after: string | undefined, limit: number): Promise<FileListing> {
    this.calls.push(`files ${path} ${after} ${limit}`);
    const entry = {
      name: 'a.txt',
      kind: 'file',
      sizeBytes: 3000,
      modifiedMs: 1000,
      state: 'staged',
      health: null,
    } as const;
    return { path, entries: [entry], next: after === undefined ? 'a.txt' : null };
  }

  capacity(): PoolPlan {
    return planDisks([2 ** 40, 2 ** 40, 2 ** 39], 'auto');
  }

  /** What has gone through it. */
  figures: Partial<PoolActivity> = {};

  activity(): PoolActivity {
    const requests = new Activity(() => 0, new UserWork()).report();
    return { ...requests, committedBytes: 0, stagedBytes: 12345, committingBytes: 0, ...this.figures };
  }

  async state(path: string): Promise<FileState> {
    this.calls.push(`state ${path}`);
    if (path === '/absent') throw new CairnError('NOT_FOUND', 'there is no /absent', { hint: 'look elsewhere' });
    if (path === '/broken') throw new TypeError('a secret');
    return {
      path,
      kind: 'file',
      sizeBytes: 3000,
      stagedBytes: 1000,
      committedBytes: 2000,
      chunks: 1,
      schemes: ['copies:2', 'ec:2+1'],
      compressed: { chunks: 1, bytes: 2000, storedBytes: 1500 },
      state: 'staged',
      health: 'healthy',
    };
  }

  async commit(paths: readonly string[], onProgress: (progress: CommitProgress) => void): Promise<CommitReport> {
    this.calls.push(`commit ${paths.join(' ')}`);
    for (const progress of this.progress) onProgress(progress);
    await this.gate;
    if (this.commitError !== undefined) throw this.commitError;
    return {
      filesDone: 2,
      filesTotal: 2,
      bytesDone: 4096,
      bytesTotal: 4096,
      sequence: 8,
      elapsedMs: 12,
      healthy: true,
    };
  }

  async close(): Promise<void> {
    this.calls.push('close');
    if (this.closeError !== undefined) throw this.closeError;
  }
}

interface MountModes {
  readonly readOnly: boolean;
  readonly passthrough: boolean;
  readonly writeback: boolean;
}

/** A mount whose table entry a test can see; `open` files make it busy. */
class FakeMounter implements Mounter {
  busy = false;
  /** Another mount namespace has a copy of the mount: it outlives what is unmounted here. */
  heldElsewhere = false;
  mountError: Error | undefined;
  /** Why it cannot be unmounted, lazily or not. */
  unmountError: Error | undefined;
  #end: () => void = () => {};

  constructor(readonly calls: string[] = []) {}

  /** What was mounted last, and how. */
  mounted: ({ readonly vfs: Vfs } & MountModes) | undefined;
  /** What the kernel has kept of programs' writes is asked for. */
  handOver: (() => Promise<void>) | undefined;
  /** What was lost of programs' writes. */
  lost: string | undefined;

  async mount(vfs: Vfs, options: { mountpoint: string; source: string } & MountModes) {
    this.calls.push(`mount ${options.source} ${options.mountpoint}`);
    const { readOnly, passthrough, writeback } = options;
    this.mounted = { vfs, readOnly, passthrough, writeback };
    if (this.mountError !== undefined) throw this.mountError;
    const ended = new Promise<void>((resolve) => {
      this.#end = resolve;
    });
    return {
      ended,
      isPassthrough: passthrough,
      isWriteback: writeback,
      finding: () => this.lost,
      handOver: async () => {
        this.calls.push('hand over');
        await this.handOver?.();
      },
      unmount: async (lazy: boolean) => {
        this.calls.push(lazy ? 'unmount lazily' : 'unmount');
        if (this.busy && !lazy) throw new CairnError('BUSY', 'files are open', { hint: 'close them' });
        if (this.unmountError !== undefined) throw this.unmountError;
        if (!this.heldElsewhere) this.#end();
      },
    };
  }

  async detach(mountpoint: string, lazy: boolean): Promise<void> {
    this.calls.push(`detach ${mountpoint}${lazy ? ' lazily' : ''}`);
  }

  /** As `umount` on the command line does. */
  endFromOutside(): void {
    this.#end();
  }
}

export interface FakeContext extends CliContext {
  stdout: TextOutput;
  readonly stderr: TextOutput;
  readonly clock: FakeClock;
  readonly signals: EventEmitter;
  readonly mounter: FakeMounter;
  /** Lines of /proc/self/mountinfo. */
  mounts: string;
  pool: FakePool;
  lastInit: InitOptions | undefined;
  /** What was asked at the terminal, and what its person answers; undefined: there is none. */
  readonly questions: string[];
  answer: string | undefined;
  /** What is typed at one question for a secret after the other. */
  readonly secrets: string[];
}

/** Everything writes its calls into one list, so that tests see their order. */
export function fakeContext(directory: string): FakeContext {
  const calls: string[] = [];
  const pools: PoolOpener = {
    init: async (pool, options) => {
      context.lastInit = options;
      await writeConfig(pool, options);
      return {
        pool: POOL_ID,
        protection: 'any one disk may fail',
        usableBytes: 2 ** 30,
        groups: [{ scheme: 'ec:2+1', count: 3 }],
        findings: [],
      };
    },
    open: async (_pool, options) => {
      calls.push(`open ${options.mode}`);
      return context.pool;
    },
    check: async (_pool, request, options) => {
      calls.push('at rest');
      return context.pool.check(request, options.onProgress, options.signal);
    },
  };
  const context: FakeContext = {
    stdout: new TextOutput(),
    stderr: new TextOutput(),
    cwd: directory,
    env: {},
    questions: [],
    answer: undefined,
    secrets: [],
    clock: new FakeClock(),
    signals: new EventEmitter(),
    pools,
    mounter: new FakeMounter(calls),
    openS3: async () => {
      throw new CairnError('NOT_SUPPORTED', 'a fake pool is not served');
    },
    openWeb: async () => {
      throw new CairnError('NOT_SUPPORTED', 'a fake pool is not served');
    },
    watchPool: async (control) => ({
      monitor: new FakeMonitor(() => control.status()),
      notify: (notify) => void calls.push(`notify ${notify?.webhook}`),
      close: async () => {},
    }),
    openVersions: async (vfs) => ({ vfs, refresh: async () => {} }),
    mounts: '',
    mountTable: () => new MountTable(context.mounts),
    files: { readFile: (path) => readFile(path) },
    ask: async (question) => {
      context.questions.push(question);
      return context.answer;
    },
    askSecret: async (question) => {
      context.questions.push(question);
      return context.secrets.shift();
    },
    pool: new FakePool(directory, calls),
    lastInit: undefined,
  };
  return context;
}

/** A line of mountinfo for a pool at a plain path. */
export function mountLine(pool: string, mountpoint: string): string {
  return `40 27 0:50 / ${mountpoint} rw,nosuid - fuse.cairn ${pool} rw,user_id=0\n`;
}

export async function writeConfig(pool: string, options: Pick<InitOptions, 'disks' | 'cache' | 'meta'>): Promise<void> {
  const replaceFile = (path: string, bytes: Uint8Array) => writeFile(path, bytes);
  await saveConfig({ replaceFile }, pool, {
    format: 1,
    pool: POOL_ID,
    scheme: 'auto',
    bucketBytes: 16 * 1024 * 1024,
    chunkBytes: 1024 * 1024,
    mode: 'default',
    metaDirectory: options.meta,
    cache: { directory: options.cache, sizeBytes: undefined },
    whenDegraded: 'allow',
    commitDelayMs: 5000,
    scrubDays: 30,
    disks: options.disks.map((directory, index) => ({
      directory,
      uuid: POOL_ID.slice(0, 31) + String(index),
      role: 'data',
      number: index + 1,
    })),
  });
}

export function readText(...path: string[]): Promise<string> {
  return readFile(join(...path), 'utf8');
}

function forecastOf(files: number): LossForecast {
  const lost = Array.from({ length: Math.min(2, files) }, (_, i) => ({ path: `/lost\n${i}`, bytes: 1000 + i }));
  return {
    format: 1,
    counted: 1,
    unreadable: { chunks: 0, bytes: 0 },
    disks: [
      {
        role: 'data',
        number: 2,
        uuid: POOL_ID,
        directory: '/d2',
        state: 'online',
        chunks: 3,
        bytes: 5 * 2 ** 20,
        files: lost,
        moreFiles: files === 0 ? 0 : 7,
      },
    ],
  };
}
