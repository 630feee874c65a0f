/** `cairn job`: the work in the background of a mounted pool, listed, paused, resumed and cancelled. */
import type { Command } from 'commander';
import { ControlClient } from '../http/control-client.js';
import type { CliContext, ExitCode } from './context.js';
import { jobText } from './job-text.js';
import { resolvePool } from './pool-path.js';

const ACTIONS = {
  pause: 'stop it until it is resumed',
  resume: 'go on with one that was paused, or has failed',
  cancel: 'stop it for good',
} as const;

export function jobCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  const job = program
    .command('job')
    .description('work in the background of a mounted pool: list, pause, resume, cancel')
    .addHelpText(
      'after',
      `
Example:
  $ cairn job list /srv/pool
  $ cairn job pause /srv/pool scrub
  $ cairn job resume /srv/pool scrub --full-speed

Work in the background stands back while somebody uses the pool; with --full-speed it does not.`,
    );
  job
    .command('list')
    .description('what is at work, how far it is, and how the last ones ended')
    .argument('<pool>', 'directory of the pool')
    .option('--json', 'print it as JSON')
    .action(async (path: string, flags: { json?: true }) => {
      const jobs = await new ControlClient(await resolvePool(context, path)).jobs();
      const known = jobs.filter(({ state }) => state !== 'idle');
      if (flags.json) context.stdout.write(`${JSON.stringify(jobs)}\n`);
      else if (known.length === 0) context.stdout.write('no work in the background has been started yet\n');
      else context.stdout.write(known.map((each) => `${jobText(each)}\n`).join(''));
      done(0);
    });
  for (const action of ['pause', 'resume', 'cancel'] as const) {
    const command = job
      .command(action)
      .description(ACTIONS[action])
      .argument('<pool>', 'directory of the pool')
      .argument('<name>', 'as `cairn job list` calls it');
    if (action === 'resume') command.option('--full-speed', 'do not stand back for users of the pool');
    command.action(async (path: string, name: string, flags: { fullSpeed?: true }) => {
      const client = new ControlClient(await resolvePool(context, path));
      const pace = action === 'resume' ? { fullSpeed: flags.fullSpeed === true } : undefined;
      context.stdout.write(`${jobText(await client.job(name, action, { pace }))}\n`);
      done(0);
    });
  }
}
