/**
 * `cairn rescue`: the committed files of a pool from its bare disks, without pool directory, cache or daemon. Exit code 0 if everything was
 * restored, 1 if something could not be, 130 if it was interrupted.
 */
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { loadAddon } from '../../native/addon.js';
import { CairnError } from '../errors/cairn-error.js';
import { type ListedEntry, listPool, type RescueOptions, type RescueProgress, restorePool } from '../rescue/rescue.js';
import { sourceLines, summaryLines } from '../rescue/rescue-summary.js';
import { REPORT_TEXT } from '../rescue/target-directory.js';
import type { CliContext, ExitCode } from './context.js';
import { Progress } from './progress.js';
import { counted, formatBytes } from './units.js';

interface Flags {
  readonly to?: string;
  readonly list?: true;
  readonly only?: string;
  readonly pool?: string;
  readonly partial?: true;
  readonly json?: true;
}

const INTERRUPTED = new CairnError('ABORTED', 'interrupted');

export function rescueCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  program
    .command('rescue')
    .description('restore the committed files from bare disks, which are only read')
    .argument('<disk...>', 'directories of data and journal disks, in any order: all that there are')
    .option('--to <directory>', 'a new or empty directory to restore into, or that of an interrupted rescue')
    .option('--list', 'print what would be restored, and write nothing')
    .option('--only <path>', 'only this file or directory of the pool, such as /photos/2024')
    .option('--partial', 'also write files of which parts are lost, with zeros in the gaps, as NAME.cairn-partial')
    .option('--pool <id>', 'which pool, where the disks are of several: the first digits of its id', poolId)
    .option('--json', 'print the summary (with --list: one line per name, then the summary) as JSON')
    .addHelpText(
      'after',
      `
Example:
  $ cairn rescue /mnt/a/cairn /mnt/b/cairn --to /mnt/new/restored

The disks are never written to. Needed is neither the pool directory nor the cache nor all of the disks: with too few, what can be
read is restored, and ${REPORT_TEXT} in the directory lists by name what could not be and why. After Ctrl-C the same
command goes on where it was.`,
    )
    .action(async (disks: string[], flags: Flags) => {
      const abort = new AbortController();
      const onSignal = () => abort.abort(INTERRUPTED);
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) context.signals.on(signal, onSignal);
      const progress = new Progress(context.stderr, context.clock, 'looking at the disks');
      const options: RescueOptions = {
        disks: disks.map((disk) => resolve(context.cwd, disk)),
        pool: flags.pool,
        only: flags.only,
        addon: loadAddon(),
        signal: abort.signal,
        onStep: (label) => progress.step(label),
        onProgress: (report: RescueProgress) => progress.update(report),
      };
      try {
        done(await run(context, options, flags));
      } catch (error) {
        if (error !== INTERRUPTED) throw error;
        progress.done();
        context.stderr.write(
          flags.list ? 'cairn: interrupted\n' : 'cairn: interrupted; the same command goes on where it was\n',
        );
        done(130);
      } finally {
        progress.done();
        for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) context.signals.off(signal, onSignal);
      }
    });
}

async function run(context: CliContext, options: RescueOptions, flags: Flags): Promise<ExitCode> {
  const { stdout } = context;
  const print = (value: object) => stdout.write(`${JSON.stringify(value)}\n`);
  const write = (lines: readonly string[]) => stdout.write(`${lines.join('\n')}\n`);
  if (flags.list) {
    if (flags.to !== undefined) throw new CairnError('INVALID', '--list writes nothing: leave --to out');
    const counts = { files: 0, bytes: 0, troubled: 0 };
    const source = await listPool(options, (entry) => {
      if (entry.kind !== 'directory') counts.files++;
      counts.bytes += entry.sizeBytes;
      if (entry.trouble !== undefined) counts.troubled++;
      if (flags.json) print(entry);
      else stdout.write(`${entryText(entry)}\n`);
    });
    if (flags.json) print({ format: 1, ...source, ...counts });
    else
      write([
        '',
        ...sourceLines(source),
        '',
        `${counted(counts.files, 'file')}, ${formatBytes(counts.bytes)}; ${counts.troubled === 0 ? 'all of them can be restored' : `${counts.troubled} of them cannot be restored whole`}, by what is on the disks (nothing was read in full)`,
      ]);
    return counts.troubled > 0 || source.state.sequence < source.state.promised ? 1 : 0;
  }
  if (flags.to === undefined)
    throw new CairnError('INVALID', '--to is missing: rescue writes what it restores into a directory', {
      hint: 'give --to DIRECTORY, or --list to see what there is',
    });
  const to = resolve(context.cwd, flags.to);
  const summary = await restorePool({ ...options, to, partial: flags.partial === true });
  if (flags.json) print({ format: 1, ...summary });
  else write([...summaryLines(summary, to), `report: ${to}/${REPORT_TEXT}`]);
  return summary.complete ? 0 : 1;
}

function entryText({ path, kind, sizeBytes, trouble }: ListedEntry): string {
  const what = trouble === undefined ? (kind === 'file' ? formatBytes(sizeBytes) : kind) : `NOT WHOLE: ${trouble}`;
  return `${kind === 'directory' ? `${path}/` : path}  ${what}`;
}

function poolId(text: string): string {
  if (!/^[0-9a-f]{4,32}$/.test(text)) throw new InvalidArgumentError('it must be 4 to 32 hex digits');
  return text;
}
