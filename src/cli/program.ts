/** The command line: parses, runs one command, and turns what happened into one line and an exit code. */
import { Command, CommanderError } from 'commander';
import type { CliContext, ExitCode } from './context.js';
import { UNMOUNT_HELPER } from './mount-helper-scripts.js';
import { showError } from './show-error.js';

/** Declares one command, its options and its help. `whole` gives the program with every command, for what is made from all of them. */
type AddCommand = (
  program: Command,
  context: CliContext,
  done: (code: ExitCode) => void,
  whole: () => Promise<Command>,
) => void;

/**
 * Every command with its module, in the order of `cairn --help`. Only the module of the command that is named is read: each brings what it needs (S3, valibot, rescue),
 * and reading all of it takes longer than most commands do.
 */
const COMMANDS: Readonly<Record<string, () => Promise<AddCommand>>> = {
  init: async () => (await import('./init-command.js')).initCommand,
  plan: async () => (await import('./plan-command.js')).planCommand,
  mount: async () => (await import('./mount-command.js')).mountCommand,
  unmount: async () => (await import('./unmount-command.js')).unmountCommand,
  status: async () => (await import('./status-command.js')).statusCommand,
  commit: async () => (await import('./commit-command.js')).commitCommand,
  state: async () => (await import('./state-command.js')).stateCommand,
  policy: async () => (await import('./policy-command.js')).policyCommand,
  forecast: async () => (await import('./forecast-command.js')).forecastCommand,
  fsck: async () => (await import('./fsck-command.js')).fsckCommand,
  job: async () => (await import('./job-command.js')).jobCommand,
  disk: async () => (await import('./disk-command.js')).diskCommand,
  scrub: async () => (await import('./scrub-command.js')).scrubCommand,
  rescue: async () => (await import('./rescue-command.js')).rescueCommand,
  user: async () => (await import('./user-command.js')).userCommand,
  web: async () => (await import('./web-command.js')).webCommand,
  service: async () => (await import('./service-command.js')).serviceCommand,
  doctor: async () => (await import('./doctor-command.js')).doctorCommand,
  completion: async () => (await import('./completion-command.js')).completionCommand,
  start: async () => (await import('./start-command.js')).startCommand,
};

const EXAMPLE = `
Example:
  $ cairn init /srv/pool --disk /mnt/a/cairn /mnt/b/cairn /mnt/c/cairn --cache /mnt/ssd/cairn
  $ cairn mount /srv/pool /mnt/pool
  $ cairn status /srv/pool

Every command has its own help: cairn COMMAND --help`;

/** `args` without node and script. Never rejects. */
export async function runCli(args: readonly string[], version: string, context: CliContext): Promise<ExitCode> {
  if (isCallOfMount(args)) return (await import('./mount-helper.js')).mountHelper(args, context);
  if (args[0] === UNMOUNT_HELPER) return (await import('./mount-helper.js')).unmountHelper(args.slice(1), context);
  let code: ExitCode = 0;
  const done = (ended: ExitCode) => {
    code = ended;
  };
  const program = emptyProgram(version, context, helpFor(args));
  const whole = () => wholeProgram(version, context);
  for (const load of modulesFor(args)) (await load())(program, context, done, whole);
  try {
    await program.parseAsync(args, { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    showError(context, error);
    return 1;
  }
}

/** mount(8) names no command, but a pool and a directory. */
function isCallOfMount([first = '', second = '-']: readonly string[]): boolean {
  return first.startsWith('/') && !second.startsWith('-');
}

/** With every command, declared and not run: what manual pages and completions are made from. */
export async function wholeProgram(version: string, context: CliContext): Promise<Command> {
  const program = emptyProgram(version, context);
  const whole = async () => program;
  for (const load of Object.values(COMMANDS)) (await load())(program, context, () => {}, whole);
  return program;
}

/** Which help explains what was typed. */
function helpFor([first = '']: readonly string[]): string {
  return Object.hasOwn(COMMANDS, first) ? `cairn ${first} --help` : 'cairn --help';
}

function emptyProgram(version: string, context: CliContext, help = 'cairn --help'): Command {
  // Subcommands inherit exitOverride and configureOutput when they are made, so these come first.
  return new Command('cairn')
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
          .replaceAll('\n', ' ')
          .replace(/\.$/, '');
        write(`cairn: ${line}; see what is possible: ${help}\n`);
      },
      getOutHelpWidth: () => context.stdout.columns,
      getErrHelpWidth: () => context.stderr.columns,
    });
}

/** That of the command which is named; of all where none is (help), or none of these: so that a similar one can be suggested. */
function modulesFor(args: readonly string[]): readonly (() => Promise<AddCommand>)[] {
  const [first = ''] = args;
  if (first === '-V' || first === '--version') return [];
  const named = Object.hasOwn(COMMANDS, first) ? COMMANDS[first] : undefined;
  return named === undefined ? Object.values(COMMANDS) : [named];
}
