/** `cairn user`: who may use the S3 face of a pool. A secret is shown once, when it is made. */
import type { Command } from 'commander';
import { CairnError } from '../errors/cairn-error.js';
import { NodeFileIo } from '../io/node-file-io.js';
import { loadUsers, newKeys, newUser, type S3User, saveUsers } from '../s3/users.js';
import type { CliContext, ExitCode } from './context.js';
import { resolvePool } from './pool-path.js';
import { textTable } from './text-table.js';

const ACCESSES = ['none', 'read', 'write'] as const;

export function userCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  const user = program
    .command('user')
    .description('who may use the S3 face of a pool')
    .addHelpText(
      'after',
      `
Example:
  $ cairn user add /srv/pool alice
  $ cairn user add /srv/pool phone --bucket photos=write --bucket '*=none'
  $ cairn user list /srv/pool
  $ cairn user rotate /srv/pool alice
  $ cairn user remove /srv/pool alice

A running daemon takes changes within a second.`,
    );
  user
    .command('add')
    .description('a new user; prints its keys, the secret only now')
    .argument('<pool>', 'directory of the pool')
    .argument('<name>', 'a name for people')
    .option('--bucket <name=access...>', "what it may do in others' buckets: none, read or write; `*` for all others")
    .action(async (pool: string, name: string, flags: { readonly bucket?: string[] }) => {
      if (name.trim() === '')
        throw new CairnError('INVALID', 'the name is empty', { hint: 'give a name to know the user by' });
      const made: S3User = { ...newUser(name), ...bucketsOf(flags.bucket ?? []) };
      await change(context, pool, (users) => {
        if (users.some((other) => other.name === name))
          throw new CairnError('EXISTS', `there is a user ${name} already`, {
            hint: 'give another name, or make a new secret for it: cairn user rotate',
          });
        return [...users, made];
      });
      showKeys(context, made);
      done(0);
    });
  user
    .command('list')
    .description('all users, without secrets')
    .argument('<pool>', 'directory of the pool')
    .option('--json', 'for programs')
    .action(async (pool: string, flags: { readonly json?: true }) => {
      const users = await loadUsers(new NodeFileIo(), await resolvePool(context, pool));
      const shown = users.map(({ name, accessKey, buckets }) => ({ name, accessKey, buckets: buckets ?? {} }));
      if (flags.json) context.stdout.write(`${JSON.stringify(shown)}\n`);
      else
        context.stdout.write(
          textTable(
            [
              ['user', 'access key', 'buckets of others'],
              ...shown.map(({ name, accessKey, buckets }) => [
                name,
                accessKey,
                Object.entries(buckets)
                  .map(([bucket, access]) => `${bucket}=${access}`)
                  .join(' '),
              ]),
            ],
            new Set(),
          ),
        );
      done(0);
    });
  user
    .command('rotate')
    .description('new keys for a user; the old ones stop working at once')
    .argument('<pool>', 'directory of the pool')
    .argument('<name>')
    .action(async (pool: string, name: string) => {
      let rotated: S3User | undefined;
      await change(context, pool, (users) =>
        users.map((one) => {
          if (one.name !== name) return one;
          rotated = { ...one, ...newKeys() };
          return rotated;
        }),
      );
      if (rotated === undefined) throw noUser(name);
      showKeys(context, rotated);
      done(0);
    });
  user
    .command('remove')
    .description('the user may do nothing any more; what it owns stays')
    .argument('<pool>', 'directory of the pool')
    .argument('<name>')
    .action(async (pool: string, name: string) => {
      await change(context, pool, (users) => {
        const left = users.filter((one) => one.name !== name);
        if (left.length === users.length) throw noUser(name);
        return left;
      });
      context.stdout.write(`removed ${name}\n`);
      done(0);
    });
}

/** In one step: other `cairn user` commands wait. */
async function change(
  context: CliContext,
  pool: string,
  how: (users: readonly S3User[]) => readonly S3User[],
): Promise<void> {
  const io = new NodeFileIo();
  const directory = await resolvePool(context, pool);
  const lock = await io.lock(`${directory}/s3-users.lock`);
  try {
    await saveUsers(io, directory, how(await loadUsers(io, directory)));
  } finally {
    await lock.release();
  }
}

function bucketsOf(texts: readonly string[]): Pick<S3User, 'buckets'> {
  if (texts.length === 0) return {};
  const buckets: Record<string, (typeof ACCESSES)[number]> = {};
  for (const text of texts) {
    const [bucket, access] = text.split('=');
    const known = ACCESSES.find((one) => one === access);
    if (bucket === undefined || bucket === '' || known === undefined)
      throw new CairnError('INVALID', `--bucket ${text} must be NAME=none, NAME=read or NAME=write`);
    buckets[bucket] = known;
  }
  return { buckets };
}

function showKeys({ stdout }: CliContext, { accessKey, secretKey }: S3User): void {
  stdout.write(`access key: ${accessKey}\nsecret key: ${secretKey}\n`);
}

function noUser(name: string): CairnError {
  return new CairnError('NOT_FOUND', `there is no user ${name}`, { hint: 'see `cairn user list`' });
}
