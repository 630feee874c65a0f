/** `cairn init`: makes a pool of directories. Refuses by name what cannot be right, before anything is written. */
import { mkdir, readdir, realpath, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import type { SchemeChoice } from '../../diskmap/types.js';
import { MAX_CHUNK_BYTES } from '../chunks/chunk-store.js';
import { CairnError, systemCode } from '../errors/cairn-error.js';
import { systemWords } from '../io/system-error.js';
import {
  CHUNK_STEP_BYTES,
  CONFIG_NAME,
  MAX_BUCKET_BYTES,
  MIN_BUCKET_BYTES,
  MIN_CHUNK_BYTES,
} from '../pool/config-limits.js';
import { disksNeeded, formatScheme, parseScheme } from '../pool/scheme-choice.js';
import { argument, sizeArgument } from './arguments.js';
import type { CliContext, ExitCode } from './context.js';
import { isInside } from './mount-table.js';
import type { InitReport } from './pool-opener.js';
import { sharedDevices, sharedText } from './shared-devices.js';
import { counted, formatBytes } from './units.js';

interface Flags {
  readonly disk: string[];
  readonly cache: string;
  readonly journal?: string[];
  readonly meta?: string;
  readonly scheme: SchemeChoice;
  readonly bucketSize?: number;
  readonly chunkSize?: number;
  readonly size?: number[];
  readonly json?: true;
}

/** What `cairn init` and `cairn start` hand to `initPool`; paths as typed. */
export interface InitRequest {
  readonly pool: string;
  readonly disks: readonly string[];
  readonly cache: string;
  readonly journals: readonly string[];
  readonly meta: string | undefined;
  readonly scheme: SchemeChoice;
  readonly bucketBytes: number | undefined;
  readonly chunkBytes: number | undefined;
  /** What each disk may take at most, in their order; undefined: all that its device has free. */
  readonly sizes?: readonly number[] | undefined;
}

export function initCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  program
    .command('init')
    .description('make a pool out of directories, each best on a disk of its own')
    .argument('<pool>', 'directory of the pool: its cairn.toml, socket and log; made if it is not there')
    .requiredOption('--disk <directory...>', 'data disks: a directory on each; at least one')
    .requiredOption('--cache <directory>', 'where staged and recently written bytes are kept, best on an SSD')
    .option('--journal <directory...>', 'journal disks (SSDs) for what is synced often')
    .option('--meta <directory>', 'where the metadata is kept (default: meta in the pool directory)')
    .option(
      '--scheme <scheme>',
      'auto, copies:N or ec:K+M: how chunks are protected',
      argument(parseScheme),
      'auto' as SchemeChoice,
    )
    .option(
      '--bucket-size <size>',
      'unit of placement, such as 64GiB (default: by the size of the disks)',
      sizeArgument(MIN_BUCKET_BYTES, MAX_BUCKET_BYTES, 1),
    )
    .option(
      '--chunk-size <size>',
      'largest chunk, such as 1MiB (default: 4MiB)',
      sizeArgument(MIN_CHUNK_BYTES, MAX_CHUNK_BYTES, CHUNK_STEP_BYTES),
    )
    .option(
      '--size <size...>',
      'what each disk may take, in the order of --disk, if not all that is free',
      (text: string, before: number[] | undefined) => [
        ...(before ?? []),
        sizeArgument(MIN_BUCKET_BYTES, Number.MAX_SAFE_INTEGER, 1)(text),
      ],
    )
    .option('--json', 'print the report as JSON')
    .addHelpText(
      'after',
      `
Example:
  $ cairn init /srv/pool --disk /mnt/a/cairn --disk /mnt/b/cairn --disk /mnt/c/cairn --cache /mnt/ssd/cairn`,
    )
    .action(async (pool: string, flags: Flags) => {
      const { directory, report } = await initPool(context, {
        pool,
        disks: flags.disk,
        cache: flags.cache,
        journals: flags.journal ?? [],
        meta: flags.meta,
        scheme: flags.scheme,
        bucketBytes: flags.bucketSize,
        chunkBytes: flags.chunkSize,
        sizes: flags.size,
      });
      const out = context.stdout;
      if (flags.json) out.write(`${JSON.stringify({ directory, ...report }, null, 2)}\n`);
      else out.write(`${initText(directory, report)}\nnext: cairn mount ${directory} MOUNTPOINT\n`);
      done(0);
    });
}

/** Makes the directories and the pool. EXISTS, INVALID, NOT_FOUND, or what the pool refuses. */
export async function initPool(
  context: CliContext,
  request: InitRequest,
): Promise<{ directory: string; report: InitReport }> {
  const needed = disksNeeded(request.scheme);
  if (request.disks.length < needed) {
    throw new CairnError(
      'INVALID',
      `--scheme ${formatScheme(request.scheme)} needs ${counted(needed, 'disk')}, but --disk names ${request.disks.length}`,
      { hint: 'name more disks, or leave --scheme out: the best one for these is chosen then' },
    );
  }
  if (request.sizes !== undefined && request.sizes.length !== request.disks.length)
    throw new CairnError(
      'INVALID',
      `--size gives ${counted(request.sizes.length, 'size')}, and --disk names ${counted(request.disks.length, 'disk')}`,
      { hint: 'give one for each, in the same order' },
    );
  const directory = await makeDirectory(context, request.pool, 'the pool');
  if ((await readdir(directory)).includes(CONFIG_NAME)) {
    throw new CairnError('EXISTS', `there is a pool in ${directory} already`, {
      hint: `mount it with \`cairn mount ${directory} MOUNTPOINT\`, or choose another directory`,
    });
  }
  const disks = await Promise.all(request.disks.map((path) => makeDirectory(context, path, '--disk')));
  const journals = await Promise.all(request.journals.map((path) => makeDirectory(context, path, '--journal')));
  const cache = await makeDirectory(context, request.cache, '--cache');
  const meta = await makeDirectory(context, request.meta ?? join(directory, 'meta'), '--meta');
  refuseNested([
    ...disks.map((path) => ({ option: '--disk', path })),
    ...journals.map((path) => ({ option: '--journal', path })),
    { option: '--cache', path: cache },
    { option: '--meta', path: meta },
  ]);
  const { scheme, bucketBytes, chunkBytes } = request;
  const report = await context.pools.init(directory, {
    disks,
    journals,
    cache,
    meta,
    scheme,
    bucketBytes,
    chunkBytes,
    ...(request.sizes !== undefined && { sizes: new Map(disks.map((disk, at) => [disk, request.sizes![at]!])) }),
  });
  return {
    directory,
    report: { ...report, findings: [...report.findings, ...(await sharedDevices(disks)).map(sharedText)] },
  };
}

function initText(directory: string, report: InitReport): string {
  const groups = report.groups.map((group) => `${counted(group.count, 'group')} ${group.scheme}`).join(', ');
  return [
    `made the pool ${directory}`,
    `  protection  ${report.protection}`,
    `  room        ${formatBytes(report.usableBytes)} in ${groups || 'no groups'}`,
    ...report.findings.map((finding) => `  note        ${finding}`),
    '',
  ].join('\n');
}

/** Made if only its last part is missing: a typo in the middle must not put a disk on the system's own device. */
async function makeDirectory(context: Pick<CliContext, 'cwd'>, path: string, what: string): Promise<string> {
  const absolute = resolve(context.cwd, path);
  try {
    await mkdir(absolute, { mode: 0o700 });
  } catch (cause) {
    const code = systemCode(cause);
    if (code === 'ENOENT') {
      throw new CairnError('NOT_FOUND', `${what} ${absolute}: there is no directory ${dirname(absolute)}`, {
        hint: 'is that disk mounted?',
        cause,
      });
    }
    if (code !== 'EEXIST') {
      throw new CairnError(
        code === 'EROFS' ? 'READ_ONLY' : 'ACCESS',
        `${what} ${absolute} cannot be made: ${systemWords(cause)}`,
        {
          hint: 'make it yourself and give it to the user who mounts the pool, or name another place',
          cause,
        },
      );
    }
  }
  if (!(await stat(absolute)).isDirectory())
    throw new CairnError('NOT_DIRECTORY', `${what} ${absolute} is not a directory`, {
      hint: 'name a directory; one that is not there is made',
    });
  return await realpath(absolute);
}

function refuseNested(places: readonly { option: string; path: string }[]): void {
  places.forEach((place, index) => {
    for (const [otherIndex, other] of places.entries()) {
      if (index === otherIndex || !isInside(place.path, other.path)) continue;
      const what =
        place.path === other.path
          ? `are the same directory: ${place.path}`
          : `overlap: ${place.path} lies inside ${other.path}`;
      throw new CairnError('INVALID', `${place.option} and ${other.option} ${what}`, {
        hint: 'give each a directory of its own',
      });
    }
  });
}
