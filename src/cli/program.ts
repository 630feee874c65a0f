/** The command line: parses, runs one command, and turns what happened into one line and an exit code. */
import { Command, CommanderError } from 'commander';
import { commitCommand } from './commit-command.js';
import type { CliContext, ExitCode } from './context.js';
import { diskCommand } from './disk-command.js';
import { forecastCommand } from './forecast-command.js';
import { fsckCommand } from './fsck-command.js';
import { initCommand } from './init-command.js';
import { jobCommand } from './job-command.js';
import { mountCommand } from './mount-command.js';
import { planCommand } from './plan-command.js';
import { rescueCommand } from './rescue-command.js';
import { scrubCommand } from './scrub-command.js';
import { showError } from './show-error.js';
import { startCommand } from './start-command.js';
import { stateCommand } from './state-command.js';
import { statusCommand } from './status-command.js';
import { unmountCommand } from './unmount-command.js';
import { userCommand } from './user-command.js';

const EXAMPLE = `
Example:
  $ cairn init /srv/pool --disk /mnt/a/cairn /mnt/b/cairn /mnt/c/cairn --cache /mnt/ssd/cairn
  $ cairn mount /srv/pool /mnt/pool
  $ cairn status /srv/pool

Every command has its own help: cairn COMMAND --help`;

/** `args` without node and script. Never rejects. */
export async function runCli(args: readonly string[], version: string, context: CliContext): Promise<ExitCode> {
  let code: ExitCode = 0;
  const done = (ended: ExitCode) => {
    code = ended;
  };
  // Subcommands inherit exitOverride and configureOutput when they are made, so these come first.
  const program = new Command('cairn')
    .description('one trusted store out of the disks of one small box')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .addHelpText('after', EXAMPLE)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      writeErr: (text) => context.stderr.write(text),
      // One line, also with commander's suggestions.
      outputError: (text, write) => {
        const line = text
          .replace(/^error: /, '')
          .trim()
          .replaceAll('\n', ' ');
        write(`cairn: ${line}; \`cairn --help\` and \`cairn COMMAND --help\` show what is possible\n`);
      },
      getOutHelpWidth: () => context.stdout.columns,
      getErrHelpWidth: () => context.stderr.columns,
    });
  for (const add of [
    initCommand,
    planCommand,
    mountCommand,
    unmountCommand,
    statusCommand,
    commitCommand,
    stateCommand,
    forecastCommand,
    fsckCommand,
    jobCommand,
    diskCommand,
    scrubCommand,
    rescueCommand,
    userCommand,
    startCommand,
  ]) {
    add(program, context, done);
  }
  try {
    await program.parseAsync(args, { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    showError(context, error);
    return 1;
  }
}
