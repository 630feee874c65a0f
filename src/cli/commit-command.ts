/** `cairn commit`: makes what is staged below the paths durable in the pool; with --wait, returns after the pool promise. */
import type { Command } from 'commander';
import type { ControlClient } from '../http/control-client.js';
import type { CommitReport } from '../vfs/reports.js';
import type { CliContext, ExitCode } from './context.js';
import { daemonClient } from './daemon-client.js';
import { findInPool, type PoolPath } from './pool-path.js';
import { Progress } from './progress.js';
import { counted, formatBytes, formatDuration } from './units.js';

export function commitCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  program
    .command('commit')
    .description('make staged bytes safe on the disks of the pool')
    .argument('<path...>', 'files or directories in a mounted pool')
    .option('--wait', 'return when it is done; without it, when it has begun')
    .option('--json', 'print the report as JSON, one line per pool')
    .addHelpText(
      'after',
      `
Example:
  $ cairn commit --wait /mnt/pool/photos

Ctrl-C ends the waiting, not the commit.`,
    )
    .action(async (paths: string[], flags: { wait?: true; json?: true }) => {
      const found = await Promise.all(paths.map((path) => findInPool(context, path)));
      for (const [poolDirectory, members] of byPool(found)) {
        const client = daemonClient(context, poolDirectory);
        const inside = members.map((member) => member.inside);
        const answer = flags.wait ? await wait(context, client, inside) : await begin(client, inside);
        context.stdout.write(
          flags.json ? `${JSON.stringify({ directory: poolDirectory, ...answer })}\n` : text(answer),
        );
      }
      done(0);
    });
}

type Answer = CommitReport | { readonly started: true };

async function begin(client: ControlClient, paths: readonly string[]): Promise<Answer> {
  await client.startCommit(paths);
  return { started: true };
}

async function wait(context: CliContext, client: ControlClient, paths: readonly string[]): Promise<Answer> {
  const progress = new Progress(context.stderr, context.clock, 'committing');
  try {
    return await client.commit(paths, progress.update);
  } finally {
    progress.done();
  }
}

function text(answer: Answer): string {
  if ('started' in answer) return 'the commit has begun; `cairn state PATH` says how far it is\n';
  const { bytesDone, filesDone, sequence, elapsedMs, healthy } = answer;
  const how = healthy ? 'healthy' : 'degraded: a disk is missing, see `cairn status`';
  const state = `sequence ${sequence}, ${how}`;
  if (filesDone === 0 && bytesDone === 0) return `committed: no file had staged bytes, ${state}\n`;
  const took = elapsedMs < 1000 ? 'less than a second' : formatDuration(elapsedMs);
  return `committed: ${counted(filesDone, 'file')}, ${formatBytes(bytesDone)} in ${took}, ${state}\n`;
}

function byPool(found: readonly PoolPath[]): Map<string, PoolPath[]> {
  const pools = new Map<string, PoolPath[]>();
  for (const each of found) {
    const members = pools.get(each.poolDirectory);
    if (members === undefined) pools.set(each.poolDirectory, [each]);
    else members.push(each);
  }
  return pools;
}
