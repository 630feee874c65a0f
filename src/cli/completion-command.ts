/** `cairn completion`: a script for the shell that completes commands, options and directories. */
import { Argument, type Command } from 'commander';
import { completionScript, SHELLS, type Shell } from './completion.js';
import type { CliContext, ExitCode } from './context.js';

/** `whole`: with every command, of which `program` has only this one. */
export function completionCommand(
  program: Command,
  context: CliContext,
  done: (code: ExitCode) => void,
  whole: () => Promise<Command>,
): void {
  program
    .command('completion')
    .description('print a script that completes commands and options in a shell')
    .addArgument(new Argument('<shell>', 'for which shell').choices(SHELLS))
    .addHelpText(
      'after',
      `
Example:
  $ cairn completion bash | sudo tee /usr/share/bash-completion/completions/cairn
  $ cairn completion zsh > "\${fpath[1]}/_cairn"
  $ cairn completion fish > ~/.config/fish/completions/cairn.fish

For this shell only, in bash: source <(cairn completion bash)`,
    )
    .action(async (shell: Shell) => {
      context.stdout.write(completionScript(shell, await whole()));
      done(0);
    });
}
