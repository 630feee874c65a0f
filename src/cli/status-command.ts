/** `cairn status`: how a pool is. Without a daemon: what its cairn.toml and the directories say. Exit code 0 in both cases. */
import { stat } from 'node:fs/promises';
import type { Command } from 'commander';
import { hasCode } from '../errors/cairn-error.js';
import { ControlClient } from '../http/control-client.js';
import type { LossForecast, PoolStatus } from '../vfs/reports.js';
import type { CliContext, ExitCode } from './context.js';
import { jobText } from './job-command.js';
import { resolvePool } from './pool-path.js';
import { textTable } from './text-table.js';
import { counted, formatBytes, formatCount } from './units.js';

/** What `status --json` prints where no daemon runs; with one, a PoolStatus and `running: true`. */
interface RestingStatus {
  readonly format: 1;
  readonly running: false;
  readonly pool: string;
  readonly directory: string;
  readonly scheme: string;
  readonly bucketBytes: number;
  readonly disks: readonly {
    readonly number: number;
    readonly uuid: string;
    readonly role: 'data' | 'journal' | 'cache';
    readonly directory: string;
    /** Whether the directory is there: more is known only when the pool is mounted. */
    readonly state: 'present' | 'missing';
  }[];
}

export function statusCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  program
    .command('status')
    .description('disks, groups, room, staged bytes, health')
    .argument('<pool>', 'directory of the pool')
    .option('--json', 'print it as JSON')
    .addHelpText(
      'after',
      `
Example:
  $ cairn status /srv/pool
  $ cairn status --json /srv/pool | jq .health

The JSON has "running": false, and only what can be read without a daemon, if the pool is not mounted.`,
    )
    .action(async (path: string, flags: { json?: true }) => {
      const directory = await resolvePool(context, path);
      const status = await new ControlClient(directory).status().catch((error: unknown) => {
        if (hasCode(error, 'CLOSED')) return undefined;
        throw error;
      });
      const answer =
        status === undefined ? await restingStatus(context, directory) : { ...status, running: true as const };
      if (flags.json) context.stdout.write(`${JSON.stringify(answer, null, 2)}\n`);
      else context.stdout.write(answer.running ? statusText(answer) : restingText(answer));
      done(0);
    });
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
    disks: [...(await Promise.all(disks)), { ...cache, state: await present(cache.directory) }],
  };
}

function restingText(status: RestingStatus): string {
  const rows = status.disks.map((disk) => [numberText(disk.number), disk.role, disk.state, disk.directory]);
  return `pool ${status.directory}: not mounted, no daemon is running
  id          ${status.pool}
  scheme      ${status.scheme}, buckets of ${formatBytes(status.bucketBytes)}

${textTable([['disk', 'role', 'state', 'directory'], ...rows], new Set([0]))}
its health is known when it is mounted: cairn mount ${status.directory} MOUNTPOINT
`;
}

function statusText(status: PoolStatus): string {
  const where = status.mountpoint === null ? 'not mounted' : `mounted at ${status.mountpoint}`;
  const staged =
    status.dirtyBytes === 0 && status.dirtyFiles === 0
      ? 'nothing, all is committed'
      : `${formatBytes(status.dirtyBytes)} in ${counted(status.dirtyFiles, 'file')}, not committed yet`;
  const disks = status.disks.map((disk) => [
    numberText(disk.number),
    disk.role,
    disk.state,
    formatBytes(disk.liveBytes),
    formatBytes(disk.freeBytes),
    formatBytes(disk.capacityBytes),
    disk.reason === '' ? disk.directory : `${disk.directory} (${disk.reason})`,
  ]);
  const groups = status.groups.map((group) => [group.scheme, formatCount(group.count), formatCount(group.degraded)]);
  return `pool ${status.directory}: ${status.health}
${status.findings.map((finding) => `  ! ${finding}\n`).join('')}  ${where}, ${status.mode} mode, daemon pid ${status.pid}
  protection  ${status.protection}
  room        ${formatBytes(status.usedBytes)} used, ${formatBytes(status.freeBytes)} free of ${formatBytes(status.usableBytes)}; ${counted(status.files, 'file')}
  staged      ${staged}
  cache       ${formatBytes(status.cacheBytes)} of ${formatBytes(status.cacheCapacityBytes)}
${degradedLine(status)}  if lost     ${lossText(status.forecast)}
  commits     sequence ${status.commitSequence}, epoch ${status.epoch}, map version ${status.mapVersion}
${status.jobs.map((job) => `  job         ${jobText(job)}\n`).join('')}
${textTable([['disk', 'role', 'state', 'used', 'free', 'size', 'directory'], ...disks], new Set([0, 3, 4, 5]))}
${textTable([['scheme', 'groups', 'degraded'], ...groups], new Set([1, 2]))}`;
}

/** What hangs on single devices, in one line; `cairn forecast` says more. */
function lossText({ counted: share, disks, unreadable }: LossForecast): string {
  const parts = disks
    .filter(({ bytes, state }) => bytes > 0 && state !== 'missing')
    .map(({ role, number, bytes }) => `${role === 'cache' ? 'the cache' : `disk ${number}`} ${formatBytes(bytes)}`);
  if (unreadable.chunks > 0) parts.push(`${formatBytes(unreadable.bytes)} cannot be read already`);
  const counting = share < 1 ? ` (${Math.floor(share * 100)} % counted so far)` : '';
  return `${parts.length === 0 ? 'nothing is lost with any one device' : parts.join(', ')}${counting}`;
}

/** Nothing where all is whole. */
function degradedLine({ degradedWrites, whenDegraded }: PoolStatus): string {
  const { chunks, bytes } = degradedWrites;
  if (chunks === 0) return '';
  const rule = whenDegraded === 'allow' ? 'strong fsync succeeds' : 'strong fsync fails';
  return `  degraded    ${formatBytes(bytes)} in ${counted(chunks, 'chunk')} written while a disk failed or was away, not all whole yet; ${rule} while one is\n`;
}

/** Cache and journal disks have no number in the diskmap. */
function numberText(number: number): string {
  return number === 0 ? '-' : String(number);
}
