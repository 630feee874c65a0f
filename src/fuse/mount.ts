/**
 * Mounting and unmounting. As root by mount(2); otherwise, and where root lacks the capability, through fusermount3,
 * which is installed set-user-id for this.
 *
 * `nosuid` and `nodev` are set as fusermount does, also for root: a pool may hold copies of other machines' trees, and a
 * set-id program or device node in one should not act on this machine. Whoever wants them asks for them.
 * default_permissions makes the kernel check the mode bits, so that the vfs need not.
 *
 * The file system under the mountpoint is never touched once mounted: this process answers for it. Unmounting waits for
 * the daemon's answers, so it happens in another thread or process even where the daemon itself wants it.
 */

import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, realpath, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import type { Addon } from '../../native/addon.js';
import { asError, CairnError, type ErrorCode, messageOf, systemCode } from '../errors/cairn-error.js';
import { findMount } from './mount-table.js';
import { MAX_WRITE_BYTES } from './protocol.js';

export interface FuseMountOptions {
  /** What the mount table shows as the source: the pool's directory, so that commands find the pool of a path. */
  readonly source?: string;
  readonly readOnly?: boolean;
  /** Let other users than the one who mounts reach it, within the mode bits. Always so for root. */
  readonly allowOther?: boolean;
  readonly noExec?: boolean;
  /** `relatime`, `noatime`, …: only shown in the table of mounts. Access times are the server's. */
  readonly accessOptions?: readonly string[];
  /** Let device nodes and set-id programs act; only for root. */
  readonly allowDevices?: boolean;
  readonly allowSetId?: boolean;
}

const SOURCE = 'cairn';
const SUBTYPE = 'cairn';
const HELPER = 'fusermount3';
const DEVICE = '/dev/fuse';
const MS_RDONLY = 1;
const MS_NOSUID = 2;
const MS_NODEV = 4;
const MS_NOEXEC = 8;
const ACCESS_FLAGS: Readonly<Record<string, number>> = {
  noatime: 1 << 10,
  nodiratime: 1 << 11,
  relatime: 1 << 21,
  strictatime: 1 << 24,
};
const READ_AHEAD_KIB = MAX_WRITE_BYTES / 1024;
const run = promisify(execFile);

/**
 * Mounts and returns the descriptor of /dev/fuse, non-blocking, for a FuseSession. A mount that a killed daemon left
 * behind is detached first. MISSING_TOOL says what to install; NOT_FOUND, NOT_DIRECTORY, BUSY and ACCESS are about the
 * mountpoint.
 */
export async function mountFuse(
  addon: Pick<Addon, 'fuseMount' | 'fuseMountHelper' | 'unmount'>,
  mountpoint: string,
  options: FuseMountOptions = {},
): Promise<number> {
  await requireDevice();
  const path = await prepare(addon, mountpoint);
  const fd =
    process.getuid?.() === 0 ? await mountAsRoot(addon, path, options) : await mountByHelper(addon, path, options);
  await raiseReadAhead(path);
  return fd;
}

/** Unmounts; with `lazy` detaches at once and lets open files end in their own time. BUSY if it is in use, INVALID if nothing is mounted. */
export async function unmountFuse(mountpoint: string, lazy = false): Promise<void> {
  const path = await absolute(mountpoint);
  if ((await findMount(path)) === undefined) throw new CairnError('INVALID', `nothing is mounted at ${path}`);
  try {
    if (process.getuid?.() === 0) await unmountInWorker(path, lazy);
    else await run(await requireHelper(), ['-u', ...(lazy ? ['-z'] : []), '--', path]);
  } catch (error) {
    if (error instanceof CairnError) throw error;
    const text = messageOf(error);
    if (systemCode(error) === 'EBUSY' || /busy/i.test(text)) {
      throw new CairnError('BUSY', `${path} is in use`, {
        hint: `end what uses it (fuser -vm ${path} lists it) and unmount again`,
        cause: error,
      });
    }
    throw new CairnError('IO', `cannot unmount ${path}: ${text}`, { cause: error });
  }
}

async function requireDevice(): Promise<void> {
  try {
    await access(DEVICE);
  } catch (error) {
    throw new CairnError('MISSING_TOOL', `${DEVICE} is missing, so nothing can be mounted`, {
      hint: 'load the kernel module: sudo modprobe fuse (in a container: start it with --device /dev/fuse --cap-add SYS_ADMIN)',
      cause: error,
    });
  }
}

/** The last part stays as it is: resolving it would ask a dead mount. */
async function absolute(mountpoint: string): Promise<string> {
  const path = resolve(mountpoint);
  try {
    return join(await realpath(dirname(path)), basename(path));
  } catch (error) {
    throw new CairnError('NOT_FOUND', `${dirname(path)} does not exist`, { cause: error });
  }
}

/** The path to mount at: a directory that has no cairn mount on it. */
async function prepare(addon: Pick<Addon, 'unmount'>, mountpoint: string): Promise<string> {
  const path = await absolute(mountpoint);
  for (let isFirst = true; ; isFirst = false) {
    try {
      if (!(await stat(path)).isDirectory()) throw new CairnError('NOT_DIRECTORY', `${path} is not a directory`);
      break;
    } catch (error) {
      if (error instanceof CairnError) throw error;
      if (systemCode(error) === 'ENOENT') {
        throw new CairnError('NOT_FOUND', `${path} does not exist`, { hint: `mkdir -p ${path}`, cause: error });
      }
      if (systemCode(error) !== 'ENOTCONN' || !isFirst) {
        throw new CairnError('ACCESS', `${path} cannot be used: ${String(error)}`, { cause: error });
      }
    }
    await detachDead(addon, path);
  }
  const resolved = await realpath(path);
  if ((await findMount(resolved))?.type === `fuse.${SUBTYPE}`) {
    throw new CairnError('BUSY', `a pool is already mounted at ${resolved}`, { hint: `cairn unmount ${resolved}` });
  }
  return resolved;
}

/** Its daemon is gone: nothing waits for an answer, so this is safe on the calling thread. */
async function detachDead(addon: Pick<Addon, 'unmount'>, path: string): Promise<void> {
  if (process.getuid?.() === 0) addon.unmount(path, true);
  else await run(await requireHelper(), ['-u', '-z', '--', path]);
}

async function mountAsRoot(
  addon: Pick<Addon, 'fuseMount' | 'fuseMountHelper'>,
  path: string,
  options: FuseMountOptions,
): Promise<number> {
  let flags = options.readOnly ? MS_RDONLY : 0;
  if (options.allowSetId !== true) flags |= MS_NOSUID;
  if (options.allowDevices !== true) flags |= MS_NODEV;
  if (options.noExec === true) flags |= MS_NOEXEC;
  for (const word of options.accessOptions ?? []) flags |= ACCESS_FLAGS[word] ?? 0;
  const data = `rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other,max_read=${MAX_WRITE_BYTES}`;
  try {
    return addon.fuseMount(path, options.source ?? SOURCE, SUBTYPE, flags, data);
  } catch (error) {
    if (systemCode(error) !== 'EPERM' || (await findMountHelper(process.env['PATH'])) === undefined) {
      throw new CairnError(refusal(error), `cannot mount at ${path}: ${asError(error).message}`, {
        hint: 'mounting needs the capability SYS_ADMIN (in a container: --cap-add SYS_ADMIN --device /dev/fuse)',
        cause: error,
      });
    }
    return mountByHelper(addon, path, options);
  }
}

async function mountByHelper(
  addon: Pick<Addon, 'fuseMountHelper'>,
  path: string,
  options: FuseMountOptions,
): Promise<number> {
  const helper = await requireHelper();
  const words = [
    options.readOnly ? 'ro' : 'rw',
    'nosuid',
    'nodev',
    ...(options.noExec ? ['noexec'] : []),
    // The only one of these words that it knows.
    ...(options.accessOptions?.includes('noatime') ? ['noatime'] : []),
    // Commas end an option; the helper takes a backslash before what is meant as it is.
    `fsname=${(options.source ?? SOURCE).replace(/[\\,]/g, '\\$&')}`,
    `subtype=${SUBTYPE}`,
    'default_permissions',
    `max_read=${MAX_WRITE_BYTES}`,
    ...(options.allowOther ? ['allow_other'] : []),
  ];
  try {
    return addon.fuseMountHelper(helper, path, words.join(','));
  } catch (error) {
    const { message } = asError(error);
    throw new CairnError(refusal(error), `${HELPER} cannot mount at ${path}: ${message}`, {
      hint: message.includes('failed to open /dev/fuse')
        ? 'this user may not open the device, or it is not there: see cairn doctor'
        : options.allowOther
          ? `you must own ${path} and may write it; allow_other needs the line user_allow_other in /etc/fuse.conf`
          : `you must own ${path} and may write it`,
      cause: error,
    });
  }
}

function refusal(error: unknown): ErrorCode {
  const code = systemCode(error);
  return code === 'EPERM' || code === 'EACCES' ? 'ACCESS' : 'IO';
}

/** Where fusermount3 is: in the directories of `searchPath`, as PATH has them, or in the usual ones. undefined if nowhere. */
export async function findMountHelper(searchPath: string | undefined): Promise<string | undefined> {
  for (const directory of [...(searchPath ?? '').split(':'), '/usr/bin', '/bin', '/usr/local/bin']) {
    if (!directory.startsWith('/')) continue;
    const program = join(directory, HELPER);
    const found = await access(program, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return program;
  }
  return undefined;
}

async function requireHelper(): Promise<string> {
  const helper = await findMountHelper(process.env['PATH']);
  if (helper !== undefined) return helper;
  throw new CairnError('MISSING_TOOL', `mounting without root needs ${HELPER}, which is not installed`, {
    hint: 'install it: sudo apt install fuse3 (Fedora: dnf install fuse3; Arch: pacman -S fuse3)',
  });
}

/**
 * The kernel reads ahead 128 KiB unless told otherwise, which would cut reads into eighths of a request. Only root may
 * raise it; without, reading is slower and nothing else.
 */
async function raiseReadAhead(path: string): Promise<void> {
  const mount = await findMount(path);
  if (mount === undefined) return;
  await writeFile(`/sys/class/bdi/${mount.device}/read_ahead_kb`, String(READ_AHEAD_KIB)).catch(() => {});
}

/** umount(2) waits until the daemon has written back mapped pages; the daemon may be this very process. */
function unmountInWorker(mountpoint: string, lazy: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./unmount-worker.js', import.meta.url), { workerData: { mountpoint, lazy } });
    worker.on('error', reject);
    worker.on('exit', () => resolve());
  });
}
