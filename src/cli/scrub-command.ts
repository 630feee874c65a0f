/** `cairn scrub`: reads everything that the disks hold, repairs what is damaged from the rest, and says of which files. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { CairnError } from '../errors/cairn-error.js';
import type { ControlClient } from '../http/control-client.js';
import { readReport, type ScrubReport } from '../repair/scrub-report.js';
import type { JobReport } from '../vfs/reports.js';
import type { CliContext, ExitCode } from './context.js';
import { daemonClient } from './daemon-client.js';
import { jobText } from './job-text.js';
import { resolvePool } from './pool-path.js';
import { withProgress } from './progress.js';
import { counted, formatBytes, formatCount } from './units.js';

/** How often it is asked how far it is, with --wait. */
const ASK_EVERY_MS = 1000;
/** Files of a list that are printed. */
const SHOWN_MAX = 50;

interface Flags {
  readonly pause?: true;
  readonly cancel?: true;
  readonly status?: true;
  readonly wait?: true;
  readonly fullSpeed?: true;
  readonly json?: true;
}

export function scrubCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  program
    .command('scrub')
    .description('read all that the disks hold, repair what is damaged')
    .argument('<pool>', 'directory of the pool')
    .option('--wait', 'return when it is done, and show how far it is')
    .option('--pause', 'stop it; the next `cairn scrub` goes on where it was')
    .option('--cancel', 'stop it for good')
    .option('--status', 'how far it is, and what the last one that came to its end found')
    .option('--full-speed', 'do not stand back for users of the pool')
    .option('--json', 'print the job as JSON, its last report in it')
    .addHelpText(
      'after',
      `
Example:
  $ cairn scrub /srv/pool
  $ cairn scrub --status /srv/pool

It runs in the background, every 30 days by itself ([scrub] in cairn.toml), and goes on after a restart. The exit code
with --wait and --status is 1 if something could not be repaired.`,
    )
    .action(async (path: string, flags: Flags) => {
      const client = daemonClient(context, await resolvePool(context, path));
      const job = await ask(context, client, flags);
      const report = flags.wait || flags.status ? readReport(job.report) : undefined;
      if (flags.json) context.stdout.write(`${JSON.stringify(job)}\n`);
      else context.stdout.write(`${jobText(job)}\n${report === undefined ? '' : reportText(report)}`);
      const isWhole = report === undefined || (report.lost.names.length === 0 && report.degraded.names.length === 0);
      done(isWhole && !(flags.wait && job.state !== 'done') ? 0 : 1);
    });
}

async function ask(context: CliContext, client: ControlClient, flags: Flags): Promise<JobReport> {
  if ([flags.pause, flags.cancel, flags.status].filter(Boolean).length > 1)
    throw new CairnError('INVALID', 'only one of --pause, --cancel and --status at a time');
  if (flags.pause) return client.job('scrub', 'pause');
  if (flags.cancel) return client.job('scrub', 'cancel');
  if (flags.status) return current(client);
  const started = await client.job('scrub', 'start', {
    ...(flags.fullSpeed && { pace: { fullSpeed: true } }),
  });
  return flags.wait ? wait(context, client) : started;
}

async function current(client: ControlClient): Promise<JobReport> {
  const job = (await client.jobs()).find(({ name }) => name === 'scrub');
  if (job === undefined)
    throw new CairnError('NOT_SUPPORTED', 'the daemon of this pool knows no scrub', {
      hint: 'after an upgrade, unmount the pool and mount it again',
    });
  return job;
}

async function wait(context: CliContext, client: ControlClient): Promise<JobReport> {
  return withProgress(context, 'scrub', async (progress) => {
    for (;;) {
      const job = await current(client);
      if (job.state !== 'running' && job.state !== 'waiting') return job;
      progress.job(job);
      // Unlike the clock's, this timer keeps the process alive.
      await sleep(ASK_EVERY_MS);
    }
  });
}

/** What the last scrub found, in lines. */
function reportText(report: ScrubReport): string {
  const { disks, records, bytes, files, damagedShards, shardsWritten, bytesWritten } = report;
  const lines = [
    `the last one read ${counted(records, 'record')} (${formatBytes(bytes)}) on ${counted(disks, 'disk')}, and looked at ${counted(files, 'file')}`,
    damagedShards === 0 && shardsWritten === 0
      ? 'nothing was damaged or missing'
      : `${counted(damagedShards, 'shard')} ${damagedShards === 1 ? 'was' : 'were'} damaged; ${formatCount(shardsWritten)} written anew (${formatBytes(bytesWritten)})`,
    ...report.notes,
    ...listText('repaired', report.repaired),
    ...listText('less safe than promised, for want of a disk or of room', report.degraded),
    ...listText('cannot be read', report.lost),
  ];
  return lines.map((line) => `  ${line}\n`).join('');
}

function listText(title: string, { names, more }: ScrubReport['lost']): string[] {
  if (names.length === 0) return [];
  const rest = more + Math.max(0, names.length - SHOWN_MAX);
  const lines = names.slice(0, SHOWN_MAX).map((name) => `  ${name}`);
  return [
    `${title}: ${counted(names.length + more, 'file')}`,
    ...lines,
    ...(rest > 0 ? [`  and ${formatCount(rest)} more: see --json`] : []),
  ];
}
