/**
 * The built daemon in the foreground under strace, which makes chosen system calls of it fail: `-e inject=`. The daemon is not changed in any way.
 * strace counts calls per thread: with one thread in libuv's pool (and one for shards) that are three counters, and a fault may hit once in each.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitForEnd } from '../../src/cli/daemon-process.js';
import { RunningProgram } from './running-program.js';

export interface Fault {
  readonly call: string;
  /** `kill`: SIGKILL as the call is entered, which is not made. */
  readonly how: 'kill' | 'EIO' | 'ENOSPC';
  /** The Nth call of each thread. */
  readonly nth: number;
  /** Only calls on these paths. */
  readonly paths?: readonly string[];
}

/** Why strace cannot be used here, for tap's `skip`; false if it can. */
export function cannotTrace(): string | false {
  const { status, error } = spawnSync('strace', [
    '-f',
    '-qq',
    '-o',
    '/dev/null',
    '-e',
    'inject=fdatasync:error=EIO',
    'true',
  ]);
  if (error !== undefined) return 'strace is not installed';
  return status === 0 ? false : 'strace may not trace programs here';
}

export function describeFault({ call, how, nth, paths }: Fault): string {
  return `${call} ${how} ${nth}${paths === undefined ? '' : ' of one disk'}`;
}

export class TracedDaemon {
  readonly #program: RunningProgram;
  readonly #log: string;
  /** Ended from outside, not by the fault. */
  #isKilled = false;

  constructor(fault: Fault, args: readonly string[], directory: string) {
    this.#log = `${directory}/strace.log`;
    const { call, how, nth, paths = [] } = fault;
    const action = how === 'kill' ? 'signal=SIGKILL' : `error=${how}`;
    this.#program = new RunningProgram(
      'strace',
      [
        ...[
          '-f',
          '-qq',
          '--seccomp-bpf',
          '-o',
          this.#log,
          '-e',
          `trace=${call}`,
          '-e',
          `inject=${call}:${action}:when=${nth}`,
        ],
        ...paths.flatMap((path) => ['-P', path]),
        process.execPath,
        ...args,
      ],
      directory,
      { ...process.env, UV_THREADPOOL_SIZE: '1' },
    );
  }

  get ended(): RunningProgram['ended'] {
    return this.#program.ended;
  }

  /** True when it serves; false if it has ended before. */
  async ready(): Promise<boolean> {
    try {
      await this.#program.until((lines) => lines.some((line) => line.startsWith('mounted ')));
      return true;
    } catch {
      return false;
    }
  }

  /** The daemon's own number; undefined once it has ended. */
  get pid(): number | undefined {
    try {
      const { pid } = this.#program;
      const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ');
      return child === undefined || child === '' ? undefined : Number(child);
    } catch {
      return undefined;
    }
  }

  async kill(): Promise<void> {
    const { pid } = this;
    if (pid !== undefined) {
      this.#isKilled = true;
      try {
        process.kill(pid, 'SIGKILL');
        while (!(await waitForEnd(pid)));
      } catch {
        // It has just ended.
      }
    }
    await this.#program.ended;
  }

  /** Whether the fault came to pass: if not, the daemon makes fewer such calls. To be asked when it has ended. */
  get isHit(): boolean {
    const log = readFileSync(this.#log, 'utf8');
    return log.includes('(INJECTED)') || (!this.#isKilled && log.includes('killed by SIGKILL'));
  }

  /** Ends it if the promise takes too long: a daemon that hangs. Rejects then. */
  async within<T>(limitMs: number, what: string, wait: Promise<T>): Promise<T> {
    const over = new AbortController();
    const limit = sleep(limitMs, undefined, { signal: over.signal }).then(
      async () => {
        await this.kill();
        throw new Error(`${what} takes longer than ${limitMs} ms: the daemon hangs`);
      },
      () => new Promise<never>(() => {}),
    );
    try {
      return await Promise.race([wait, limit]);
    } finally {
      over.abort();
    }
  }
}
