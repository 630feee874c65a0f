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
import type { Mounter, MountSession, PoolOpener } from './pool-opener.js';

// As a string, so that this folder compiles without them.
const POOL_MODULE: string = '../pool/pool.js';
const FUSE_MODULE: string = '../fuse/mount.js';

async function loadPool(): Promise<PoolOpener> {
  const { Pool } = (await import(POOL_MODULE)) as { readonly Pool: PoolOpener };
  return Pool;
}

async function loadMount(): Promise<(...args: Parameters<Mounter['mount']>) => Promise<MountSession>> {
  const { mountFuse } = (await import(FUSE_MODULE)) as { readonly mountFuse: Mounter['mount'] };
  return mountFuse;
}

const pools: PoolOpener = {
  init: async (directory, options) => (await loadPool()).init(directory, options),
  open: async (directory, options) => (await loadPool()).open(directory, options),
};

const mounter: Mounter = {
  mount: async (vfs, options) => (await loadMount())(vfs, options),
  detach: (mountpoint, lazy) => detachMount(loadAddon(), mountpoint, lazy),
};

export function systemContext(): CliContext {
  return {
    stdout: new StreamOutput(process.stdout),
    stderr: new StreamOutput(process.stderr),
    cwd: process.cwd(),
    env: process.env,
    clock: new SystemClock(),
    pools,
    mounter,
    mountTable: () => MountTable.read(),
  };
}
