/** A program that runs beside the test and says line by line how far it is. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface ProgramEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

export class RunningProgram {
  /** Complete lines of its stdout so far. */
  readonly lines: string[] = [];
  /** Resolves when it has ended and all of its output has been read. */
  readonly ended: Promise<ProgramEnd>;
  readonly #child: ChildProcess;
  #isOver = false;
  readonly #waiting = new Set<() => void>();

  constructor(program: string, args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = process.env) {
    const child = spawn(program, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    createInterface({ input: child.stdout }).on('line', (line) => {
      this.lines.push(line);
      this.#wake();
    });
    this.ended = new Promise((resolve) => {
      child.once('error', (error) => {
        stderr += error.message;
      });
      child.once('close', (code, signal) => {
        this.#isOver = true;
        resolve({ code, signal, stderr });
        this.#wake();
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Resolves as soon as the lines satisfy `enough`; rejects if the program ends before. */
  async until(enough: (lines: readonly string[]) => boolean): Promise<void> {
    while (!enough(this.lines)) {
      if (this.#isOver) {
        const { code, signal, stderr } = await this.ended;
        throw new Error(`the program ended too early (${signal ?? code}): ${stderr}`);
      }
      await new Promise<void>((resolve) => {
        this.#waiting.add(resolve);
      });
    }
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }

  signal(signal: NodeJS.Signals): void {
    if (!this.#isOver) this.#child.kill(signal);
  }

  /** Also of a program that hangs in a mount whose daemon is being ended: it may take until then. */
  kill(): void {
    this.signal('SIGKILL');
  }
}
