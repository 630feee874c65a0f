/** `cairn disk`: the disks of a pool, listed, found, added, replaced and removed. A pool that is mounted is asked through its daemon; another is opened for it. */
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import { MIN_BUCKET_BYTES } from '../pool/config-limits.js';
import type { DiskChangePlan, DiskChangeRequest, DiskReport, JobPace, JobReport } from '../vfs/reports.js';
import { sizeArgument } from './arguments.js';
import { describeDevice } from './block-device.js';
import type { CliContext, ExitCode } from './context.js';
import { daemonClient } from './daemon-client.js';
import { jobText } from './job-text.js';
import type { PoolLog } from './pool-opener.js';
import { resolvePool } from './pool-path.js';
import { withProgress } from './progress.js';
import { textTable } from './text-table.js';
import { counted, formatBytes, formatDuration } from './units.js';

interface ChangeFlags {
  readonly size?: number;
  readonly yes?: true;
  readonly fullSpeed?: true;
  readonly wait?: true;
  readonly json?: true;
}

/** Whoever can plan and make a change: a daemon, or the pool opened here. */
interface Changer {
  plan(request: DiskChangeRequest): Promise<DiskChangePlan>;
  change(request: DiskChangeRequest, pace: JobPace | undefined): Promise<DiskChangePlan>;
  job(): Promise<JobReport | undefined>;
  close(): Promise<void>;
  readonly isMounted: boolean;
}

const POLL_MS = 500;

export function diskCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  const disk = program
    .command('disk')
    .description('disks of a pool: list, locate, add, replace, remove')
    .addHelpText(
      'after',
      `
Example:
  $ cairn disk list /srv/pool
  $ cairn disk add /srv/pool /mnt/d/cairn
  $ cairn disk replace /srv/pool 2 /mnt/e/cairn
  $ cairn disk remove /srv/pool 3

A disk is named by its number, its directory, or the beginning of its id. What would be done is shown first; taking something away is asked about
(--yes answers). \`cairn plan\` shows the same and does nothing. What must move, moves in the background: \`cairn job list POOL\`.`,
    );
  disk
    .command('list')
    .description('number, state, use and place of each disk')
    .argument('<pool>', 'directory of the pool')
    .option('--json', 'print it as JSON')
    .action(async (path: string, flags: { json?: true }) => {
      const disks = await listDisks(context, path);
      context.stdout.write(flags.json ? `${JSON.stringify(disks, null, 2)}\n` : listText(disks));
      done(0);
    });
  disk
    .command('locate')
    .description('which device a disk is: its name, model and serial number, as on its label')
    .argument('<pool>', 'directory of the pool')
    .argument('<disk>', 'number, directory or beginning of the id')
    .action(async (path: string, named: string) => {
      const found = findDisk(await listDisks(context, path), named, resolve(context.cwd, named));
      const facts = [
        ['directory', found.directory],
        ['state', found.reason === '' ? found.state : `${found.state}: ${found.reason}`],
        ['id', found.uuid],
        ...(await describeDevice(found.directory)),
      ];
      const head = found.number === 0 ? `the ${found.role} disk` : `disk ${found.number}`;
      context.stdout.write(
        `${head}\n${facts.map(([name = '', fact = '']) => `  ${name.padEnd(11)} ${fact}\n`).join('')}`,
      );
      done(0);
    });

  const changing = (name: string, description: string): Command =>
    disk
      .command(name)
      .description(description)
      .argument('<pool>', 'directory of the pool')
      .option('--yes', 'do it without asking')
      .option('--full-speed', 'move without standing back for users of the pool')
      .option('--wait', 'return when everything has moved')
      .option('--json', 'print the plan as JSON');
  const size = sizeArgument(MIN_BUCKET_BYTES, Number.MAX_SAFE_INTEGER, 1);
  changing('add', 'put disks to use: it starts by itself')
    .argument('<dir...>', 'empty directory on each new disk')
    .option('--size <size>', 'what each may take, if not all that is free', size)
    .action(async (path: string, directories: string[], flags: ChangeFlags) => {
      const absolute = directories.map((each) => resolve(context.cwd, each));
      done(await change(context, path, { action: 'add', directories: absolute, ...sized(flags) }, flags));
    });
  changing('replace', 'move what a disk holds to a new one; of a dead disk, make it anew from the others')
    .argument('<disk>', 'the old one: number, directory or beginning of the id')
    .argument('<dir>', 'empty directory on the new one')
    .option('--size <size>', 'what it may take, if not all that is free', size)
    .action(async (path: string, named: string, directory: string, flags: ChangeFlags) => {
      const request = {
        action: 'replace',
        disk: nameOf(context, named),
        directory: resolve(context.cwd, directory),
      } as const;
      done(await change(context, path, { ...request, ...sized(flags) }, flags));
    });
  changing('remove', 'empty a disk, then let go of it')
    .argument('<disk>', 'number, directory or beginning of the id')
    .action(async (path: string, named: string, flags: ChangeFlags) => {
      done(await change(context, path, { action: 'remove', disk: nameOf(context, named) }, flags));
    });
}

/** Plans a change without making it, as `cairn plan` does. */
export async function planDiskChange(
  context: CliContext,
  path: string,
  request: DiskChangeRequest,
): Promise<DiskChangePlan> {
  const changer = await changerOf(context, await resolvePool(context, path));
  try {
    return await withProgress(context, 'planning', () => changer.plan(request));
  } finally {
    await changer.close();
  }
}

/** A number and an id are taken as they are; whatever looks like a path is made absolute here, where it was typed. */
export function nameOf(context: Pick<CliContext, 'cwd'>, named: string): string {
  return /^[0-9]+$|^[0-9a-f]{4,32}$/.test(named) ? named : resolve(context.cwd, named);
}

async function change(
  context: CliContext,
  path: string,
  request: DiskChangeRequest,
  flags: ChangeFlags,
): Promise<ExitCode> {
  const poolDirectory = await resolvePool(context, path);
  const changer = await changerOf(context, poolDirectory);
  try {
    const plan = await withProgress(context, 'planning', () => changer.plan(request));
    context.stdout.write(flags.json ? `${JSON.stringify(plan, null, 2)}\n` : changePlanText(plan));
    if (plan.refusals.length > 0) return 1;
    if (plan.needsConsent && flags.yes !== true) await askFor(context, plan);
    const pace = flags.fullSpeed ? ({ fullSpeed: true } as const) : undefined;
    await withProgress(context, 'changing the diskmap', () => changer.change(request, pace));
    if (flags.wait) return await waitForMoves(context, changer);
    context.stderr.write(
      changer.isMounted
        ? `it moves in the background: see \`cairn job list ${poolDirectory}\`\n`
        : 'it moves when the pool is mounted; with --wait it does so now\n',
    );
    return 0;
  } finally {
    await changer.close();
  }
}

async function askFor(context: CliContext, { action }: DiskChangePlan): Promise<void> {
  const answer = await context.ask(`${action === 'remove' ? 'Remove the disk' : 'Do it'}? [y/N] `);
  if (answer === undefined)
    throw new CairnError('INVALID', 'nothing has been changed: this takes something away, and nobody could be asked', {
      hint: 'give --yes to do it',
    });
  if (!/^y(es)?$/i.test(answer.trim())) throw new CairnError('ABORTED', 'nothing has been changed');
}

async function waitForMoves(context: CliContext, changer: Changer): Promise<ExitCode> {
  const job = await withProgress(context, 'moving', async (progress) => {
    for (;;) {
      const now = await changer.job();
      if (now?.state !== 'running' && now?.state !== 'waiting') return now;
      progress.job(now);
      // A clock's timer would not keep the process.
      await sleep(POLL_MS);
    }
  });
  if (job === undefined || job.state === 'idle') return 0;
  if (job.state !== 'done')
    throw new CairnError('BUSY', jobText(job), { hint: 'what is left moves after `cairn job resume`' });
  context.stdout.write(`${jobText(job)}\n`);
  return 0;
}

async function changerOf(context: CliContext, directory: string): Promise<Changer> {
  const client = daemonClient(context, directory);
  const running = await client.status().then(
    () => true,
    (error: unknown) => {
      if (hasCode(error, 'CLOSED')) return false;
      throw error;
    },
  );
  if (running)
    return {
      isMounted: true,
      plan: (request) => client.planDisks(request),
      change: (request, pace) => client.changeDisks(request, pace),
      job: async () => (await client.jobs()).find(({ name }) => name === 'rebalance'),
      close: async () => {},
    };
  const pool = await context.pools.open(directory, { mode: 'default', log: silent });
  const { control } = pool;
  return {
    isMounted: false,
    plan: (request) => control.disks.plan(request),
    change: (request, pace) => control.disks.change(request, pace),
    job: async () => control.jobs.list().find(({ name }) => name === 'rebalance'),
    close: () => pool.close(),
  };
}

const silent: PoolLog = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

function sized({ size }: ChangeFlags): { readonly sizeBytes?: number } {
  return size === undefined ? {} : { sizeBytes: size };
}

export function changePlanText(plan: DiskChangePlan): string {
  const { groups } = plan;
  const what = [
    ...plan.joins.map(
      ({ number, directory, capacityBytes }) => `disk ${number} (${directory}, ${formatBytes(capacityBytes)}) joins`,
    ),
    ...plan.leaves.map(
      ({ number, directory, isThere }) => `disk ${number} (${directory}${isThere ? '' : ', not there'}) leaves`,
    ),
  ];
  const lines = [
    `${plan.action}: ${what.join(', ')}`,
    `  room        ${formatBytes(plan.usableBytesBefore)} before, ${formatBytes(plan.usableBytes)} after; ${formatBytes(plan.usedBytes)} used`,
    `  protection  ${plan.protection}`,
    `  moves       ${formatBytes(plan.moveBytes)} written, ${formatBytes(plan.readBytes)} read; at least ${formatDuration(plan.leastMs)} at 100 MB/s`,
    `  groups      ${groups.kept} kept, ${groups.takenApart} taken apart, ${groups.made} made`,
    ...plan.notes.map((note) => `  note        ${note}`),
    ...plan.refusals.map(({ reason, remedy }) => `  ! it cannot be done: ${reason}; to make it possible, ${remedy}`),
  ];
  return `${lines.join('\n')}\n`;
}

interface ListedDisk extends Pick<DiskReport, 'number' | 'uuid' | 'role' | 'directory' | 'reason'> {
  readonly state: string;
  /** undefined: known only of a mounted pool. */
  readonly liveBytes?: number;
  readonly freeBytes?: number;
  readonly capacityBytes?: number;
}

async function listDisks(context: CliContext, path: string): Promise<readonly ListedDisk[]> {
  const directory = await resolvePool(context, path);
  try {
    return (await daemonClient(context, directory).status()).disks;
  } catch (error) {
    if (!hasCode(error, 'CLOSED')) throw error;
    const { loadConfig } = await import('../pool/config.js');
    const { disks } = await loadConfig(context.files, directory);
    return disks.map((disk) => ({ ...disk, state: 'not mounted', reason: '' }));
  }
}

function findDisk(disks: readonly ListedDisk[], named: string, path: string): ListedDisk {
  const found = disks.filter(
    ({ number, uuid, directory }) =>
      (number > 0 && String(number) === named) || directory === path || (named.length >= 4 && uuid.startsWith(named)),
  );
  const [first] = found;
  if (first !== undefined && found.length === 1) return first;
  throw new CairnError(
    first === undefined ? 'NOT_FOUND' : 'INVALID',
    `${first === undefined ? 'no disk is' : `${counted(found.length, 'disk')} are`} meant by ${named}`,
    {
      hint: 'name it by its number, its directory or its id: see `cairn disk list`',
    },
  );
}

function listText(disks: readonly ListedDisk[]): string {
  const bytes = (value: number | undefined): string => (value === undefined ? '-' : formatBytes(value));
  const rows = disks.map((disk) => [
    disk.number === 0 ? '-' : String(disk.number),
    disk.role,
    disk.state,
    bytes(disk.liveBytes),
    bytes(disk.freeBytes),
    bytes(disk.capacityBytes),
    disk.uuid.slice(0, 8),
    disk.reason === '' ? disk.directory : `${disk.directory} (${disk.reason})`,
  ]);
  return textTable(
    [['disk', 'role', 'state', 'used', 'free', 'size', 'id', 'directory'], ...rows],
    new Set([0, 3, 4, 5]),
  );
}
