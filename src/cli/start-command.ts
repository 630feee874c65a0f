/** `cairn start`, what `npm start` runs: a pool below the working directory, made if there is none, mounted in the foreground. */
import { access, mkdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { Command } from 'commander';
import { CONFIG_NAME, loadConfig } from '../pool/config.js';
import type { CliContext, ExitCode } from './context.js';
import { initPool } from './init-command.js';
import { runForeground } from './mount-command.js';
import type { MountDaemon } from './mount-daemon.js';
import { resolveMountpoint } from './mountpoint.js';
import { resolvePool } from './pool-path.js';
import { formatBytes } from './units.js';

const POOL_NAME = '.cairn';
const MOUNT_NAME = 'mnt';
const DISK_NAMES = ['disk1', 'disk2', 'disk3'] as const;

export function startCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  program
    .command('start')
    .description('try it: a pool of three directories in ./.cairn, mounted at ./mnt until Ctrl-C')
    .addHelpText(
      'after',
      `
Example:
  $ cairn start`,
    )
    .action(async () => {
      const made = await poolHere(context);
      const mount = join(context.cwd, MOUNT_NAME);
      // A dead mount answers mkdir with an error that says nothing; the start detaches it.
      if (context.mountTable().at(mount) === undefined) await mkdir(mount, { recursive: true });
      const poolDirectory = await resolvePool(context, POOL_NAME);
      const mountpoint = await resolveMountpoint(context, MOUNT_NAME);
      const config = await loadConfig({ readFile: (path) => readFile(path) }, poolDirectory);
      const target = { poolDirectory, mountpoint, config, strong: false, allowOther: false };
      const code = await runForeground(context, target, async (daemon) => {
        context.stdout.write(await welcome(daemon, context.cwd, poolDirectory, mountpoint, made));
      });
      done(code);
    });
}

/** True if it has been made now. */
async function poolHere(context: CliContext): Promise<boolean> {
  const pool = join(context.cwd, POOL_NAME);
  const there = await access(join(pool, CONFIG_NAME)).then(
    () => true,
    () => false,
  );
  if (there) return false;
  await mkdir(pool, { recursive: true, mode: 0o700 });
  await initPool(context, {
    pool,
    disks: DISK_NAMES.map((name) => join(pool, name)),
    cache: join(pool, 'cache'),
    journals: [],
    meta: join(pool, 'meta'),
    scheme: 'auto',
    bucketBytes: undefined,
    chunkBytes: undefined,
  });
  return true;
}

async function welcome(
  daemon: MountDaemon,
  cwd: string,
  pool: string,
  mountpoint: string,
  made: boolean,
): Promise<string> {
  const status = await daemon.status();
  const here = (path: string) => `./${relative(cwd, path)}`;
  const first = here(join(pool, DISK_NAMES[0]));
  return `
Cairn is running${made ? ' on a new pool' : ''}; Ctrl-C commits and unmounts.

  mounted at  ${mountpoint}   (${formatBytes(status.freeBytes)} free)
  pool        ${pool}   (disks: ${DISK_NAMES.join(', ')}; log: daemon.log)
  protection  ${status.protection}
              The three disks are directories on one device here: this shows how it works, and protects
              against losing one of the directories, not against losing the device.
${status.findings.map((finding) => `  note        ${finding}\n`).join('')}
Three things to try, in another terminal:

  cp -a /usr/include ${here(mountpoint)}/ && npx cairn commit --wait ${here(mountpoint)}
  npx cairn status ${here(pool)}
  mv ${first} ${first}.away      after Ctrl-C; start again: every file is there, and status names the disk

`;
}
