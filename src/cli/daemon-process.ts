/**
 * The daemon as a process of its own: `cairn mount` starts itself again with --foreground, detached, and waits on an
 * IPC channel until the mount is ready or has failed. Messages go one way, from the daemon; `ready` or `failed` is the last.
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { CairnError } from '../errors/cairn-error.js';
import { fromWireError, toWireError, type WireError } from '../http/wire.js';
import { daemonLogPath } from './daemon-log.js';
import { errorLine } from './show-error.js';

/** Disks answer in parallel, each in a thread of libuv's pool; its size is read once, at the first use. */
const THREAD_POOL_SIZE = '16';
const DAEMON_ENV = 'CAIRN_DAEMON';
const GONE_POLL_MS = 25;
/** Threads of a process that has ended go within milliseconds, unless a device keeps one: looked at so often, which takes five seconds. */
const HELD_POLLS = 200;

type Message =
  | { readonly kind: 'step'; readonly what: string }
  | { readonly kind: 'ready' }
  | { readonly kind: 'failed'; readonly error: WireError };

/** True in the process that `startDaemon` has started. */
export function isDaemonProcess(env: Readonly<Record<string, string | undefined>>): boolean {
  return env[DAEMON_ENV] === '1' && process.send !== undefined;
}

export function tellParent(message: Message): void {
  // The parent may have been interrupted: the daemon then goes on without it.
  if (!process.connected) return;
  process.send?.(message, undefined, undefined, () => {});
  if (message.kind !== 'step') process.disconnect();
}

/** For an error of any kind: what is not Cairn's own is told by its first line. */
export function failureMessage(error: unknown): Message {
  const known = error instanceof CairnError ? error : new CairnError('IO', errorLine(error));
  return { kind: 'failed', error: toWireError(known) };
}

export interface DaemonProcess {
  readonly pid: number;
  /** Resolves when the mount is ready. The daemon's own error, or CLOSED if it died without one. */
  readonly ready: Promise<void>;
  /** Gives it up while it starts. */
  stop(): void;
}

/** `args` for the command line of cairn. What the process writes to its stderr goes into the pool's log. */
export function startDaemon(
  poolDirectory: string,
  args: readonly string[],
  onStep: (what: string) => void,
): DaemonProcess {
  const logPath = daemonLogPath(poolDirectory);
  const logFd = openSync(logPath, 'a', 0o600);
  const main = fileURLToPath(new URL('./main.js', import.meta.url));
  const child = spawn(process.execPath, [...process.execArgv, main, ...args], {
    detached: true,
    // The daemon must not keep a file system busy that somebody wants to unmount.
    cwd: '/',
    stdio: ['ignore', logFd, logFd, 'ipc'],
    env: {
      ...process.env,
      [DAEMON_ENV]: '1',
      UV_THREADPOOL_SIZE: process.env['UV_THREADPOOL_SIZE'] ?? THREAD_POOL_SIZE,
    },
  });
  closeSync(logFd);
  const ready = new Promise<void>((resolve, reject) => {
    const settle = (error?: Error) => {
      child.removeAllListeners();
      child.on('error', () => {});
      if (child.connected) child.disconnect();
      child.unref();
      if (error === undefined) resolve();
      else reject(error);
    };
    child.on('message', (message: Message) => {
      if (message.kind === 'step') onStep(message.what);
      else settle(message.kind === 'failed' ? fromWireError(message.error) : undefined);
    });
    child.once('error', (cause) =>
      settle(
        new CairnError('IO', `cannot start the daemon: ${cause.message}`, {
          hint: 'nothing was changed; see what is wrong: cairn doctor',
          cause,
        }),
      ),
    );
    child.once('exit', (code, signal) => {
      const how = signal === null ? `with exit code ${code}` : `by ${signal}`;
      settle(
        new CairnError('CLOSED', `the daemon ended ${how} before the mount was ready`, { hint: `see ${logPath}` }),
      );
    });
  });
  return { pid: child.pid ?? 0, ready, stop: () => child.kill('SIGTERM') };
}

/**
 * Resolves when the process has ended: with true when it has let go of its files, with false when the kernel keeps them, since a call of one of its threads waits for a
 * device that does not answer. The start time tells it from another process that has got its number since.
 */
export async function waitForEnd(pid: number, heldPolls = HELD_POLLS): Promise<boolean> {
  const first = processAt(pid);
  for (let polls = 0; ; ) {
    const found = processAt(pid);
    if (found === undefined || found.startTime !== first?.startTime) return true;
    if (found.isZombie) polls += 1;
    if (polls > heldPolls) return false;
    await new Promise((resolve) => setTimeout(resolve, GONE_POLL_MS));
  }
}

/**
 * Undefined if it has ended. A zombie has, whether or not its parent has heard of it, but only once its other threads have:
 * the first thread may be the first to go. proc(5): the state is the first field after the name in parentheses, the start
 * time the twentieth.
 */
function processAt(pid: number): { startTime: string | undefined; isZombie: boolean } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const isZombie = fields[0] === 'Z' || fields[0] === 'X';
    if (isZombie && readdirSync(`/proc/${pid}/task`).length <= 1) return undefined;
    return { startTime: fields[19], isZombie };
  } catch {
    return undefined;
  }
}
