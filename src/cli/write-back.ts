/**
 * Asks the kernel to hand over what programs have written into mapped or buffered pages of a mount, so that a commit includes it.
 * Another process does it: the daemon may not wait for its own mount, since it must serve those very writes.
 */
import { spawn } from 'node:child_process';

/** Resolves when it is done, or cannot be done: what is still in pages was never acknowledged. */
export function writeBack(path: string): Promise<void> {
  return new Promise((resolve) => {
    const child = spawn('sync', ['-f', '--', path], { stdio: 'ignore', cwd: '/' });
    child.once('error', () => resolve());
    child.once('exit', () => resolve());
  });
}
