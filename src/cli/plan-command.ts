/** `cairn plan`: what disks would give as a pool, or as more of one, and what others would make of them. Writes nothing. */
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { SchemeChoice } from '../../diskmap/types.js';
import { CairnError, hasCode, systemCode } from '../errors/cairn-error.js';
import { NodeFileIo } from '../io/node-file-io.js';
import { loadConfig } from '../pool/config.js';
import { MAX_BUCKET_BYTES, MIN_BUCKET_BYTES } from '../pool/config-limits.js';
import { capacitiesOf } from '../pool/init-pool.js';
import { planDisks, planGrowth, readPoolMap } from '../pool/pool-plan.js';
import { parseScheme } from '../pool/scheme-choice.js';
import type { DiskChangeRequest, PoolPlan } from '../vfs/reports.js';
import { argument, sizeArgument } from './arguments.js';
import type { CliContext, ExitCode } from './context.js';
import { changePlanText, nameOf, planDiskChange } from './disk-command.js';
import { resolvePool } from './pool-path.js';
import { textTable } from './text-table.js';
import { counted, formatBytes, parseSize } from './units.js';

interface Flags {
  readonly disk?: string[];
  readonly add?: string[];
  readonly remove?: string;
  readonly replace?: string;
  readonly scheme?: SchemeChoice;
  readonly bucketSize?: number;
  readonly json?: true;
}

export function planCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  program
    .command('plan')
    .description('what disks would give: room, protection, what is unusable and why; nothing is written')
    .argument('[pool]', 'directory of a pool: plans what it is, or with --add what it would be')
    .option('--disk <disk...>', 'disks of a pool to be made: sizes such as 4TB, or directories on them')
    .option('--add <disk...>', 'disks to add to the pool: sizes or directories')
    .option('--remove <disk>', 'a disk to take out: number, directory or beginning of the id')
    .option('--replace <disk>', 'a disk that the one of --add takes the place of')
    .option('--scheme <scheme>', 'auto, copies:N or ec:K+M, for a pool to be made', argument(parseScheme))
    .option(
      '--bucket-size <size>',
      'unit of placement, for a pool to be made (default: by the size of the disks)',
      sizeArgument(MIN_BUCKET_BYTES, MAX_BUCKET_BYTES, 1),
    )
    .option('--json', 'print it as JSON')
    .addHelpText(
      'after',
      `
Example:
  $ cairn plan --disk 4TB 4TB 8TB
  $ cairn plan --disk /mnt/a/cairn /mnt/b/cairn /mnt/c/cairn
  $ cairn plan /srv/pool --add 8TB
  $ cairn plan /srv/pool --remove 3
  $ cairn plan /srv/pool --replace 2 --add /mnt/e/cairn

Sizes are taken whole; of a directory, what is free on its device and a pool would take.`,
    )
    .action(async (pool: string | undefined, flags: Flags) => {
      const request = changeOf(context, pool, flags);
      if (pool !== undefined && request !== undefined) {
        const change = await planDiskChange(context, pool, request);
        context.stdout.write(flags.json ? `${JSON.stringify(change, null, 2)}\n` : changePlanText(change));
        return done(change.refusals.length > 0 ? 1 : 0);
      }
      const planned = await planFor(context, pool, flags);
      context.stdout.write(flags.json ? `${JSON.stringify(planned, null, 2)}\n` : planText(planned));
      done(0);
    });
}

/** What a disk's leaving would do is worked out from what is on the disks, so a pool that is not mounted is opened for it. */
function changeOf(context: CliContext, pool: string | undefined, flags: Flags): DiskChangeRequest | undefined {
  const { remove, replace, add } = flags;
  if (remove === undefined && replace === undefined) return undefined;
  if (pool === undefined || (remove !== undefined && (replace !== undefined || add !== undefined)))
    throw new CairnError('INVALID', '--remove stands alone, and needs a pool to take the disk out of', {
      hint: 'cairn plan POOL --remove DISK, or cairn plan POOL --replace DISK --add DIR',
    });
  if (remove !== undefined) return { action: 'remove', disk: nameOf(context, remove) };
  const [directory] = add ?? [];
  if (replace === undefined || directory === undefined || add?.length !== 1)
    throw new CairnError('INVALID', '--replace needs one directory with --add', {
      hint: 'cairn plan POOL --replace DISK --add DIR',
    });
  return { action: 'replace', disk: nameOf(context, replace), directory: resolve(context.cwd, directory) };
}

async function planFor(context: CliContext, pool: string | undefined, flags: Flags): Promise<PoolPlan> {
  if (pool === undefined) {
    if (flags.disk === undefined || flags.add !== undefined) {
      throw new CairnError('INVALID', flags.add === undefined ? 'say which disks' : '--add needs a pool to add to', {
        hint: 'cairn plan --disk 4TB 4TB 8TB, or cairn plan POOL --add 8TB',
      });
    }
    return planDisks(await sizesOf(context, flags.disk, '--disk'), flags.scheme ?? 'auto', flags.bucketSize);
  }
  if (flags.disk !== undefined || flags.scheme !== undefined || flags.bucketSize !== undefined) {
    throw new CairnError('INVALID', '--disk, --scheme and --bucket-size are for a pool to be made', {
      hint: 'name no pool, or use --add for disks that the pool is to get',
    });
  }
  const io = new NodeFileIo();
  const config = await loadConfig(io, await resolvePool(context, pool));
  return planGrowth(await readPoolMap(io, config), await sizesOf(context, flags.add ?? [], '--add'));
}

/** Bytes of each disk; directories on one device share it. */
async function sizesOf(context: CliContext, disks: readonly string[], option: string): Promise<number[]> {
  const sizes = disks.map((text) => {
    try {
      return parseSize(text);
    } catch (error) {
      if (hasCode(error, 'INVALID')) return undefined;
      throw error;
    }
  });
  const directories = disks.filter((_, index) => sizes[index] === undefined).map((path) => resolve(context.cwd, path));
  for (const directory of directories) {
    const found = await stat(directory).catch((cause: unknown) => {
      throw new CairnError(
        systemCode(cause) === 'EACCES' ? 'ACCESS' : 'NOT_FOUND',
        `${option} ${directory} cannot be read`,
        {
          hint: 'give a size such as 4TB, or a directory on the disk',
          cause,
        },
      );
    });
    if (!found.isDirectory()) throw new CairnError('NOT_DIRECTORY', `${option} ${directory} is not a directory`);
  }
  const capacities = await capacitiesOf(new NodeFileIo(), directories);
  return disks.map((text, index) => {
    const bytes = sizes[index] ?? capacities.get(resolve(context.cwd, text))!;
    if (bytes < MIN_BUCKET_BYTES) {
      throw new CairnError('INVALID', `${option} ${text}: a disk has at least ${formatBytes(MIN_BUCKET_BYTES)}`);
    }
    return bytes;
  });
}

function planText(planned: PoolPlan): string {
  const { disks, others, growth, survives } = planned;
  const groups = planned.groups.map(({ scheme, count }) => `${counted(count, 'group')} ${scheme}`).join(', ');
  const names = survives === 2 ? ['RAIDZ2', 'btrfs raid1c3', 'SHR-2'] : ['RAIDZ1', 'btrfs raid1', 'SHR'];
  const lines = [
    `${counted(disks.length, 'disk')}, ${formatBytes(planned.rawBytes)} in all`,
    `  room        ${formatBytes(planned.usableBytes)} in ${groups}`,
  ];
  if (growth !== undefined) {
    lines.push(
      `  before      ${formatBytes(growth.usableBytesBefore)}`,
      `  moves       ${counted(growth.movedBuckets, 'bucket')}, at most ${formatBytes(growth.movedBytes)}`,
    );
  }
  lines.push(
    `  protection  ${planned.protection}`,
    `  overhead    ${planned.overhead.toFixed(2)} bytes on disks for each byte`,
    `  possible    ${formatBytes(planned.boundBytes)} at most, by whatever system`,
  );
  if (others !== null) {
    const figures = [others.raidzBytes, others.btrfsBytes, others.shrBytes];
    lines.push(`  others      ${names.map((name, at) => `${name} ${formatBytes(figures[at]!)}`).join(', ')}`);
  }
  for (const finding of planned.findings) lines.push(`  note        ${finding}`);
  const rows = disks.map(({ disk, sizeBytes, usedBytes, unusedBytes, loss }) => [
    String(disk),
    formatBytes(sizeBytes),
    formatBytes(usedBytes),
    formatBytes(unusedBytes),
    `${(loss.share * 100).toFixed(1)} %`,
    formatBytes(loss.rebuildBytes),
    formatBytes(loss.readBytes),
    formatBytes(loss.lostBytes),
  ]);
  const head = ['disk', 'size', 'used', 'unused', 'of the pool', 'if lost: write', 'read', 'gone'];
  return `${lines.join('\n')}\n\n${textTable([head, ...rows], new Set(head.keys()))}`;
}
