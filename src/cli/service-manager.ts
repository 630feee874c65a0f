/**
 * The service manager that has started this process (systemd, or whoever speaks sd_notify(3)), if one has: it is told when the mount is ready, what is going on, and
 * that the event loop still turns. Whatever it does with that, nothing here fails because of it.
 */
import type { CliContext } from './context.js';
import type { PoolLog } from './pool-opener.js';

/** Without a watchdog: how often a long start or end says that it goes on. */
const BEAT_MS = 10_000;
/** So much longer may a start or an end take, each time that it says so. */
const EXTEND_USEC = 60_000_000;

/** `text` to the manager's socket. */
type Send = (socket: string, text: Uint8Array) => void;

export class ServiceManager {
  readonly #socket: string;
  readonly #send: Send;
  readonly #log: PoolLog;
  readonly #watchdog: boolean;
  readonly #timer: NodeJS.Timeout;
  /** The manager waits for something that takes its time. */
  #isWaiting = true;
  #failed = false;
  #describe: (() => Promise<string>) | undefined;
  #described = '';

  /** Undefined if nobody wants to hear of this process. */
  static async find(env: CliContext['env'], log: PoolLog): Promise<ServiceManager | undefined> {
    const socket = env['NOTIFY_SOCKET'] ?? '';
    if (!/^[/@]./.test(socket)) return undefined;
    const { loadAddon } = await import('../../native/addon.js');
    const addon = loadAddon();
    return new ServiceManager(socket, (to, text) => addon.notifySocket(to, text), env, log);
  }

  private constructor(socket: string, send: Send, env: CliContext['env'], log: PoolLog) {
    this.#socket = socket;
    this.#send = send;
    this.#log = log;
    const watchdogMs = Number(env['WATCHDOG_USEC'] ?? '0') / 1000;
    const isForUs = (env['WATCHDOG_PID'] ?? String(process.pid)) === String(process.pid);
    this.#watchdog = isForUs && watchdogMs > 0;
    const everyMs = this.#watchdog ? Math.min(BEAT_MS, Math.max(10, watchdogMs / 3)) : BEAT_MS;
    this.#timer = setInterval(() => this.#beat(), everyMs);
    this.#timer.unref();
  }

  /** What the process is busy with, for `systemctl status`. */
  step(what: string): void {
    this.#tell(`STATUS=${what}`, `EXTEND_TIMEOUT_USEC=${EXTEND_USEC}`);
  }

  /** `describe`: how it is, asked at once and again as long as it serves; the manager is told when that changes. */
  async ready(describe: () => Promise<string>): Promise<void> {
    this.#isWaiting = false;
    this.#tell('READY=1');
    this.#describe = describe;
    await this.#follow();
  }

  stopping(what: string): void {
    this.#isWaiting = true;
    this.#describe = undefined;
    this.#tell('STOPPING=1', `STATUS=${what}`, `EXTEND_TIMEOUT_USEC=${EXTEND_USEC}`);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #beat(): void {
    const lines = [
      ...(this.#watchdog ? ['WATCHDOG=1'] : []),
      ...(this.#isWaiting ? [`EXTEND_TIMEOUT_USEC=${EXTEND_USEC}`] : []),
    ];
    if (lines.length > 0) this.#tell(...lines);
    void this.#follow();
  }

  async #follow(): Promise<void> {
    const describe = this.#describe;
    // A pool that is being closed has nothing to say any more.
    const text = await describe?.().catch(() => undefined);
    if (text === undefined || text === this.#described || describe !== this.#describe) return;
    this.#described = text;
    this.#tell(`STATUS=${text}`);
  }

  #tell(...lines: string[]): void {
    try {
      this.#send(this.#socket, Buffer.from(lines.map((line) => line.replaceAll('\n', ' ')).join('\n')));
    } catch (error) {
      // Said once: it will be the same each time.
      if (!this.#failed) this.#log.warn({ err: error }, 'the service manager cannot be told how the daemon is');
      this.#failed = true;
    }
  }
}
