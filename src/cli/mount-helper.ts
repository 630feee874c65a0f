/**
 * Cairn as the helper of mount(8) and umount(8), for a line in fstab: `cairn POOL MOUNTPOINT -o a,b,c`, and for umount(8), which then waits until all is committed,
 * `cairn unmount-helper MOUNTPOINT`. They are called by the scripts of `cairn service fstab`; mounting also by libfuse's mount.fuse, where those are not.
 *
 * Says nothing unless something is wrong, and ends with mount(8)'s exit codes. How it is called: mount(8) and umount(8), "EXTERNAL HELPERS".
 */
import { type ParseArgsConfig, parseArgs } from 'node:util';
import type { CliContext, ExitCode } from './context.js';
import { daemonClient } from './daemon-client.js';
import { mountInBackground, mountTarget } from './mount-command.js';
import { parseMountOptions } from './mount-options.js';
import { poolOf } from './mount-table.js';
import { resolveMountpoint } from './mountpoint.js';
import type { Output } from './output.js';
import { remount } from './remount.js';
import { showError } from './show-error.js';
import { runSystemMount } from './system-mount.js';
import { unmountPool } from './unmount-command.js';

/** mount(8), "EXIT STATUS". */
const USAGE = 1;
const INTERRUPTED = 8;
const FAILED = 32;

const flag = (short: string) => ({ type: 'boolean', short, default: false }) as const;
const COMMON = {
  'no-mtab': flag('n'),
  verbose: flag('v'),
  type: { type: 'string', short: 't' },
  namespace: { type: 'string', short: 'N' },
} as const satisfies ParseArgsConfig['options'];
const MOUNT = {
  ...COMMON,
  sloppy: flag('s'),
  fake: flag('f'),
  options: { type: 'string', short: 'o', multiple: true, default: [] },
} as const satisfies ParseArgsConfig['options'];
const UNMOUNT = {
  ...COMMON,
  lazy: flag('l'),
  force: flag('f'),
  'read-only': flag('r'),
} as const satisfies ParseArgsConfig['options'];

/** `args`: POOL MOUNTPOINT [-sfnv] [-o OPTIONS] [-t TYPE]. Never rejects. */
export async function mountHelper(args: readonly string[], context: CliContext): Promise<ExitCode> {
  let ending: ExitCode = USAGE;
  try {
    const { values, positionals } = parseArgs({ args: [...args], options: MOUNT, allowPositionals: true });
    const [pool = '', directory = '', more] = positionals;
    if (more !== undefined) throw new Error(`too many arguments: ${more}`);
    if (values.namespace !== undefined) throw new Error('a pool is not mounted into another namespace (-N)');
    const options = parseMountOptions(values.options.join(','), values.sloppy);
    ending = FAILED;
    const told = values.verbose ? context : quiet(context);
    if (options.remount) {
      await remount(told, await resolveMountpoint(context, directory), options);
      return 0;
    }
    const target = await mountTarget(context, pool, directory, options);
    return values.fake || (await mountInBackground(told, target)) === 0 ? 0 : INTERRUPTED;
  } catch (error) {
    showError(context, error);
    return ending;
  }
}

/** `args`: MOUNTPOINT [-flnrv] [-N NAMESPACE] [-t TYPE]. Never rejects. */
export async function unmountHelper(args: readonly string[], context: CliContext): Promise<ExitCode> {
  let ending: ExitCode = USAGE;
  try {
    const { values, positionals } = parseArgs({ args: [...args], options: UNMOUNT, allowPositionals: true });
    const [directory = '', more] = positionals;
    if (more !== undefined) throw new Error(`too many arguments: ${more}`);
    ending = FAILED;
    const hurries = values.lazy || values.force || values['read-only'] || values.namespace !== undefined;
    if (!hurries && (await isMountOfDaemon(context, directory))) {
      await unmountPool(values.verbose ? context : quiet(context), directory);
      return 0;
    }
    // As without a helper; what is mounted a second time (mount --bind) goes alone.
    const words = [
      ...(values.lazy ? ['-l'] : []),
      ...(values.force ? ['-f'] : []),
      ...(values['read-only'] ? ['-r'] : []),
      ...(values.namespace === undefined ? [] : ['-N', values.namespace]),
    ];
    await runSystemMount('umount', [...words, '--', directory]);
    return 0;
  } catch (error) {
    showError(context, error);
    return ending;
  }
}

/** False of what shows a pool a second time; true also where no daemon answers any more. */
async function isMountOfDaemon(context: CliContext, directory: string): Promise<boolean> {
  const mountpoint = await resolveMountpoint(context, directory);
  const mount = context.mountTable().at(mountpoint);
  const poolDirectory = mount && poolOf(mount);
  if (poolDirectory === undefined || mount?.root !== '/') return false;
  const status = await daemonClient(context, poolDirectory)
    .status()
    .catch(() => undefined);
  return status === undefined || status.mountpoint === mountpoint;
}

function quiet(context: CliContext): CliContext {
  const { isTTY, hasColour, isUtf8, columns, rows } = context.stdout;
  const stdout: Output = { isTTY, hasColour, isUtf8, columns, rows, write: () => {} };
  return { ...context, stdout };
}
