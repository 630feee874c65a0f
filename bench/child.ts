/** Child processes of the bench: each ends before the bench does, also when it is interrupted. */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Figures, LoadSize } from './loads/load.js';
import type { LoadName } from './worker.js';

const running = new Set<ChildProcess>();
let interrupted = false;

/** Runs a command to its end and returns what it printed. Rejects with its last words if it fails or takes longer than `timeoutMs`. */
export function run(command: string, args: readonly string[], timeoutMs = 0): Promise<string> {
  return new Promise((resolve, reject) => {
    if (interrupted) throw new Error('interrupted');
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    });
    running.add(child);
    let out = '';
    let err = '';
    child.stdout.on('data', (bytes: Buffer) => {
      out += bytes.toString();
    });
    child.stderr.on('data', (bytes: Buffer) => {
      err += bytes.toString();
    });
    child.once('error', reject);
    child.once('close', finish);
    child.once('exit', () => {
      running.delete(child);
      // a daemon that the command left behind may hold the pipes open
      setTimeout(finish, 1000).unref();
    });
    function finish(): void {
      child.stdout.destroy();
      child.stderr.destroy();
      if (child.exitCode === 0) resolve(out);
      const words = (err.trim() || out.trim()).split('\n').slice(-5).join('\n');
      reject(new Error(`${[command, ...args].join(' ')} failed (${child.signalCode ?? child.exitCode}): ${words}`));
    }
  });
}

/** Whether a program of this name can be run. */
export function isRunnable(program: string): Promise<boolean> {
  return run(program, ['--version']).then(
    () => true,
    () => false,
  );
}

/** Whether a program of this name is on the PATH. */
export function onPath(program: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Runs one load on a directory, in a process of its own. */
export async function runLoad(name: LoadName, directory: string, size: LoadSize): Promise<Figures> {
  const worker = fileURLToPath(new URL('./worker.js', import.meta.url));
  return JSON.parse(await run(process.execPath, [worker, name, directory, JSON.stringify(size)])) as Figures;
}

/** Ends what is running and starts nothing more, so that whoever waits for it unwinds; until `resume`. */
export function interrupt(): void {
  interrupted = true;
  for (const child of running) child.kill('SIGKILL');
}

export function isInterrupted(): boolean {
  return interrupted;
}

/** For cleaning up. */
export function resume(): void {
  interrupted = false;
}
