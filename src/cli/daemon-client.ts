/** How commands reach the daemon of a pool: nobody sits before a silent terminal, and nobody waits for ever for a daemon that hangs. */
import { ControlClient } from '../http/control-client.js';
import type { CliContext } from './context.js';
import { sayAbove } from './progress.js';

/** `poolDirectory` as of resolvePool. Says on standard error where the daemon does not answer and is waited for. */
export function daemonClient(context: Pick<CliContext, 'stderr'>, poolDirectory: string): ControlClient {
  return new ControlClient(poolDirectory, {
    onSilence: () =>
      sayAbove(
        context.stderr,
        `the daemon of ${poolDirectory} does not answer; waiting for it, Ctrl-C ends the waiting`,
      ),
  });
}
