/** `cairn forecast`: what is lost if a disk, or the cache device, dies now. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { DiskLoss, LossForecast } from '../vfs/reports.js';
import type { CliContext, ExitCode } from './context.js';
import { daemonClient } from './daemon-client.js';
import { resolvePool } from './pool-path.js';
import { withProgress } from './progress.js';
import { textTable } from './text-table.js';
import { counted, formatBytes, formatCount } from './units.js';

/** Named per disk on a terminal; `--json` has more. */
const SHOWN_MAX = 100;
const JSON_MAX = 10_000;

export function forecastCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  program
    .command('forecast')
    .description('what is lost if a disk or the cache dies now, by bytes and by file')
    .argument('<pool>', 'directory of the pool')
    .option('--disk <disk>', 'only of this disk: its number, directory or id, or `cache`')
    .option('--files', 'name the files')
    .option('--json', 'print it as JSON')
    .addHelpText(
      'after',
      `
Example:
  $ cairn forecast /srv/pool
  $ cairn forecast /srv/pool --disk cache --files

Copies of committed data in the cache do not count. What is staged counts until its commit has ended.`,
    )
    .action(async (path: string, flags: { disk?: string; files?: true; json?: true }) => {
      const client = daemonClient(context, await resolvePool(context, path));
      const isPath = flags.disk?.includes('/') === true;
      const disk = flags.disk !== undefined && isPath ? resolve(flags.disk) : flags.disk;
      const files = flags.files === undefined ? 0 : flags.json ? JSON_MAX : SHOWN_MAX;
      const forecast = await withProgress(context, 'counting', () => client.forecast({ disk, files }));
      context.stdout.write(flags.json ? `${JSON.stringify(forecast, null, 2)}\n` : forecastText(forecast, files > 0));
      done(0);
    });
}

function forecastText({ disks, unreadable }: LossForecast, withFiles: boolean): string {
  const rows = disks.map((loss) => [
    nameOf(loss),
    loss.role,
    loss.state,
    formatBytes(loss.bytes),
    loss.role === 'cache' ? '-' : formatCount(loss.chunks),
    loss.directory,
  ]);
  const already =
    unreadable.chunks === 0
      ? ''
      : `\n${formatBytes(unreadable.bytes)} in ${counted(unreadable.chunks, 'chunk')} cannot be read as it is\n`;
  const table = textTable([['disk', 'role', 'state', 'lost', 'chunks', 'directory'], ...rows], new Set([0, 3, 4]));
  return `if it dies now, all others as they are:\n${table}${already}${withFiles ? disks.map(filesText).join('') : ''}`;
}

function filesText(loss: DiskLoss): string {
  if (loss.files.length === 0) return '';
  const lines = loss.files.map(({ path, bytes }) => `  ${formatBytes(bytes)}  ${JSON.stringify(path).slice(1, -1)}\n`);
  const more = loss.moreFiles === 0 ? '' : `  and ${counted(loss.moreFiles, 'more file')}\n`;
  return `\nwith ${loss.role === 'cache' ? 'the cache' : `disk ${nameOf(loss)}`}:\n${lines.join('')}${more}`;
}

function nameOf({ role, number }: DiskLoss): string {
  return role === 'data' ? String(number) : '-';
}
