/**
 * `mount -o remount,…`: what is the kernel's changes at once, `ro` and `rw`, `exec` and `noexec`; what is the daemon's does not change while it is mounted, and asking for
 * it is refused. mount(8) hands on, besides what was asked for, what fstab and the kernel's table say of the mount: words that ask for nothing new.
 */
import { CairnError } from '../errors/cairn-error.js';
import type { CliContext } from './context.js';
import { daemonClient } from './daemon-client.js';
import { accessWords, type ListedOptions } from './mount-options.js';
import { type Mount, poolOf } from './mount-table.js';
import { runSystemMount } from './system-mount.js';

/** INVALID if no pool is mounted there, or if it cannot be done. BUSY: files are open for writing. */
export async function remount(
  context: Pick<CliContext, 'mountTable' | 'stderr'>,
  mountpoint: string,
  options: ListedOptions,
): Promise<void> {
  const mount = context.mountTable().at(mountpoint);
  const poolDirectory = mount && poolOf(mount);
  if (mount === undefined || poolDirectory === undefined)
    throw new CairnError('INVALID', `no pool is mounted at ${mountpoint}`, { hint: 'mount it without remount' });
  const { mode, writeback, readOnly } = await daemonClient(context, poolDirectory).status();
  const refused = [
    ...(!options.readOnly && readOnly === true ? ['rw'] : []),
    ...(options.strong && mode !== 'strong' ? ['strong'] : []),
    ...(options.writeback && writeback !== true ? ['writeback'] : []),
    ...newAccessWords(options, mount),
  ];
  if (refused.length > 0) {
    throw new CairnError('INVALID', `${refused.join(',')} cannot begin while the pool is mounted at ${mountpoint}`, {
      hint: 'unmount it, and mount it so',
    });
  }
  const words = [options.readOnly ? 'ro' : 'rw', options.noExec ? 'noexec' : 'exec'];
  await runSystemMount('mount', ['-o', ['remount', ...words].join(','), '--', mountpoint]);
}

/** Those that are asked for and do not hold. The table has none of them where access times are strict. */
function newAccessWords({ accessTimes }: ListedOptions, { options }: Mount): string[] {
  if (accessTimes === undefined) return [];
  const asked = accessWords(accessTimes);
  const held = ['noatime', 'relatime', 'nodiratime'].filter((word) => options.includes(word));
  return asked.filter((word) => word !== 'strictatime').join() === held.join() ? [] : asked;
}
