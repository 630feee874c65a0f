/** The other end of serve-fake.ts: starts it as a child process, so that a test can use the mount without answering for it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, chmodSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { unmountFuse } from '../../../src/fuse/mount.js';

/** Why mounting is not possible here, for tap's `skip`; false if it is. */
export function cannotMount(): string | false {
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
    return false;
  } catch {
    return '/dev/fuse cannot be opened here';
  }
}

export class ServedMount {
  readonly mountpoint: string;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #exit: Promise<unknown[]>;

  private constructor(mountpoint: string, child: ChildProcess, lines: AsyncIterator<string>) {
    this.mountpoint = mountpoint;
    this.#child = child;
    this.#lines = lines;
    this.#exit = once(child, 'exit');
  }

  /** Resolves when the mount may be used; rejects with what the child said if it ended first. */
  static async start(mountpoint: string, scratch: string, when: string): Promise<ServedMount> {
    const program = fileURLToPath(new URL('./serve-fake.js', import.meta.url));
    const child = spawn(process.execPath, [program, mountpoint, scratch, when], { stdio: ['pipe', 'pipe', 'pipe'] });
    let complaints = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaints += text;
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const served = new ServedMount(mountpoint, child, lines);
    const first = await lines.next();
    if (first.value !== 'ready') {
      await served.#exit;
      throw new Error(`the mount did not come up: ${complaints}`);
    }
    return served;
  }

  /** Runs a command of serve-fake.ts and gives back its value. */
  async command(...words: string[]): Promise<unknown> {
    this.#child.stdin?.write(`${JSON.stringify(words)}\n`);
    const { value } = await this.#lines.next();
    const answer = JSON.parse(value ?? '{"error": "the child ended"}') as { value?: unknown; error?: string };
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.value;
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exit;
  }

  /** The child's exit code, once its mount is gone. */
  async exitCode(): Promise<unknown> {
    return (await this.#exit)[0];
  }

  get hasExited(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }
}

/** A mount for one test, taken away with everything it left whatever the test did. */
export async function withMount(
  when: string,
  test: (served: ServedMount, scratch: string) => Promise<void>,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'cairn-mount-'));
  // Other users must reach the mount through it.
  chmodSync(directory, 0o755);
  const scratch = mkdtempSync(join(directory, 'scratch-'));
  const mountpoint = mkdtempSync(join(directory, 'mnt-'));
  let served: ServedMount | undefined;
  try {
    served = await ServedMount.start(mountpoint, scratch, when);
    await test(served, scratch);
  } finally {
    await unmountFuse(mountpoint, true).catch(() => {});
    // Whoever still has a file open would keep the child alive.
    if (served !== undefined && !served.hasExited) await served.kill();
    rmSync(directory, { recursive: true });
  }
}
