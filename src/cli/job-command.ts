/** `cairn job`: the work in the background of a mounted pool, listed, paused, resumed and cancelled. */
import type { Command } from 'commander';
import { CairnError } from '../errors/cairn-error.js';
import type { CliContext, ExitCode } from './context.js';
import { daemonClient } from './daemon-client.js';
import { jobText } from './job-text.js';
import { resolvePool } from './pool-path.js';

const ACTIONS = {
  pause: 'stop it until it is resumed',
  resume: 'go on with one that was paused, or has failed, as fast as before',
  cancel: 'stop it for good',
} as const;

export function jobCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  const job = program
    .command('job')
    .description('work in the background of a mounted pool: list, pause, resume, speed, cancel')
    .addHelpText(
      'after',
      `
Example:
  $ cairn job list /srv/pool
  $ cairn job pause /srv/pool scrub
  $ cairn job resume /srv/pool scrub
  $ cairn job speed /srv/pool scrub full

Work in the background is gentle: it stands back while somebody uses the pool. At full speed it does not.`,
    );
  job
    .command('list')
    .description('what is at work, how far it is, and how the last ones ended')
    .argument('<pool>', 'directory of the pool')
    .option('--json', 'print it as JSON')
    .action(async (path: string, flags: { json?: true }) => {
      const jobs = await daemonClient(context, await resolvePool(context, path)).jobs();
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
      const client = daemonClient(context, await resolvePool(context, path));
      const pace = flags.fullSpeed === true ? { fullSpeed: true } : undefined;
      context.stdout.write(`${jobText(await client.job(name, action, { pace }))}\n`);
      done(0);
    });
  }
  job
    .command('speed')
    .description('change how fast it goes, also while it runs')
    .argument('<pool>', 'directory of the pool')
    .argument('<name>', 'as `cairn job list` calls it')
    .argument('<speed>', 'full: it does not stand back for users; gentle: it does')
    .action(async (path: string, name: string, speed: string) => {
      if (speed !== 'full' && speed !== 'gentle')
        throw new CairnError('INVALID', `there is no speed ${JSON.stringify(speed)}`, { hint: 'it is full or gentle' });
      const client = daemonClient(context, await resolvePool(context, path));
      const pace = { fullSpeed: speed === 'full' };
      context.stdout.write(`${jobText(await client.job(name, 'pace', { pace }))}\n`);
      done(0);
    });
}
