/** `cairn unmount`: has the daemon commit and unmount, and returns when its process has ended; takes away a dead mount. */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { ControlClient } from '../http/control-client.js';
import { CONFIG_NAME } from '../pool/config-limits.js';
import type { CliContext, ExitCode } from './context.js';
import { daemonClient } from './daemon-client.js';
import { waitForEnd } from './daemon-process.js';
import { type Mount, poolOf } from './mount-table.js';
import { probeMount, resolveMountpoint } from './mountpoint.js';
import { Progress } from './progress.js';

export function unmountCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  program
    .command('unmount')
    .alias('umount')
    .description('commit, unmount, and wait until the daemon has ended')
    .argument('<mountpoint>', 'where the pool is mounted; the pool directory does as well')
    .addHelpText(
      'after',
      `
Example:
  $ cairn unmount /mnt/pool

If the daemon is dead, its mount is taken away; what it had staged is committed at the next mount.`,
    )
    .action(async (path: string) => {
      await unmountPool(context, path);
      done(0);
    });
}

/** `path`: where the pool is mounted, or its directory. INVALID if it is neither, BUSY, IO. */
export async function unmountPool(context: CliContext, path: string): Promise<void> {
  const { mount, poolDirectory } = await find(context, path);
  const client = daemonClient(context, poolDirectory);
  let pid: number;
  try {
    const status = await client.status();
    const elsewhere = status.mountpoint === mount?.mountpoint ? null : status.mountpoint;
    if (mount !== undefined && elsewhere !== null) {
      throw new CairnError('INVALID', `${mount.mountpoint} only shows what is mounted at ${elsewhere}`, {
        hint: `\`umount ${mount.mountpoint}\` takes that away; \`cairn unmount ${elsewhere}\` unmounts the pool`,
      });
    }
    ({ pid } = status);
  } catch (error) {
    if (!hasCode(error, 'CLOSED') || mount === undefined) throw error;
    return takeAway(context, mount, poolDirectory);
  }
  const isGone = await unmount(context, client, pid);
  context.stdout.write(`committed and unmounted ${mount?.mountpoint ?? poolDirectory}\n`);
  if (!isGone)
    context.stderr.write(
      `a device does not answer: the daemon (pid ${pid}) has ended, and the kernel keeps that disk locked until it does; see daemon.log in ${poolDirectory}\n`,
    );
}

/** False if the daemon has ended, but a device that does not answer keeps its process. */
async function unmount(context: CliContext, client: ControlClient, pid: number): Promise<boolean> {
  const progress = new Progress(context.stderr, context.clock, 'committing');
  try {
    await client.unmount(progress.update);
    progress.step('waiting for the daemon to end');
    return await waitForEnd(pid);
  } catch (error) {
    // Files that are open keep the daemon alive; after any other error it ends.
    if (!hasCode(error, 'BUSY')) await waitForEnd(pid);
    throw error;
  } finally {
    progress.done();
  }
}

async function find(context: CliContext, path: string): Promise<{ mount: Mount | undefined; poolDirectory: string }> {
  const mountpoint = await resolveMountpoint(context, path);
  const mount = context.mountTable().at(mountpoint);
  const poolDirectory = mount && poolOf(mount);
  if (poolDirectory !== undefined) return { mount, poolDirectory };
  const isPool = await access(join(mountpoint, CONFIG_NAME)).then(
    () => true,
    () => false,
  );
  if (isPool) return { mount: undefined, poolDirectory: mountpoint };
  const mounted = context
    .mountTable()
    .cairn()
    .map((each) => each.mountpoint);
  throw new CairnError('INVALID', `no pool is mounted at ${mountpoint}`, {
    hint: mounted.length > 0 ? `mounted are: ${mounted.join(', ')}` : 'none is mounted anywhere',
  });
}

/** No daemon answers on the socket: either it is dead, or it lives and only its socket file is gone. */
async function takeAway(context: CliContext, mount: Mount, poolDirectory: string): Promise<void> {
  const { mountpoint } = mount;
  const state = await probeMount(mount);
  if (state === 'dead') {
    await context.mounter.detach(mountpoint, true);
    context.stdout.write(
      `the daemon was dead: detached its mount at ${mountpoint}; what was staged is safe in the cache and is committed at the next mount\n`,
    );
  } else if (state === 'alive') {
    // A daemon whose mount ends commits, closes its pool and ends.
    await context.mounter.detach(mountpoint, false);
    context.stdout.write(
      `unmounted ${mountpoint}; its daemon, which does not answer on ${poolDirectory}/control.sock, commits and ends by itself: see daemon.log there\n`,
    );
  } else {
    throw new CairnError('BUSY', `the daemon that serves ${mountpoint} does not answer`, {
      hint: `look at ${poolDirectory}/daemon.log; ending that process is safe: what is staged stays in the cache`,
    });
  }
}
