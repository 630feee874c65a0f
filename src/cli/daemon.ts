/**
 * The wiring of the command line: where the real pool, the real FUSE mount and the real system are put together. Both are
 * loaded at their first use, so that `cairn status` or `--help` opens no database and needs no native part.
 */
import { loadAddon } from '../../native/addon.js';
import { SystemClock } from '../io/clock.js';
import type { CliContext } from './context.js';
import { detachMount } from './detach-mount.js';
import { MountTable } from './mount-table.js';
import { StreamOutput } from './output.js';
import type { Mounter, PoolOpener } from './pool-opener.js';

const pools: PoolOpener = {
  init: async (directory, options) => {
    const { Pool } = await import('../pool/pool.js');
    return Pool.init(directory, options);
  },
  open: async (directory, options) => {
    const { Pool } = await import('../pool/pool.js');
    return Pool.open(directory, options);
  },
};

const mounter: Mounter = {
  mount: async (vfs, { mountpoint, source, log }) => {
    const [{ mountFuse, unmountFuse }, { FuseSession }] = await Promise.all([import('../fuse/mount.js'), import('../fuse/session.js')]);
    const addon = loadAddon();
    const fd = await mountFuse(addon, mountpoint, { source });
    const session = new FuseSession({ addon, fd, vfs, log: (message, error) => log.error({ err: error }, message) });
    await session.ready;
    return {
      ended: session.ended.then(
        () => null,
        (error: unknown) => (error instanceof Error ? error : new Error(String(error))),
      ),
      unmount: (lazy) => unmountFuse(mountpoint, lazy),
    };
  },
  detach: (mountpoint, lazy) => detachMount(loadAddon(), mountpoint, lazy),
};

export function systemContext(): CliContext {
  return {
    stdout: new StreamOutput(process.stdout),
    stderr: new StreamOutput(process.stderr),
    cwd: process.cwd(),
    env: process.env,
    clock: new SystemClock(),
    signals: process,
    pools,
    mounter,
    mountTable: () => MountTable.read(),
  };
}
