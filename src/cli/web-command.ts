/** `cairn web`: how to open the status page of a pool, and what its password is in cairn.toml. */
import type { Command } from 'commander';
import { CairnError } from '../errors/cairn-error.js';
import { hashPassword } from '../http/password.js';
import type { CliContext, ExitCode } from './context.js';
import { daemonClient } from './daemon-client.js';
import { resolvePool } from './pool-path.js';

const PASSWORD_MIN = 8;

export function webCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  const web = program
    .command('web')
    .description('the status page of a mounted pool: its link, its password, its notifications')
    .addHelpText(
      'after',
      `
Example:
  $ cairn web link /srv/pool
  $ cairn web password
  $ cairn web test-notifications /srv/pool`,
    );
  web
    .command('link')
    .description('print what opens the page in a browser')
    .argument('<pool>', 'directory of the pool')
    .action(async (path: string) => {
      const link = await daemonClient(context, await resolvePool(context, path)).webLink();
      if (link === null)
        throw new CairnError('NOT_FOUND', 'this pool has no status page', {
          hint: `put [web] into its cairn.toml, which is used at once; if it is there, see why it is not served: cairn status ${path}`,
        });
      context.stdout.write(`${link}\n`);
      done(0);
    });
  web
    .command('password')
    .description('ask for a password and print the line for [web] in cairn.toml; the password itself is kept nowhere')
    .action(async () => {
      const password = await context.askSecret(
        `New password for the status page (at least ${PASSWORD_MIN} characters; it is not shown): `,
      );
      if (password === undefined)
        throw new CairnError('INVALID', 'no password was given', { hint: 'run this in a terminal' });
      if (password.length < PASSWORD_MIN)
        throw new CairnError('INVALID', `a password has at least ${PASSWORD_MIN} characters`, {
          hint: 'nothing has changed: run this again',
        });
      if ((await context.askSecret('The same again: ')) !== password)
        throw new CairnError('INVALID', 'the two are not the same', { hint: 'nothing has changed: run this again' });
      context.stdout.write(`password = ${JSON.stringify(await hashPassword(password))}\n`);
      done(0);
    });
  web
    .command('test-notifications')
    .description('send one message by every way of [notify], and say how each went')
    .argument('<pool>', 'directory of the pool')
    .action(async (path: string) => {
      const ways = await daemonClient(context, await resolvePool(context, path)).testNotifications();
      if (ways.length === 0)
        throw new CairnError('NOT_FOUND', 'nobody is told of what happens to this pool', {
          hint: 'put [notify] into its cairn.toml, which is used at once',
        });
      for (const { way, error } of ways) context.stdout.write(`${way}: ${error === null ? 'sent' : error}\n`);
      done(ways.every(({ error }) => error === null) ? 0 : 1);
    });
}
