/**
 * A daemon that answers to signals. The first one (Ctrl-C, SIGTERM, SIGHUP) commits and unmounts, with progress; another Ctrl-C gives up
 * the commit, not the data: staged bytes stay in the cache.
 */
import type { CliContext, ExitCode } from './context.js';
import { leftMounted, type MountDaemon } from './mount-daemon.js';
import { Progress } from './progress.js';
import { errorLine, showError } from './show-error.js';

/** npm passes a Ctrl-C on that the terminal has sent to all of us already: two signals this close are one wish. */
const ONE_WISH_MS = 1000;
/** What asks a daemon to commit and end. */
export const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Resolves when the daemon has ended, by a signal or otherwise; `onReady` is called when it is mounted. A signal while it starts
 * waits for the start to be complete and undoes it; a second one does not wait. Rejects if the start fails.
 */
export async function runInForeground(
  context: Pick<CliContext, 'clock' | 'signals' | 'stdout' | 'stderr' | 'env'>,
  starting: Promise<MountDaemon>,
  onReady: (daemon: MountDaemon) => void | Promise<void>,
): Promise<ExitCode> {
  let daemon: MountDaemon | undefined;
  let firstMs: number | undefined;
  let progress: Progress | undefined;
  let giveUp: (code: ExitCode) => void = () => {};
  const gaveUp = new Promise<ExitCode>((resolve) => {
    giveUp = resolve;
  });
  const onSignal = (signal: NodeJS.Signals) => {
    const nowMs = context.clock.monotonicMs();
    if (firstMs === undefined) {
      firstMs = nowMs;
      context.stdout.write('\ncommitting and unmounting (Ctrl-C again leaves the rest to the next mount)\n');
      progress = new Progress(context.stderr, context.clock, 'committing');
      const { update } = progress;
      // A start that fails is reported below.
      starting.then((started) => started.stop(update)).catch(() => {});
    } else if (signal === 'SIGINT' && nowMs - firstMs >= ONE_WISH_MS) {
      progress?.done();
      context.stdout.write('not committed: staged data stays safe in the cache and is committed at the next mount\n');
      const quit = () => giveUp(130);
      if (daemon === undefined) quit();
      else daemon.abandon().then(quit, quit);
    }
  };
  for (const signal of STOP_SIGNALS) context.signals.on(signal, onSignal);
  const life = async () => {
    daemon = await starting;
    if (firstMs === undefined) await onReady(daemon);
    return await ending(context, daemon, () => progress?.done());
  };
  try {
    return await Promise.race([gaveUp, life()]);
  } finally {
    progress?.done();
    for (const signal of STOP_SIGNALS) context.signals.off(signal, onSignal);
  }
}

async function ending(
  context: Pick<CliContext, 'stdout' | 'stderr' | 'env'>,
  daemon: MountDaemon,
  clear: () => void,
): Promise<ExitCode> {
  const { uncommitted, stillMounted } = await daemon.ended;
  clear();
  if (stillMounted !== undefined) {
    showError(context, leftMounted(daemon.mountpoint, stillMounted, uncommitted));
    return 1;
  }
  if (uncommitted === undefined) {
    context.stdout.write('committed and unmounted\n');
    return 0;
  }
  context.stderr.write(
    `cairn: unmounted, but not everything is committed: ${errorLine(uncommitted)}; it is safe in the cache and will be committed at the next mount\n`,
  );
  return 1;
}
