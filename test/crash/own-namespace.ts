/**
 * Runs a script of this folder with mounts and processes of its own (unshare(1)). When it ends, however it ends, the kernel ends all its
 * processes and takes all its mounts away, loop devices with them; and it may give its daemons another boot id, which is how
 * they tell a power cut from a kill.
 */
import { spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isInside, MountTable } from '../../src/cli/mount-table.js';
import { cannotMountImages } from '../integration/mount-harness.js';

const UNSHARE = ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc', '--propagation', 'private'];
const BOOT_ID = '/proc/sys/kernel/random/boot_id';
const INSIDE = '--inside';

/** Why power cannot be cut here, for tap's `skip`; false if it can. */
export function cannotCutPower(): string | false {
  const reason = cannotMountImages();
  if (reason !== false) return reason;
  for (const [program, debian] of [
    ['xfs_io', 'xfsprogs'],
    ['mkfs.xfs', 'xfsprogs'],
    ['mkfs.ext4', 'e2fsprogs'],
    ['unshare', 'util-linux'],
  ] as const) {
    if (spawnSync(program, ['-V']).error !== undefined) return `${program} is not installed (Debian: ${debian})`;
  }
  if (spawnSync('unshare', [...UNSHARE, 'true']).status !== 0) return 'a mount namespace is not allowed here';
  // What is not built in is a module, and asking loads it.
  for (const type of ['ext4', 'xfs']) {
    if (!existsSync(`/sys/fs/${type}`) && spawnSync('modprobe', [type]).status !== 0)
      return `the kernel here has no ${type}`;
  }
  return false;
}

/** The directory that the script has been given, if this process is inside; everything in it is removed when the script has ended. */
export function directoryInside(): string | undefined {
  const [, , flag, directory] = process.argv;
  return flag === INSIDE ? directory : undefined;
}

/** Runs a script of this folder inside, with a temporary directory as its first argument after a flag. Resolves with its exit code and what it printed, which passes through as well. */
export async function runInside(script: string, args: readonly string[]): Promise<{ code: number; output: string }> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'cairn-power-')));
  try {
    const path = fileURLToPath(new URL(`./${script}.js`, import.meta.url));
    // The shell is the first process inside: it reaps daemons whose parents have ended.
    const shell = ['sh', '-c', '"$@"; exit $?', 'sh', process.execPath, path, INSIDE, directory, ...args];
    const child = spawn('unshare', [...UNSHARE, ...shell], { stdio: ['pipe', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      process.stdout.write(text);
    });
    // It ends when its stdin does: with this process, that is.
    const stop = () => child.stdin.end();
    process.once('SIGINT', stop).once('SIGTERM', stop);
    const code = await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (exit) => resolve(exit ?? 1));
    });
    process.off('SIGINT', stop).off('SIGTERM', stop);
    return { code, output };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** What a script does first when it is inside: it ends with whoever started it, and lets go of all mounts of others, which would stay as long as it lives. */
export function settle(directory: string): void {
  process.stdin.resume().once('end', () => {
    process.stderr.write('interrupted\n');
    spawnSync('rm', ['-rf', '--one-file-system', directory]);
    process.exit(130);
  });
  for (const mount of MountTable.read().inside('/')) {
    const foreign = /^fuse(\.|$)/.test(mount.type) || mount.source.startsWith('/dev/loop');
    const below = isInside(mount.mountpoint, tmpdir());
    if ((foreign || below) && !isInside(directory, mount.mountpoint)) spawnSync('umount', ['-l', mount.mountpoint]);
  }
}

/** Another boot of the machine, as far as this namespace is concerned. */
export async function boot(directory: string): Promise<void> {
  const file = join(directory, 'boot-id');
  const isFirst = !existsSync(file);
  await writeFile(file, `${randomUUID()}\n`);
  if (isFirst && spawnSync('mount', ['--bind', file, BOOT_ID]).status !== 0)
    throw new Error(`${BOOT_ID} cannot be replaced here`);
}
