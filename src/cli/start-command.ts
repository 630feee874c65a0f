/** `cairn start`, what `npm start` runs: a pool below the working directory, made if there is none, mounted in the foreground. */
import { access, mkdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join, relative } from 'node:path';
import type { Command } from 'commander';
import { NodeFileIo } from '../io/node-file-io.js';
import { loadConfig } from '../pool/config.js';
import { CONFIG_NAME } from '../pool/config-limits.js';
import { DEFAULT_WEB, type S3Config, type WebConfig } from '../pool/face-config.js';
import { loadUsers, newUser, type S3User, saveUsers } from '../s3/users.js';
import type { CliContext, ExitCode } from './context.js';
import { initPool } from './init-command.js';
import { runForeground } from './mount-command.js';
import type { MountDaemon } from './mount-daemon.js';
import { resolveMountpoint } from './mountpoint.js';
import { resolvePool } from './pool-path.js';
import { formatBytes } from './units.js';

const POOL_NAME = '.cairn';
const MOUNT_NAME = 'mnt';
const S3_HOST = '127.0.0.1';
const S3_PORT = 9000;
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
      const s3Otherwise = config.s3 === undefined ? await defaultS3() : undefined;
      const webOtherwise = config.web === undefined ? await defaultWeb() : undefined;
      const user = await userHere(poolDirectory);
      const target = { poolDirectory, mountpoint, config, s3Otherwise, webOtherwise, strong: false };
      const code = await runForeground(context, target, async (daemon) => {
        context.stdout.write(await welcome(daemon, context.cwd, poolDirectory, mountpoint, made, user));
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

/** 127.0.0.1:9000, or any free port where something else has that one. */
async function defaultS3(): Promise<S3Config> {
  const base = { host: S3_HOST, region: 'us-east-1', domain: undefined, tls: undefined };
  return { ...base, port: await freePort(S3_PORT, S3_HOST) };
}

async function defaultWeb(): Promise<WebConfig> {
  return { ...DEFAULT_WEB, port: await freePort(DEFAULT_WEB.port, DEFAULT_WEB.host) };
}

/** This one, or 0 (any) where something else has it. */
async function freePort(port: number, host: string): Promise<number> {
  const isFree = await new Promise<boolean>((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, host, () => probe.close(() => resolve(true)));
  });
  return isFree ? port : 0;
}

/** The first user of the pool, made if there is none. */
async function userHere(pool: string): Promise<S3User> {
  const io = new NodeFileIo();
  const users = await loadUsers(io, pool);
  const [first] = users;
  if (first !== undefined) return first;
  const made = newUser('start');
  await saveUsers(io, pool, [made]);
  return made;
}

/** What to paste into a terminal to use the S3 face. */
function s3Lines(endpoint: string | undefined, { accessKey, secretKey }: S3User): string {
  if (endpoint === undefined) return '';
  const remote = `:s3,provider=Other,access_key_id=${accessKey},secret_access_key=${secretKey},endpoint='${endpoint}':`;
  return `
  S3          ${endpoint}   (a bucket is a directory at the top of the mount)
  access key: ${accessKey}
  secret key: ${secretKey}

  AWS_ACCESS_KEY_ID=${accessKey} AWS_SECRET_ACCESS_KEY=${secretKey} AWS_DEFAULT_REGION=us-east-1 aws --endpoint-url ${endpoint} s3 mb s3://photos
  rclone ls "${remote}photos"
`;
}

async function welcome(
  daemon: MountDaemon,
  cwd: string,
  pool: string,
  mountpoint: string,
  made: boolean,
  user: S3User,
): Promise<string> {
  const status = await daemon.status();
  const here = (path: string) => `./${relative(cwd, path)}`;
  const first = here(join(pool, DISK_NAMES[0]));
  return `
Cairn is running${made ? ' on a new pool' : ''}; Ctrl-C commits and unmounts.

${daemon.webLink === undefined ? '' : `  status page ${daemon.webLink}\n`}  mounted at  ${mountpoint}   (${formatBytes(status.freeBytes)} free)
  pool        ${pool}   (disks: ${DISK_NAMES.join(', ')}; log: daemon.log)
  protection  ${status.protection}
              The three disks are directories here, to try it: a pool to trust has a device for each of them.
${status.findings.map((finding) => `  note        ${finding}\n`).join('')}${s3Lines(daemon.s3Endpoint, user)}
Three things to try, in another terminal:

  cp -a /usr/include ${here(mountpoint)}/ && npx cairn commit --wait ${here(mountpoint)}
  npx cairn status ${here(pool)}
  mv ${first} ${first}.away      pulls a disk: the page and status say so, every file is there; mv it back

`;
}
