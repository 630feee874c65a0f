/** `cairn state`: how safe one file is, or all below a directory. */
import type { Command } from 'commander';
import type { FileState, PolicyReport } from '../vfs/reports.js';
import type { CliContext, ExitCode } from './context.js';
import { daemonClient } from './daemon-client.js';
import { policyLines } from './policy-command.js';
import { findInPool } from './pool-path.js';
import { counted, formatBytes } from './units.js';

export function stateCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  program
    .command('state')
    .description('staged and committed bytes of a file, its chunks, health, and the policy that holds for it')
    .argument('<path>', 'a file or directory in a mounted pool')
    .option('--json', 'print it as JSON')
    .addHelpText(
      'after',
      `
Example:
  $ cairn state /mnt/pool/photos/2024.tar`,
    )
    .action(async (path: string, flags: { json?: true }) => {
      const { poolDirectory, inside } = await findInPool(context, path);
      const client = daemonClient(context, poolDirectory);
      const [state, policy] = [await client.state(inside), await client.policy(inside)];
      context.stdout.write(
        flags.json ? `${JSON.stringify({ ...state, policy }, null, 2)}\n` : stateText(path, state, policy),
      );
      done(0);
    });
}

function stateText(path: string, state: FileState, policy: PolicyReport): string {
  const { chunks, bytes, storedBytes } = state.compressed;
  const compressed =
    chunks === 0 ? 'nothing' : `${counted(chunks, 'chunk')}, ${formatBytes(bytes)} in ${formatBytes(storedBytes)}`;
  const schemes = state.schemes.length === 0 ? 'none' : state.schemes.join(', ');
  return `${path}: ${state.state}, ${state.health}
  kind        ${state.kind}
  size        ${formatBytes(state.sizeBytes)}
  staged      ${formatBytes(state.stagedBytes)}
  committed   ${formatBytes(state.committedBytes)} in ${counted(state.chunks, 'chunk')}
  scheme      ${schemes}
  compressed  ${compressed}
policy
${policyLines(policy)}`;
}
