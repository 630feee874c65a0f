/**
 * `cairn fsck`: checks a pool and says in sentences what it finds. With a daemon it is a job of the daemon, while the pool is in use; without one
 * the pool is opened to be looked at, and nothing of it is written unless --repair says so.
 */
import type { Command } from 'commander';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { CheckFinding, CheckReport, CheckRequest } from '../vfs/reports.js';
import type { CliContext, ExitCode } from './context.js';
import { daemonClient } from './daemon-client.js';
import { resolvePool } from './pool-path.js';
import { Progress } from './progress.js';
import { counted, formatBytes, formatDuration } from './units.js';

/** What `fsck --json` prints. */
type Answer = CheckReport & { readonly directory: string; readonly running: boolean };

export function fsckCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  program
    .command('fsck')
    .description('check logs, indexes, metadata and chunks; explain and mend what is wrong')
    .argument('<pool>', 'directory of the pool')
    .option('--data', 'also decode every chunk, compare its content with its name and all its shards with each other')
    .option('--repair', 'mend what can be derived from the rest')
    .option('--json', 'print the report as JSON')
    .addHelpText(
      'after',
      `
Example:
  $ cairn fsck /srv/pool
  $ cairn fsck --repair /srv/pool

Every record of every log is read and its checksums are verified. If the pool is mounted, the daemon does it beside its
work; if not, nothing of the pool is written without --repair. Repair never takes away what is not there elsewhere, and
may be interrupted and run again. Some repairs need the pool unmounted; the report says so.

Exit code: 0 clean, 1 something is wrong (still), 2 wrong usage. Notes are no damage.`,
    )
    .action(async (path: string, flags: { data?: true; repair?: true; json?: true }) => {
      const directory = await resolvePool(context, path);
      const request = { content: flags.data === true, repair: flags.repair === true };
      const answer = await check(context, directory, request);
      if (answer === undefined) {
        context.stderr.write('cairn: the check was stopped; nothing that it had begun to mend is lost\n');
        done(130);
        return;
      }
      context.stdout.write(flags.json ? `${JSON.stringify(answer, null, 2)}\n` : text(answer));
      done(answer.clean ? 0 : 1);
    });
}

/** Undefined: stopped by Ctrl-C. */
async function check(context: CliContext, directory: string, request: CheckRequest): Promise<Answer | undefined> {
  const progress = new Progress(context.stderr, context.clock, 'checking');
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  context.signals.on('SIGINT', onSignal);
  context.signals.on('SIGTERM', onSignal);
  try {
    const client = daemonClient(context, directory);
    const status = await client.status().catch((error: unknown) => {
      if (hasCode(error, 'CLOSED')) return undefined;
      throw error;
    });
    if (status !== undefined)
      return { ...(await client.check(request, progress.check, stop.signal)), directory, running: true };
    const { loadConfig } = await import('../pool/config.js');
    await loadConfig(context.files, directory);
    const options = { onProgress: progress.check, signal: stop.signal };
    return { ...(await context.pools.check(directory, request, options)), directory, running: false };
  } catch (error) {
    if (hasCode(error, 'ABORTED') && stop.signal.aborted) return undefined;
    if (hasCode(error, 'LOCKED'))
      throw new CairnError('LOCKED', error.message, {
        hint: 'another process has it: wait for its end, or check it through its daemon',
        cause: error,
      });
    throw error;
  } finally {
    context.signals.off('SIGINT', onSignal);
    context.signals.off('SIGTERM', onSignal);
    progress.done();
  }
}

function text({ directory, running, checked, elapsedMs, findings, repaired, clean }: Answer): string {
  const took = elapsedMs < 1000 ? 'less than a second' : formatDuration(elapsedMs);
  const content = checked.contentBytes === 0 ? '' : `, ${formatBytes(checked.contentBytes)} of content`;
  const lines = [
    `pool ${directory}: checked ${running ? 'while in use' : 'at rest'} in ${took}`,
    `  ${counted(checked.disks, 'disk')}, ${counted(checked.records, 'record')} of ${formatBytes(checked.logBytes)}, ${counted(checked.commits, 'commit record')}, ${counted(checked.names, 'name')}, ${counted(checked.inodes, 'inode')}, ${counted(checked.chunks, 'chunk')}${content}`,
    ...findings.flatMap((finding) => linesOf(finding, finding.severity)),
    ...repaired.flatMap((finding) => linesOf({ ...finding, advice: '' }, 'mended')),
    clean ? 'clean' : `not clean: ${summary(findings)}`,
  ];
  return `${lines.join('\n')}\n`;
}

function linesOf({ code, message, advice, files, moreFiles }: CheckFinding, mark: string): string[] {
  const lines = [`  ${mark.padEnd(6)}  ${message} [${code}]`];
  if (files.length > 0) {
    const more = moreFiles > 0 ? [`and ${counted(moreFiles, 'more file')}`] : [];
    lines.push(...[...files, ...more].map((file) => `            ${file}`));
  }
  if (advice !== '') lines.push(`          -> ${advice}`);
  return lines;
}

function summary(findings: readonly CheckFinding[]): string {
  const count = (severity: CheckFinding['severity']): number =>
    findings.filter((finding) => finding.severity === severity).length;
  const [loss, damage] = [count('loss'), count('damage')];
  const parts = [
    ...(loss > 0 ? [`${counted(loss, 'finding')} of loss`] : []),
    ...(damage > 0 ? [`${counted(damage, 'finding')} of damage`] : []),
  ];
  return parts.join(', ');
}
