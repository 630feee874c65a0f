/**
 * The wiring of the command line: where the real pool, the real FUSE mount and the real system are put together. The pool and the
 * native part are loaded at their first use, so that `cairn status` or `--help` opens no database and needs no compiler's work.
 */
import { readFile } from 'node:fs/promises';
import { CairnError } from '../errors/cairn-error.js';
import { SystemClock } from '../io/clock.js';
import type { CliContext } from './context.js';
import type { ProcessMemory } from './idle-memory.js';
import { isJournal, JournalOutput } from './journal-output.js';
import { MountTable } from './mount-table.js';
import { StreamOutput } from './output.js';
import type { Mounter, PoolOpener, S3Opener, VersionsOpener, Watcher, WebOpener } from './pool-opener.js';

const pools: PoolOpener = {
  init: async (directory, options) => {
    const { Pool } = await import('../pool/pool.js');
    return Pool.init(directory, options);
  },
  open: async (directory, { kernelTimes, ...options }) => {
    const { Pool } = await import('../pool/pool.js');
    if (kernelTimes !== true) return Pool.open(directory, options);
    const [{ SystemMachine }, { KernelClock }] = await Promise.all([
      import('../pool/machine.js'),
      import('../io/kernel-clock.js'),
    ]);
    return Pool.open(directory, { ...options, machine: new SystemMachine(new KernelClock()) });
  },
  check: async (directory, request, options) => {
    const { checkOffline } = await import('../pool/offline-check.js');
    return checkOffline(directory, request, options);
  },
};

const mounter: Mounter = {
  mount: async (
    vfs,
    { mountpoint, source, allowOther, readOnly, noExec, accessOptions, passthrough, writeback, log },
  ) => {
    const [{ loadAddon }, { mountFuse, unmountFuse }, { FuseSession }] = await Promise.all([
      import('../../native/addon.js'),
      import('../fuse/mount.js'),
      import('../fuse/session.js'),
    ]);
    const addon = loadAddon();
    const fd = await mountFuse(addon, mountpoint, { source, allowOther, readOnly, noExec, accessOptions });
    const session = new FuseSession({
      addon,
      fd,
      vfs,
      passthrough: passthrough
        ? { onRefused: (why) => log.info({ why }, 'all files are read through the daemon: no passthrough here') }
        : undefined,
      pages: { writeback, clock: new SystemClock(), sync: (done) => addon.syncFileSystem(mountpoint, done) },
      log: (message, error) => log.error({ err: error }, message),
    });
    try {
      await session.ready;
    } catch (cause) {
      await unmountFuse(mountpoint, true).catch(() => {});
      await session.stop();
      throw new CairnError('IO', `the kernel ended the mount at ${mountpoint}: ${String(cause)}`, {
        hint: 'the pool is as it was; see what is wrong: cairn doctor',
        cause,
      });
    }
    return {
      ended: session.ended,
      get isPassthrough() {
        return session.isPassthrough;
      },
      get isWriteback() {
        return session.isWriteback;
      },
      finding: () => session.finding,
      handOver: () => session.handOver(),
      unmount: (lazy) => (lazy ? unmountFuse(mountpoint, true) : session.holding(() => unmountFuse(mountpoint))),
      watcher: {
        entryChanged: (parent, name) => void session.invalidateEntry(parent, name),
        nodeChanged: (ino, content) => void session.invalidateInode(ino, content ? 0 : -1, 0),
        told: () => session.told(),
        handOver: session.isWriteback ? () => session.handOver() : undefined,
      },
    };
  },
  detach: async (mountpoint, lazy) => {
    const { unmountFuse } = await import('../fuse/mount.js');
    await unmountFuse(mountpoint, lazy);
  },
};

const openS3: S3Opener = async (tree, options) => {
  const { openS3Face } = await import('./s3-face.js');
  return openS3Face(tree, options);
};

const openWeb: WebOpener = async (parts, config, log) => {
  const { openWebFace } = await import('./web-face.js');
  return openWebFace(parts, config, log);
};

const watchPool: Watcher = async (control, options) => {
  const watching = await import('./watch-pool.js');
  return watching.watchPool(control, options);
};

const openVersions: VersionsOpener = async (vfs, tree) => {
  const { VersionedVfs } = await import('../s3/versioned-vfs.js');
  const versioned = new VersionedVfs(vfs, tree);
  const refresh = async (): Promise<void> => {
    const { mountHistory } = await import('../s3/mount-history.js');
    versioned.history ??= mountHistory(tree, new SystemClock());
    await versioned.history.refresh();
  };
  return { vfs: versioned, refresh };
};

const openMemory = async (): Promise<ProcessMemory> => {
  const { OwnMemory } = await import('./process-memory.js');
  return new OwnMemory();
};

async function ask(question: string, isSecret: boolean): Promise<string | undefined> {
  const { askTerminal } = await import('./terminal-question.js');
  return askTerminal(question, isSecret);
}

/** The shell's name for it where the directory has been removed under us: absolute paths still work, relative ones are not found. */
function workingDirectory(): string {
  try {
    return process.cwd();
  } catch {
    return process.env['PWD'] ?? '/';
  }
}

export function systemContext(): CliContext {
  return {
    stdout: new StreamOutput(process.stdout),
    stderr: isJournal(process.env) ? new JournalOutput() : new StreamOutput(process.stderr),
    cwd: workingDirectory(),
    env: process.env,
    clock: new SystemClock(),
    signals: process,
    pools,
    mounter,
    openS3,
    openWeb,
    watchPool,
    openVersions,
    openMemory,
    mountTable: () => MountTable.read(),
    files: { readFile: (path) => readFile(path) },
    ask: (question) => ask(question, false),
    askSecret: (question) => ask(question, true),
  };
}
