/**
 * What `cairn doctor` looks at, each with what it means and how to put it right. Nothing here changes anything: the one file that is written, to measure syncs,
 * has no name from the moment that it is open.
 */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fdatasyncSync,
  openSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { stat, statfs } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { systemCode } from '../errors/cairn-error.js';
import { findMountHelper } from '../fuse/mount.js';
import { openFileLimit } from '../io/open-file-limit.js';
import type { PoolConfig } from '../pool/config.js';
import { CONFIG_NAME } from '../pool/config-limits.js';
import type { CliContext } from './context.js';
import { poolOf } from './mount-table.js';
import { probeMount } from './mountpoint.js';
import { sharedDevices, sharedText } from './shared-devices.js';
import { errorLine } from './show-error.js';
import { formatBytes, formatCount } from './units.js';

/** `warning`: it works, and could be better or safer; `bad`: something does not work, or is not safe. */
export interface Diagnosis {
  readonly state: 'ok' | 'warning' | 'bad';
  readonly what: string;
  /** What was found, and what it means. */
  readonly finding: string;
  /** What to do, as a sentence or a command; '' where nothing need be done. */
  readonly fix: string;
}

const MIN_KERNEL = [5, 4] as const;
const PASSTHROUGH_KERNEL = [6, 9] as const;
const MIN_OPEN_FILES = 4096;
/** Below this share a device is nearly full. */
const NEARLY_FULL = 0.05;
const SYNC_BYTES = 4096;
const SYNC_TIMES_MAX = 100;
const SYNC_MS_MAX = 700;
/** Flushes a second that a disk with platters reaches. */
const PLATTERS_PER_SECOND = 200;
/** Nothing that keeps its word through a power cut is faster without a capacitor of its own. */
const TOO_FAST_PER_SECOND = 25_000;

const ok = (what: string, finding: string): Diagnosis => ({ state: 'ok', what, finding, fix: '' });
const warning = (what: string, finding: string, fix: string): Diagnosis => ({ state: 'warning', what, finding, fix });
const bad = (what: string, finding: string, fix: string): Diagnosis => ({ state: 'bad', what, finding, fix });

/** The machine, whatever pools it has. */
export async function checkMachine(context: CliContext): Promise<Diagnosis[]> {
  return [
    checkKernel(release()),
    checkPassthrough(release(), process.getuid?.() === 0),
    checkFuseDevice(),
    ...(await checkMountHelper(context.env)),
    await checkNative(),
    checkSmartctl(context.env['PATH']),
    checkOpenFiles(),
    ...(await checkMounts(context)),
  ];
}

/** Looked for where the daemon looks for it (monitor/sensors.ts). */
function checkSmartctl(searchPath = ''): Diagnosis {
  const places = [...searchPath.split(':'), '/usr/sbin', '/sbin', '/usr/local/sbin'];
  return places.some((place) => place.startsWith('/') && existsSync(join(place, 'smartctl')))
    ? ok('smartctl', 'it is here: disks are asked for their temperature and health (as root)')
    : warning(
        'smartctl',
        'it is not here: a disk that knows that it is failing cannot say so',
        'install smartmontools: apt install smartmontools',
      );
}

export function checkKernel(version: string): Diagnosis {
  return isAtLeast(version, MIN_KERNEL)
    ? ok('kernel', `Linux ${version}`)
    : bad(
        'kernel',
        `Linux ${version} is older than ${MIN_KERNEL.join('.')}, the oldest that cairn is made for`,
        'install a newer kernel',
      );
}

/** Nothing need be done about it: without, everything works the same. */
export function checkPassthrough(version: string, isRoot: boolean): Diagnosis {
  const kernel = PASSTHROUGH_KERNEL.join('.');
  return ok(
    'passthrough',
    !isAtLeast(version, PASSTHROUGH_KERNEL)
      ? `not in this kernel (${kernel} has it): read-only mounts read through the daemon, as all others do`
      : isRoot
        ? 'the kernel reads large files that are opened again by itself, on read-only mounts (others never: docs/performance.md)'
        : 'the kernel has it, for read-only mounts of root: those of this user read through the daemon',
  );
}

function isAtLeast(version: string, [major, minor]: readonly [number, number]): boolean {
  const [, first = '0', second = '0'] = /^(\d+)\.(\d+)/.exec(version) ?? [];
  return Number(first) > major || (Number(first) === major && Number(second) >= minor);
}

function checkFuseDevice(): Diagnosis {
  const [what, device] = ['fuse', '/dev/fuse'];
  try {
    accessSync(device, constants.R_OK | constants.W_OK);
    return ok(what, `${device} can be opened`);
  } catch (error) {
    return systemCode(error) === 'ENOENT'
      ? bad(
          what,
          `there is no ${device}: nothing can be mounted`,
          'modprobe fuse; in a container, give it the device (docker: --device /dev/fuse --cap-add SYS_ADMIN)',
        )
      : bad(
          what,
          `${device} cannot be opened by this user: nothing can be mounted`,
          `chmod 666 ${device}, as distributions have it`,
        );
  }
}

/** Root mounts by itself. */
async function checkMountHelper(env: CliContext['env']): Promise<Diagnosis[]> {
  if (process.getuid?.() === 0)
    return [ok('mounting', 'this is root, which needs no fusermount3; other users may look into the mount')];
  const helper = await findMountHelper(env['PATH']);
  if (helper === undefined)
    return [bad('mounting', 'there is no fusermount3, with which a user who is not root mounts', 'apt install fuse3')];
  const isSetUid = (statSync(helper).mode & 0o4000) !== 0;
  const own = isSetUid
    ? ok('mounting', helper)
    : warning(
        'mounting',
        `${helper} is not set-uid root: it can mount nothing for this user`,
        `chmod u+s ${helper} as root`,
      );
  let allows = false;
  try {
    allows = /^\s*user_allow_other/m.test(readFileSync('/etc/fuse.conf', 'utf8'));
  } catch {
    // No file allows nothing.
  }
  return [
    own,
    allows
      ? ok('other users', 'user_allow_other is set: `cairn mount --allow-other` lets them in')
      : warning(
          'other users',
          'only this user can look into a mount: --allow-other (for Samba, for a service) would be refused',
          'write the line user_allow_other into /etc/fuse.conf',
        ),
  ];
}

async function checkNative(): Promise<Diagnosis> {
  try {
    const { loadAddon } = await import('../../native/addon.js');
    loadAddon();
    return ok('native part', 'it is built for this node');
  } catch (error) {
    return bad('native part', errorLine(error), 'npm rebuild cairnfs (needs a C compiler, make and python3)');
  }
}

function checkOpenFiles(): Diagnosis {
  const files = openFileLimit();
  return files >= MIN_OPEN_FILES
    ? ok('open files', files === Number.POSITIVE_INFINITY ? 'no limit' : `${formatCount(files)} allowed`)
    : warning(
        'open files',
        `only ${files} are allowed: fewer are kept open, which is slower, and many disks may not get along with it`,
        'raise LimitNOFILE= of the service, or nofile in /etc/security/limits.conf, to 65536 or more',
      );
}

async function checkMounts(context: CliContext): Promise<Diagnosis[]> {
  const found: Diagnosis[] = [];
  for (const mount of context.mountTable().cairn()) {
    const state = await probeMount(mount);
    const what = `mount ${mount.mountpoint}`;
    if (state === 'alive') found.push(ok(what, `serves ${poolOf(mount)}`));
    else if (state === 'dead')
      found.push(
        bad(
          what,
          'its daemon is gone; what was staged is safe in the cache',
          `cairn mount ${poolOf(mount)} ${mount.mountpoint} (detaches it and mounts anew), or cairn unmount ${mount.mountpoint}`,
        ),
      );
    else
      found.push(
        bad(
          what,
          'its daemon does not answer',
          `look at ${poolOf(mount)}/daemon.log and at what the disks are doing (dmesg)`,
        ),
      );
  }
  return found;
}

/** A pool's directories. `onStep`: what is being looked at. */
export async function checkDirectories(
  poolDirectory: string,
  config: PoolConfig,
  onStep: (what: string) => void,
): Promise<Diagnosis[]> {
  const places = [
    { name: 'pool directory', directory: poolDirectory, isDisk: false },
    { name: 'metadata', directory: config.metaDirectory, isDisk: false },
    { name: 'cache', directory: config.cache.directory, isDisk: false },
    ...config.disks.map(({ directory, role, number }) => ({
      name: role === 'data' ? `disk ${number}` : 'journal disk',
      directory,
      isDisk: true,
    })),
  ];
  const found: Diagnosis[] = [await checkClock(poolDirectory), ...(await checkSharedDevices(config))];
  for (const { name, directory, isDisk } of places) {
    onStep(`looking at ${directory}`);
    const state = await checkPlace(name, directory, isDisk);
    found.push(state);
    if (state.state !== 'bad' && name !== 'pool directory' && name !== 'metadata')
      found.push(measureSyncs(name, directory));
  }
  return found;
}

/** A clock that has gone back gives files times that are older than what they replaced. */
async function checkClock(poolDirectory: string): Promise<Diagnosis> {
  const { mtimeMs } = await stat(join(poolDirectory, CONFIG_NAME));
  if (Date.now() < mtimeMs - 60_000)
    return bad(
      'clock',
      `it says ${new Date().toISOString()}, which is before cairn.toml was written`,
      'set the clock, and have it kept: timedatectl set-ntp true',
    );
  const isKept = ['/run/systemd/timesync/synchronized', '/run/chrony', '/run/ntpd.pid'].some((path) =>
    existsSync(path),
  );
  return isKept
    ? ok('clock', new Date().toISOString())
    : warning(
        'clock',
        `${new Date().toISOString()}; nothing seems to keep it right, and S3 refuses requests that are 15 minutes off`,
        'timedatectl set-ntp true',
      );
}

async function checkSharedDevices({ disks }: PoolConfig): Promise<Diagnosis[]> {
  const shared = await sharedDevices(disks.filter(({ role }) => role === 'data').map(({ directory }) => directory));
  return shared.map((directories) =>
    bad(
      'devices',
      sharedText(directories),
      'give every disk a device of its own: `cairn disk replace POOL DISK NEW-DIRECTORY`',
    ),
  );
}

async function checkPlace(name: string, directory: string, isDisk: boolean): Promise<Diagnosis> {
  const what = `${name} ${directory}`;
  try {
    if (!(await stat(directory)).isDirectory()) return bad(what, 'is not a directory', 'correct cairn.toml');
    accessSync(directory, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    if (systemCode(error) === 'EACCES' || systemCode(error) === 'EROFS')
      return bad(
        what,
        systemCode(error) === 'EROFS'
          ? 'its file system is mounted read-only: the kernel has found an error in it, see dmesg'
          : 'this user may not write there',
        systemCode(error) === 'EROFS'
          ? 'replace the disk, or check its file system with fsck while it is not mounted'
          : `chown it to the user who mounts the pool`,
      );
    return isDisk
      ? warning(
          what,
          `is not there (${systemCode(error)}): what it holds is read from the other disks meanwhile`,
          'mount it, or replace it with `cairn disk replace`',
        )
      : bad(what, `is not there (${systemCode(error)})`, 'mount its device, or correct cairn.toml');
  }
  const { bavail, blocks, bsize } = await statfs(directory);
  const free = `${formatBytes(bavail * bsize)} of ${formatBytes(blocks * bsize)} free`;
  return bavail < blocks * NEARLY_FULL
    ? warning(
        what,
        `${free}: nearly full`,
        isDisk
          ? 'remove files from the pool or from the device, or add a disk: `cairn disk add`'
          : 'make room on its device',
      )
    : ok(what, free);
}

/** Writes 4 KiB in the same place and syncs it, again and again, as a commit does in a journal segment. */
function measureSyncs(name: string, directory: string): Diagnosis {
  const what = `syncs of ${name}`;
  try {
    const perSecond = syncsPerSecond(directory);
    return judgeSyncs(what, perSecond);
  } catch (error) {
    return bad(
      what,
      `a file could not be written and synced there: ${errorLine(error)}`,
      'see dmesg for what the device says',
    );
  }
}

export function judgeSyncs(what: string, perSecond: number): Diagnosis {
  const rate = `${formatCount(Math.round(perSecond))} a second`;
  if (perSecond > TOO_FAST_PER_SECOND)
    return warning(
      what,
      `${rate}: that is memory, or a device that does not wait for its medium. A power cut may take what strong mode has promised`,
      'unless it is a disk with power-loss protection, turn its write cache off (hdparm -W0), and do not mount with nobarrier',
    );
  if (perSecond < PLATTERS_PER_SECOND)
    return ok(
      what,
      `${rate}, as of a disk with platters: strong mode gives one program that syncs each step about as many; journal disks on SSDs would make it faster`,
    );
  return ok(what, `${rate}: strong mode gives one program that syncs each step about as many`);
}

function syncsPerSecond(directory: string): number {
  const path = join(directory, `.cairn-doctor-${process.pid}`);
  const fd = openSync(path, constants.O_CREAT | constants.O_EXCL | constants.O_RDWR, 0o600);
  try {
    unlinkSync(path);
    const block = Buffer.alloc(SYNC_BYTES, 0x5a);
    writeSync(fd, block, 0, SYNC_BYTES, 0);
    fdatasyncSync(fd);
    const start = process.hrtime.bigint();
    let times = 0;
    let elapsedMs = 0;
    while (times < SYNC_TIMES_MAX && elapsedMs < SYNC_MS_MAX) {
      block[0] = times;
      writeSync(fd, block, 0, SYNC_BYTES, 0);
      fdatasyncSync(fd);
      times += 1;
      elapsedMs = Number(process.hrtime.bigint() - start) / 1e6;
    }
    return (times * 1000) / elapsedMs;
  } finally {
    closeSync(fd);
  }
}
