/** `cairn status`: how a pool is. Without a daemon: what its cairn.toml and the directories say. Exit code 0 in both cases. */
import { stat } from 'node:fs/promises';
import type { Command } from 'commander';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import { argument } from './arguments.js';
import type { CliContext, ExitCode } from './context.js';
import { daemonClient } from './daemon-client.js';
import { poolOf } from './mount-table.js';
import { resolvePool } from './pool-path.js';
import { type RestingStatus, restingText, statusText } from './status-text.js';
import { Style } from './style.js';
import { watchPage } from './watch-page.js';

/** Seconds between two looks, at least. */
const WATCH_MIN = 0.2;
const WATCH_MAX = 3600;
const WATCH_SECONDS = 2;

export function statusCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  program
    .command('status')
    .description('disks, groups, room, staged bytes, health')
    .argument('<pool>', 'directory of the pool')
    .option('--json', 'print it as JSON; the fields are in docs/status.md')
    .option('--watch', 'again and again until Ctrl-C')
    .option('--every <seconds>', 'how often, with --watch', argument(seconds), WATCH_SECONDS)
    .addHelpText(
      'after',
      `
Example:
  $ cairn status /srv/pool
  $ cairn status --watch /srv/pool
  $ cairn status --json /srv/pool | jq .health

The JSON has "running": false, and only what can be read without a daemon, if the pool is not mounted; with --watch it is one line each time.
Colours are left out where NO_COLOR is set, and where nobody looks at a terminal.`,
    )
    .action(async (path: string, flags: { json?: true; watch?: true; every: number }) => {
      const directory = await resolvePool(context, path);
      if (flags.watch === undefined) context.stdout.write(await page(context, directory, flags.json ? 2 : undefined));
      else {
        await watchPage(context, flags.every * 1000, flags.json === true, () =>
          page(context, directory, flags.json ? 0 : undefined),
        );
      }
      done(0);
    });
}

/** As JSON with this indentation, else for people. */
async function page(context: CliContext, directory: string, indent: number | undefined): Promise<string> {
  const status = await daemonClient(context, directory)
    .status()
    .catch((error: unknown) => {
      if (hasCode(error, 'CLOSED')) return undefined;
      throw error;
    });
  const answer = status === undefined ? await restingStatus(context, directory) : { ...status, running: true as const };
  if (indent !== undefined) return `${JSON.stringify(answer, null, indent)}\n`;
  const style = new Style(context.stdout);
  return answer.running ? statusText(answer, style, context.stdout.columns) : restingText(answer, style);
}

function seconds(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= WATCH_MIN && value <= WATCH_MAX))
    throw new CairnError('INVALID', `it must be a number of seconds from ${WATCH_MIN} to ${WATCH_MAX}`);
  return value;
}

async function restingStatus(context: CliContext, directory: string): Promise<RestingStatus> {
  // What only this needs takes longer to read than a daemon takes to answer.
  const [{ loadConfig }, { formatScheme }] = await Promise.all([
    import('../pool/config.js'),
    import('../pool/scheme-choice.js'),
  ]);
  const config = await loadConfig(context.files, directory);
  const present = async (path: string) =>
    (await stat(path).catch(() => undefined))?.isDirectory() ? ('present' as const) : ('missing' as const);
  const disks = config.disks.map(async (disk) => ({ ...disk, state: await present(disk.directory) }));
  const cache = { number: 0, uuid: '', role: 'cache' as const, directory: config.cache.directory };
  return {
    format: 1,
    running: false,
    pool: config.pool,
    directory,
    scheme: formatScheme(config.scheme),
    bucketBytes: config.bucketBytes,
    deadMount:
      context
        .mountTable()
        .cairn()
        .find((mount) => poolOf(mount) === directory)?.mountpoint ?? null,
    disks: [...(await Promise.all(disks)), { ...cache, state: await present(cache.directory) }],
  };
}
