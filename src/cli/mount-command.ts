/** `cairn mount`: starts the daemon of a pool in the background and waits until it serves; or is that daemon (--foreground). */
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import type { Logger } from 'pino';
import { loadConfig, type PoolConfig } from '../pool/config.js';
import type { S3Config, WebConfig } from '../pool/face-config.js';
import { argument } from './arguments.js';
import type { CliContext, ExitCode } from './context.js';
import { daemonLogPath, openDaemonLog } from './daemon-log.js';
import { failureMessage, isDaemonProcess, startDaemon, tellParent } from './daemon-process.js';
import { runInForeground, STOP_SIGNALS } from './foreground.js';
import { isJournal } from './journal-output.js';
import { MountDaemon } from './mount-daemon.js';
import { FSTAB_LINE } from './mount-helper-scripts.js';
import {
  formatMountOptions,
  type ListedOptions,
  type MountChoices,
  OPTIONS_HELP,
  parseMountOptions,
} from './mount-options.js';
import { prepareMountpoint, resolveMountpoint } from './mountpoint.js';
import { resolvePool } from './pool-path.js';
import { Progress } from './progress.js';
import { remount } from './remount.js';
import { ServiceManager } from './service-manager.js';
import { showError } from './show-error.js';

interface Flags {
  readonly strong?: true;
  readonly allowOther?: true;
  readonly readOnly?: true;
  readonly writeback?: true;
  readonly options?: string;
  readonly foreground?: true;
}

export interface MountTarget extends MountChoices {
  readonly poolDirectory: string;
  readonly mountpoint: string;
  readonly config: PoolConfig;
  readonly s3Otherwise?: S3Config | undefined;
  readonly webOtherwise?: WebConfig | undefined;
}

export function mountCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  program
    .command('mount')
    .description('mount a pool; returns when it is ready')
    .argument('<pool>', 'directory of the pool')
    .argument('<mountpoint>', 'an empty directory')
    .option('--strong', 'fsync and close answer only when the data is safe on the disks')
    .option('--allow-other', 'let other users in as well, within the permissions (always so where root mounts)')
    .option(
      '--read-only',
      'refuse every change through the mount; large files that are read again are read at the speed of the cache',
    )
    .option(
      '--writeback',
      'let the kernel keep what is written for about a second: for databases and other files with many small writes',
    )
    .option('-o, --options <list>', 'as in fstab: ro, noatime, noexec, … (see below)', addOptions)
    .option('--foreground', 'stay in the foreground; Ctrl-C commits and unmounts')
    .addHelpText(
      'after',
      `
Example:
  $ cairn mount /srv/pool /mnt/pool
  $ cairn mount --strong /srv/pool /mnt/pool
  $ cairn mount -o ro,noatime /srv/pool /mnt/pool

As a line in /etc/fstab, for mount(8):
  ${FSTAB_LINE}

${OPTIONS_HELP}

The daemon logs to daemon.log in the pool directory. CAIRN_LOG=debug makes it say more.`,
    )
    .action(async (pool: string, mountpoint: string, flags: Flags) => {
      const choices = choicesOf(flags);
      if (isDaemonProcess(context.env)) return done(await serve(context, pool, mountpoint, choices));
      if (choices.remount) {
        await remount(context, await resolveMountpoint(context, mountpoint), choices);
        return done(0);
      }
      const target = await mountTarget(context, pool, mountpoint, choices);
      done(flags.foreground ? await foreground(context, target) : await mountInBackground(context, target));
    });
}

/** One `-o` after the other, as one list. */
function addOptions(list: string, before?: string): string {
  argument(parseMountOptions)(list);
  return before === undefined ? list : `${before},${list}`;
}

function choicesOf(flags: Flags): ListedOptions {
  const listed = parseMountOptions(flags.options ?? '');
  return {
    ...listed,
    strong: flags.strong === true || listed.strong,
    allowOther: flags.allowOther === true || listed.allowOther,
    readOnly: flags.readOnly === true || listed.readOnly,
    writeback: flags.writeback === true || listed.writeback,
  };
}

/** NOT_FOUND, CONFIG. */
export async function mountTarget(
  context: CliContext,
  pool: string,
  directory: string,
  choices: MountChoices,
): Promise<MountTarget> {
  const poolDirectory = await resolvePool(context, pool);
  const mountpoint = await resolveMountpoint(context, directory);
  const config = await loadConfig({ readFile: (path) => readFile(path) }, poolDirectory);
  return { ...choices, poolDirectory, mountpoint, config };
}

/** Resolves when it is ready to be used: 130 if a signal was quicker. */
export async function mountInBackground(context: CliContext, target: MountTarget): Promise<0 | 130> {
  const { poolDirectory, mountpoint } = target;
  // Said here as well, so that a mistake costs no process.
  if (await prepareMountpoint(context, mountpoint, [poolDirectory])) {
    context.stdout.write(`detached the dead mount at ${mountpoint}\n`);
  }
  const progress = new Progress(context.stderr, context.clock, 'starting the daemon');
  const args = ['mount', '--foreground', '-o', formatMountOptions(target), '--', poolDirectory, mountpoint];
  const daemon = startDaemon(poolDirectory, args, (what) => progress.step(what));
  let interrupted = false;
  const interrupt = () => {
    interrupted = true;
    daemon.stop();
  };
  context.signals.on('SIGINT', interrupt).on('SIGTERM', interrupt);
  try {
    await daemon.ready;
  } catch (error) {
    if (interrupted) return 130;
    throw error;
  } finally {
    context.signals.off('SIGINT', interrupt).off('SIGTERM', interrupt);
    progress.done();
  }
  context.stdout.write(
    `mounted ${poolDirectory} at ${mountpoint} (pid ${daemon.pid}, log ${daemonLogPath(poolDirectory)})\n`,
  );
  return 0;
}

async function foreground(context: CliContext, target: MountTarget): Promise<ExitCode> {
  const { poolDirectory, mountpoint } = target;
  return await runForeground(context, target, () => {
    // A journal has this line from the log, and no keys to press.
    if (isJournal(context.env)) return;
    context.stdout.write(`mounted ${poolDirectory} at ${mountpoint}; Ctrl-C unmounts\n`);
  });
}

/** Also what `cairn start` ends with. */
export async function runForeground(
  context: CliContext,
  target: MountTarget,
  onReady: (daemon: MountDaemon) => void | Promise<void>,
): Promise<ExitCode> {
  const log = await openDaemonLog(target.poolDirectory, context.env);
  endAtBug(context, log, (error) => showError(context, error));
  const manager = await ServiceManager.find(context.env, log);
  const progress = new Progress(context.stderr, context.clock, 'starting');
  const onStep = (what: string) => {
    progress.step(what);
    manager?.step(what);
  };
  const onStop = () => manager?.stopping('committing and unmounting');
  for (const signal of STOP_SIGNALS) context.signals.on(signal, onStop);
  const starting = MountDaemon.start(context, { ...target, log, onStep });
  starting.then(
    () => progress.done(),
    () => progress.done(),
  );
  try {
    return await runInForeground(context, starting, async (daemon) => {
      manager?.ready(() => serviceLine(daemon));
      await onReady(daemon);
    });
  } finally {
    for (const signal of STOP_SIGNALS) context.signals.off(signal, onStop);
    manager?.close();
  }
}

/** What `systemctl status` shows. */
async function serviceLine(daemon: MountDaemon): Promise<string> {
  const { health, findings, directory, mountpoint } = await daemon.status();
  const [first] = findings;
  return `${health}, serving ${directory} at ${mountpoint}${first === undefined ? '' : `: ${first}`}`;
}

/** In the background process: the parent hears how it went; afterwards only the log does. */
async function serve(context: CliContext, pool: string, mountpoint: string, choices: MountChoices): Promise<ExitCode> {
  try {
    const config = await loadConfig({ readFile: (path) => readFile(path) }, pool);
    const log = await openDaemonLog(pool, context.env);
    endAtBug(context, log, (error) => tellParent(failureMessage(error)));
    const onStep = (what: string) => tellParent({ kind: 'step', what });
    const options = { ...choices, poolDirectory: pool, mountpoint, config, log, onStep };
    const output = {
      isTTY: false,
      hasColour: false,
      isUtf8: false,
      columns: 80,
      rows: 24,
      write: (text: string) => log.info({}, text.trim()),
    };
    const logged = { ...context, stdout: output, stderr: output };
    return await runInForeground(logged, MountDaemon.start(logged, options), () => tellParent({ kind: 'ready' }));
  } catch (error) {
    tellParent(failureMessage(error));
    return 1;
  }
}

/** The mount is left dead on purpose: an empty directory in its place would take writes that nobody keeps. */
function endAtBug(context: CliContext, log: Logger, tell: (error: Error) => void): void {
  context.signals.on('uncaughtException', (error: Error) => {
    log.fatal({ err: error }, 'a programming error: the daemon ends; what is staged stays in the cache');
    tell(error);
    process.exit(1);
  });
}
